"""Archives stay in their folder, and damaged ones are reported."""

import io
import runpy
import stat
import tarfile
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from benchmarks.full import download as download_module
from benchmarks.full.download import Damaged
from benchmarks.full.unpack import Refused, unpack
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "downloads.py"))
tar_of, zip_of = (FAKES[name] for name in ("tar_of", "zip_of"))
Usage = namedtuple("Usage", "total used free")


def quiet(*_):
    pass


def member(name, kind=tarfile.REGTYPE, link="", data=b"data"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data) if kind == tarfile.REGTYPE else 0
    return info, data


def write_tar(path, *members):
    with tarfile.open(path, "w") as file:
        for info, data in members:
            file.addfile(info, io.BytesIO(data) if info.isreg() else None)


@pytest.mark.parametrize(
    "bad",
    [
        member("../out.txt"),
        member("/out.txt"),
        member("a/../../out.txt"),
        member("C:/out.txt"),
        member("a\\..\\..\\out.txt"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("link", tarfile.SYMTYPE, "good.txt"),
        member("link", tarfile.LNKTYPE, "../../secret"),
        member("link", tarfile.LNKTYPE, "/etc/passwd"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
    ],
    ids=lambda item: f"{item[0].name} {item[0].linkname}".replace("/", ":"),
)
def test_tar_files_that_reach_outside_are_refused(bad, tmp_path):
    write_tar(tmp_path / "x.tar", member("good.txt"), bad)
    with pytest.raises(Refused, match="was not unpacked"):
        unpack(tmp_path / "x.tar", tmp_path / "deep" / "folder", quiet)
    names = {path.name for path in (tmp_path / "deep").rglob("*")}
    assert names <= {"folder", "good.txt"} and not (tmp_path / "out.txt").exists()


def test_hard_links_inside_are_files(tmp_path):
    write_tar(tmp_path / "x.tar", member("a/one.txt"), member("two.txt", tarfile.LNKTYPE, "a/one.txt"))
    unpack(tmp_path / "x.tar", tmp_path / "folder", quiet)
    assert (tmp_path / "folder" / "two.txt").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "C:/out.txt", "..\\out.txt"])
def test_zip_files_that_reach_outside_are_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("good.txt", "good")
        file.writestr(name, "bad")
    with pytest.raises(Refused, match="is outside the folder"):
        unpack(tmp_path / "x.zip", tmp_path / "deep" / "folder", quiet)
    assert {path.name for path in tmp_path.rglob("*")} == {"x.zip", "deep", "folder", "good.txt"}


def test_links_in_zip_files_are_refused(tmp_path):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(Refused, match="'link' is a link or a device"):
        unpack(tmp_path / "x.zip", tmp_path / "folder", quiet)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.zip", "x.gz", "x.tar"])
def test_archives_cut_short(name, tmp_path, full_roots):
    full_roots.save(tmp_path / "in" / "a.png", 1, 1)
    content = {
        "x.tar.gz": lambda: tar_of(tmp_path, "in"),
        "x.tar": lambda: tar_of(tmp_path, "in", mode="w"),
        "x.zip": lambda: zip_of(tmp_path / "in"),
        "x.gz": lambda: __import__("gzip").compress(bytes(range(256)) * 9),
    }[name]()
    # The tar file without its padding is cut inside the picture.
    (tmp_path / name).write_bytes(content[:1200] if name == "x.tar" else content[: len(content) // 2])
    with pytest.raises(Damaged, match=r"damaged or incomplete"):
        unpack(tmp_path / name, tmp_path / "folder", quiet)


def test_what_macos_adds_is_left_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("data/a.txt", "a")
        file.writestr("__MACOSX/data/._a.txt", "?")
    seen = []
    unpack(tmp_path / "x.zip", tmp_path / "folder", lambda *call: seen.append(call))
    assert {path.name for path in (tmp_path / "folder").rglob("*")} == {"data", "a.txt"}
    assert seen[-1][0] == seen[-1][1] == 2


def test_a_zip_file_larger_than_the_disk(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", bytes(10**6))
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: Usage(9, 9, download_module.MARGIN + 10**5))
    with pytest.raises(UserError, match=r"Unpacking x\.zip needs about 1\.0 MB"):
        unpack(tmp_path / "x.zip", tmp_path / "folder", quiet)
