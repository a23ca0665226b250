"""Labels and splits of Hugging Face datasets in the forms found on the Hub, accepted and refused."""

import io

import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Sequence, Value
from PIL import Image as Pictures

from benchmarks.catalog import find as find_source
from benchmarks.own import data_version, domain, from_dataset, from_hub
from models.registry import UserError

pytestmark = pytest.mark.usefixtures("hub_cache")
KINDS = ["circle", "square", "star"]
LABELS, COARSE = ClassLabel(names=KINDS), ClassLabel(names=["a", "b"])
PIC = "image"
INT, TEXT, FLOAT = Value("int64"), Value("string"), Value("float64")


def png(value):
    buffer = io.BytesIO()
    Pictures.new("L", (3, 3), value).save(buffer, "png")
    return buffer.getvalue()


def made(columns, features, labels=(0, 0, 1, 1, 2, 2)):
    """Return a dataset whose images of class c have the value c, with columns that are functions of the label."""
    data = {name: [make(c) for c in labels] for name, make in columns.items()}
    image = next((name for name in features if features[name] == PIC), None)
    kinds = {name: Image() if kind == PIC else kind for name, kind in features.items()}
    if image is not None:
        data[image] = [{"bytes": png(c), "path": None} for c in labels]
    return Dataset.from_dict(data, features=Features(kinds))


@pytest.fixture
def save(tmp_path):
    def write(name="SET", **splits):
        DatasetDict(splits).save_to_disk(tmp_path / name)
        return tmp_path / name

    return write


def check(loaded, names):
    """Return the class names, and check that every image has the label of its value."""
    assert loaded.classnames == tuple(names)
    for split in (loaded.train, loaded.val, loaded.test):
        for i in range(len(split or ())):
            image, label = split[i]
            assert label == image.getpixel((0, 0))[0]


def one(columns, features, **splits):
    rows = made(columns, features)
    return {"train": rows, "test": rows, **splits}


@pytest.mark.parametrize(
    ("columns", "features", "names"),
    [
        ({"cls": int}, {"jpg": PIC, "cls": INT}, ["0", "1", "2"]),
        ({"cls": KINDS.__getitem__, "__key__": str}, {"png": PIC, "cls": TEXT, "__key__": TEXT}, KINDS),
        ({"label": float}, {"image": PIC, "label": FLOAT}, ["0", "1", "2"]),
        ({"label": int, "label_name": KINDS.__getitem__}, {"image": PIC, "label": Value("int8"), "label_name": TEXT}, KINDS),
        ({"label": int, "caption": lambda c: f"a {c}"}, {"image": PIC, "label": LABELS, "caption": TEXT}, KINDS),
        (
            {"coarse_label": lambda c: c // 2, "fine_label": int},
            {"img": PIC, "coarse_label": COARSE, "fine_label": LABELS},
            KINDS,
        ),
        ({"Label": int}, {"Image": PIC, "Label": Value("uint8")}, ["0", "1", "2"]),
    ],
)  # fmt: skip
def test_columns_of_labels(save, columns, features, names):
    check(from_hub(save(**one(columns, features))), names)


def test_truth_values(save):
    rows = made({"label": bool}, {"image": PIC, "label": Value("bool")}, (0, 1, 0, 1))
    folder = save(train=rows, test=rows)
    check(from_hub(folder), ["False", "True"])
    check(from_hub(folder, classnames=["healthy", "sick"]), ["healthy", "sick"])


def test_names_of_numbers(save):
    folder = save(**one({"cls": int}, {"jpg": PIC, "cls": INT}))
    check(from_hub(folder, classnames=KINDS), KINDS)
    before = data_version(folder)
    (folder / "classnames.txt").write_text("\n".join(KINDS))
    check(domain(folder), KINDS)
    assert data_version(folder) != before


def test_parquet_of_webdataset_columns(tmp_path):
    (tmp_path / "P").mkdir()
    for split in ("train", "test"):
        table = pyarrow.table({"jpg": [png(c) for c in (0, 1, 2)], "cls": [0, 1, 2]})
        pyarrow.parquet.write_table(table, tmp_path / "P" / f"{split}-00000.parquet")
    check(domain("P", tmp_path), ["0", "1", "2"])
    table = pyarrow.table({"jpg": [png(c) for c in (0, 1, 2)] * 4, "cls": KINDS * 4})
    pyarrow.parquet.write_table(table, tmp_path / "one.parquet")
    loaded = domain(tmp_path / "one.parquet")
    check(loaded, KINDS)
    assert loaded.name == "one" and len(loaded.test) == 3 and len(data_version(tmp_path / "one.parquet")) == 12
    assert find_source(str(tmp_path / "one.parquet")).name == "one"
    (tmp_path / "bad.parquet").write_bytes(b"no")
    with pytest.raises(UserError, match=r"Cannot read the parquet file .*bad\.parquet"):
        domain(tmp_path / "bad.parquet")


def test_two_label_columns_are_chosen_in_the_name(save, tmp_path, monkeypatch):
    features = {"image": PIC, "species": LABELS, "disease": ClassLabel(names=["healthy", "sick"])}
    folder = save("TWO", **one({"species": int, "disease": lambda c: c % 2}, features))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match=r"several possible columns for the label \(species, disease\): choose .*`\S*TWO:label=sp"
    ):
        domain("TWO")
    check(domain("TWO:label=species"), KINDS)
    assert domain("TWO:label=disease").classnames == ("healthy", "sick")
    assert find_source("TWO:label=disease").name == "TWO-disease"
    assert len({data_version("TWO:label=disease"), data_version("TWO:label=species")}) == 2
    with pytest.raises(
        UserError,
        match=r"chooses a column for the split, which .*: the splits of a Hugging Face dataset have names",
    ):
        domain("TWO:split=species")
    note = from_hub(folder, label_column="species").notes
    assert note == ()
    fine = {"img": PIC, "coarse_label": COARSE, "fine_label": LABELS}
    both = from_hub(save("FINE", **one({"coarse_label": lambda c: c // 2, "fine_label": int}, fine)))
    assert (
        "the labels are those of the column fine_label; other labels are chosen with" in both.notes[0]
        and "FINE:label=coarse_label" in both.notes[0]
    )


@pytest.mark.slow
def test_a_test_split_without_labels(save):
    def rows(*labels, kind=LABELS):
        return made({"label": int}, {"image": PIC, "label": kind}, labels)

    def unlabelled(kind=LABELS, value=-1):
        return made({"label": lambda _: value}, {"image": PIC, "label": kind}, (0, 1, 2))

    train = rows(0, 1, 2)
    for i, test in enumerate((unlabelled(), unlabelled(value=None), made({}, {"image": PIC}, (0, 1, 2)))):
        loaded = from_hub(save(f"V{i}", train=train, validation=rows(0, 1), test=test))
        check(loaded, KINDS)
        assert len(loaded.test) == 2 and loaded.val is None
        assert loaded.split_sources["test"].endswith(": there is no labelled test split")
        assert "the 3 images of the split test have no labels and are left out" in loaded.notes[0]
    alone = from_hub(save("A", train=rows(*[0, 1, 2] * 4), test=unlabelled()))
    assert len(alone.test) == 3 and alone.split_sources["test"] == "10 % of each class, seed 0"
    with pytest.raises(UserError, match=r"No image of .* has a label in the column 'label'"):
        from_hub(save("N", test=unlabelled()))
    with pytest.raises(UserError, match=r"Row 1 of the split test of .* has no label"):
        from_hub(save("H", train=train, test=made({"label": lambda c: c - 1}, {"image": PIC, "label": LABELS}, (1, 0))))
    plus_minus = made({"label": lambda c: 2 * c - 1}, {"image": PIC, "label": INT}, (0, 1, 0, 1))
    minus = made({"label": lambda c: -1}, {"image": PIC, "label": INT}, (0, 0))
    assert len(from_hub(save("PM", train=plus_minus, test=minus)).test) == 2


def test_only_a_validation_split_is_the_test_split(save):
    rows = made({"label": int}, {"image": PIC, "label": LABELS})
    loaded = from_hub(save(train=rows, validation=rows))
    assert len(loaded.test) == 6 and "there is no labelled test split" in loaded.split_sources["test"]


def test_classes_are_matched_by_name_between_splits(save):
    train = made({"label": int}, {"image": PIC, "label": LABELS})
    other = made({"label": lambda c: 2 - c}, {"image": PIC, "label": ClassLabel(names=KINDS[::-1])})
    check(from_hub(save("R", train=train, test=other)), KINDS)
    fewer = made({"label": lambda c: c - 1}, {"image": PIC, "label": ClassLabel(names=KINDS[1:])}, (1, 2))
    check(from_hub(save("F", train=train, test=fewer)), KINDS)
    words = made({"label": KINDS.__getitem__}, {"image": PIC, "label": TEXT})
    check(from_hub(save("S", train=train, test=words)), KINDS)
    check(from_hub(save("T", train=words, test=train)), KINDS)
    last_first = ClassLabel(names=["zebra", "ant"])
    rows = made({"label": int}, {"image": PIC, "label": last_first}, (1, 0, 1, 0))
    check(from_hub(save("O", train=rows, test=rows)), ["zebra", "ant"])
    numbers = made({"label": int}, {"image": PIC, "label": INT})
    with pytest.raises(UserError, match="has the class 0 in 'label', which the other splits do not have"):
        from_hub(save("I", train=train, test=numbers))


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"labels": lambda c: [c]}, {"image": PIC, "labels": Sequence(LABELS)}, "'labels' of .* holds lists, that is"),
        ({"label": lambda c: c / 4}, {"image": PIC, "label": FLOAT}, r"the label 0\.25 is a number with a fraction"),
        ({"label": lambda c: c or None}, {"image": PIC, "label": INT}, "Row 0 of .* has no label"),
        ({"label": lambda c: c or float("nan")}, {"image": PIC, "label": FLOAT}, "Row 0 of .* no label"),
        ({"label": lambda c: {"a": c}}, {"image": PIC, "label": {"a": INT}}, "'label' of .* holds dict. Labels must be"),
        ({"caption": str}, {"caption": TEXT}, r"has no image column \(caption\): choose one"),
        ({"breed": str}, {"image": PIC, "breed": TEXT}, r"no label column \(breed, image\): .*SET:label=breed`"),
        ({"label": lambda c: f"a\x1b{c}"}, {"image": PIC, "label": TEXT}, "contains a control character"),
    ],
)  # fmt: skip
def test_refused(save, columns, features, message):
    with pytest.raises(UserError, match=message):
        from_hub(save(**one(columns, features)))


def test_loaded_datasets(tmp_path):
    rows = made({"label": int}, {"image": PIC, "label": LABELS})
    check(from_hub(DatasetDict(train=rows, test=rows)), KINDS)
    check(from_hub({"train": rows, "test": rows}, name="x"), KINDS)
    with pytest.raises(UserError, match=r"Item 0 .* is a dictionary .* Use from_hub for a Hugging Face dataset"):
        from_dataset(test=rows)
