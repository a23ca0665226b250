"""`data`: its output, its exit status, and the files that it does not change."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import cli
from benchmarks.data import pixel_files
from benchmarks.data.pixels import cached
from benchmarks.full import data_folder as store
from benchmarks.full import fetch as fetching
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.full.download import Offline
from models.registry import UserError

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def papers(monkeypatch):
    """Return a function that sets the sizes in the table to those of the synthetic data."""

    def resize(**made):
        for name, found in made.items():
            sizes = {split: found.sizes.get(split) for split in ("train", "val", "test")}
            changes = {"classes": found.classes, "hub": None, **sizes}
            monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], **changes))

    return resize


@pytest.fixture
def dtd(full_roots, tmp_path, papers):
    """A data folder with the whole of DTD, which two papers use."""
    papers(**full_roots.write(tmp_path / "data", ["DTD", "dtd"]))
    return tmp_path / "data"


@pytest.fixture
def data(capfd):
    """Return a function that runs `data` and returns its status, output and errors."""

    def run(*arguments):
        capfd.readouterr()
        status = cli.main(["data", *map(str, arguments)])
        found = capfd.readouterr()
        return status, found.out, found.err

    return run


def mistake(found, *words):
    status, out, error = found
    assert status == 2 and error.startswith("perennial: ") and error.count("\n") == 1
    for word in words:
        assert word in error
    return out


def rows(out):
    return {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}


# Status


@pytest.mark.slow
def test_status_needs_no_torch_and_is_plain_when_piped(full_data, tmp_path):
    code = (
        "import sys, cli\ncode = cli.main(sys.argv[1:])\n"
        "heavy = {'torch', 'avalanche', 'torchvision', 'datasets', 'scipy.io'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy - {'scipy.io'}), code)"
    )
    command = [sys.executable, "-c", code, "data", "status", "--data-root", str(full_data)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FORCE_COLOR": ""}
    found = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert found.stdout.endswith("HEAVY [] 0\n") and found.stderr == ""
    assert "\x1b" not in found.stdout and "\r" not in found.stdout and "counting" not in found.stdout
    assert set(ENTRIES) < set(rows(found.stdout))


def test_status_of_all(full_data, data, papers, full_roots, tmp_path):
    made = full_roots.write(tmp_path / "again", ["MNIST", "EuroSAT"])
    papers(**made)
    status, out, _ = data("status", "--data-root", full_data)
    found = rows(out)
    assert status == 0 and f"mtil: 2 of 11 complete in {full_data}" in out and f"cil: 2 of 6 complete in {full_data}" in out
    assert found["MNIST"][:2] == ["complete", "30"] and found["EuroSAT"][:2] == ["complete", "30"]
    assert found["Aircraft"][:8] == ["incomplete", "train", "9", "of", "3,334,", "test", "6", "of"]
    assert found["Aircraft"][-1] == "fetch" and found["imagenet"][-2:] == ["by", "hand"]
    assert "4 class folders of reference images" in out and "no reference sentences" in out
    assert f"`python cli.py data status NAME --data-root {full_data}` says how" in out


def test_status_where_there_is_nothing(data, tmp_path):
    status, out, _ = data("status", "--data-root", tmp_path / "nowhere")
    assert status == 0 and "mtil: 0 of 11 complete" in out
    assert all(rows(out)[name][:2] == ["missing", "-"] for name in ENTRIES)
    assert "datasets: 0 bytes" in out and not (tmp_path / "nowhere").exists()


def test_status_of_some(data, full_data, tmp_path):
    status, out, _ = data("status", "kitti", "cil", "kitti", "--data-root", full_data)
    assert status == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        "kitti: incomplete",
        "cifar100: incomplete",
        "tinyimagenet: incomplete",
        "imagenet100: incomplete",
        "cub: incomplete",
        "imagenet-r: complete",
        "objectnet: complete",
    ]
    assert "the paper's: train 5,994, test 5,794, in 200 classes" in out
    assert "the paper's: train 6,347, val 423, test 711, in 4 classes" in out and "licence: CC BY-NC-SA 3.0" in out
    assert f"get it: python cli.py data fetch kitti --data-root {full_data}" in out
    _, out, _ = data("status", "stl10", "--data-root", tmp_path / "with space")
    assert f"expected: {tmp_path}/with space/stl10_binary" in out
    assert f"data fetch stl10 --data-root '{tmp_path}/with space'" in out, "a command to copy"


def test_status_suggests_what_works(data, tmp_path):
    _, out, _ = data("status", "imagenet", "imagenet100", "--data-root", tmp_path)
    copy = f"  get it: python cli.py data fetch imagenet --data-root {tmp_path} --from hub (requires a Hugging Face login"
    assert copy in out and out.count("get it:") == 1
    assert f"\n  or by hand: {ENTRIES['imagenet'].get}\n" in out and f"\n  by hand: {ENTRIES['imagenet100'].get}\n" in out


def test_status_names_what_is_damaged(data, dtd):
    (dtd / "dtd" / "dtd" / "labels" / "test1.txt").unlink()
    _, out, _ = data("status", "DTD", "--data-root", dtd)
    assert "DTD: incomplete" in out and "labels/test1.txt is missing" in out


# Verify


@pytest.mark.slow
def test_a_good_set(data, dtd):
    status, out, error = data("verify", "DTD", "--data-root", dtd)
    assert status == 0 and error == ""
    assert out.splitlines()[-1] == "DTD: 10 images, all readable, as the table says"
    status, out, _ = data("verify", "--quick", "--data-root", dtd)
    assert status == 0, "all that is there"
    assert out.splitlines()[-2:] == [
        "DTD: 10 images, not opened, as the table says",
        "dtd: 14 images, not opened, as the table says",
    ]


@pytest.mark.slow
def test_a_truncated_image_is_named(data, dtd):
    path = sorted((dtd / "dtd" / "dtd" / "images" / "banded").iterdir())[0]
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    status, out, _ = data("verify", "DTD", "--data-root", dtd)
    assert status == 1 and f"Cannot read the image {path}" in out
    assert out.splitlines()[-1] == "DTD: 10 images, 1 damaged file, as the table says"
    path.write_bytes(b"no image")
    assert data("verify", "mtil", "--data-root", dtd)[0] == 1
    assert data("verify", "DTD", "--quick", "--data-root", dtd)[0] == 0, "not opened"


@pytest.mark.slow
def test_files_that_two_sets_share_are_opened_once(data, dtd, monkeypatch):
    """Except damaged ones, even if their names share a part."""
    from benchmarks.data import images

    folder = dtd / "dtd" / "dtd" / "images" / "banded"
    bad = folder / "banded_0005.jpg.jpg"
    bad.write_bytes(b"no image")
    lists = dtd / "dtd" / "dtd" / "labels" / "test1.txt"
    lists.write_text(lists.read_text() + f"banded/{bad.name}\n")
    opened, read = [], images.decode
    monkeypatch.setattr(images, "decode", lambda path, *how: opened.append(str(path)) or read(path, *how))
    status, out, _ = data("verify", "DTD", "dtd", "--data-root", dtd)
    assert status == 1 and out.count(f"Cannot read the image {bad}") == 2
    assert sorted(path for path in set(opened) if opened.count(path) > 1) == [str(bad)]
    assert str(folder / "banded_0005.jpg") in opened


def test_a_wrong_count_is_named(data, dtd):
    for path in sorted((dtd / "dtd" / "dtd" / "images").glob("*/*_0005.jpg")):
        path.unlink()
    status, out, _ = data("verify", "DTD", "--data-root", dtd)
    assert status == 1 and "DTD has 2 test images here; the paper has 4." in out
    assert out.splitlines()[-1] == "DTD: 8 images, all readable, 1 difference from the table"


def test_a_set_that_cannot_be_read(data, dtd, full_roots):
    full_roots.write(dtd, ["svhn"])
    (dtd / "svhn" / "test_32x32.mat").write_bytes(b"no such thing")
    status, out, _ = data("verify", "svhn", "DTD", "--data-root", dtd)
    assert status == 1 and f"Cannot read {dtd / 'svhn' / 'test_32x32.mat'}: it is damaged" in out
    assert out.splitlines()[-2:] == ["svhn: cannot be read", "DTD: 10 images, all readable, as the table says"], (
        "the rest is done"
    )


def test_own_data(data, full_roots, tmp_path):
    for label, name in enumerate(("pine", "oak")):
        for number in range(10):
            full_roots.save(tmp_path / "trees" / name / f"{number}.jpg", label, number)
    status, out, _ = data("verify", tmp_path / "trees")
    assert status == 0 and out.splitlines()[-1] == f"{tmp_path / 'trees'}: 20 images in 2 classes, all readable"
    bad = tmp_path / "trees" / "oak" / "4.jpg"
    bad.write_bytes(bad.read_bytes()[:200])
    status, out, _ = data("verify", "trees", "--data-root", tmp_path)
    assert status == 1 and f"Cannot read the image {bad}" in out and "trees: 20 images in 2 classes, 1 damaged file" in out
    (tmp_path / "trees" / "oak" / "notes.doc").write_text("mine")
    status, out, _ = data("verify", tmp_path / "trees")
    assert status == 1 and "notes.doc is in a class folder but is not an image" in out


def test_mistakes_of_verify(data, tmp_path):
    mistake(data("verify", "mnits"), "Did you mean mnist")
    missing = mistake(data("verify", "kitti", "--data-root", tmp_path / "x"), f"data fetch kitti --data-root {tmp_path / 'x'}`")
    assert missing == ""
    mistake(data("verify", "imagenet", "--data-root", tmp_path), "The dataset imagenet is not in", "Ask for access")
    mistake(data("verify", "--data-root", tmp_path), f"no dataset in {tmp_path} yet", f"data status --data-root {tmp_path}`")


# Fetch


@pytest.fixture
def gets(monkeypatch):
    """Replace the network. Return the names that are asked for, and a table of errors by name."""
    asked, errors = [], {}

    def fetch(name, data_root, source=None, progress=None, say=None, bars=False):
        asked.append((name, str(data_root), source))
        if name in errors:
            raise errors[name]
        return replace(store.state(name, data_root), kind="complete", counts={"train": 3}, places=(Path(data_root) / name,))

    monkeypatch.setattr(fetching, "fetch", fetch)
    return asked, errors


def test_what_is_fetched(data, gets, tmp_path):
    asked, _ = gets
    status, out, error = data("fetch", "cil", "DTD", "tinyimagenet", "--from", "hub", "--data-root", tmp_path)
    assert (status, error) == (0, "")
    assert asked == [(name, str(tmp_path), "hub") for name in ("cifar100", "tinyimagenet", "cub", "imagenet-r", "DTD")]
    assert "licence: research only" in out and f"complete: 3 images in {tmp_path / 'DTD'}" in out
    data("fetch", "svhn")
    assert asked[-1] == ("svhn", "data", None)


def test_what_needs_consent_does_not_fail_a_suite(data, gets, full_roots, papers, tmp_path):
    asked, errors = gets
    errors["imagenet100"] = UserError("imagenet100 cannot be fetched: Ask for access.")
    status, out, error = data("fetch", "cil", "--data-root", tmp_path)
    assert (status, error) == (0, "") and [name for name, *_ in asked] == ["cifar100", "tinyimagenet", "cub", "imagenet-r"]
    assert f"  by hand: {ENTRIES['imagenet100'].get}" in out.splitlines()
    mistake(data("fetch", "imagenet100", "--data-root", tmp_path), "imagenet100 cannot be fetched")
    mistake(data("fetch", "cil", "imagenet100", "--data-root", tmp_path), "1 of 6 datasets are not complete: imagenet100.")
    papers(**full_roots.write(tmp_path, ["imagenet100"]))
    asked.clear()
    del errors["imagenet100"]
    data("fetch", "cil", "--data-root", tmp_path)
    expected = ["cifar100", "tinyimagenet", "imagenet100", "cub", "imagenet-r"]
    assert [name for name, *_ in asked] == expected, "what is there is said to be"


def test_what_could_not_be_fetched_is_listed_at_the_end(data, gets, tmp_path):
    asked, errors = gets
    errors |= {"DTD": UserError("DTD could not be fetched: 404."), "svhn": UserError("The disk is full.")}
    found = data("fetch", "DTD", "svhn", "stl10", "--data-root", tmp_path)
    out = mistake(found, "2 of 3 datasets are not complete: DTD, svhn.")
    assert [name for name, *_ in asked] == ["DTD", "svhn", "stl10"], "one failure does not stop the others"
    assert out.splitlines()[-2:] == ["DTD could not be fetched: 404.", "svhn: The disk is full."]
    mistake(data("fetch", "DTD", "--data-root", tmp_path), "perennial: DTD could not be fetched: 404.")
    errors["DTD"] = Offline("There is no network.")
    out = mistake(data("fetch", "DTD", "svhn", "--data-root", tmp_path), "There is no network. Not tried: svhn.")
    assert len(asked) == 5


def test_what_is_there_is_left_alone(data, dtd, monkeypatch):
    monkeypatch.setattr(fetching, "files", lambda *a: pytest.fail("fetched"))
    before = sorted(dtd.rglob("*"))
    status, out, _ = data("fetch", "DTD", "--data-root", dtd)
    assert status == 0 and "there already: 10 images in" in out and "nothing to do" in out
    assert sorted(dtd.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fetch", "Aircrft"], "Did you mean Aircraft"),
        (["fetch", "DTD", "--from", "hab"], "Unknown source 'hab'. Did you mean hub"),
        (["fetch", "DTD", "--form", "hub"], "Did you mean --from"),
        (["fetch"], "required: NAME"),
        (["fetch", "imagenet100", "--data-root", "nowhere"], "imagenet100 cannot be fetched: Ask for access"),
        (["status", "mtl"], "Did you mean mtil"),
        (["sttus"], "Did you mean status"),
        ([], "required: command"),
        (["clear-cache", "DTD-test"], "Unknown label of decoded images 'DTD-test'"),
    ],
)
def test_mistakes(arguments, words, data, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    mistake(data(*arguments), words)
    assert not (tmp_path / "nowhere").exists()


# The cache


def test_clear_cache(data, dtd, tmp_path):
    from benchmarks import full

    domain = full.build("DTD", dtd)
    for split in ("train", "test"):
        cached(getattr(domain, split), 8, label=f"DTD-{split}")
    _, out, _ = data("status", "--data-root", dtd)
    assert "of 2 splits in" in out and "DTD-test: 4 images of 8 pixels" in out
    status, out, _ = data("clear-cache", "DTD-test")
    assert status == 0 and out.startswith("deleted ") and [c.label for c in pixel_files.usage()] == ["DTD-train"]
    mistake(data("clear-cache", "DTD-tran"), "Did you mean DTD-train")
    assert data("clear-cache")[0] == 0 and pixel_files.usage() == []
    assert store.state("DTD", dtd).complete, "the dataset itself is not touched"
    assert data("clear-cache")[1].startswith("deleted 0 bytes")
