"""Metrics of a search, also of the tasks so far."""

import math
from types import SimpleNamespace

import pytest

from harness.tune.score import METRICS, metric_of, score_of, score_so_far
from models.registry import UserError

IDENTITY = {
    "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a", "b", "c"], "heldout": [], "strategy": "zscl",
    "strategy_sha256": None, "options": {}, "model": "tiny", "pretrained": None, "tuning": "full", "seed": 0, "limit": None,
    "measure_n": 10,
}  # fmt: skip
ROWS = [[50, 50, 50], [80, 60, 50], [85, 90, 40], [60, 80, 95]]
"""Row 0, and the example of `metrics.matrix`."""


def record(honest, folder, rows=ROWS, seen=(), **more):
    counts = {(j, "test", task): (row[i], 100) for j, row in enumerate(rows) for i, task in enumerate("abc")}
    counts |= {(j, "test", "seen"): (value, 100) for j, value in enumerate(seen, 1)}
    return honest(folder, IDENTITY, counts, **more)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("average", 640 / 9),
        ("last", 235 / 3),
        ("transfer", 52.5),
        ("diagonal", (80 + 90 + 95) / 3),
        ("forgetting", 17.5),
        ("bwt", (-20 - 10) / 2),
    ],
)
def test_the_score_of_a_finished_run(name, value, honest, tmp_path):
    folder = record(honest, tmp_path)
    metric = METRICS[name]
    assert score_of(folder, metric) == pytest.approx(value)
    if metric.so_far is not None:
        assert score_so_far(folder, "abc", metric) == (3, pytest.approx(value))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("average", [190 / 3, 405 / 6]),
        ("diagonal", [80, 85]),
        # Task 2 has one row before it is trained, task 3 has two.
        ("transfer", [(60 + 50) / 2, (60 + 45) / 2]),
        ("cil_average", [80, 75]),
    ],
)
def test_the_score_after_some_tasks(name, values, honest, tmp_path):
    for tasks, value in enumerate(values, 1):
        folder = record(honest, tmp_path / str(tasks), ROWS[: tasks + 1], [80, 70][:tasks], status="running")
        assert score_so_far(folder, "abc", METRICS[name]) == (tasks, pytest.approx(value))
    empty = score_so_far(tmp_path, "abc", METRICS[name])
    assert empty[0] == 0 and math.isnan(empty[1])


def test_a_run_that_is_not_finished_has_no_score(honest, tmp_path):
    folder = record(honest, tmp_path, status="running")
    with pytest.raises(UserError, match="is not finished"):
        score_of(folder, METRICS["average"])


def stream(protocol="task", names=("a", "b"), heldout=()):
    return SimpleNamespace(benchmark="mtil", protocol=protocol, names=names, heldout=heldout)


def test_the_default_metric():
    assert metric_of(None, stream()).name == "average" and metric_of(None, stream("class")).name == "cil_average"
    assert METRICS["forgetting"].sign == -1 and METRICS["bwt"].sign == 1


@pytest.mark.parametrize(
    ("name", "plan", "message"),
    [
        ("avarage", stream(), "Unknown metric 'avarage'. Did you mean average"),
        ("cil_last", stream(), "mtil does not define the metric cil_last, because its protocol is task, not class."),
        ("transfer", stream(names=("a",)), "does not define the metric transfer, because it has a single task."),
        ("retention", stream(names=("a",)), "because it has a single task and no held-out domain."),
    ],
)
def test_a_metric_that_the_benchmark_does_not_define(name, plan, message):
    with pytest.raises(UserError) as error:
        metric_of(name, plan)
    assert message in str(error.value)
