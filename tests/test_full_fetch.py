"""Getting data: downloads that are continued and checked, archives that stay in their folder, nothing half done."""

import contextlib
import hashlib
import importlib
import io
import shutil
import socket
import stat
import tarfile
import threading
import urllib.error
import zipfile
from collections import namedtuple
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from benchmarks.full import download as download_module
from benchmarks.full import fetch as fetch_module
from benchmarks.full import pieces as pieces_module
from benchmarks.full import store
from benchmarks.full.download import Broken, Damaged, Offline, Unreachable, download
from benchmarks.full.fetch import fetch
from benchmarks.full.pieces import Piece
from benchmarks.full.table import ENTRIES
from benchmarks.full.unpack import Refused, unpack
from models.registry import UserError

Usage = namedtuple("Usage", "total used free")


def quiet(*_):
    pass


class Server:
    """Serves `files` by name on 127.0.0.1; `cut` says after how many bytes a file's connection breaks; `asked` is what came."""

    def __init__(self):
        self.files, self.cut, self.asked, self.tag = {}, {}, [], '"1"'
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name, data = self.path[1:], owner.files.get(self.path[1:])
                owner.asked.append((name, self.headers["Range"]))
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if self.headers["Range"] and self.headers["If-Range"] == owner.tag:
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                if start and start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                if owner.tag:
                    self.send_header("ETag", owner.tag)
                self.end_headers()
                self.wfile.write(data[start : owner.cut.get(name, len(data))])

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def url(self, name):
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    made = Server()
    yield made
    made.close()


def md5(data):
    return hashlib.md5(data).hexdigest()


def tar_of(folder, *names, mode="w:gz"):
    """The bytes of a tar file of these paths under a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name in names:
            file.add(folder / name, name)
    return buffer.getvalue()


def zip_of(folder, prefix=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return buffer.getvalue()


# The table of files.


def test_links_and_checksums_are_torchvisions(monkeypatch, tmp_path):
    """What torchvision's own downloaders would ask for, recorded: the same links, checksums and folders."""
    import torchvision.datasets as tv

    asked = []

    def note_archive(url, download_root, extract_root=None, filename=None, md5=None, remove_finished=False):
        asked.append((url, md5, Path(extract_root or download_root)))

    def note_file(url, root, filename=None, md5=None):
        asked.append((url, md5, Path(root)))

    modules = ("caltech", "cifar", "dtd", "eurosat", "fgvc_aircraft", "flowers102", "food101", "gtsrb", "kitti", "mnist")
    for name in (*modules, "oxford_iiit_pet", "stl10", "sun397", "svhn"):
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
        ours = [(piece.urls[0], piece.md5, tmp_path / piece.folder) for piece in pieces_module.table()[name]]
        assert ours == asked, name


def test_every_piece_makes_what_the_readers_need(full_roots, tmp_path):
    """The paths by which a piece counts as there are in the made-up data, and without them the set is not complete."""
    for name, row in ENTRIES.items():
        made = full_roots.write(tmp_path / name, [name])[name]
        assert made and all(piece.lacking(tmp_path / name) == [] for piece in pieces_module.pieces(row)), name
    extra = {key for key in pieces_module.table()} - {row.torchvision for row in ENTRIES.values()}
    assert extra == {"sun397", "kitti", "tinyimagenet"}
    assert [piece.file for piece in pieces_module.pieces(ENTRIES["kitti"])][-1] == "devkit_object.zip"
    assert not pieces_module.pieces(ENTRIES["StanfordCars"]) and not pieces_module.pieces(ENTRIES["resisc45"])


# One file.


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
    with pytest.raises(Broken, match=r"broke off"):
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
    for wrong in (b"z" * 1000, b"z" * 4000):  # other bytes; more bytes than the file has
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
    with pytest.raises(Unreachable, match="answers 404"):
        download((server.url("c.bin"), server.url("d.bin")), tmp_path / "c.bin", None, quiet, 0)


def test_a_server_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="cannot be reached"):
        download((f"http://127.0.0.1:{port}/x",), tmp_path / "x", None, quiet, 0)


def no_names(monkeypatch):
    def fail(*_, **__):
        raise urllib.error.URLError(socket.gaierror(-2, "Name or service not known"))

    monkeypatch.setattr(download_module.urllib.request, "urlopen", fail)


def test_no_network(tmp_path, monkeypatch):
    no_names(monkeypatch)
    monkeypatch.setattr(download_module, "offline", lambda: True)
    with pytest.raises(Offline, match=r"There is no network: neither example\.org nor"):
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
    with pytest.raises(UserError, match=r"x\.zip needs about 8,000 bytes on the disk of .*, where 268\.4 MB are free"):
        download((server.url("x.zip"),), tmp_path / "x.zip", None, quiet, 1.0)
    assert list(tmp_path.iterdir()) == []
    download((server.url("x.zip"),), tmp_path / "x.zip", None, quiet, 0.5)


# Archives.


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
    found = {path.name for path in (tmp_path / "deep").rglob("*")}
    assert found <= {"folder", "good.txt"} and not (tmp_path / "out.txt").exists()


def test_hard_links_inside_are_files(tmp_path):
    write_tar(tmp_path / "x.tar", member("a/one.txt"), member("two.txt", tarfile.LNKTYPE, "a/one.txt"))
    unpack(tmp_path / "x.tar", tmp_path / "folder", quiet)
    assert (tmp_path / "folder" / "two.txt").read_bytes() == b"data"


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt", "C:/out.txt", "..\\out.txt"])
def test_zip_files_that_reach_outside_are_refused(name, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr("good.txt", "good")
        file.writestr(name, "bad")
    with pytest.raises(Refused, match="would lie outside"):
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


# Whole datasets, from a server of our own.


@pytest.fixture
def offered(server, full_roots, tmp_path, monkeypatch):
    """Offers made-up datasets as the authors do; returns a function that offers one, as large as the table then says."""

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
            ours.append(Piece((server.url(file),), makes, md5(data) if md5s else None, folder))
        key = ENTRIES[name].torchvision or name
        monkeypatch.setattr(pieces_module, "table", lambda: {key: tuple(ours)})
        return tmp_path / "data"

    return offer


EUROSAT = ("EuroSAT", ("EuroSAT.zip", "eurosat", (), ("eurosat/2750",)))
PETS = (
    "OxfordPet",
    ("images.tar.gz", "oxford-iiit-pet", ("images",), ("oxford-iiit-pet/images",)),
    ("annotations.tar.gz", "oxford-iiit-pet", ("annotations",), ("oxford-iiit-pet/annotations",)),
)


def get(name, root, source="torchvision"):
    said = []
    return fetch(name, root, source, quiet, said.append), said


def test_fetch(offered, server):
    root = offered(*EUROSAT)
    state, said = get("EuroSAT", root)
    assert state.kind == "complete" and state.found == {"all": 30} and said == []
    assert sorted(path.name for path in root.iterdir()) == ["eurosat"]
    assert (root / "eurosat/2750/Forest/Forest_1.jpg").is_file()
    again, _ = get("EuroSAT", root)
    assert again == state and len(server.asked) == 1


def test_a_truncated_archive_is_never_read(offered, server, tmp_path):
    root = offered(*EUROSAT)
    server.cut["EuroSAT.zip"] = 3000
    with pytest.raises(Broken, match=r"EuroSAT\.zip broke off"):
        get("EuroSAT", root)
    assert store.state("EuroSAT", root).kind == "missing"
    assert {path.name for path in (root / ".partial" / "EuroSAT").iterdir()} == {"EuroSAT.zip.part", "EuroSAT.zip.tag"}
    server.cut = {}
    assert get("EuroSAT", root)[0].complete and not (root / ".partial").exists()
    assert server.asked[-1][1] == "bytes=3000-"


def test_the_second_piece_is_fetched_alone_next_time(offered, server):
    root = offered(*PETS)
    kept = server.files.pop("annotations.tar.gz")
    with pytest.raises(
        UserError, match=r"OxfordPet could not be fetched: .*annotations.tar.gz answers 404.* By hand: torchvision"
    ):
        get("OxfordPet", root)
    assert store.state("OxfordPet", root).kind == "missing", "half a dataset is not there"
    server.files["annotations.tar.gz"] = kept
    assert get("OxfordPet", root)[0].kind == "complete"
    assert [name for name, _ in server.asked].count("images.tar.gz") == 1


def test_only_what_is_lacking_is_fetched(offered, server, tmp_path):
    root = offered(*PETS)
    shutil.copytree(tmp_path / "authors" / "oxford-iiit-pet" / "images", root / "oxford-iiit-pet" / "images")
    assert get("OxfordPet", root)[0].complete
    assert [name for name, _ in server.asked] == ["annotations.tar.gz"]


def test_an_incomplete_folder_is_completed(offered, server, tmp_path):
    """A download that something else left half unpacked: everything is fetched, the person's other files stay."""
    root = offered(*PETS)
    images = root / "oxford-iiit-pet" / "images"
    images.mkdir(parents=True)
    (images / "Bengal_0.jpg").write_bytes(b"half")
    (images / "notes.txt").write_text("mine")
    state, said = get("OxfordPet", root)
    assert state.complete and (images / "notes.txt").read_text() == "mine"
    assert (images / "Bengal_0.jpg").read_bytes() != b"half" and "the rest is fetched too" in said[0]


def test_interrupted_in_the_middle(offered, server, monkeypatch):
    root = offered(*PETS)

    def interrupt(done, total, what):
        if what == "unpacking annotations.tar.gz":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("OxfordPet", root, None, interrupt, quiet)
    assert store.state("OxfordPet", root).kind == "missing"
    left = {path.name for path in (root / ".partial" / "OxfordIIITPet").iterdir()}
    assert left == {"images.tar.gz.tree", "annotations.tar.gz"}
    assert get("OxfordPet", root)[0].complete and len(server.asked) == 2, "nothing was downloaded twice"


def test_killed_in_the_middle(offered, server, full_roots):
    """A kill leaves half unpacked archives behind, and a half finished download without its tag."""
    root = offered(*EUROSAT)
    base = root / ".partial" / "EuroSAT"
    full_roots.save(base / "EuroSAT.zip.making" / "tree" / "eurosat" / "2750" / "Forest" / "Forest_1.jpg", 1, 1)
    (base / "EuroSAT.zip.part").write_bytes(b"PK")
    assert store.state("EuroSAT", root).kind == "missing"
    assert get("EuroSAT", root)[0].complete and not (root / ".partial").exists()


def test_killed_while_it_was_moved(offered, server, tmp_path):
    root = offered(*PETS)
    ready = root / ".partial" / "OxfordIIITPet.ready"
    for piece in ("images", "annotations"):
        tree = ready / f"{piece}.tar.gz.tree" / "oxford-iiit-pet" / piece
        shutil.copytree(tmp_path / "authors" / "oxford-iiit-pet" / piece, tree)
    (root / "oxford-iiit-pet").mkdir()
    shutil.move(ready / "annotations.tar.gz.tree" / "oxford-iiit-pet" / "annotations", root / "oxford-iiit-pet")
    assert store.state("OxfordPet", root).kind == "incomplete"
    state, _ = get("OxfordPet", root)
    assert state.complete and not (root / ".partial").exists()
    assert server.asked == [], "all of it was there"


def test_a_wrong_checksum_falls_to_the_hub(offered, server, monkeypatch):
    root = offered(*EUROSAT)
    server.files["EuroSAT.zip"] = b"another file"
    asked = []
    monkeypatch.setattr(fetch_module, "hub_copy", lambda row, *_: asked.append(row.name))
    _, said = get("EuroSAT", root, None)
    assert asked == ["EuroSAT"] and "MD5" in said[0] and said[0].endswith("Trying the hub copy.")
    with pytest.raises(UserError, match=r"MD5 .*By hand: torchvision downloads it"):
        get("EuroSAT", root)
    assert not (root / ".partial").exists()


def test_an_archive_with_something_else_in_it(offered, server):
    name, (file, folder, paths, _) = EUROSAT
    root = offered(name, (file, folder, paths, ("eurosat/2750", "eurosat/labels.txt")))
    with pytest.raises(UserError, match=r"EuroSAT\.zip from .* does not hold eurosat/labels\.txt"):
        get("EuroSAT", root)
    assert not root.exists()


def test_a_malicious_archive_leaves_nothing(offered, server, tmp_path, monkeypatch):
    root = offered(*EUROSAT, md5s=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("2750/Forest/a.jpg", "good")
        file.writestr("../../../../evil.txt", "bad")
    server.files["EuroSAT.zip"] = buffer.getvalue()
    with pytest.raises(UserError, match="would lie outside the folder"):
        get("EuroSAT", root)
    assert not list(tmp_path.rglob("evil.txt")) and store.state("EuroSAT", root).kind == "missing"


def test_archives_in_archives_and_unchecked_ones(server, full_roots, tmp_path, monkeypatch):
    made = full_roots.write(tmp_path / "authors", ["Caltech101"])["Caltech101"]
    monkeypatch.setitem(ENTRIES, "Caltech101", replace(ENTRIES["Caltech101"], **made.sizes))
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "101.tar.gz").write_bytes(tar_of(tmp_path / "authors" / "caltech101", "101_ObjectCategories"))
    server.files["caltech-101.zip"] = zip_of(inner, "caltech-101/")
    makes = ("caltech101/101_ObjectCategories",)
    piece = Piece((server.url("caltech-101.zip"),), makes, None, "caltech101", "caltech-101/101.tar.gz")
    monkeypatch.setattr(pieces_module, "table", lambda: {"Caltech101": (piece,)})
    state, said = get("Caltech101", tmp_path / "data")
    assert state.complete and said == ["caltech-101.zip has no published checksum: only its length is checked."]
    assert sorted(path.name for path in (tmp_path / "data").rglob("*") if "101" in path.name) == [
        "101_ObjectCategories",
        "caltech101",
    ]
    monkeypatch.setattr(pieces_module, "table", lambda: {"Caltech101": (replace(piece, inner="caltech-101/none"),)})
    with pytest.raises(UserError, match=r"caltech-101\.zip does not hold caltech-101/none"):
        get("Caltech101", tmp_path / "other")


def test_compressed_files_stay_beside_what_they_held(server, full_roots, tmp_path, monkeypatch):
    import gzip

    made = full_roots.write(tmp_path / "authors", ["MNIST"])["MNIST"]
    monkeypatch.setitem(ENTRIES, "MNIST", replace(ENTRIES["MNIST"], **made.sizes))
    ours = []
    for path in sorted((tmp_path / "authors/MNIST/raw").iterdir()):
        server.files[f"{path.name}.gz"] = data = gzip.compress(path.read_bytes())
        ours.append(Piece((server.url(f"{path.name}.gz"),), (f"MNIST/raw/{path.name}",), md5(data), "MNIST/raw"))
    monkeypatch.setattr(pieces_module, "table", lambda: {"MNIST": tuple(ours)})
    assert get("MNIST", tmp_path / "data")[0].kind == "complete"
    assert len(list((tmp_path / "data/MNIST/raw").iterdir())) == 8


def test_plain_files(server, full_roots, tmp_path, offered):
    files = [(f"{split}_32x32.mat", "svhn", (), (f"svhn/{split}_32x32.mat",)) for split in ("train", "test")]
    root = offered("svhn", *files)
    assert get("svhn", root)[0].complete


def test_two_at_once(offered):
    from filelock import FileLock

    root = offered(*EUROSAT)
    (root / ".partial").mkdir(parents=True)
    with FileLock(root / ".partial" / "EuroSAT.lock"), pytest.raises(UserError, match="Another process is fetching EuroSAT"):
        get("EuroSAT", root)
    assert get("EuroSAT", root)[0].complete


def test_no_network_leaves_nothing(tmp_path, monkeypatch):
    no_names(monkeypatch)
    monkeypatch.setattr(download_module, "offline", lambda: True)
    monkeypatch.setattr(fetch_module, "offline", lambda: True)
    for name in ("EuroSAT", "resisc45"):
        with pytest.raises(Offline, match="There is no network"):
            get(name, tmp_path / "data", None)
        assert not (tmp_path / "data").exists()


def test_what_cannot_be_fetched_says_what_to_do(tmp_path):
    for name in ("imagenet", "imagenet100"):
        with pytest.raises(UserError, match=rf"{name} cannot be fetched: Ask for access at image-net\.org"):
            get(name, tmp_path, None)
    with pytest.raises(UserError, match="StanfordCars cannot be fetched from torchvision: The authors' links are dead"):
        get("StanfordCars", tmp_path)
    with pytest.raises(UserError, match="DTD cannot be fetched from hub: torchvision downloads it"):
        get("DTD", tmp_path, "hub")
    with pytest.raises(UserError, match="Did you mean hub"):
        get("DTD", tmp_path, "hubb")


def test_a_data_folder_that_is_a_file(tmp_path, monkeypatch):
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match="Cannot write into the data folder"):
        get("EuroSAT", tmp_path / "data")


def test_a_file_in_the_way(offered):
    root = offered(*EUROSAT)
    root.mkdir()
    (root / "eurosat").write_text("")
    with pytest.raises(UserError, match=r"eurosat is in the way: a folder belongs there"):
        get("EuroSAT", root)


# Copies from the hub.


@pytest.fixture
def hub(monkeypatch, full_roots):
    """A hub that holds one dataset; returns what it was asked for."""
    import datasets

    monkeypatch.setattr(fetch_module, "offline", lambda: False)
    asked = []

    def hold(splits, image="image", label="label", classes="0123456789"):
        features = datasets.Features({image: datasets.Image(), label: datasets.ClassLabel(names=list(classes))})

        def rows(count):
            labels = [number % len(classes) for number in range(count)]
            return {image: [full_roots.picture(n, i) for i, n in enumerate(labels)], label: labels}

        made = {name: datasets.Dataset.from_dict(rows(count), features=features) for name, count in splits.items()}

        def load(path, config, cache_dir, **_):
            asked.append((path, config, cache_dir))
            return datasets.DatasetDict(made)

        monkeypatch.setattr(datasets, "load_dataset", load)
        return asked

    return hold


def test_hub_copy(hub, tmp_path, monkeypatch):
    from benchmarks import full

    asked = hub({"train": 20, "test": 10, "extra": 4})
    monkeypatch.setitem(ENTRIES, "svhn", replace(ENTRIES["svhn"], train=20, test=10))
    state, said = get("svhn", tmp_path, "hub")
    assert (state.kind, state.found) == ("hub copy", {"train": 20, "test": 10})
    assert asked == [("ufldl-stanford/svhn", "cropped_digits", str(tmp_path / ".partial/hub-svhn/cache"))]
    assert said == ["loading ufldl-stanford/svhn (cropped_digits) from the Hugging Face hub ..."]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_dir()) == ["hub", "svhn", "test", "train"]
    domain = full.build("svhn", tmp_path)
    assert (len(domain.train), len(domain.test)) == (20, 10) and domain.train[0][0].size == (16, 16)
    get("svhn", tmp_path, "hub")
    assert len(asked) == 1


def test_an_incomplete_hub_copy_is_replaced(hub, full_roots, tmp_path, monkeypatch):
    hub({"train": 20, "test": 10})
    monkeypatch.setitem(ENTRIES, "StanfordCars", replace(ENTRIES["StanfordCars"], train=20, test=10))
    full_roots.write_hub(tmp_path / "hub/StanfordCars", {"train": 2}, ["a", "b"], "image", "label")
    assert get("StanfordCars", tmp_path, None)[0].kind == "hub copy"
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]


def test_a_hub_copy_does_not_stop_the_authors_files(hub, offered, full_roots):
    root = offered(*EUROSAT)
    full_roots.write_hub(root / "hub/EuroSAT", {"train": 30}, ["a", "b"], "image", "label")
    assert get("EuroSAT", root, None)[0].kind == "hub copy"
    assert get("EuroSAT", root, "torchvision")[0].kind == "complete"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ({"splits": {"train": 2}}, r"has no split test \(test\); it has train"),
        ({"splits": {"train": 2, "test": 2}, "image": "img"}, "has no column 'image' in train: it has img, label"),
    ],
)
def test_another_hub_copy_than_expected(held, words, hub, tmp_path):
    hub(**held)
    with pytest.raises(UserError, match=words):
        get("StanfordCars", tmp_path / "data", None)
    assert not (tmp_path / "data").exists()


def test_a_hub_copy_without_class_names_is_not_kept(hub, tmp_path, monkeypatch):
    """Of a set that has none of its own; the hub's column would otherwise be read as numbers."""
    import datasets

    hub({"train": 2, "test": 2})
    load = datasets.load_dataset

    def nameless(*arguments, **options):
        return load(*arguments, **options).cast_column("label", datasets.Value("int64"))

    monkeypatch.setattr(datasets, "load_dataset", nameless)
    with pytest.raises(UserError, match="does not say its class names: its column 'label'"):
        get("StanfordCars", tmp_path / "data", None)
    assert not (tmp_path / "data").exists()
    assert get("svhn", tmp_path / "data", "hub")[0].copy, "whose digits are known"


def test_a_hub_that_fails_says_how_to_get_it_by_hand(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(fetch_module, "offline", lambda: False)
    errors = {
        datasets.exceptions.DatasetNotFoundError("Dataset 'x' is a gated dataset."): "needs consent and a login",
        ConnectionError("no route\nto host"): "cannot be reached: no route",
        RuntimeError("server\nsays no"): "cannot be loaded: server",
    }
    for error, words in errors.items():

        def fail(*_, error=error, **__):
            raise error

        monkeypatch.setattr(datasets, "load_dataset", fail)
        with pytest.raises(UserError, match=rf"StanfordCars could not be fetched: .*{words}.*By hand: .*vision#7545"):
            get("StanfordCars", tmp_path / "data", None)
        assert not (tmp_path / "data").exists()
