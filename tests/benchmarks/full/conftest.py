"""Fixtures of the full edition."""

import runpy
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.full import downloads
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.downloads import RemoteFile

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "downloads.py"))
md5, tar_of, zip_of = (FAKES[name] for name in ("md5", "tar_of", "zip_of"))


@pytest.fixture
def no_names(monkeypatch):
    """No name of a host is found."""

    def fail(*_, **__):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(urllib.request, "urlopen", fail)


@pytest.fixture
def offered(server, full_roots, tmp_path, monkeypatch):
    """A function that offers a made-up dataset on the server as its authors do, and sets the table's sizes to its sizes."""

    def offer(name, *archives, md5s=True):
        made = full_roots.write(tmp_path / "authors", [name])[name]
        sizes = {split: made.sizes.get(split) for split in ("train", "val", "test")}
        monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], classes=made.classes, **sizes))
        ours = []
        for file, folder, paths, makes in archives:
            base = tmp_path / "authors" / folder
            if file.endswith(".zip"):
                data = zip_of(base)
            elif file.endswith(".tar.gz"):
                data = tar_of(base, *paths)
            else:
                data = (base / file).read_bytes()
            server.files[file] = data
            ours.append(RemoteFile((server.url(file),), makes, md5(data) if md5s else None, folder))
        key = ENTRIES[name].torchvision or name
        monkeypatch.setattr(downloads, "table", lambda: {key: tuple(ours)})
        return tmp_path / "data"

    return offer
