"""MD5 checksums of files that stay on disk, where torchvision knows them: CIFAR, Flowers-102, SVHN, STL-10, and MNIST's and
Fashion-MNIST's archives where they were kept.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from benchmarks.data.progress import Progress
from benchmarks.full.dataset_table import Entry
from benchmarks.full.download import digest


def known(row: Entry, root: Path) -> dict[Path, str]:
    """The files of a dataset that are there and have a checksum."""
    from torchvision import datasets

    found: dict[Path, str] = {}
    if row.torchvision in ("CIFAR10", "CIFAR100"):
        cifar = getattr(datasets, row.torchvision)
        base = root / cifar.base_folder
        found = {base / name: md5 for name, md5 in [*cifar.train_list, *cifar.test_list]}
        found[base / cifar.meta["filename"]] = cifar.meta["md5"]
    elif row.torchvision == "STL10":
        stl = datasets.STL10
        found = {root / stl.base_folder / name: md5 for name, md5 in [*stl.train_list, *stl.test_list]}
    elif row.torchvision == "SVHN":
        found = {root / row.root / name: md5 for _, name, md5 in datasets.SVHN.split_list.values()}
    elif row.torchvision == "Flowers102":
        files = datasets.Flowers102._file_dict
        found = {root / "flowers-102" / files[key][0]: files[key][1] for key in ("label", "setid")}
    elif row.torchvision in ("MNIST", "FashionMNIST"):
        resources = getattr(datasets, row.torchvision).resources
        found = {root / row.torchvision / "raw" / name: md5 for name, md5 in resources}
    return {path: md5 for path, md5 in found.items() if path.is_file()}


def wrong(row: Entry, root: Path, progress: Progress) -> list[str]:
    """A sentence for each file whose checksum is not the known one. Of an archive that was kept the unpacked file beside it
    is compared too.
    """
    files = known(row, root)
    said = []
    for done, (path, md5) in enumerate(files.items()):
        progress(done, len(files), f"checksums of {row.name}")
        if digest(path) != md5:
            said.append(f"{path} is damaged or another version: its MD5 checksum is not {md5}.")
        elif path.suffix == ".gz" and path.with_suffix("").is_file() and not _same(path, path.with_suffix("")):
            said.append(f"{path.with_suffix('')} is damaged: it is not what {path.name} holds.")
    return said


def _same(archive: Path, path: Path) -> bool:
    with gzip.open(archive) as file:  # tens of megabytes at most
        return file.read() == path.read_bytes()
