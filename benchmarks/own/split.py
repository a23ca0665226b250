"""Splits of a user's data: their names, 80/10/10 where there are none, and what takes the place of a missing test split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from benchmarks.data.sampling import class_permutation
from models.registry import UserError

T = TypeVar("T")


def split_by_class(targets: Sequence[int], keys: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Indices of train, val and test: about 80/10/10 of each class, seeded by `seed` and the class's key.

    `targets` [N] are ints in 0..C-1, `keys` [C]. A class of n images gives round(n / 10) to val and as many to test, at
    least one to test when it has three; one of fewer than three is all training. The order of the images of a class
    must be reproducible (sorted paths); other classes do not matter.

    Raises UserError when no class has three images.
    """
    members: list[list[int]] = [[] for _ in keys]
    for index, target in enumerate(targets):
        members[target].append(index)
    splits: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    for key, indices in zip(keys, members, strict=True):
        n = len(indices)
        order = [indices[i] for i in class_permutation(key, n, seed)]
        tenth = (n + 5) // 10
        test = max(1, tenth) if n >= 3 else 0
        val = tenth if n >= 3 else 0
        splits["test"] += order[:test]
        splits["val"] += order[test : test + val]
        splits["train"] += order[test + val :]
    if not splits["test"]:
        raise UserError("No class has three images, too few to split 80/10/10 into train, val and test.")
    return {split: sorted(indices) for split, indices in splits.items()}


def split_note(seed: int) -> str:
    """How `split_by_class` split, for `Domain.source`."""
    return f"split 80/10/10 by class, seed {seed}"


def drawn_sources(seed: int) -> dict[str, str]:
    """Return where the splits of `split_by_class` come from, for `Domain.split_sources`."""
    shares = {"train": 80, "val": 10, "test": 10}
    return {split: f"{share} % of each class, seed {seed}" for split, share in shares.items()}


def sources_with_test(sources: Mapping[str, str]) -> dict[str, str]:
    """Return `Domain.split_sources` after `with_test`: without a test split, of the validation split that took its place."""
    found = dict(sources)
    if "test" not in found and "val" in found:
        found["test"] = f"{found.pop('val')}: there is no labelled test split"
    return found


def with_test(
    splits: dict[str, T], where: str, how: str = "leave out the splits (give the path of the train folder)"
) -> tuple[dict[str, T], str]:
    """The splits with a test split, and a note for `Domain.source`: where there is none, val is tested on, and val is
    gone (a new one comes out of train).

    Raises UserError when there is neither test nor val.
    """
    if "test" in splits:
        return splits, ""
    if "val" in splits:
        rest = {split: found for split, found in splits.items() if split != "val"}
        return {**rest, "test": splits["val"]}, "no test split: tested on the validation split"
    raise UserError(
        f"{where} has a train split but no test split (nor val): add one, or {how} and 80/10/10 of each class are taken."
    )


def check_presence(targets: Mapping[str, Sequence[int]], keys: Sequence[str], where: str, what: str) -> None:
    """Every class needs training images when there is a train split, and at least one image somewhere.

    `targets[split]` are the labels of a split. A class may be absent from val and test.
    Raises UserError naming the class.
    """
    present = {split: set(labels) for split, labels in targets.items()}
    for c, key in enumerate(keys):
        where_found = [split for split in present if c in present[split]]
        if not where_found:
            raise UserError(f"The {what} {key!r} of {where} has no image.")
        if "train" in present and "train" not in where_found:
            raise UserError(f"The {what} {key!r} of {where} has images in {' and '.join(where_found)} but none in train.")
    if not present["test"]:
        raise UserError(f"The test split of {where} has no image.")
