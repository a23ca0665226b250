"""A Hugging Face dataset as a domain. Images stay encoded until they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import Subset

from benchmarks.data.domain import Domain
from benchmarks.data.hub_images import HubImages
from benchmarks.own.columns import how_to_choose, split_in
from benchmarks.own.hub_columns import find_image_column, find_label_column, labelled_splits, labels_of
from benchmarks.own.hub_load import load_file, load_folder, load_name
from benchmarks.own.names import Names, Templates
from benchmarks.own.reader import Request, make_domain, parse_request, read_annotations
from benchmarks.own.split import Division, draw_splits, with_test
from models.registry import UserError

SPLITS = ("train", "val", "test")


def from_hub(
    name_or_saved_folder: Any,
    *,
    classnames: Names = None,
    templates: Templates = None,
    name: str | None = None,
    seed: int = 0,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Domain:
    """Read a Hugging Face dataset: a folder written by `save_to_disk`, parquet files, or a name on the Hub.

    A name is "owner/name" or "owner/name:config". The dataset is downloaded if it is not in the cache.

    The images are the column of type Image. The labels are the column of type ClassLabel, else a column of numbers, truth
    values or strings with one of the names in `columns.NAMES`. Class names are those of the ClassLabel ("_" is a blank), in
    its order, or else those of `labels.labelling`.

    Splits: train, validation, test. Without a labelled test split the validation split is tested on. Without both, 80/10/10 of
    each class are taken, seeded. `Domain.split_sources` and `notes` report this and the splits that are left out.

    Args:
        name_or_saved_folder: the name or path, which `:label=COLUMN` and `:image=COLUMN` may follow, or a loaded
            `datasets.Dataset` or `DatasetDict`.
        classnames: class names, or a file with them. If None, those in the folder's classnames.txt, or those of the dataset.
        templates: prompt templates, or a file with them. If None, those in the folder's templates.txt, or "a photo of a {}.".
        name: the domain's name; the last component of the name or path if None.
        seed: the seed of the split.
        image_column: the column of the images, if several are possible.
        label_column: the column of the labels, if several are possible.

    Returns:
        The domain.

    Raises:
        UserError: for data that are missing, damaged or unreachable, ambiguous columns, several labels per image, an image
            without a label, and a class without training images.

    Example:
        >>> from_hub("owner/birds", label_column="species").source
        'Hugging Face dataset owner/birds (columns image and species)'
    """
    loaded: Mapping[str, Any]
    if _is_loaded(name_or_saved_folder):
        loaded = name_or_saved_folder if isinstance(name_or_saved_folder, dict) else {"whole": name_or_saved_folder}
        request = parse_request("the Hugging Face dataset", image=image_column, label=label_column)
    else:
        request = parse_request(name_or_saved_folder, image=image_column, label=label_column)
        loaded = _load(request)
    place, on_disk = request.place, request.place.exists()
    where = str(place) if on_disk else request.name
    splits, left_out = _standard_splits(loaded, where)
    first = next(iter(splits.values()))
    image = find_image_column(first.features, request.columns.get("image"), where)
    annotations = read_annotations(place, classnames, templates)
    label = find_label_column(first, request.columns.get("label"), where, named=annotations.classnames is None)
    notes = [f"{where}: the splits {', '.join(left_out)} are not read"] if left_out else []
    splits, values = labelled_splits(splits, image, label.column, where, notes)
    if label.others:
        others = ", ".join(how_to_choose(where, "label", other) for other in label.others)
        notes.append(f"{where}: the labels are those of the column {label.column}; other labels are chosen with {others}")
    classes = labels_of(splits, values, label.column, annotations.classnames, where)
    datasets: dict[str, HubImages] = {}
    start = 0
    for split, rows in splits.items():
        labels = classes.labels[start : start + len(rows)]
        start += len(rows)
        datasets[split] = HubImages(rows, image, labels, f"the split {split} of {where}", upright=True)
    division: Division[Any]
    if set(splits) == {"train"}:
        whole = datasets["train"]
        division = draw_splits(whole.targets, classes.keys, seed).map(lambda indices: Subset(whole, indices))
    else:
        sources = {split: f"the split {_original_name(loaded, split)}" for split in datasets}
        division = with_test(datasets, sources, where)
    return make_domain(
        name or _domain_name(place, request.name, on_disk),
        classes.names,
        annotations.templates,
        division,
        where=where,
        source=f"Hugging Face dataset {where} (columns {image} and {label.column})",
        notes=notes,
    )


def _is_loaded(value: Any) -> bool:
    """Return whether a value is a dataset of `datasets` or a dictionary of them by split, not a name or path."""
    if isinstance(value, dict):
        return all(map(_is_loaded, value.values()))
    return hasattr(value, "features") and hasattr(value, "with_format")


def _load(request: Request) -> Mapping[str, Any]:
    if not request.place.exists():
        return load_name(request.name)
    return load_folder(request.place) if request.place.is_dir() else load_file(request.place)


def _domain_name(place: Path, text: str, on_disk: bool) -> str:
    if on_disk:
        return place.name.removesuffix(".parquet")
    return text.partition(":")[0].split("/")[-1]


def _standard_splits(loaded: Mapping[str, Any], where: str) -> tuple[dict[str, Any], list[str]]:
    """Return the splits in the order train, val, test, and the names of those that are left out.

    A single split of any other name is the train split.
    """
    splits: dict[str, Any] = {}
    left_out = []
    for name, rows in loaded.items():
        split = split_in(name) or ("train" if len(loaded) == 1 else None)
        if split is None:
            left_out.append(name)
        elif split in splits:
            raise UserError(f"{where} has several {split} splits: {', '.join(loaded)}.")
        elif len(rows):
            splits[split] = rows
    if not splits:
        raise UserError(
            f"{where} has no split called train, validation or test; its splits are: {', '.join(loaded) or 'none'}."
        )
    return {split: splits[split] for split in SPLITS if split in splits}, left_out


def _original_name(loaded: Mapping[str, Any], split: str) -> str:
    return next((name for name in loaded if split_in(name) == split), split)
