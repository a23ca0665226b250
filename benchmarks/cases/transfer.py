"""`transfer-study`: what a patch on one task does to every other task (PAINT's broad transfer, 2208.05592).

The tasks are those of `bench paint`, and the two halves of the classes of a few of them (`halves.py`). `paint-single` patches
each task separately, so row j of the matrix is the model patched on task j only. `harness.records.transfer` computes the change
on every task that shares no class with it.

Training has the settings of `bench paint`. In the mini edition they were searched on validation splits of the same domains
(`python -m tools.tune`), and nothing was chosen again for this study.
"""

from __future__ import annotations

from benchmarks.cases.case import case_plan, edition_of
from benchmarks.cases.halves import halves
from benchmarks.cases.paint import SUPPORTED, TASKS
from benchmarks.catalog import find
from benchmarks.plan import Ask, StreamPlan

HALVES = {"mini": ("letters", "nature", "shapes"), "full": ("cars", "dtd", "resisc45")}
"""The domains that are also split (our choice): they have many classes."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the mini or full edition.

    Raises:
        UserError: for another edition, an order, or an unknown name.
    """
    no_order = "transfer-study patches each task from the initial weights, so it has no --order."
    other = " For your own data use bench stream --tasks ... --strategy paint-single"
    edition = edition_of(ask, "transfer-study", TASKS, no_order, other)
    whole = [find(name, edition, ask.data_root) for name in TASKS[edition]]
    parts = [half for name in HALVES[edition] for half in halves(find(name, edition, ask.data_root))]
    pairs = [[f"{name}-a", f"{name}-b"] for name in HALVES[edition]]
    return case_plan(ask, "transfer-study", edition, [*whole, *parts], SUPPORTED[edition], details={"halves": pairs})
