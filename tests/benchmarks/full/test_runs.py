"""The full edition end to end, through the command line, on made-up data in the real layouts."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

import cli
from benchmarks.cil import DATASETS
from benchmarks.full.dataset_table import ENTRIES, class_orders
from benchmarks.scenario import make
from harness.records.files import read_csv
from harness.run import checkpoint
from metrics.suite import RUN_DEFAULTS
from reference_data.mtil import ORDER_I, ORDER_II

QUICK = ("--set", "iterations=2", "warmup=1", "batch_size=4")
PATCHED = ("cars", "dtd", "eurosat", "gtsrb", "kitti", "mnist", "resisc45", "sun397", "svhn")
SUPPORTED = ("cifar10", "cifar100", "stl10", "food101", "fashion_mnist")


@pytest.fixture(scope="module")
def mtil(full_roots, tmp_path_factory):
    """A data folder with every dataset and the reference data, and the contents of each."""
    root = tmp_path_factory.mktemp("datasets")
    made = full_roots.write(root)
    full_roots.captions(root)
    return root, made


@pytest.fixture(scope="module")
def steps(full_roots, tmp_path_factory):
    """A data folder with the class-incremental datasets, with an image of every class."""
    root = tmp_path_factory.mktemp("classes")
    full_roots.all_classes(root)
    full_roots.captions(root)
    return root


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(pixels, monkeypatch):
    monkeypatch.setenv("PERENNIAL_CACHE", str(pixels))


def finished(out):
    return {path.parent for path in out.glob("*/*/run.json") if json.loads(path.read_text())["status"] == "finished"}


@pytest.fixture
def bench(model_directory, tmp_path, capfd):
    """A function that runs `bench` on the toy model and returns the folder of the run."""

    def run(benchmark, root, *arguments, out="results", workers=0):
        common = ("--data-root", root, "--model", model_directory, "--out", tmp_path / out, "--workers", workers, "--quiet")
        before = finished(tmp_path / out)
        assert cli.main([str(a) for a in ("bench", *benchmark.split(), *arguments, *common)]) == 0
        assert capfd.readouterr().out == ""
        (record,) = finished(tmp_path / out) - before
        return record

    return run


def table(folder, name="accuracy"):
    return read_csv(folder / f"{name}.csv")


def document(folder):
    return json.loads((folder / "run.json").read_text())


def row(folder, after):
    return {r["task"]: (int(r["correct"]), int(r["n"])) for r in table(folder) if r["after"] == str(after)}


def peaks(folder):
    """The largest learning rate of each task, by its number."""
    rates = {}
    for r in table(folder, "train"):
        rates[int(r["after"])] = max(rates.get(int(r["after"]), 0.0), float(r["lr"]))
    return rates


def files(folder):
    """Return everything that a run writes, except times."""
    weights = checkpoint.load_state(folder / "checkpoint", document(folder)["progress"]["after"])
    return [(folder / f"{name}.csv").read_bytes() for name in ("accuracy", "measures", "train")], weights


def assert_same(first, second):
    (texts, (weights, state)), (other_texts, (other_weights, other_state)) = first, second
    assert texts == other_texts
    assert state.keys() == other_state.keys() and weights.keys() == other_weights.keys()
    assert all(torch.equal(weights[name], other_weights[name]) for name in weights)


def fewer_templates(monkeypatch, *names):
    """Two templates only: 3,000 prompts take a second after every task."""
    for name in names:
        monkeypatch.setitem(ENTRIES, name, replace(ENTRIES[name], templates=ENTRIES[name].templates[:2]))


@pytest.mark.slow
def test_the_eleven_datasets_in_both_orders(bench, mtil, monkeypatch):
    root, made = mtil
    fewer_templates(monkeypatch, "Caltech101")
    folder = bench("mtil --edition full --strategy zscl", root, *QUICK, "reference_batch=4")
    assert folder.parent.name == "mtil-full-I"
    cells = [(r["after"], r["stream"], r["task"]) for r in table(folder)]
    assert cells == [(str(after), "test", name) for after in range(12) for name in ORDER_I]
    assert {name: n for name, (_, n) in row(folder, 0).items()} == {name: made[name].sizes["test"] for name in ORDER_I}
    assert peaks(folder) == {i + 1: 5e-5 if name in ("Aircraft", "MNIST") else 1e-5 for i, name in enumerate(ORDER_I)}
    losses = table(folder, "train")
    assert len(losses) == 22 and all(float(r["image_loss"]) > 0 and float(r["text_loss"]) > 0 for r in losses)

    record = document(folder)
    assert record["identity"]["reference"] == ["imagenet", "conceptual_captions"]
    assert record["samples"]["train"] == [made[name].sizes["train"] for name in ORDER_I], "validation takes nothing away"
    assert any("the paper has 3,334" in sentence for sentence in record["differences"])

    other = bench("mtil --edition full --strategy zero-shot --order II", root)
    assert other.parent.name == "mtil-full-II"
    assert [r["task"] for r in table(other)] == list(ORDER_II) * 12
    assert row(other, 0) == row(folder, 0) == row(other, 11), "the same model before training, whatever the order"


def test_classes_and_templates_are_the_tables(mtil):
    root, made = mtil
    scenario = make("mtil", "full", data_root=str(root), preprocess=16)
    for experience, name in zip(scenario.streams["train"], ORDER_I, strict=True):
        domain = experience.domain
        assert (domain.name, domain.templates) == (name, ENTRIES[name].templates)
        assert len(domain.classnames) == made[name].classes
        if ENTRIES[name].fixed:
            assert list(domain.classnames) == list(ENTRIES[name].fixed.values())
        assert len(experience.dataset) == made[name].sizes["train"]
    held = make("mtil", "full", "EuroSAT", data_root=str(root), preprocess=16, hold_out=True)
    assert [len(held.streams[split][0].dataset) for split in ("train", "val", "test")] == [22, 2, 6]


@pytest.mark.slow
def test_a_custom_order_and_domains_held_out(bench, mtil):
    root, _ = mtil
    order = ("--order", "MNIST,Food,Aircraft")
    folder = bench("mtil --edition full --strategy finetune", root, *order, "--heldout", "DTD", "kitti", *QUICK)
    assert folder.parent.name.startswith("mtil-full-custom-") and peaks(folder) == {1: 5e-5, 2: 1e-5, 3: 5e-5}
    first = [(r["stream"], r["task"]) for r in table(folder) if r["after"] == "0"]
    assert first == [("test", "MNIST"), ("test", "Food"), ("test", "Aircraft"), ("heldout", "DTD"), ("heldout", "kitti")]
    one = bench("mtil --edition full --strategy finetune", root, *order, *QUICK, "lr=0.001")
    assert set(peaks(one).values()) == {0.001}, "a rate that is asked for is that of every task"


def without_training_data(root):
    """Delete the files that only training reads."""
    for path in (
        "fgvc-aircraft-2013b/data/images_variant_train.txt",
        "fgvc-aircraft-2013b/data/images_variant_val.txt",
        "cifar-100-python/train",
        "food-101/meta/train.json",
        "MNIST/raw/train-images-idx3-ubyte",
        "MNIST/raw/train-labels-idx1-ubyte",
        "stanford_cars/devkit/cars_train_annos.mat",
        "svhn/train_32x32.mat",
    ):
        (root / path).unlink()
    shutil.rmtree(root / "stanford_cars" / "cars_train")


@pytest.mark.slow
def test_evaluation_needs_no_training_data(bench, mtil, full_roots, tmp_path):
    whole, _ = mtil
    root, names = tmp_path / "test-only", ("Aircraft", "CIFAR100", "Food", "MNIST", "StanfordCars", "svhn")
    full_roots.write(root, names)
    without_training_data(root)
    tasks = ("--tasks", ",".join(names))
    lacking = bench("stream --strategy zero-shot", root, *tasks)
    complete = bench("stream --strategy zero-shot", whole, *tasks, out="whole")
    assert (lacking / "accuracy.csv").read_bytes() == (complete / "accuracy.csv").read_bytes()
    assert document(lacking)["samples"]["train"] == [0] * 6 and document(complete)["samples"]["train"] != [0] * 6
    measures = [{m["measure"] for m in table(folder, "measures")} for folder in (lacking, complete)]
    assert measures == [{"retention"}, {*RUN_DEFAULTS, "iimm_zero_shot", "retention"}]


@pytest.mark.slow
def test_class_incremental_evaluation_needs_no_training_data(bench, steps, tmp_path):
    root = tmp_path / "test-only"
    shutil.copytree(steps / "cifar-100-python", root / "cifar-100-python")
    (root / "cifar-100-python" / "train").unlink()
    tested = ("--dataset", "cifar100", "--steps", 4)
    lacking, complete = (bench("cil --strategy zero-shot", place, *tested, out=place.name) for place in (root, steps))
    assert (lacking / "accuracy.csv").read_bytes() == (complete / "accuracy.csv").read_bytes()
    assert document(lacking)["samples"]["train"] == [0] * 4


FROM_FILES = ("mtil --edition full --strategy finetune --order", "Aircraft,OxfordPet,CIFAR100")


@pytest.mark.slow
def test_the_cache_changes_no_number(bench, mtil, pixels):
    benchmark, order = FROM_FILES
    folders = [
        bench(benchmark, mtil[0], order, "--heldout", "Food", *QUICK, "lr=0.01", *more, out=out)
        for out, more in (("none", ["--no-cache"]), ("built", []), ("read", []))
    ]
    for folder in folders[1:]:
        assert folder.name == folders[0].name, "the same key"
        assert_same(files(folder), files(folders[0]))
    assert any(path.name.startswith("OxfordPet-test") for path in (pixels / "pixels").iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # Python 3.12, of torch's loader
def test_the_number_of_workers_changes_no_number(bench, mtil):
    benchmark, order = FROM_FILES
    more = ("--set", "iterations=5", "warmup=1", "batch_size=2")
    alone, two = (bench(benchmark, mtil[0], order, *more, out=str(workers), workers=workers) for workers in (0, 2))
    assert alone.name == two.name and len(table(alone, "train")) == 15
    assert_same(files(alone), files(two))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["files", "steps"])
def test_killed_and_continued_it_leaves_identical_files(kind, bench, mtil, steps, killed):
    if kind == "files":
        benchmark, root, *rest = FROM_FILES[0], mtil[0], FROM_FILES[1], *QUICK
    else:
        benchmark, root, *rest = "cil --dataset imagenet100 --steps 4 --strategy zscl", steps, *QUICK, "reference_batch=4"
    whole = bench(benchmark, root, *rest, out="whole")
    killed(lambda: bench(benchmark, root, *rest, out="killed"), checkpoint, "commit", 3)
    again = bench(benchmark, root, *rest, out="killed")
    assert_same(files(again), files(whole))
    assert document(again)["summary"] == document(whole)["summary"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "asked", "sizes", "batch", "peak"),
    [
        ("cifar100", 10, [10] * 10, 64, 7.1e-6),
        ("tinyimagenet", 5, [100] + [20] * 5, 64, 7.1e-6),
        ("imagenet100", 10, [10] * 10, 128, 7e-6),
    ],
)
def test_class_incremental(dataset, asked, sizes, batch, peak, bench, steps):
    folder = bench(f"cil --dataset {dataset} --steps {asked} --strategy finetune --set warmup=1", steps)
    assert folder.parent.name == f"cil-{dataset}-{asked}-full-default"
    record, count = document(folder), len(sizes)
    assert record["samples"]["train"] == [2 * size for size in sizes], "validation takes nothing away"
    assert record["identity"]["tasks"] == [f"step-{k + 1}" for k in range(count)]
    assert record["identity"]["options"]["batch_size"] == batch
    updates = [sum(r["after"] == str(k + 1) for r in table(folder, "train")) for k in range(count)]
    assert updates == [-(-2 * size // batch) + 1 for size in sizes] and set(peaks(folder).values()) == {peak}
    tested = 2 if dataset == "cifar100" else 1
    for after in range(1, count + 1):
        cells = row(folder, after)
        so_far = [cells[f"step-{k + 1}"] for k in range(after)]
        assert cells["seen"] == (sum(correct for correct, _ in so_far), tested * sum(sizes[:after]))
    assert record["summary"]["cil_last"] == pytest.approx(100 * row(folder, count)["seen"][0] / row(folder, count)["seen"][1])

    scenario = make("cil", dataset=dataset, steps=asked, data_root=str(steps), preprocess=16)
    whole = make("stream", "full", tasks=[dataset], data_root=str(steps), preprocess=16).streams["test"][0].domain
    domains = [experience.domain for experience in scenario.streams["test"]]
    names = [name for domain in domains for name in domain.classnames]
    assert names == [whole.classnames[label] for label in class_orders()[dataset]] and len(set(names)) == sum(sizes)
    assert {domain.templates for domain in domains} == {(DATASETS[dataset].template,)}


@pytest.mark.slow
def test_patching_datasets_as_a_stream(bench, mtil, monkeypatch):
    root, made = mtil
    fewer_templates(monkeypatch, "imagenet", "gtsrb", "resisc45")
    kitti = bench("stream --tasks kitti --strategy finetune", root, *QUICK, "--heldout", "imagenet")
    assert kitti.parent.name.startswith("stream-full-custom-") and set(row(kitti, 0)) == {"kitti", "imagenet"}
    assert document(kitti)["samples"] == {"train": [30], "val": [3], "test": [3], "heldout": [4]}, "its own validation split"
    tasks = (*PATCHED, *SUPPORTED)
    folder = bench("stream --strategy zero-shot --tasks", root, ",".join(tasks))
    assert [r["task"] for r in table(folder)] == list(tasks) * 15
    assert {name: n for name, (_, n) in row(folder, 0).items()} == {name: made[name].sizes["test"] for name in tasks}
    assert row(folder, 0)["kitti"] == row(kitti, 0)["kitti"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("benchmark", "heldout"),
    [
        ("cil --dataset cifar100 --steps 2 --protocol agnostic", "imagenet100"),
        ("stream --tasks svhn,cifar10 --shots 1", "stl10"),
    ],
)
def test_a_record_repeats_its_run(benchmark, heldout, bench, mtil, steps, tmp_path, capfd):
    root = steps if benchmark.startswith("cil") else mtil[0]
    folder = bench(f"{benchmark} --strategy finetune", root, *QUICK, "--heldout", heldout)
    again = ["bench", "--config", str(folder / "run.json"), "--workers", "0", "--out"]
    assert cli.main([*again, str(tmp_path / "results")]) == 0
    assert f"finished already, nothing to do (--fresh repeats it): {folder}" in capfd.readouterr().out
    assert cli.main([*again, str(tmp_path / "other"), "--quiet"]) == 0
    (other,) = finished(tmp_path / "other")
    assert other.name == folder.name
    assert_same(files(other), files(folder))
