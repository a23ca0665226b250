"""Rotated orders."""

import pytest

from benchmarks import mini
from benchmarks.cases import paint
from benchmarks.mtil import stream
from benchmarks.orders import rotated
from benchmarks.plan import Ask
from harness.config.resolve import filled_in, stream_folder
from harness.config.run_config import RunConfig
from models.registry import UserError


def test_every_rotation_has_each_task_first_once():
    names = ("a", "b", "c")
    assert [rotated(f"rotate:{k}", names, "I") for k in range(3)] == [
        ("I", ("a", "b", "c")),
        ("rotate-1", ("b", "c", "a")),
        ("rotate-2", ("c", "a", "b")),
    ]
    assert rotated(None, names, "I") is rotated("II", names, "I") is rotated(names, names, "I") is None


@pytest.mark.parametrize("order", ["rotate:3", "rotate:", "rotate:-1", "rotate-x"])
def test_a_rotation_that_does_not_exist(order):
    with pytest.raises(UserError, match=f"--order {order}: give a number from 0 to 2"):
        rotated(order, ("a", "b", "c"), "I")


@pytest.mark.parametrize("make", [stream, paint.stream])
def test_a_recorded_rotation_is_the_same_run(make):
    plan = make(Ask(order="rotate:3"))
    assert plan.names == (*mini.STREAM[3:], *mini.STREAM[:3]) and stream_folder(plan).endswith("-mini-rotate-3")
    recorded = filled_in(RunConfig(plan.benchmark, order="rotate:3"), plan)["order"]
    assert recorded == "rotate-3" and make(Ask(order=recorded)).names == plan.names
