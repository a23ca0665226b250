"""The table of downloads: its links are torchvision's, and its files make up the layout that readers need."""

import contextlib
import importlib
from pathlib import Path

from benchmarks.full import downloads
from benchmarks.full.dataset_table import ENTRIES


def test_links_and_checksums_are_torchvisions(monkeypatch, tmp_path):
    """Record the requests of torchvision's downloaders: the same links, checksums and folders."""
    import torchvision.datasets as tv

    asked = []

    def note_archive(url, download_root, extract_root=None, filename=None, md5=None, remove_finished=False):
        asked.append((url, md5, Path(extract_root or download_root)))

    def note_file(url, root, filename=None, md5=None):
        asked.append((url, md5, Path(root)))

    modules = ("caltech", "cifar", "clevr", "dtd", "eurosat", "fgvc_aircraft", "flowers102", "food101", "gtsrb", "kitti")
    for name in (*modules, "mnist", "oxford_iiit_pet", "stl10", "sun397", "svhn"):
        module = importlib.import_module(f"torchvision.datasets.{name}")
        for function, note in (("download_and_extract_archive", note_archive), ("download_url", note_file)):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, note)
    both = {"GTSRB": ["train", "test"], "SVHN": ["train", "test"]}
    classes = {row.torchvision: row.root for row in ENTRIES.values() if row.torchvision not in (None, "StanfordCars")}
    for name, place in classes.items():
        asked.clear()
        for split in both.get(name, [None]):
            with contextlib.suppress(RuntimeError, FileNotFoundError, ValueError):  # nothing was downloaded
                getattr(tv, name)(str(tmp_path / place), download=True, **({"split": split} if split else {}))
        ours = [(file.urls[0], file.md5, tmp_path / file.folder) for file in downloads.table()[name]]
        assert ours == asked, name


def test_every_piece_makes_what_the_readers_need(full_roots, tmp_path):
    """The made-up data has the paths that mark a file as unpacked. Without them a dataset is incomplete."""
    for name, row in ENTRIES.items():
        made = full_roots.write(tmp_path / name, [name])[name]
        assert made and all(file.missing(tmp_path / name) == [] for file in downloads.remote_files(row)), name
    extra = {key for key in downloads.table()} - {row.torchvision for row in ENTRIES.values()}
    lists = {name for name, row in ENTRIES.items() if row.suite == "coop"} - {"coop-aircraft"}
    assert extra == {"sun397", "kitti", "tinyimagenet", "cub", "imagenet-r", *lists}
    assert [file.file for file in downloads.remote_files(ENTRIES["kitti"])][-1] == "devkit_object.zip"
    assert not downloads.remote_files(ENTRIES["StanfordCars"]) and not downloads.remote_files(ENTRIES["resisc45"])
