"""Choose the columns for image, label and split: usual names, the user's choice in `NAME:label=COLUMN`, ambiguities.

CSV files, Hugging Face datasets and webdataset shards use this. No torch.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from benchmarks.own.split_names import mark_of
from models.registry import UserError

ROLES = ("image", "label", "split")

IMAGE = (
    *("path", "filepath", "file_path", "file", "image", "image_path", "filename", "file_name", "img", "img_path", "imagepath"),
    *("image_file", "image_name", "img_name", "img_file", "imgpath", "impath", "images", "filepaths", "paths", "files"),
    *("jpg", "jpeg", "png", "webp", "picture", "photo"),
)
LABEL = (
    *("label", "labels", "class", "classname", "class_name", "category", "category_name", "target", "cls", "fine_label"),
    *("label_name", "class_label", "classes", "targets", "class_id", "label_id", "category_id"),
)
CAPTION = ("title", "caption", "text", "txt", "captions")
"""Columns that hold class names in some tables (open_clip's format has `title`) and sentences in others."""

NAMES: dict[str, tuple[str, ...]] = {"image": IMAGE, "label": (*LABEL, *CAPTION), "split": ("split",)}
"""The usual column names of each role, the clearest first. They are compared without case."""

UNLABELLED = frozenset({"", "-1", "nan", "none", "null", "?"})
"""Values that mean a missing label in a test split, in lower case."""

_SPLIT = {"eval": "val"}
_CHOICE = re.compile(r":(\w+)=([^:,]*)\Z")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Chosen(NamedTuple):
    """A name without the columns that followed it, and the chosen column by role."""

    name: str
    columns: dict[str, str]


def chosen_columns(text: str) -> Chosen:
    """Split `photos.csv:label=breed:image=file` into the name and the chosen columns.

    If a file or folder with the whole name exists, the text is only a name. `path` is a synonym of `image`.

    Raises:
        UserError: for an unknown role, a role that is given twice, and an empty column.
    """
    name, columns = text, dict[str, str]()
    while not os.path.lexists(name) and (match := _CHOICE.search(name)) is not None:
        role = "image" if match[1] == "path" else match[1]
        if role not in ROLES:
            raise UserError(
                f"{text!r} chooses a column for {match[1]!r}, which is unknown: write :image=, :label= or :split= and a column."
            )
        if role in columns:
            raise UserError(f"{text!r} has two columns for the {role}: remove one of them.")
        if not match[2]:
            raise UserError(f"{text!r} has no column after {role}=.")
        columns[role], name = match[2], name[: match.start()]
    return Chosen(name, columns)


def how_to_choose(name: str, role: str, column: str) -> str:
    """Return the argument that chooses a column, quoted for a shell."""
    return f"`{shlex.quote(f'{name}:{role}={column}')}`"


def find_column(role: str, choice: str | None, candidates: Sequence[str], header: Sequence[str], where: str) -> str | None:
    """Return the column of a role: the user's choice, the only candidate, or the candidate with the name of the role.

    Args:
        role: "image", "label" or "split".
        choice: the user's choice, or None.
        candidates: the possible columns.
        header: all columns.
        where: the file or dataset, in a form that the user can type.

    Returns:
        The column, or None if there is no candidate.

    Raises:
        UserError: for a choice that does not exist, and for several candidates. The message shows how to choose one.
    """
    if choice is not None:
        if choice in header:
            return choice
        near = [column for column in header if column.casefold() == choice.casefold()]
        if len(near) == 1:
            return near[0]
        raise UserError(f"{where} has no column {choice!r}; its columns are {', '.join(header) or 'none'}.")
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    exact = [column for column in candidates if column.casefold() in (role, NAMES[role][0])]
    for columns in (exact, known(role, candidates)):
        if len(columns) == 1:
            return columns[0]
    raise UserError(
        f"{where} has several possible columns for the {role} ({', '.join(candidates)}): choose one, for example "
        f"{how_to_choose(where, role, candidates[0])}."
    )


def known(role: str, header: Sequence[str]) -> list[str]:
    """Return the columns with a usual name of a role. Captions are left out if there are labels."""
    usual = NAMES[role]
    columns = [column for column in header if column.strip().casefold() in usual]
    labels = [column for column in columns if column.strip().casefold() not in CAPTION]
    return labels if role == "label" and labels else columns


def named_twin(header: Sequence[str], values: Callable[[str], Sequence[str]]) -> str | None:
    """Return the column of class names that corresponds to a label column of numbers, such as `class_name` and `label`.

    Columns of captions count if they hold such names.

    Args:
        header: all columns.
        values: returns the values of a column as texts.

    Returns:
        The column, or None unless all label columns are in one-to-one correspondence and exactly one of them holds words.
    """
    labels = known("label", header)
    if not labels or all(name.strip().casefold() in CAPTION for name in labels):
        return None
    captions = [column for column in header if column.strip().casefold() in CAPTION]
    texts = {column: values(column) for column in (*labels, *captions)}
    for columns in ([*labels, *captions], labels, *([*labels, caption] for caption in captions)):
        words = [name for name in columns if not any(_NUMBER.fullmatch(value) for value in set(texts[name]))]
        if len(words) == 1 < len(columns) and _one_to_one([texts[name] for name in columns]):
            return words[0]
    return None


def _one_to_one(columns: Sequence[Sequence[str]]) -> bool:
    """Return whether each value of a column corresponds to one value of every other column, with at least two values."""
    first = columns[0]
    for other in columns[1:]:
        pairs = set(zip(first, other, strict=True))
        if not len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
            return False
    return len(set(first)) > 1


def check_captions(column: str, labels: Sequence[str], where: str) -> None:
    """Refuse labels that are captions, which differ from image to image. Raises UserError."""
    distinct = len(set(labels))
    if column.casefold() in CAPTION and len(labels) > 5 and 2 * distinct > len(labels):
        raise UserError(
            f"The column {column!r} of {where} has {distinct:,} different texts for {len(labels):,} images: captions, not "
            "class names. Add a column `label` with class names."
        )


@lru_cache(maxsize=1024)
def split_in(text: str) -> str | None:
    """Return "train", "val" or "test" for the name of a split in a table or dataset ("Training", "dev"), else None.

    "eval" is the validation split, which is tested on if there is no test split.
    """
    mark = mark_of(text)
    return None if mark is None or mark.rest else _SPLIT.get(mark.split, mark.split)


def split_in_path(path: str) -> str | None:
    """Return the split in a file's name or the nearest folder above it: "mnist-train-000000.tar", "test/0.parquet"."""
    for part in reversed(path.replace("\\", "/").split("/")):
        mark = mark_of(part)
        if mark is not None:
            return _SPLIT.get(mark.split, mark.split)
    return None
