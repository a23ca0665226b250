"""Read a table of images in a text file: path, label, split, and line number of each row. No torch."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.data.formats import is_image
from benchmarks.own.columns import UNLABELLED, check_captions, find_column, how_to_choose, known, named_twin, split_in
from benchmarks.own.csv_text import DELIMITERS, read_lines
from benchmarks.own.names import clean
from models.registry import UserError

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
_DRIVE = re.compile(r"[a-z]:|\\\\|//[^/]", re.IGNORECASE)
_FLAG = re.compile(r"is_?(train|training|val|valid|validation|test|testing)", re.IGNORECASE)


class Row(NamedTuple):
    """One image: the line of the file where its row begins, its path as written, its label, and its split or None."""

    line: int
    path: str
    label: str
    split: str | None


class Table(NamedTuple):
    """The rows of a file, and sentences on how they were read."""

    rows: list[Row]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_table(path: str | Path, columns: Mapping[str, str] | None = None, named: bool = True) -> Table:
    """Read the rows of a table with a column for paths, one for labels, and perhaps one for splits.

    The separator is the one (tab, comma, semicolon or bar) that gives the header the most known column names
    (`columns.NAMES`, compared without case), whatever the ending of the file. Blank lines are left out. Without a header line,
    the columns are recognised by their content if that is unambiguous.

    Of several label columns, `label` is used. If the columns correspond one to one, the column of words is preferred to those
    of numbers. A column without a known name whose values are all splits is the split column.

    Args:
        path: the file.
        columns: the column by role ("image", "label", "split") that the user chose.
        named: prefer a column of class names to the numbers that stand for them. False if class names are given.

    Returns:
        The rows in the order of the file.

    Raises:
        UserError: naming the file and the line, for text that is not UTF-8, a missing or ambiguous column, a row of another
            length, an empty path or label, an unknown split, an image that occurs twice, and paths that are web addresses.
    """
    columns = columns or {}
    lines = read_lines(path, columns)
    header, body = lines.header, lines.rows
    notes: list[str] = []
    if _is_headerless(header, columns):
        header, body = _titled(header, body, path), [(lines.first, header), *body]
        notes.append(f"{path} has no header line; its columns were read as {', '.join(header)}")
    for line, cells in body:
        if len(cells) != len(header):
            raise UserError(_other_length(path, line, cells, header, lines.delimiter))
    place = {role: header.index(column) for role, column in _roles(header, body, columns, named, str(path), notes).items()}
    rows = [_row(cells, place, f"{path}, line {line}", line) for line, cells in body]
    rows = _labelled(rows, path, notes)
    if not rows:
        raise UserError(f"{path} has no images: it has no line below the header.")
    check_captions(header[place["label"]], [row.label for row in rows], str(path))
    _check_distinct(rows, path)
    return Table(rows, tuple(notes), tuple(_unread_splits(header, place, rows, path)))


def read_paths(path: str | Path, columns: Mapping[str, str] | None = None) -> list[str]:
    """Return the paths of the images of a table, as written. Raises UserError as `read_table` does."""
    return [row.path for row in read_table(path, columns).rows]


def metadata_files(folder: str | Path) -> list[tuple[Path, str | None]]:
    """Return the tables of a folder of images, each with the split of its folder, or None.

    A table is called metadata.csv, has a label column, and is next to images: in the folder or in each split folder. The result
    is empty for other folders, also for class folders with a table next to them.
    """
    root = Path(folder)
    here = root / "metadata.csv"
    if here.is_file():
        files: list[tuple[Path, str | None]] = [(here, None)]
    else:
        with os.scandir(root) as entries:
            inner = sorted(entry.name for entry in entries if split_in(entry.name) and entry.is_dir())
        files = [(path, split_in(name)) for name in inner if (path := root / name / "metadata.csv").is_file()]
    return files if all(_has_images(file.parent) and known("label", read_lines(file, {}).header) for file, _ in files) else []


def _has_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) for entry in entries)


def image_path(table: str | Path, path: str) -> Path:
    """Return the absolute path of an image in a table; paths are relative to the table's folder.

    If the path as written does not exist, it is tried with slashes for backslashes, and with accents in their other form.
    """
    folder = Path(table).parent
    first, *others = [Path(os.path.abspath(folder / form)) for form in _forms(path)]
    if not others or os.path.isfile(first):
        return first
    return next((other for other in others if os.path.isfile(other)), first)


def why_missing(table: str | Path, path: str) -> str:
    """Return why an image of a table does not exist, as a clause without a full stop."""
    if _DRIVE.match(path):
        return f"the image {path} is on a Windows drive of another machine; write paths relative to the folder of the table"
    file = image_path(table, path)
    clause = f"the image {file} is missing"
    if os.path.isdir(file):
        return f"the image {file} is a folder"
    endings = [ending for ending in (".jpg", ".jpeg", ".png", ".JPG") if os.path.isfile(f"{file}{ending}")]
    if endings:
        return f"{clause}, but {file.name}{endings[0]} exists: write the path with its ending"
    if path.startswith("~"):
        return f'{clause}: in a table "~" does not mean the home folder'
    if os.path.isfile(path):
        return f"{clause}: paths are relative to the folder of the table, not to the working directory"
    return clause


def _forms(path: str) -> list[str]:
    """Return the forms in which a path may exist, the path as written first."""
    forms = [path]
    if "\\" in path:
        forms.append(path.replace("\\", "/"))
    if not path.isascii():
        forms += [unicodedata.normalize(form, text) for form in ("NFC", "NFD") for text in tuple(forms)]
    return list(dict.fromkeys(forms))


def _is_headerless(header: Sequence[str], columns: Mapping[str, str]) -> bool:
    """Return whether the first line is an image: no cell is a known column name, and one is the name of an image file."""
    if columns or any(known(role, header) for role in ("image", "label", "split")):
        return False
    return sum(is_image(cell.replace("\\", "/").rsplit("/", 1)[-1]) for cell in header) == 1


def _titled(first: list[str], body: Sequence[tuple[int, list[str]]], path: str | Path) -> list[str]:
    """Return a header for a table without one. Raises UserError if its columns are ambiguous."""
    names = ["path" if is_image(cell.replace("\\", "/").rsplit("/", 1)[-1]) else "" for cell in first]
    others = [i for i, name in enumerate(names) if not name]
    values = {i: {first[i]} | {cells[i] for _, cells in body if len(cells) == len(first)} for i in others}
    splits = [i for i in others if all(split_in(value) for value in values[i])]
    if len(others) == 2 and len(splits) == 1:
        names[splits[0]] = "split"
        others.remove(splits[0])
    if len(others) != 1:
        raise UserError(
            f"{path} has no header line: its first line is {', '.join(first)!r:.80}. Add a first line with the names of the "
            "columns, such as path,label."
        )
    names[others[0]] = "label"
    return names


def _roles(
    header: list[str],
    body: Sequence[tuple[int, list[str]]],
    choices: Mapping[str, str],
    named: bool,
    path: str,
    notes: list[str],
) -> dict[str, str]:
    """Return the column of each role. A table without splits has no entry for "split"."""
    for column in (*choices.values(), *(c for role in ("image", "label", "split") for c in known(role, header))):
        if header.count(column) > 1:
            raise UserError(f"{path} has two columns called {column!r}.")
    images, labels = known("image", header), known("label", header)
    if len(images) > 1 and body:
        files = [c for c in images if is_image(body[0][1][header.index(c)].replace("\\", "/").rsplit("/", 1)[-1])]
        images = files or images
    twin = None
    if named and body and "label" not in choices:
        twin = named_twin(header, lambda column: [cells[header.index(column)] for _, cells in body])
    if twin is not None:
        others = ", ".join(column for column in labels if column != twin)
        notes.append(f"{path}: class names are those of the column {twin}, which corresponds one to one to {others}")
    columns: dict[str, str] = {}
    for role, candidates in (("image", images), ("label", [twin] if twin else labels)):
        column_or_none = find_column(role, choices.get(role), candidates, header, path)
        if column_or_none is None:
            raise UserError(_no_column(role, header, body, path))
        columns[role] = column_or_none
    split = _split_column(header, body, choices, path, [*columns.values(), *labels], notes)
    return {**columns, "split": split} if split is not None else columns


def _split_column(
    header: list[str],
    body: Sequence[tuple[int, list[str]]],
    choices: Mapping[str, str],
    path: str,
    taken: Sequence[str],
    notes: list[str],
) -> str | None:
    """Return the column of the splits: the one called split, or one of another name whose values are all splits."""
    usual = find_column("split", choices.get("split"), known("split", header), header, path)
    if usual is not None:
        return usual
    likely = []
    for i, column in enumerate(header):
        if column in taken or not all(split_in(cells[i]) for _, cells in body):
            continue
        if len({cells[i] for _, cells in body}) > 1:
            likely.append(column)
    chosen = find_column("split", None, likely, header, path)
    if chosen is not None:
        notes.append(f"{path}: the splits are those of the column {chosen}")
    return chosen


def _no_column(role: str, header: Sequence[str], body: Sequence[tuple[int, list[str]]], path: str) -> str:
    """Return the message about a missing column."""
    content = "path of the image (path, filepath, image, ...)" if role == "image" else "class (label, class, category, ...)"
    problem = f"{path} has no column for the {content}; its header is: {', '.join(header) or 'empty'}."
    flags = [i for i in range(len(header)) if body and {cells[i] for _, cells in body} <= {"0", "1", "0.0", "1.0"}]
    if role == "label" and len(flags) > 1:
        return f"{problem} Replace the columns of zeros and ones per class by one column `label` with the name of the class."
    others = [column for column in header if column]
    example = f", for example {how_to_choose(path, role, others[-1])}" if others else ""
    return f"{problem} Rename the right column to {'path' if role == 'image' else role!r}, or choose it{example}."


def _other_length(path: str | Path, line: int, cells: Sequence[str], header: Sequence[str], delimiter: str) -> str:
    sign = DELIMITERS.get(delimiter, repr(delimiter))
    hint = f" Put a value that contains {sign} in quotes." if len(cells) > len(header) else ""
    return f"{path}, line {line}: {len(cells)} values for {len(header)} columns.{hint}"


def _row(cells: Sequence[str], place: Mapping[str, int], where: str, line: int) -> Row:
    path, label = cells[place["image"]], cells[place["label"]]
    if not path:
        raise UserError(f"{where}: the path is empty.")
    if _ADDRESS.match(path) and not _DRIVE.match(path):
        raise UserError(f"{where}: {path:.80} is a web address; download the images and write their paths.")
    if "split" not in place:
        return Row(line, path, label, None)
    word = cells[place["split"]]
    split = split_in(word)
    if split is None:
        problem = f"unknown split {word!r}" if word else "the split is empty"
        raise UserError(f"{where}: {problem}; write train, val or test.")
    return Row(line, path, label, split)


def _labelled(rows: list[Row], path: str | Path, notes: list[str]) -> list[Row]:
    """Return the rows, without those of a test split that has no labels. Raises UserError for any other empty label."""
    test = [row for row in rows if row.split == "test"]
    classes = {row.label.lower() for row in rows if row.split == "train"}
    if test and len(test) < len(rows) and all(row.label.lower() in UNLABELLED - classes for row in test):
        notes.append(f"{path}: the {len(test):,} images of the test split have no labels and are left out")
        rows = [row for row in rows if row.split != "test"]
    for row in rows:
        if not clean(row.label):
            raise UserError(f"{path}, line {row.line}: the label is empty.")
    return rows


def _check_distinct(rows: Sequence[Row], path: str | Path) -> None:
    lines: dict[str, Row] = {}
    for row in rows:
        key = os.path.normpath(_forms(row.path)[-1].replace("\\", "/"))
        if key in lines:
            other = lines[key]
            more = "" if other.label == row.label else f", with the label {other.label!r}; an image can have only one label"
            raise UserError(f"{path}, line {row.line}: the image {row.path} is already in line {other.line}{more}.")
        lines[key] = row


def _unread_splits(header: Sequence[str], place: Mapping[str, int], rows: Sequence[Row], path: str | Path) -> list[str]:
    """Return warnings about splits that the table seems to have but that are not read."""
    if "split" in place:
        return []
    remedy = "to give the splits, add a column `split` with train, val and test"
    if flags := [column for column in header if _FLAG.fullmatch(column)]:
        return [f"{path}: the column {flags[0]} is not read as a split; {remedy}"]
    folders: set[str] = set()
    for row in rows:
        split = next(filter(None, map(split_in, row.path.replace("\\", "/").split("/")[:-1])), None)
        if split is None:
            return []
        folders.add(split)
    if len(folders) > 1:
        names = " and ".join(sorted(folders))
        return [f"{path}: its paths have folders for {names}, but it has no split column, so the splits are random; {remedy}"]
    return []
