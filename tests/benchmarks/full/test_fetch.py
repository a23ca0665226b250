"""Fetching whole datasets from a test server: unfinished data is never published."""

import io
import runpy
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.full import data_folder, downloads
from benchmarks.full import download as download_module
from benchmarks.full import fetch as fetch_module
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.download import Broken, Offline
from benchmarks.full.downloads import RemoteFile
from benchmarks.full.fetch import fetch
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "downloads.py"))
EUROSAT, get, md5, tar_of, zip_of = (FAKES[name] for name in ("EUROSAT", "get", "md5", "tar_of", "zip_of"))

PETS = (
    "OxfordPet",
    ("images.tar.gz", "oxford-iiit-pet", ("images",), ("oxford-iiit-pet/images",)),
    ("annotations.tar.gz", "oxford-iiit-pet", ("annotations",), ("oxford-iiit-pet/annotations",)),
)


def test_fetch(offered, server):
    root = offered(*EUROSAT)
    state, lines = get("EuroSAT", root)
    assert state.kind == "complete" and state.counts == {"all": 30} and lines == []
    assert sorted(path.name for path in root.iterdir()) == ["eurosat"]
    assert (root / "eurosat/2750/Forest/Forest_1.jpg").is_file()
    again, _ = get("EuroSAT", root)
    assert again == state and len(server.asked) == 1


def test_a_list_is_saved_under_its_own_name(offered, server, tmp_path, monkeypatch):
    """The links of CoOp's splits end with a number of the file, not with its name."""
    root = offered("coop-eurosat", ("EuroSAT.tar.gz", "eurosat", ("2750",), ("eurosat/2750",)))
    name, link = "split_zhou_EuroSAT.json", "uc?export=download&id=1"
    server.files[link] = (tmp_path / "authors" / "eurosat" / name).read_bytes()
    split = RemoteFile((server.url(link),), (f"eurosat/{name}",), None, "eurosat", name=name)
    table = {**downloads.table(), "coop-eurosat": (split,)}
    monkeypatch.setattr(downloads, "table", lambda: table)
    state, lines = get("coop-eurosat", root)
    assert state.kind == "complete" and set(state.counts) == {"train", "val", "test"}
    assert lines == [f"{name} has no published checksum: only its length is checked."]
    assert sorted(path.name for path in (root / "eurosat").iterdir()) == ["2750", name]


def test_the_lists_of_imagenet_r_go_into_its_folder(offered, server, tmp_path):
    lists = [
        (f"imagenet-r_{split}.yaml", "imagenet-r", (), (f"imagenet-r/imagenet-r_{split}.yaml",)) for split in ("train", "test")
    ]
    archive = ("imagenet-r.tar.gz", "", tuple(f"imagenet-r/{wnid}" for wnid in ("n01443537", "n01484850", "n02007558")))
    root = offered("imagenet-r", (*archive, ("imagenet-r/n01443537",)), *lists)
    state, _ = get("imagenet-r", root)
    assert (state.kind, state.counts) == ("complete", {"train": 12, "test": 3})
    assert sorted(path.name for path in root.iterdir()) == ["imagenet-r"]
    next((root / "imagenet-r" / "n01443537").iterdir()).unlink()
    assert data_folder.state("imagenet-r", root).kind == "incomplete"


def test_the_archive_of_cub(offered, server):
    root = offered("cub", ("CUB_200_2011.tar.gz", "", ("CUB_200_2011",), ("CUB_200_2011/images",)))
    assert get("cub", root)[0].complete and sorted(path.name for path in root.iterdir()) == ["CUB_200_2011"]


def test_a_truncated_archive_is_never_read(offered, server, tmp_path):
    root = offered(*EUROSAT)
    server.cut["EuroSAT.zip"] = 3000
    with pytest.raises(Broken, match=r"EuroSAT\.zip stopped"):
        get("EuroSAT", root)
    assert data_folder.state("EuroSAT", root).kind == "missing"
    assert {path.name for path in (root / ".partial" / "EuroSAT").iterdir()} == {"EuroSAT.zip.part", "EuroSAT.zip.tag"}
    server.cut = {}
    assert get("EuroSAT", root)[0].complete and not (root / ".partial").exists()
    assert server.asked[-1][1] == "bytes=3000-"


def test_the_second_piece_is_fetched_alone_next_time(offered, server):
    root = offered(*PETS)
    archive = server.files.pop("annotations.tar.gz")
    with pytest.raises(
        UserError, match=r"OxfordPet could not be fetched: .*annotations.tar.gz returned 404.* To get it by hand: torchvision"
    ):
        get("OxfordPet", root)
    assert data_folder.state("OxfordPet", root).kind == "missing", "half a dataset is not there"
    server.files["annotations.tar.gz"] = archive
    assert get("OxfordPet", root)[0].kind == "complete"
    assert [name for name, _ in server.asked].count("images.tar.gz") == 1


def test_only_what_is_lacking_is_fetched(offered, server, tmp_path):
    root = offered(*PETS)
    shutil.copytree(tmp_path / "authors" / "oxford-iiit-pet" / "images", root / "oxford-iiit-pet" / "images")
    assert get("OxfordPet", root)[0].complete
    assert [name for name, _ in server.asked] == ["annotations.tar.gz"]


def test_an_incomplete_folder_is_completed(offered, server, tmp_path):
    """A half unpacked download of another program: everything is fetched, and the user's other files stay."""
    root = offered(*PETS)
    images = root / "oxford-iiit-pet" / "images"
    images.mkdir(parents=True)
    (images / "Bengal_1.jpg").write_bytes(b"half")
    (images / "notes.txt").write_text("mine")
    state, lines = get("OxfordPet", root)
    assert state.complete and (images / "notes.txt").read_text() == "mine"
    assert (images / "Bengal_1.jpg").read_bytes() != b"half" and "fetching them again" in lines[0]


def test_interrupted_in_the_middle(offered, server, monkeypatch):
    root = offered(*PETS)

    def interrupt(done, total, what):
        if what == "unpacking annotations.tar.gz":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch("OxfordPet", root, None, interrupt, print)
    assert data_folder.state("OxfordPet", root).kind == "missing"
    left = {path.name for path in (root / ".partial" / "OxfordIIITPet").iterdir()}
    assert left == {"images.tar.gz.tree", "annotations.tar.gz"}
    assert get("OxfordPet", root)[0].complete and len(server.asked) == 2, "nothing was downloaded twice"


def test_killed_in_the_middle(offered, server, full_roots):
    """A killed process leaves half unpacked archives, and a partial download without its tag."""
    root = offered(*EUROSAT)
    base = root / ".partial" / "EuroSAT"
    full_roots.save(base / "EuroSAT.zip.making" / "tree" / "eurosat" / "2750" / "Forest" / "Forest_1.jpg", 1, 1)
    (base / "EuroSAT.zip.part").write_bytes(b"PK")
    assert data_folder.state("EuroSAT", root).kind == "missing"
    assert get("EuroSAT", root)[0].complete and not (root / ".partial").exists()


def test_killed_while_it_was_moved(offered, server, tmp_path):
    root = offered(*PETS)
    ready = root / ".partial" / "OxfordIIITPet.ready"
    for piece in ("images", "annotations"):
        tree = ready / f"{piece}.tar.gz.tree" / "oxford-iiit-pet" / piece
        shutil.copytree(tmp_path / "authors" / "oxford-iiit-pet" / piece, tree)
    (root / "oxford-iiit-pet").mkdir()
    shutil.move(ready / "annotations.tar.gz.tree" / "oxford-iiit-pet" / "annotations", root / "oxford-iiit-pet")
    assert data_folder.state("OxfordPet", root).kind == "incomplete"
    state, _ = get("OxfordPet", root)
    assert state.complete and not (root / ".partial").exists()
    assert server.asked == [], "all of it was there"


def test_a_wrong_checksum_falls_to_the_hub(offered, server, monkeypatch):
    root = offered(*EUROSAT)
    server.files["EuroSAT.zip"] = b"another file"
    asked = []
    monkeypatch.setattr(fetch_module, "hub_copy", lambda row, *_: asked.append(row.name))
    _, lines = get("EuroSAT", root, None)
    assert asked == ["EuroSAT"] and "MD5" in lines[0] and lines[0].endswith("Trying the hub copy next.")
    with pytest.raises(UserError, match=r"MD5 .*To get it by hand: torchvision downloads it"):
        get("EuroSAT", root)
    assert not (root / ".partial").exists()


def test_an_archive_with_something_else_in_it(offered, server):
    name, (file, folder, paths, _) = EUROSAT
    root = offered(name, (file, folder, paths, ("eurosat/2750", "eurosat/labels.txt")))
    with pytest.raises(UserError, match=r"EuroSAT\.zip from .* does not contain eurosat/labels\.txt"):
        get("EuroSAT", root)
    assert not root.exists()


def test_a_malicious_archive_leaves_nothing(offered, server, tmp_path, monkeypatch):
    root = offered(*EUROSAT, md5s=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("2750/Forest/a.jpg", "good")
        file.writestr("../../../../evil.txt", "bad")
    server.files["EuroSAT.zip"] = buffer.getvalue()
    with pytest.raises(UserError, match="is outside the folder"):
        get("EuroSAT", root)
    assert not list(tmp_path.rglob("evil.txt")) and data_folder.state("EuroSAT", root).kind == "missing"


def test_archives_in_archives_and_unchecked_ones(server, full_roots, tmp_path, monkeypatch):
    made = full_roots.write(tmp_path / "authors", ["Caltech101"])["Caltech101"]
    monkeypatch.setitem(ENTRIES, "Caltech101", replace(ENTRIES["Caltech101"], **made.sizes))
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "101.tar.gz").write_bytes(tar_of(tmp_path / "authors" / "caltech101", "101_ObjectCategories"))
    server.files["caltech-101.zip"] = zip_of(inner, "caltech-101/")
    makes = ("caltech101/101_ObjectCategories",)
    piece = RemoteFile((server.url("caltech-101.zip"),), makes, None, "caltech101", "caltech-101/101.tar.gz")
    monkeypatch.setattr(downloads, "table", lambda: {"Caltech101": (piece,)})
    state, lines = get("Caltech101", tmp_path / "data")
    assert state.complete and lines == ["caltech-101.zip has no published checksum: only its length is checked."]
    assert sorted(path.name for path in (tmp_path / "data").rglob("*") if "101" in path.name) == [
        "101_ObjectCategories",
        "caltech101",
    ]
    monkeypatch.setattr(downloads, "table", lambda: {"Caltech101": (replace(piece, inner="caltech-101/none"),)})
    with pytest.raises(UserError, match=r"caltech-101\.zip does not contain caltech-101/none"):
        get("Caltech101", tmp_path / "other")


def test_compressed_files_stay_beside_what_they_held(server, full_roots, tmp_path, monkeypatch):
    import gzip

    made = full_roots.write(tmp_path / "authors", ["MNIST"])["MNIST"]
    monkeypatch.setitem(ENTRIES, "MNIST", replace(ENTRIES["MNIST"], **made.sizes))
    ours = []
    for path in sorted((tmp_path / "authors/MNIST/raw").iterdir()):
        server.files[f"{path.name}.gz"] = data = gzip.compress(path.read_bytes())
        ours.append(RemoteFile((server.url(f"{path.name}.gz"),), (f"MNIST/raw/{path.name}",), md5(data), "MNIST/raw"))
    monkeypatch.setattr(downloads, "table", lambda: {"MNIST": tuple(ours)})
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


def test_no_network_leaves_nothing(no_names, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "offline", lambda: True)
    monkeypatch.setattr(fetch_module, "offline", lambda: True)
    for name in ("EuroSAT", "resisc45"):
        with pytest.raises(Offline, match="There is no network"):
            get(name, tmp_path / "data", None)
        assert not (tmp_path / "data").exists()


def test_what_cannot_be_fetched_says_what_to_do(tmp_path):
    for name, words in (
        ("imagenet", "Ask for access"),
        ("imagenet100", "Ask for access"),
        ("objectnet", r"Download objectnet-1\.0"),
    ):
        with pytest.raises(UserError, match=f"{name} cannot be fetched: {words}"):
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
    with pytest.raises(UserError, match=r"eurosat must be a folder"):
        get("EuroSAT", root)
