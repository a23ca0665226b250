"""The version of a dataset changes with what its reader reads, and with nothing else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import full
from benchmarks.data.images import ImageFiles
from benchmarks.full import fingerprint as contents
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

ROOT = Path(__file__).parents[3]


def built(name, root):
    """All that the reader makes of a folder, or what it says."""
    try:
        domain = full.build(name, root)
    except UserError as error:
        return str(error)
    splits = [getattr(domain, split) for split in ("train", "val", "test")]
    images = [
        None if part is None else part.paths if isinstance(part, ImageFiles) else part.images.tobytes() for part in splits
    ]
    return domain.classnames, images, [None if part is None else part.targets for part in splits]


@pytest.mark.parametrize("name", ENTRIES)
def test_each_file_that_is_read_counts(name, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    version, domain = full.version(name, tmp_path), built(name, tmp_path)
    assert len(version) == 12 and int(version, 16) >= 0
    changes = 0
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        path.rename(tmp_path / "aside")
        if full.version(name, tmp_path) == version:
            assert built(name, tmp_path) == domain, f"{path} is read"
        else:
            changes += 1
        (tmp_path / "aside").rename(path)
    assert changes >= 2 and full.version(name, tmp_path) == version


@pytest.mark.parametrize("name", ENTRIES)
def test_nothing_beside_it_counts(name, full_roots, tmp_path):
    full_roots.write(tmp_path, [name])
    version = full.version(name, tmp_path)
    for folder in {path.parent for path in tmp_path.rglob("*") if path.is_file()}:
        for clutter in (".hidden.jpg", "Thumbs.db", "readme.md", "images.zip"):
            (folder / clutter).write_text("x")
    (tmp_path / "other").mkdir()
    assert full.version(name, tmp_path) == version
    os.utime(next(path for path in tmp_path.rglob("*") if path.is_file()), ns=(1, 1))
    assert full.version(name, tmp_path) == version


def test_where_the_data_lies_does_not_matter(full_roots, tmp_path, monkeypatch):
    full_roots.write(tmp_path / "a", ["Food", "SUN397"])
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    monkeypatch.chdir(tmp_path)
    for name in ("Food", "SUN397"):
        assert full.version(name, "a") == full.version(name, tmp_path / "a") == full.version(name, tmp_path / "b")


def test_partition_lists_do_not_change_mtils_sun397(full_roots, tmp_path):
    full_roots.write(tmp_path, ["SUN397"])
    lists = [tmp_path / "SUN397" / name for name in ("Training_01.txt", "Testing_01.txt")]
    mtil, paint = full.version("SUN397", tmp_path), full.version("sun397", tmp_path)
    lists[0].write_text(lists[0].read_text().split("\n", 1)[1])
    changed = full.version("sun397", tmp_path)
    assert full.version("SUN397", tmp_path) == mtil and changed != paint
    (tmp_path / "SUN397/Partitions").mkdir()
    for path in lists:
        shutil.copy(path, tmp_path / "SUN397/Partitions" / path.name)
    moved = full.version("sun397", tmp_path)
    lists[0].unlink()
    assert full.version("sun397", tmp_path) == moved, "the lists in their own folder are the ones that are read"


def test_other_classes_of_imagenet_do_not_change_imagenet100(full_roots, tmp_path):
    full_roots.all_classes(tmp_path)
    few, all_ = full.version("imagenet100", tmp_path), full.version("imagenet", tmp_path)
    wnids = list(ENTRIES["imagenet"].fixed)
    full_roots.save(tmp_path / "imagenet" / "train" / wnids[100] / "more.JPEG", 1, 1)
    full_roots.save(tmp_path / "imagenet" / "train" / wnids[500] / "more.JPEG", 1, 1)
    assert full.version("imagenet100", tmp_path) == few and full.version("imagenet", tmp_path) != all_
    full_roots.save(tmp_path / "imagenet" / "val" / wnids[99] / "more.JPEG", 1, 1)
    assert full.version("imagenet100", tmp_path) != few


def test_pictures_of_another_size_count(full_roots, tmp_path):
    """As of a copy of the dataset that was made smaller."""
    full_roots.write(tmp_path, ["Food", "Aircraft"])
    for name, folder in (("Food", "food-101/images/apple_pie"), ("Aircraft", "fgvc-aircraft-2013b/data/images")):
        version = full.version(name, tmp_path)
        for path in (tmp_path / folder).iterdir():
            full_roots.picture(0, 0, side=9).save(path)
        assert full.version(name, tmp_path) != version


def test_lists_count_by_their_text(full_roots, tmp_path):
    full_roots.write(tmp_path, ["resisc45"])
    version, path = full.version("resisc45", tmp_path), tmp_path / "resisc45/resisc45-test.txt"
    path.write_text("\n".join(reversed(path.read_text().splitlines())) + "\n")
    assert full.version("resisc45", tmp_path) != version


def test_large_files_count_by_their_size(full_roots, tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "TEXT", 100)
    full_roots.write(tmp_path, ["svhn"])
    version, path = full.version("svhn", tmp_path), tmp_path / "svhn/test_32x32.mat"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"x")
    assert full.version("svhn", tmp_path) == version
    path.write_bytes(data + b"x")
    assert full.version("svhn", tmp_path) != version


def test_hub_copies(full_roots, tmp_path):
    empty = full.version("Food", tmp_path)
    copy = tmp_path / "hub" / "Food"
    full_roots.write_hub(copy, {"train": 4, "validation": 2, "extra": 2}, ["a", "b"], "image", "label")
    version = full.version("Food", tmp_path)
    assert version != empty
    (copy / "extra" / "state.json").write_text("{}")
    (copy / "train" / "cache-1.arrow").write_bytes(b"")
    assert full.version("Food", tmp_path) == version
    info = json.loads((copy / "train" / "dataset_info.json").read_text())
    info["features"]["label"]["names"] = ["b", "a"]
    (copy / "train" / "dataset_info.json").write_text(json.dumps(info))
    assert full.version("Food", tmp_path) != version
    full_roots.write(tmp_path, ["Food"])
    files = full.version("Food", tmp_path)
    shutil.rmtree(copy)
    assert full.version("Food", tmp_path) == files, "where all files are there the copy is not read"
    (tmp_path / "food-101/meta/train.json").unlink()
    without = full.version("Food", tmp_path)
    full_roots.write_hub(copy, {"train": 4, "validation": 2}, ["a", "b"], "image", "label", parquet="data")
    assert full.version("Food", tmp_path) != without, "it may be read in their place"


def test_no_torch_and_one_look_at_each_folder(full_roots, tmp_path, monkeypatch):
    full_roots.write(tmp_path)
    code = (
        f"import sys\nfrom benchmarks import full\nfor name in full.ENTRIES:\n    full.version(name, {str(tmp_path)!r})\n"
        "print(sorted({'torch', 'numpy', 'torchvision', 'datasets', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
    for number in range(200):
        (tmp_path / "imagenet/train/n01440764" / f"{number}.JPEG").touch()
    sizes, size = [], contents._size
    monkeypatch.setattr(contents, "_size", lambda path: sizes.append(path) or size(path))
    full.version("imagenet", tmp_path)
    assert sum(path.parent.name == "n01440764" and "train" in path.parts for path in sizes) <= contents.SAMPLE
