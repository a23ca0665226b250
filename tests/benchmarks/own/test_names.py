"""Class names and templates from lists and files, accepted and refused."""

import json

import pytest

from benchmarks.own.match import match_names, name_classes
from benchmarks.own.names import clean, natural, read_names, read_templates
from models.registry import UserError


def test_natural_order_and_clean_names():
    assert sorted(["b10", "b9", "a", "2", "10", "b09"], key=natural) == ["2", "10", "a", "b09", "b9", "b10"]
    assert clean(" big__grey_dog ") == "big grey dog"
    assert clean("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("n.txt", "\ufeffcat\r\n\nbig dog \n", ["cat", "big dog"]),
        ("n.txt", "n1\tcat\nn2\t big dog\n", {"n1": "cat", "n2": "big dog"}),
        ("n.txt", "cafe\u0301\nb\n", ["caf\u00e9", "b"]),
        ("n.json", '["cat", "dog"]', ["cat", "dog"]),
        ("n.json", '{"n1": "cat"}', {"n1": "cat"}),
        ("n.toml", 'classnames = ["cat", "dog"]', ["cat", "dog"]),
        ("n.toml", '[classnames]\nn1 = "cat"', {"n1": "cat"}),
    ],
)
def test_name_files(tmp_path, file, text, expected):
    (tmp_path / file).write_text(text, encoding="utf-8")
    assert read_names(tmp_path / file) == expected
    assert read_names(str(tmp_path / file)) == expected


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("n.txt", b"a\tcat\ndog\n", r"n\.txt has no 'folder<TAB>name' in line 2"),
        ("n.txt", b"a\tcat\na\tdog\n", r"n\.txt names 'a' again in line 2"),
        ("n.txt", b"caf\xe9\n", r"n\.txt cannot be read: 'utf-8'"),
        ("n.json", b"[1, 2]", r"n\.json has 1 in place of a name"),
        ("n.json", b"3", r"n\.json must hold a list or a table, not int"),
        ("n.json", b"[", r"n\.json cannot be read"),
        ("n.toml", b"names = []", r"n\.toml has no key 'classnames'"),
        ("n.toml", b"classnames = 3", "must hold a list or a table"),
        ("n.toml", b"=", r"n\.toml cannot be read"),
        ("n.yaml", b"", r"n\.yaml must end in \.txt, \.json or \.toml"),
    ],
)
def test_refused_name_files(tmp_path, file, text, message):
    (tmp_path / file).write_bytes(text)
    with pytest.raises(UserError, match=message):
        read_names(tmp_path / file)


def test_missing_file_and_empty_name(tmp_path):
    with pytest.raises(UserError, match=r"class names file .*no\.txt is missing"):
        read_names(tmp_path / "no.txt")
    with pytest.raises(UserError, match="list of class names has ' ' in place of a name"):
        read_names(["a", " "])


def test_name_classes():
    assert name_classes(["a_1", "b"], None, "class folder") == ("a 1", "b")
    assert name_classes(["x", "y"], ["dog", "cat"], "class folder") == ("dog", "cat")
    assert name_classes(["x", "y"], {"y": "cat", "x": "dog_1"}, "class folder") == ("dog_1", "cat")


@pytest.mark.parametrize(
    ("keys", "classnames", "message"),
    [
        (["a", "b"], ["x"], r"There are 1 class names for 2 classes \(class folders a, b\)"),
        (["a", "b"], {"a": "x"}, "have no name for the class folder 'b'"),
        (["apple", "b"], {"aple": "x", "b": "y"}, "Unknown class folder 'aple'. Did you mean apple"),
        (["a", "b"], ["x", "x"], "The class folders 'a' and 'b' have the same class name, 'x'"),
        (["a"], None, "At least two classes are needed, but there is only the class folder 'a'"),
    ],
)
def test_refused_names(keys, classnames, message):
    with pytest.raises(UserError, match=message):
        name_classes(keys, classnames, "class folder")


def test_templates(tmp_path):
    (tmp_path / "t.txt").write_text("a {}.\n\nthe {}.\n")
    (tmp_path / "t.json").write_text(json.dumps(["one {}"]))
    (tmp_path / "t.toml").write_text('templates = ["two {}"]')
    assert read_templates(tmp_path / "t.txt") == ("a {}.", "the {}.")
    assert read_templates(tmp_path / "t.json") == ("one {}",)
    assert read_templates(str(tmp_path / "t.toml")) == ("two {}",)
    assert read_templates(["x {}"]) == ("x {}",)
    assert read_templates(None) == ("a photo of a {}.",)
    with pytest.raises(UserError, match=r"has 'a photo', which has no '{}'"):
        read_templates(["{}", "a photo"])
    with pytest.raises(UserError, match="list of templates is empty"):
        read_templates([])
    (tmp_path / "t.txt").write_text("\n")
    with pytest.raises(UserError, match=r"t\.txt is empty"):
        read_templates(tmp_path / "t.txt")


FOLDERS = ["cat", "dog", "fox"]
BY_NAME = "matched by name"
BY_LINE = "assigned by line order"


@pytest.mark.parametrize(
    ("keys", "classnames", "names", "note"),
    [
        (FOLDERS, ["cat", "dog", "fox"], ("cat", "dog", "fox"), None),
        (FOLDERS, ["dog", "fox", "cat"], ("cat", "dog", "fox"), BY_NAME),
        (FOLDERS, ["Dog", "FOX", "cats"], ("cats", "Dog", "FOX"), BY_NAME),
        (["big_cat", "dog"], ["dog", "big-cat"], ("big-cat", "dog"), BY_NAME),
        (["cafe\u0301", "b"], ["b", "caf\u00e9"], ("caf\u00e9", "b"), BY_NAME),
        (["001.cat", "002.dog"], ["dog", "cat"], ("cat", "dog"), BY_NAME),
        (["cat", "dog"], ["0 dog", "1 cat"], ("cat", "dog"), BY_NAME),
        (["0", "1", "2"], ["2", "0", "1"], ("0", "1", "2"), BY_NAME),
        (["0", "1"], ["1 dog", "0 cat"], ("cat", "dog"), None),
        (["n01", "n02"], ["n02 goldfish", "n01 tench, Tinca tinca"], ("tench, Tinca tinca", "goldfish"), None),
        (["n01", "n02"], ["n02,goldfish", "n01,tench"], ("tench", "goldfish"), None),
        (["n01", "n02"], ["tench", "goldfish"], ("tench", "goldfish"), BY_LINE),
        (FOLDERS, ["cat", "dog", "wolf"], ("cat", "dog", "wolf"), BY_LINE),
        (FOLDERS, ["a cat", "my dog", "red fox"], ("a cat", "my dog", "red fox"), BY_LINE),
        (["dog", "hot_dog"], ["dog", "hot dog sausage"], ("dog", "hot dog sausage"), BY_LINE),
        (["Cat", "dog"], {"cat": "x", "DOG": "y"}, ("x", "y"), None),
        (["Cat", "cat"], {"cat": "x", "Cat": "y"}, ("y", "x"), None),
        (["cafe\u0301", "b"], {"caf\u00e9": "x", "b": "y"}, ("x", "y"), None),
    ],
)
def test_given_names_are_matched_by_name_before_order(keys, classnames, names, note):
    matched = match_names(keys, classnames, "class folder")
    assert name_classes(keys, classnames, "class folder") == name_classes(keys, matched.names, "class folder") == names
    assert (note is None and not matched.notes) or note in matched.notes[0]


@pytest.mark.parametrize(
    ("keys", "classnames", "message"),
    [
        (
            FOLDERS,
            ["dog", "cat", "wolf"],
            "name 1 is 'dog', but class folder 1 is 'cat', and 'dog' is class folder 2. Write 'folder<TAB>",
        ),
        (FOLDERS, ["domestic dog", "a cat", "red fox"], "in another order than the class folders: name 1 is 'domestic dog'"),
        (["red", "blue"], ["blue berry", "red apple"], "in another order"),
        (["cat", "dog"], ["cat, Felis", "dog, Canis"], "begin with the class folders .'cat, Felis'.*form is ambiguous"),
        (FOLDERS, ["cat", "dog"], r"There are 2 class names for 3 classes .* Without a name: fox\."),
        (FOLDERS, ["cat", "dog", "fox", "wolf"], r"There are 4 class names for 3 classes .* Without a class: wolf\."),
        (["n1", "n2"], ["a"], "Blank lines do not count"),
        (["Cat", "cat"], None, "'Cat' and 'cat' have the same class name"),
        (["cat.", "cat "], None, "have the same class name"),
        (["a\nb", "c"], None, r"The class folder 'a\\nb' contains a line break"),
        (["a", "b"], ["x", "caf\udce9"], r"The class name 'caf\\xe9' contains a byte that is not UTF-8"),
    ],
)
def test_ambiguous_given_names(keys, classnames, message):
    with pytest.raises(UserError, match=message):
        name_classes(keys, classnames, "class folder")


def test_superfluous_names_give_a_warning():
    matched = match_names(["n1", "n2"], {f"n{i}": f"thing {i}" for i in range(5)}, "class folder")
    assert matched.names == {"n1": "thing 1", "n2": "thing 2"}
    assert matched.warnings == ["3 class names have no class folder, for example 'n0'"]


def test_templates_that_records_cannot_hold():
    with pytest.raises(UserError, match=r"The template 'a \\x1b\[2J\{\}' contains a control character"):
        read_templates(["a \x1b[2J{}"])
