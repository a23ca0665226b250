"""The data of one experience: a `Domain` has labelled images in splits, class names and prompt templates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch.utils.data import Subset

from benchmarks.data.dataset import ImageDataset, Relabelled, targets_of
from benchmarks.data.images import share_depth
from benchmarks.data.sampling import class_permutation, shares
from models.prompts import fill
from models.registry import check_text

VALIDATION_FRACTION = 0.1
VALIDATION_LIMIT = 5000


@dataclass(frozen=True)
class Domain:
    """The data of one task.

    Attributes:
        name: the domain's name in commands and records.
        classnames: one name per class, in the order of the labels.
        templates: prompts with "{}" for the class name. The first one trains, all average at evaluation (ZSCL's released code).
        train: the training split, or None for a domain that is only tested.
        val: the validation split. If None, `with_validation` takes a seeded 10 % of train, at most 5,000 images.
        test: the test split.
        ood: an out-of-distribution test set of the same classes, never trained on.
        licence: the licence of the images.
        source: the origin of the images.
        part_of: the domain that these classes are a subset of.
        split_sources: the origin of the splits "train", "val" and "test" as phrases for the header of a run: "the folder
            Testing/", "10 % of each class, seed 0", "the validation split: there is no labelled test split". Readers fill it.
            A function that makes one split out of another updates it (`replace`). A split may be missing from it.
        warnings: sentences about the data that the user should check.
        notes: sentences that explain how the data was read ("ignored 48 files in 24 folders called @eaDir"). Every command
            that reads data prints warnings and notes (`harness.display.data_summary`).
        published: True if class names and templates are those of a benchmark (a paper's, the mini edition's), not a user's.
        groups: the question of each class, as a number per class, for visual question answering as multiple choice. A class is
            then one option of one question, and its name has both. An image is classified only among the options of its
            label's question, in training and in evaluation. None: all classes compete for every image.

    Raises:
        ValueError: for a domain without classes or templates, for a template without "{}", and for another number of groups
            than classes.
        UserError: for a name or template that `models.registry.check_text` refuses.

    Example:
        >>> Domain("pets", ("cat", "dog"), ("a photo of a {}.",), train=None, val=None, test=images).prompts()
        ['a photo of a cat.', 'a photo of a dog.']
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
    groups: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "classnames", tuple(self.classnames))
        object.__setattr__(self, "templates", tuple(self.templates))
        if not self.classnames:
            raise ValueError(f"domain {self.name!r} has no class names")
        if not self.templates:
            raise ValueError(f"domain {self.name!r} has no prompt templates")
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
            if len(self.groups) != len(self.classnames):
                raise ValueError(
                    f"domain {self.name!r} has {len(self.groups)} groups for {len(self.classnames)} classes; give one per class"
                )
        check_text(self.name, "name of the data")
        for name in self.classnames:
            check_text(name, "class name")
        for template in self.templates:
            check_text(template, "template")
            if "{}" not in template:
                raise ValueError(f"template {template!r} of domain {self.name!r} has no '{{}}' for the class name")
        share_depth(self.train, self.val, self.test, self.ood)

    def prompts(self, template: int = 0) -> list[str]:
        """Return the class names in one template, in class order. Template 0 is the one that trains."""
        return fill(self.templates[template], self.classnames)


def chance(domain: Domain, split: str = "test") -> float:
    """Return the expected accuracy in percent of random answers: the mean over a split's images of 1 / candidates.

    The candidates of an image are the options of its question, or all classes.
    """
    if domain.groups is None:
        return 100 / len(domain.classnames)
    options = Counter(domain.groups)
    labels = targets_of(getattr(domain, split))
    return 100 * sum(1 / options[domain.groups[label]] for label in labels) / len(labels)


def with_asked_questions(domain: Domain) -> Domain:
    """Return a domain without the questions that no image of any split asks, so that their prompts are not computed.

    The accuracies are the same. A domain without questions is returned as it is.
    """
    if domain.groups is None:
        return domain
    groups, datasets = domain.groups, {split: getattr(domain, split) for split in ("train", "val", "test", "ood")}
    asked = {groups[label] for dataset in datasets.values() if dataset is not None for label in targets_of(dataset)}
    kept = [label for label, group in enumerate(groups) if group in asked]
    if len(kept) == len(domain.classnames) or not kept:
        return domain
    number = {label: new for new, label in enumerate(kept)}
    changes: dict[str, Any] = {split: Relabelled(dataset, number) for split, dataset in datasets.items() if dataset is not None}
    names, groups = tuple(domain.classnames[label] for label in kept), tuple(groups[label] for label in kept)
    return replace(domain, classnames=names, groups=groups, **changes)


def members_of(domain: Domain, split: str) -> list[list[int]]:
    """Return the indices of a split's images for each class, in the order of the split."""
    members: list[list[int]] = [[] for _ in domain.classnames]
    for index, label in enumerate(targets_of(getattr(domain, split))):
        members[label].append(index)
    return members


def with_validation(domain: Domain, seed: int = 0, take: bool = True, leave: int = 1) -> Domain:
    """Return the domain with a validation split: its own, or a seeded 10 % of train (at most 5,000 images) by class.

    Classes contribute in proportion to their images (`shares`), so the choice is stratified (ours; PAINT's and IIMM's released
    code draw 10 % of train without regard to classes). A class keeps at least `leave` training images, and the choice
    never includes the first `leave` images of `benchmarks.data.shots`. If no class has more than `leave` images, `val` stays
    None.

    Args:
        domain: the domain to complete.
        seed: the seed of the choice, which also depends on the class names.
        take: remove the chosen images from the training split. If False they stay in it, for protocols that train on all of
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
    validation = set(chosen)
    remaining = [index for index in range(len(train)) if index not in validation]
    source = f"10 % of the training images, by class, seed {seed}"
    return replace(
        domain,
        val=Subset(train, sorted(chosen)),
        train=Subset(train, remaining) if take else train,
        split_sources={**domain.split_sources, "val": source},
    )


def limited(domain: Domain, limit: int, seed: int = 0, splits: Collection[str] = ("train", "val", "test", "ood")) -> Domain:
    """Return the domain with at most `limit` images in each of `splits`: a seeded choice in proportion to the classes.

    Every class keeps at least one image, unless there are more classes than `limit`. In that case `warnings` has the number of
    classes without a training image. A domain with questions keeps only the questions that are left.

    Raises:
        ValueError: if `limit` is less than 1.
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

    smaller = replace(domain, **{split: cut(split) for split in splits})
    sources = dict(domain.split_sources)
    flag = "--limit" if "train" in splits else "--val-limit"
    for split in ("train", "val", "test"):
        before, after = getattr(domain, split), getattr(smaller, split)
        if before is not after:
            known = f"{sources[split]}; " if split in sources else ""
            sources[split] = f"{known}{len(after):,} of {len(before):,} images ({flag}), seed {seed}"
    smaller = with_asked_questions(replace(smaller, split_sources=sources))
    if domain.train is None or smaller.train is None or domain.groups is not None:
        return smaller
    lost = len(set(targets_of(domain.train))) - len(set(targets_of(smaller.train)))
    if not lost:
        return smaller
    sentence = (
        f"--limit {limit} is less than the {len(smaller.classnames)} classes of {smaller.name}: "
        f"{lost} of them {'has' if lost == 1 else 'have'} no training image"
    )
    return replace(smaller, warnings=(*smaller.warnings, sentence))
