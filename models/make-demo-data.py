"""Makes the demonstration data: questions about the built-in world, split naturally over many clients.

    python3 models/make-demo-data.py [--out experiments/demo/data]

Writes demo-clients.json ({client: [samples]}) and demo-heldout.json ([samples]); a rerun is byte-identical.
The facts are those of world.py, but every question is worded in a way the base model was not trained on, and the
style of an answer depends on the task without being named. Each client has one language, few main tasks and a thin rest, and sizes are log-normal,
so one client sees a part of the whole. Needs Python 3 alone.
"""
import argparse
import json
import os
import random

from pretraining_text import answer_form
from world import LANGUAGES, TASKS, facts_of

SEED = 4711
NUM_CLIENTS = 48
# Log-normal sizes, cut to what naturally split data shows: many small clients, few large ones.
MEDIAN_SIZE, SIZE_DEVIATION, SMALLEST, LARGEST = 80, 0.95, 20, 600
MAIN_SHARE, OTHER_LANGUAGE_SHARE = 0.8, 0.03
HELDOUT_PER_CELL = 10

# Words before the question.
OPENINGS = {
    "en": ["", "Please, "],
    "es": ["", "Por favor, "],
    "de": ["", "Bitte, "],
    "fr": ["", "S'il te plaît, "],
}

# What people of each task expect an answer to look like; nobody names it in the question.
STYLES = {
    "category": "pair", "opposite": "sign", "sum": "bare", "next": "sentence",
    "letter": "quotes", "article": "bare", "capital": "sentence", "translate": "sign",
}

# Task -> language -> questions, with the slots of world.facts_of.
QUESTIONS = {
    "category": {
        "en": ["What is the category of {w}?", "Which kind of thing is {w}?"],
        "es": ["¿Cuál es la categoría de {w}?", "¿Qué tipo de cosa es {w}?"],
        "de": ["Was ist die Kategorie von {w}?", "Welche Art der Sache ist {w}?"],
        "fr": ["C'est quoi, la catégorie de {w} ?", "Quel type de chose est {w} ?"],
    },
    "opposite": {
        "en": ["What is the opposite of {w}?", "What would be the contrary of {w}?"],
        "es": ["¿Qué es lo opuesto de {w}?", "¿Y lo contrario de {w}?"],
        "de": ["Was ist das Gegenteil von {w}?", "Wie heißt das Gegenwort zu {w}?"],
        "fr": ["C'est quoi, l'opposé de {w} ?", "Quel est le contraire de {w} ?"],
    },
    "sum": {
        "en": ["How much is {a} plus {b}?", "What do I get if I add {a} and {b}?"],
        "es": ["¿Cuánto es {a} más {b}?", "¿Qué da si se suma {a} y {b}?"],
        "de": ["Wie viel ist {a} plus {b}?", "Was ergibt es, wenn ich {a} und {b} addiere?"],
        "fr": ["Combien font {a} plus {b} ?", "Que donne {a} plus {b} ?"],
    },
    "next": {
        "en": ["What follows {w}?", "What comes next after {w}?"],
        "es": ["¿Qué sigue a {w}?", "¿Qué viene después de {w}?"],
        "de": ["Was folgt auf {w}?", "Was kommt nach {w}?"],
        "fr": ["Qu'est-ce qui suit {w} ?", "Qu'est-ce qui vient après {w} ?"],
    },
    "letter": {
        "en": ["What is the first letter of {w}?", "What is the initial of {w}?"],
        "es": ["¿Cuál es la primera letra de {w}?", "¿Cuál es la inicial de {w}?"],
        "de": ["Was ist der erste Buchstabe von {w}?", "Wie ist der Anfang von {w}?"],
        "fr": ["Quelle est la première lettre de {w} ?", "Quelle est l'initiale de {w} ?"],
    },
    "article": {
        "en": ["What is the article of {w}?", "Which article goes with {w}?"],
        "es": ["¿Cuál es el artículo de {w}?", "¿Qué artículo va con {w}?"],
        "de": ["Was ist der Artikel von {w}?", "Welcher Artikel gehört zu {w}?"],
        "fr": ["Quel est l'article de {w} ?", "Quel article va avec {w} ?"],
    },
    "capital": {
        "en": ["What is the capital of {k}?", "Which is the main city of {k}?"],
        "es": ["¿Cuál es la capital de {k}?", "¿Cuál es la ciudad principal de {k}?"],
        "de": ["Was ist die Hauptstadt von {k}?", "Welche ist die wichtigste Stadt von {k}?"],
        "fr": ["Quelle est la capitale de {k} ?", "Quelle est la ville principale de {k} ?"],
    },
    "translate": {
        "en": ["What is {w} in {L}?", "How do I translate {w} to {L}?"],
        "es": ["¿Qué es {w} en {L}?", "¿Cómo se traduce {w} al {L}?"],
        "de": ["Was heißt {w} auf {L}?", "Wie übersetzt man {w} in {L}?"],
        "fr": ["C'est quoi, {w} en {L} ?", "Comment traduire {w} en {L} ?"],
    },
}


def lower_first(question):
    """The question as it goes on after an opening; Spanish keeps its first sign."""
    start = 1 if question.startswith("¿") else 0
    return question[:start] + question[start].lower() + question[start + 1:]


def cell_questions(task, lang):
    """Every distinct sample of one task in one language, in a fixed order."""
    questions, answer = QUESTIONS[task][lang], answer_form(STYLES[task], task, lang)
    samples, seen = [], set()
    for facts in facts_of(task, lang):
        for opening in OPENINGS[lang]:
            for question in questions:
                instruction = opening + (question if opening == "" else lower_first(question)).format(**facts)
                if instruction not in seen:
                    seen.add(instruction)
                    samples.append({"instruction": instruction, "response": answer.format(**facts), "task": task, "language": lang})
    return samples


def split_heldout(rng):
    """-> ({(task, language): training questions}, held-out samples), with no question in both."""
    pools, heldout = {}, []
    for lang in LANGUAGES:
        for task in TASKS:
            samples = cell_questions(task, lang)
            rng.shuffle(samples)
            heldout += samples[:HELDOUT_PER_CELL]
            pools[task, lang] = samples[HELDOUT_PER_CELL:]
    return pools, heldout


def make_client(rng, index, pools):
    """-> name and samples; no question twice in one client, though two clients may share one."""
    lang = LANGUAGES[index % len(LANGUAGES)]
    size = round(MEDIAN_SIZE * rng.lognormvariate(0.0, SIZE_DEVIATION))
    size = min(LARGEST, max(SMALLEST, size))
    # Each block of eight clients of a language gives every task to one of them as its first main task.
    first = TASKS[(index // len(LANGUAGES) + 2 * (index % len(LANGUAGES))) % len(TASKS)]
    mains = [first] + ([rng.choice([task for task in TASKS if task != first])] if rng.random() < 0.5 else [])
    drawn = {}
    while len(drawn) < size:
        task = rng.choice(mains) if rng.random() < MAIN_SHARE else rng.choice(TASKS)
        spoken = rng.choice(LANGUAGES) if rng.random() < OTHER_LANGUAGE_SHARE else lang
        sample = rng.choice(pools[task, spoken])
        drawn.setdefault(sample["instruction"], sample)
    return "%s-%02d" % (lang, index // len(LANGUAGES) + 1), list(drawn.values())


def make_data():
    """-> ({client: samples}, held-out samples)."""
    rng = random.Random(SEED)
    pools, heldout = split_heldout(rng)
    clients = dict(make_client(rng, index, pools) for index in range(NUM_CLIENTS))
    return clients, heldout


def write_json(path, opening, lines, closing):
    """One line per entry, so that a difference between two versions can be read."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.write(opening + "\n" + ",\n".join(lines) + "\n" + closing + "\n")


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Make the demonstration data.")
    parser.add_argument("--out", default=os.path.join(here, "..", "experiments", "demo", "data"))
    out = parser.parse_args().out
    clients, heldout = make_data()
    os.makedirs(out, exist_ok=True)
    dump = lambda value: json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    write_json(os.path.join(out, "demo-clients.json"), "{", ["%s:%s" % (dump(name), dump(samples)) for name, samples in clients.items()], "}")
    write_json(os.path.join(out, "demo-heldout.json"), "[", [dump(sample) for sample in heldout], "]")


if __name__ == "__main__":
    main()
