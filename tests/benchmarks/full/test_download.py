"""Download of one file: resumed, verified, and with an error that names the cause."""

import runpy
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from benchmarks.full import download as download_module
from benchmarks.full.download import Broken, Damaged, Offline, Unreachable, download
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "downloads.py"))
md5 = FAKES["md5"]
Usage = namedtuple("Usage", "total used free")


def quiet(*_):
    pass


def test_download(server, tmp_path):
    server.files["x.bin"] = data = bytes(range(256)) * 20
    seen = []
    download((server.url("x.bin"),), tmp_path / "x.bin", md5(data), lambda *call: seen.append(call), 0)
    assert (tmp_path / "x.bin").read_bytes() == data
    assert seen[-1] == (5120, 5120, "downloading x.bin (5,120 bytes)")
    assert [path.name for path in tmp_path.iterdir()] == ["x.bin"]
    download((server.url("x.bin"),), tmp_path / "x.bin", md5(data), quiet, 0)
    assert len(server.asked) == 1


def test_a_broken_download_is_continued(server, tmp_path):
    server.files["x.bin"] = data = bytes(range(256)) * 20
    server.cut["x.bin"] = 2000
    with pytest.raises(Broken, match=r"stopped"):
        download((server.url("x.bin"),), tmp_path / "x.bin", md5(data), quiet, 0)
    assert not (tmp_path / "x.bin").exists() and (tmp_path / "x.bin.part").stat().st_size == 2000
    del server.cut["x.bin"]
    download((server.url("x.bin"),), tmp_path / "x.bin", md5(data), quiet, 0)
    assert (tmp_path / "x.bin").read_bytes() == data
    assert server.asked == [("x.bin", None), ("x.bin", "bytes=2000-")]


def test_a_file_that_changed_meanwhile_starts_again(server, tmp_path):
    server.files["x.bin"], server.cut["x.bin"] = b"a" * 3000, 2000
    with pytest.raises(Broken):
        download((server.url("x.bin"),), tmp_path / "x.bin", None, quiet, 0)
    server.files["x.bin"], server.tag, server.cut = b"b" * 3000, '"2"', {}
    download((server.url("x.bin"),), tmp_path / "x.bin", None, quiet, 0)
    assert (tmp_path / "x.bin").read_bytes() == b"b" * 3000


def test_without_a_tag_it_starts_again(server, tmp_path):
    server.files["x.bin"], server.cut["x.bin"], server.tag = b"a" * 3000, 2000, None
    with pytest.raises(Broken):
        download((server.url("x.bin"),), tmp_path / "x.bin", None, quiet, 0)
    server.cut = {}
    download((server.url("x.bin"),), tmp_path / "x.bin", None, quiet, 0)
    assert server.asked[-1] == ("x.bin", None) and (tmp_path / "x.bin").stat().st_size == 3000


def test_killed_after_the_last_byte(server, tmp_path):
    server.files["x.bin"] = b"a" * 3000
    (tmp_path / "x.bin.part").write_bytes(b"a" * 3000)
    (tmp_path / "x.bin.tag").write_text('"1"')
    download((server.url("x.bin"),), tmp_path / "x.bin", md5(b"a" * 3000), quiet, 0)
    assert server.asked == [("x.bin", "bytes=3000-")] and (tmp_path / "x.bin").exists()


def test_a_part_that_is_wrong_is_not_continued_twice(server, tmp_path):
    server.files["x.bin"] = b"a" * 3000
    (tmp_path / "x.bin.tag").write_text('"1"')
    for wrong in (b"z" * 1000, b"z" * 4000):  # other bytes, or more bytes than the file has
        (tmp_path / "x.bin.part").write_bytes(wrong)
        (tmp_path / "x.bin.tag").write_text('"1"')
        download((server.url("x.bin"),), tmp_path / "x.bin", md5(b"a" * 3000), quiet, 0)
        assert (tmp_path / "x.bin").read_bytes() == b"a" * 3000
        (tmp_path / "x.bin").unlink()


def test_a_wrong_checksum_deletes_the_file(server, tmp_path):
    server.files["x.bin"] = b"a web page that says sorry"
    with pytest.raises(Damaged, match=r"x\.bin from http.* its MD5 checksum is not 0{32}"):
        download((server.url("x.bin"),), tmp_path / "x.bin", "0" * 32, quiet, 0)
    assert list(tmp_path.iterdir()) == []


def test_mirrors(server, tmp_path):
    server.files["b.bin"] = b"b"
    server.files["bad.bin"] = b"?"
    download((server.url("a.bin"), server.url("bad.bin"), server.url("b.bin")), tmp_path / "a.bin", md5(b"b"), quiet, 0)
    assert (tmp_path / "a.bin").read_bytes() == b"b"
    with pytest.raises(Unreachable, match="returned 404"):
        download((server.url("c.bin"), server.url("d.bin")), tmp_path / "c.bin", None, quiet, 0)


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        download((f"http://127.0.0.1:{port}/x",), tmp_path / "x", None, quiet, 0)


def test_no_network(no_names, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "offline", lambda: True)
    with pytest.raises(Offline, match=r"There is no network: the names of example\.org and"):
        download(("https://example.org/x",), tmp_path / "x", None, quiet, 0)
    monkeypatch.setattr(download_module, "offline", lambda: False)
    with pytest.raises(Unreachable, match="Name or service not known"):
        download(("https://example.org/x",), tmp_path / "x", None, quiet, 0)


def test_offline_looks_the_hub_up(monkeypatch):
    monkeypatch.setattr(download_module.urllib.request, "getproxies", dict)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/path")
    looked = []
    monkeypatch.setattr(download_module.socket, "getaddrinfo", lambda host, port: looked.append(host))
    assert not download_module.offline() and looked == ["hub.example.org"]

    def fail(host, port):
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(download_module.socket, "getaddrinfo", fail)
    assert download_module.offline()
    monkeypatch.setattr(download_module.urllib.request, "getproxies", lambda: {"https": "http://proxy"})
    assert not download_module.offline()


def test_room_on_the_disk_is_looked_at_first(server, tmp_path, monkeypatch):
    server.files["x.zip"] = b"a" * 4000
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: Usage(9, 9, download_module.MARGIN + 7999))
    with pytest.raises(UserError, match=r"x\.zip needs about 8,000 bytes, but the disk of .* has 268\.4 MB free"):
        download((server.url("x.zip"),), tmp_path / "x.zip", None, quiet, 1.0)
    assert list(tmp_path.iterdir()) == []
    download((server.url("x.zip"),), tmp_path / "x.zip", None, quiet, 0.5)
