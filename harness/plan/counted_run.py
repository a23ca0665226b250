"""A run in which towers compute one row and few updates are made: it counts, measures, and leaves no file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from avalanche.benchmarks import CLScenario

from harness.config.resolve import Resolved
from harness.config.user_plugins import make_plugin
from harness.display.screen import Screen
from harness.plan.ledger import Ledger
from harness.plan.storage import checkpoint_bytes
from harness.plan.towers import counted_towers
from harness.plan.updates import Updates
from harness.run import costs
from harness.run.build import build_strategy
from harness.run.heads import Heads
from harness.run.state import checkpoint_contents
from metrics.plugins import AccuracyMatrix, MeasuresBeforeTraining, ZeroShotRetention
from models.encoder import DualEncoder
from reference_data import Reference
from strategies.engine.strategy import Strategy


class Counted(NamedTuple):
    """The result of a counted run.

    Attributes:
        ledger: what passed the towers, what was read, and seconds.
        updates: the updates of each task.
        strategy: the strategy after the last task.
        checkpoints: bytes of the checkpoint before training and after each task.
        state_bytes: bytes of the method's state after the last task, without the encoder.
        optimizer_bytes: bytes of the optimiser's state.
        rows: evaluated rows of the matrix.
        test_sets: test sets of a row.
        weights: bytes of the encoder's tensors, which a checkpoint within a task has besides its snapshot.
    """

    ledger: Ledger
    updates: Updates
    strategy: Strategy
    checkpoints: list[int]
    state_bytes: int
    optimizer_bytes: int
    rows: int
    test_sets: int
    weights: int


class CountedMeasures(MeasuresBeforeTraining):
    """The measures of a run, in a phase of the ledger."""

    ledger: Ledger

    def before_training_exp(self, strategy: Any) -> Any:
        """Take the measures before a task."""
        with self.ledger.during("measures"):
            return super().before_training_exp(strategy)

    def after_training_exp(self, strategy: Any) -> Any:
        """Take the measures after a task."""
        with self.ledger.during("measures"):
            return super().after_training_exp(strategy)


def count_run(
    resolved: Resolved,
    encoder: DualEncoder,
    scenario: CLScenario,
    reference: Reference | None,
    ledger: Ledger,
    device: torch.device,
    timed: Sequence[int],
    widest: int,
) -> Counted:
    """Make every step of a run (`harness.run.loop`) on stand-ins, with one update for all alike.

    Args:
        resolved: the run.
        encoder: its model.
        scenario: its stand-in scenario.
        reference: its stand-in reference data.
        ledger: what is counted.
        device: where it runs.
        timed: numbers of the tasks of which updates are timed.
        widest: the number of the task in which activations are summed.
    """
    resolved = dataclasses.replace(resolved, config=dataclasses.replace(resolved.config, workers=0))
    accuracy = AccuracyMatrix()
    measures = CountedMeasures(resolved.measures, resolved.config.measure_n, resolved.config.seed)
    measures.ledger = ledger
    meters = [accuracy, measures, ZeroShotRetention(accuracy, resolved.tasks, resolved.retained)]
    plugins: dict[str, Any] = {name: make_plugin(name, options) for name, options in resolved.plugins.items()}
    updates = Updates(ledger, timed, widest)
    strategy = build_strategy(resolved, encoder, reference, meters, {**plugins, "plan": updates}, device, Screen(quiet=True))
    heads, train = Heads.of(scenario), list(scenario.streams["train"])
    tests = [*scenario.streams["test"], *scenario.streams["heldout"]]
    evaluates = strategy.learns or resolved.plan.protocol == "class"

    def stored() -> int:
        return checkpoint_bytes(*checkpoint_contents(strategy, plugins, heads))

    with counted_towers(ledger):
        ledger.enter("preparation")
        strategy.prepare_run()
        with ledger.during("measures"):
            measures.measure_initial(strategy, train)
        with ledger.during("evaluation"):
            strategy.eval(tests)
        checkpoints, rows = [stored()], 1
        for experience in train:
            ledger.enter("around")
            if strategy.learns or len(experience.dataset):
                strategy.train(experience, eval_streams=[])
            strategy.trained = experience.current_experience + 1
            if evaluates:
                with ledger.during("evaluation"):
                    strategy.eval(tests)
                rows += 1
            measures.reset()
            checkpoints.append(stored())
        ledger.enter("timing")
        costs.milliseconds_per_image(strategy, tests)
        ledger.enter("around")
    optimizer = costs.tensor_bytes(list(strategy.optimizer.state_dict()["state"].values())) if strategy.trains else 0
    return Counted(
        ledger,
        updates,
        strategy,
        checkpoints,
        held_bytes(strategy, plugins),
        optimizer,
        rows,
        len(tests),
        costs.tensor_bytes(encoder.state_dict()),
    )


def held_bytes(strategy: Strategy, plugins: Mapping[str, Any]) -> int:
    """Return the bytes of the tensors that a method and its plugins hold besides the model, each storage once."""
    taken = {t.untyped_storage().data_ptr() for t in [*strategy.encoder.state_dict().values(), *strategy.trainable]}
    seen: dict[int, int] = {}
    skipped = {"model", "optimizer", "evaluator", "plugins", "clock", "experience", "adapted_dataset", "dataloader"}
    values = [value for name, value in vars(strategy).items() if name not in skipped]
    _collect([*values, *(vars(plugin) for plugin in plugins.values())], seen, set())
    return sum(size for pointer, size in seen.items() if pointer not in taken)


def _collect(value: Any, storages: dict[int, int], visited: set[int]) -> None:
    """Add the storages of the tensors in nested containers, modules and plain objects."""
    if id(value) in visited:
        return
    visited.add(id(value))
    if isinstance(value, torch.Tensor):
        storages[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
    elif isinstance(value, torch.nn.Module):
        _collect([*value.parameters(), *value.buffers()], storages, visited)
    elif isinstance(value, Mapping):
        for each in value.values():
            _collect(each, storages, visited)
    elif isinstance(value, (list, tuple, set)):
        for each in value:
            _collect(each, storages, visited)
    elif type(value).__module__.partition(".")[0] in ("strategies", "models"):
        _collect(vars(value) if hasattr(value, "__dict__") else [], storages, visited)
