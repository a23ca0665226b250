"""Verify the MD5 checksums that torchvision has for files on disk.

They exist for CIFAR, Flowers-102, SVHN, STL-10, and for the archives of MNIST and Fashion-MNIST, if those were kept.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from benchmarks.data.progress import Progress
from benchmarks.full.dataset_table import Entry
from benchmarks.full.download import digest


def known(row: Entry, root: Path) -> dict[Path, str]:
    """Return the checksums of a dataset's existing files."""
    from torchvision import datasets

    checksums: dict[Path, str] = {}
    if row.torchvision in ("CIFAR10", "CIFAR100"):
        cifar = getattr(datasets, row.torchvision)
        base = root / cifar.base_folder
        checksums = {base / name: md5 for name, md5 in [*cifar.train_list, *cifar.test_list]}
        checksums[base / cifar.meta["filename"]] = cifar.meta["md5"]
    elif row.torchvision == "STL10":
        stl = datasets.STL10
        checksums = {root / stl.base_folder / name: md5 for name, md5 in [*stl.train_list, *stl.test_list]}
    elif row.torchvision == "SVHN":
        checksums = {root / row.root / name: md5 for _, name, md5 in datasets.SVHN.split_list.values()}
    elif row.torchvision == "Flowers102":
        files = datasets.Flowers102._file_dict
        checksums = {root / "flowers-102" / files[key][0]: files[key][1] for key in ("label", "setid")}
    elif row.torchvision in ("MNIST", "FashionMNIST"):
        resources = getattr(datasets, row.torchvision).resources
        checksums = {root / row.torchvision / "raw" / name: md5 for name, md5 in resources}
    return {path: md5 for path, md5 in checksums.items() if path.is_file()}


def wrong(row: Entry, root: Path, progress: Progress) -> list[str]:
    """Return one sentence per file with a wrong checksum.

    The unpacked file next to a kept archive is compared with the archive.
    """
    files = known(row, root)
    sentences = []
    for done, (path, md5) in enumerate(files.items()):
        progress(done, len(files), f"checksums of {row.name}")
        if digest(path) != md5:
            sentences.append(f"{path} is damaged or another version: its MD5 checksum is not {md5}.")
        elif path.suffix == ".gz" and path.with_suffix("").is_file() and not _same(path, path.with_suffix("")):
            sentences.append(f"{path.with_suffix('')} is damaged: it differs from the content of {path.name}.")
    return sentences


def _same(archive: Path, path: Path) -> bool:
    with gzip.open(archive) as file:  # tens of megabytes at most
        return file.read() == path.read_bytes()
