"""Predictions from the table of a study: values against the lines, refused tables, left-out domains and warnings."""

import math

import numpy as np
import pandas as pd
import pytest

from harness.study.forecast import PREDICTED, forecast
from metrics.regression import fit, leave_one_out, predict
from models.registry import UserError

X = np.array([0.30, 0.35, 0.42, 0.50, 0.58])
NOISE = np.array([1.0, -2.0, 0.5, 1.5, -1.0])


def rows(gain=60.0, forgetting=20.0, tuning="full", strategy="finetune", x=X, seeds=(0,), noise=1.0):
    """Lines through the origin with a little scatter."""
    made = []
    for seed in seeds:
        for i, value in enumerate(x):
            named = {"domain": f"d{i}", "edition": "mini", "tuning": tuning, "strategy": strategy, "seed": seed}
            named |= {"model": "tiny", "pretrained": "", "weights": "w", "iimm": value}
            outcomes = {"gain": gain * value + noise * NOISE[i], "forgetting": forgetting * value - noise * NOISE[i] / 40}
            made.append({**named, **outcomes, "gain_over_error": 2 * outcomes["gain"]})
    return pd.DataFrame(made)


def both():
    return pd.concat([rows(), rows(30, 2, "lora", "lora")], ignore_index=True)


def test_predictions_equal_those_of_the_lines():
    found = forecast(both(), "iimm", 0.45)
    assert len(found.table) == 2 * len(PREDICTED)
    for (tuning, outcome), r in found.table.set_index(["tuning", "outcome"]).iterrows():
        of = both()[both().tuning == tuning]
        line = fit(of.iimm, of[outcome])
        assert (r.predicted, r.low, r.high) == pytest.approx(predict(line, 0.45))
        assert (r.slope, r.r2, r.p, r.n) == pytest.approx((line.slope, line.r2, line.p, 5))
        assert r.loo_mae == pytest.approx(np.abs(leave_one_out(of.iimm, of[outcome])).mean())
        assert r.value == 0.45 and not r.outside and math.isnan(r.observed)
    assert found.warnings == []


def test_the_nearest_domains_have_their_outcomes():
    found = forecast(both(), "iimm", 0.45).nearest
    assert list(dict.fromkeys(found.domain)) == ["d2", "d3", "d1"] and len(found) == 6
    assert found.set_index(["domain", "tuning"]).loc[("d3", "full"), "gain"] == pytest.approx(60 * 0.5 + 1.5)


def test_a_domain_of_the_study_is_left_out_of_its_lines():
    found = forecast(both(), "iimm", X[2], leave_out=("d2", "mini"))
    keep = np.arange(5) != 2
    gain = found.table.set_index(["tuning", "outcome"]).loc[("full", "gain")]
    line = fit(X[keep], (60 * X + NOISE)[keep])
    assert gain.predicted == pytest.approx(predict(line, X[2]).value) and gain.n == 4
    assert gain.observed == pytest.approx(60 * X[2] + NOISE[2])
    assert "d2" not in set(found.nearest.domain) and not any("d2" in cell for cell in found.advice.based_on)


def test_a_dataset_of_the_same_name_in_another_edition_is_not_left_out():
    found = forecast(both(), "iimm", 0.45, leave_out=("d2", "own")).table
    assert found.observed.isna().all() and set(found.n) == {5}


@pytest.mark.parametrize("value", [0.29, 0.6])
def test_a_value_outside_the_range_gives_a_warning(value):
    found = forecast(both(), "iimm", value)
    assert found.table.outside.all() and "is outside the range of the study, 0.3 to 0.58" in found.warnings[0]


def test_a_left_out_domain_can_be_outside_the_range():
    found = forecast(both(), "iimm", X[4], leave_out=("d4", "mini"))
    assert "outside the range of the study, 0.3 to 0.5." in found.warnings[0]


def test_a_gain_beyond_100_percent_gives_a_warning():
    found = forecast(both(), "iimm", 0.45, zero_shot=80)
    assert "the predicted gain of full exceeds the 20.0 points" in found.warnings[0] and len(found.warnings) == 1


def test_a_line_without_significant_slope_gives_a_warning():
    flat = both().assign(forgetting=[*NOISE, *NOISE])
    assert "no significant slope of forgetting over iimm (p at least 0.05) for full, lora" in " ".join(
        forecast(flat, "iimm", 0.45).warnings
    )


def test_seeds_are_averaged():
    one, three = forecast(rows(), "iimm", 0.45), forecast(rows(seeds=(0, 1, 2)), "iimm", 0.45)
    columns = ["predicted", "low", "high", "n"]
    np.testing.assert_allclose(three.table[columns].astype(float), one.table[columns].astype(float))
    assert len(three.advice.based_on) == 15


@pytest.mark.slow
def test_the_best_balance_is_recommended_with_its_cells():
    # At 0.45: full gains about 27 and costs 9, lora 13.5 and 0.9.
    advice = forecast(both(), "iimm", 0.45).advice
    assert (advice.strategy, advice.tuning) == ("finetune", "full")
    assert (
        "--strategy finetune --tuning full" in advice.sentence
        and "Nearest domains: d2 (iimm 0.42) gained +25.7" in advice.sentence
    )
    assert advice.based_on == ("d0-full-0", "d1-full-0", "d2-full-0", "d3-full-0", "d4-full-0")
    assert "does not distinguish" not in advice.sentence
    assert forecast(both(), "iimm", 0.45, weight=5).advice.tuning == "lora"
    assert "gain - 5 x forgetting" in forecast(both(), "iimm", 0.45, weight=5).advice.sentence


def test_tunings_that_the_study_does_not_distinguish_are_named():
    near = rows(60.5, 20, "visual").assign(gain=60.5 * X - NOISE)
    assert "does not distinguish it from: full" in forecast(pd.concat([rows(), near]), "iimm", 0.45).advice.sentence


def test_no_tuning_is_recommended_if_all_lose():
    advice = forecast(rows(10, 40), "iimm", 0.45).advice
    assert advice.tuning is None and "do not fine-tune" in advice.sentence and "-13" in advice.sentence


def test_a_doubtful_recommendation_has_a_warning():
    advice = forecast(rows(20, 10, noise=3), "iimm", 0.32).advice
    assert advice.tuning == "full" and "does not distinguish" not in advice.sentence
    assert "The interval includes zero, so fine-tuning may also be worse than the initial model" in advice.sentence


def test_domains_with_missing_numbers_are_left_out_and_named():
    broken = rows()
    broken.loc[1, "gain"] = math.nan
    found = forecast(broken, "iimm", 0.45)
    assert set(found.table.n) == {4} and "d1 left out, because the study lacks a number" in found.warnings[0]


def test_a_tuning_without_cells_on_all_domains_is_left_out_and_named():
    found = forecast(both().drop(index=7), "iimm", 0.45)
    assert (
        set(found.table.tuning) == {"full"}
        and "lora left out, because the study has it on only 4 of 5 domains" in found.warnings[0]
    )


def test_gain_over_an_error_of_zero_is_left_blank():
    table = forecast(rows().assign(gain_over_error=[math.nan, math.nan, 1, 2, 3]), "iimm", 0.45).table.set_index("outcome")
    assert math.isnan(table.loc["gain_over_error", "predicted"]) and table.loc["gain", "predicted"] > 0


@pytest.mark.parametrize(
    ("table", "arguments", "message"),
    [
        (rows(x=X[:3]), {}, r"at least 4 domains\. This study has 3\."),
        (rows(x=X[:4]), {"leave_out": ("d0", "mini")}, "has 3 without d0"),
        (rows(), {"measure": "imm"}, "Unknown measure of the study 'imm'. Did you mean iimm"),
        (rows(), {"value": math.nan}, "iimm of this dataset is nan"),
        (rows(), {"weight": -1.0}, "weight of forgetting must be at least 0"),
        (rows(x=np.full(5, 0.4)), {}, "no line over iimm: all 5 values of x are 0.4"),
        (pd.concat([rows(), rows().assign(model="other")]), {}, "several models"),
        (pd.concat([rows()[:3], rows(tuning="lora")[2:]]), {}, "no tuning with cells on all of its domains"),
    ],
)
def test_refused_studies_and_values(table, arguments, message):
    with pytest.raises(UserError, match=message):
        forecast(table, **{"measure": "iimm", "value": 0.45, **arguments})


def test_two_predictors_are_those_of_least_squares():
    table = rows(x=np.array([0.30, 0.35, 0.42, 0.50, 0.58]), noise=1.0).assign(silhouette=[0.2, 0.5, 0.1, 0.9, 0.4])
    found = forecast(table, ("iimm", "silhouette"), (0.4, 0.3))
    gain = found.table.set_index("outcome").loc["gain"]
    design = np.column_stack([np.ones(5), table.iimm, table.silhouette])
    expected = np.linalg.lstsq(design, table.gain, rcond=None)[0] @ [1, 0.4, 0.3]
    assert gain.predicted == pytest.approx(expected) and gain.measure == "iimm + silhouette" and math.isnan(gain.value)
    assert found.nearest.domain.iloc[0] == "d2" and "d2 (iimm 0.42, silhouette 0.1)" in found.advice.sentence
    outside = forecast(table, ("iimm", "silhouette"), (0.4, 3.0)).warnings
    assert "silhouette 3 is outside" in outside[0] and not any("iimm 0.4 is outside" in text for text in outside)


def test_without_predictors_the_mean_is_predicted():
    found = forecast(both(), (), ())
    gain = found.table.set_index(["tuning", "outcome"]).loc[("full", "gain")]
    assert gain.predicted == pytest.approx((60 * X + NOISE).mean()) and gain.measure == "mean"
    assert gain.loo_mae == pytest.approx(gain.loo_mae_of_mean)
    assert found.nearest.empty and found.warnings == [] and "by the means of 5 domains" in found.advice.sentence
