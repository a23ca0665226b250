"""Seeded permutations, samples and shares. Torch's global generators are never used."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Subset


def permutation(n: int, seed: int) -> list[int]:
    """Return a seeded permutation of range(n)."""
    return [int(i) for i in torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()]


def class_permutation(key: str, n: int, seed: int) -> list[int]:
    """Return a permutation of range(n) that depends only on the class's key and the seed."""
    return permutation(n, _class_seed(key, seed))


def class_draws(key: str, n: int, count: int, seed: int) -> list[int]:
    """Return `count` draws from range(n) with repetition, which depend only on the class's key and the seed."""
    generator = torch.Generator().manual_seed(_class_seed(key, seed))
    return [int(i) for i in torch.randint(n, (count,), generator=generator).tolist()]


def _class_seed(key: str, seed: int) -> int:
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    # 63 bits: torch's generator takes any int64.
    return int.from_bytes(digest[:8], "big") >> 1


def sample(dataset: Any, n: int, seed: int) -> Subset[Any]:
    """Return a seeded random choice of at most n images of a dataset, in random order."""
    return Subset(dataset, permutation(len(dataset), seed)[:n])


def shares(counts: Sequence[int], size: int, most: Sequence[int], least: int = 0, seed: int = 0) -> list[int]:
    """Divide `size` among classes in proportion to `counts`, by largest remainders.

    What a class cannot take goes to the others. Equal remainders are ordered by the seed.

    Args:
        counts: images per class [C].
        size: the total to divide.
        most: the upper bound of each class [C].
        least: the lower bound of a class that has an image. It applies only if `size` suffices for all of them.
        seed: the seed of the order of equal remainders.

    Returns:
        Numbers [C] that sum to min(size, sum(most)).
    """
    size = min(size, sum(most))
    total = sum(counts) or 1
    exact = [size * count / total for count in counts]
    present = sum(bound > 0 for bound in most)
    floor = least if least * present <= size else 0
    taken = [min(bound, max(int(share), floor)) for share, bound in zip(exact, most, strict=True)]
    rank = {c: i for i, c in enumerate(permutation(len(counts), seed))}
    while (rest := size - sum(taken)) != 0:
        step = 1 if rest > 0 else -1
        able = [c for c in range(len(counts)) if (taken[c] < most[c] if step > 0 else taken[c] > min(floor, most[c]))]
        able.sort(key=lambda c: (step * (taken[c] - exact[c]), rank[c]))
        for c in able[: abs(rest)]:
            taken[c] += step
    return taken
