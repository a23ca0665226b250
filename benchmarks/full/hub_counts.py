"""Number of images and class names of a hub copy, from the headers of its Arrow or parquet files. Imports no torch."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.full.dataset_table import Entry


def count_images(row: Entry, folder: Path) -> dict[str, int | None]:
    """Return the number of images per split of a hub copy, or of "all". A split that the copy lacks has 0.

    The splits of a parquet snapshot are not counted: they are None.

    Raises:
        OSError: for a damaged copy.
        ValueError: for a damaged copy.
    """
    if row.hub is None:
        return {}
    rows = _saved(folder) if (folder / "dataset_dict.json").is_file() else None
    if rows is None and (folder / "state.json").is_file():
        rows = {"train": _arrow(folder)}
    expected = row.counted_splits
    if rows is None:
        return dict.fromkeys(expected)
    counts = {split: sum(rows.get(name, 0) for name in names) for split, names in row.hub.splits.items()}
    return {split: counts.get(split, 0) for split in expected if split in counts or split != "val"}


def class_names(row: Entry, folder: Path) -> list[str]:
    """Return the class names that a hub copy stores. Empty if its labels are plain numbers. Raises as `count_images`."""
    if row.hub is None:
        return []
    files = sorted([*folder.glob("dataset_info.json"), *folder.glob("*/dataset_info.json")])
    if files:
        features = json.loads(files[0].read_text()).get("features") or {}
    else:
        import pyarrow.parquet

        tables = sorted(path for path in folder.rglob("*.parquet") if not path.relative_to(folder).parts[0].startswith("."))
        stored = pyarrow.parquet.read_schema(tables[0]).metadata or {} if tables else {}
        features = json.loads(stored.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    return list((features.get(row.hub.label) or {}).get("names") or [])


def _saved(folder: Path) -> dict[str, int]:
    splits = json.loads((folder / "dataset_dict.json").read_text())["splits"]
    return {str(split): _arrow(folder / str(split)) for split in splits}


def _arrow(folder: Path) -> int:
    import pyarrow

    total = 0
    for item in json.loads((folder / "state.json").read_text())["_data_files"]:
        with pyarrow.memory_map(str(folder / item["filename"])) as source:
            total += sum(batch.num_rows for batch in pyarrow.ipc.open_stream(source))
    return total
