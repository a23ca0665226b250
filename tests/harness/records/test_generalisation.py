"""Gains in two styles and elsewhere from records of known numbers, and the figures made from them."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from harness.records import generalisation as of
from harness.records.runs import Run
from harness.report.figure import inline
from harness.report.generalisation_figures import generalisation
from harness.report.sections import Method, Section

TASKS = ("a", "b", "c", "d")


def run(seed=0, strategy="finetune", gain=20.0, ood=8.0, elsewhere=-3.0, measured=True, start="initial"):
    """A run: task i has 30 + 10 i points at first and silhouette i / 10. Training adds `gain` + i, and `ood` + seed."""
    names = [("test", t) for t in TASKS] + [("heldout", "kept")] + [("heldout", f"{t}-ood") for t in TASKS]
    first = {(stream, t): 30.0 + 10 * (i % 5) for i, (stream, t) in enumerate(names)}
    cells = {(0, stream, t): first[stream, t] for stream, t in names}
    for j, task in enumerate(TASKS):
        for stream, t in names:
            change = gain + j if t == task else ood + seed if t == f"{task}-ood" else 0.0 if t.endswith("-ood") else elsewhere
            cells[j + 1, stream, t] = first[stream, t] + change
    measures = [(j + 1, "silhouette", j / 10) for j in range(4)] + [(j + 1, "correct_pair", -abs(j - 1.2)) for j in range(4)]
    identity = {
        "benchmark": "generalisation", "edition": "mini", "order": "default", "tasks": list(TASKS), "strategy": strategy,
        "heldout": ["kept", *(f"{t}-ood" for t in TASKS)], "targets": [f"{t}-ood" for t in TASKS], "seed": seed,
        "options": {"start": start}, "protocol": "task",
    }  # fmt: skip
    return Run(Path("x"), {"identity": identity, "status": "finished", "key": "k"}, cells, measures if measured else [], {})


def test_outcomes_by_hand():
    first, *_, last = of.outcomes([run(0), run(1)])
    # The other style gains 8 with seed 0 and 9 with seed 1. Elsewhere: three tasks and one supported task lose 3 points.
    assert (first.task, last.task) == ("a", "d")
    assert first[1:] == pytest.approx((70, 50, 20, 8.5, -3, 0.0, -1.2, 2))
    assert last[1:] == pytest.approx((40, 17, 23, 8.5, -3, 0.3, -1.8, 2))


def test_other_styles_of_other_tasks_do_not_count_as_elsewhere():
    changed = run()
    changed.cells.update({key: value - 50 for key, value in changed.cells.items() if key[0] and key[2].endswith("-ood")})
    assert [o.elsewhere for o in of.outcomes([changed])] == pytest.approx([-3] * 4)


def test_means_over_domains_and_pairs():
    weak, strong = of.outcomes([run(gain=10)]), of.outcomes([run(gain=20, elsewhere=-9)])
    mean = of.over_domains(strong)["gain"]
    assert (mean.mean, mean.sd, mean.n) == pytest.approx((21.5, np.std([20, 21, 22, 23], ddof=1), 4))
    assert mean.high - mean.mean == pytest.approx(3.182446 * mean.sd / 2), "Student's t with 3 degrees of freedom"
    pairs = of.paired(weak, strong)
    assert (pairs["gain"].mean, pairs["gain"].low, pairs["elsewhere"].mean) == pytest.approx((-10, -10, 6))


def test_predictors_by_hand():
    rows = {(row.outcome, row.predictor): row.rho for row in of.predictors(of.outcomes([run()]))}
    # The silhouette rises with the task, whose zero-shot error falls and whose gain rises.
    assert rows["zero_shot_error", "silhouette"].value == pytest.approx(-1)
    assert rows["gain", "silhouette"].value == pytest.approx(1)
    # -|j - 1.2| has the ranks 2 4 3 1 against 4 3 2 1 of the error: 1 - 6 (4 + 1 + 1 + 0) / (4 x 15).
    assert rows["zero_shot_error", "correct_pair"].value == pytest.approx(0.4)
    assert rows["zero_shot_error", of.DIFFERENCE].value == pytest.approx(-1.4)
    assert ("gain_ood", "silhouette") not in rows, "all gains in the other style are equal"


def test_records_without_measures_have_no_predictors():
    assert of.predictors(of.outcomes([run(measured=False)])) == []


@pytest.mark.parametrize("runs", [[], [run(start="previous")]])
def test_other_runs_are_refused(runs):
    with pytest.raises(ValueError, match="start from the initial weights"):
        of.outcomes(runs)


def section(*runs_of_methods):
    methods = [
        Method(runs[0].identity["strategy"], {"strategy": runs[0].identity["strategy"]}, runs) for runs in runs_of_methods
    ]
    return Section("a title", "slug", tuple(methods))


def test_figures_hold_the_numbers():
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


def test_other_sections_have_no_such_figure():
    assert generalisation(section((run(start="previous"),))) == []
