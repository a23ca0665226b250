"""Find reference pairs, an image with its sentence, by name (`benchmarks.reference_pairs`). Imports no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from benchmarks.reference_lookup import existing_captions, table_rows
from models.paths import user_path
from models.registry import UserError

NAMES = ("mini", "conceptual_captions")
IMAGE_COLUMNS = ("image", "file_name", "filepath")
SENTENCE_COLUMNS = ("text", "caption", "title")
TASK = "{task}"
"""In the name of a folder or file: the name of the task, so that every task has other pairs."""


class PairFiles(NamedTuple):
    """Image files and their sentences, and the rows of each task if every task has other pairs."""

    paths: list[str]
    sentences: list[str]
    rows: Mapping[str, range] | None


def find_pairs(images: str, sentences: str, tasks: Sequence[str], data_root: str = "data") -> PairFiles:
    """Return the pairs in a table and a folder, in the order of the table. Rows without an image file are left out.

    Args:
        images: "conceptual_captions", or a folder of images.
        sentences: "conceptual_captions", or a .csv or .tsv file, or a folder with one such file. A column image, file_name or
            filepath names the image, and a column text, caption or title has the sentence. The image is looked for next to the
            table by its path, then in `images` by its path and by its name.
        tasks: the names of the tasks. With {task} in `images` or `sentences` every task has other pairs.
        data_root: the data folder.

    Raises:
        UserError: for a missing folder, table or column, and for a table of which no image exists.
    """
    if TASK not in images + sentences:
        found = list(_pairs(images, sentences, data_root))
        return PairFiles([path for path, _ in found], [sentence for _, sentence in found], None)
    paths: list[str] = []
    texts: list[str] = []
    rows = {}
    for task in tasks:
        found = list(_pairs(images.replace(TASK, task), sentences.replace(TASK, task), data_root))
        rows[task] = range(len(paths), len(paths) + len(found))
        paths += [path for path, _ in found]
        texts += [sentence for _, sentence in found]
    return PairFiles(paths, texts, rows)


def version(images: str, sentences: str, tasks: Sequence[str], data_root: str = "data") -> str | None:
    """Return a digest of the pairs for the key of a run: names and sizes of the images, and the sentences, 12 digits.

    None for the pairs that ship with the project, and for Conceptual Captions if it is missing, which `check` reports.
    """
    if images == "mini":
        return None
    if images == "conceptual_captions":
        try:
            existing_captions(Path(data_root))
        except UserError:
            return None
    files = find_pairs(images, sentences, tasks, data_root)
    sizes = [f"{Path(path).name} {Path(path).stat().st_size}" for path in files.paths]
    tasks_rows = [f"{task} {len(rows)}" for task, rows in (files.rows or {}).items()]
    return hashlib.sha256(os.fsencode("\n".join([*tasks_rows, *sizes, *files.sentences]))).hexdigest()[:12]


def check(images: str, sentences: str, data_root: str = "data") -> None:
    """Raise UserError if images and sentences cannot be of one set, or if Conceptual Captions is missing."""
    if images != sentences and {images, sentences} & set(NAMES):
        raise UserError(
            f"Reference pairs need images and sentences of one set, got {images!r} and {sentences!r}. Set reference_images to "
            f"a folder and reference_sentences to its table, or both to one of {', '.join(NAMES)}."
        )
    if images == "conceptual_captions":
        existing_captions(Path(data_root))


def _pairs(images: str, sentences: str, data_root: str) -> Iterator[tuple[str, str]]:
    """Yield the path and the sentence of each pair of one set."""
    check(images, sentences, data_root)
    captions = images == "conceptual_captions"
    table = existing_captions(Path(data_root)) if captions else _table(user_path(sentences))
    folder = table.parent if captions else user_path(images)
    if not folder.is_dir():
        raise UserError(f"There is no folder of reference images {folder}. Set reference_images to a folder.")
    rows = table_rows(table)
    image, sentence = (_column(rows, columns, table) for columns in (IMAGE_COLUMNS, SENTENCE_COLUMNS))
    count = 0
    for row in rows:
        text = (row[sentence] or "").strip()
        if text and (path := _existing(row[image] or "", table.parent, folder)) is not None:
            count += 1
            yield str(path), text
    if not count:
        raise UserError(f"None of the images that {table} names (column {image}) exists next to it or in {folder}.")


def _table(path: Path) -> Path:
    """Return a table: the file, or the one .csv or .tsv file in a folder."""
    if path.is_file():
        return path
    tables = sorted(each for each in path.glob("*") if each.suffix.lower() in (".csv", ".tsv")) if path.is_dir() else []
    if len(tables) != 1:
        what = f"has {len(tables)} tables (.csv or .tsv)" if path.is_dir() else "does not exist"
        raise UserError(
            f"{path} {what}. Set reference_sentences to one table with the columns image and text, or to a folder with one."
        )
    return tables[0]


def _column(rows: Sequence[Mapping[str, str]], columns: Sequence[str], table: Path) -> str:
    column = next((column for column in columns if rows and column in rows[0]), None)
    if column is None:
        raise UserError(f"{table} has no column {', '.join(columns[:-1])} or {columns[-1]}, or no row.")
    return column


def _existing(name: str, beside: Path, folder: Path) -> Path | None:
    """Return the path of an image that a table names, or None for a missing file."""
    if not name:
        return None
    last = PurePosixPath(name.replace("\\", "/")).name
    return next((path for path in (beside / name, folder / name, folder / last) if path.is_file()), None)
