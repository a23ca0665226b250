"""`paint`: PAINT's main experiment (2208.05592): nine patching tasks and five supported tasks.

Run without a strategy, `bench paint` patches each task from the initial weights, then all of them in the paper's three ways:
jointly, sequentially and in parallel. The mini edition has its eight domains in place of the nine tasks. Sequential patching
depends on the order of the tasks. `--order` takes another one. In joint patching every task gets its own number of updates,
also in the mini edition, so that the four ways train each task equally long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from benchmarks import mini
from benchmarks.cases.case import case_plan, edition_of
from benchmarks.catalog import find
from benchmarks.names import split_names
from benchmarks.orders import rotated
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError

TASKS = {
    "mini": mini.STREAM,
    "full": ("cars", "dtd", "eurosat", "gtsrb", "kitti", "mnist", "resisc45", "sun397", "svhn"),
}
SUPPORTED = {"mini": mini.HELDOUT, "full": ("imagenet", "cifar10", "cifar100", "stl10", "food101")}
"""The tasks of the paper, as its released code names them. The order of the patching tasks is alphabetical."""

SETTINGS = {"paint-joint": {"joint_budget": "sum"}}
"""The mini edition's streams usually give all tasks together the updates of one."""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the mini or full edition.

    Raises:
        UserError: for another edition, an order that does not name each task once, or an unknown name.
    """
    edition = edition_of(ask, "paint", TASKS, None, " For your own data use bench stream --tasks ...")
    order, names = order_of(edition, ask.order)
    trained = [find(name, edition, ask.data_root) for name in names]
    return replace(case_plan(ask, "paint", edition, trained, SUPPORTED[edition], changes=SETTINGS), order=order)


def order_of(edition: str, order: str | Sequence[str] | None) -> tuple[str, tuple[str, ...]]:
    """Return the label ("default", "rotate-k", "custom") and the tasks. Raises UserError unless each task is named once."""
    if order is None or order == "default":
        return "default", TASKS[edition]
    if (rotation := rotated(order, TASKS[edition], "default")) is not None:
        return rotation
    names = split_names(order)
    if sorted(names) != sorted(TASKS[edition]):
        raise UserError(
            f"--order of paint names each of its {len(TASKS[edition])} tasks once: {', '.join(TASKS[edition])}. For other "
            "tasks use bench stream --tasks ... --heldout ..."
        )
    return "custom", names
