"""The predictor of `predict` is chosen on left-out domains, and checked on domains that the choice has not seen."""

import numpy as np
import pandas as pd
import pytest

from harness.study import selection
from harness.study.selection import check, choose_predictors, study_arrays
from metrics.regression import fit, predict


def study(n=14, slope=0.0, second=0.0, seed=0):
    """Gains of two tunings follow silhouette, and logme if `second`. IIMM and the accuracy before are noise."""
    generator = np.random.default_rng(seed)
    x = {name: generator.normal(size=n) for name in ("iimm", "silhouette", "logme", "before")}
    made = []
    for tuning in ("full", "lora"):
        gain = slope * x["silhouette"] + second * x["logme"] + generator.normal(size=n)
        forgetting = slope * x["silhouette"] + second * x["logme"] + generator.normal(size=n)
        for i in range(n):
            outcomes = {"gain": gain[i], "forgetting": forgetting[i]}
            made.append({"domain": f"d{i}", "tuning": tuning, "seed": 0, **outcomes, **{k: v[i] for k, v in x.items()}})
    return pd.DataFrame(made)


@pytest.mark.parametrize("seed", range(3))
def test_noise_chooses_the_mean(seed):
    chosen = choose_predictors(study(seed=seed))
    assert chosen.names == () and chosen.error == 1


def test_the_measure_with_an_effect_is_chosen():
    chosen = choose_predictors(study(slope=3.0))
    assert chosen.names == ("silhouette",) and chosen.error < 0.3


def test_a_pair_is_chosen_if_both_have_an_effect():
    assert choose_predictors(study(slope=3.0, second=3.0)).names == ("silhouette", "logme")


def test_few_domains_have_no_pairs_and_no_single_predictors():
    assert len(choose_predictors(study(n=9, slope=3.0, second=3.0)).names) <= 1
    assert choose_predictors(study(n=5, slope=30.0)).names == ()


def test_predictors_that_are_unknown_on_a_domain_are_left_out():
    rows = study(slope=3.0)
    rows.loc[0, "silhouette"] = np.nan
    assert "silhouette" not in study_arrays(rows).names
    rows.loc[1, "gain"] = np.nan
    assert len(study_arrays(rows).y) == 13 and study_arrays(rows).outcomes[1] == ("full", "forgetting")
    assert choose_predictors(rows.assign(gain=1.0, forgetting=0.0)).names == ()


def test_the_check_refits_without_the_domain():
    rows = study(slope=3.0)
    line = check(rows).set_index(["tuning", "outcome"]).loc[("full", "gain")]
    one = rows[rows.tuning == "full"]
    errors, inside = [], 0
    for i in range(len(one)):
        others = one.drop(one.index[i])
        expected = predict(fit(others.silhouette, others.gain), one.silhouette.iloc[i])
        errors.append(abs(one.gain.iloc[i] - expected.value))
        inside += expected.low <= one.gain.iloc[i] <= expected.high
    assert (line.error, line.inside, line.n) == (pytest.approx(np.mean(errors)), inside, 14)
    assert line.error < line.error_of_mean / 2


def test_the_left_out_domain_has_no_part_in_the_choice(monkeypatch):
    """A domain whose own outcome would decide the choice: its value is not among those that the choice sees."""
    seen = []
    real = selection._choose
    monkeypatch.setattr(selection, "_choose", lambda x, y: seen.append(y) or real(x, y))
    rows = study()
    rows.loc[rows.domain == "d4", ["gain", "forgetting"]] = 999.0
    check(rows)
    assert len(seen) == 14 and all(len(y) == 13 for y in seen) and sum(999.0 not in y for y in seen) == 1


def test_intervals_cover_about_95_percent_of_new_domains():
    checks = pd.concat([check(study(n=12, slope=2.0, seed=seed)) for seed in range(3)])
    assert 0.88 <= checks.inside.sum() / checks.n.sum() <= 1
