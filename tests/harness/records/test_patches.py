"""Alpha curves of a record, and their tables."""

import io

import pytest
from rich.console import Console

from harness.display.patch_table import patch_tables
from harness.records.patches import patches
from metrics.accuracy import Accuracy


def record(task, chosen=0.5, extra=()):
    points = [[0.0], [chosen], [1.0]]
    rows = [("test", task, [2, 8, 9]), ("heldout", "digits", [9, 8, 4]), *extra]
    curve = [{"stream": s, "task": t, "points": points, "correct": c, "n": 10} for s, t, c in rows]
    return {"task": task, "chosen": [chosen], "curve": curve}


def text(tables):
    console = Console(file=io.StringIO(), width=160)
    for table in tables:
        console.print(table)
    return console.file.getvalue()


def test_the_curves_of_a_record():
    [patch] = patches([{"task": "a", "chosen": [0.5]}, record("b")])
    assert (patch.task, patch.chosen) == ("b", (0.5,))
    [curve] = patch.of("test", ["b"])
    assert (curve.before, curve.patched, curve.fine_tuned) == (Accuracy(2, 10), Accuracy(8, 10), Accuracy(9, 10))
    assert list(curve.accuracy) == [0.0, 0.5, 1.0] and patches(None) == []


def test_points_with_an_alpha_per_vector_are_only_the_chosen_one():
    row = {"stream": "test", "task": "a", "points": [[0.0, 0.0], [0.2, 0.4], [1.0, 1.0]], "correct": [1, 2, 3], "n": 4}
    [patch] = patches([{"task": "a", "chosen": [0.2, 0.4], "curve": [row]}])
    assert patch.curves[0].patched == Accuracy(2, 4) and list(patch.curves[0].accuracy) == [0.0, 1.0]


def test_one_patch_has_a_row_per_test_set():
    shown = text(patch_tables(patches([record("b", extra=[("heldout", "new", [0, 6, 7])])]), ["new"], ["digits"]))
    lines = {line.split()[0]: line for line in shown.splitlines() if line.split()}
    assert "patched (alpha 0.5)" in shown
    assert "target" in lines["new"] and "60.0 [31, 83]" in lines["new"]  # Wilson, 6 of 10
    assert "supported" in lines["digits"] and "40.0" in lines["digits"] and "80.0" in lines["b"]
    assert "random answers" not in shown
    with_random = text(patch_tables(patches([record("b")]), [], ["digits"], {"b": 20.83}))
    [line] = [line for line in with_random.splitlines() if line.split()[:1] == ["b"]]
    assert "random answers" in with_random and line.split()[2:5] == ["10", "20.8", "20.0"]


def test_several_patches_have_a_row_each():
    two = [record("a"), record("b", 0.25, extra=[("heldout", "new", [0, 6, 7])])]
    shown = text(patch_tables(patches(two), [], ["digits"]))
    lines = {line.split()[0]: line for line in shown.splitlines() if line.split()}
    assert "20.0 -> 90.0 -> 80.0" in lines["b"] and "90.0 -> 40.0 -> 80.0" in lines["b"] and "0.25" in lines["b"]
    assert patch_tables([], [], []) == []


def test_a_record_without_its_chosen_point_is_refused():
    broken = record("a")
    broken["chosen"] = [0.7]
    with pytest.raises(KeyError):
        patches([broken])
