"""Read records from elsewhere: hub datasets, folders and `run.json` files of others. Imports neither torch nor Avalanche.

Such records are untrusted. Nothing in them is executed. Only files of known names, paths and sizes are read, and links must not
leave their folder. Every record is checked against the schema and against itself, and left out with a sentence if it fails. The
checks show that the files agree, not that the run took place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from harness.display.console import complain
from harness.hub.repository import NAME, Listing, download, list_files
from harness.records.run_check import Contradiction
from harness.records.runs import Run, merged, read, read_one
from harness.records.schema import RECORD, SchemaError, check_schema
from models.files import reason
from models.registry import UserError, check_text, escaped, printable, shortened

TABLES = ("accuracy.csv", "measures.csv", "train.csv")
FILES = (RECORD, *TABLES)
LARGEST = {RECORD: 8 << 20, **dict.fromkeys(TABLES, 64 << 20), "checkpoint/latest.json": 1 << 20}
"""Largest sizes of files that are read, in bytes."""
LARGEST_DATASET = 4 << 30
"""Largest size of the records of a hub dataset, in bytes."""
MOST_RECORDS = 20_000
LONGEST_SENTENCE = 600
MOST_SENTENCES = 5
"""Sentences per place on records that are left out."""
IN_DATASET = re.compile(rf"((?:[A-Za-z0-9_][\w.+-]*/){{0,6}})({'|'.join(map(re.escape, FILES))})", re.ASCII)
"""The paths in a hub dataset that are downloaded: no "..", no hidden and no absolute ones."""
ADDRESS = re.compile(r"(?:hf://datasets/)?([^@\s]+?)(?:@([\w./-]+))?", re.ASCII)
"""OWNER/NAME and the revision of a hub dataset."""


class Record(NamedTuple):
    """The folder of a record, the folder that its files must be in, and the address and source that a leaderboard shows."""

    folder: Path
    root: Path
    source: str
    address: str | None = None


def read_all(roots: Sequence[str | Path], elsewhere: Sequence[str] = (), say: Callable[[str], None] = complain) -> list[Run]:
    """Return the runs in the user's folders and those from elsewhere, each once. The user's are preferred.

    Args:
        roots: folders and `run.json` files of the user (`harness.records.runs.read`).
        elsewhere: hub datasets as OWNER/NAME or OWNER/NAME@REVISION, folders and `run.json` files of others.
        say: called with a sentence for each record that is left out.

    Raises:
        UserError: for a damaged record in `roots`, and for a place that is not there or cannot be reached.
    """
    runs = read(roots, say)
    if not elsewhere:
        return runs
    for place in elsewhere:
        left_out = 0
        for record in records_of(place, say):
            try:
                runs.append(read_record(record))
            except UserError as error:
                left_out += 1
                if left_out <= MOST_SENTENCES:
                    say(f"{problem(error, record)}. It is left out.")
        if left_out > MOST_SENTENCES:
            say(f"{left_out - MOST_SENTENCES} more records of {place} are left out; `leaderboard --check --from` names them.")
    return merged(runs, say)


def records_of(place: str, say: Callable[[str], None] = complain) -> list[Record]:
    """Return the records of a place: an existing folder or `run.json` file, or a hub dataset, whose records are downloaded.

    Raises:
        UserError: for a place that is neither, that holds too much, or that cannot be reached.
    """
    if not place.startswith("hf://") and os.path.lexists(place):
        return _local(Path(place), place)
    match = ADDRESS.fullmatch(place)
    if match is None or not NAME.fullmatch(match[1]):
        raise UserError(f"{place!r} is neither a folder, a {RECORD} file nor a hub dataset (OWNER/NAME).")
    return _from_hub(match[1], match[2], say)


def read_record(record: Record) -> Run:
    """Read and check a record from elsewhere. Raises UserError, naming the file and the field."""
    for name, largest in LARGEST.items():
        _check_file(record.folder / name, record.root, largest)
    check_schema(record.folder)
    run = read_one(record.folder / RECORD)
    check_texts(run.document)
    return replace(run, source=record.source, address=record.address)


def check_texts(document: dict[str, Any]) -> None:
    """Raise UserError for a text of a `run.json` that can change a terminal. Only notes may have several lines."""
    for text in _texts(document["identity"]):
        check_text(text, f"text in identity of {RECORD}")
    for text in _texts(document):
        if printable(text, multiline=True) != text:
            raise UserError(f"The text {escaped(text)} in {RECORD} has characters that change a terminal")


def problem(error: UserError, record: Record) -> str:
    """Return an error of `read_record` without its advice, which is for the owner of a run, and without a full stop."""
    text = str(error)
    if isinstance(error, SchemaError | Contradiction):
        text = f"{error.path}: {error.problem}"
    place = record.address or str(record.folder)
    text = text.partition("; --fresh")[0].rstrip(".").replace(str(record.folder), place)
    return shortened(text if place in text else f"{place}: {text}", LONGEST_SENTENCE)


def _local(path: Path, place: str) -> list[Record]:
    """Return the records of a folder, without following links, or the record of a `run.json` file."""
    try:
        if path.is_file():
            if path.name != RECORD:
                raise UserError(f"{place} is not a {RECORD} file: give a folder of records, and unpack an archive first.")
            return [Record(path.parent, path.parent.resolve(), place)]
        root, folders = path.resolve(), []
        for folder, below, files in os.walk(path):
            below[:] = sorted(name for name in below if not name.startswith(".") and name not in ("checkpoint", "predictions"))
            if RECORD in files:
                folders.append(Path(folder))
            if len(folders) > MOST_RECORDS:
                raise UserError(f"{place} has more than {MOST_RECORDS:,} records: give a part of it.")
    except (OSError, RuntimeError) as error:
        raise UserError(f"Cannot read {place}: {reason(error) if isinstance(error, OSError) else error}.") from error
    if not folders:
        raise UserError(f"There are no records ({RECORD}) in {place}.")
    return [Record(folder, root, place) for folder in folders]


def _from_hub(repository: str, revision: str | None, say: Callable[[str], None]) -> list[Record]:
    """Download the records of a hub dataset, and return them. Files that are too large are not downloaded."""
    listing = list_files(repository, revision=revision)
    address = f"hf://datasets/{repository}@{listing.commit}"
    wanted: list[str] = []
    folders: list[str] = []
    for folder, names in _folders(listing):
        if large := [name for name in names if listing.sizes[name] > LARGEST[name.rpartition("/")[2]]]:
            say(f"{address}/{large[0]} has {listing.sizes[large[0]]:,} bytes, which is too many. It is left out.")
            continue
        folders.append(folder)
        wanted += names
    if not folders:
        raise UserError(f"There are no records ({RECORD}) in the hub dataset {repository!r}.")
    if len(folders) > MOST_RECORDS or (total := sum(listing.sizes[name] for name in wanted)) > LARGEST_DATASET:
        size = f"more than {MOST_RECORDS:,}" if len(folders) > MOST_RECORDS else f"{total / (1 << 30):.0f} GiB of"
        raise UserError(f"The hub dataset {repository!r} has {size} records, which is too many. Download a part of it.")
    root, paths = download(repository, listing.commit, wanted)
    of_folder = {name.rpartition("/")[0]: path.parent for name, path in paths.items()}
    places = [folder.rstrip("/") for folder in folders]
    return [Record(of_folder[place], root.resolve(), repository, f"{address}/{place}".rstrip("/")) for place in places]


def _folders(listing: Listing) -> Iterator[tuple[str, list[str]]]:
    """Yield each folder of a listing that has a `run.json`, and the paths of its files."""
    by_folder: dict[str, list[str]] = {}
    for name in sorted(listing.sizes):
        if (match := IN_DATASET.fullmatch(name)) is not None:
            by_folder.setdefault(match[1], []).append(name)
    yield from ((folder, names) for folder, names in by_folder.items() if f"{folder}{RECORD}" in names)


def _check_file(path: Path, root: Path, largest: int) -> None:
    """Raise UserError for a file that is too large or behind a link that leaves the folder. A missing file is not checked."""
    if not os.path.lexists(path):
        return
    try:
        outside, size = not path.resolve().is_relative_to(root), path.stat().st_size
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} cannot be read ({reason(error) if isinstance(error, OSError) else error})") from error
    if outside:
        raise UserError(f"{path} is a symbolic link to a file outside its folder")
    if size > largest:
        raise UserError(f"{path} has {size:,} bytes, and at most {largest:,} are read")


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a JSON value, also the names of fields."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list):
            waiting += item
