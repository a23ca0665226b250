"""Users' own data on the command line: folders, tables, saved datasets, mixed streams, and mistakes in one line each."""

import csv
import json
import shutil
from collections import Counter

import pytest
import torch

import cli
from benchmarks.data.dataset import targets_of
from benchmarks.scenario import make
from harness.config.config_file import read_file
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.records.files import read_csv
from strategies import Strategy

QUICK = ("--strategy", "finetune", "--set", "iterations=2", "warmup=1", "batch_size=8")


@pytest.fixture
def save(full_roots):
    """Save pictures as FOLDER/CLASS/NUMBER.png."""

    def write(folder, classes, count=10):
        for label, name in enumerate(classes):
            for number in range(count):
                full_roots.save(folder / name / f"{number}.png", label, number)
        return folder

    return write


@pytest.fixture
def own_data(tmp_path, save, full_roots):
    """Write a folder, a CSV file and a saved Hugging Face dataset under tmp_path."""
    save(tmp_path / "trees", ("oak_tree", "pine", "birch"))
    save(tmp_path / "kitchen", ("cup", "fork"), 8)
    rows = [(f"kitchen/{kind}/{i}.png", kind, "test" if i > 5 else "train") for kind in ("cup", "fork") for i in range(8)]
    with (tmp_path / "kitchen.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    full_roots.write_hub(tmp_path / "cloth", {"train": 8, "test": 4}, ["silk", "wool"], "image", "label")
    return tmp_path


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """Use a separate cache; not for tests with a mini domain, whose pictures are cached too."""
    monkeypatch.setenv("PERENNIAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bench(model_directory, tmp_path):
    def run(*arguments):
        common = ("--model", model_directory, "--out", tmp_path / "results", "--workers", 0, "--quiet")
        before = set((tmp_path / "results").glob("*/*/run.json"))
        assert cli.main([str(a) for a in ("bench", *arguments, *QUICK, *common)]) == 0
        (record,) = set((tmp_path / "results").glob("*/*/run.json")) - before
        assert json.loads(record.read_text())["status"] == "finished"
        return record.parent

    return run


def samples(folder):
    return json.loads((folder / "run.json").read_text())["samples"]


def cells(folder, after):
    return [(r["stream"], r["task"], int(r["n"])) for r in read_csv(folder / "accuracy.csv") if r["after"] == str(after)]


@pytest.mark.slow
def test_every_kind_mixed_with_a_mini_domain(own_data, bench):
    tasks = f"{own_data / 'trees'},{own_data / 'kitchen.csv'},digits,{own_data / 'cloth'}"
    folder = bench("stream", "--tasks", tasks, "--heldout", "none", "--no-cache", "--limit", 12)
    assert folder.parent.name.startswith("stream-own-custom-")
    tested = [("test", "trees", 3), ("test", "kitchen", 4), ("test", "digits", 12), ("test", "cloth", 4)]
    assert cells(folder, 0) == cells(folder, 4) == tested
    assert samples(folder)["train"] == [12, 11, 12, 8 - 1], "10 % of 12 and of 8, at least one, are validation images"


@pytest.mark.slow
def test_own_data_held_out(own_data, bench):
    folder = bench("mtil", "--order", "digits", "--heldout", own_data / "trees", "letters", "--no-cache", "--limit", 6)
    assert folder.parent.name.startswith("mtil-mini-custom-")
    assert cells(folder, 1) == [("test", "digits", 6), ("heldout", "trees", 3), ("heldout", "letters", 6)]


@pytest.mark.slow
def test_steps_of_a_folder(own_data, bench, cache):
    folder = bench("cil", "--dataset", own_data / "trees", "--steps", 3)
    assert folder.parent.name == "cil-trees-3-own-default"
    assert [r["task"] for r in read_csv(folder / "accuracy.csv") if r["after"] == "3"] == ["step-1", "step-2", "step-3", "seen"]
    assert samples(folder) == {"train": [8] * 3, "val": [1] * 3, "test": [1] * 3, "heldout": []}
    scenario = make("cil", dataset=str(own_data / "trees"), steps=3, order=["pine", "oak tree", "birch"], preprocess=16)
    assert [e.domain.classnames for e in scenario.streams["test"]] == [("pine",), ("oak tree",), ("birch",)]
    two = bench(
        "cil",
        "--dataset",
        own_data / "trees",
        "--steps",
        2,
        "--order",
        "pine,oak tree,birch",
        "--heldout",
        own_data / "kitchen.csv",
    )
    assert two.parent.name.startswith("cil-trees-2-own-custom-")
    assert [task for _, task, _ in cells(two, 0)] == ["step-1", "step-2", "kitchen"]


@pytest.mark.slow
def test_a_name_is_searched_under_the_data_root(own_data, bench, cache):
    folder = bench("stream", "--tasks", "trees,kitchen.csv", "--data-root", own_data, "--limit", 12)
    assert [task for _, task, _ in cells(folder, 0)] == ["trees", "kitchen", "buttons", "digits", "objects"]
    by_path = RunConfig(
        **read_file(str(folder / "run.json")) | {"tasks": (str(own_data / "trees"), str(own_data / "kitchen.csv"))}
    )
    assert folder.name == f"finetune-{resolve(by_path).key}", "the place of the data changes no number"


@pytest.mark.slow
@pytest.mark.parametrize("shots", [1, 4])
def test_shots_are_per_class(shots, own_data, bench, cache):
    tasks = [str(own_data / "trees"), str(own_data / "kitchen.csv")]
    folder = bench("stream", "--tasks", ",".join(tasks), "--shots", shots)
    assert samples(folder)["train"] == [3 * shots, 2 * shots]
    assert samples(folder)["test"] == [3, 4], "the test images do not change"
    scenario = make("stream", tasks=tasks, shots=shots, preprocess=16)
    for experience in scenario.streams["train"]:
        assert set(Counter(targets_of(experience.domain.train)).values()) == {shots}


@pytest.mark.slow
def test_files_of_names_and_templates(own_data, bench, cache):
    names, templates = own_data / "names.txt", own_data / "templates.txt"
    names.write_text("birch\tbirches\noak_tree\toaks\npine\tpines\n")
    templates.write_text("a drawing of {}.\n")
    folder = bench("cil", "--dataset", own_data / "trees", "--steps", 3, "--classnames", names, "--templates", templates)
    assert json.loads((folder / "run.json").read_text())["identity"]["templates"] == "a drawing of {}.\n"
    assert cli.main(["bench", "--config", str(folder / "run.json"), "--out", str(own_data / "again"), "--quiet"]) == 0
    (again,) = (own_data / "again").glob("*/*/run.json")
    assert again.parent.name == folder.name
    assert (again.parent / "accuracy.csv").read_bytes() == (folder / "accuracy.csv").read_bytes()


def test_the_key_depends_on_everything_that_changes_the_numbers(own_data, save, model_directory):
    base = RunConfig("stream", "finetune", tasks=(str(own_data / "trees"),), model=str(model_directory))

    def key(**changes):
        return resolve(RunConfig(**{**vars(base), **changes})).key

    (own_data / "names.txt").write_text("beech\nfir\nlarch\n")
    steps = {"benchmark": "cil", "tasks": None, "dataset": str(own_data / "trees")}
    keys = [
        key(),
        key(shots=2),
        key(protocol="agnostic"),
        key(limit=5),
        key(classnames=str(own_data / "names.txt")),
        key(**steps, steps=2),
        key(**steps, steps=3),
        key(**steps, steps=3, protocol="task"),
        key(**steps, steps=3, order=("pine", "birch", "oak tree")),
        key(heldout=(str(own_data / "kitchen.csv"),)),
    ]
    assert len(set(keys)) == len(keys)
    assert key(device="cuda", out="elsewhere", workers=3, cache=False) == keys[0]
    shutil.copy(own_data / "trees" / "pine" / "0.png", own_data / "trees" / "pine" / "more.png")
    assert key() not in keys, "another image"
    (own_data / "trees" / "pine" / "more.png").unlink()
    assert key() == keys[0]
    (own_data / "trees" / "classnames.txt").write_text("beech\nfir\nlarch\n")
    assert key() not in keys, "other class names"
    (own_data / "names.txt").write_text("beech\nfir\nspruce\n")
    assert key(classnames=str(own_data / "names.txt")) not in keys


def missing_split(own_data):
    shutil.move(own_data / "trees", own_data / "train")
    (own_data / "trees").mkdir()
    shutil.move(own_data / "train", own_data / "trees")
    return "trees has a train split but neither a test nor a val split"


def empty_class(own_data):
    shutil.rmtree(own_data / "trees" / "pine")
    (own_data / "trees" / "pine").mkdir()
    return "trees/pine has no image"


def label_outside(own_data):
    with (own_data / "kitchen.csv").open("a") as file:
        file.write("trees/pine/0.png,spoon,train\n")
    (own_data / "names.txt").write_text("cup\nfork\n")
    return "kitchen.csv, line 18: Unknown class 'spoon'"


def one_name_twice(own_data):
    shutil.copytree(own_data / "trees" / "oak_tree", own_data / "trees" / "oak tree")
    return "have the same class name, 'oak tree'"


def no_image(own_data):
    (own_data / "trees" / "pine" / "notes.doc").write_text("mine")
    return "pine/notes.doc is in a class folder but is not an image"


def template_without_place(own_data):
    (own_data / "trees" / "templates.txt").write_text("a photo of a {}.\na photo.\n")
    return "'a photo.', which has no '{}'"


def damaged(own_data):
    scenario = make("stream", tasks=[str(own_data / "trees")], preprocess=16, cache=False)
    path = scenario.streams["test"][0].domain.test.paths[0]
    with open(path, "r+b") as file:
        file.truncate(60)
    return f"Cannot read the image {path}"


def missing_image(own_data):
    (own_data / "kitchen" / "cup" / "3.png").unlink()
    return "cup/3.png is missing"


def one_class(own_data):
    shutil.rmtree(own_data / "trees" / "pine")
    shutil.rmtree(own_data / "trees" / "birch")
    return "oak_tree"


MISTAKES = (missing_split, empty_class, one_name_twice, no_image, template_without_place, damaged, one_class)
OF_TABLES = (missing_image, label_outside)


@pytest.fixture
def refused(model_directory, tmp_path, capfd, monkeypatch):
    """Run a command that must end with status 2 and one line with the words, before anything is trained or written."""

    def run(words, *arguments):
        monkeypatch.setattr(Strategy, "_train_exp", lambda *a, **k: pytest.fail("trained"))
        before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        capfd.readouterr()
        assert cli.main([str(a) for a in (*arguments, "--model", model_directory)]) == 2
        error = capfd.readouterr().err
        assert words in error and error.startswith("perennial: ") and error.count("\n") == 1
        assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before

    return run


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_folder(mistake, own_data, refused, cache):
    words, out = mistake(own_data), ("--out", own_data / "results", *QUICK)
    refused(words, "bench", "stream", "--tasks", f"{own_data / 'kitchen.csv'},{own_data / 'trees'}", *out)
    refused(words, "bench", "cil", "--dataset", own_data / "trees", "--steps", 2, *out)
    refused(words, "bench", "stream", "--tasks", own_data / "kitchen.csv", "--heldout", own_data / "trees", *out)
    refused(words, "measure", own_data / "kitchen.csv", own_data / "trees", "--csv", own_data / "measured.csv")


@pytest.mark.parametrize("mistake", OF_TABLES)
def test_a_mistake_in_a_table(mistake, own_data, refused, cache):
    words, names = mistake(own_data), ("--classnames", own_data / "names.txt")
    (own_data / "names.txt").write_text("cup\nfork\n")
    refused(words, "bench", "stream", "--tasks", own_data / "kitchen.csv", *names, "--out", own_data / "results")
    refused(words, "measure", own_data / "kitchen.csv", *names)


@pytest.mark.slow
def test_mistakes_in_flags(own_data, refused, cache):
    stream, out = ("bench", "stream", "--tasks", own_data / "trees"), ("--out", own_data / "results", *QUICK)
    refused("The class 'birch' of 'trees' has 8 training images, fewer than the 9 shots", *stream, "--shots", 9, *out)
    (own_data / "t.txt").write_text("a photo.\n")
    refused("t.txt has 'a photo.', which has no '{}'", *stream, "--templates", own_data / "t.txt", *out)
    refused("names.txt", *stream, "--classnames", own_data / "names.txt", *out)
    (own_data / "names.txt").write_text("beech\nfir\n")
    refused("There are 2 class names for 3 classes", *stream, "--classnames", own_data / "names.txt", *out)
    refused("into 4 steps", "bench", "cil", "--dataset", own_data / "trees", "--steps", 4, *out)
    refused("names trees twice", "bench", "stream", "--tasks", f"{own_data / 'trees'},{own_data / 'trees'}", *out)
    refused("nor an existing folder or file", "bench", "stream", "--tasks", own_data / "nowhere", *out)
    refused("is your own data, not part of the full edition", *stream, "--edition", "full", *out)
    refused("mtil has the editions mini and full", "bench", "mtil", "--edition", "own", *out)


@pytest.mark.slow
def test_splits_share_no_image(own_data):
    for options in ({"tasks": [str(own_data / "trees")]}, {"dataset": str(own_data / "trees"), "steps": 1}):
        name = "stream" if "tasks" in options else "cil"
        scenario = make(name, preprocess=16, cache=False, **options)
        pixels = [
            {torch.as_tensor(item[0]).numpy().tobytes() for item in scenario.streams[split][0].dataset.eval()}
            for split in ("train", "val", "test")
        ]
        assert [len(split) for split in pixels] == [24, 3, 3] and len(set.union(*pixels)) == 30
