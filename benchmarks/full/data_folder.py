"""What lies in a data folder: which of the table's datasets, how much of each, and the reference data. Needs no torch."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.full import count, folders
from benchmarks.full.dataset_table import ENTRIES, Entry, entry, suite
from models.registry import unknown

SUITES = ("mtil", "paint", "cil")
CAPTIONS = "Validation_GCC-1.1.0-Validation_output.csv"


@dataclass(frozen=True)
class State:
    """What there is of one dataset.

    `kind` is "complete"; "hub copy" (a complete one); "incomplete" (files or images lacking, or damaged); "differs" (more
    images than the paper); "missing". `found` and `wanted` are images per split, or "all" for a set that comes whole; None:
    not counted, not stated. `notes` say what is lacking; `copy` that a hub copy is what would be read.
    """

    row: Entry
    kind: str
    counts: dict[str, int | None]
    expected: dict[str, int | None]
    places: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    is_hub_copy: bool = False

    @property
    def complete(self) -> bool:
        return self.kind in ("complete", "hub copy")


class ReferenceState(NamedTuple):
    """Reference data: what it is, whether it is there, what was found, where."""

    name: str
    present: bool
    summary: str
    path: Path
    how_to_get: str


def chosen(names: list[str] | tuple[str, ...]) -> list[str]:
    """Names of datasets from names and suites ("mtil", "paint", "cil"), each once. Raises UserError for an unknown one."""
    found: list[str] = []
    for name in names:
        if name not in ENTRIES and name not in SUITES:
            raise unknown("dataset", name, [*ENTRIES, *SUITES])
        found += suite(name) if name in SUITES else [name]
    return list(dict.fromkeys(found))


def state(name: str, data_root: str | Path = "data") -> State:
    """What is there of one dataset, counted without decoding an image. Seconds for ImageNet, less for the others."""
    row, root = entry(name), Path(data_root)
    places, wanted = folders(name, root), count.splits(row)
    files, copy = State(row, "missing", {}, wanted, places), root / "hub" / name
    lacking = [folder for folder in row.folder if not (root / folder).exists()]
    if len(lacking) < len(row.folder) and not _empty([root / folder for folder in row.folder]):
        files = _of_files(row, root, places, [f"{root / folder} is missing" for folder in lacking])
    if row.hub is not None and copy.is_dir() and (files.kind == "missing" or files.notes or 0 in files.counts.values()):
        return _of_copy(row, copy, wanted, places)
    return files


def _of_files(row: Entry, root: Path, places: tuple[Path, ...], notes: list[str]) -> State:
    wanted, counted = count.splits(row), count.of(row)
    found: dict[str, int | None] = {}
    for split in wanted:
        try:
            found[split] = counted(root, split)
        except FileNotFoundError as error:
            notes.append(f"{error.filename} is missing")
            found[split] = None
        except Exception as error:  # damaged files end in every kind of exception, scipy's own among them
            notes.append(f"the {split} split cannot be counted, a file is damaged: {error}")
            found[split] = None
    return State(row, _kind(found, wanted, notes, "complete"), found, wanted, places, tuple(dict.fromkeys(notes)))


def _of_copy(row: Entry, folder: Path, wanted: dict[str, int | None], places: tuple[Path, ...]) -> State:
    notes: list[str] = []
    found: dict[str, int | None] = {}
    try:
        found = count.hub_copy(row, folder)
        if not row.fixed and not count.hub_names(row, folder):
            notes.append(f"the hub copy {folder} does not say its class names")
    except Exception as error:  # a damaged copy: json, pyarrow and the file system each say it their way
        notes.append(f"the hub copy {folder} cannot be counted, a file is damaged: {error}")
    lacking = [split for split in wanted if split not in found and split != "val"]
    if lacking and not notes:
        notes.append(f"the hub copy {folder} has no {lacking[0]} split")
    counted = {split: size for split, size in wanted.items() if split in found}
    return State(row, _kind(found, counted, notes, "hub copy"), found, wanted, places, tuple(notes), is_hub_copy=True)


def _kind(found: dict[str, int | None], wanted: dict[str, int | None], notes: list[str], whole: str) -> str:
    pairs = [(number, wanted.get(split)) for split, number in found.items()]
    if notes or any(n == 0 or (n is not None and size is not None and n < size) for n, size in pairs):
        return "incomplete"
    return "differs" if any(n is not None and size is not None and n > size for n, size in pairs) else whole


def _empty(places: list[Path]) -> bool:
    return not any(place.is_dir() and any(place.iterdir()) for place in places)


def size(place: Path) -> int:
    """Bytes of a file, or of all files in a folder; links are not followed."""
    if not place.is_dir():
        return place.stat().st_size if place.is_file() else 0
    total, waiting = 0, [str(place)]
    while waiting:
        with os.scandir(waiting.pop()) as items:
            for item in items:
                if item.is_dir(follow_symlinks=False):
                    waiting.append(item.path)
                else:
                    total += item.stat(follow_symlinks=False).st_size
    return total


def references(data_root: str | Path = "data") -> list[ReferenceState]:
    """The reference images and sentences that lie in the data folder (see `benchmarks.reference`)."""
    root = Path(data_root)
    images = root / "imagenet" / "train"
    classes = sum(item.is_dir() for item in images.iterdir()) if images.is_dir() else 0
    found = [
        ReferenceState(
            "imagenet",
            classes > 0,
            f"{classes:,} class folders of reference images" if classes else "no reference images",
            images,
            ENTRIES["imagenet"].get,
        )
    ]
    place = next((p for p in (root / "conceptual_captions", root / "cc_data", root) if (p / CAPTIONS).is_file()), None)
    table = (place or root / "conceptual_captions") / CAPTIONS
    sentences, pictures, problem = _captions(table) if place else (0, 0, "no reference sentences")
    found.append(
        ReferenceState(
            "conceptual_captions",
            sentences > 0,
            problem or f"{sentences:,} reference sentences, {pictures:,} of their images",
            table,
            "Its validation table (columns title and filepath, separated by tabs) and the images that it names are "
            "downloaded from their addresses: https://ai.google.com/research/ConceptualCaptions.",
        )
    )
    return found


def _captions(table: Path) -> tuple[int, int, str]:
    try:
        with table.open(newline="", encoding="utf-8") as file:
            tabs = "\t" in file.readline()
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter="\t" if tabs else ","))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        return 0, 0, f"{table} cannot be read: {error}"
    sentences = sum(bool((row.get("title") or row.get("caption") or "").strip()) for row in rows)
    pictures = sum((table.parent / row["filepath"]).is_file() for row in rows if row.get("filepath"))
    return sentences, pictures, "" if sentences else f"{table} has no column title or caption with sentences"
