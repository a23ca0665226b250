"""Options of a method: their precedence, tables with dotted keys, and mistakes in one sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from harness.config.options import make_options, merge_options, parse_assignments
from models.registry import UserError
from strategies import STRATEGIES
from strategies.engine.strategy import Strategy
from strategies.zscl import ZSCL

MTIL = {"finetune": {"lr_by_task": {"Aircraft": 5e-5, "MNIST": 5e-5}}}
CIL = {"finetune": {"epochs": 1, "lr": 7.1e-6}, "zscl": {"l2": 0.0, "epochs": 2}}


class Counts(Strategy):
    @dataclass(frozen=True)
    class Options(Strategy.Options):
        copies: Mapping[str, int] = field(default_factory=dict)
        flag: bool = False


def test_settings_of_the_base_come_first():
    assert make_options(ZSCL, CIL, {}).epochs == 2 and make_options(Strategy, CIL, {}).epochs == 1
    assert make_options(ZSCL, {"zscl": CIL["zscl"], "finetune": {"epochs": 5}}, {"epochs": 3}).epochs == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"Aircraft": 5e-5, "MNIST": 5e-5}),
        ({"lr_by_task.MNIST": "3e-5"}, {"Aircraft": 5e-5, "MNIST": 3e-5}),
        ({"lr_by_task.digits": "1"}, {"Aircraft": 5e-5, "MNIST": 5e-5, "digits": 1.0}),
        ({"lr_by_task": {"DTD": 1}}, {"DTD": 1.0}),
        ({"lr": "1e-4"}, {}),
        ({"lr": "1e-4", "lr_by_task.MNIST": "3e-5"}, {"MNIST": 3e-5}),
        ({"lr_by_task.MNIST": "3e-5", "lr": "1e-4"}, {"MNIST": 3e-5}),
        ({"lr": "1e-4", "lr_by_task": {"DTD": 1}}, {"DTD": 1.0}),
    ],
)
def test_learning_rates_by_task(changes, expected):
    """The user's learning rate takes precedence over the benchmark's table of rates."""
    assert make_options(Strategy, MTIL, changes).lr_by_task == expected


@pytest.mark.parametrize(
    ("changes", "epochs", "iterations"),
    [
        ({}, 1, 1001),
        ({"iterations": "7"}, 0, 7),
        ({"epochs": "2"}, 2, 1001),
        ({"iterations": "7", "epochs": "2"}, 2, 7),
        ({"iterations": 1001, "epochs": 1, "lr": 7.1e-6}, 1, 1001),
    ],
)
def test_iterations_are_not_hidden_by_a_benchmarks_epochs(changes, epochs, iterations):
    options = make_options(Strategy, CIL, changes)
    assert (options.epochs, options.iterations) == (epochs, iterations)


def test_settings_are_never_changed():
    make_options(Strategy, MTIL, {"lr_by_task.MNIST": "3e-5"})
    make_options(Strategy, MTIL, {"lr": "3e-5"})
    assert MTIL == {"finetune": {"lr_by_task": {"Aircraft": 5e-5, "MNIST": 5e-5}}}


def test_keys_of_a_table_keep_their_spelling():
    assert parse_assignments(["lr-by-task.my-pets = 1e-4", "lr_by_task.a.b=2", "lr=1=2"]) == {
        "lr_by_task.my-pets": "1e-4", "lr_by_task.a.b": "2", "lr": "1=2",
    }  # fmt: skip
    assert make_options(Strategy, {}, {"lr_by_task.a.b": "2"}).lr_by_task == {"a.b": 2.0}


def test_tables_take_the_type_of_their_values():
    assert make_options(Counts, {}, {"copies.a": "3"}).copies == {"a": 3}


@pytest.mark.parametrize(
    ("strategy", "changes", "message"),
    [
        (Strategy, {"lr_by_tsk.MNIST": "1"}, "Unknown option 'lr_by_tsk'. Did you mean lr_by_task"),
        (Strategy, {"l2": "1"}, "Unknown option 'l2'"),
        (Strategy, {"lr.MNIST": "1"}, "lr takes a single value; lr.MNIST is not valid"),
        (Strategy, {"lr_by_task": "1e-5"}, "lr_by_task takes a table, lr_by_task.KEY=VALUE on the command line"),
        (Strategy, {"lr_by_task.MNIST": "fast"}, "lr_by_task.MNIST takes a finite number, got 'fast'"),
        (Strategy, {"lr_by_task.MNIST": "-1"}, "lr_by_task.MNIST must be at least 0"),
        (Strategy, {"lr_by_task": {"MNIST": "nan"}}, "lr_by_task.MNIST takes a finite number"),
        (Strategy, {"epochs": "-1"}, "epochs must be at least 0"),
        (Strategy, {"epochs": "1.5"}, "epochs takes a whole number"),
        (Counts, {"copies.a": "1.5"}, "copies.a takes a whole number"),
        (Counts, {"flag": "2"}, "flag takes true or false"),
    ],
)
def test_mistakes(strategy, changes, message):
    with pytest.raises(UserError) as error:
        make_options(strategy, {}, changes)
    assert message in str(error.value) and str(error.value).endswith(".")


def test_an_unknown_option_lists_the_known_ones():
    with pytest.raises(UserError, match=r"Known: .*average_every, .*reference_images, .*warmup"):
        make_options(ZSCL, {}, {"nonsense": 1})


@pytest.mark.parametrize("assignment", ["lr", "=1", ""])
def test_assignments_need_a_name_and_a_value(assignment):
    with pytest.raises(UserError, match="--set takes key=value"):
        parse_assignments([assignment])


def test_the_command_line_wins_over_a_record_as_over_the_benchmark():
    recorded = {"epochs": 1, "iterations": 1000, "lr": 1e-5, "lr_by_task": {"MNIST": 5e-5}, "l2": 1.0}
    found = make_options(ZSCL, CIL, merge_options(recorded, {"iterations": "50", "lr": "1e-4"}))
    assert (found.epochs, found.iterations, found.lr, found.lr_by_task, found.l2) == (0, 50, 1e-4, {}, 1.0)
    assert merge_options(recorded, {"l2": "0"}) == {**recorded, "l2": "0"}
    assert merge_options({"lr": 1e-5}, {"iterations": "50"}) == {"lr": 1e-5, "iterations": "50"}


SHARED = {"finetune": {"epochs": 1, "lr": 7.1e-6, "batch_size": 64, "label_smoothing": 0.2, "weight_decay": 0.0}}


@pytest.mark.parametrize("name", ["paint-sequential", "ties", "lora"])
def test_a_benchmark_sets_budget_and_rate_and_leaves_a_methods_own_options(name):
    method = STRATEGIES.get(name)
    own, found = method.Options(), make_options(method, SHARED, {})
    assert (found.epochs, found.lr, found.batch_size) == (1, 7.1e-6, 64)
    assert (found.label_smoothing, found.weight_decay) == (own.label_smoothing, own.weight_decay) != (0.2, 0.0)
    assert make_options(STRATEGIES.get("wise-ft"), SHARED, {}).label_smoothing == 0.2


def test_what_a_users_own_class_defines_stays():
    class Mine(Strategy):
        @dataclass(frozen=True)
        class Options(Strategy.Options):
            lr: float = 1e-3
            iterations: int = 500

    class Child(Mine):
        pass

    settings = {"finetune": {**SHARED["finetune"], "lr_by_task": {"DTD": 1.0}}}
    for method in (Mine, Child):
        found = make_options(method, settings, {})
        assert (found.lr, found.lr_by_task, found.iterations, found.epochs) == (1e-3, {}, 500, 0)
        assert (found.batch_size, found.label_smoothing) == (64, 0.2)
