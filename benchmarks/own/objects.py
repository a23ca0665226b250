"""Dataset objects (torchvision's or a user's) as a domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset

from benchmarks.data.dataset import ImageDataset, Relabelled, targets_of
from benchmarks.data.depth import kind_of, own_rgb
from benchmarks.data.domain import Domain
from benchmarks.data.images import fingerprint_of, own_reading
from benchmarks.data.opening import Undecodable
from benchmarks.data.survey import Depth
from benchmarks.own.match import match_names, name_classes
from benchmarks.own.names import Names, Templates, read_names, read_templates
from benchmarks.own.reader import make_domain
from benchmarks.own.split import with_test
from models.registry import UserError


class Labelled(Relabelled):
    """Another dataset with its labels in `targets` [N], so that they are known without decoding the images."""

    def __init__(self, dataset: Any, targets: Sequence[int]):
        self.dataset, self.targets = dataset, list(targets)


class ObjectImages(Relabelled):
    """Another dataset with PIL images converted to 8-bit RGB as image files are (`benchmarks.data.depth`).

    Tensors are not changed.

    Args:
        dataset: the dataset.
        targets: its labels [N].
        where: the dataset in messages.
    """

    upright, threads = True, False

    def __init__(self, dataset: Any, targets: Sequence[int], where: str):
        self.dataset, self.targets, self.where = dataset, list(targets), where
        self.depth = Depth([self])

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.dataset[index][0]
        if isinstance(image, torch.Tensor):
            return image, self.targets[index]
        try:
            return own_rgb(image.copy(), kind_of(image), self.depth), self.targets[index]
        except Undecodable as error:
            raise UserError(f"Cannot read {self.name_of(index)}: {error}.") from error

    def source_of(self, index: int) -> Any:
        """Return the image of an item, or a blank image for a tensor, which always has 8 bits."""
        image = self.dataset[index][0]
        return Image.new("RGB", (1, 1)) if isinstance(image, torch.Tensor) else image

    def name_of(self, index: int) -> str:
        """Return the name of an image in messages."""
        return f"item {index} of {self.where}"

    def fingerprint(self) -> str | None:
        """Return a digest of the other dataset's fingerprint and of how its images are read; None without a fingerprint."""
        inner = fingerprint_of(self.dataset)
        return None if inner is None else hashlib.sha256(f"{inner} {own_reading(self)}".encode()).hexdigest()


def from_dataset(
    train: ImageDataset | None = None,
    test: ImageDataset | None = None,
    val: ImageDataset | None = None,
    ood: ImageDataset | None = None,
    *,
    classnames: Names = None,
    templates: Templates = None,
    name: str | None = None,
) -> Domain:
    """Return the domain of dataset objects with `__len__` and items (PIL image or uint8 tensor [3, H, W], int).

    Labels come from `.targets`, `.labels` or `._labels` if they agree with the items, else from a pass over the items.

    The first, middle and last item of each split are checked. If one of them is neither RGB nor 8-bit greyscale, all images of
    the split are converted as image files are: transparency is laid over white, deep greyscale gets one scale.

    Args:
        train: the training split.
        test: the test split. If None, the validation split is tested on.
        val: the validation split.
        ood: an out-of-distribution test set.
        classnames: a list in the order of the labels; names of `.classes` in another order are matched by name. If None, the
            `.classes` of the objects.
        templates: prompt templates, or a file with them; the default is "a photo of a {}.".
        name: the domain's name. If None, the name of the class of the first object ("cifar10").

    Returns:
        The domain.

    Raises:
        UserError: for an object or item of another kind (a float tensor is already transformed), a label outside the class
            names, and a class without training images.

    Example:
        >>> from_dataset(train=CIFAR10("data"), test=CIFAR10("data", train=False)).name
        'cifar10'
    """
    datasets: dict[str, Any] = {
        split: dataset for split, dataset in {"train": train, "val": val, "test": test}.items() if dataset is not None
    }
    if not datasets:
        raise UserError("from_dataset needs a dataset: give test= to evaluate, and train= to train too.")
    where = name or type(next(iter(datasets.values()))).__name__.lower()
    if set(datasets) == {"train"}:
        raise UserError(
            f"from_dataset needs test= or val= in addition to train= for {where}. torch.utils.data.Subset divides a dataset."
        )
    division = with_test(datasets, {split: f"a {type(dataset).__name__} object" for split, dataset in datasets.items()}, where)
    splits = division.splits if ood is None else {**division.splits, "ood": ood}
    checked = {split: _checked(dataset, f"{split} split of {where}") for split, dataset in splits.items()}
    names = _classnames(splits, classnames, where)
    last = len(names) - 1
    for split, dataset in checked.items():
        for index, label in enumerate(targets_of(dataset)):
            if not 0 <= label <= last:
                raise UserError(f"Item {index} of the {split} split of {where} has the label {label}, outside 0..{last}.")
    domain = make_domain(
        where,
        names,
        read_templates(templates),
        division._replace(splits={split: checked[split] for split in division.splits}),
        where=where,
        source=f"dataset object {type(splits['test']).__name__}",
    )
    return domain if ood is None else replace(domain, ood=checked["ood"])


def _checked(dataset: Any, split: str) -> Any:
    """Return the dataset, wrapped if its labels are unknown or differ from its items, or if its images need conversion."""
    if isinstance(dataset, str) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise UserError(f"The {split} is a {type(dataset).__name__}: give a dataset object with __len__ and __getitem__.")
    if not len(dataset):
        raise UserError(f"The {split} is empty.")
    targets = targets_of(dataset) if _has_labels(dataset) else None
    plain = True
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        item = dataset[index]
        label = _check_item(item, f"Item {index} of the {split}")
        plain = plain and _is_plain(item[0])
        if targets is not None and targets[index] != label:  # a target_transform
            targets = None
    if targets is not None:
        return dataset if plain else ObjectImages(dataset, targets, f"the {split}")
    labels = [_check_item(dataset[index], f"Item {index} of the {split}") for index in range(len(dataset))]
    return Labelled(dataset, labels) if plain else ObjectImages(dataset, labels, f"the {split}")


def _is_plain(image: Any) -> bool:
    """Return whether an image needs no conversion: it has 8 bits and neither a palette nor transparency."""
    return isinstance(image, torch.Tensor) or (image.mode in ("RGB", "L") and not image.has_transparency_data)


def _check_item(item: Any, where: str) -> int:
    """Return the label of an item (image, label). Raises UserError for an item of another form."""
    if isinstance(item, dict):
        keys = ", ".join(map(repr, item))
        raise UserError(
            f"{where} is a dictionary ({keys}), not a pair (image, label). Use from_hub for a Hugging Face dataset."
        )
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise UserError(f"{where} is a {type(item).__name__}, not a pair (image, label).")
    image, label = item
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8:
            raise UserError(
                f"{where} is a tensor of {str(image.dtype).removeprefix('torch.')}, so it is already transformed. "
                "Give the dataset without its transform; the model's transform is applied later."
            )
        if image.ndim != 3 or image.shape[0] != 3:
            raise UserError(f"{where} is a tensor of shape {tuple(image.shape)}; the shape must be [3, H, W].")
    elif not isinstance(image, Image.Image):
        raise UserError(f"{where} is a {type(image).__name__}; it must be a PIL image or a uint8 tensor [3, H, W].")
    try:
        integer = int(label)
        if isinstance(label, str) or integer != label:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} has the label {label!r}; labels must be integers.") from error
    return integer


def _has_labels(dataset: Any) -> bool:
    """Return whether `targets_of` can return the labels without reading the items."""
    if isinstance(dataset, Subset):
        return _has_labels(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(_has_labels, dataset.datasets))
    try:
        return any(
            (labels := getattr(dataset, attribute, None)) is not None
            and len(labels) == len(dataset)
            and all(int(label) == label for label in labels)
            for attribute in ("targets", "labels", "_labels")
        )
    except (TypeError, ValueError):
        return False


def _classnames(splits: dict[str, Any], classnames: Names, where: str) -> tuple[str, ...]:
    """Return the class names: those given, else the `.classes` of the objects. Raises UserError if they disagree."""
    names = read_names(classnames)
    if isinstance(names, dict):
        raise UserError(f"The class names of {where} must be a list in the order of its labels.")
    classes_by_split = {split: classes for split, dataset in splits.items() if (classes := _classes(dataset)) is not None}
    if names is None and not classes_by_split:
        raise UserError(f"The dataset objects of {where} have no attribute `classes`: give classnames=[...].")
    for first in list(classes_by_split)[:1]:
        for split, classes in classes_by_split.items():
            reference = classes_by_split[first]
            # If names are given, only another order of the same classes shows that the labels have different meanings.
            if classes != reference and (names is None or sorted(classes) == sorted(reference)):
                raise UserError(f"The {first} and {split} splits of {where} have different `classes`.")
    if names is None:
        return name_classes(next(iter(classes_by_split.values())), None, "class name")
    known = next((classes for classes in classes_by_split.values() if len(classes) == len(names)), None)
    if known is not None:
        matched = match_names(known, names, "label").names
        names = [matched[key] for key in known] if isinstance(matched, dict) else matched
    return name_classes(names, names, "class name")


def _classes(dataset: Any) -> list[str] | None:
    """Return a dataset's class names, the first of several synonyms (torchvision's ImageNet); None without `.classes`."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if isinstance(dataset, ConcatDataset):
        return _classes(dataset.datasets[0])
    classes = getattr(dataset, "classes", None)
    if classes is None:
        return None
    return [str(name if isinstance(name, str) else name[0]) for name in classes]
