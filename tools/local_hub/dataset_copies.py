"""Write a dataset of the table as its hub copy: parquet files with encoded images, and a card that names classes and splits.

The layout is that of `Dataset.push_to_hub`: FOLDER/SPLIT-00000-of-0000N.parquet, columns with the names of the table
(`hub` in benchmarks/full/table.toml), and in README.md the features and the files of each split.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from benchmarks.full.dataset_table import ENTRIES, Entry, Hub, Missing, entry
from benchmarks.full.listing import Listing
from benchmarks.full.readers import list_images
from models.registry import UserError

SHARD_BYTES = 500_000_000
"""Bytes of images per parquet file, as `push_to_hub` cuts them."""
ROWS_PER_GROUP = 100
"""Rows that are written at a time, as `datasets` does for images."""


class Split(NamedTuple):
    """One split of a copy: its name there, and the images of a listing that are in it."""

    name: str
    listing: Listing
    numbers: range


def names_with_copies(data_root: Path) -> list[str]:
    """Return the datasets of the table that have a hub copy and whose files are in the data folder.

    Several datasets may share a copy. Only the first of them is returned.
    """
    found: dict[str, str] = {}
    for name, row in ENTRIES.items():
        if row.hub is not None and row.hub.id not in found and all((data_root / folder).exists() for folder in row.folder):
            found[row.hub.id] = name
    return list(found.values())


def repository(name: str) -> str:
    """Return the repository of a dataset's copy. Raises UserError for one without."""
    hub = entry(name).hub
    if hub is None:
        raise UserError(f"{name} has no copy on the hub: choose one of {', '.join(n for n, r in ENTRIES.items() if r.hub)}.")
    return hub.id


def write(name: str, data_root: Path, target: Path, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write the hub copy of a dataset, and return the folder of its repository.

    Args:
        name: a name of the table.
        data_root: the data folder with the dataset in torchvision's layout.
        target: the folder of the server, with `datasets` below it.
        shard_bytes: bytes of images per parquet file.

    Raises:
        UserError: the dataset has no hub copy, or its files are missing or damaged.
    """
    folder, row = target / "datasets" / repository(name), entry(name)
    assert row.hub is not None
    splits = _splits(row, row.hub, data_root)
    keys = list(row.fixed) or list(dict.fromkeys(key for split in splits for key in split.listing.keys))
    inside = row.hub.config or "data"
    (folder / inside).mkdir(parents=True, exist_ok=True)
    bytes_of = {split.name: _write_split(split, row.hub, keys, folder / inside, shard_bytes) for split in splits}
    (folder / "README.md").write_text(card(row.hub, keys, {s.name: (len(s.numbers), bytes_of[s.name]) for s in splits}, inside))
    return folder


def card(hub: Hub, keys: list[str], splits: dict[str, tuple[int, int]], inside: str) -> str:
    """Return the dataset card: features, splits and their files in YAML.

    Args:
        hub: the copy.
        keys: class names.
        splits: images and bytes of each split.
        inside: the folder of the parquet files.
    """
    config = hub.config or "default"
    lines = ["---", "dataset_info:", f"- config_name: {config}", "  features:"]
    lines += [f"  - name: {hub.image}", "    dtype: image", f"  - name: {hub.label}", "    dtype:", "      class_label:"]
    lines += ["        names:", *(f"          '{number}': {json.dumps(key)}" for number, key in enumerate(keys)), "  splits:"]
    for split, (images, size) in splits.items():
        lines += [f"  - name: {split}", f"    num_bytes: {size}", f"    num_examples: {images}"]
    total = sum(size for _, size in splits.values())
    lines += [f"  download_size: {total}", f"  dataset_size: {total}", "configs:", f"- config_name: {config}", "  data_files:"]
    for split in splits:
        lines += [f"  - split: {split}", f"    path: {inside}/{split}-*"]
    return "\n".join([*lines, "---", "", f"# {hub.id}", "", "A copy with made-up images, from a local hub.", ""])


def _splits(row: Entry, hub: Hub, data_root: Path) -> list[Split]:
    """Return the splits of a copy. A whole set of several splits is cut in the order of its files."""
    splits = []
    for ours, theirs in hub.splits.items():
        try:
            listing = list_images(row, data_root, ours)
        except Missing as error:
            raise Missing(f"{row.name} cannot be copied: {error}") from error
        count = len(listing.labels)
        # 60 % in the first split, the rest in equal parts.
        edges = [0, *(round(count * (0.6 + 0.4 * part / max(1, len(theirs) - 1))) for part in range(len(theirs) - 1)), count]
        splits += [Split(name, listing, range(*edges[i : i + 2])) for i, name in enumerate(theirs)]
    return splits


def encoded(listing: Listing, numbers: range) -> Iterator[tuple[bytes, str, str]]:
    """Yield the bytes, file name and class key of images. Images of arrays are encoded as PNG."""
    if listing.arrays is None:
        for number in numbers:
            path = Path(listing.files[number])
            yield path.read_bytes(), path.name, listing.labels[number]
        return
    images = listing.arrays.load()
    for number in numbers:
        buffer = io.BytesIO()
        Image.fromarray(images[number]).save(buffer, "png")
        yield buffer.getvalue(), f"{number}.png", listing.labels[number]


def _write_split(split: Split, hub: Hub, keys: list[str], folder: Path, shard_bytes: int) -> int:
    """Write the parquet files of a split, and return the bytes of its images."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    features = datasets.Features({hub.image: datasets.Image(), hub.label: datasets.ClassLabel(names=keys)})
    schema, place = features.arrow_schema, {key: number for number, key in enumerate(keys)}
    rows = [(data, name, place[key]) for data, name, key in encoded(split.listing, split.numbers)]
    total = sum(len(data) for data, *_ in rows)
    shards = max(1, math.ceil(total / shard_bytes))
    for shard in range(shards):
        part = rows[shard * len(rows) // shards : (shard + 1) * len(rows) // shards]
        with pyarrow.parquet.ParquetWriter(folder / f"{split.name}-{shard:05d}-of-{shards:05d}.parquet", schema) as writer:
            for start in range(0, len(part), ROWS_PER_GROUP):
                group = part[start : start + ROWS_PER_GROUP]
                images = [{"bytes": data, "path": name} for data, name, _ in group]
                columns = [pyarrow.array(images, schema.field(0).type), pyarrow.array([label for *_, label in group])]
                writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))
    return total
