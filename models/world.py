"""The built-in world: words and facts in four languages, and the tasks that ask about them.

A task draws one fact and returns its slots: the words a phrase can name, with the answer among them.
Phrases are not here: the pre-training text (pretraining_text.py) and the demonstration data
(make-demo-data.py) ask the same tasks in different words. Needs Python 3 alone.
"""
import os

LANGUAGES = ("en", "es", "de", "fr")

LANGUAGE_NAMES = {
    "en": {"en": "English", "es": "Spanish", "de": "German", "fr": "French"},
    "es": {"en": "inglés", "es": "español", "de": "alemán", "fr": "francés"},
    "de": {"en": "Englisch", "es": "Spanisch", "de": "Deutsch", "fr": "Französisch"},
    "fr": {"en": "anglais", "es": "espagnol", "de": "allemand", "fr": "français"},
}

ARTICLES = {
    "es": {"m": "el", "f": "la"},
    "de": {"m": "der", "f": "die", "n": "das"},
    "fr": {"m": "un", "f": "une"},
}

# Greatest sum that is asked: both operands and the result are at most two digits.
LARGEST_SUM = 30


def _read_lexicon():
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lexicon.tsv")
    groups = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            kind, *words = line.rstrip("\n").split("\t")
            entry = {lang: word.split(":")[0] for lang, word in zip(LANGUAGES, words)}
            genders = {lang: word.split(":")[1] for lang, word in zip(LANGUAGES, words) if ":" in word}
            groups.setdefault(kind, []).append({"kind": kind, "word": entry, "gender": genders})
    return groups


_GROUPS = _read_lexicon()

# Category name in English -> its name in each language.
CATEGORIES = {entry["word"]["en"]: entry["word"] for entry in _GROUPS["="]}
NOUNS = [entry for kind in CATEGORIES for entry in _GROUPS[kind]]
COLOURS = _GROUPS["colour"]
ADJECTIVES = _GROUPS["adjective"]
OPPOSITES = [(ADJECTIVES[i], ADJECTIVES[i ^ 1]) for i in range(len(ADJECTIVES))]
CAPITALS = list(zip(_GROUPS["country"], _GROUPS["capital"]))
NUMBERS = _GROUPS["number"]
# (entry, the one that follows): days and months go round, numbers end.
SUCCESSORS = (
    [(_GROUPS[kind][i], _GROUPS[kind][(i + 1) % len(_GROUPS[kind])]) for kind in ("day", "month") for i in range(len(_GROUPS[kind]))]
    + [(NUMBERS[i], NUMBERS[i + 1]) for i in range(len(NUMBERS) - 1)]
)
WORDS = NOUNS + ADJECTIVES + COLOURS


def article_of(entry, lang):
    """The article asked for: definite in Spanish and German, indefinite in English and French."""
    if lang == "en":
        return "an" if entry["word"]["en"][0] in "aeiou" else "a"
    return ARTICLES[lang][entry["gender"][lang]]


def facts_of(task, lang):
    """All facts of a task in one language, as a list of slots, always in the same order.

    Slots: w the word asked about, a and b operands, k a country, L the name of another language, t the answer.
    """
    if task == "category":
        return [{"w": n["word"][lang], "t": CATEGORIES[n["kind"]][lang]} for n in NOUNS]
    if task == "opposite":
        return [{"w": x["word"][lang], "t": y["word"][lang]} for x, y in OPPOSITES]
    if task == "sum":
        return [{"a": str(a), "b": str(b), "t": str(a + b)}
                for a in range(1, 21) for b in range(1, 21) if a + b <= LARGEST_SUM]
    if task == "next":
        return [{"w": x["word"][lang], "t": y["word"][lang]} for x, y in SUCCESSORS]
    if task == "letter":
        return [{"w": n["word"][lang], "t": n["word"][lang][0].lower()} for n in WORDS]
    if task == "article":
        return [{"w": n["word"][lang], "t": article_of(n, lang)} for n in NOUNS]
    if task == "capital":
        return [{"k": k["word"][lang], "t": c["word"][lang]} for k, c in CAPITALS]
    if task == "translate":
        return [{"w": n["word"][lang], "L": LANGUAGE_NAMES[lang][other], "t": n["word"][other]}
                for n in WORDS for other in LANGUAGES if other != lang]
    raise ValueError("task: expected one of %s, received %r" % (", ".join(TASKS), task))


TASKS = ("category", "opposite", "sum", "next", "letter", "article", "capital", "translate")
