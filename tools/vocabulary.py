"""A small byte-pair vocabulary in the format of open_clip's SimpleTokenizer: a header line, then one merge per line."""

from __future__ import annotations

import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import regex
from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode

HEADER = "#version: 0.2 - byte pairs of the mini edition's captions"
CONTEXT = 16
MERGES = 3000
_WORD = regex.compile(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
_END = "</w>"

Symbols = tuple[str, ...]


def learn(texts: Iterable[str], count: int = MERGES) -> list[tuple[str, str]]:
    """Return `count` merges, each the most frequent pair after the previous ones; ties go to the first in the alphabet."""
    byte = bytes_to_unicode()
    tally = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    spelled: list[list[str]] = []
    weights: list[int] = []
    for word, frequency in sorted(tally.items()):
        symbols = [byte[b] for b in word.encode()]
        spelled.append([*symbols[:-1], symbols[-1] + _END])
        weights.append(frequency)
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[int]] = defaultdict(set)
    for index, symbols in enumerate(spelled):
        _count(symbols, weights[index], index, pairs, where)
    merges: list[tuple[str, str]] = []
    while len(merges) < count and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for index in sorted(where[best]):
            _count(spelled[index], -weights[index], index, pairs, where)
            spelled[index] = _merged(spelled[index], best)
            _count(spelled[index], weights[index], index, pairs, where)
        pairs = +pairs
        where.pop(best, None)
    return merges


def _count(
    symbols: list[str],
    weight: int,
    index: int,
    pairs: Counter[tuple[str, str]],
    where: dict[tuple[str, str], set[int]],
) -> None:
    """Add a word's pairs, times `weight`, to `pairs`, and the word's index to `where`."""
    for pair in pairwise(symbols):
        pairs[pair] += weight
        where[pair].add(index)


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    result: list[str] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result


def save(merges: list[tuple[str, str]], path: Path) -> None:
    """Write a vocabulary file."""
    # No trailing newline: SimpleTokenizer would take the empty last line for one more merge.
    text = "\n".join([HEADER, *(" ".join(pair) for pair in merges)])
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def load(path: Path) -> SimpleTokenizer:
    """Return the tokenizer of a vocabulary file."""
    return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT)
