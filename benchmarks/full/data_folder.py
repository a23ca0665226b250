"""Contents of a data folder: the table's datasets, how complete each one is, and the reference data. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from benchmarks.full import folders, hub_counts
from benchmarks.full.dataset_table import ENTRIES, Entry, Missing, entry, suite
from benchmarks.full.readers import list_images
from benchmarks.reference_lookup import (
    CAPTIONS,
    RAW_CAPTIONS,
    captioned_images,
    captions_place,
    count_sentences,
    find_captions,
    imagenet_folder,
)
from models.registry import UserError, unknown

SUITES = ("mtil", "paint", "cases", "cil", "coop")
Counts = dict[str, int | None]


@dataclass(frozen=True)
class State:
    """State of one dataset on disk.

    Attributes:
        row: the dataset's entry in the table.
        kind: "complete", "hub copy" (a complete one), "incomplete" (files or images are missing or damaged), "differs" (more
            images than in the paper) or "missing".
        counts: images per split, or of "all" for a set that the benchmark splits. None: not counted.
        expected: the paper's numbers. None: not stated.
        places: the folders that exist.
        notes: phrases on what is missing or damaged.
        is_hub_copy: a run would read the hub copy.
    """

    row: Entry
    kind: str
    counts: Counts
    expected: Counts
    places: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    is_hub_copy: bool = False

    @property
    def complete(self) -> bool:
        """True if all images of the paper exist."""
        return self.kind in ("complete", "hub copy")


class ReferenceState(NamedTuple):
    """State of one set of reference data: whether it is there, a phrase on its contents, its path, and how to get it."""

    name: str
    present: bool
    summary: str
    path: Path
    how_to_get: str


def chosen(names: Sequence[str]) -> list[str]:
    """Return the names of datasets with suites ("mtil", "paint", "cases", "cil", "coop") spelt out, each once.

    Raises:
        UserError: for an unknown name.
    """
    datasets: list[str] = []
    for name in names:
        if name not in ENTRIES and name not in SUITES:
            raise unknown("dataset", name, [*ENTRIES, *SUITES])
        datasets += suite(name) if name in SUITES else [name]
    return list(dict.fromkeys(datasets))


def state(name: str, data_root: str | Path = "data") -> State:
    """Return the state of one dataset. Images are counted, not decoded: seconds for ImageNet, less for the others."""
    row, root = entry(name), Path(data_root)
    places, expected = folders(name, root), row.counted_splits
    layout, copy = State(row, "missing", {}, expected, places), root / "hub" / name
    absent = [folder for folder in row.folder if not (root / folder).exists()]
    if len(absent) < len(row.folder) and not _empty([root / folder for folder in row.folder]):
        layout = _layout_state(row, root, places, [f"{root / folder} is missing" for folder in absent])
    if row.hub is not None and copy.is_dir() and (layout.kind == "missing" or layout.notes or 0 in layout.counts.values()):
        return _copy_state(row, copy, places)
    return layout


def _layout_state(row: Entry, root: Path, places: tuple[Path, ...], notes: list[str]) -> State:
    counts: Counts = {}
    for split in row.counted_splits:
        try:
            counts[split] = len(list_images(row, root, split).labels)
        except Missing as error:
            notes.append(str(error).rstrip("."))
            counts[split] = None
        except UserError as error:
            notes.append(f"the {split} split cannot be counted: {str(error).rstrip('.')}")
            counts[split] = None
    kind = _kind(counts, row.counted_splits, notes, "complete")
    return State(row, kind, counts, row.counted_splits, places, tuple(dict.fromkeys(notes)))


def _copy_state(row: Entry, folder: Path, places: tuple[Path, ...]) -> State:
    expected = row.counted_splits
    notes: list[str] = []
    counts: Counts = {}
    try:
        counts = hub_counts.count_images(row, folder)
        if not row.fixed and not hub_counts.class_names(row, folder):
            notes.append(f"the hub copy {folder} has no class names")
    except Exception as error:  # damaged copies: json, pyarrow and the file system raise different exceptions
        notes.append(f"the hub copy {folder} cannot be counted, a file is damaged: {error}")
    absent = [split for split in expected if split not in counts and split != "val"]
    if absent and not notes:
        notes.append(f"the hub copy {folder} has no {absent[0]} split")
    kind = _kind(counts, expected, notes, "hub copy")
    return State(row, kind, counts, expected, places, tuple(notes), is_hub_copy=True)


def _kind(counts: Counts, expected: Mapping[str, int | None], notes: list[str], complete: str) -> str:
    pairs = [(count, expected.get(split)) for split, count in counts.items()]
    if notes or any(count == 0 or (count is not None and size is not None and count < size) for count, size in pairs):
        return "incomplete"
    return "differs" if any(count is not None and size is not None and count > size for count, size in pairs) else complete


def _empty(places: list[Path]) -> bool:
    return not any(place.is_file() or (place.is_dir() and any(place.iterdir())) for place in places)


def size(place: Path) -> int:
    """Return the bytes of a file, or of all files in a folder. Links are not followed."""
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
    """Return the states of the papers' reference images and sentences (see `benchmarks.reference`)."""
    root = Path(data_root)
    images = imagenet_folder(root)
    classes = sum(item.is_dir() for item in images.iterdir()) if images.is_dir() else 0
    summary = f"{classes:,} class folders of reference images" if classes else "no reference images"
    imagenet = ReferenceState("imagenet", classes > 0, summary, images, ENTRIES["imagenet"].get)
    table = find_captions(root)
    sentences, summary = 0, "no reference sentences"
    if table is not None:
        try:
            sentences = count_sentences(table)
            summary = f"{sentences:,} reference sentences, {len(captioned_images(table)):,} of their images"
        except UserError as error:
            summary = str(error).rstrip(".")
    instructions = (
        f"Download Google's {RAW_CAPTIONS} (two columns without a header: caption and address) from "
        "https://ai.google.com/research/ConceptualCaptions and put it here. It is enough for the sentences. With images: "
        f"download them from its addresses and write {CAPTIONS} with the header title<TAB>filepath and one row per image that "
        "arrived. ZSCL's code makes its table this way (gather_cc.py) and loses the captions of dead addresses."
    )
    captions = ReferenceState("conceptual_captions", sentences > 0, summary, table or captions_place(root), instructions)
    return [imagenet, captions]
