"""Columns of tables of images: their usual names, the user's choice in `NAME:label=COLUMN`, and the search for the right one.

CSV files, Hugging Face datasets and webdataset shards share this. No torch.
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
"""Columns that hold class names in some tables (open_clip's own form has `title`) and sentences in others."""

NAMES: dict[str, tuple[str, ...]] = {"image": IMAGE, "label": (*LABEL, *CAPTION), "split": ("split",)}
"""Column names of each role, the most telling first, compared without case."""

UNLABELLED = frozenset({"", "-1", "nan", "none", "null", "?"})
"""What stands for a missing label in a test split, in lower case."""

_SPLIT = {"eval": "val"}
_CHOICE = re.compile(r":(\w+)=([^:,]*)\Z")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)


class Chosen(NamedTuple):
    """A name without the columns that follow it, and the columns by role."""

    name: str
    columns: dict[str, str]


def chosen_columns(text: str) -> Chosen:
    """Split `photos.csv:label=breed:image=file` into the name and the chosen columns.

    An existing file or folder of the whole name is that. `path` is another word for `image`.

    Raises:
        UserError: for a role that does not exist, one that is named twice, and an empty column.
    """
    name, columns = text, dict[str, str]()
    while not os.path.lexists(name) and (match := _CHOICE.search(name)) is not None:
        role = "image" if match[1] == "path" else match[1]
        if role not in ROLES:
            raise UserError(f"{text!r} chooses a column for {match[1]!r}: write :image=, :label= or :split= and a column.")
        if role in columns:
            raise UserError(f"{text!r} names two columns for the {role}: leave one out.")
        if not match[2]:
            raise UserError(f"{text!r} names no column after {role}=.")
        columns[role], name = match[2], name[: match.start()]
    return Chosen(name, columns)


def how_to_choose(name: str, role: str, column: str) -> str:
    """Return what to type to choose a column, ready for a shell."""
    return f"`{shlex.quote(f'{name}:{role}={column}')}`"


def find_column(role: str, asked: str | None, candidates: Sequence[str], header: Sequence[str], where: str) -> str | None:
    """Return the column of a role: the one asked for, the only candidate, or the one that is called like the role.

    None when there is no candidate.

    Args:
        role: "image", "label" or "split".
        asked: the user's choice, or None.
        candidates: the columns that may be meant.
        header: all columns.
        where: the file or dataset, as the user can name it again.

    Raises:
        UserError: for a choice that does not exist, and for several candidates. The message has the form that chooses one.
    """
    if asked is not None:
        if asked in header:
            return asked
        near = [column for column in header if column.casefold() == asked.casefold()]
        if len(near) == 1:
            return near[0]
        raise UserError(f"{where} has no column {asked!r}; its columns are {', '.join(header) or 'none'}.")
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    exact = [column for column in candidates if column.casefold() in (role, NAMES[role][0])]
    for choice in (exact, known(role, candidates)):
        if len(choice) == 1:
            return choice[0]
    raise UserError(
        f"{where} has several columns that may be the {role} ({', '.join(candidates)}): choose one, for example "
        f"{how_to_choose(where, role, candidates[0])}."
    )


def known(role: str, header: Sequence[str]) -> list[str]:
    """Return the columns whose names are usual for a role. Captions are left out if there are labels."""
    usual = NAMES[role]
    found = [column for column in header if column.strip().casefold() in usual]
    labels = [column for column in found if column.strip().casefold() not in CAPTION]
    return labels if role == "label" and labels else found


def named_twin(header: Sequence[str], values: Callable[[str], Sequence[str]]) -> str | None:
    """Return the column of class names that says the same of every row as a label column of numbers.

    Such as `class_name` next to `label`. None unless all label columns are in one-to-one correspondence and exactly one of
    them holds words. Columns of captions count where they are such names.

    Args:
        header: all columns.
        values: returns the values of a column as texts.
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
    """Whether each value of one column goes with one value of every other, and there are at least two."""
    first = columns[0]
    for other in columns[1:]:
        pairs = set(zip(first, other, strict=True))
        if not len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
            return False
    return len(set(first)) > 1


def check_captions(column: str, labels: Sequence[str], where: str) -> None:
    """Refuse a column of captions, which differ from image to image, as labels. Raises UserError."""
    different = len(set(labels))
    if column.casefold() in CAPTION and len(labels) > 5 and 2 * different > len(labels):
        raise UserError(
            f"The column {column!r} of {where} has {different:,} different texts for {len(labels):,} images: captions, not "
            f"class names. Add a column of class names, called label."
        )


@lru_cache(maxsize=1024)
def split_in(text: str) -> str | None:
    """Return "train", "val" or "test" for the word of a split in a table or dataset ("Training", "dev"), else None.

    "eval" is the validation split, which is tested on where there is no test split.
    """
    mark = mark_of(text)
    return None if mark is None or mark.rest else _SPLIT.get(mark.split, mark.split)


def split_in_path(path: str) -> str | None:
    """Return the split that a file's name says, or the nearest folder above it: "mnist-train-000000.tar", "test/0.parquet"."""
    for part in reversed(path.replace("\\", "/").split("/")):
        mark = mark_of(part)
        if mark is not None:
            return _SPLIT.get(mark.split, mark.split)
    return None
