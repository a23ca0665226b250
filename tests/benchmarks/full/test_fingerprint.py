"""The version of a dataset changes with the files that its reader reads, and with no other file."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import full
from benchmarks.data.images import ImageFiles
from benchmarks.full import fingerprint
from benchmarks.full.dataset_table import ENTRIES
from models.registry import UserError

ROOT = Path(__file__).parents[3]


def built(name, root):
    """Return everything that the reader makes of a folder, or its error message."""
    try:
        domain = full.build(name, root)
    except UserError as error:
        return str(error)
    splits = [getattr(domain, split) for split in ("train", "val", "test")]
    images = [
        None if part is None else part.paths if isinstance(part, ImageFiles) else part.images.tobytes() for part in splits
    ]
    return domain.classnames, images, [None if part is None else part.targets for part in splits]


PINNED = {
    "Aircraft": ("e3b0c44298fc", "b77021511a27", "e1b032fb303f", "e3b0c44298fc"),
    "Caltech101": ("e3b0c44298fc", "be7583c3487f", "be7583c3487f", "a8f366eddc2a"),
    "CIFAR100": ("e3b0c44298fc", "05b5a4074c81", "8cb510aaa381", "a8f366eddc2a"),
    "DTD": ("e3b0c44298fc", "c45b7ec16a90", "6a790c63023a", "e3b0c44298fc"),
    "EuroSAT": ("e3b0c44298fc", "eeb412a1f32a", "659ddae21985", "a8f366eddc2a"),
    "Flowers": ("e3b0c44298fc", "da12a3408dc3", "6dcf1ffe0e3d", "a8f366eddc2a"),
    "Food": ("e3b0c44298fc", "280133899dfb", "d76e42af2f18", "a8f366eddc2a"),
    "MNIST": ("e3b0c44298fc", "a3a963b6a23c", "385bfecce01a", "a8f366eddc2a"),
    "OxfordPet": ("e3b0c44298fc", "fe8c4f0ec67e", "997be24e3ca3", "a8f366eddc2a"),
    "StanfordCars": ("e3b0c44298fc", "4b6b55699d9f", "5e246f10301b", "a8f366eddc2a"),
    "SUN397": ("e3b0c44298fc", "e40d3cb402a8", "6717ec89c5bd", "e3b0c44298fc"),
    "cars": ("e3b0c44298fc", "4b6b55699d9f", "5e246f10301b", "a8f366eddc2a"),
    "dtd": ("e3b0c44298fc", "f23a1389eabd", "5693a9b81ce2", "a8f366eddc2a"),
    "eurosat": ("e3b0c44298fc", "eeb412a1f32a", "659ddae21985", "a8f366eddc2a"),
    "gtsrb": ("e3b0c44298fc", "8455d23d71e7", "5eabe5cd4d63", "a8f366eddc2a"),
    "kitti": ("e3b0c44298fc", "3f65795fbbde", "e4ae2f805688", "e3b0c44298fc"),
    "mnist": ("e3b0c44298fc", "a3a963b6a23c", "385bfecce01a", "a8f366eddc2a"),
    "resisc45": ("e3b0c44298fc", "f35d3cee5f1e", "03ffa57296f2", "a8f366eddc2a"),
    "sun397": ("e3b0c44298fc", "2116a3b7d594", "b1f020b2d67b", "a8f366eddc2a"),
    "svhn": ("e3b0c44298fc", "d17933ba983a", "534bc086ce2f", "a8f366eddc2a"),
    "imagenet": ("e3b0c44298fc", "897794abf316", "131cc4c7adba", "a8f366eddc2a"),
    "cifar10": ("e3b0c44298fc", "b97c2b7d41b0", "dcd16c734683", "a8f366eddc2a"),
    "cifar100": ("e3b0c44298fc", "05b5a4074c81", "8cb510aaa381", "a8f366eddc2a"),
    "stl10": ("e3b0c44298fc", "960efeb84ee9", "308919de90eb", "a8f366eddc2a"),
    "food101": ("e3b0c44298fc", "280133899dfb", "d76e42af2f18", "a8f366eddc2a"),
    "fashion_mnist": ("e3b0c44298fc", "8e23c111629c", "870fabcea037", "a8f366eddc2a"),
    "clevr": ("e3b0c44298fc", "3e3853ae66e6", "3e3853ae66e6", "e3b0c44298fc"),
    "tinyimagenet": ("e3b0c44298fc", "5dca68e5e633", "39a2c47f3d7b", "a8f366eddc2a"),
    "imagenet100": ("e3b0c44298fc", "78d202cb508c", "6518d108512d", "e3b0c44298fc"),
    "cub": ("e3b0c44298fc", "8b7c30c776a1", "22698b8747b4", "e3b0c44298fc"),
    "imagenet-r": ("e3b0c44298fc", "e8be26745ecc", "57c744c87233", "e3b0c44298fc"),
    "objectnet": ("e3b0c44298fc", "70fad09bc000", "4bf61215a9ee", "e3b0c44298fc"),
    "coop-aircraft": ("e3b0c44298fc", "b162f44d4f6e", "a9773ef32039", "e3b0c44298fc"),
    "coop-caltech101": ("e3b0c44298fc", "defb174fe66c", "4709003cc3ca", "e3b0c44298fc"),
    "coop-cars": ("e3b0c44298fc", "676c0b168b8c", "ecc3de800f7d", "e3b0c44298fc"),
    "coop-dtd": ("e3b0c44298fc", "41457c45404b", "922f98157134", "e3b0c44298fc"),
    "coop-eurosat": ("e3b0c44298fc", "2efe4a7be734", "0163ef4232dc", "e3b0c44298fc"),
    "coop-flowers": ("e3b0c44298fc", "48d81f1d23fa", "48d81f1d23fa", "e3b0c44298fc"),
    "coop-food101": ("e3b0c44298fc", "7cdc4d70c4b8", "86bbda13b7ef", "e3b0c44298fc"),
    "coop-pets": ("e3b0c44298fc", "28fd5ba11890", "28fd5ba11890", "e3b0c44298fc"),
    "coop-sun397": ("e3b0c44298fc", "8a6f20872903", "8a6f20872903", "e3b0c44298fc"),
    "coop-ucf101": ("e3b0c44298fc", "90f55873f3cc", "e837c094d8ea", "e3b0c44298fc"),
}


def write_stubs(full_roots, root, name):
    """Write a dataset's layout with fixed bytes in every file, which do not depend on versions of image libraries."""
    full_roots.write(root, [name])
    for path in root.rglob("*"):
        if path.is_file():
            path.write_text(path.relative_to(root).as_posix())


@pytest.mark.parametrize("name", ENTRIES)
def test_versions_of_known_folders_never_change(name, full_roots, tmp_path):
    """Run keys contain versions: if they changed for an unchanged folder, its finished runs would not be found."""
    empty = full.version(name, tmp_path)
    write_stubs(full_roots, tmp_path, name)
    whole = full.version(name, tmp_path)
    next(path for path in sorted(tmp_path.rglob("*")) if path.is_file()).unlink()
    partial = full.version(name, tmp_path)
    shutil.rmtree(next(tmp_path.iterdir()))
    copy = tmp_path / "hub" / name
    (copy / "train").mkdir(parents=True)
    for file in ("dataset_dict.json", "train/data.arrow", "train/cache-1.arrow"):
        (copy / file).write_text(file)
    assert (empty, whole, partial, full.version(name, tmp_path)) == PINNED[name]


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


@pytest.mark.slow
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
    """For example in a copy of the dataset with smaller images."""
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
    monkeypatch.setattr(fingerprint, "TEXT_LIMIT", 100)
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


@pytest.mark.slow
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
    sizes, size = [], fingerprint._size
    monkeypatch.setattr(fingerprint, "_size", lambda path: sizes.append(path) or size(path))
    full.version("imagenet", tmp_path)
    assert sum(path.parent.name == "n01440764" and "train" in path.parts for path in sizes) <= fingerprint.SAMPLE
