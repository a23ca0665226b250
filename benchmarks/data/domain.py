"""What is learned in one experience: a `Domain` is images with labels, class names, prompt templates and splits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch.utils.data import ConcatDataset, Dataset, Subset

from models.prompts import fill
from models.registry import check_text

VALIDATION_FRACTION = 0.1
VALIDATION_LIMIT = 5000


class ImageDataset(Protocol):
    """A torch-style dataset of (image, label): a PIL image or a uint8 tensor [3, H, W], and an int in 0..C-1."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> tuple[Any, int]: ...


class TensorImages(Dataset):
    """Images held in memory.

    `images` is uint8 [N, 3, H, W], `targets` a sequence of N ints; items are (uint8 [3, H, W], int).
    """

    def __init__(self, images: torch.Tensor, targets: Sequence[int]):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"images must be uint8 [N, 3, H, W], got {images.dtype} {tuple(images.shape)}")
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images but {len(targets)} targets")
        self.images = images
        self.targets = [int(t) for t in targets]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], self.targets[index]


@dataclass(frozen=True)
class Domain:
    """One task's data.

    `templates` hold "{}" for the class name; the first one trains, all average at evaluation (ZSCL's released code). `val`
    may be None: then `with_validation` takes a seeded 10 % of train, at most 5,000 images. `ood` is an out-of-distribution
    test set of the same classes, never trained on. `part_of` names the domain whose classes these are a part of.
    `split_sources` maps "train", "val" or "test" to a phrase that says where its images come from, for the header of a run:
    "the folder Testing/", "10 % of each class, seed 0", "the validation split: there is no labelled test split". Readers fill
    it where they decide; whoever makes one split out of another changes it (`replace`). A split may be missing from it.
    `warnings` are sentences about the data that the user should look at, `notes` those that explain how it was read ("ignored
    48 files in 24 folders called @eaDir"); every command that reads data prints both (`harness.display.data_summary`).
    `published`: class names and templates are those of a benchmark (the papers', the mini edition's), not of a user.

    Raises ValueError for a domain without classes or with a template that has no "{}", and for a name or template that
    `models.registry.check_text` refuses.
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    train: ImageDataset | None
    val: ImageDataset | None
    test: ImageDataset | None
    ood: ImageDataset | None = None
    licence: str = ""
    source: str = ""
    part_of: str | None = None
    split_sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    published: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classnames", tuple(self.classnames))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.classnames:
            raise ValueError(f"domain {self.name!r} has no class names")
        if not self.templates:
            raise ValueError(f"domain {self.name!r} has no prompt templates")
        check_text(self.name, "name of the data")
        for name in self.classnames:
            check_text(name, "class name")
        for template in self.templates:
            check_text(template, "template")
            if "{}" not in template:
                raise ValueError(f"template {template!r} of domain {self.name!r} has no '{{}}' for the class name")
        # Deferred: `images` imports this module.
        from benchmarks.data.images import share_depth

        share_depth(self.train, self.val, self.test, self.ood)

    def prompts(self, template: int = 0) -> list[str]:
        """The class names in one template, in class order; template 0 is the one that trains."""
        return fill(self.templates[template], self.classnames)


def targets_of(dataset: ImageDataset) -> list[int]:
    """The labels of a dataset, without decoding its images where it says them (`targets`, `labels`, `Subset` of
    such).
    """
    if isinstance(dataset, Subset):
        inner = targets_of(dataset.dataset)  # type: ignore[arg-type]
        return [inner[i] for i in dataset.indices]
    if isinstance(dataset, ConcatDataset):
        return [target for part in dataset.datasets for target in targets_of(part)]  # type: ignore[arg-type]
    for attribute in ("targets", "labels", "_labels"):
        labels = getattr(dataset, attribute, None)
        if labels is not None and len(labels) == len(dataset):
            return [int(label) for label in labels]
    return [int(dataset[i][1]) for i in range(len(dataset))]


def permutation(n: int, seed: int) -> list[int]:
    """Return a seeded permutation of range(n). Global generators are left as they are."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()


def class_permutation(key: str, n: int, seed: int) -> list[int]:
    """Return a permutation of range(n) that depends only on the class's key and the seed."""
    digest = hashlib.sha256(f"{seed}\n{key}".encode()).digest()
    # 63 bits: torch's generator takes any int64.
    return permutation(n, int.from_bytes(digest[:8], "big") >> 1)


def sample(dataset: Any, n: int, seed: int) -> Subset:
    """Return a seeded random choice of at most n images of a dataset, in random order."""
    return Subset(dataset, permutation(len(dataset), seed)[:n])


def members_of(domain: Domain, split: str) -> list[list[int]]:
    """Return the indices of a split's images for each class, in a seedless, stable order (that of the split)."""
    members: list[list[int]] = [[] for _ in domain.classnames]
    for index, label in enumerate(targets_of(getattr(domain, split))):
        members[label].append(index)
    return members


def shares(counts: Sequence[int], size: int, most: Sequence[int], least: int = 0, seed: int = 0) -> list[int]:
    """Divide `size` among classes in proportion to `counts` [C], by largest remainders.

    A class gets at least `least` where it has an image and `size` allows it for all, and never more than `most` [C]. What
    a class cannot take goes to the others. Equal remainders are ordered by the seed.

    Returns:
        Numbers [C] that sum to min(size, sum(most)).
    """
    size = min(size, sum(most))
    total = sum(counts) or 1
    exact = [size * count / total for count in counts]
    present = sum(bound > 0 for bound in most)
    floor = least if least * present <= size else 0
    taken = [min(bound, max(int(share), floor)) for share, bound in zip(exact, most, strict=True)]
    place = {c: i for i, c in enumerate(permutation(len(counts), seed))}
    while (rest := size - sum(taken)) != 0:
        step = 1 if rest > 0 else -1
        able = [c for c in range(len(counts)) if (taken[c] < most[c] if step > 0 else taken[c] > min(floor, most[c]))]
        able.sort(key=lambda c: (step * (taken[c] - exact[c]), place[c]))
        for c in able[: abs(rest)]:
            taken[c] += step
    return taken


def with_validation(domain: Domain, seed: int = 0, take: bool = True, leave: int = 1) -> Domain:
    """Return the domain with a validation split: its own, or a seeded 10 % of train (at most 5,000 images) by class.

    Every class gives in proportion to its images (`shares`), so the choice is stratified (ours; PAINT's and IIMM's released
    code draw 10 % of train without regard to classes). A class keeps at least `leave` training images, and the choice
    never meets the first `leave` images of `benchmarks.data.shots`. Nothing can be held out when no class has more than `leave`
    images: then `val` stays None.

    Args:
        seed: of the choice, together with the class names.
        take: remove those images from the training split. Otherwise they stay in it, for protocols that train on all of
            it and select nothing.
        leave: training images that each class keeps: 1, or the number of shots.
    """
    if domain.val is not None or domain.train is None:
        return domain
    train: Any = domain.train
    members = members_of(domain, "train")
    counts = [len(indices) for indices in members]
    size = min(VALIDATION_LIMIT, max(1, int(VALIDATION_FRACTION * sum(counts))))
    most = [max(0, count - leave) for count in counts] if take else counts
    chosen: list[int] = []
    for name, indices, number in zip(domain.classnames, members, shares(counts, size, most, seed=seed), strict=True):
        order = class_permutation(name, len(indices), seed)
        # From the end: shots are taken from the start.
        chosen += [indices[i] for i in order[len(order) - number :]]
    if not chosen:
        return domain
    held = set(chosen)
    kept = [index for index in range(len(train)) if index not in held]
    source = f"10 % of the training images, by class, seed {seed}"
    return replace(
        domain,
        val=Subset(train, sorted(chosen)),
        train=Subset(train, kept) if take else train,
        split_sources={**domain.split_sources, "val": source},
    )


def limited(domain: Domain, limit: int, seed: int = 0) -> Domain:
    """Return the domain with at most `limit` images per split: a seeded choice in proportion to the classes.

    Every class keeps at least one image, unless there are more classes than `limit`: `warnings` then counts those without a
    training image.
    """
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")

    def cut(split: str) -> Any:
        dataset: Any = getattr(domain, split)
        if dataset is None or len(dataset) <= limit:
            return dataset
        members = members_of(domain, split)
        counts = [len(indices) for indices in members]
        chosen: list[int] = []
        for name, indices, number in zip(domain.classnames, members, shares(counts, limit, counts, 1, seed), strict=True):
            chosen += [indices[i] for i in class_permutation(name, len(indices), seed)[:number]]
        return Subset(dataset, sorted(chosen))

    few = replace(domain, **{split: cut(split) for split in ("train", "val", "test", "ood")})
    sources = dict(domain.split_sources)
    for split in ("train", "val", "test"):
        before, after = getattr(domain, split), getattr(few, split)
        if before is not after:
            known = f"{sources[split]}; " if split in sources else ""
            sources[split] = f"{known}{len(after):,} of {len(before):,} images (--limit), seed {seed}"
    few = replace(few, split_sources=sources)
    if domain.train is None or few.train is None:
        return few
    lost = len(set(targets_of(domain.train))) - len(set(targets_of(few.train)))
    if not lost:
        return few
    are = f"{lost} of them {'is' if lost == 1 else 'are'} trained on no image"
    sentence = f"--limit {limit} is less than the {len(few.classnames)} classes of {few.name}: {are}"
    return replace(few, warnings=(*few.warnings, sentence))
