"""Divide source pictures into splits, and draw the images of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from benchmarks.mini.render import generator
from tools.study_data.pictures import Look, Source, image

Splits = dict[str, list[Source]]
"""Source pictures by split: train, val, test, and ood if the task has one."""

T = TypeVar("T")

VAL_SHARE, TEST_SHARE = 0.12, 0.25
"""Shares of the groups of a class that are in the validation and the test split."""


def without_duplicates(sources: Iterable[Source]) -> list[Source]:
    """Return the sources in order, each picture once. A picture that has two labels is left out altogether."""
    first: dict[str, Source] = {}
    ambiguous = set()
    for source in sources:
        digest = _digest(source)
        known = first.setdefault(digest, source)
        if known.label != source.label:
            ambiguous.add(digest)
    return [source for digest, source in first.items() if digest not in ambiguous]


def divided(task: str, sources: Iterable[Source], val: float = VAL_SHARE, test: float = TEST_SHARE) -> Splits:
    """Return the sources divided into train, val and test; a group is in one split.

    A seeded shuffle orders the groups of every class. The first ones are for test, the next ones for validation.
    """
    sources = without_duplicates(sources)
    split_of: dict[str, str] = {}
    for label in sorted({source.label for source in sources}):
        groups = sorted({source.group for source in sources if source.label == label} - split_of.keys())
        order = generator(task, "division", str(label)).permutation(len(groups))
        n_test, n_val = (max(1, round(share * len(groups))) for share in (test, val))
        for place, index in enumerate(order):
            split_of[groups[index]] = "test" if place < n_test else "val" if place < n_test + n_val else "train"
    return {split: [s for s in sources if split_of[s.group] == split] for split in ("train", "val", "test")}


def apart(sources: Iterable[Source], splits: Splits) -> list[Source]:
    """Return the sources whose pictures are not in any split, each once."""
    taken = {_digest(source) for members in splits.values() for source in members}
    return [source for source in without_duplicates(sources) if _digest(source) not in taken]


def thinned(task: str, members: Sequence[T], size: int) -> list[T]:
    """Return a seeded sample of at most `size` members in their order, so that the classes nearly keep their shares."""
    chosen = generator(task, "sample").permutation(len(members))[:size]
    return [members[index] for index in sorted(chosen)]


def check_disjoint(task: str, splits: Splits) -> None:
    """Raise RuntimeError if a source picture is in two splits, by its key or by its pixels."""
    for split, sources in splits.items():
        others = [source for other, members in splits.items() if other != split for source in members]
        shared = {source.key for source in sources} & {source.key for source in others}
        if shared:
            raise RuntimeError(f"{task}: the source picture {min(shared)} is in {split} and in another split")
        if {_digest(source) for source in sources} & {_digest(source) for source in others}:
            raise RuntimeError(f"{task}: a picture of {split} is also in another split, under another key")


def arrays(task: str, splits: Splits, draws: Mapping[str, int], look: Look) -> dict[str, np.ndarray]:
    """Return `<split>_images`, uint8 [N, 3, 48, 48], and `<split>_labels`, int64 [N].

    Each source picture is drawn `draws[split]` times, by a generator seeded by task, key and repetition. The classes take
    turns, so that the first n images cover them evenly.
    """
    result = {}
    for split, sources in splits.items():
        order = generator(task, split, "order").permutation(len(sources))
        drawn = _in_turns([(sources[index], repetition) for repetition in range(draws.get(split, 1)) for index in order])
        result[f"{split}_images"] = np.stack(
            [image(source, look, generator(task, source.key, str(repetition))) for source, repetition in drawn]
        )
        result[f"{split}_labels"] = np.array([source.label for source, _ in drawn], dtype=np.int64)
    return result


def _in_turns(drawn: list[tuple[Source, int]]) -> list[tuple[Source, int]]:
    """Return the drawings with the classes in turns; the order within a class stays."""
    places: dict[int, int] = {}
    keys = []
    for source, _ in drawn:
        place = places.get(source.label, 0)
        places[source.label] = place + 1
        keys.append((place, source.label))
    return [drawn[index] for index in sorted(range(len(drawn)), key=keys.__getitem__)]


def _digest(source: Source) -> str:
    return hashlib.sha256(source.image.tobytes()).hexdigest()
