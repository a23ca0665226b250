"""The figures of broad transfer and of PAINT's main table."""

import pytest

from harness.records.runs import Run
from harness.report.figure import inline
from harness.report.sections import Method, Section
from harness.report.transfer_figures import paint_table, transfer

TASKS = ["cars", "signs", "plates"]


def run(strategy="paint-single", seed=0, lost=True):
    """Return a run: a patch on cars helps signs. The domains signs and plates share a class. Everything else stays."""
    searches, cells = [], {(0, stream, name): 50.0 for stream, name in [*(("test", t) for t in TASKS), ("heldout", "kept")]}
    for j, task in enumerate(TASKS, start=1):
        curve = []
        for stream, name in [*(("test", t) for t in TASKS), ("heldout", "kept")]:
            more = 30 if (task, name) == ("cars", "signs") else 0
            row = {"stream": stream, "task": name, "points": [[0.0], [0.5], [1.0]], "correct": [50, 50 + more, 60], "n": 100}
            curve.append(row | ({"lost": [0, 0, 0]} if lost else {}))
            cells[j, stream, name] = 50.0 + more
        searches.append({"task": task, "chosen": [0.5], "curve": curve})
    identity = {"strategy": strategy, "tasks": TASKS, "heldout": ["kept"], "seed": seed}
    return Run(None, {"identity": identity, "searches": searches, "shared_classes": [["signs", "plates"]]}, cells)


def method(strategy="paint-single", **more):
    return Method(strategy, {"strategy": strategy}, (run(strategy, 0, **more), run(strategy, 1, **more)))


def test_the_matrix_marks_what_is_shown():
    figure = transfer("slug", method())
    assert [row[:4] for row in figure.numbers.rows] == [
        ("cars", "signs", "helps", 0), ("cars", "plates", "no effect shown", 0),
        ("signs", "cars", "no effect shown", 0), ("plates", "cars", "no effect shown", 0),
    ]  # fmt: skip
    helped = dict(zip(figure.numbers.columns, figure.numbers.rows[0], strict=True))
    assert (helped["zero_shot"], helped["patched_accuracy"], helped["change"], helped["n"]) == (50, 80, pytest.approx(30), 100)
    assert "1 help and 0 hurt" in figure.caption and figure.description == "helps: cars on signs +30.0; hurts: no pair."
    svg = inline(figure)
    assert ">30*</text>" in svg and svg.count(">0</text>") >= 3


def test_methods_without_single_patches_have_no_matrix():
    assert transfer("slug", method("paint-joint")) is None and transfer("slug", method(lost=False)) is None


def test_the_main_table_needs_two_ways_of_patching():
    single, joint, other = method(), method("paint-joint"), method("zscl")
    assert paint_table(Section("t", "s", (single, other))) is None and paint_table(Section("t", "s", (joint, other))) is None
    figure = paint_table(Section("t", "s", (joint, single, other)))
    assert (figure.slug, [row[:2] for row in figure.numbers.rows]) == ("s-paint", [
        ("tasks", "paint-single"), ("tasks", "paint-joint"), ("supported", "paint-single"), ("supported", "paint-joint"),
    ])  # fmt: skip
    rows = [dict(zip(figure.numbers.columns, row, strict=True)) for row in figure.numbers.rows]
    assert (rows[0]["patched"], rows[1]["patched"], rows[0]["fine_tuned"]) == (50, 50, 60)
    assert rows[1]["relative_patched"] == pytest.approx(100 * 50 / 60) and rows[3]["relative_fine_tuned"] == pytest.approx(120)
    assert rows[0]["seeds"] == 2 and "fine-tuned" in inline(figure)
