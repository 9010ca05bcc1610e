"""Makes the server's data of this experiment: chats of the kind that the base model was pre-trained on, none worded as the clients' are.

    python3 experiments/fedbiot/make-server-data.py

Writes server.json ([samples]) beside this file; a rerun is byte-identical. Needs Python 3 alone.
"""
import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "models"))
from pretraining_text import USER, make_document  # noqa: E402

SEED, COUNT = 811, 480


def main():
    rng = random.Random(SEED)
    samples = []
    while len(samples) < COUNT:
        texts = [text for text, _ in make_document(rng, with_styles=True)]
        # Statements and stories are no chats; of two turns the first is taken.
        if texts[1] == USER:
            samples.append({"instruction": texts[2], "response": texts[4]})
    with open(os.path.join(HERE, "server.json"), "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(sample, ensure_ascii=False) for sample in samples) + "\n]\n")


if __name__ == "__main__":
    main()
