"""Few-shot training: exactly k training images of each class, chosen independently per class."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch.utils.data import Subset

from benchmarks.data.domain import Domain, members_of, with_validation
from benchmarks.data.sampling import class_draws, class_permutation
from models.registry import UserError


def with_shots(domain: Domain, k: int, seed: int = 0, take: bool = True, repeat: bool = False) -> Domain:
    """Return the domain with `shots`, and a validation split from the remaining training images (`with_validation`).

    The shots are chosen first, so a class with exactly `k` images is enough. `take` is that of `with_validation`.
    """
    few = shots(domain, k, seed, repeat)
    held = with_validation(domain, seed, take, leave=k)
    return replace(few, val=held.val, split_sources={**held.split_sources, "train": few.split_sources["train"]})


def shots(domain: Domain, k: int, seed: int = 0, repeat: bool = False) -> Domain:
    """Return the domain with exactly `k` training images of each class; val, test and ood are unchanged.

    The choice (ours) is seeded by `seed` and the class name. It depends neither on the other classes nor on
    their order, and the images chosen for k are among those chosen for k + 1.

    Args:
        domain: the domain.
        k: training images per class.
        seed: the seed of the choice.
        repeat: draw the `k` images of a class that has fewer with repetition, as RAIL's released code does.

    Raises:
        UserError: for k < 1, a domain without training images or with questions, a class without training images, and, unless
            `repeat`, a class with fewer than k.
    """
    if k < 1:
        raise UserError(f"The number of shots must be at least 1, got {k}.")
    if domain.train is None:
        raise UserError(f"The domain {domain.name!r} has no training images to take {k} shots from.")
    if domain.groups is not None:
        raise UserError(
            f"The classes of {domain.name!r} are options of questions, and most have no training image, so --shots cannot be "
            "used. Use --limit for fewer images."
        )
    chosen: list[int] = []
    repeated = 0
    for name, indices in zip(domain.classnames, members_of(domain, "train"), strict=True):
        if len(indices) < k and not (repeat and indices):
            raise UserError(
                f"The class {name!r} of {domain.name!r} has {len(indices)} training images, fewer than the {k} shots asked for."
            )
        few = len(indices) < k
        order = class_draws(name, len(indices), k, seed) if few else class_permutation(name, len(indices), seed)[:k]
        repeated += few
        chosen += [indices[i] for i in order]
    train: Any = domain.train
    known = f"{domain.split_sources['train']}; " if "train" in domain.split_sources else ""
    fewer = f", with repetition in {repeated} classes" if repeated else ""
    sources = {**domain.split_sources, "train": f"{known}{k} of each class (--shots), seed {seed}{fewer}"}
    return replace(domain, train=Subset(train, sorted(chosen)), split_sources=sources)
