"""Tables of images in common forms: separators, headers, paths, labels, splits, and refused tables."""

import os
import unicodedata

import pytest
from PIL import Image

from benchmarks.own import data_version, domain, from_csv
from benchmarks.own.columns import chosen_columns
from benchmarks.own.csv_table import read_table
from models.paths import user_path
from models.registry import UserError

FILES = [f"img/{key}{i}.png" for key in ("cat", "fox") for i in range(4)]


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Write img/cat0.png .. img/fox3.png and change to another working directory."""
    (tmp_path / "img").mkdir()
    for i, file in enumerate(FILES):
        Image.new("L", (3, 3), i).save(tmp_path / file)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


def write(folder, text, name="pets.csv", encoding="utf-8"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def key_of(file):
    return file.removeprefix("img/")[:3]


def table(header="path,label,split", row=lambda file, key, split: f"{file},{key},{split}", end="\n"):
    """Return a table of all files in which the first two of each class are the test split."""
    rows = [row(file, key_of(file), "test" if file[-5] in "01" else "train") for file in FILES]
    return "".join(line + end for line in ([header] if header else []) + rows)


PLAIN = table()


def summary(loaded):
    """Return the class names, and the class name of each file by split."""
    splits = {"train": loaded.train, "val": loaded.val, "test": loaded.test}
    return loaded.classnames, {
        split: {os.path.basename(p): loaded.classnames[t] for p, t in zip(images.paths, images.targets, strict=True)}
        for split, images in splits.items()
        if images is not None
    }


@pytest.mark.parametrize(
    ("text", "name", "encoding"),
    [
        (PLAIN, "pets.txt", "utf-8"),
        (PLAIN, "pets.tsv", "utf-8"),
        (PLAIN.replace(",", "\t"), "pets.csv", "utf-8"),
        (PLAIN.replace(",", "\t"), "pets.txt", "utf-8"),
        (PLAIN.replace(",", "\t").replace("\n", "\r\n"), "pets.TSV", "utf-8-sig"),
        (PLAIN.replace(",", ";"), "pets.csv", "utf-8-sig"),
        (PLAIN.replace(",", "|"), "pets.csv", "utf-8"),
        ("sep=;\r\n" + PLAIN.replace(",", ";"), "pets.csv", "utf-8"),
        (PLAIN.replace("\n", "\r"), "pets.csv", "utf-8"),
        ("\n\n" + PLAIN.replace("\n", "\n\n"), "pets.csv", "utf-8"),
        (table("Image Path,Image,Class,Set", lambda f, k, s: f"-,{f},{k},{s}"), "pets.csv", "utf-8"),
        (table(",path,label,split", lambda f, k, s: f"{FILES.index(f)},{f},{k},{s}"), "pets.csv", "utf-8"),
        (table("", lambda f, k, s: f"{f},{k},{s}"), "pets.csv", "utf-8"),
        (table(row=lambda f, k, s: f"{f},{k},{s}".replace("/", "\\"), end="\r\n"), "pets.csv", "utf-8"),
        (table(row=lambda f, k, s: f".\\{f},{k},{s}".replace("/", "\\")), "pets.csv", "utf-8"),
        (table("img;class,split", lambda f, k, s: f"{f};{k},{s}").replace(";", ","), "pets.csv", "utf-8"),
        (table("path;label;note;split", lambda f, k, s: f"{f};{k};a, b;{s}"), "pets.csv", "utf-8"),
        (table("path,label,note,split", lambda f, k, s: f'"{f}","{k}","two\nlines, ""quoted""",{s}'), "pets.csv", "utf-8"),
        (table("filename,width,target,subset", lambda f, k, s: f"{f},3,{k},{s.upper()}"), "pets.csv", "utf-8"),
        (table("path,label,class_name,split", lambda f, k, s: f"{f},{int(k == 'fox')},{k},{s}"), "pets.csv", "utf-8"),
        (table("path,label,title,split", lambda f, k, s: f"{f},{int(k == 'fox')},{k},{s}"), "pets.csv", "utf-8"),
        (table("path,label,caption,split", lambda f, k, s: f"{f},{k},a {f},{s}"), "pets.csv", "utf-8"),
    ],
)
def test_one_set_in_many_forms(images, text, name, encoding):
    names, splits = summary(from_csv(write(images, text, name, encoding)))
    assert names == ("cat", "fox")
    assert splits == {
        split: {os.path.basename(f): key_of(f) for f in FILES if (f[-5] in "01") == (split == "test")}
        for split in ("train", "test")
    }
    assert len(data_version(images / name)) == 12


def test_paths_are_absolute_or_relative_to_the_table(images):
    absolute = table(row=lambda f, k, s: f"{images / f},{k},{s}")
    assert summary(from_csv(write(images / "elsewhere", absolute)))[0] == ("cat", "fox")
    with pytest.raises(UserError, match=r"line 2: the image .*elsewhere/img/cat0\.png is missing \(and 7 more\)\."):
        from_csv(write(images / "elsewhere", PLAIN, "b.csv"))
    (images / "img").rename(images / "elsewhere" / "img")
    with pytest.raises(UserError, match="is missing: paths are relative to the folder of the table, not to the working dir"):
        from_csv(write(images, PLAIN))


def test_a_tilde_is_an_ordinary_character(images, monkeypatch):
    for name in ("~nobody", "~", "~$0.png"):
        if name == "~$0.png":
            Image.new("L", (3, 3)).save(images / name)
        else:
            (images / name).mkdir()
            Image.new("L", (3, 3)).save(images / name / "a.png")
    monkeypatch.setenv("HOME", str(images / "img"))
    text = PLAIN + "~nobody/a.png,cat,test\n~/a.png,cat,test\n~$0.png,cat,test\n"
    assert {"a.png", "~$0.png"} <= summary(from_csv(write(images, text)))[1]["test"].keys()
    assert data_version(images / "pets.csv")
    with pytest.raises(UserError, match=r'in a table "~" does not mean the home folder'):
        from_csv(write(images, "path,label\n~/cat0.png,cat\n"))
    monkeypatch.chdir(images)
    assert [str(user_path(text)) for text in ("~nobody", "~/a.png", "~nouser/x")] == ["~nobody", "~/a.png", "~nouser/x"]
    assert user_path("~/fox0.png") == images / "img" / "fox0.png"
    with pytest.raises(UserError, match=r"There is no file ~nouser/x\.csv"):
        from_csv("~nouser/x.csv")
    with pytest.raises(UserError, match="No data called '~nouser'"):
        domain("~nouser", "~nouser")


def test_accents_in_either_form(images):
    for form, text in (("NFD", "NFC"), ("NFC", "NFD")):
        file = unicodedata.normalize(form, f"img/pâté {form}.png")
        Image.new("L", (3, 3)).save(images / file)
        row = unicodedata.normalize(text, file)
        assert from_csv(write(images, PLAIN + f"{row},cat,test\n")).test.paths[-1] == str(images / file)


def test_numbers_as_labels(images):
    numbers = table(row=lambda f, k, s: f"{f},{int(k == 'fox')},{s}")
    floats = table(row=lambda f, k, s: f"{f},{float(k == 'fox')},{s}")
    dots = table(row=lambda f, k, s: f"{f},{int(k == 'fox')}.,{s}")
    for text in (numbers, floats, dots):
        file = write(images, text)
        assert from_csv(file).classnames == ("0", "1")
        for names in (["cat", "fox"], {"0": "cat", "1": "fox"}):
            assert summary(from_csv(file, classnames=names))[1]["test"]["fox0.png"] == "fox"
    assert from_csv(write(images, floats), classnames={"0.0": "cat", "1.0": "fox"}).classnames == ("cat", "fox")
    halves = write(images, floats.replace("1.0", "0.5"))
    with pytest.raises(UserError, match=r"line 6: the label 0\.5 is a number with a fraction, not a class\."):
        from_csv(halves)
    assert from_csv(halves, classnames={"0.0": "none", "0.5": "half"}).classnames == ("none", "half")
    with pytest.raises(UserError, match="line 2: the label is nan, which means that it is missing"):
        from_csv(write(images, numbers.replace("cat0.png,0", "cat0.png,nan")))
    assert from_csv(write(images, PLAIN.replace("fox,t", "nan,t"))).classnames == ("cat", "nan")
    truth = write(images, table(row=lambda f, k, s: f"{f},{k == 'fox'},{s}"))
    assert from_csv(truth).classnames == ("False", "True")
    assert summary(from_csv(truth, classnames=["cat", "fox"]))[1]["test"]["fox0.png"] == "fox"
    # Given names are assigned to the numbers, not to a column of other names.
    both = table("path,label,class_name,split", lambda f, k, s: f"{f},{int(k == 'cat')},{k},{s}")
    assert summary(from_csv(write(images, both), classnames=["renard", "chat"]))[1]["test"]["fox0.png"] == "renard"


def test_several_labels_are_refused(images):
    for both in ("cat|fox", '"cat, fox"', "['cat']", "cat/fox"):
        text = PLAIN.replace("cat0.png,cat", f"cat0.png,{both}")
        with pytest.raises(UserError, match=r"line 2: .* is several labels, but an image can have only one"):
            from_csv(write(images, text))
    text = PLAIN.replace(",cat,", ',"cat, small",')
    assert from_csv(write(images, text)).classnames == ("cat, small", "fox")


def test_captions_are_not_classes(images):
    openclip = table("filepath\ttitle", lambda f, k, s: f"{f}\t{k}")
    assert from_csv(write(images, openclip)).classnames == ("cat", "fox")
    with pytest.raises(
        UserError, match=r"column 'title' of .*pets.csv has 8 different texts for 8 images: captions, not class"
    ):
        from_csv(write(images, table("filepath\ttitle", lambda f, k, s: f"{f}\ta {f}")))


def test_a_test_split_without_labels_is_left_out(images):
    for missing in ("", "-1", "nan"):
        text = PLAIN.replace("2.png,cat,train", "2.png,cat,val").replace("2.png,fox,train", "2.png,fox,val")
        text = text.replace("cat,test", f"{missing},test").replace("fox,test", f"{missing},test")
        loaded = from_csv(write(images, text))
        assert sorted(summary(loaded)[1]["test"]) == ["cat2.png", "fox2.png"] and loaded.val is None
        assert loaded.split_sources["test"].endswith(": there is no labelled test split")
        assert loaded.notes == (f"{images / 'pets.csv'}: the 4 images of the test split have no labels and are left out",)
    with pytest.raises(UserError, match="line 2: the label is empty"):
        from_csv(write(images, PLAIN.replace("cat0.png,cat", "cat0.png,")))


def test_columns_are_chosen_in_the_name(images, monkeypatch):
    text = table("path,fine,coarse,when", lambda f, k, s: f"{f},{k},{'ab'[int(f[-5]) % 2]},{s}")
    write(images, text)
    monkeypatch.chdir(images)
    with pytest.raises(UserError, match=r"no column for the class .* `\S+/pets.csv:label=when`"):
        domain("pets.csv")
    assert domain("pets.csv:label=coarse").classnames == ("a", "b")
    fine = domain("pets.csv:label=fine:split=when:path=path")
    assert fine.name == "pets" and fine.classnames == ("cat", "fox") and len(fine.train) == 4
    assert domain("pets.csv:label=FINE").classnames == ("cat", "fox")
    assert len({data_version(f"pets.csv:label={column}") for column in ("fine", "coarse")}) == 2
    for wrong, message in (
        ("pets.csv:label=no", "has no column 'no'; its columns are path, fine, coarse, when"),
        ("pets.csv:lable=fine", "chooses a column for 'lable', which is unknown: write :image=, :label= or :split="),
        ("pets.csv:label=fine:label=coarse", "has two columns for the label"),
        ("pets.csv:label=", "has no column after label="),
        ("img:label=x", "chooses a column for the label, which .*: class folders have no columns"),
    ):
        with pytest.raises(UserError, match=message):
            domain(wrong)
    (images / "a:label=b").mkdir()
    assert chosen_columns("a:label=b") == ("a:label=b", {})
    assert chosen_columns("owner/name:config:label=x") == ("owner/name:config", {"label": "x"})


def test_flags_of_splits_give_a_warning(images):
    flags = table("path,label,is_valid", lambda f, k, s: f"{f},{k},{s == 'test'}")
    assert "the column is_valid is not read" in from_csv(write(images, flags)).warnings[0]


def test_splits_in_paths_give_a_warning(images):
    (images / "train").mkdir()
    (images / "test").mkdir()
    for file in FILES:
        (images / file).rename(images / ("test" if file[-5] == "0" else "train") / file.removeprefix("img/"))
    rows = [f"{path.relative_to(images)},{path.name[:3]}" for path in sorted(images.glob("t*/*"))]
    loaded = from_csv(write(images, "\n".join(["path,label", *rows])))
    assert "its paths have folders for test and train, but it has no split column" in loaded.warnings[0]
    assert loaded.split_sources["test"] == "10 % of each class, seed 0"


def test_a_folder_with_metadata(images):
    """The layout of an image folder of `datasets`."""
    for split in ("train", "test"):
        (images / "META" / split).mkdir(parents=True)
        lines = ["file_name,label"]
        for file in FILES:
            if (file[-5] == "0") == (split == "test"):
                (images / file).rename(images / "META" / split / file.removeprefix("img/"))
                lines.append(f"{file.removeprefix('img/')},{key_of(file)}")
        write(images / "META" / split, "\n".join(lines), "metadata.csv")
    loaded = domain("META", images)
    assert loaded.name == "META" and loaded.warnings == ()
    names, splits = summary(loaded)
    assert names == ("cat", "fox") and {split: len(files) for split, files in splits.items()} == {"train": 6, "test": 2}
    assert all(file.startswith(label) for files in splits.values() for file, label in files.items())
    (images / "META" / "test").rename(images / "elsewhere" / "test")
    assert domain("META", images).split_sources["test"] == "10 % of each class, seed 0"
    (images / "elsewhere" / "test").rename(images / "META" / "test")
    before = data_version("META", images)
    write(images / "META" / "test", "\n".join(lines).replace(",fox", ",cat"), "metadata.csv")
    assert data_version("META", images) != before
    write(images / "META" / "train", "file_name,mood\ncat2.png,calm\n", "metadata.csv")
    with pytest.raises(UserError, match="class folder"):
        domain("META", images)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (PLAIN.encode("utf-16"), "pets.csv is UTF-16 text; save it as UTF-8"),
        (PLAIN.encode("utf-16-le"), "pets.csv, line 1: the line has a zero byte"),
        (b"PK\x03\x04....", "is an Excel workbook or an archive, not text"),
        (PLAIN.replace("cat0", "caf\xe9").encode("latin-1"), "pets.csv, line 2: not UTF-8 text"),
        (b'path,label\nimg/cat0.png,"cat\nimg/fox0.png,fox\n', "line 2: a quote that opens in this row is not closed"),
        (b"path,label\nimg/cat0.png," + b"x" * 200_000 + b"\n", "line 2: a value is longer than 131,072 characters"),
        (
            b"path,label\nimg/cat0.png,cat, small\n",
            "line 2: 3 values for 2 columns. Put a value that contains a comma",
        ),
        (b'path,label\n"img/cat0.png","a\nb"\nimg/fox0.png\n', "line 4: 1 values for 2 columns"),
        (b"path,label\nhttps://example.org/a.png,cat\n", "line 2: https://example.org/a.png is a web address; download"),
        (b"path,label\nfile:///tmp/a.png,cat\n", "is a web address"),
        (b"path,label\nD:\\data\\a.png,cat\n", r"line 2: the image D:\\data\\a.png is on a Windows drive of another machine"),
        (b"path,label\nC:/data/a.png,cat\n", "is on a Windows drive of another machine"),
        (b"path,label\n\\\\server\\share\\a.png,cat\n", "is on a Windows drive of another machine"),
        (b"path,label\nimg/cat0,cat\n", r"cat0 is missing, but cat0\.png exists: write the path with its ending"),
        (b"path,label\nimg,cat\n", "the image .*img is a folder"),
        (b"path,label\n" + b"x" * 3000 + b",cat\n", "is missing"),
        (b"img/cat0.png cat\nimg/fox0.png fox\n", "line 1: the values are not separated by a tab, a comma, a semicolon"),
        (b"img/cat0.png,cat,3\nimg/fox0.png,fox,4\n", "has no header line: its first line is 'img/cat0.png, cat, 3'"),
        (b"path,cat,fox\nimg/cat0.png,1,0\nimg/fox0.png,0,1\n", "Replace the columns of zeros and ones per class"),
        (
            b"path,label\nimg/cat0.png,cat\n.\\img\\cat0.png,fox\n",
            "already in line 2, with the label 'cat'; an image can have only one label",
        ),
        (b"path,label\nimg/cat0.png,cat\nimg/fox0.png,a\x1bb\n", "contains a control character"),
        (
            b"path,label,part,phase\nimg/cat0.png,a,train,test\nimg/fox0.png,b,test,train\n",
            "several possible .* the split",
        ),
        (b"\n\n", "is empty"),
        (b"", "is empty"),
        (b"path,label\n", "has no images"),
    ],
)
def test_refused_tables_have_a_message(images, data, message):
    (images / "pets.csv").write_bytes(data)
    with pytest.raises(UserError, match=message):
        from_csv(images / "pets.csv")


def test_the_line_number_is_that_of_the_start_of_a_row(images):
    text = 'path,label\n"img/cat0.png","a\nb"\nimg/fox0.png,fox\n'
    assert [row.line for row in read_table(write(images, text)).rows] == [2, 4]
