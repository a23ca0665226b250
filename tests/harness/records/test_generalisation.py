"""Gains in two styles and elsewhere from records of known numbers, and the figures made from them."""

import csv
import io

import numpy as np
import pytest

from harness.display.generalisation_table import generalisation_tables
from harness.records import generalisation as of
from harness.report.figure import inline
from harness.report.generalisation_figures import generalisation
from harness.report.sections import Method, Section


@pytest.fixture
def run(styles_run):
    """The builder of records."""
    return styles_run


def test_outcomes_by_hand(run):
    first, *_, last = of.outcomes([run(0), run(1)])
    # The other style gains 8 with seed 0 and 9 with seed 1. Elsewhere: three tasks and one supported task lose 3 points.
    assert (first.task, last.task) == ("a", "d")
    assert first[1:] == pytest.approx((70, 50, 20, 8.5, -3, 0.0, -1.2, 2))
    assert last[1:] == pytest.approx((40, 17, 23, 8.5, -3, 0.3, -1.8, 2))


def test_other_styles_of_other_tasks_do_not_count_as_elsewhere(run):
    changed = run()
    changed.cells.update({key: value - 50 for key, value in changed.cells.items() if key[0] and key[2].endswith("-ood")})
    assert [o.elsewhere for o in of.outcomes([changed])] == pytest.approx([-3] * 4)


def test_means_over_domains_and_pairs(run):
    weak, strong = of.outcomes([run(gain=10)]), of.outcomes([run(gain=20, elsewhere=-9)])
    mean = of.over_domains(strong)["gain"]
    assert (mean.mean, mean.sd, mean.n) == pytest.approx((21.5, np.std([20, 21, 22, 23], ddof=1), 4))
    assert mean.high - mean.mean == pytest.approx(3.182446 * mean.sd / 2), "Student's t with 3 degrees of freedom"
    pairs = of.paired(weak, strong)
    assert (pairs["gain"].mean, pairs["gain"].low, pairs["elsewhere"].mean) == pytest.approx((-10, -10, 6))


def test_predictors_by_hand(run):
    rows = {(row.outcome, row.predictor): row.rho for row in of.predictors(of.outcomes([run()]))}
    # The silhouette rises with the task, whose zero-shot error falls and whose gain rises.
    assert rows["zero_shot_error", "silhouette"].value == pytest.approx(-1)
    assert rows["gain", "silhouette"].value == pytest.approx(1)
    # -|j - 1.2| has the ranks 2 4 3 1 against 4 3 2 1 of the error: 1 - 6 (4 + 1 + 1 + 0) / (4 x 15).
    assert rows["zero_shot_error", "correct_pair"].value == pytest.approx(0.4)
    assert rows["zero_shot_error", of.DIFFERENCE].value == pytest.approx(-1.4)
    assert ("gain_ood", "silhouette") not in rows, "all gains in the other style are equal"


def test_records_without_measures_have_no_predictors(run):
    assert of.predictors(of.outcomes([run(measured=False)])) == []


def test_other_runs_are_refused(run):
    for runs in ([], [run(start="previous")]):
        with pytest.raises(ValueError, match="start from the initial weights"):
            of.outcomes(runs)


def test_tables_at_the_end_of_bench(run):
    changes, predicted = generalisation_tables({"finetune": of.outcomes([run()]), "lora": of.outcomes([run(gain=0.0)])})
    cells = [list(column.cells) for column in changes.columns]
    assert [str(cell) for cell in cells[0]] == ["finetune", "lora"] and cells[1][0] == "+21.5 [+19.4, +23.6]"
    assert cells[3] == ["-3.0 [-3.0, -3.0]"] * 2
    assert [column.header for column in predicted.columns] == ["strategy", "outcome", *of.PREDICTORS, of.DIFFERENCE]
    [unmeasured] = generalisation_tables({"finetune": of.outcomes([run(measured=False)])})
    assert len(unmeasured.rows) == 1


def section(*runs_of_methods):
    methods = [
        Method(runs[0].identity["strategy"], {"strategy": runs[0].identity["strategy"]}, runs) for runs in runs_of_methods
    ]
    return Section("a title", "slug", tuple(methods))


def test_figures_hold_the_numbers(run):
    figures = generalisation(section((run(0), run(1)), (run(strategy="lora", gain=5.0),)))
    assert [figure.slug for figure in figures] == ["slug-styles", "slug-difficulty"]
    rows = list(csv.DictReader(io.StringIO(figures[0].numbers.written().decode())))
    assert len(rows) == 8 and rows[0] == {
        "method": "finetune", "task": "a", "zero_shot": "30", "gain": "20", "gain_ood": "8.5", "elsewhere": "-3",
        "silhouette": "0", "correct_pair": "-1.2", "seeds": "2",
    }  # fmt: skip
    assert "lora: +6.5 in the style of training" in figures[0].description
    rows = list(csv.DictReader(io.StringIO(figures[1].numbers.written().decode())))
    assert {(row["method"], row["n"]) for row in rows} == {("finetune", "4"), ("lora", "4")}
    assert "silhouette with zero-shot error -1.00" in figures[1].description
    for figure in figures:
        assert inline(figure).startswith("<svg")


def test_other_sections_have_no_such_figure(run):
    assert generalisation(section((run(start="previous"),))) == []
