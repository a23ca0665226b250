"""Folders of class folders as domains, and the message of every mistake."""

import os
import random
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.own import from_folder, scan
from models.registry import UserError


def picture(path, colour=(200, 0, 0)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (4, 4), colour).save(path)
    return path


def tree(root, counts):
    """Images root/KEY/0.png ... of {key: n}; a key may hold slashes."""
    for key, n in counts.items():
        (root / key).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            picture(root / key / f"{i}.png", (i, len(key), 0))
    return root


def files(dataset, root):
    """Relative paths of the images of a split, in its order."""
    return [Path(path).relative_to(root).as_posix() for path in dataset.paths]


def test_split_folders_determine_the_splits(tmp_path):
    tree(tmp_path / "pets", {"train/big_dog": 3, "train/cat": 2, "val/cat": 1, "test/big_dog": 1, "test/cat": 2})
    domain = from_folder(tmp_path / "pets")
    assert domain.name == "pets"
    assert domain.classnames == ("big dog", "cat")
    assert domain.templates == ("a photo of a {}.",)
    assert domain.train.targets == [0, 0, 0, 1, 1]
    assert files(domain.val, tmp_path / "pets") == ["val/cat/0.png"] and domain.val.targets == [1]
    assert domain.test.targets == [0, 1, 1]
    image, label = domain.train[1]
    assert image.mode == "RGB" and image.getpixel((0, 0)) == (1, 13, 0) and label == 0
    assert domain.prompts() == ["a photo of a big dog.", "a photo of a cat."]


@pytest.mark.parametrize("val", ["valid", "validation", "Val", None])
def test_validation_folders_have_several_names(tmp_path, val):
    tree(tmp_path, {"Train/a": 2, "Train/b": 2, "test/a": 1, "test/b": 1} | ({f"{val}/a": 1} if val else {}))
    domain = from_folder(tmp_path)
    assert (domain.val is None) == (val is None) and len(domain.train) == 4


def test_a_test_split_without_train_is_enough(tmp_path):
    domain = from_folder(tree(tmp_path, {"test/a": 1, "test/b": 2}))
    assert domain.train is None and domain.val is None and domain.test.targets == [0, 1, 1]


def test_without_test_the_validation_split_is_tested_on(tmp_path):
    domain = from_folder(tree(tmp_path, {"train/a": 2, "train/b": 2, "val/a": 1, "val/b": 1}))
    assert domain.val is None and files(domain.test, tmp_path) == ["val/a/0.png", "val/b/0.png"]
    assert "tested on the validation split" in domain.source


def test_a_class_may_be_absent_from_test(tmp_path):
    assert from_folder(tree(tmp_path, {"train/a": 1, "train/b": 1, "test/a": 1})).test.targets == [0]


def test_80_10_10_of_each_class_disjoint_and_complete(tmp_path):
    tree(tmp_path, {"a": 20, "b": 3, "c": 2, "d": 10})
    domain = from_folder(tmp_path)
    parts = [set(files(split, tmp_path)) for split in (domain.train, domain.val, domain.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 35
    counts = [[split.targets.count(c) for c in range(4)] for split in (domain.train, domain.val, domain.test)]
    assert counts == [[16, 2, 2, 8], [2, 0, 0, 1], [2, 1, 0, 1]]
    for split in (domain.train, domain.val, domain.test):
        assert ["abcd"[label] for label in split.targets] == [path[0] for path in files(split, tmp_path)]
    assert "seed 0" in domain.source


def test_the_split_depends_only_on_the_seed(tmp_path, monkeypatch):
    first = tree(tmp_path / "one" / "x", {"a": 12, "b": 12})
    second = tmp_path / "two" / "x"
    for path in reversed(sorted(first.rglob("*.png"))):
        picture(second / path.relative_to(first))
    tree(second, {"another": 9})
    scandir = os.scandir

    class Shuffled(list):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    def shuffled(folder):
        entries = list(scandir(folder))
        random.Random(3).shuffle(entries)
        return Shuffled(entries)

    loaded = from_folder(first)
    monkeypatch.setattr(scan.os, "scandir", shuffled)
    two = from_folder(second)
    for split in ("train", "val", "test"):
        paths = [path for path in files(getattr(two, split), second) if not path.startswith("another")]
        assert paths == files(getattr(loaded, split), first)
    assert files(from_folder(first, seed=1).test, first) != files(loaded.test, first)


def test_clutter_is_ignored_and_images_below_a_class_folder_give_a_warning(tmp_path):
    tree(tmp_path, {"a": 1, "a/left/x": 2, "a/right": 1, "b": 3, ".cache": 1, "__MACOSX/a": 1, "a/.thumbs": 1})
    picture(tmp_path / "b" / "licence_plate.PNG")
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store", "README.md", "LICENSE", "License-CC.txt", "readme_first.txt"):
        (tmp_path / "a" / name).write_text("x")
    (tmp_path / "labels.csv").write_text("x")
    domain = from_folder(tmp_path)
    assert domain.classnames == ("a", "b")
    everything = [p for split in (domain.train, domain.test) for p in files(split, tmp_path)]
    assert sorted(everything) == [
        "a/0.png", "a/left/x/0.png", "a/left/x/1.png", "a/right/0.png", "b/0.png", "b/1.png", "b/2.png", "b/licence_plate.PNG",
    ]  # fmt: skip


def test_classes_may_be_called_train_and_test(tmp_path):
    assert from_folder(tree(tmp_path, {"car": 3, "train": 3})).classnames == ("car", "train")


def test_natural_order(tmp_path):
    assert from_folder(tree(tmp_path, {"10": 3, "9": 3, "1": 3})).classnames == ("1", "9", "10")


def test_linked_class_folders_are_followed(tmp_path):
    tree(tmp_path / "store", {"x": 3})
    tree(tmp_path / "data", {"b": 3})
    (tmp_path / "data" / "a").symlink_to(tmp_path / "store" / "x")
    assert from_folder(tmp_path / "data").classnames == ("a", "b")


def test_names_and_templates_next_to_the_images(tmp_path):
    tree(tmp_path, {"n01": 3, "n02": 3})
    (tmp_path / "classnames.txt").write_text("tench\ngreat white shark\n", encoding="utf-8")
    (tmp_path / "templates.txt").write_text("a {} here.\n\nmy {}.\n", encoding="utf-8")
    domain = from_folder(tmp_path)
    assert domain.classnames == ("tench", "great white shark") and domain.templates == ("a {} here.", "my {}.")
    domain = from_folder(tmp_path, classnames=["x", "y"], templates=["{}"], name="fish")
    assert domain.classnames == ("x", "y") and domain.templates == ("{}",) and domain.name == "fish"


def test_names_by_folder(tmp_path):
    tree(tmp_path, {"1": 3, "2": 3, "10": 3})
    (tmp_path / "classnames.txt").write_text("10\tten\n1\tone\n2\ttwo\n")
    assert from_folder(tmp_path).classnames == ("one", "two", "ten")
    with pytest.raises(UserError, match=r"sort differently as numbers \(1, 2, 10.*as text \(1, 10, 2"):
        from_folder(tmp_path, classnames=["one", "two", "ten"])


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"train/a": 2, "train/b": 2}, "has a train split but neither a test nor a val split"),
        ({"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 0}, r"class folder .*test/b has no image"),
        ({"train/a": 2, "train/b": 0, "test/a": 1, "test/b": 1}, r"class folder .*train/b has no image"),
        ({"train/a": 2, "test/a": 1, "test/b": 1}, "'b' of .* has images in test but none in train"),
        ({"train/a": 2, "train/b": 1, "test/a": 1, "val/c": 0}, "'c' of .* has no image"),
        ({"train/a": 2, "test/a": 1}, "only one class folder, 'a'; at least two"),
        ({"a": 5, "b": 0}, r"class folder .*/b has no image"),
        ({"images/a": 5, "images/b": 5}, "only one class folder, 'images' .if the class folders are inside it, give .*images"),
        ({"a": 2, "b": 2}, "No class has three images"),
        ({"a_b": 3, "a b": 3}, "'a b' and 'a_b' have the same class name, 'a b'"),
        ({"_": 3, "b": 3}, "'_' gives an empty class name"),
        ({"train/a": 2, "train/b": 2, "test/a": 1, "notes/x": 1}, "split folder 'test' next to other folders .'notes'."),
        ({"val/a": 1, "valid/a": 1, "train/a": 1}, "two val splits, 'val' and 'valid'"),
        ({"train": 2, "test": 2}, "'test', 'train' of .* must hold class folders"),
        ({"train/a": 2, "train/b": 2, "test": 0}, "test has no class folders"),
        ({}, "has no class folders"),
    ],
)
def test_mistakes_in_the_tree(tmp_path, counts, message):
    with pytest.raises(UserError, match=message):
        from_folder(tree(tmp_path, counts))


def test_images_without_class_folders(tmp_path):
    picture(tmp_path / "x.png")
    with pytest.raises(UserError, match="has no class folders, only images"):
        from_folder(tmp_path)
    tree(tmp_path, {"a": 3, "b": 3})
    with pytest.raises(UserError, match=r"image .*x\.png is not in a class folder"):
        from_folder(tmp_path)


def test_a_file_among_the_images_is_named(tmp_path):
    tree(tmp_path, {"a": 3, "b/deep": 3})
    (tmp_path / "b" / "deep" / "labels.xml").write_text("x")
    with pytest.raises(UserError, match=r"b/deep/labels\.xml is in a class folder but is not an image"):
        from_folder(tmp_path)


def test_missing_folders_and_files(tmp_path):
    with pytest.raises(UserError, match=r"There is no folder .*nowhere"):
        from_folder(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"x\.png is a file: give a folder"):
        from_folder(picture(tmp_path / "x.png"))


def test_unreadable_folder(tmp_path, monkeypatch):
    tree(tmp_path, {"a": 3, "b": 3})
    scandir = os.scandir

    def refuse(folder):
        if str(folder).endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(scan.os, "scandir", refuse)
    with pytest.raises(UserError, match=r"Cannot read the folder .*/b: Permission denied"):
        from_folder(tmp_path)


def test_broken_and_circular_links(tmp_path):
    tree(tmp_path, {"a": 3, "b": 3})
    link = tmp_path / "b" / "link"
    link.symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"The link .*b/link is broken"):
        from_folder(tmp_path)
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(UserError, match=r"The link .*b/link is broken"):
        from_folder(tmp_path)
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(UserError, match=r"link is a symbolic link to one of its parent folders"):
        from_folder(tmp_path)
