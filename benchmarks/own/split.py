"""Splits of a user's data: 80/10/10 for data without splits, and a replacement for a missing test split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from benchmarks.data.sampling import class_permutation
from models.registry import UserError

T = TypeVar("T")
U = TypeVar("U")


class Division(NamedTuple, Generic[T]):
    """Data divided into splits.

    Attributes:
        splits: the data (indices or a dataset) of "train", "val" and "test", without empty splits.
        sources: the origin of each split, for `Domain.split_sources`.
        note: how the splits were made, for `Domain.source`; may be empty.
    """

    splits: dict[str, T]
    sources: dict[str, str]
    note: str

    def map(self, make: Callable[[T], U]) -> Division[U]:
        """Return the division with `make` applied to the data of each split."""
        return Division({split: make(data) for split, data in self.splits.items()}, self.sources, self.note)


def draw_splits(targets: Sequence[int], keys: Sequence[str], seed: int) -> Division[list[int]]:
    """Divide images into train, val and test: about 80/10/10 of each class, seeded by `seed` and the class's key.

    A class of n images has round(n / 10) in val and as many in test, but at least one in test if n >= 3. If n < 3, all its
    images are in train. The choice in one class does not depend on the other classes.

    Args:
        targets: the labels [N], integers in 0..C-1. The order of the images of a class must be reproducible (sorted paths).
        keys: the keys of the classes [C].
        seed: the seed of the choice.

    Returns:
        The indices of each split, sorted.

    Raises:
        UserError: if no class has three images.
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
    shares = {"train": 80, "val": 10, "test": 10}
    return Division(
        {split: sorted(indices) for split, indices in splits.items() if indices},
        {split: f"{share} % of each class, seed {seed}" for split, share in shares.items()},
        f"split 80/10/10 by class, seed {seed}",
    )


def with_test(
    splits: Mapping[str, T],
    sources: Mapping[str, str],
    where: str,
    remedy: str = "leave out the splits (give the path of the train folder)",
) -> Division[T]:
    """Return the splits with a test split. If it is missing, the validation split becomes the test split.

    Args:
        splits: the data of each split.
        sources: the origin of each split.
        where: the data in messages.
        remedy: how to leave out the splits, for the message.

    Raises:
        UserError: if there is neither a test nor a validation split.
    """
    if "test" in splits:
        return Division(dict(splits), dict(sources), "")
    if "val" in splits:
        renamed = {"test" if split == "val" else split: data for split, data in splits.items()}
        origin = {split: source for split, source in sources.items() if split != "val"}
        if "val" in sources:
            origin["test"] = f"{sources['val']}: there is no labelled test split"
        return Division(renamed, origin, "no test split: tested on the validation split")
    raise UserError(
        f"{where} has a train split but neither a test nor a val split: add one, or {remedy}, and 80/10/10 of each class are "
        "taken."
    )


def check_presence(targets: Mapping[str, Sequence[int]], keys: Sequence[str], where: str, key_noun: str) -> None:
    """Check that every class has an image, and a training image if there is a train split.

    A class may be absent from val and test.

    Args:
        targets: the labels of each split.
        keys: the classes in messages [C].
        where: the data in messages.
        key_noun: the noun for a key ("class folder").

    Raises:
        UserError: naming the class, or for an empty test split.
    """
    present = {split: set(labels) for split, labels in targets.items()}
    for c, key in enumerate(keys):
        splits = [split for split in present if c in present[split]]
        if not splits:
            raise UserError(f"The {key_noun} {key!r} of {where} has no image: add images, or remove the class.")
        if "train" in present and "train" not in splits:
            raise UserError(
                f"The {key_noun} {key!r} of {where} has images in {' and '.join(splits)} but none in train: add training "
                "images, or remove the class."
            )
    if not present["test"]:
        raise UserError(f"The test split of {where} has no image.")
