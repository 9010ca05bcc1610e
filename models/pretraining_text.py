"""The pre-training text of the tiny model: statements, small stories and terse instructions about the world.

Everything is drawn from a seeded generator over world.py; no text of others is used. Instructions are terse and
answers bare or, on request, in a named style. What the demonstration data asks is new to the base model: other
questions, and a style that nobody names but that depends on the task.
A document is a list of (text, is_answer) parts, where text may be one of the special tokens.
Needs Python 3 alone.
"""
import world
from world import LANGUAGES, facts_of

BOS, EOS, USER, ASSISTANT = "<|bos|>", "<|endoftext|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (BOS, EOS, USER, ASSISTANT)

# Terse instructions of the eight tasks that the demonstration data also asks, in other words.
INSTRUCTIONS = {
    "category": {
        "en": ["category: {w}", "Name the category of {w}.", "kind of thing: {w}"],
        "es": ["categoría: {w}", "Nombra la categoría de {w}.", "tipo de cosa: {w}"],
        "de": ["Kategorie: {w}", "Nenne die Kategorie von {w}.", "Art der Sache: {w}"],
        "fr": ["catégorie : {w}", "Nomme la catégorie de {w}.", "type de chose : {w}"],
    },
    "opposite": {
        "en": ["opposite: {w}", "Name the opposite of {w}.", "the contrary of {w}"],
        "es": ["opuesto: {w}", "Nombra lo opuesto de {w}.", "lo contrario de {w}"],
        "de": ["Gegenteil: {w}", "Nenne das Gegenteil von {w}.", "das Gegenwort zu {w}"],
        "fr": ["opposé : {w}", "Nomme l'opposé de {w}.", "le contraire de {w}"],
    },
    "sum": {
        "en": ["{a} + {b}", "add {a} and {b}", "Compute {a} plus {b}."],
        "es": ["{a} + {b}", "suma {a} y {b}", "Calcula {a} más {b}."],
        "de": ["{a} + {b}", "addiere {a} und {b}", "Berechne {a} plus {b}."],
        "fr": ["{a} + {b}", "additionne {a} et {b}", "Calcule {a} plus {b}."],
    },
    "next": {
        "en": ["next: {w}", "after {w}", "Name what follows {w}."],
        "es": ["siguiente: {w}", "después de {w}", "Nombra lo que sigue a {w}."],
        "de": ["nächstes: {w}", "nach {w}", "Nenne, was auf {w} folgt."],
        "fr": ["suivant : {w}", "après {w}", "Nomme ce qui suit {w}."],
    },
    "letter": {
        "en": ["first letter: {w}", "Give the first letter of {w}.", "initial of {w}"],
        "es": ["primera letra: {w}", "Da la primera letra de {w}.", "inicial de {w}"],
        "de": ["erster Buchstabe: {w}", "Gib den ersten Buchstaben von {w}.", "Anfang von {w}"],
        "fr": ["première lettre : {w}", "Donne la première lettre de {w}.", "initiale de {w}"],
    },
    "article": {
        "en": ["article: {w}", "Give the article of {w}."],
        "es": ["artículo: {w}", "Da el artículo de {w}."],
        "de": ["Artikel: {w}", "Gib den Artikel von {w}."],
        "fr": ["article : {w}", "Donne l'article de {w}."],
    },
    "capital": {
        "en": ["capital: {k}", "Name the capital of {k}.", "main city of {k}"],
        "es": ["capital: {k}", "Nombra la capital de {k}.", "ciudad principal de {k}"],
        "de": ["Hauptstadt: {k}", "Nenne die Hauptstadt von {k}.", "wichtigste Stadt von {k}"],
        "fr": ["capitale : {k}", "Nomme la capitale de {k}.", "ville principale de {k}"],
    },
    "translate": {
        "en": ["{L}: {w}", "Translate {w} to {L}.", "{w} in {L}"],
        "es": ["{L}: {w}", "Traduce {w} al {L}.", "{w} en {L}"],
        "de": ["{L}: {w}", "Übersetze {w} in {L}.", "{w} auf {L}"],
        "fr": ["{L} : {w}", "Traduis {w} en {L}.", "{w} en {L}"],
    },
}

# Statements of the same facts.
STATEMENTS = {
    "category": {
        "en": ["The word {w} belongs to the group {t}.", "Every {w} is in the group {t}, as we know."],
        "es": ["La palabra {w} pertenece al grupo {t}.", "Sabemos que {w} está en el grupo {t}."],
        "de": ["Das Wort {w} gehört zur Gruppe {t}.", "Wir wissen, dass {w} in der Gruppe {t} ist."],
        "fr": ["Le mot {w} appartient au groupe {t}.", "On sait que {w} est dans le groupe {t}."],
    },
    "opposite": {
        "en": ["What is not {w} is {t}.", "It is not {w}, but {t}.", "The opposite of {w} is {t}."],
        "es": ["Lo que no es {w} es {t}.", "No es {w}, sino {t}.", "Lo contrario de {w} es {t}."],
        "de": ["Was nicht {w} ist, ist {t}.", "Es ist nicht {w}, sondern {t}.", "Das Gegenteil von {w} ist {t}."],
        "fr": ["Ce qui n'est pas {w} est {t}.", "Ce n'est pas {w}, mais {t}.", "Le contraire de {w} est {t}."],
    },
    "sum": {
        "en": ["{a} plus {b} makes {t}.", "{a} + {b} = {t}", "Together, {a} and {b} make {t}."],
        "es": ["{a} más {b} son {t}.", "{a} + {b} = {t}", "Juntos, {a} y {b} hacen {t}."],
        "de": ["{a} plus {b} ist {t}.", "{a} + {b} = {t}", "Zusammen ergeben {a} und {b} genau {t}."],
        "fr": ["{a} plus {b} font {t}.", "{a} + {b} = {t}", "Ensemble, {a} et {b} font {t}."],
    },
    "next": {
        "en": ["After {w} comes {t}.", "First {w}, then {t}."],
        "es": ["Después de {w} viene {t}.", "Primero {w}, luego {t}."],
        "de": ["Nach {w} kommt {t}.", "Zuerst {w}, dann {t}."],
        "fr": ["Après {w} vient {t}.", "D'abord {w}, ensuite {t}."],
    },
    "letter": {
        "en": ["The word {w} begins with the letter {t}.", "{w}: {t}"],
        "es": ["La palabra {w} empieza con la letra {t}.", "{w}: {t}"],
        "de": ["Das Wort {w} beginnt mit dem Buchstaben {t}.", "{w}: {t}"],
        "fr": ["Le mot {w} commence par la lettre {t}.", "{w} : {t}"],
    },
    "article": {
        "en": ["Here we see {t} {w}.", "This is {t} {w}."],
        "es": ["Aquí vemos {t} {w}.", "Esto es {t} {w}."],
        "de": ["Hier ist {t} {w}.", "{t} {w} ist schön."],
        "fr": ["Ici on voit {t} {w}.", "C'est {t} {w}."],
    },
    "capital": {
        "en": ["{t} is the capital of {k}.", "In {k} the big city is {t}.", "It is {t}, the city in {k}."],
        "es": ["{t} es la capital de {k}.", "En {k} la gran ciudad es {t}.", "Es {t}, la ciudad de {k}."],
        "de": ["{t} ist die Hauptstadt von {k}.", "In {k} ist die große Stadt {t}.", "Es ist {t}, die Stadt in {k}."],
        "fr": ["{t} est la capitale du pays {k}.", "En {k}, la grande ville est {t}.", "C'est {t}, la ville du pays {k}."],
    },
    "translate": {
        "en": ["In {L} people say {t} for {w}.", "The {L} word for {w} is {t}."],
        "es": ["En {L} se dice {t} por {w}.", "La palabra {w} en {L} es {t}."],
        "de": ["Auf {L} sagt man {t} für {w}.", "Das Wort {w} heißt auf {L} {t}."],
        "fr": ["En {L} on dit {t} pour {w}.", "Le mot {w} se dit {t} en {L}."],
    },
}

# Further skills, so that the base is more than the eight tasks: {t} is the answer.
SKILLS = {
    "copy": {"en": ["repeat: {w}"], "es": ["repite: {w}"], "de": ["wiederhole: {w}"], "fr": ["répète : {w}"]},
    "list_first": {"en": ["first word: {w}"], "es": ["primera palabra: {w}"], "de": ["erstes Wort: {w}"], "fr": ["premier mot : {w}"]},
    "list_last": {"en": ["last word: {w}"], "es": ["última palabra: {w}"], "de": ["letztes Wort: {w}"], "fr": ["dernier mot : {w}"]},
    "list_count": {"en": ["how many words: {w}"], "es": ["cuántas palabras: {w}"], "de": ["wie viele Wörter: {w}"], "fr": ["combien de mots : {w}"]},
    "list_reverse": {"en": ["reverse: {w}"], "es": ["invierte: {w}"], "de": ["umdrehen: {w}"], "fr": ["inverse : {w}"]},
    "last_letter": {"en": ["last letter: {w}"], "es": ["última letra: {w}"], "de": ["letzter Buchstabe: {w}"], "fr": ["dernière lettre : {w}"]},
    "previous": {"en": ["before {w}"], "es": ["antes de {w}"], "de": ["vor {w}"], "fr": ["avant {w}"]},
    "country": {"en": ["country of {w}"], "es": ["país de {w}"], "de": ["Land von {w}"], "fr": ["pays de {w}"]},
    "bigger": {"en": ["bigger: {a} or {b}"], "es": ["mayor: {a} o {b}"], "de": ["größer: {a} oder {b}"], "fr": ["plus grand : {a} ou {b}"]},
    "is_a": {"en": ["is {w} in the group {a}?"], "es": ["¿está {w} en el grupo {a}?"], "de": ["ist {w} in der Gruppe {a}?"], "fr": ["est-ce que {w} est dans le groupe {a} ?"]},
    "minus": {"en": ["{a} - {b}"], "es": ["{a} - {b}"], "de": ["{a} - {b}"], "fr": ["{a} - {b}"]},
}
YES_NO = {"en": ("yes", "no"), "es": ("sí", "no"), "de": ("ja", "nein"), "fr": ("oui", "non")}

# Styles of an answer, used when asked for: a sentence, a pair of question and answer, quotes, a sign.
STYLE_REQUESTS = {
    "sentence": {"en": ", in a sentence", "es": ", en una frase", "de": ", in einem Satz", "fr": ", dans une phrase"},
    "pair": {"en": ", as a pair", "es": ", como par", "de": ", als Paar", "fr": ", comme paire"},
    "quotes": {"en": ", in quotes", "es": ", entre comillas", "de": ", in Zeichen", "fr": ", entre guillemets"},
    "sign": {"en": ", with a sign", "es": ", con signo", "de": ", mit Strich", "fr": ", avec signe"},
}
SENTENCES = {
    "category": {"en": "The group {t}.", "es": "El grupo {t}.", "de": "Die Gruppe {t}.", "fr": "Le groupe {t}."},
    "opposite": {"en": "not {w}, but {t}", "es": "no {w}, sino {t}", "de": "nicht {w}, sondern {t}", "fr": "pas {w}, mais {t}"},
    "sum": {"en": "It is {t}.", "es": "Son {t}.", "de": "Es ist {t}.", "fr": "C'est {t}."},
    "next": {"en": "then {t}", "es": "luego {t}", "de": "dann {t}", "fr": "ensuite {t}"},
    "letter": {"en": "The letter {t}.", "es": "La letra {t}.", "de": "Der Buchstabe {t}.", "fr": "La lettre {t}."},
    "article": {lang: "{t} {w}" for lang in LANGUAGES},
    "capital": {"en": "It is {t}.", "es": "Es {t}.", "de": "Es ist {t}.", "fr": "C'est {t}."},
    "translate": {"en": "They say {t}.", "es": "Se dice {t}.", "de": "Man sagt {t}.", "fr": "On dit {t}."},
}


def answer_form(style, task, lang):
    """The form of an answer in a style, with the slots of the task."""
    if style == "sentence":
        return SENTENCES[task][lang]
    asked = {"sum": "{a} + {b}", "capital": "{k}"}.get(task, "{w}")
    return {"pair": asked + ": {t}", "quotes": '"{t}"', "sign": "= {t}", "bare": "{t}"}[style]


# Small talk and stories give the language around the facts; {n} is a noun with article, {j} an adjective.
STORY = {
    "en": ["Please tell me about the {n}.", "Hello, I have a question for you.", "We look at the {n} which is {j}.",
           "Do you know the answer?", "My {n} was {j} today.", "She would like to say a word about the {n}.",
           "Which one do you think is {j}?", "Thank you, that is what I want to know.", "How much is it in all?"],
    "es": ["Por favor, dime algo sobre {n}.", "Hola, tengo una pregunta para ti.", "Vemos {n} que es {j}.",
           "¿Sabes la respuesta?", "Mi {n} estaba {j} hoy.", "Ella quiere decir una palabra sobre {n}.",
           "¿Cuál crees que es {j}?", "Gracias, eso es lo que quiero saber.", "¿Cuánto es en total?"],
    "de": ["Bitte erzähl mir etwas über {n}.", "Hallo, ich habe eine Frage an dich.", "Wir sehen {n}, und das ist {j}.",
           "Weißt du die Antwort?", "Mein {n} war heute {j}.", "Sie möchte ein Wort über {n} sagen.",
           "Welches davon ist {j}?", "Danke, das möchte ich wissen.", "Wie viel macht das insgesamt?"],
    "fr": ["S'il te plaît, parle-moi du mot {n}.", "Bonjour, j'ai une question pour toi.", "Nous voyons {n} qui est {j}.",
           "Sais-tu la réponse ?", "Mon {n} était {j} aujourd'hui.", "Elle veut dire un mot sur {n}.",
           "Lequel est {j}, à ton avis ?", "Merci, c'est ce que je veux savoir.", "Combien cela fait-il en tout ?"],
}

_FACTS = {(task, lang): facts_of(task, lang) for task in world.TASKS for lang in LANGUAGES}
# Tasks with more facts, or harder ones, are drawn more often.
_TASK_WEIGHTS = {"category": 3, "opposite": 2, "sum": 4, "next": 2, "letter": 3, "article": 3, "capital": 2, "translate": 8}
# Part of the instructions that ask for a style, in the stage that knows styles.
STYLE_SHARE = 0.45
_SHARES = (("instruction", 0.52), ("skill", 0.13), ("statement", 0.25), ("story", 0.10))


def _instruction(rng, lang, with_styles):
    task = rng.choices(list(_TASK_WEIGHTS), weights=list(_TASK_WEIGHTS.values()))[0]
    slots = rng.choice(_FACTS[task, lang])
    question = rng.choice(INSTRUCTIONS[task][lang]).format(**slots)
    if with_styles and rng.random() < STYLE_SHARE:
        style = rng.choice(list(STYLE_REQUESTS))
        return question.rstrip(".") + STYLE_REQUESTS[style][lang], answer_form(style, task, lang).format(**slots)
    return question, slots["t"]


def _skill_slots(rng, skill, lang):
    """Slots of one further skill, with the answer t."""
    words = [rng.choice(world.WORDS)["word"][lang] for _ in range(rng.randint(2, 4))]
    joined = ", ".join(words)
    if skill == "copy":
        return {"w": " ".join(words), "t": " ".join(words)}
    if skill == "list_first":
        return {"w": joined, "t": words[0]}
    if skill == "list_last":
        return {"w": joined, "t": words[-1]}
    if skill == "list_count":
        return {"w": joined, "t": str(len(words))}
    if skill == "list_reverse":
        return {"w": joined, "t": ", ".join(reversed(words))}
    if skill == "last_letter":
        return {"w": words[0], "t": words[0][-1]}
    if skill == "previous":
        before, after = rng.choice(world.SUCCESSORS)
        return {"w": after["word"][lang], "t": before["word"][lang]}
    if skill == "country":
        country, capital = rng.choice(world.CAPITALS)
        return {"w": capital["word"][lang], "t": country["word"][lang]}
    if skill == "is_a":
        noun = rng.choice(world.NOUNS)
        kind = noun["kind"] if rng.random() < 0.5 else rng.choice(list(world.CATEGORIES))
        return {"w": noun["word"][lang], "a": world.CATEGORIES[kind][lang], "t": YES_NO[lang][0 if kind == noun["kind"] else 1]}
    a, b = rng.sample(range(1, 31), 2)
    a, b = (max(a, b), min(a, b)) if skill == "minus" else (a, b)
    return {"a": str(a), "b": str(b), "t": str(a - b if skill == "minus" else max(a, b))}


def _statement(rng, lang):
    task = rng.choices(list(_TASK_WEIGHTS), weights=list(_TASK_WEIGHTS.values()))[0]
    return rng.choice(STATEMENTS[task][lang]).format(**rng.choice(_FACTS[task, lang]))


def _story(rng, lang):
    sentence = rng.choice(STORY[lang])
    return sentence.format(n=rng.choice(world.NOUNS)["word"][lang], j=rng.choice(world.ADJECTIVES + world.COLOURS)["word"][lang])


def make_document(rng, with_styles=False):
    """One document: [(text, is_answer), ...]; a chat of one or two turns, or a short text of sentences.

    with_styles: some instructions ask for an answer in a style (the second stage of the training).
    """
    lang = rng.choice(LANGUAGES)
    share = rng.choices([name for name, _ in _SHARES], weights=[weight for _, weight in _SHARES])[0]
    if share in ("statement", "story"):
        make = _statement if share == "statement" else _story
        text = " ".join(make(rng, lang) if rng.random() < 0.85 else _statement(rng, lang) for _ in range(rng.randint(1, 3)))
        return [(BOS, False), (text, False), (EOS, False)]
    parts = [(BOS, False)]
    for _ in range(2 if rng.random() < 0.15 else 1):
        if share == "instruction":
            question, answer = _instruction(rng, lang, with_styles)
        else:
            skill = rng.choice(list(SKILLS))
            slots = _skill_slots(rng, skill, lang)
            question, answer = rng.choice(SKILLS[skill][lang]).format(**slots), slots["t"]
        parts += [(USER, False), (question, False), (ASSISTANT, False), (answer, True), (EOS, True)]
    return parts
