"""Splits and classes in the layouts of popular downloads, and refused layouts."""

import os
import unicodedata

import pytest

from benchmarks.own.folder_layout import read_layout
from benchmarks.own.split_names import mark_of
from models.registry import UserError


def tree(root, counts, files=(), links=()):
    """Write empty images ROOT/KEY/0.png ... for {key: n}, other files, and links {place: target}."""
    for key, n in counts.items():
        (root / key).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            (root / key / f"{i}.png").touch()
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("x")
    for place, target in dict(links).items():
        (root / place).symlink_to(target)
    return root


def two(*folders, n=2):
    """Return the specification of two class folders in each of several folders."""
    return {f"{folder}/{name}": n for folder in folders for name in ("a", "b")}


def counts(layout):
    return {split: {key: len(files) for key, files in images.items()} for split, images in layout.splits.items()}


@pytest.mark.parametrize(
    ("name", "split", "rest"),
    [
        ("train", "train", ()),
        ("Training", "train", ()),
        ("TRAIN_SET", "train", ()),
        ("trainset", "train", ()),
        ("train-images", "train", ()),
        ("train2017", "train", ()),
        ("TrainVal", "train", ()),
        ("tRaIn", "train", ()),
        ("train_val", "train", ()),
        ("seg_train", "train", ("seg",)),
        ("trainA", "train", ("a",)),
        ("dev", "val", ()),
        ("my-validation-split", "val", ()),
        ("Testing Data", "test", ()),
        ("evaluation", "eval", ()),
        ("steam_train", "train", ("steam",)),
        ("strain", None, None),
        ("contest", None, None),
        ("data", None, None),
        ("train_test", None, None),
        ("valley", None, None),
    ],
)
def test_names_with_a_split(name, split, rest):
    assert mark_of(name) == (None if split is None else (split, rest))


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Training", "Testing"), ("train", "test")),
        (("seg_train/seg_train", "seg_test/seg_test"), ("train", "test")),
        (("training_set", "test_set"), ("train", "test")),
        (("train", "dev"), ("train", "val")),
        (("TRAIN", "Validation", "test_images"), ("train", "val", "test")),
        (("images/train", "images/test"), ("train", "test")),
        (("data/train/images", "data/test/images"), ("train", "test")),
        (("pets_train", "pets_test"), ("train", "test")),
        (("train2017", "val2017"), ("train", "val")),
        (("trainval", "test"), ("train", "test")),
        (("train", "eval"), ("train", "test")),
        (("train", "eval", "test"), ("train", "val", "test")),
        (("train", "val", "eval"), ("train", "val", "test")),
        (("archive/data/train", "archive/data/test"), ("train", "test")),
    ],
)
def test_split_folders_by_many_names(tmp_path, folders, splits):
    layout = read_layout(tree(tmp_path, two(*folders)))
    assert counts(layout) == {split: {"a": 2, "b": 2} for split in splits}
    assert not layout.warnings
    assert {f"the folder {folder}/" for folder in folders} == set(layout.sources.values())


def test_splits_inside_the_class_folders(tmp_path):
    layout = read_layout(tree(tmp_path, {"a/train": 3, "a/test": 2, "b/Training": 4, "b/testing": 1, "b/val": 1}))
    assert counts(layout) == {"train": {"a": 3, "b": 4}, "test": {"a": 2, "b": 1}, "val": {"b": 1}}
    assert all(
        "/test" in file.lower().removeprefix(str(tmp_path).lower()) for f in layout.splits["test"].values() for file in f
    )
    assert any("CLASS/SPLIT" in note for note in layout.notes)


def test_a_class_may_have_the_name_of_a_split(tmp_path):
    layout = read_layout(tree(tmp_path / "a", {"car": 3, "train": 3}))
    assert counts(layout) == {"": {"car": 3, "train": 3}}
    assert "'train' in" in layout.warnings[0] and "read as a class" in layout.warnings[0]
    layout = read_layout(tree(tmp_path / "b", {"steam_train": 3, "freight_train": 3}))
    assert counts(layout) == {"": {"freight_train": 3, "steam_train": 3}} and not layout.warnings
    layout = read_layout(tree(tmp_path / "c", {"train/train": 3, "train/car": 3, "test/train": 2, "test/car": 2}))
    assert counts(layout) == {"train": {"car": 3, "train": 3}, "test": {"car": 2, "train": 2}}
    layout = read_layout(tree(tmp_path / "d", {"train/train": 3, "train/test": 2, "car/train": 3, "car/test": 2}))
    assert counts(layout) == {"train": {"car": 3, "train": 3}, "test": {"car": 2, "train": 2}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (two("train", "Training", "test"), "has two train splits, 'Training' and 'train'"),
        (two("train", "eval", "evaluation"), "has two test splits"),
        (two("Training") | {"cat": 3, "dog": 3}, r"split folder 'Training' next to other folders \('cat', 'dog'\).*is a class"),
        ({"car": 3, "train/left": 3}, "split folder 'train' next to other folders"),
        (two("train", "test", "extra"), "next to other folders"),
        ({"cat_train": 3, "cat_test": 3, "dog_train": 3, "dog_test": 3}, "several sets of split folders"),
        ({"trainA": 3, "trainB": 3, "testA": 3, "testB": 3}, "several sets of split folders"),
        ({"train": 3, "test": 3}, "'test', 'train' of .* must hold class folders"),
        (two("train") | {"test": 4}, r"test/0\.png \(the first of 4\) is not in a class folder.*without labels"),
        (two("train") | {"test/test": 4}, "test holds only the folder 'test', not class folders"),
        (two("train") | {"test/images": 4}, "test holds only the folder 'images', not class folders"),
        ({"a/train": 3, "a/test": 2, "b": 3}, "a split folder inside a class folder, but .*/b has images directly"),
        ({"a/train": 3, "a/test": 2, "b/x": 3}, "/b has other folders than split folders"),
        ({"a": 3, "a/train": 3, "b/train": 3}, "/a has images directly"),
        ({"a/train": 3, "a/Training": 3, "b/train": 3}, "/a has two train splits"),
        ({"train/a/train": 3, "train/b/train": 3, "test/a": 1}, "inside the split folder"),
        (
            {"round/circle": 3, "pointed/star": 3, "pointed/square": 3},
            "pointed has no images, but the folder 'square' in it has",
        ),
        ({"Art/bed": 3, "Art/chair": 3, "Photo/bed": 3, "Photo/chair": 3}, "Art has no images, but the folder 'bed'"),
        ({"animals/cat": 3, "car": 3}, "animals has no images"),
        ({"images/train": 3, "labels/train": 3}, "as for object detection"),
        ({"\u8bad\u7ec3/a": 3, "\u6d4b\u8bd5/a": 3}, "has no images, but the folder 'a' in it has"),
        ({"a": 3, "b": 0}, "b has no images: add images, or delete"),
        ({"a\nb": 3, "c": 3}, r"called 'a\\nb' contains a line break"),
        ({os.fsdecode(b"caf\xe9"): 3, "c": 3}, r"called 'caf\\xe9' contains a byte that is not UTF-8"),
    ],
)
def test_ambiguous_layouts(tmp_path, spec, message):
    with pytest.raises(UserError, match=message):
        read_layout(tree(tmp_path, spec))


def test_folders_left_out_next_to_split_folders(tmp_path):
    root = tree(tmp_path, two("seg_train", "seg_test") | {"seg_pred": 5, "docs": 0}, files=["labels.csv"])
    layout = read_layout(root)
    assert set(layout.splits) == {"train", "test"}
    assert layout.warnings == [f"'seg_pred' in {root} is not a split, so its 5 images are left out"]
    assert f"the folder docs in {root} is left out: it has no images" in layout.notes
    assert f"ignored in {root}: 1 other file (labels.csv)" in layout.notes
    tree(root, two("val"))
    with pytest.raises(UserError, match="several sets"):
        read_layout(root)


def test_an_empty_validation_folder_is_not_a_split(tmp_path):
    layout = read_layout(tree(tmp_path, two("train", "test") | {"val": 0}))
    assert set(layout.splits) == {"train", "test"} and layout.notes == [f"the folder {tmp_path}/val is empty"]


def test_clutter_is_ignored_and_counted(tmp_path):
    counted = two("@eaDir", "a/@eaDir", "b/.ipynb_checkpoints") | {"$RECYCLE.BIN/S-1": 1, "lost+found": 0, "#recycle": 1}
    tree(tmp_path, {"a": 3, "b": 3, "a/Thumbs": 3} | counted)
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "desktop.ini",
        "Icon\r",
        "a/._0.png",
        "a/_DS_Store",
        "a/.DS_Store",
        "a/README.md",
        "b/0.txt",
        "b/0.xml",
    ):
        (tmp_path / name).write_text("x")
    (tmp_path / "a" / "done").touch()
    layout = read_layout(tmp_path)
    assert counts(layout) == {"": {"a": 3, "b": 3}} and not layout.warnings
    [note] = layout.notes
    for part in (
        "8 files in 2 folders @eaDir", "4 files in 1 hidden folder (.ipynb_checkpoints)", "1 file in 1 folder $RECYCLE.BIN",
        "0 files in 1 folder lost+found", "3 files in 1 folder Thumbs", "3 hidden files (.DS_Store, ._0.png)", "1 Thumbs.db",
        "1 desktop.ini", r"1 Icon\r", "1 _DS_Store", "1 README or licence file (README.md)", 
        "2 accompanying files (0.txt, 0.xml)", "1 empty file (done)",
    ):  # fmt: skip
        assert part in note


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("a/labels.xml", r"labels\.xml is in a class folder but is not an image: move it"),
        ("a/IMG.HEIC", r"IMG\.HEIC .*HEIC image.: convert it to JPEG or PNG"),
        ("a/images.zip", r"images\.zip is in a class folder"),
        ("0.png", r"0\.png is not in a class folder"),
    ],
)
def test_other_files_are_refused(tmp_path, file, message):
    with pytest.raises(UserError, match=message):
        read_layout(tree(tmp_path, {"a": 3, "b": 3}, files=[file]))


def test_images_in_folders_inside_a_class_folder(tmp_path):
    layout = read_layout(tree(tmp_path, {"a": 1, "a/augmented": 2, "n01/images": 3, "cat/Cat": 2}))
    assert counts(layout) == {"": {"a": 3, "cat": 2, "n01": 3}}
    assert layout.warnings == [
        f"images in folders inside the class folder 'a' are read as images of the class: 2 in {tmp_path}/a/augmented"
    ]


def test_one_class_in_two_spellings(tmp_path):
    forms = [unicodedata.normalize(form, "ros\u00e9") for form in ("NFD", "NFC")]
    layout = read_layout(tree(tmp_path / "accents", {f"train/{forms[0]}": 2, f"test/{forms[1]}": 1, "train/b": 2}))
    assert counts(layout) == {"train": {"b": 2, "ros\u00e9": 2}, "test": {"ros\u00e9": 1}} and not layout.notes
    layout = read_layout(tree(tmp_path / "both", {forms[0]: 2, forms[1]: 1, "b": 2}))
    assert counts(layout) == {"": {"b": 2, "ros\u00e9": 3}}
    layout = read_layout(tree(tmp_path / "case", {"train/Big_Dog": 2, "train/cat": 2, "test/big dog": 1, "test/Cat ": 1}))
    assert counts(layout) == {"train": {"Big_Dog": 2, "cat": 2}, "test": {"Big_Dog": 1, "cat": 1}}
    assert len(layout.notes) == 2 and "'Big_Dog' and 'big dog' of different splits are read as one class" in layout.notes[0]
    layout = read_layout(tree(tmp_path / "apart", {"train/Cat": 2, "train/cat": 2, "test/cat": 1}))
    assert counts(layout) == {"train": {"Cat": 2, "cat": 2}, "test": {"cat": 1}}


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ({"a/up": ".."}, r"a/up is a symbolic link to one of its parent folders"),
        ({"c": "."}, r"/c is a symbolic link to one of its parent folders"),
        ({"c": "c"}, r"The link .*/c is broken"),
        ({"a/x.png": "gone.png"}, r"The link .*x\.png is broken: delete it, or restore"),
        ({"c": "a"}, r"/a and .*/c are the same folder \(a link\)"),
    ],
)
def test_links_that_are_refused(tmp_path, links, message):
    with pytest.raises(UserError, match=message):
        read_layout(tree(tmp_path, {"a": 3, "b": 3}, links=links))


def test_a_test_split_that_is_a_link_to_the_training_split_is_refused(tmp_path):
    with pytest.raises(UserError, match="same folder"):
        read_layout(tree(tmp_path / "one", two("train"), links={"test": "train"}))
    with pytest.raises(UserError, match=r"/a/(test|train) and .*/a/(test|train) are the same folder"):
        read_layout(tree(tmp_path / "two", {"a/train": 2, "b/train": 2, "b/test": 2}, links={"a/test": "train"}))


def test_links_to_images_elsewhere_are_followed(tmp_path):
    tree(tmp_path / "store", {"x": 1})
    root = tree(tmp_path / "data", {"a": 2, "b": 2}, links={"a/x.png": "../../store/x/0.png", "c": "../store/x"})
    assert counts(read_layout(root)) == {"": {"a": 3, "b": 2, "c": 1}}


def test_a_pipe_among_the_images_is_refused(tmp_path):
    tree(tmp_path, {"a": 3, "b": 3})
    os.mkfifo(tmp_path / "a" / "x.png")
    with pytest.raises(UserError, match=r"x\.png is neither a file nor a folder"):
        read_layout(tmp_path)


@pytest.mark.parametrize("spec", [{}, {"images": 3}])
def test_a_table_next_to_the_images_is_mentioned(tmp_path, spec):
    with pytest.raises(UserError, match=r"If train\.csv has the labels of the images, give its path instead"):
        read_layout(tree(tmp_path, spec, files=["train.csv"]))


def test_an_archive_is_mentioned(tmp_path):
    with pytest.raises(UserError, match=r"If the images are in photos\.zip, unpack it\."):
        read_layout(tree(tmp_path, {}, files=["photos.zip"]))
