"""The figures of studies: one panel per family, the numbers behind them, and the page without runs."""

import numpy as np
import pandas as pd
import pytest

import cli
from harness.commands import report as command
from harness.report.figure_style import styled
from harness.report.study_figures import forest, learning, over_measure, study_figures
from harness.study.predictors import with_baselines
from metrics.line_quality import signed_r2

X = np.linspace(0.1, 0.5, 8)


@pytest.fixture(scope="module")
def rows():
    made = []
    for k, model in enumerate(("tiny", "tiny-coca")):
        for tuning, slope in (("full", 40), ("lora", 5)):
            for i, x in enumerate(X):
                named = {"domain": f"d{i}", "edition": "mini", "tuning": tuning, "strategy": "s", "seed": 0, "model": model}
                named |= {"pretrained": "", "weights": "w", "classes": 5 + i * i, "n_train": 500 + 7 * i}
                gain = slope * x + (-1) ** i + k
                outcomes = {"gain": gain, "gain_over_error": 2 * gain, "forgetting": (i * 7 % 5) / 2}
                made.append({**named, **outcomes, "iimm": x, "silhouette": (i * 3 % 8) / 8})
    return pd.DataFrame(made)


def test_a_panel_per_family_with_its_line(rows):
    figure = over_measure(with_baselines(rows), "full", "gain")
    with styled():
        panels = figure.draw().axes
    assert [axis.get_title(loc="left").splitlines()[0] for axis in panels] == ["tiny", "tiny-coca"]
    one = rows[(rows.model == "tiny") & (rows.tuning == "full")]
    r2 = signed_r2(one.iimm, one.gain)
    assert f"signed R2 {r2.value:+.2f} [{r2.low:+.2f}, {r2.high:+.2f}]" in panels[0].get_title(loc="left")
    # The band lies around the line, and all tasks are drawn.
    assert len(panels[0].collections) == 2 and len(panels[0].collections[0].get_offsets()) == 8
    assert figure.numbers.rows[0] == ("tiny", "full", "d0", pytest.approx(X[0]), pytest.approx(40 * X[0] + 1))
    assert len(figure.numbers.rows) == 16 and "tiny-coca: signed R2" in figure.description


def test_a_forest_has_every_predictor_of_a_family(rows):
    figure = forest(with_baselines(rows), "tiny", "full")
    with styled():
        panels = figure.draw().axes
    assert [label.get_text() for label in panels[0].get_yticklabels()] == [
        *("iimm", "silhouette", "log_classes", "log_per_class", "log_images"),
    ]
    assert [axis.get_title(loc="left") for axis in panels] == ["gain", "gain over error", "forgetting"]
    one = rows[(rows.model == "tiny") & (rows.tuning == "full")]
    values = {row[2:4]: row[5] for row in figure.numbers.rows}
    assert values["gain", "iimm"] == pytest.approx(signed_r2(one.iimm, one.gain).value) and len(values) == 15


def test_learning_against_forgetting(rows):
    figure = learning(rows)
    with styled():
        assert len(figure.draw().axes) == 2
    table = pd.DataFrame(figure.numbers.rows, columns=figure.numbers.columns).set_index(["model", "tuning"])
    one = rows[(rows.model == "tiny") & (rows.tuning == "full")]
    assert table.gain["tiny", "full"] == pytest.approx(one.gain.mean())
    assert table.change["tiny", "full"] == pytest.approx(-one.forgetting.mean())


def test_a_family_of_one_task_has_no_line(rows):
    figure = over_measure(rows[rows.domain == "d0"], "full", "gain")
    with styled():
        assert figure.draw().axes[0].get_title(loc="left").endswith("no line")
    assert len(study_figures(with_baselines(rows).drop(columns="iimm"))) == 3


@pytest.mark.slow
def test_the_page_of_studies_without_runs(rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows.to_csv("table.csv", index=False)
    words = ["report", "--study", "table.csv", "--html", "page.html", "--figures", "figures", "--quiet"]
    assert command.run(cli.parser().parse_args(words)) == 0
    text = (tmp_path / "page.html").read_text()
    assert 'id="studies"' in text and "All predictors of tiny-coca" in text and "There are no runs" not in text
    assert sorted(path.name for path in (tmp_path / "figures").glob("*.csv")) == [
        *("study-forest-tiny-coca.csv", "study-forest-tiny.csv", "study-iimm-forgetting.csv"),
        *("study-iimm-gain-over-error.csv", "study-iimm-gain.csv", "study-learning.csv"),
    ]
