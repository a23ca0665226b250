"""The tables of the broad study: put together from the studies of its models, and those that ship."""

import tarfile

import numpy as np
import pandas as pd
import pytest

from harness.study.noise import read_changes
from harness.study.predictors import with_baselines
from harness.study.table_check import check_cells
from harness.study.trial import predictor_summary, trial_tables
from metrics.study_table import MODEL_COLUMNS, SHIPPED, read
from models.loading.local_files import weights_sha256
from models.registry import UserError
from tools import broad_study, study_pages


def study(folder, model, domains=("a", "b"), changes=True):
    """Write a study of two domains and one tuning."""
    folder.mkdir()
    named = {
        "edition": "broad",
        "tuning": "full",
        "strategy": "finetune",
        "seed": 0,
        "model": model,
        "pretrained": "",
        "weights": "w",
    }
    rows = [
        {"domain": name, **named, "gain": i, "gain_over_error": 2 * i, "forgetting": 0, "iimm": i}
        for i, name in enumerate(domains)
    ]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    if changes:
        facts = {"tuning": "full", "seed": 0, "n": 10, "before": 50.0, "after": 40.0, "change": -10.0}
        pd.DataFrame([{"domain": "a", "other": "b", **facts}]).to_csv(folder / "changes.csv", index=False)
    return folder


def test_studies_of_two_models_become_one(tmp_path):
    table, changes = broad_study.together([study(tmp_path / "x", "x"), study(tmp_path / "y", "y")])
    assert table.model.tolist() == ["x", "x", "y", "y"] and table.domain.tolist() == ["a", "b", "a", "b"]
    assert changes.columns[0] == "model" and changes.model.tolist() == ["x", "y"]
    table.to_csv(tmp_path / "table.csv", index=False)
    changes.to_csv(tmp_path / "changes.csv", index=False)
    again = read_changes([tmp_path / "table.csv"])
    assert again is not None and again.equals(changes)


def test_incomplete_studies_are_refused(tmp_path):
    whole = study(tmp_path / "whole", "x")
    with pytest.raises(ValueError, match=r"part has 1 cells, and .*whole has 2"):
        broad_study.together([whole, study(tmp_path / "part", "y", domains=("a",))])
    with pytest.raises(ValueError, match=r"no changes\.csv"):
        broad_study.together([whole, study(tmp_path / "without", "y", changes=False)])
    with pytest.raises(UserError, match="Two of the tables have the cell"):
        broad_study.together([whole, study(tmp_path / "again", "x")])


def test_predictors_are_summed_up_by_hand():
    lines = pd.DataFrame(
        {
            "model": "x",
            "tuning": ["full", "lora"] * 2,
            "outcome": "gain",
            "measure": ["iimm", "iimm", "logme", "logme"],
            "r2": [0.2, 0.4, -0.5, -0.7],
            "left_out_r2": [-0.1, 0.1, 0.3, 0.5],
            "p_maximum": [0.5, 0.01, 0.01, 0.02],
        }
    )
    found = predictor_summary(lines)
    assert found.measure.tolist() == ["logme", "iimm"] and found.lines.tolist() == [2, 2]
    assert found.r2.tolist() == pytest.approx([-0.6, 0.3]) and found.left_out_r2.tolist() == pytest.approx([0.4, 0])
    assert found.above.tolist() == [2, 1] and found.significant.tolist() == [2, 1]


def test_the_included_study_is_complete_and_of_the_included_weights():
    rows = read(SHIPPED)
    for (model, pretrained, weights), group in rows.groupby([*MODEL_COLUMNS]):
        assert weights == weights_sha256(model) and pretrained == ""
        assert len(group) == 200 and group.domain.nunique() == 40 and set(group.tuning.value_counts()) == {40}
        assert set(group.protocol) == {"paper"} and set(group.prompts) == {"one"} and group.class_entropy.notna().all()
    changes = read_changes([SHIPPED])
    assert len(changes) == len(rows) * 39
    # Forgetting is the mean drop on the other tasks.
    drops = -changes.groupby(["model", "domain", "tuning"]).change.mean()
    keyed = rows.set_index(["model", "domain", "tuning"]).forgetting
    assert np.allclose(drops.reindex(keyed.index), keyed, atol=1e-3)


@pytest.mark.slow
def test_the_included_table_is_that_of_the_packed_records(tmp_path):
    with tarfile.open(broad_study.CELLS) as packed:
        packed.extractall(tmp_path, filter="data")
    for model, rows in read(SHIPPED).groupby("model"):
        assert all((tmp_path / model / f"{r.domain}-{r.tuning}-{r.seed}" / "cell.json").is_file() for r in rows.itertuples())
        check_cells(rows.reset_index(drop=True), tmp_path / model)
    broad_study.pack(tmp_path / "tiny" / "zero-shot-0", tmp_path / "again.tar.xz")
    with tarfile.open(tmp_path / "again.tar.xz") as packed:
        assert packed.getnames() == sorted(f"{name}.json" for name in set(rows.domain))


@pytest.mark.slow
def test_the_included_tables_follow_from_the_cells():
    rows = with_baselines(read(SHIPPED))
    tables = trial_tables(rows, read_changes([SHIPPED]), shuffles=20)
    exact = {
        "confirmatory": ["slope", "r2", "p_holm", "left_out_r2"],
        "measures": ["r2", "left_out_r2"],
        "prediction": ["error"],
    }
    for name, columns in exact.items():
        stored = study_pages.stored(name)
        assert len(stored) == len(tables[name])
        for column in columns:
            assert np.allclose(stored[column], tables[name][column], rtol=1e-4, atol=1e-5, equal_nan=True), (name, column)
