"""Copies from the Hugging Face hub in <data root>/hub/NAME: a folder that `save_to_disk` wrote, or a parquet snapshot.

Images stay encoded until they are read. Labels are matched by class name if the copy's names are known, otherwise by number.
A copy whose known names contradict its numbers is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data.hub_images import HubImages
from benchmarks.data.images import file_source
from benchmarks.data.progress import library_bars
from benchmarks.full.dataset_table import Entry, Hub, root_flag
from benchmarks.full.listing import reading
from models.registry import UserError


def folder_of(name: str, data_root: Path) -> Path:
    """Return the folder of a dataset's hub copy."""
    return data_root / "hub" / name


def read(row: Entry, folder: Path, splits: Sequence[str], mode: str | None) -> tuple[list[str], dict[str, HubImages]]:
    """Read the splits of a hub copy.

    Args:
        row: the dataset's entry in the table.
        folder: the hub copy.
        splits: our splits; "all" is the whole set.
        mode: the mode that images are converted to. None keeps the stored one.

    Returns:
        The class keys (those of the table, or the copy's names), and the splits that the copy has.

    Raises:
        UserError: for a folder in neither format, a missing column, labels without class names if the table has no names
            either, and labels that cannot be mapped to our order.
    """
    import datasets

    hub = row.hub
    if hub is None:
        raise UserError(f"{row.name} has no hub copy.")
    tables = {}
    with library_bars(shown=False):
        for split in splits:
            loaded = [table for name in hub.splits.get(split, ()) if (table := _load(folder, name, hub)) is not None]
            if loaded:
                data = loaded[0][0] if len(loaded) == 1 else datasets.concatenate_datasets([table for table, _ in loaded])
                tables[split] = data, "\n".join(source for _, source in loaded)
    keys: list[str] = list(row.fixed)
    images = {}
    for split, (data, source) in tables.items():
        for column in (hub.image, hub.label):
            if column not in data.column_names:
                raise UserError(f"The hub copy {folder} has no column {column!r}: it has {', '.join(data.column_names)}.")
        copy_names = list(getattr(data.features[hub.label], "names", None) or [])
        if not copy_names and not row.fixed:
            raise UserError(_nameless(row, hub, folder))
        order, by_number = label_order(copy_names, row, folder)
        keys = keys or copy_names
        with reading(folder):
            numbers = [int(number) for number in data[hub.label]]
        bad = sorted({n for n in numbers if n not in order})
        if bad:
            raise UserError(f"The hub copy {folder} has labels outside its classes: {', '.join(map(str, bad[:5]))}.")
        with reading(folder):
            images[split] = HubImages(
                data,
                hub.image,
                [order[n] for n in numbers],
                f"the hub copy {hub.id}",
                mode=mode,
                source=source,
                by_number=by_number,
            )
    return keys, images


def _nameless(row: Entry, hub: Hub, folder: Path) -> str:
    """Return the message about a copy with plain numbers as labels: prompts need class names."""
    fetch = f"`python cli.py data fetch {row.name}{root_flag(folder.parents[1])} --from hub`"
    return (
        f"The hub copy {folder} of {row.name} has no class names: its column {hub.label!r} has no ClassLabel. "
        f"Fetch it again with {fetch}."
    )


def label_order(copy_names: Sequence[str], row: Entry, folder: Path) -> tuple[Mapping[int, int], bool]:
    """Return our class number by the copy's, and whether classes were matched by number.

    Names are compared with our keys on disk and our class names by their letters and digits. If all are known, classes are
    matched by name. If some are known, they are matched by number, provided that at least 90 % of the known names agree.
    """
    fixed = row.fixed
    if not fixed:
        return {number: number for number in range(len(copy_names))}, False
    known: dict[str, int] = {}
    for index, key in enumerate(fixed):
        known[_letters(key)] = index
    values = [_letters(name) for name in fixed.values()]
    known.update({name: index for index, name in enumerate(values) if values.count(name) == 1})
    matched = {number: known[_letters(name)] for number, name in enumerate(copy_names) if _letters(name) in known}
    if copy_names and len(matched) == len(copy_names) and len(set(matched.values())) == len(copy_names):
        return matched, False
    if copy_names and len(copy_names) != row.classes:
        unknown = [name for number, name in enumerate(copy_names) if number not in matched]
        raise UserError(
            f"The hub copy {folder} has {len(copy_names)} classes, {row.name} has {row.classes}; unknown here: "
            f"{', '.join(unknown[:5]) or 'none'}."
        )
    wrong = [copy_names[number] for number, ours in matched.items() if number != ours]
    if len(wrong) > len(matched) / 10:
        raise UserError(
            f"The hub copy {folder} has its classes in another order, and some of its class names are unknown. In another "
            f"place: {', '.join(wrong[:5])}."
        )
    return {number: number for number in range(row.classes)}, True


def _load(folder: Path, split: str, hub: Hub) -> tuple[Any, str] | None:
    """Return one of the copy's splits and its files, or None if the copy lacks it."""
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
        raise UserError(f"{folder} is not a hub copy: it has neither dataset_dict.json nor parquet files.")
    files = [path for path in files if _split_of(path) == split]
    if not files:
        return None
    with reading(files[0]):
        data = datasets.Dataset.from_parquet([str(path) for path in files], cache_dir=str(folder / ".cache"))
    return data, file_source(*files)


def _split_of(path: Path) -> str:
    """Return the split of a parquet file: "train-00000-of-00002.parquet" or "train/0000.parquet"."""
    match = re.fullmatch(r"(.+?)-\d{5}-of-\d{5}.*", path.stem)
    return match[1] if match else path.parent.name


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
