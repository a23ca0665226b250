"""A Hugging Face dataset as a domain; its images stay encoded until they are asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch.utils.data import Subset

from benchmarks.data.domain import Domain
from benchmarks.data.hub_images import HubImages
from benchmarks.own.columns import (
    CAPTION,
    IMAGE,
    UNLABELLED,
    check_captions,
    chosen_columns,
    find_column,
    how_to_choose,
    known,
    named_twin,
    split_in,
)
from benchmarks.own.hub_load import load_file, load_folder, load_name
from benchmarks.own.labels import Labelling, labelling
from benchmarks.own.names import Names, Templates, name_classes, read_names, read_templates
from benchmarks.own.scan import ANNOTATIONS
from benchmarks.own.split import check_presence, drawn_sources, sources_with_test, split_by_class, split_note, with_test
from models.paths import user_path
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
    """Read the domain of a Hugging Face dataset: a folder written by `save_to_disk`, parquet files, or a name.

    A name is "owner/name" or "owner/name:config"; it is downloaded if it is not in the cache. `:label=COLUMN` and
    `:image=COLUMN` may follow names and paths. A loaded `datasets.Dataset` or `DatasetDict` may be given too.

    The images are the column of type Image, the labels the column of type ClassLabel, else one of numbers, truth values or
    strings that is called as in `columns.NAMES`. Class names are the ClassLabel's ("_" is a blank), in its order, which
    `classnames` replaces, or else those of `labels.labelling`. A folder may hold classnames.txt and templates.txt.

    Splits: train, validation, test. Without a labelled test split the validation split is tested on. With neither, 80/10/10 of
    each class are taken, seeded. `Domain.split_sources` and `notes` say so, and name the splits that are left out.

    Raises:
        UserError: for what is missing, damaged or out of reach, for columns that are not clear, several labels per image, an
            image without a label, and a class without training images.
    """
    given_loaded = _is_loaded(name_or_saved_folder)
    text, columns = ("the Hugging Face dataset", {}) if given_loaded else chosen_columns(str(name_or_saved_folder))
    columns |= {role: c for role, c in (("image", image_column), ("label", label_column)) if c is not None}
    place = Path(os.path.abspath(user_path(text)))
    on_disk = place.exists()
    what = str(place) if on_disk else text
    loaded: Mapping[str, Any]
    if given_loaded:
        loaded = name_or_saved_folder if isinstance(name_or_saved_folder, dict) else {"whole": name_or_saved_folder}
    elif on_disk:
        loaded = load_folder(place) if place.is_dir() else load_file(place)
    else:
        loaded = load_name(text)
    splits, left_out = _our_splits(loaded, what)
    first = next(iter(splits.values()))
    image = _image_column(first.features, columns.get("image"), what)
    given = read_names(_beside(place, classnames, ANNOTATIONS[0]))
    label = _label_column(first, columns.get("label"), what, named=given is None)
    notes = [f"{what}: the splits {', '.join(left_out)} are not read"] if left_out else []
    splits, values = _labelled(splits, image, label.column, what, notes)
    if label.others:
        others = ", ".join(how_to_choose(what, "label", other) for other in label.others)
        notes.append(f"{what}: labels are the column {label.column}; others are taken with {others}")
    found = _labels(splits, values, label.column, given, what)
    datasets: dict[str, Any] = {}
    start = 0
    for split, rows in splits.items():
        labels = found.labels[start : start + len(rows)]
        start += len(rows)
        datasets[split] = HubImages(rows, image, labels, f"the split {split} of {what}", upright=True)
    sources = {split: f"the split {_their_name(loaded, split)}" for split in datasets}
    if set(splits) == {"train"}:
        whole = datasets["train"]
        parts = split_by_class(whole.targets, found.keys, seed)
        datasets = {split: Subset(whole, indices) for split, indices in parts.items() if indices}
        targets = {split: [whole.targets[i] for i in indices] for split, indices in parts.items() if indices}
        note = split_note(seed)
        sources = drawn_sources(seed)
    else:
        datasets, note = with_test(datasets, what)
        targets = {split: dataset.targets for split, dataset in datasets.items()}
        sources = sources_with_test(sources)
    check_presence(targets, found.names, what, "class")
    return Domain(
        name=name or _name(place, text, on_disk),
        classnames=found.names,
        templates=read_templates(_beside(place, templates, ANNOTATIONS[1])),
        train=datasets.get("train"),
        val=datasets.get("val"),
        test=datasets["test"],
        source=", ".join([f"Hugging Face dataset {what} (columns {image} and {label.column})", *filter(None, [note])]),
        split_sources={split: sources[split] for split in datasets},
        notes=tuple(notes),
    )


class _Label(NamedTuple):
    """The label column, and others that hold labels too."""

    column: str
    others: list[str]


def _is_loaded(given: Any) -> bool:
    """Whether a dataset of `datasets` was given, or a dictionary of them by split, instead of a name or a path."""
    if isinstance(given, dict):
        return all(map(_is_loaded, given.values()))
    return hasattr(given, "features") and hasattr(given, "with_format")


def _name(place: Path, text: str, on_disk: bool) -> str:
    if on_disk:
        return place.name.removesuffix(".parquet")
    return text.partition(":")[0].split("/")[-1]


def _beside(folder: Path, given: Any, filename: str) -> Any:
    """Return what was given, else the file of that name in the folder, if there is one."""
    return folder / filename if given is None and (folder / filename).is_file() else given


def _our_splits(loaded: Mapping[str, Any], what: str) -> tuple[dict[str, Any], list[str]]:
    """Return our splits in the order train, val, test, and the names of those left out.

    A single split of any other name is train.
    """
    splits: dict[str, Any] = {}
    left_out = []
    for name, rows in loaded.items():
        split = split_in(name) or ("train" if len(loaded) == 1 else None)
        if split is None:
            left_out.append(name)
        elif split in splits:
            raise UserError(f"{what} has several {split} splits: {', '.join(loaded)}.")
        elif len(rows):
            splits[split] = rows
    if not splits:
        raise UserError(f"{what} has no split called train, validation or test; it has {', '.join(loaded) or 'none'}.")
    return {split: splits[split] for split in SPLITS if split in splits}, left_out


def _their_name(loaded: Mapping[str, Any], split: str) -> str:
    return next((name for name in loaded if split_in(name) == split), split)


def _image_column(features: Mapping[str, Any], asked: str | None, what: str) -> str:
    import datasets

    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    # Parquet files that other tools wrote hold bytes without saying that they are images.
    fallback = [column for column in features if column.casefold() in IMAGE and _holds_bytes(features[column])]
    column = find_column("image", asked, images or fallback, list(features), what)
    if column is None:
        raise UserError(f"{what} has no image column ({', '.join(features)}): {_choose(what, 'image', list(features))}.")
    feature = features[column]
    if not (isinstance(feature, datasets.Image) or _holds_bytes(feature)):
        raise UserError(f"The column {column!r} of {what} holds no images but {_kind(feature)}.")
    return column


def _label_column(rows: Any, asked: str | None, what: str, named: bool) -> _Label:
    """Return the label column: of type ClassLabel, else of a usual name. `named`: prefer names to the numbers for them."""
    import datasets

    features = rows.features
    labels = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    usual = known("label", list(features))
    candidates = labels or usual
    if asked is None and named and not labels:
        plain = [column for column in features if _is_plain(features[column])]
        twin = named_twin(plain, lambda column: list(map(str, _values(rows, column))))
        candidates = [twin] if twin is not None else usual
    column = find_column("label", asked, candidates, list(features), what)
    if column is None:
        likely = [name for name, feature in features.items() if _is_plain(feature) and not name.startswith("__")]
        raise UserError(f"{what} has no label column ({', '.join(features)}): {_choose(what, 'label', likely)}.")
    feature = features[column]
    if isinstance(feature, (list, datasets.Sequence)):
        raise UserError(
            f"The column {column!r} of {what} holds lists, several labels for an image; one label for each image is wanted."
        )
    if not _is_plain(feature):
        raise UserError(f"The column {column!r} of {what} holds {_kind(feature)}; labels are numbers, truth values or strings.")
    return _Label(column, [other for other in labels if other != column] if asked is None else [])


def _choose(what: str, role: str, columns: Sequence[str]) -> str:
    if not columns:
        return "no column can hold it"
    return f"choose one, for example {how_to_choose(what, role, columns[0])}"


def _is_plain(feature: Any) -> bool:
    kind = getattr(feature, "dtype", "")
    return isinstance(kind, str) and any(word in kind for word in ("int", "string", "bool", "float"))


def _kind(feature: Any) -> str:
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name


def _values(rows: Any, column: str) -> list[Any]:
    """Return the values of a column; images are not decoded."""
    return rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()


def _labelled(
    splits: dict[str, Any], image: str, label: str, what: str, notes: list[str]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the splits that have labels, and their labels. Raises UserError when only a part of a split has them."""
    kept: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    marks = UNLABELLED
    for split, rows in splits.items():
        if image not in rows.features:
            raise UserError(f"The split {split} of {what} has no column {image!r}; it has {', '.join(rows.features)}.")
        found = _values(rows, label) if label in rows.features else [None] * len(rows)
        if split == "train":
            marks = marks - {str(value).strip().lower() for value in set(found)}  # what is trained is a class
        lacking = [i for i, value in enumerate(found) if value is None or str(value).strip().lower() in marks]
        if len(lacking) == len(found) and split != "train":
            notes.append(f"{what}: the {len(found):,} images of the split {split} have no labels and are left out")
            continue
        if missing := [i for i, value in enumerate(found) if _is_missing(rows.features.get(label), value)]:
            raise UserError(f"Row {missing[0]} of the split {split} of {what} has no label.")
        kept[split], values[split] = rows, found
    if not kept:
        raise UserError(f"No image of {what} has a label in the column {label!r}: there is nothing to test on.")
    return kept, values


def _is_missing(feature: Any, value: Any) -> bool:
    """Whether a value of the label column stands for no label. The string "none" and the number -1 may be classes."""
    if value is None or value != value:
        return True
    return value < 0 if hasattr(feature, "names") else isinstance(value, str) and not value.strip()


def _labels(
    splits: Mapping[str, Any], values: Mapping[str, list[Any]], column: str, given: list[str] | dict[str, str] | None, what: str
) -> Labelling:
    """Return the labels of all splits, one split after the other."""
    kinds = {split: getattr(rows.features[column], "names", None) for split, rows in splits.items()}
    names = next(iter(kinds.values()))
    written: list[Any] = []
    places: list[tuple[str, int]] = []
    for split, found in values.items():
        theirs = kinds[split]
        if names is not None and theirs != names:
            found = _by_name(found, theirs, names, f"split {split} of {what}", column)
        elif names is None and theirs is not None:
            found = [theirs[value] for value in found]
        if names is not None and (wrong := next((i for i, value in enumerate(found) if value >= len(names)), None)) is not None:
            raise UserError(
                f"Row {wrong} of the split {split} of {what} has the label {found[wrong]}, outside 0..{len(names) - 1}."
            )
        written += found
        places += [(split, row) for row in range(len(found))]
    if names is not None:
        return Labelling(name_classes(names, given, "label"), written, list(names))
    texts = [str(value) for value in written]
    if column.casefold() in CAPTION:
        check_captions(column, texts, what)
    return labelling(texts, given, lambda i: f"{what}, split {places[i][0]}, row {places[i][1]}")


def _by_name(found: list[Any], theirs: list[str] | None, names: list[str], where: str, column: str) -> list[int]:
    """Return the labels of a split whose classes are listed in another order, or written as names. Raises UserError."""
    index = {name: label for label, name in enumerate(names)}
    texts = found if theirs is None else theirs
    for name in texts:
        if name not in index:
            raise UserError(f"The {where} has the class {name!r} in {column!r}, which the other splits do not have.")
    return [index[value if theirs is None else theirs[value]] for value in found]


def _holds_bytes(feature: Any) -> bool:
    return "bytes" in feature if isinstance(feature, Mapping) else getattr(feature, "dtype", None) == "binary"
