"""`bench --plan`: data that are missing, splits of which a few images stand for all, activations, files of checkpoints."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.full.dataset_table import entry
from harness.commands.main import main
from harness.config.run_config import RunConfig
from harness.plan.activations import bytes_of
from harness.plan.ledger import IMAGES, TRAINED_IMAGES, Ledger
from harness.plan.plan import make_plan
from harness.plan.storage import file_bytes


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    options = {"iterations": 8, "batch_size": 10, "warmup": 1}
    return RunConfig(toy_benchmark, "wise-ft", model=str(model_directory), options=options, out=str(tmp_path / "results"),
                     measure_n=4, device="cpu")  # fmt: skip


def test_few_images_stand_for_a_split(config, quick, monkeypatch):
    """A search on validation images and the evaluation are counted from three images of each split."""
    config = replace(config, strategy="paint-sequential", options={**config.options, "alphas": 3})
    whole = make_plan(config).counts
    monkeypatch.setattr("harness.plan.stand_ins.FEW", 3)
    monkeypatch.setattr("harness.plan.stand_ins.TIMED", 5)
    few = make_plan(config).counts
    del whole["timed_image_passes"], few["timed_image_passes"]
    assert few == whole


def test_the_papers_data_are_counted_from_the_table(model_directory, quick, tmp_path):
    """Two tasks of MTIL, of which no file is there."""
    tasks = ("EuroSAT", "DTD")
    config = RunConfig("mtil", "zscl", edition="full", order=tasks, model=str(model_directory), measure_n=2, device="cpu",
                       data_root=str(tmp_path / "none"), out=str(tmp_path / "results"), measures=("logme",))  # fmt: skip
    plan = make_plan(config)
    rows = [entry(name) for name in tasks]
    assert plan.counts["updates"] == 2 * 1001
    # The last batch of each pass over a dataset is smaller: 1,001 updates are 3 passes of EuroSAT's batches and a part.
    passes = [divmod(1001, -(-row.train // 64)) for row in rows]
    images = sum(whole * row.train + 64 * left for row, (whole, left) in zip(rows, passes, strict=True))
    assert plan.counts["training_images"] == plan.counts["decoded_for_training"] == images
    assert plan.counts["trained_image_passes"] == images + 2 * 1001 * 64
    assert plan.counts["prepared_image_passes"] == 64 * 1001
    tests = sum(row.test for row in rows)
    assert (plan.counts["test_images"], plan.counts["evaluated_image_passes"]) == (tests, 3 * tests)
    assert plan.counts["decoded_for_cache"] == tests + 64_064
    assert plan.disk["cached_pixels"] == pytest.approx((tests + 64_064) * 3 * 48**2, rel=1e-3)
    assert any("EuroSAT, DTD" in note for note in plan.notes) and any("reference" in note for note in plan.notes)
    assert not (tmp_path / "results").exists()


def test_the_command_writes_a_plan_and_no_run(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.plan.updates.SECONDS", 0.0)
    flags = ["--model", config.model, "--measure-n", "4", "--out", config.out, "--device", "cpu", "--set", "iterations=2",
             "batch_size=10", "warmup=1"]  # fmt: skip
    target = tmp_path / "plan.json"
    assert main(["bench", "toy", "--strategy", "finetune", *flags, "--plan", "--json", str(target)]) == 0
    text = capsys.readouterr().out
    assert "plan of toy" in text and "updates" in text and "total" in text
    document = json.loads(target.read_text())
    assert document["counts"]["updates"] == 6 and document["seconds"]["total"] > 0
    assert set(document) >= {"counts", "disk", "memory", "seconds", "rates", "bound", "notes"}
    assert not (tmp_path / "results").exists()
    assert main(["bench", "toy", *flags, "--json", str(target)]) == 2
    assert "add --plan" in capsys.readouterr().err


def test_activations_are_the_storages_that_the_backward_pass_needs():
    x, weight = torch.randn(5, 7), torch.nn.Parameter(torch.randn(7, 3))
    # x @ weight keeps x; exp keeps its result, which square keeps too.
    assert bytes_of(lambda: (x @ weight).exp().square()) == 4 * (5 * 7 + 5 * 3)


def test_the_size_of_a_file_is_that_of_the_file(tmp_path):
    tensors = {"b.weight": torch.zeros(3, 5), "a": torch.zeros((), dtype=torch.float64), "c": torch.zeros(9, dtype=torch.bool)}
    for metadata in (None, {"format": "pt", "text": 'a "quoted" word'}):
        save_file(tensors, tmp_path / "file", metadata)
        assert file_bytes(tensors, metadata) == (tmp_path / "file").stat().st_size


def test_an_image_stands_for_those_of_its_split():
    ledger = Ledger()
    ledger.enter("around")
    for weight in (2.0, 4.0):
        ledger.read("val", weight)
    for _ in range(3):
        ledger.encoded(IMAGES, 2)  # three alphas
    ledger.encoded(TRAINED_IMAGES, 1)  # one of both
    ledger.enter("around")
    ledger.encoded(IMAGES, 5)  # nothing was read for it
    assert (ledger.total("read val"), ledger.total(IMAGES), ledger.total(TRAINED_IMAGES)) == (6, 23, 3)
    with ledger.uncounted():
        ledger.encoded(IMAGES, 100)
    assert ledger.total(IMAGES) == 23
