"""Studies of few tasks, drawn from a large one."""

from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.study.small_studies import small_studies


def table(model="tiny", n=6):
    rng = np.random.default_rng(3)
    x = rng.normal(size=n)
    outcomes = {"gain": x + 0.3 * rng.normal(size=n), "gain_over_error": rng.normal(size=n), "forgetting": -x}
    named = {"model": model, "tuning": "full", "seed": 0, "domain": [f"d{i}" for i in range(n)]}
    return pd.DataFrame({**named, "iimm": x, **outcomes})


def test_many_draws_approach_all_choices_of_tasks():
    rows = table()
    found = small_studies(rows, size=4, draws=20_000).set_index("outcome")
    for outcome in ("gain", "gain_over_error", "forgetting"):
        r, p = np.array([
            (line.rvalue, line.pvalue)
            for chosen in combinations(range(6), 4)
            for line in [stats.linregress(rows.iimm[list(chosen)], rows[outcome][list(chosen)])]
        ]).T  # fmt: skip
        signed = r * abs(r)
        shares = [100 * np.mean(hit) for hit in (signed >= 0.5, (p < 0.05) & (r > 0), (p < 0.05) & (r < 0))]
        row = found.loc[outcome]
        assert [row.large, row.positive, row.negative] == pytest.approx(shares, abs=1.5)
        assert row.low <= row["median"] <= row.high and signed.min() - 1e-9 <= row.low and row.high <= signed.max() + 1e-9
    assert found.loc["forgetting", ["median", "low", "high"]].tolist() == pytest.approx([-1, -1, -1])


def test_exploratory_models_are_left_out_and_few_tasks_give_nothing():
    rows = pd.concat([table(), table("tiny-cone")])
    assert set(small_studies(rows, size=4, draws=10).model) == {"tiny"}
    assert (
        small_studies(rows, size=7, draws=10)
        .drop(columns=["model", "tuning", "outcome", "measure", "size", "n"])
        .isna()
        .all(axis=None)
    )
