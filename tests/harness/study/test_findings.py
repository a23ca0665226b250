"""The findings of a study: lines against scipy, chance on noise, and the tables on the documentation page."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.study import findings
from metrics.study_table import FORTY_UPDATES, read

DOCS = Path(__file__).parents[3] / "docs" / "study_40.md"


@pytest.fixture
def rows():
    """Nine domains and two seeds of full. The gain follows IIMM within one point, and silhouette is noise."""
    x = np.linspace(0.1, 0.5, 9)
    noise = np.random.default_rng(4).normal(size=9)
    made = []
    for i, value in enumerate(x):
        gain = 40 * value + (-1) ** i
        shared = {
            "domain": f"d{i}",
            "edition": "mini",
            "strategy": "finetune",
            "model": "tiny",
            "pretrained": "",
            "weights": "w",
        }
        outcomes = {"gain": gain, "gain_over_error": 2 * gain, "forgetting": noise[i] ** 2, "gain_ood": np.nan}
        measures = {"iimm": value, "silhouette": noise[::-1][i], "zero_shot": 50 + 3 * noise[i]}
        made += [{**shared, "tuning": "full", "seed": seed, **outcomes, **measures} for seed in (0, 1)]
    return pd.DataFrame(made)


def test_lines_equal_those_of_scipy(rows):
    result = findings.fit_lines(rows).set_index(["outcome", "measure"]).loc[("gain", "iimm")]
    one = rows[rows.seed == 0]
    expected = stats.linregress(one.iimm, one.gain)
    assert result.n == 9 and result.slope == pytest.approx(expected.slope * one.iimm.std(ddof=1))
    assert result.p == pytest.approx(expected.pvalue) and result.r2 == pytest.approx(expected.rvalue**2)
    assert result.low < result.slope < result.high
    off = [abs(one.gain.iloc[i] - one.gain.drop(one.index[i]).mean()) for i in range(9)]
    assert result.error_of_mean == pytest.approx(np.mean(off)) and result.error < 2 < result.error_of_mean
    assert result.inside >= 8


def test_errors_are_compared_with_the_baselines(rows):
    better = findings.error_reductions(rows, "full", "gain", "iimm")
    result = findings.fit_lines(rows).set_index(["outcome", "measure"]).loc[("gain", "iimm")]
    assert better["mean"][0] == pytest.approx(result.error_of_mean - result.error) and better["mean"][1] > 0
    assert better["zero_shot"][0] == pytest.approx(result.error_of_zero_shot - result.error)


def test_chance_is_a_twentieth_of_independent_lines(rows):
    result = findings.chance(rows, shuffles=4000)
    assert result.lines == 6 and result.significant == 2 and (result.low, result.high) == (0, 2)
    assert result.mean / result.lines == pytest.approx(0.05, abs=0.02)
    # Gain and gain over error are proportional here, so each measure is significant for both or neither.
    assert result.share == pytest.approx(0.1, abs=0.03)


def test_a_measure_undefined_on_a_domain_is_left_out(rows):
    rows.loc[0, "silhouette"] = np.nan
    assert set(findings.fit_lines(rows).measure) == {"iimm", "zero_shot"} and findings.chance(rows, shuffles=1).lines == 3


def test_too_few_domains_are_refused(rows):
    with pytest.raises(ValueError, match="at least 4"):
        findings.markdown(rows[rows.domain.isin(["d0", "d1", "d2"])])


@pytest.mark.slow
def test_the_documented_tables_are_those_of_the_included_study():
    documented = DOCS.read_text().splitlines()
    for line in findings.markdown(read(FORTY_UPDATES)).splitlines():
        assert line in documented
