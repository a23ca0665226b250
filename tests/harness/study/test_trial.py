"""The tables of the plan on a synthetic study with a known effect: corrections, verdicts, sensitivity and the two headings."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.study import exploratory, findings
from harness.study.confirmatory import FAMILIES, confirmatory, line_table, overall, verdict
from harness.study.difficulty import difficulty
from harness.study.noise import read_changes, reliabilities
from harness.study.predictors import read_studies, with_baselines, without_ceilings
from harness.study.trial import CONFIRMATORY, trial_markdown, trial_tables, write_trial
from metrics.multiplicity import holm
from metrics.study_table import task_means
from models.registry import UserError

N = 16


def study(model="tiny", effect=30.0, seeds=(0,), tunings=("full", "lora"), seed=0):
    """The gain of full follows IIMM, that of lora does not. Forgetting is noise. Accuracies and gains agree."""
    generator = np.random.default_rng(seed)
    tasks = np.random.default_rng(99)
    iimm, classes, before = tasks.uniform(0.1, 0.6, N), tasks.integers(2, 60, N), tasks.uniform(20, 80, N)
    rows = []
    for tuning in tunings:
        slope = effect if tuning == "full" else 0
        gains = slope * (iimm - iimm.mean()) + 5 + generator.normal(size=N)
        lost = generator.normal(size=N)
        for number in seeds:
            for i in range(N):
                gain = min(gains[i], 100 - before[i])
                named = {"domain": f"d{i}", "edition": "mini", "tuning": tuning, "strategy": "x", "seed": number}
                named |= {"model": model, "pretrained": "", "weights": "w", "classes": classes[i], "n_train": 40 * classes[i]}
                named |= {"n_test": 300, "zero_shot": before[i], "fine_tuned": before[i] + gain, "zero_shot_val": before[i] + 1}
                outcomes = {"gain": gain, "gain_over_error": 100 * gain / (100 - before[i]), "forgetting": lost[i]}
                measures = {"iimm": iimm[i], "iimm_intra": iimm[i] + 0.1, "iimm_inter": iimm[i] - 0.1}
                measures |= {
                    "silhouette": (100 - before[i]) * -0.01,
                    "correct_pair": lost[i] / 9,
                    "silhouette_modality": iimm[i] ** 2,
                }
                rows.append({**named, **outcomes, **measures})
    return with_baselines(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def rows():
    return study()


@pytest.fixture(scope="module")
def families():
    """Four families and a fifth model that the plan treats as exploratory."""
    names = ("tiny", "tiny-siglip", "tiny-coca", "tiny-eva02", "tiny-cone")
    return pd.concat([study(name, seed=i) for i, name in enumerate(names)], ignore_index=True)


def test_a_line_equals_scipys(rows):
    line = line_table(rows, ["iimm"]).set_index(["tuning", "outcome"]).loc[("full", "gain")]
    one = rows[rows.tuning == "full"]
    expected = stats.linregress(one.iimm, one.gain)
    half = stats.t.ppf(0.975, N - 2) * expected.stderr
    spread = one.iimm.std()
    numbers = (line.slope, line.low, line.high, line.r2, line.p)
    slopes = (spread * value for value in (expected.slope, expected.slope - half, expected.slope + half))
    assert numbers == pytest.approx((*slopes, expected.rvalue**2, expected.pvalue))
    assert line.tau == pytest.approx(stats.kendalltau(one.iimm, one.gain).statistic) and line.tau_low < line.tau < line.tau_high
    left = one.set_index("domain").drop(line.extremes.split(", "))
    assert line.r2_without_extremes == pytest.approx(np.corrcoef(left.iimm, left.gain)[0, 1] ** 2) and len(left) == N - 2


@pytest.mark.slow
def test_the_known_effect_is_the_only_supported_line(families):
    lines = confirmatory(families, shuffles=400)
    assert len(lines) == FAMILIES * 2 * 3 and "tiny-cone" not in set(lines.model)
    gain = lines[lines.outcome == "gain"]
    assert gain.p_holm.tolist() == pytest.approx(holm(gain.p).tolist())
    assert (gain[gain.tuning == "full"].verdict == "supported").all() and gain[gain.tuning == "full"].useful.all()
    assert (lines[(lines.tuning == "lora") | (lines.outcome == "forgetting")].verdict == "not shown").all()
    claims = overall(lines).set_index("outcome")
    assert claims.claim["gain"] == "confirmed" and claims.claim["forgetting"] == "not confirmed"
    assert claims.supported["gain"] == 4 and claims.lines["gain"] == 8
    fewer = overall(lines[lines.model == "tiny"]).set_index("outcome")
    assert fewer.claim["gain"] == "partly confirmed"


@pytest.mark.slow
def test_the_same_line_twice_has_the_p_of_one_in_the_maximum(rows):
    twice = pd.concat([rows, rows.assign(model="tiny-siglip")], ignore_index=True)
    single, double = (confirmatory(table, shuffles=300) for table in (rows, twice))
    both = double.groupby("model", sort=False).p_maximum.apply(list)
    assert both["tiny"] == both["tiny-siglip"] == single.p_maximum.tolist()
    assert (double.p_holm >= double[double.model == "tiny"].p.min() * 2 - 1e-12).all()


def test_a_falling_line_is_reversed():
    lines = confirmatory(study(effect=-30.0), shuffles=300).set_index(["tuning", "outcome"])
    assert lines.verdict["full", "gain"] == "reversed" and lines.r2["full", "gain"] < 0 and not lines.useful["full", "gain"]
    assert overall(lines.reset_index()).set_index("outcome").claim["gain"] == "not confirmed"


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((0.1, 0.5, 0.04, 0.04), "supported"),
        ((-0.5, -0.1, 0.04, 0.04), "reversed"),
        ((0.1, 0.5, 0.06, 0.04), "not shown"),
        ((0.1, 0.5, 0.04, 0.06), "not shown"),
        ((-0.1, 0.5, 0.04, 0.04), "not shown"),
        ((0.1, 0.5, math.nan, 0.04), "undefined"),
    ],
)
def test_every_condition_of_the_verdict(numbers, expected):
    assert verdict(*numbers) == expected


def test_seeds_are_averaged_and_incomplete_domains_are_missing():
    rows = study(seeds=(0, 1))
    rows.loc[(rows.domain == "d3") & (rows.seed == 1), "gain"] = np.nan
    lines = line_table(rows, ["iimm"]).set_index(["tuning", "outcome"])
    assert lines.n["full", "gain"] == N - 1 and lines.n["full", "forgetting"] == N
    assert math.isnan(task_means(rows[rows.tuning == "full"], ["gain"]).gain["d3"])
    few = line_table(rows[rows.domain.isin(["d0", "d1"])], ["iimm"]).iloc[0]
    assert math.isnan(few.slope) and "at least 3 tasks" in few.reason


def test_tasks_near_the_ceiling_are_left_out_of_the_sensitivity_analysis(rows):
    near = rows.copy()
    near.loc[near.domain == "d5", "zero_shot"] = 97.0
    assert set(rows.domain) - set(without_ceilings(near).domain) == {"d5"}
    near.loc[near.domain == "d5", "zero_shot"] = 100 - 100 * 10 / 300
    assert len(without_ceilings(near)) == len(near)
    assert len(without_ceilings(near.drop(columns="n_test"))) == len(near)


def test_baselines(rows):
    first = rows.iloc[0]
    assert (first.log_per_class, first.log_images) == pytest.approx((math.log(40), math.log(40 * first.classes)))
    assert first.before == first.zero_shot_val
    assert "before" not in with_baselines(rows[["classes", "n_train"]])


@pytest.mark.slow
def test_all_predictors_are_corrected(rows):
    lines = exploratory.measure_lines(rows, shuffles=300)
    group = lines[(lines.tuning == "full") & (lines.outcome == "gain")].set_index("measure")
    assert {"iimm", "before", "log_classes", "correct_pair"} <= set(group.index)
    assert group.p_holm.tolist() == pytest.approx(holm(group.p).tolist(), nan_ok=True)
    assert group.p_maximum["iimm"] < 0.02 < group.p_maximum["correct_pair"]
    # Images per class are the same for all domains.
    assert math.isnan(group.p["log_per_class"]) and "all 16 values" in group.reason["log_per_class"]


def test_partial_lines_are_those_of_least_squares(rows):
    line = exploratory.partial_lines(rows).set_index(["tuning", "outcome", "given"]).loc[("full", "gain", "before")]
    one = rows[rows.tuning == "full"]
    design = np.column_stack([np.ones(N), one.iimm, one.before])
    expected = np.linalg.lstsq(design, one.gain, rcond=None)[0][1]
    assert line.slope == pytest.approx(expected * one.iimm.std()) and line.low > 0


@pytest.mark.slow
def test_families_together(families):
    lines = exploratory.pooled_lines(families, shuffles=300).set_index(["tuning", "outcome"])
    full, lora = lines.loc[("full", "gain")], lines.loc[("lora", "gain")]
    assert full.slope == pytest.approx(30 * study().iimm[:N].std(), rel=0.1) and full.low > 0 and full.families == 4
    assert full.p_permutation == pytest.approx(1 / 301) and lora.p_permutation > 0.02
    one = exploratory.pooled_lines(study(), shuffles=10)
    assert one.slope.isna().all() and "at least 2 families" in one.reason.iloc[0]


@pytest.mark.slow
def test_components_and_weights(rows):
    line = exploratory.component_lines(rows).set_index(["tuning", "outcome"]).loc[("full", "gain")]
    # All three are the same up to a constant here.
    assert line.iimm == pytest.approx(line.iimm_intra) == pytest.approx(line["w0.3"]) == pytest.approx(line.w1)
    assert line.iimm > 0.8 and math.isnan(line.text_text)
    other = rows.assign(iimm_inter=rows.correct_pair)
    assert exploratory.component_lines(other).set_index(["tuning", "outcome"]).best_weight["full", "gain"] >= 0.8


def test_reliability_of_gain_and_forgetting(rows):
    changes = pd.DataFrame(
        {
            "domain": row.domain,
            "tuning": row.tuning,
            "seed": 0,
            "other": other,
            "n": 300,
            "before": 50.0,
            "after": 50 - row.forgetting,
        }
        for row in rows.itertuples()
        for other in ("a", "b")
    ).assign(model="tiny")
    lines = reliabilities(rows, changes).set_index(["tuning", "outcome"])
    gain, forgetting = lines.loc[("full", "gain")], lines.loc[("full", "forgetting")]
    assert 0 <= gain.reliability_low < gain.reliability_high < 1 and gain.r2 < gain.corrected_low
    one = rows[rows.tuning == "full"]
    noise = (one.gain.abs() * (100 - one.gain.abs()) / 300).mean()
    assert gain.reliability_high == pytest.approx(1 - noise / one.gain.var())
    least = (one.forgetting.abs() * (100 - one.forgetting.abs()) / 300 / 2).mean()
    assert forgetting.reliability_high == pytest.approx(1 - least / one.forgetting.var())
    without = reliabilities(rows).set_index(["tuning", "outcome"]).loc[("full", "forgetting")]
    assert math.isnan(without.reliability_high) and "not recorded" in without.reason and without.r2 == without.r2


def test_seeds_add_noise():
    both = study(seeds=(0, 1))
    both.loc[both.seed == 1, "gain"] += 2.0
    one, two = (reliabilities(table).set_index(["tuning", "outcome"]).loc[("full", "gain")] for table in (study(), both))
    # The variance between 0 and 2 is 2, divided by two seeds.
    assert two.reliability_high == pytest.approx(one.reliability_high - 1 / one.sd**2, abs=0.02)


def test_difficulty_of_tasks(rows):
    lines = difficulty(rows, resamples=300).set_index(["when", "measure"])
    silhouette, pair = lines.loc[("before", "silhouette")], lines.loc[("before", "correct_pair")]
    assert silhouette.rho == pytest.approx(-1) and silhouette.better and silhouette.low > 0
    one = rows[rows.tuning == "full"]
    assert pair.rho == pytest.approx(stats.spearmanr(one.correct_pair, 100 - one.zero_shot).statistic)
    assert silhouette.difference == pytest.approx(1 - abs(pair.rho)) and len(lines) == 9
    assert difficulty(rows.drop(columns="correct_pair")).empty


@pytest.fixture(scope="module")
def tables(rows):
    return trial_tables(rows, shuffles=50)


@pytest.mark.slow
def test_the_two_kinds_of_tables_are_apart(tables, tmp_path):
    text = trial_markdown(tables)
    first, second = text.split("## Exploratory")
    assert first.startswith("## Confirmatory") and "supported" in first and "correct_pair" not in first and "`iimm`" in second
    assert "families" not in tables and tuple(tables)[:3] == CONFIRMATORY
    prediction = tables["prediction"].set_index(["tuning", "outcome"])
    assert (prediction.n == N).all() and prediction.inside.between(N - 4, N).all()
    paths = write_trial(tables, tmp_path / "out")
    assert [path.name for path in paths][:2] == ["confirmatory.csv", "claims.csv"] and len(pd.read_csv(paths[0])) == 6


def test_studies_are_read_together(rows, tmp_path):
    written = rows.drop(columns=["before", "log_classes", "log_per_class", "log_images"]).assign(zero_shot_val=50.0)
    for name in ("tiny", "tiny-coca"):
        (tmp_path / name).mkdir()
        written.assign(model=name).to_csv(tmp_path / name / "table.csv", index=False)
    both = read_studies([str(tmp_path / name) for name in ("tiny", "tiny-coca")])
    assert len(both) == 2 * len(rows) and "log_classes" in both
    with pytest.raises(UserError, match="Give each study once"):
        read_studies([str(tmp_path / "tiny")] * 2)
    path = tmp_path / "tiny" / "table.csv"
    assert read_changes([path]) is None
    pd.DataFrame({"domain": ["d0"], "tuning": ["full"]}).to_csv(tmp_path / "tiny" / "changes.csv", index=False)
    assert read_changes([path]).model.tolist() == ["tiny"]


@pytest.mark.slow
def test_the_command_prints_and_writes_the_tables(rows, tables, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.study.trial.trial_tables", lambda table, changes: tables)
    rows.drop(columns="before").to_csv(tmp_path / "table.csv", index=False)
    findings.main(["--plan", str(tmp_path), "--out", str(tmp_path / "csv")])
    assert "## Exploratory" in capsys.readouterr().out and (tmp_path / "csv" / "measures.csv").is_file()
    with pytest.raises(SystemExit, match="need --plan"):
        findings.main([str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="no study at"):
        findings.main(["--plan", str(tmp_path / "nowhere")])
