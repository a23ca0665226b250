"""CLEVR by the number of objects in a picture, 3 to 10 (Johnson et al. 2017, 1612.06890).

The scene files have the objects of each picture. The published test split has no scenes: the validation split is the test set.
"""

from __future__ import annotations

import json

from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import names
from benchmarks.full.listing import Listing, listed_files, reading


def read(files: DatasetFiles, split: str) -> Listing:
    """List one split in the order of its scenes."""
    published = "val" if split == "test" else split
    with reading(files.path(f"CLEVR_{published}_scenes.json")) as path:
        scenes = json.loads(path.read_text(encoding="utf-8"))["scenes"]
        rows = [(str(scene["image_filename"]), str(len(scene["objects"]))) for scene in scenes]
        return listed_files(files, f"images/{published}", list(names("clevr")), rows)
