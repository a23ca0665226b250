"""A listing of ImageNet's size: `python tests/speed/listing.py [--images 1281167]`.

Makes empty files in ImageNet's layout, 1,000 folders, and measures processor time of the listing as a run reads it and of the
data version, and the memory of the dataset: in all, and what a forked loader process copies of it when it has read a number of
random paths and labels. Paths are in one block (`PathList`, as in the product) or in a list of strings. Waiting for a slow disk
is not in the times. Linux only.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.data.images import ImageFiles
from benchmarks.full.dataset_files import DatasetFiles
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.fingerprint import version
from benchmarks.full.listing import class_folders

TRAIN = "imagenet/train"
CLASSES = 1000


def make_tree(root: Path, images: int) -> None:
    """Write empty files n.../n..._k.JPEG, the same number in each of 1,000 folders."""
    for number in range(CLASSES):
        name = f"n{1_440_764 + number:08d}"
        folder = root / name
        folder.mkdir(parents=True)
        for k in range(images // CLASSES + (number < images % CLASSES)):
            (folder / f"{name}_{k}.JPEG").touch()


def private_megabytes() -> float:
    """The memory that only this process has, in MB."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty")) / 1e3


def growth(dataset: ImageFiles, draws: int) -> float:
    """The MB that a forked process copies when it reads this number of random paths and labels."""
    read, write = os.pipe()
    # An array: reading a list would copy the list's own numbers.
    order = np.random.default_rng(0).integers(len(dataset), size=draws)
    child = os.fork()
    if child == 0:
        before = private_megabytes()
        for index in order:
            _ = dataset.paths[index], dataset.targets[index]
        os.write(write, f"{private_megabytes() - before:.1f}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    return float(os.read(read, 64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=1_281_167)
    parser.add_argument("--draws", type=int, nargs="+", default=[8_008, 64_064, 1_281_167])
    parser.add_argument("--root", type=Path, help="folder for the files, kept and used again; a temporary one if not given")
    a = parser.parse_args()
    body = []
    with tempfile.TemporaryDirectory() as temporary:
        entry = ENTRIES["imagenet"]
        root = a.root or Path(temporary)
        files = DatasetFiles(entry, root)
        train = files.path(TRAIN)
        if not train.is_dir():
            make_tree(train, a.images)
        start = time.process_time()
        listing = class_folders(files, TRAIN)
        body.append(["listing, s", f"{time.process_time() - start:.2f}"])
        start = time.process_time()
        version(entry, root)
        body.append(["data version, s", f"{time.process_time() - start:.2f}"])
        place = {key: label for label, key in enumerate(listing.keys)}
        paths, labels = listing.files, [place[key] for key in listing.labels]
        del listing
    for name in ("one block", "list of strings"):
        before, start = private_megabytes(), time.process_time()
        dataset = ImageFiles(paths, labels)
        if name == "list of strings":
            dataset.paths = [path[:-1] + path[-1] for path in paths]  # type: ignore[assignment]  # as it was: its own strings
        body.append([f"{name}: dataset, MB", f"{private_megabytes() - before:.0f}"])
        body.append([f"{name}: making it, s", f"{time.process_time() - start:.2f}"])
        body += [[f"{name}: a process after {draws:,} draws, MB", f"{growth(dataset, draws):.0f}"] for draws in a.draws]
        del dataset
    table = Table(title=f"{len(paths):,} files")
    table.add_column("")
    table.add_column("", justify="right")
    for row in body:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
