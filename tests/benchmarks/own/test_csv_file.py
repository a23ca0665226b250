"""CSV files of images as domains, and the message and line of every mistake."""

import random

import pytest
from PIL import Image

from benchmarks.own import data_version, domain, from_csv
from models.registry import UserError

COUNTS = {"cat": 12, "big_dog": 4, "fox": 3}


@pytest.fixture
def images(tmp_path):
    """img/cat0.png.. of three classes."""
    (tmp_path / "img").mkdir()
    for key, n in COUNTS.items():
        for i in range(n):
            Image.new("L", (3, 3), i).save(tmp_path / "img" / f"{key}{i}.png")
    return tmp_path


def write(folder, text, name="pets.csv"):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def lines(label=lambda key: key, shuffle=None):
    rows = [f"img/{key}{i}.png,{label(key)}" for key, n in COUNTS.items() for i in range(n)]
    if shuffle is not None:
        random.Random(shuffle).shuffle(rows)
    return "\n".join(rows) + "\n"


def files(split):
    return [path.rsplit("/", 1)[1] for path in split.paths]


def test_without_splits_80_10_10_are_drawn_in_any_order_of_rows(images):
    first = from_csv(write(images, "path,label\n" + lines()))
    second = from_csv(
        write(images, "Label,FileName\n" + "\n".join(",".join(r.split(",")[::-1]) for r in lines(shuffle=1).split()), "b.csv")
    )
    assert first.name == "pets" and second.name == "b" and first.classnames == ("big dog", "cat", "fox")
    parts = [files(split) for split in (first.train, first.val, first.test)]
    assert sum(map(len, parts)) == len({file for split in parts for file in split}) == 19
    assert [[split.targets.count(c) for c in range(3)] for split in (first.train, first.val, first.test)] == [
        [4 - 1, 10, 2], [0, 1, 0], [1, 1, 1],
    ]  # fmt: skip
    assert parts == [files(split) for split in (second.train, second.val, second.test)]
    for split in (first.train, first.val, first.test):
        assert all(file.startswith(("big_dog", "cat", "fox")[t]) for file, t in zip(files(split), split.targets, strict=True))
    assert first.train[0][0].mode == "RGB"
    assert files(from_csv(images / "pets.csv", seed=3).test) != parts[2]


def test_splits_semicolons_tabs_quotes_and_a_mark(images):
    text = "path;label;split\n\nimg/cat0.png;cat;Train\nimg/fox0.png;fox;train\n\n"
    text += 'img/cat1.png;cat;valid\nimg/cat2.png;"cat";test\n'
    loaded = from_csv(write(images, "\ufeff" + text))
    assert [files(s) for s in (loaded.train, loaded.val, loaded.test)] == [["cat0.png", "fox0.png"], ["cat1.png"], ["cat2.png"]]
    assert from_csv(write(images, text.replace(";", "\t"), "x.tsv")).classnames == ("cat", "fox")
    only = from_csv(write(images, 'path,label,split\n"img/cat0.png",cat,test\nimg/fox0.png,fox,test\n'))
    assert only.train is None and len(only.test) == 2
    late = from_csv(write(images, text.replace("test", "train")))
    assert files(late.test) == ["cat1.png"] and late.val is None and "tested on the validation split" in late.source


def test_integer_labels(images):
    table = write(images, "path,label\n" + lines(lambda key: {"cat": 1, "big_dog": 0, "fox": 10}[key]))
    assert from_csv(table).classnames == ("0", "1", "10")
    assert from_csv(table, classnames={"0": "dog", "1": "cat", "10": "fox"}).classnames == ("dog", "cat", "fox")
    table = write(images, "path,label\n" + lines(lambda key: list(COUNTS).index(key)))
    loaded = from_csv(table, classnames=["kitten", "hound", "vixen"], templates=["my {}"])
    assert loaded.classnames == ("kitten", "hound", "vixen") and loaded.templates == ("my {}",)
    assert [loaded.train.targets.count(c) for c in range(3)] == [10, 3, 2]


def test_listed_names_give_the_order(images):
    loaded = from_csv(write(images, "path,label\n" + lines()), classnames=["fox", "cat", "big dog"])
    assert loaded.classnames == ("fox", "cat", "big dog")
    assert [loaded.train.targets.count(c) for c in range(3)] == [2, 10, 3]


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("path,label\nimg/cat0.png,cat\nimg/no.png,fox\n", None, r"line 3: the image .*img/no\.png is missing\."),
        ("path,label\nimg/a.png,cat\nimg/no.png,fox\n", None, r"line 2: the image .*a\.png is missing \(and 1 more\)"),
        ("path,breed\nx,y\n", None, r"no column for the class \(label, class, .*header is: path, breed.*pets.csv:label=breed`"),
        ("label,score\nx,y\n", None, "no column for the path of the image .* choose it, for example `.*pets.csv:image=score`"),
        ("", None, "pets.csv is empty"),
        (
            "path,class,category\nx,y,z\nv,y,w\n",
            None,
            r"several possible columns for the label \(class, category\): choose one, for example `.*pets.csv:label=class`",
        ),
        ("path,path,label\nx,y,z\n", None, "two columns called 'path'"),
        ("path,label\n", None, "has no images"),
        ("path,label\nimg/cat0.png\n", None, "line 2: 1 values for 2 columns"),
        ("path,label\nimg/cat0.png,\n", None, "line 2: the label is empty"),
        ("path,label\n,cat\n", None, "line 2: the path is empty"),
        ("path,label,split\nimg/cat0.png,cat,odd\n", None, "line 2: unknown split 'odd'"),
        ("path,label,split\nimg/cat0.png,cat,\n", None, "line 2: the split is empty; write train, val or test"),
        ("path,label\nimg/cat0.png,cat\n./img/cat0.png,fox\n", None, r"line 3: the image .* is already in line 2"),
        ("path,label\nimg/cat0.png,cat\n", None, "At least two classes are needed, but there is only the label 'cat'"),
        ('path,label\n"img/cat0.png"x,cat\n', None, "line 2: there is text after a closing quote"),
        ("path,label\nimg/fox0.png,fox\nimg/cat0.png,cta\n", ["fox", "cat"], "line 3: Unknown class 'cta'. Did you mean cat"),
        ("path,label\nimg/fox0.png,0\nimg/cat0.png,2\n", ["fox", "cat"], r"line 3: the label 2 is outside 0\.\.1"),
        ("path,label\nimg/fox0.png,0\nimg/cat0.png,-1\n", ["fox", "cat"], r"line 3: the label -1 is outside 0\.\.1"),
        ("path,label\nimg/fox0.png,0\nimg/cat0.png,2\n", {"0": "fox", "1": "cat"}, "line 3: Unknown class '2'"),
        ("path,label\nimg/fox0.png,fox\n", ["fox", "fox"], "have the same class name, 'fox'"),
        ("path,label\nimg/fox0.png,fox\n", ["fox"], "At least two classes"),
        (
            "path,label,split\nimg/fox0.png,fox,train\nimg/cat0.png,cat,train\n",
            None,
            "train split but neither a test nor",
        ),
        (
            "path,label,split\nimg/fox0.png,fox,train\nimg/cat0.png,cat,test\n",
            None,
            "'cat' of .* has images in test but none in train",
        ),
        (
            "path,label,split\nimg/fox0.png,fox,test\nimg/cat0.png,cat,test\n",
            ["cat", "fox", "dog"],
            "class 'dog' of .* has no image",
        ),
    ],
)
def test_mistakes(images, text, names, message):
    with pytest.raises(UserError, match=message):
        from_csv(write(images, text), classnames=names)


def test_missing_files_and_folders(images):
    with pytest.raises(UserError, match="is a folder: give a CSV file"):
        from_csv(images)
    with pytest.raises(UserError, match="There is no file"):
        from_csv(images / "no.csv")
    (images / "latin.csv").write_bytes(b"path,label\nimg/cat0.png,caf\xe9\n")
    with pytest.raises(UserError, match=r"latin\.csv, line 2: not UTF-8 text \(byte 27\)"):
        from_csv(images / "latin.csv")


def test_domain_and_version_by_name(images):
    table = write(images, "path,label\n" + lines())
    assert domain("pets.csv", images).classnames == domain(str(table)).classnames == ("big dog", "cat", "fox")
    version = data_version(str(table))
    Image.new("RGB", (30, 30)).save(images / "img" / "cat0.png")
    changed = data_version(str(table))
    (images / "img" / "cat0.png").unlink()
    assert len({version, changed, data_version(str(table))}) == 3
    write(images, "path,label\n" + lines().replace("cat\n", "dog\n"))
    assert data_version(str(table)) not in (version, changed)
