"""`paint`: PAINT's main experiment (2208.05592): nine patching tasks and five supported tasks.

Run without a strategy, `bench paint` patches each task from the initial weights, then all of them in the paper's three ways:
jointly, sequentially and in parallel. The mini edition has its eight domains in place of the nine tasks.
"""

from __future__ import annotations

from benchmarks import mini
from benchmarks.cases.case import case_plan
from benchmarks.catalog import find
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError

TASKS = {
    "mini": mini.STREAM,
    "full": ("cars", "dtd", "eurosat", "gtsrb", "kitti", "mnist", "resisc45", "sun397", "svhn"),
}
SUPPORTED = {"mini": mini.HELDOUT, "full": ("imagenet", "cifar10", "cifar100", "stl10", "food101")}
"""The tasks of the paper, as its released code names them. The order of the patching tasks is alphabetical."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the mini or full edition.

    Raises:
        UserError: for another edition, an order, or an unknown name.
    """
    edition = ask.edition or "mini"
    if edition not in TASKS:
        raise UserError(
            f"paint has the editions mini and full, not {edition!r}. For your own data use bench stream --tasks ..."
        )
    if ask.order not in (None, "default"):
        raise UserError("bench paint has one order of tasks. For another one use bench stream --tasks ... --heldout ...")
    trained = [find(name, edition, ask.data_root) for name in TASKS[edition]]
    return case_plan(ask, "paint", edition, trained, SUPPORTED[edition])
