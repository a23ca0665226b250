"""Copies from the Hugging Face hub under <data root>/hub/NAME: a folder that `save_to_disk` wrote, or a parquet snapshot.

Images stay encoded until they are asked for. Labels go by class name where the copy says names that we know, else by
number; where the known names contradict the numbers, the copy is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.hub_images import HubImages
from benchmarks.data.images import file_source
from benchmarks.full.dataset_table import Entry, Hub, root_flag
from benchmarks.full.parts import reading
from models.registry import UserError


def folder_of(name: str, data_root: Path) -> Path:
    """Where the hub copy of an entry lies."""
    return data_root / "hub" / name


def read(row: Entry, folder: Path, splits: Sequence[str], mode: str | None) -> tuple[list[str], dict[str, HubImages]]:
    """Class keys (our fixed ones, or the copy's own names) and our splits; "all" is the whole set. A split that the copy
    does not have is left out.

    Raises UserError for a folder in neither format, a missing column, labels without class names where the table has none
    either, or labels that cannot be brought into our order.
    """
    import datasets

    hub = row.hub
    if hub is None:
        raise UserError(f"{row.name} has no hub copy.")
    found = {}
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        for split in splits:
            loaded = [part for name in hub.splits.get(split, ()) if (part := _load(folder, name, hub)) is not None]
            if loaded:
                data = loaded[0][0] if len(loaded) == 1 else datasets.concatenate_datasets([part for part, _ in loaded])
                found[split] = data, "\n".join(source for _, source in loaded)
    finally:
        if shown:
            datasets.enable_progress_bars()
    keys: list[str] = list(row.fixed)
    parts = {}
    for split, (data, source) in found.items():
        for column in (hub.image, hub.label):
            if column not in data.column_names:
                raise UserError(f"The hub copy {folder} has no column {column!r}: it has {', '.join(data.column_names)}.")
        theirs = list(getattr(data.features[hub.label], "names", None) or [])
        if not theirs and not row.fixed:
            raise UserError(_nameless(row, hub, folder))
        order, by_number = label_order(theirs, row, folder)
        keys = keys or theirs
        with reading(folder):
            numbers = [int(number) for number in data[hub.label]]
        bad = sorted({n for n in numbers if n not in order})
        if bad:
            raise UserError(f"The hub copy {folder} has labels outside its classes: {', '.join(map(str, bad[:5]))}.")
        with reading(folder):
            parts[split] = HubImages(
                data,
                hub.image,
                [order[n] for n in numbers],
                f"the hub copy {hub.id}",
                mode=mode,
                source=source,
                by_number=by_number,
            )
    return keys, parts


def _nameless(row: Entry, hub: Hub, folder: Path) -> str:
    """Prompts need names, and numbers are none."""
    fetch = f"`python cli.py data fetch {row.name}{root_flag(folder.parents[1])} --from hub`"
    return (
        f"The hub copy {folder} of {row.name} does not say its class names: its column {hub.label!r} has no ClassLabel. "
        f"Fetch it again with {fetch}."
    )


def label_order(theirs: Sequence[str], row: Entry, folder: Path) -> tuple[Mapping[int, int], bool]:
    """Their class number -> ours, and whether that had to go by number.

    Names are compared by their letters and digits, with our key on disk or our class name. All known: by name. Some
    known: by number, if nearly all of them agree with it.
    """
    fixed = row.fixed
    if not fixed:
        return {number: number for number in range(len(theirs))}, False
    known: dict[str, int] = {}
    for index, key in enumerate(fixed):
        known[_letters(key)] = index
    values = [_letters(name) for name in fixed.values()]
    known.update({name: index for index, name in enumerate(values) if values.count(name) == 1})
    matched = {number: known[_letters(name)] for number, name in enumerate(theirs) if _letters(name) in known}
    if theirs and len(matched) == len(theirs) and len(set(matched.values())) == len(theirs):
        return matched, False
    if theirs and len(theirs) != row.classes:
        strange = [name for number, name in enumerate(theirs) if number not in matched]
        raise UserError(
            f"The hub copy {folder} has {len(theirs)} classes, {row.name} has {row.classes}; unknown here: "
            f"{', '.join(strange[:5]) or 'none'}."
        )
    wrong = [theirs[number] for number, ours in matched.items() if number != ours]
    if len(wrong) > len(matched) / 10:
        raise UserError(f"The hub copy {folder} orders its classes differently, and not all its names are known: {wrong[:5]}.")
    return {number: number for number in range(row.classes)}, True


def _load(folder: Path, split: str, hub: Hub) -> tuple[Any, str] | None:
    """One of the copy's own splits with the files it came from, or None when the copy lacks it."""
    import datasets

    listing = folder / "dataset_dict.json"
    if listing.is_file():
        with reading(listing):
            present = list(json.loads(listing.read_text())["splits"])
        if split not in present:
            return None
        with reading(folder / split):
            data = datasets.load_from_disk(str(folder / split))
        return data, file_source(*sorted((folder / split).glob("*.arrow")))
    if (folder / "state.json").is_file():
        if split != "train":
            return None
        with reading(folder / "state.json"):
            data = datasets.load_from_disk(str(folder))
        return data, file_source(*sorted(folder.glob("*.arrow")))
    files = [path for path in sorted(folder.rglob("*.parquet")) if not path.relative_to(folder).parts[0].startswith(".")]
    if hub.config and any(hub.config in path.relative_to(folder).parts for path in files):
        files = [path for path in files if hub.config in path.relative_to(folder).parts]
    if not files:
        raise UserError(f"{folder} is no hub copy: neither dataset_dict.json nor parquet files are in it.")
    files = [path for path in files if _split_of(path) == split]
    if not files:
        return None
    with reading(files[0]):
        data = datasets.Dataset.from_parquet([str(path) for path in files], cache_dir=str(folder / ".cache"))
    return data, file_source(*files)


def _split_of(path: Path) -> str:
    """The split of a parquet file: "train-00000-of-00002.parquet" or "train/0000.parquet"."""
    match = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}.*", path.stem)
    return match[1] if match else path.parent.name


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
