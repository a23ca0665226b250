"""Readers of the splits published with CoOp (Zhou et al., 2109.01134): one JSON file per dataset with train, val and test.

Each image is [path, class number, class name]. Paths are relative to the folder of the images. X-TAIL, few-shot MTIL and the
literature on prompt learning use these splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.listing import Listing, listed_files, reading
from models.registry import UserError

SPLITS = ("train", "val", "test")


def split_file(name: str, images: str) -> Callable[[DatasetFiles, str], Listing]:
    """Return a reader of one of the files.

    Args:
        name: the JSON file.
        images: the folder that the paths are relative to, as `reads` in the table lists it. If it contains "{}", the images of
            a split are in one folder of that name and the paths start with it: "{}" is "train" (also for val) or "test".
    """

    def read(files: DatasetFiles, split: str) -> Listing:
        with reading(files.path(name)) as path:
            content = json.loads(path.read_text(encoding="utf-8"))
            keys = _class_names({part: content[part] for part in SPLITS}, path)
            rows = [(str(image), keys[number]) for image, number, _ in content[split]]
        folder = images.format("test" if split == "test" else "train")
        if folder != images:
            rows = [(image.removeprefix(f"{folder}/"), key) for image, key in rows]
        return listed_files(files, folder, keys, rows)

    return read


def _class_names(content: dict[str, list[Any]], path: Path) -> list[str]:
    """Return the class names by number. Raises UserError for numbers with gaps and for numbers and names that disagree."""
    pairs = {(int(number), str(name)) for rows in content.values() for _, number, name in rows}
    by_number = dict(pairs)
    if len(by_number) != len(pairs) or len(set(by_number.values())) != len(pairs):
        raise UserError(f"{path} gives one class number to several class names, or one name several numbers.")
    if sorted(by_number) != list(range(len(by_number))):
        raise UserError(f"{path} does not number its {len(by_number)} classes from 0 to {len(by_number) - 1}.")
    return [by_number[number] for number in range(len(by_number))]
