"""The options of a search and their errors."""

import math
from collections.abc import Mapping
from typing import Literal

import pytest

from harness.tune.space import grid_of, parse_space
from models.registry import UserError

HINTS = {
    "l2": float,
    "lr": float,
    "iterations": int,
    "optimizer": Literal["adamw", "sgd"],
    "step_at": tuple[float, ...],
    "best_pass": bool,
    "reference_images": str,
    "decay": float | None,
    "lr_by_task": Mapping[str, float],
    "tuning.rank": int,
}


def space(*words, fixed=()):
    return parse_space(words, HINTS, fixed)


class Asked:
    """Answers as an Optuna trial does, with the given number, and notes what was asked."""

    def __init__(self, number):
        self.number, self.asked = number, []

    def suggest_float(self, name, low, high, log):
        self.asked.append(("float", name, low, high, log))
        return self.number

    def suggest_int(self, name, low, high, log):
        self.asked.append(("int", name, low, high, log))
        return self.number


def test_ranges_and_lists():
    l2, lr, iterations, rate = space("l2=log:0.01:10", "lr=1e-5,1e-4", "iterations=int:20:80", "lr_by_task.digits=float:0:1")
    assert (l2.low, l2.high, l2.log, l2.whole) == (0.01, 10, True, False)
    assert lr.values == ("1e-5", "1e-4") and math.isnan(lr.low)
    assert (iterations.low, iterations.high, iterations.log, iterations.whole) == (20, 80, False, True)
    assert (rate.name, rate.log, rate.high) == ("lr_by_task.digits", False, 1)


def test_the_type_decides_whether_numbers_are_whole():
    [rank] = space("tuning.rank=log:2:64")
    trial = Asked(7)
    assert rank.suggest(trial) == "7" and trial.asked == [("int", "tuning.rank", 2, 64, True)]
    [decay] = space("decay=log:1e-5:1")
    assert not decay.whole, "None or a number"


def test_numbers_have_four_digits_within_the_range():
    [l2] = space("l2=log:0.01:10")
    assert l2.suggest(Asked(0.0123456)) == "0.01235" and l2.words("0.1") == ["l2=0.1"]
    assert space("l2=float:0.12344:1")[0].suggest(Asked(0.12344)) == "0.12344", "not below the lower end"


def test_a_grid_is_the_product_of_lists():
    grid = grid_of(space("l2=0.1,1", "optimizer=adamw,sgd"))
    assert grid == [{"l2": a, "optimizer": b} for a in ("0.1", "1") for b in ("adamw", "sgd")]
    assert grid_of(space("l2=0.1,1", "lr=log:1:2")) is None


def test_options_with_the_same_value():
    [both] = space("l2+lr=0.1,1")
    assert both.name == "l2+lr" and both.words("0.1") == ["l2=0.1", "lr=0.1"]


def test_a_comma_in_a_list_or_text_is_part_of_the_value():
    [step] = space("step_at=0.3,0.7", "step_at=0.5")
    assert step.values == ("0.3,0.7", "0.5")
    [images] = space("reference_images=a:b:c", "reference_images=CIFAR100,Food")
    assert images.values == ("a:b:c", "CIFAR100,Food")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["l3=log:1:2"], "Unknown option 'l3'. Did you mean lr or l2"),
        (["rank=4,8"], "Unknown option 'rank'. Did you mean tuning.rank"),
        (["l2.x=1,2"], "Unknown option 'l2.x'"),
        (["l2=log:10:0.01"], "--space l2=log:10:0.01 is reversed: write log:0.01:10."),
        (["l2=log:1:1"], "is empty, since both ends are equal: write --set l2=1."),
        (["l2="], "--space l2= names no value"),
        (["l2=,"], "--space l2=, names no value"),
        (["l2=1"], "--space l2=1 has a single value: write --set l2=1."),
        (["l2=log:0:1"], "a logarithmic range begins above 0. Use float:0:1."),
        (["l2=lgo:1:2"], "there is no range 'lgo'. Did you mean log?"),
        (["l2=log:1:x"], "takes a finite number, got 'x'"),
        (["l2=0.1,x"], "l2 takes a finite number, got 'x'"),
        (["iterations=int:1.5:4"], "takes a whole number, got '1.5'"),
        (["iterations=float:1:4"], "iterations takes a whole number: write int:1:4."),
        (["optimizer=log:1:2"], "optimizer does not take a number: list the values"),
        (["optimizer=adamw,sdg"], "Unknown value of optimizer 'sdg'. Did you mean sgd"),
        (["l2=0.1,1", "l2+lr=1,2"], "--space names l2 twice."),
        (["l2"], "--space takes key=value, got 'l2'."),
    ],
)
def test_mistakes(words, message):
    with pytest.raises(UserError) as error:
        space(*words)
    assert message in str(error.value)


def test_an_option_is_fixed_or_searched():
    with pytest.raises(UserError, match="--set fixes l2, and --space searches it"):
        space("l2=0.1,1", fixed=("l2",))
