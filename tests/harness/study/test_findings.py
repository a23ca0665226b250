"""What a study found: lines against scipy's, chance on noise, and the documented tables are the script's."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.study import findings
from metrics.study_table import SHIPPED, read

DOCS = Path(__file__).parents[3] / "docs" / "study.md"


@pytest.fixture
def rows():
    """Nine domains, two seeds of full: the gain follows IIMM but for an alternating point, silhouette is noise."""
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


def test_lines_are_scipys(rows):
    found = findings.lines(rows).set_index(["outcome", "measure"]).loc[("gain", "iimm")]
    one = rows[rows.seed == 0]
    expected = stats.linregress(one.iimm, one.gain)
    assert found.n == 9 and found.slope == pytest.approx(expected.slope * one.iimm.std(ddof=1))
    assert found.p == pytest.approx(expected.pvalue) and found.r2 == pytest.approx(expected.rvalue**2)
    assert found.low < found.slope < found.high
    off = [abs(one.gain.iloc[i] - one.gain.drop(one.index[i]).mean()) for i in range(9)]
    assert found.error_of_mean == pytest.approx(np.mean(off)) and found.error < 2 < found.error_of_mean
    assert found.inside >= 8


def test_a_measure_is_set_against_its_baselines(rows):
    better = findings.against(rows, "full", "gain", "iimm")
    found = findings.lines(rows).set_index(["outcome", "measure"]).loc[("gain", "iimm")]
    assert better["mean"][0] == pytest.approx(found.error_of_mean - found.error) and better["mean"][1] > 0
    assert better["zero_shot"][0] == pytest.approx(found.error_of_zero_shot - found.error)


def test_chance_is_a_twentieth_of_independent_lines(rows):
    found = findings.chance(rows, shuffles=4000)
    assert found.lines == 6 and found.found == 2 and (found.low, found.high) == (0, 2)
    assert found.mean / found.lines == pytest.approx(0.05, abs=0.02)
    # Gain and gain over error are one outcome here: either of two measures makes two lines at a time.
    assert found.share == pytest.approx(0.1, abs=0.03)


def test_a_measure_that_is_undefined_somewhere_is_left_out(rows):
    rows.loc[0, "silhouette"] = np.nan
    assert set(findings.lines(rows).measure) == {"iimm", "zero_shot"} and findings.chance(rows, shuffles=1).lines == 3


def test_too_few_domains_are_refused(rows):
    with pytest.raises(ValueError, match="at least 4"):
        findings.markdown(rows[rows.domain.isin(["d0", "d1", "d2"])])


@pytest.mark.slow
def test_the_documented_tables_are_the_shipped_studys():
    documented = DOCS.read_text().splitlines()
    for line in findings.markdown(read(SHIPPED)).splitlines():
        assert line in documented
