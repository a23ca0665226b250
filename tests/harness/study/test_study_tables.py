"""The tables of a study: rows by hand, lines against the functions that fit them, and refused tables."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.study.study_tables import (
    CHANGE_COLUMNS,
    COLUMNS,
    PROTOCOL_COLUMNS,
    REGRESSION_COLUMNS,
    cell_row,
    cell_table,
    change_rows,
    class_entropy,
    has_measures,
    regressions,
)
from metrics.regression import fit, kendall, leave_one_out
from metrics.study_table import OUTCOMES, means_by_domain, measure_columns, read
from models.registry import UserError


def record_before(val, test, ood=None, iimm=0.5):
    accuracy = {"val": val, "test": test} | ({} if ood is None else {"ood": ood})
    return {
        "accuracy": accuracy,
        "classes": 3,
        "n_train": 60,
        "measured": 50,
        "measures": {"iimm": {"value": iimm, "reason": ""}, "gbc": {"value": None, "reason": "one class"}},
    }


def record_after(val, test, ood=None):
    identity = {"domain": "a", "edition": "mini", "tuning": "lora", "strategy": "lora", "seed": 2, "model": "tiny"}
    after = {"val": val, "test": test, "ood": {} if ood is None else {"a": ood}}
    identity |= {"pretrained": None, "weights": "w"}
    return {"identity": identity, "after": after, "updates": 9, "trainable_params": 7, "train_seconds": 1.5}


BEFORE = {
    "a": record_before([5, 10], [40, 100], [6, 20]),
    "b": record_before([8, 10], [90, 100]),
    "c": record_before([9, 10], [50, 200]),
}
AFTER = record_after({"a": [9, 10], "b": [8, 10], "c": [6, 10]}, {"a": [70, 100], "b": [80, 100], "c": [60, 200]}, [12, 20])


def test_a_row_by_hand():
    found = cell_row(AFTER, BEFORE, ("iimm", "gbc"))
    assert (found["zero_shot"], found["fine_tuned"], found["gain"]) == pytest.approx((40, 70, 30))
    assert found["gain_over_error"] == pytest.approx(50)
    # 90 to 80 and 25 to 30, each domain the same weight.
    assert found["forgetting"] == pytest.approx((10 - 5) / 2)
    assert (found["worst_other"], found["worst_other_change"]) == ("b", pytest.approx(-10))
    assert (found["gain_val"], found["gain_over_error_val"]) == pytest.approx((40, 80))
    assert found["forgetting_val"] == pytest.approx((0 + 30) / 2)
    assert (found["zero_shot_ood"], found["fine_tuned_ood"], found["gain_ood"]) == pytest.approx((30, 60, 30))
    assert [found[f"n_{split}"] for split in ("val", "test", "ood")] == [10, 100, 20] and found["others"] == 2
    assert found["iimm"] == 0.5 and math.isnan(found["gbc"])
    table = cell_table([found])
    assert tuple(table.columns) == (*COLUMNS, "iimm", "gbc", *PROTOCOL_COLUMNS) and table.seed[0] == 2
    # An older record: no protocol, and no accuracies with one prompt.
    assert (found["protocol"], found["prompts"], found["tried"]) == ("mini", "ensemble", 1)
    assert math.isnan(found["zero_shot_other_prompts"]) and math.isnan(found["best_pass"])
    assert math.isnan(found["class_entropy"])
    known = {**BEFORE, "a": {**BEFORE["a"], "class_entropy": 0.56}}
    assert cell_row(AFTER, known, ("iimm",))["class_entropy"] == 0.56
    assert (*cell_table([cell_row(AFTER, known, ("iimm",))]).columns[-2:],) == ("class_entropy", "device")
    assert found["device"] == "" and cell_row({**AFTER, "machine": {"device": "cpu: x"}}, BEFORE, ())["device"] == "cpu: x"


def test_entropy_of_class_shares_by_hand():
    assert class_entropy([2, 0, 1, 3]) == pytest.approx(math.log(4)) and class_entropy([5, 5]) == 0
    # Shares 3/4 and 1/4.
    assert class_entropy([0, 0, 0, 7]) == pytest.approx(math.log(4) - 0.75 * math.log(3))


def test_the_kind_of_prompts_decides_which_accuracies_are_outcomes():
    """The ensemble's numbers are those of the test above. With one prompt, a gains 20 to 35, b loses 1 and c 2 points."""
    one = {"a": [35, 100], "b": [89, 100], "c": [46, 200]}
    before = {
        name: {**BEFORE[name], "accuracy_one": {"val": [5, 10], "test": counts}}
        for name, counts in {"a": [20, 100], "b": [90, 100], "c": [50, 200]}.items()
    }
    chosen = {"lr": 0.1, "weight_decay": 1e-4, "rank": 8, "best_pass": 2.5, "passes": 4, "tried": 12, "at_edge": "rank max"}
    after = {"val": {"a": [6, 10], "b": [5, 10], "c": [5, 10]}, "test": one, "ood": {}}
    identity = {**AFTER["identity"], "protocol": "paper", "prompts": "one"}
    cell = {**AFTER, "identity": identity, "after_one": after, "chosen": chosen}
    found = cell_row(cell, before, ())
    assert (found["zero_shot"], found["fine_tuned"], found["gain"]) == pytest.approx((20, 35, 15))
    assert found["forgetting"] == pytest.approx(1.5) and math.isnan(found["gain_ood"])
    other = [found[f"{name}_other_prompts"] for name in ("zero_shot", "fine_tuned", "forgetting")]
    assert other == pytest.approx([40, 70, (10 - 5) / 2])
    assert [found[name] for name in ("protocol", "prompts", *chosen)] == ["paper", "one", *chosen.values()]
    assert math.isnan(found["reduction"])
    rows = change_rows(cell, before)
    assert [tuple(row) for row in rows] == [CHANGE_COLUMNS] * 2
    assert [tuple(row.values()) for row in rows] == [
        ("a", "lora", 2, "b", 100, 90, 89, pytest.approx(-1)),
        ("a", "lora", 2, "c", 200, 25, 23, pytest.approx(-2)),
    ]


def test_undefined_outcomes_are_nan():
    perfect = {**BEFORE, "a": record_before([5, 10], [100, 100])}
    found = cell_row({**AFTER, "after": {**AFTER["after"], "ood": {}}}, perfect, ())
    assert math.isnan(found["gain_over_error"]) and found["gain"] == pytest.approx(-30)
    assert math.isnan(found["gain_ood"]) and found["n_ood"] == 0


def test_a_record_has_the_measures():
    assert (
        has_measures(BEFORE["a"], ["iimm", "gbc"])
        and not has_measures(BEFORE["a"], ["iimm", "logme"])
        and not has_measures(None, [])
    )


def made(domains=6, seeds=(0,), tunings=("full",), rng=None, **columns):
    rng = rng or np.random.default_rng(0)
    x = np.linspace(0.3, 0.6, domains)
    rows = []
    for tuning in tunings:
        for seed in seeds:
            for i in range(domains):
                named = {"domain": f"d{i}", "edition": "mini", "tuning": tuning, "strategy": "finetune", "seed": seed}
                named |= {"model": "tiny", "pretrained": "", "weights": "w", "iimm": x[i], "gbc": -(x[i] ** 2)}
                rows.append({**named, **{o: 100 * x[i] + rng.normal(0, 3) for o in OUTCOMES}})
    return cell_table(rows).assign(**columns)


def test_lines_are_fitted_through_domains():
    rows = made(tunings=("full", "lora"))
    found = regressions(rows)
    assert tuple(found.columns) == REGRESSION_COLUMNS and len(found) == 2 * len(OUTCOMES) * 2
    one = found.set_index(["tuning", "outcome", "measure"]).loc[("lora", "forgetting", "iimm")]
    of = rows[rows.tuning == "lora"]
    line, errors = fit(of.iimm, of.forgetting), leave_one_out(of.iimm, of.forgetting)
    assert (one.slope, one.slope_low, one.slope_high) == pytest.approx((line.slope, line.low, line.high))
    assert (one.intercept, one.r2, one.p, one.n) == pytest.approx((line.intercept, line.r2, line.p, 6))
    assert (one.kendall, one.kendall_p) == pytest.approx(kendall(of.iimm, of.forgetting)[:2])
    assert (one.loo_mae, one.loo_rmse) == pytest.approx((np.abs(errors).mean(), np.sqrt((errors**2).mean())))
    y = of.forgetting.to_numpy()
    others = [abs(y[i] - np.delete(y, i).mean()) for i in range(6)]
    assert one.loo_mae_of_mean == pytest.approx(np.mean(others)) and one.reason == ""


def test_seeds_are_averaged_before_the_fit():
    rows = made(seeds=(0, 1, 2))
    of = means_by_domain(rows, "iimm", "gain")
    assert len(of) == 6 and of.loc["d3", "y"] == pytest.approx(rows[rows.domain == "d3"].gain.mean())
    assert set(regressions(rows).n) == {6}


def test_a_domain_with_nan_in_any_seed_is_left_out():
    rows = made(seeds=(0, 1))
    rows.loc[(rows.domain == "d2") & (rows.seed == 1), "gain"] = math.nan
    assert list(means_by_domain(rows, "iimm", "gain").index) == ["d0", "d1", "d3", "d4", "d5"]
    assert len(means_by_domain(rows, "iimm", "forgetting")) == 6


def test_undefined_lines_have_a_reason():
    found = regressions(made(forgetting=0.0, gain=math.nan, gain_ood=[1, 2, 4, math.nan, math.nan, math.nan]), ["iimm"])
    found = found.set_index("outcome")
    assert found.loc["forgetting", "slope"] == 0 and math.isnan(found.loc["forgetting", "r2"])
    assert "they have no order" in found.loc["forgetting", "reason"]
    assert "at least 3 tasks, got 0" in found.loc["gain", "reason"] and math.isnan(found.loc["gain", "slope"])
    assert found.loc["gain_ood", "r2"] > 0 and "at least 4 tasks, got 3" in found.loc["gain_ood", "reason"]


def test_a_table_is_read_back_from_its_file(tmp_path):
    rows = made().assign(pretrained="", worst_other="d1", domain=[f"{i:03}" for i in range(6)])
    rows.to_csv(tmp_path / "table.csv", index=False)
    for path in (tmp_path, tmp_path / "table.csv"):
        found = read(path)
        assert list(found.domain) == ["000", "001", "002", "003", "004", "005"], "a name of digits is a name"
        assert set(found.pretrained) == {""}
        np.testing.assert_allclose(found.gain, rows.gain)
    assert measure_columns(found) == ("iimm", "gbc")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows.drop(columns="gain"), "missing columns: gain"),
        (lambda rows: pd.concat([rows, rows[:1]]), r"duplicate rows for \(domain, tuning, seed\) = \("),
        (lambda rows: rows.assign(iimm=["?", *rows.iimm[1:]]), "the column iimm has values that are not numbers"),
        (lambda rows: pd.DataFrame(), "is not the table of a study"),
    ],
)
def test_refused_tables(tmp_path, spoil, said):
    spoil(made()).to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(UserError, match=said):
        read(tmp_path)


def test_a_missing_study(tmp_path):
    with pytest.raises(UserError, match="There is no study at"):
        read(tmp_path / "nowhere")
