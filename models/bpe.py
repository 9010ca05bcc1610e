"""Byte-level BPE as GPT-2 defines it: training, encoding and the printable form of each token.

Splits text with GPT-2's rule (contractions, letters, digits, other signs, white space), so that llama.cpp's
pre-tokenizer "gpt-2" cuts at the same places. Needs Python 3 alone.
"""
import collections
import re

# \p{L} is written [^\W\d_] and \p{N} is \d: Python's re has no Unicode classes, and our text has no other numerals.
_SPLIT = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def _byte_characters():
    """GPT-2's map from each byte to a printable character."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    table, extra = {}, 0
    for byte in range(256):
        if byte in printable:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(256 + extra)
            extra += 1
    return table


BYTE_CHARACTERS = _byte_characters()


def split_words(text):
    """Text -> pieces in the printable alphabet; merges never cross a piece."""
    return ["".join(BYTE_CHARACTERS[b] for b in piece.encode("utf-8")) for piece in _SPLIT.findall(text)]


class Tokenizer:
    """tokens: id -> printable text (special tokens first, then 256 bytes, then merges); merges: [(left, right)]."""

    def __init__(self, special_tokens, merges):
        self.special_tokens = list(special_tokens)
        self.merges = [tuple(pair) for pair in merges]
        self.tokens = self.special_tokens + [BYTE_CHARACTERS[b] for b in range(256)] + [a + b for a, b in self.merges]
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._cache = {}

    def _encode_word(self, word):
        symbols = list(word)
        while len(symbols) > 1:
            pairs = [(self._ranks.get((a, b), len(self._ranks)), i) for i, (a, b) in enumerate(zip(symbols, symbols[1:]))]
            rank, i = min(pairs)
            if rank == len(self._ranks):
                break
            symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
        return [self.ids[s] for s in symbols]

    def encode(self, text):
        """Token ids of plain text; a text that is exactly one special token gives its id."""
        if text in self.special_tokens:
            return [self.ids[text]]
        ids = []
        for word in split_words(text):
            if word not in self._cache:
                self._cache[word] = self._encode_word(word)
            ids += self._cache[word]
        return ids


def train(texts, special_tokens, vocabulary_size):
    """Learns merges from texts: always the most frequent pair, ties by the pair's text, so that a rerun is identical."""
    counts = collections.Counter(word for text in texts for word in split_words(text))
    words = [(list(word), count) for word, count in sorted(counts.items())]
    pair_counts, where = collections.Counter(), collections.defaultdict(set)
    for index, (symbols, count) in enumerate(words):
        for pair in zip(symbols, symbols[1:]):
            pair_counts[pair] += count
            where[pair].add(index)
    merges, known = [], set(BYTE_CHARACTERS.values())
    while len(special_tokens) + 256 + len(merges) < vocabulary_size:
        pair = max(pair_counts, key=lambda p: (pair_counts[p], p))
        if pair_counts[pair] <= 0:
            raise ValueError("vocabulary_size: expected at most %d for this text, received %d"
                             % (len(special_tokens) + 256 + len(merges), vocabulary_size))
        # The same text may arise from two pairs; as one token it may be listed only once.
        if pair[0] + pair[1] in known:
            del pair_counts[pair]
            continue
        known.add(pair[0] + pair[1])
        merges.append(pair)
        for index in sorted(where.pop(pair)):
            symbols, count = words[index]
            for old in zip(symbols, symbols[1:]):
                pair_counts[old] -= count
            i = 0
            while i < len(symbols) - 1:
                if (symbols[i], symbols[i + 1]) == pair:
                    symbols[i:i + 2] = [symbols[i] + symbols[i + 1]]
                i += 1
            for new in zip(symbols, symbols[1:]):
                pair_counts[new] += count
                where[new].add(index)
        del pair_counts[pair]
    return Tokenizer(special_tokens, merges)
