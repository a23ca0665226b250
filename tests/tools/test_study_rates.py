"""The measurement of rates on validation images: what it writes, what it keeps, and that it reads no test image."""

import csv
import dataclasses

import numpy as np
import pytest
import torch

import models
from benchmarks import mini
from metrics.evaluate import evaluate
from models.classifier import PromptClassifier
from tools import study_rates


class Untouchable(torch.utils.data.Dataset):
    """Test images whose labels may be counted, but which may not be read."""

    targets = (0, 1, 2, 3)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        raise AssertionError("a test image was read")


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """Run the tool on the first 64 training and 40 validation images of `digits`, and return the rows of its file."""
    whole = mini.build("digits")
    parts = {name: torch.utils.data.Subset(getattr(whole, name), range(n)) for name, n in (("train", 64), ("val", 40))}
    small = dataclasses.replace(whole, **parts, test=Untouchable(), ood=None, templates=whole.templates[:1])
    monkeypatch.setattr(study_rates, "read_domain", lambda source, study, seed, preprocess, progress: small)

    def run(*words):
        monkeypatch.setattr("sys.argv", ["study_rates", "--domains", "digits", "--out", str(tmp_path / "rates.csv"), *words])
        study_rates.main()
        with (tmp_path / "rates.csv").open() as file:
            return list(csv.DictReader(file))

    run.domain, run.file = small, tmp_path / "rates.csv"
    return run


@pytest.mark.slow
def test_rates_are_measured_on_validation_images_and_kept(measured):
    rows = measured("--tunings", "adapter", "--passes", "2", "--rates", "0.3,1e9")
    assert [tuple(row[key] for key in study_rates.KEYS) for row in rows] == [
        ("adapter", "digits", "4", "2", "0.3"),
        ("adapter", "digits", "4", "2", "1e+09"),
    ]
    before = evaluate(PromptClassifier(models.load("tiny")), measured.domain, "val")
    assert float(rows[0]["val_accuracy"]) in np.round(100 * np.arange(41) / 40, 1) and rows[0]["best_pass"] in ("1", "2")
    # A rate of a billion destroys the model: ten classes, so about 10 %, or no finite loss at all.
    assert float(rows[1]["val_accuracy"] or 0) < before.percent
    # Rows that exist are kept as they are. A changed one shows that it was not measured again.
    measured.file.write_text(measured.file.read_text().replace(f",0.3,{rows[0]['val_accuracy']},", ",0.3,12.3,"))
    again = measured("--tunings", "adapter,full", "--passes", "2", "--rates", "0.3", "--sizes", "4")
    assert [row["val_accuracy"] for row in again][:2] == ["12.3", rows[1]["val_accuracy"]]
    assert [row["tuning"] for row in again] == ["adapter", "adapter", "full"] and again[2]["size"] == ""
