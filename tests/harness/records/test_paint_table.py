"""PAINT's main table by hand, and the end of `bench paint` and `bench transfer-study`."""

import io
import math

import pytest
from rich.console import Console

from harness.display.case_summary import paint_table, show_case
from harness.records.paint_table import STRATEGIES, main_table
from harness.records.runs import Run

TASKS, SUPPORTED = ["a", "b"], ["s"]


def run(strategy, rows, tuned, seed=0):
    """Return a run. `rows` has accuracies of a, b and s by row, `tuned` those at alpha = 1 of each patch."""
    columns = [("test", "a"), ("test", "b"), ("heldout", "s")]
    cells = {(j, *column): float(value) for j, row in enumerate(rows) for column, value in zip(columns, row, strict=True)}
    searches = [
        {"task": task, "chosen": [0.5], "curve": [
            {"stream": stream, "task": name, "points": [[0.0], [0.5], [1.0]], "correct": [0, 0, value], "n": 100}
            for (stream, name), value in zip(columns, ends, strict=True)
        ]}
        for task, ends in zip(TASKS, tuned, strict=True)
    ]  # fmt: skip
    identity = {"strategy": strategy, "tasks": TASKS, "heldout": SUPPORTED, "seed": seed}
    return Run("x", {"identity": identity, "searches": searches}, cells)


@pytest.fixture
def runs():
    zero = (20, 40, 80)
    return {
        # Patched on a: 50 on a. Patched on b: 60 on b. Other tasks do not count.
        "paint-single": [run("paint-single", [zero, (50, 1, 70), (2, 60, 78)], [(80, 3, 60), (4, 75, 40)])],
        "paint-joint": [run("paint-joint", [zero, (0, 0, 0), (60, 66, 72)], [(9, 9, 9), (70, 80, 30)])],
        "paint-sequential": [run("paint-sequential", [zero, (0, 0, 0), (40, 60, 76)], [(9, 9, 9), (9, 9, 9)])],
        "paint-parallel": [run("paint-parallel", [zero, (0, 0, 0), (30, 45, 79)], [(9, 9, 9), (9, 9, 9)])],
    }


def means(values):
    return [value.mean for value in values]


def test_raw_accuracies_are_those_of_the_right_models(runs):
    rows = {(row.test_sets, row.method): row for row in main_table(runs)}
    assert [*rows] == [(sets, name) for sets in ("tasks", "supported") for name in STRATEGIES]
    assert means(rows["tasks", "paint-single"].raw) == [30, 77.5, 55]
    assert means(rows["tasks", "paint-joint"].raw) == [30, 75, 63]
    assert means(rows["supported", "paint-single"].raw) == [80, 50, 74]
    assert means(rows["supported", "paint-joint"].raw) == [80, 30, 72]
    zero, tuned, patched = means(rows["tasks", "paint-sequential"].raw)
    assert (zero, patched) == (30, 50) and math.isnan(tuned)
    assert means(rows["supported", "paint-parallel"].raw)[2] == 79


def test_relative_accuracies_are_means_of_ratios(runs):
    rows = {(row.test_sets, row.method): row for row in main_table(runs)}
    # The models fine-tuned on a only and on b only have 80 and 75.
    assert means(rows["tasks", "paint-joint"].relative) == pytest.approx(
        [50 * (20 / 80 + 40 / 75), 50 * (70 / 80 + 80 / 75), 50 * (60 / 80 + 66 / 75)]
    )
    assert means(rows["tasks", "paint-single"].relative)[1] == pytest.approx(100)
    assert means(rows["supported", "paint-joint"].relative) == pytest.approx([100, 37.5, 90])
    del runs["paint-single"]
    assert math.isnan(means(main_table(runs)[0].relative)[2])


def test_seeds_have_an_interval_and_their_own_reference(runs):
    runs["paint-single"].append(run("paint-single", [(20, 40, 80), (60, 1, 70), (2, 70, 78)], [(100, 3, 60), (4, 100, 40)], 1))
    first = main_table(runs)[0]
    assert first.seeds == 2 and first.raw[2].mean == 60 and first.raw[2].low < 55 < 65 < first.raw[2].high
    assert first.relative[2].mean == pytest.approx((50 * (50 / 80 + 60 / 75) + 65) / 2)
    runs["zscl"] = [run("zscl", [(1, 1, 1)] * 3, [(1, 1, 1)] * 2)]
    assert "zscl" not in [row.method for row in main_table(runs)] and main_table({}) == []


def test_the_printed_table(runs):
    console = Console(file=io.StringIO(), width=160)
    console.print(paint_table(main_table(runs)))
    lines = [line.split() for line in console.file.getvalue().splitlines()]
    assert ["tasks", "paint-single", "30.0", "77.5", "55.0", "39.2", "100.0", "71.2"] in lines
    assert ["supported", "paint-parallel", "80.0", "-", "79.0", "100.0", "-", "98.8"] in lines


class Printed:
    """Collects what a screen is asked to print."""

    def __init__(self):
        self.tables, self.lines = [], []

    def show(self, table):
        self.tables.append(table)

    def say(self, line, style=None):
        self.lines.append(line)


def test_the_end_of_bench_needs_all_four_ways(runs, monkeypatch):
    from harness.display import case_summary

    folders = {name: case_summary.Path(name) for name in runs}
    monkeypatch.setattr(case_summary, "read_one", lambda path: runs[path.parent.name][0])
    screen = Printed()
    show_case("paint", [*folders.values()][:3], screen)
    assert screen.tables == []
    show_case("paint", [*folders.values()], screen)
    assert len(screen.tables) == 1 and screen.lines == [case_summary.ONE_ORDER]
