"""Pre-trains the tiny model on the generated text and writes models/fedllm-tiny-f16.gguf.

    python3 models/pretrain.py [--steps N] [--workers N] [--work DIR] [--out FILE]

Needs PyTorch and numpy. Text, tokenizer, initial weights and order are seeded; a stopped run continues from the
checkpoint in --work. Prints step, tokens seen, loss of all and of answer tokens, and at the end the exact match.
"""
import argparse
import math
import os
import random
import time

# Each worker computes with one thread; numpy's and PyTorch's libraries read this when they load.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy
import torch
import torch.nn.functional as functional

import bpe
from gguf_writer import write_gguf
from pretraining_text import BOS, EOS, SPECIAL_TOKENS, make_document
from tiny_llama import CONFIG, TinyLlama, document_mask

SEED = 20260
TOKENIZER_DOCUMENTS = 60000
ROWS, LENGTH = 16, 128
# One step in so many trains on few long rows in which documents see the earlier ones: it reaches the whole context.
LONG_EVERY, LONG_ROWS, LONG_LENGTH = 16, 4, 512
# Text and questions count less than answers, which are what the model is for.
TEXT_WEIGHT, ANSWER_WEIGHT = 0.4, 1.0
# From this step on some instructions name the style of the answer: first the facts, then how to put them.
STYLES_FROM_STEP = 1000
PEAK_RATE, FINAL_SHARE, WARMUP_STEPS = 2.5e-3, 0.03, 100

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train_tokenizer():
    rng = random.Random(SEED)
    texts = (text for _ in range(TOKENIZER_DOCUMENTS) for text, _ in make_document(rng) if text not in SPECIAL_TOKENS)
    return bpe.train(texts, SPECIAL_TOKENS, CONFIG["vocabulary"])


def encode_document(tokenizer, document):
    """-> ids and, for each, its loss weight as a target."""
    ids, weights = [], []
    for text, is_answer in document:
        part = tokenizer.encode(text)
        ids += part
        weights += [ANSWER_WEIGHT if is_answer else TEXT_WEIGHT] * len(part)
    weights[0] = 0.0
    return ids, weights


class Batches:
    """Packs generated documents into rows; a document that does not fit waits for the next row."""

    def __init__(self, tokenizer, seed):
        self.tokenizer = tokenizer
        self.rng = random.Random(seed)
        self.waiting = None

    def _row(self, length, with_styles):
        ids, weights, numbers, number = [], [], [], 0
        while True:
            document = self.waiting or encode_document(self.tokenizer, make_document(self.rng, with_styles))
            if len(ids) + len(document[0]) > length:
                self.waiting = document
                pad = length - len(ids)
                return ids + [0] * pad, weights + [0.0] * pad, numbers + [-1] * pad
            self.waiting = None
            ids += document[0]
            weights += document[1]
            numbers += [number] * len(document[0])
            number += 1

    def next(self, rows, length, with_styles):
        """-> tokens, weights, document numbers, each a tensor [rows, length]."""
        made = [self._row(length, with_styles) for _ in range(rows)]
        ids, weights, numbers = zip(*made)
        return torch.tensor(ids), torch.tensor(weights), torch.tensor(numbers)


def losses(model, tokens, weights, mask):
    """Cross-entropy of each next token and the weight of each, flat."""
    logits = model(tokens, mask)[:, :-1]
    loss = functional.cross_entropy(logits.reshape(-1, CONFIG["vocabulary"]), tokens[:, 1:].reshape(-1), reduction="none")
    return loss, weights[:, 1:].reshape(-1)


def learning_rate(step, steps):
    """Linear warm-up, then a cosine to FINAL_SHARE of the peak."""
    if step < WARMUP_STEPS:
        return PEAK_RATE * (step + 1) / WARMUP_STEPS
    progress = (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS)
    return PEAK_RATE * (FINAL_SHARE + (1 - FINAL_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))


class SharedGradients:
    """Adds up the gradients of the worker processes, each of which has trained on its own rows with one thread.

    One process per core is faster than threads within each operation, above all on a busy machine.
    Every worker computes the same sum in the same order, so that their weights stay equal bit for bit.
    """

    def __init__(self, workers, parameters):
        context = torch.multiprocessing.get_context("fork")
        self.gradients = torch.zeros(workers, sum(p.numel() for p in parameters)).share_memory_()
        self.numbers = torch.zeros(workers, 6, dtype=torch.float64).share_memory_()
        self.barrier = context.Barrier(workers)

    def combine(self, rank, parameters, numbers):
        """Replaces each gradient of a weighted sum by that of the weighted mean; -> numbers summed over the workers."""
        self.gradients[rank] = torch.cat([p.grad.flatten() for p in parameters])
        self.numbers[rank] = torch.tensor(numbers, dtype=torch.float64)
        self.barrier.wait()
        sums = self.numbers.sum(0).tolist()
        mean = self.gradients.sum(0) / sums[0]
        for parameter, part in zip(parameters, mean.split([p.numel() for p in parameters])):
            parameter.grad.copy_(part.view_as(parameter))
        self.barrier.wait()
        return sums


def pretrain_worker(rank, workers, shared, model, tokenizer, steps, work):
    """Trains for `steps` optimizer steps; worker 0 reports and every worker keeps its own checkpoint."""
    torch.set_num_threads(1)
    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if p.dim() == 2], "weight_decay": 0.05},
              {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.98), foreach=True)
    batches, start, seen = Batches(tokenizer, SEED + 10 + rank), 0, 0
    checkpoint = os.path.join(work, "checkpoint-%d.pt" % rank)
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        batches.rng.setstate(state["rng"])
        batches.waiting, start, seen = state["waiting"], state["step"], state["seen"]
    since, totals = time.time(), [0.0] * 4
    for step in range(start, steps):
        is_long = step % LONG_EVERY == LONG_EVERY - 1
        rows, length = (LONG_ROWS, LONG_LENGTH) if is_long else (ROWS, LENGTH)
        tokens, weights, numbers = batches.next(rows // workers, length, step >= STYLES_FROM_STEP)
        mask = document_mask(torch.zeros_like(numbers[:1]) if is_long else numbers)
        loss, weight = losses(model, tokens, weights, mask)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        optimizer.zero_grad(set_to_none=True)
        (loss * weight).sum().backward()
        values, counted, answer = loss.detach(), weight > 0, weight == ANSWER_WEIGHT
        amounts = (weight.sum(), (numbers >= 0).sum(), values[counted].sum(), counted.sum(), values[answer].sum(), answer.sum())
        sums = shared.combine(rank, parameters, [float(amount) for amount in amounts])
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        seen += int(sums[1])
        totals = [total + amount for total, amount in zip(totals, sums[2:])]
        if (step + 1) % 100 == 0 or step + 1 == steps:
            if rank == 0:
                print("step %d tokens %d loss %.4f answer loss %.4f seconds %.0f" % (
                    step + 1, seen, totals[0] / totals[1], totals[2] / totals[3], time.time() - since), flush=True)
            totals = [0.0] * 4
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": batches.rng.getstate(),
                        "waiting": batches.waiting, "step": step + 1, "seen": seen}, checkpoint + ".new")
            # All have written before any replaces, so that the checkpoints are of the same step.
            shared.barrier.wait()
            os.replace(checkpoint + ".new", checkpoint)


def pretrain(tokenizer, steps, work, workers):
    """-> the trained model and the tokens it has seen."""
    model = TinyLlama(SEED)
    shared = SharedGradients(workers, list(model.parameters()))
    context = torch.multiprocessing.get_context("fork")
    processes = [context.Process(target=pretrain_worker, args=(rank, workers, shared, model, tokenizer, steps, work))
                 for rank in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            raise SystemExit("worker: expected exit code 0, received %s" % process.exitcode)
    state = torch.load(os.path.join(work, "checkpoint-0.pt"))
    model.load_state_dict(state["model"])
    return model, state["seen"]


def exact_match(model, tokenizer, count):
    """Share of fresh documents with answers in which every answer token is the most likely one, and mean losses."""
    rng, right, asked, total, tokens_counted = random.Random(SEED + 2), 0, 0, 0.0, 0
    with torch.no_grad():
        while asked < count:
            ids, weights = encode_document(tokenizer, make_document(rng, with_styles=True))
            tokens, is_answer = torch.tensor([ids]), torch.tensor(weights[1:]) == ANSWER_WEIGHT
            logits = model(tokens, document_mask(torch.zeros_like(tokens)))[0, :-1]
            total += float(functional.cross_entropy(logits, tokens[0, 1:], reduction="sum"))
            tokens_counted += len(ids) - 1
            if bool(is_answer.any()):
                asked += 1
                right += bool((logits.argmax(-1) == tokens[0, 1:])[is_answer].all())
    return right / count, total / tokens_counted


def write_model(path, model, tokenizer):
    c = CONFIG
    metadata = {
        "general.architecture": ("string", "llama"), "general.type": ("string", "model"),
        "general.name": ("string", "fedllm-tiny"), "general.license": ("string", "mit"),
        "general.file_type": ("u32", 1), "general.quantization_version": ("u32", 2),
        "llama.vocab_size": ("u32", c["vocabulary"]), "llama.context_length": ("u32", c["context"]),
        "llama.embedding_length": ("u32", c["embedding"]), "llama.block_count": ("u32", c["layers"]),
        "llama.feed_forward_length": ("u32", c["feed_forward"]), "llama.attention.head_count": ("u32", c["heads"]),
        "llama.attention.head_count_kv": ("u32", c["kv_heads"]), "llama.rope.dimension_count": ("u32", c["head_size"]),
        "llama.attention.key_length": ("u32", c["head_size"]), "llama.attention.value_length": ("u32", c["head_size"]),
        "llama.rope.freq_base": ("f32", c["rope_base"]), "llama.attention.layer_norm_rms_epsilon": ("f32", c["rms_epsilon"]),
        "tokenizer.ggml.model": ("string", "gpt2"), "tokenizer.ggml.pre": ("string", "gpt-2"),
        "tokenizer.ggml.tokens": ("strings", tokenizer.tokens),
        # 3 marks a control token, 1 a normal one.
        "tokenizer.ggml.token_type": ("i32s", [3 if t in SPECIAL_TOKENS else 1 for t in tokenizer.tokens]),
        "tokenizer.ggml.merges": ("strings", [a + " " + b for a, b in tokenizer.merges]),
        "tokenizer.ggml.bos_token_id": ("u32", tokenizer.ids[BOS]), "tokenizer.ggml.eos_token_id": ("u32", tokenizer.ids[EOS]),
        "tokenizer.ggml.padding_token_id": ("u32", tokenizer.ids[EOS]),
        "tokenizer.ggml.add_bos_token": ("bool", True), "tokenizer.ggml.add_eos_token": ("bool", False),
        "tokenizer.ggml.add_space_prefix": ("bool", False),
        "tokenizer.chat_template": ("string", CHAT_TEMPLATE),
    }
    tensors = {}
    for name, parameter in model.named_parameters():
        full = name if name.endswith(".weight") else name + ".weight"
        tensors[full] = parameter.detach().numpy().astype(numpy.float16 if parameter.dim() == 2 else numpy.float32)
    write_gguf(path, metadata, tensors)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Pre-train the tiny model and write its GGUF file.")
    parser.add_argument("--steps", type=int, default=1700)
    parser.add_argument("--workers", type=int, default=2, help="processes of one thread each; the result depends on it")
    parser.add_argument("--work", default="pretrain-work", help="folder of the checkpoint")
    parser.add_argument("--out", default=os.path.join(here, "fedllm-tiny-f16.gguf"))
    arguments = parser.parse_args()
    os.makedirs(arguments.work, exist_ok=True)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer()
    model, seen = pretrain(tokenizer, arguments.steps, arguments.work, arguments.workers)
    share, loss = exact_match(model, tokenizer, 1000)
    print("parameters %d tokens %d fresh text: loss %.4f exact match %.3f" % (
        sum(p.numel() for p in model.parameters()), seen, loss, share))
    write_model(arguments.out, model, tokenizer)


if __name__ == "__main__":
    main()
