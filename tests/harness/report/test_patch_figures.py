"""The figure of patches: roles, means over test sets and seeds, data and drawing."""

import pytest

from harness.records.runs import Run
from harness.report.figure import inline
from harness.report.patch_figures import patch_curves, role_line
from harness.report.sections import Method


def run(seed, chosen, patched):
    points = sorted([[0.0], [0.5], [1.0], [chosen]]) if chosen not in (0.0, 0.5, 1.0) else [[0.0], [0.5], [1.0]]
    counts = {"a": patched, "b": [1, 1, 1], "new": [2, 4, 6], "newer": [4, 6, 8], "kept": [9, 8, 5]}
    curve = [
        {"stream": "test" if name in "ab" else "heldout", "task": name, "points": points, "n": 10,
         "correct": c if len(points) == 3 else [*c[:1], *c]}
        for name, c in counts.items()
    ]  # fmt: skip
    identity = {"seed": seed, "tasks": ["a", "b"], "heldout": ["kept", "new", "newer"], "targets": ["new", "newer"]}
    return Run(None, {"identity": identity, "searches": [{"task": "a", "chosen": [chosen], "curve": curve}]})


@pytest.fixture
def method():
    return Method("paint-single", {"strategy": "paint-single"}, (run(0, 0.5, [2, 8, 9]), run(1, 0.3, [2, 6, 9])))


def test_lines_are_means_over_test_sets_and_seeds(method):
    from harness.records.patches import patches

    patched = [(run, patch) for run in method.runs for patch in patches(run.document["searches"])]
    # The chosen alpha of seed 1, 0.3, is not on the grid of seed 0.
    assert list(role_line(patched, "patched")) == [0.0, 0.5, 1.0]
    assert role_line(patched, "target")[0.5].mean == 50.0 and role_line(patched, "supported")[1.0].mean == 50.0
    middle = role_line(patched, "patched")[0.5]
    assert middle.mean == 70.0 and middle.low == pytest.approx(70 - 12.706 * 14.1421 / 2**0.5, abs=0.1)
    assert role_line(patched, "unknown") == {}


def test_the_data_has_every_test_set(method):
    figure = patch_curves("slug", method)
    assert figure.numbers.columns[:5] == ("task", "seed", "test_set", "role", "alpha")
    assert {(row[2], row[3]) for row in figure.numbers.rows} == {
        ("a", "patched"), ("b", "other"), ("new", "target"), ("newer", "target"), ("kept", "supported")
    }  # fmt: skip
    assert [row[4] for row in figure.numbers.rows if row[8]] == [0.5] * 5 + [0.3] * 5
    assert "patched 20.0 to 90.0, target 30.0 to 70.0, supported 90.0 to 50.0" in figure.description
    assert inline(figure).count("<path") > 5


def test_a_method_without_curves_has_no_figure(method):
    plain = Run(None, {"identity": method.runs[0].identity, "searches": [{"task": "a", "chosen": [0.5]}]})
    assert patch_curves("slug", Method("x", {}, (plain,))) is None
