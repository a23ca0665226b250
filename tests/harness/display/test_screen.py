"""The output of a run: the estimate of the progress bars and the matrix."""

import io

import pytest
from rich.console import Console

from harness.display.screen import Estimate, Screen, time_left
from metrics.evaluate import Accuracy


def test_training_and_evaluation_are_timed_separately():
    estimate = Estimate(steps=100, images=1000)
    assert estimate.remaining() is None
    estimate.add("evaluate", 100, 2.0)
    assert estimate.fraction() == 0
    assert estimate.remaining() is None, "training has not been timed yet"
    estimate.add("train", 10, 5.0)
    assert estimate.remaining() == pytest.approx(90 * 0.5 + 900 * 0.02)
    assert estimate.fraction() == pytest.approx(7 / (7 + 45 + 18))
    estimate.add("train", 90, 1.0)
    estimate.add("evaluate", 900, 1.0)
    assert estimate.remaining() == 0


def test_nothing_to_train_needs_no_training_rate():
    estimate = Estimate(steps=0, images=10)
    estimate.add("evaluate", 5, 1.0)
    assert estimate.remaining() == pytest.approx(1.0)


def test_time_without_images_counts_for_the_images_that_were_counted():
    screen = Screen(quiet=True)
    screen.begin(["a"], [], {}, steps=0, images=20)
    screen.advance("evaluate", 10)
    screen.spent("evaluate", 30.0)
    assert screen._estimate.remaining() == pytest.approx(30, abs=0.5)


def test_durations():
    assert [time_left(s) for s in (0, 59.6, 125, 3730)] == ["0 s left", "1:00 left", "2:05 left", "1:02:10 left"]


@pytest.mark.parametrize(("width", "heading"), [(200, "(objects)"), (80, "(held)")])
def test_the_matrix_fits_the_screen(width, heading):
    tasks = ["counting", "letters", "logos", "mnist", "nature", "closeups", "shapes", "transport"]
    cells = {("test", t): Accuracy(1, 1) for t in tasks} | {("heldout", h): Accuracy(1, 2) for h in ("digits", "objects")}
    text = io.StringIO()
    screen = Screen(console=Console(file=text, width=width, force_terminal=True, color_system=None))
    screen.begin(tasks, ["digits", "objects"], {}, steps=1, images=1)
    for after in range(9):
        screen.row(after, cells)
    screen.end()
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    table = lines[max(i for i, line in enumerate(lines) if heading in line) :][:10]
    assert "…" not in "".join(table)
    assert table[9].split() == ["8", "transport", *["100.0"] * 8, *["50.0"] * (2 if width == 200 else 1)]


def test_other_work_has_a_bar_but_does_not_change_the_estimate():
    text = io.StringIO()
    screen = Screen(console=Console(file=text, width=100, force_terminal=True, color_system=None))
    screen.begin(["a"], [], {}, steps=10, images=10)
    screen.aside(1, 4, "alpha: a")
    bar = next(bar for bar in screen._progress.tasks if bar.description == "alpha: a")
    assert (bar.completed, bar.total) == (1, 4) and screen._estimate.remaining() is None
    screen.end()
    Screen(quiet=True).aside(1, 4, "alpha: a")
