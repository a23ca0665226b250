"""Dataset objects, torchvision's or your own, as a domain."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
from benchmarks.own.match import match_names
from benchmarks.own.names import Names, Templates, name_classes, read_names, read_templates
from benchmarks.own.split import check_presence, sources_with_test, with_test
from models.registry import UserError


class Labelled(Relabelled):
    """Another dataset with its labels kept as `targets` [N], so that nobody decodes its images to learn them."""

    def __init__(self, dataset: Any, targets: Sequence[int]):
        self.dataset, self.targets = dataset, list(targets)


class ObjectImages(Relabelled):
    """Another dataset whose PIL images become 8-bit RGB as image files do (`benchmarks.data.depth`); tensors stay as they are.

    `what` is what messages call the dataset.
    """

    upright, threads = True, False

    def __init__(self, dataset: Any, targets: Sequence[int], what: str):
        self.dataset, self.targets, self.what = dataset, list(targets), what
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
        """Return the image of an item; a blank one for a tensor, which has 8 bits."""
        image = self.dataset[index][0]
        return Image.new("RGB", (1, 1)) if isinstance(image, torch.Tensor) else image

    def name_of(self, index: int) -> str:
        """Return what messages call an image."""
        return f"item {index} of {self.what}"

    def fingerprint(self) -> str | None:
        """Return the other dataset's fingerprint and how its images are read, or None if it has none."""
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
    """The domain of dataset objects with `__len__` and items (PIL image or uint8 tensor [3, H, W], int).

    Class names are `classnames` (a list in the order of the labels; the names of `.classes` in another order are matched by
    name), else the `.classes` of the objects. Without test, val is tested on. Labels come from `.targets`, `.labels` or the
    like, if they agree with the items, else from a pass over the items. The name is that of the class of the first object
    ("cifar10"), if none is given.

    The first, middle and last item of each split are checked. If one of them is neither RGB nor 8-bit greyscale, all images of
    the split are converted as image files are: transparency is laid over white, deep greyscale gets one scale.

    Raises UserError for an object or item of another kind (a float tensor was transformed already), a label outside the class
    names, a class without training images.
    """
    given: dict[str, Any] = {
        split: dataset for split, dataset in {"train": train, "val": val, "test": test}.items() if dataset is not None
    }
    if not given:
        raise UserError("from_dataset needs a dataset: test=, and train= to train on.")
    own = name or type(next(iter(given.values()))).__name__.lower()
    if set(given) == {"train"}:
        raise UserError(f"from_dataset needs test= or val= next to train= for {own}; torch.utils.data.Subset makes parts.")
    splits, note = with_test(given, own)
    if ood is not None:
        splits = {**splits, "ood": ood}
    checked = {split: _checked(dataset, f"the {split} split of {own}") for split, dataset in splits.items()}
    names = _classnames(splits, classnames, own)
    targets = {}
    last = len(names) - 1
    for split, dataset in checked.items():
        targets[split] = targets_of(dataset)
        for index, label in enumerate(targets[split]):
            if not 0 <= label <= last:
                raise UserError(f"Item {index} of the {split} split of {own} has the label {label}, outside 0..{last}.")
    targets.pop("ood", None)
    check_presence(targets, names, own, "class")
    return Domain(
        name=own,
        classnames=names,
        templates=read_templates(templates),
        train=checked.get("train"),
        val=checked.get("val"),
        test=checked["test"],
        ood=checked.get("ood"),
        source=", ".join(filter(None, [f"dataset object {type(splits['test']).__name__}", note])),
        split_sources=sources_with_test({split: f"a {type(dataset).__name__} object" for split, dataset in given.items()}),
    )


def _checked(dataset: Any, what: str) -> Any:
    """The dataset, with its labels beside it where it does not say them itself or says others than its items."""
    if isinstance(dataset, str) or not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise UserError(f"{what} is a {type(dataset).__name__}: a dataset object with __len__ and __getitem__ is wanted.")
    if not len(dataset):
        raise UserError(f"{what} is empty.")
    said = targets_of(dataset) if _says_labels(dataset) else None
    plain = True
    for index in sorted({0, len(dataset) // 2, len(dataset) - 1}):
        item = dataset[index]
        label = _check_item(item, f"Item {index} of {what}")
        plain = plain and _is_plain(item[0])
        if said is not None and said[index] != label:  # a target_transform
            said = None
    if said is not None:
        return dataset if plain else ObjectImages(dataset, said, what)
    labels = [_check_item(dataset[index], f"Item {index} of {what}") for index in range(len(dataset))]
    return Labelled(dataset, labels) if plain else ObjectImages(dataset, labels, what)


def _is_plain(image: Any) -> bool:
    """Tell whether an image has 8 bits and neither palette nor transparency, so that it needs no conversion."""
    return isinstance(image, torch.Tensor) or (image.mode in ("RGB", "L") and not image.has_transparency_data)


def _check_item(item: Any, where: str) -> int:
    """The label of an item (image, label). Raises UserError for any other."""
    if isinstance(item, dict):
        keys = ", ".join(map(repr, item))
        raise UserError(
            f"{where} is a dictionary ({keys}); a pair (image, label) is wanted. A Hugging Face dataset goes to from_hub."
        )
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise UserError(f"{where} is a {type(item).__name__}, not a pair (image, label).")
    image, label = item
    if isinstance(image, torch.Tensor):
        if image.dtype != torch.uint8:
            raise UserError(
                f"{where} is a tensor of {str(image.dtype).removeprefix('torch.')}: it was transformed already. "
                "Pass the dataset without its transform; the model's own is applied here."
            )
        if image.ndim != 3 or image.shape[0] != 3:
            raise UserError(f"{where} is a tensor of shape {tuple(image.shape)}; [3, H, W] is wanted.")
    elif not isinstance(image, Image.Image):
        raise UserError(f"{where} is a {type(image).__name__}; a PIL image or a uint8 tensor [3, H, W] is wanted.")
    try:
        whole = int(label)
        if isinstance(label, str) or whole != label:
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(f"{where} has the label {label!r}; an integer is wanted.") from error
    return whole


def _says_labels(dataset: Any) -> bool:
    if isinstance(dataset, Subset):
        return _says_labels(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return all(map(_says_labels, dataset.datasets))
    try:
        return any(
            (labels := getattr(dataset, attribute, None)) is not None
            and len(labels) == len(dataset)
            and all(int(label) == label for label in labels)
            for attribute in ("targets", "labels", "_labels")
        )
    except (TypeError, ValueError):
        return False


def _classnames(splits: dict[str, Any], given: Names, own: str) -> tuple[str, ...]:
    names = read_names(given)
    if isinstance(names, dict):
        raise UserError(f"The class names of {own} must be a list in the order of its labels.")
    said = {split: found for split, dataset in splits.items() if (found := _classes(dataset)) is not None}
    if names is None and not said:
        raise UserError(f"The dataset objects of {own} have no attribute `classes`: give classnames=[...].")
    for first in list(said)[:1]:
        for split in said:
            # With names given, only another order of the same classes shows that labels do not mean the same.
            if said[split] != said[first] and (names is None or sorted(said[split]) == sorted(said[first])):
                raise UserError(f"The {first} and {split} splits of {own} have different `classes`.")
    if names is None:
        return name_classes(next(iter(said.values())), None, "class name")
    known = next((classes for classes in said.values() if len(classes) == len(names)), None)
    if known is not None:
        matched = match_names(known, names, "label").names
        names = [matched[key] for key in known] if isinstance(matched, dict) else matched
    return name_classes(names, names, "class name")


def _classes(dataset: Any) -> list[str] | None:
    """What a dataset calls its classes; the first of several synonyms (torchvision's ImageNet)."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    if isinstance(dataset, ConcatDataset):
        return _classes(dataset.datasets[0])
    classes = getattr(dataset, "classes", None)
    if classes is None:
        return None
    return [str(name if isinstance(name, str) else name[0]) for name in classes]
