"""The image and label columns of a Hugging Face dataset, and the labels in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks.own.columns import (
    CAPTION,
    IMAGE,
    UNLABELLED,
    check_captions,
    find_column,
    how_to_choose,
    known,
    named_twin,
)
from benchmarks.own.labels import Labelling, labelling
from benchmarks.own.match import name_classes
from models.registry import UserError


class LabelColumn(NamedTuple):
    """The label column, and other columns that hold labels."""

    column: str
    others: list[str]


def find_image_column(features: Mapping[str, Any], chosen: str | None, where: str) -> str:
    """Return the image column: the chosen one, or the one of type Image. Raises UserError if it is missing or ambiguous."""
    import datasets

    images = [column for column, feature in features.items() if isinstance(feature, datasets.Image)]
    # Parquet files of other tools hold bytes without the information that they are images.
    fallback = [column for column in features if column.casefold() in IMAGE and _holds_bytes(features[column])]
    column = find_column("image", chosen, images or fallback, list(features), where)
    if column is None:
        raise UserError(f"{where} has no image column ({', '.join(features)}): {_how_to_fix(where, 'image', list(features))}.")
    feature = features[column]
    if not (isinstance(feature, datasets.Image) or _holds_bytes(feature)):
        raise UserError(f"The column {column!r} of {where} holds no images but {_type_name(feature)}.")
    return column


def find_label_column(rows: Any, chosen: str | None, where: str, named: bool) -> LabelColumn:
    """Return the label column: the chosen one, else one of type ClassLabel, else one of a usual name.

    Args:
        rows: a `datasets.Dataset`.
        chosen: the user's choice, or None.
        where: the dataset in messages.
        named: prefer a column of class names to the numbers that stand for them.

    Raises:
        UserError: if there is no label column, if it is ambiguous, and if it holds something else than labels.
    """
    import datasets

    features = rows.features
    labels = [column for column, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    usual = known("label", list(features))
    candidates = labels or usual
    if chosen is None and named and not labels:
        plain = [column for column in features if _is_plain(features[column])]
        twin = named_twin(plain, lambda column: list(map(str, _values(rows, column))))
        candidates = [twin] if twin is not None else usual
    column = find_column("label", chosen, candidates, list(features), where)
    if column is None:
        likely = [name for name, feature in features.items() if _is_plain(feature) and not name.startswith("__")]
        raise UserError(f"{where} has no label column ({', '.join(features)}): {_how_to_fix(where, 'label', likely)}.")
    feature = features[column]
    if isinstance(feature, (list, datasets.Sequence)):
        raise UserError(
            f"The column {column!r} of {where} holds lists, that is several labels per image. Choose a column with one label "
            "per image."
        )
    if not _is_plain(feature):
        raise UserError(
            f"The column {column!r} of {where} holds {_type_name(feature)}. Labels must be numbers, truth values or strings."
        )
    return LabelColumn(column, [other for other in labels if other != column] if chosen is None else [])


def labelled_splits(
    splits: Mapping[str, Any], image: str, label: str, where: str, notes: list[str]
) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the splits that have labels, and their labels. Splits without labels are added to `notes`.

    Raises:
        UserError: if only a part of a split has labels, or no split has any.
    """
    labelled: dict[str, Any] = {}
    values: dict[str, list[Any]] = {}
    marks = UNLABELLED
    for split, rows in splits.items():
        if image not in rows.features:
            raise UserError(
                f"The split {split} of {where} has no column {image!r}; its columns are {', '.join(rows.features)}."
            )
        column = _values(rows, label) if label in rows.features else [None] * len(rows)
        if split == "train":
            marks = marks - {str(value).strip().lower() for value in set(column)}  # a label in train is a class
        unlabelled = [i for i, value in enumerate(column) if value is None or str(value).strip().lower() in marks]
        if len(unlabelled) == len(column) and split != "train":
            notes.append(f"{where}: the {len(column):,} images of the split {split} have no labels and are left out")
            continue
        if missing := [i for i, value in enumerate(column) if _is_missing(rows.features.get(label), value)]:
            raise UserError(f"Row {missing[0]} of the split {split} of {where} has no label.")
        labelled[split], values[split] = rows, column
    if not labelled:
        raise UserError(f"No image of {where} has a label in the column {label!r}: there is nothing to test on.")
    return labelled, values


def labels_of(
    splits: Mapping[str, Any],
    values: Mapping[str, list[Any]],
    column: str,
    classnames: list[str] | dict[str, str] | None,
    where: str,
) -> Labelling:
    """Return the class names, and the labels of all splits, one split after the other."""
    names_by_split = {split: getattr(rows.features[column], "names", None) for split, rows in splits.items()}
    names = next(iter(names_by_split.values()))
    written: list[Any] = []
    places: list[tuple[str, int]] = []
    for split, labels in values.items():
        split_names = names_by_split[split]
        if names is not None and split_names != names:
            labels = _relabelled(labels, split_names, names, f"split {split} of {where}", column)
        elif names is None and split_names is not None:
            labels = [split_names[label] for label in labels]
        if names is not None and (row := next((i for i, label in enumerate(labels) if label >= len(names)), None)) is not None:
            raise UserError(
                f"Row {row} of the split {split} of {where} has the label {labels[row]}, outside 0..{len(names) - 1}."
            )
        written += labels
        places += [(split, row) for row in range(len(labels))]
    if names is not None:
        return Labelling(name_classes(names, classnames, "label"), written, list(names))
    texts = [str(value) for value in written]
    if column.casefold() in CAPTION:
        check_captions(column, texts, where)
    return labelling(texts, classnames, lambda i: f"{where}, split {places[i][0]}, row {places[i][1]}")


def _relabelled(labels: list[Any], split_names: list[str] | None, names: list[str], where: str, column: str) -> list[int]:
    """Return the labels of a split with another order of classes, or with names as labels. Raises UserError."""
    index = {name: label for label, name in enumerate(names)}
    for name in labels if split_names is None else split_names:
        if name not in index:
            raise UserError(f"The {where} has the class {name!r} in {column!r}, which the other splits do not have.")
    return [index[label if split_names is None else split_names[label]] for label in labels]


def _how_to_fix(where: str, role: str, columns: Sequence[str]) -> str:
    if not columns:
        return "no column is suitable"
    return f"choose one, for example {how_to_choose(where, role, columns[0])}"


def _is_plain(feature: Any) -> bool:
    """Return whether a feature holds numbers, truth values or strings."""
    kind = getattr(feature, "dtype", "")
    return isinstance(kind, str) and any(word in kind for word in ("int", "string", "bool", "float"))


def _type_name(feature: Any) -> str:
    name = type(feature).__name__
    return str(feature.dtype) if name == "Value" else name


def _values(rows: Any, column: str) -> list[Any]:
    """Return the values of a column. Images are not decoded."""
    values: list[Any] = rows.select_columns([column]).with_format("arrow")[:].column(column).to_pylist()
    return values


def _is_missing(feature: Any, value: Any) -> bool:
    """Return whether a value of the label column means that there is no label. The string "none" and -1 may be classes."""
    if value is None or value != value:
        return True
    return value < 0 if hasattr(feature, "names") else isinstance(value, str) and not value.strip()


def _holds_bytes(feature: Any) -> bool:
    return "bytes" in feature if isinstance(feature, Mapping) else getattr(feature, "dtype", None) == "binary"
