"""Save and restore the training state within a task, so that a killed run continues bit-exactly.

The state at the start of the task is made again: the weights come from the last experience's checkpoint or from
`Strategy.start_weights`, and from them `before_experience` makes what the method prepares. Then the saved weights, optimiser,
generators, position in the data and the method's own changes (`Strategy.task_state`) are restored over it.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.scenario import DomainExperience
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from strategies.engine.batches import Skippable
from strategies.engine.best_pass import BestPass, load_heads
from strategies.engine.losses import check_finite, settle
from strategies.engine.method_checks import is_built_in
from strategies.engine.unsaved_state import OwnState

# Hooks called before the first or after the last update of a task. A user's class may override them without `task_state`. Any
# other override may change something during the task, and only the class can say what.
AROUND = (
    *("before_run", "start_weights", "before_experience", "begin_stage", "after_experience", "state", "load", "budget"),
    *("learning_rate", "files", "selects", "reference_count", "test_features", "predict"),
    *("grow", "training_route", "task_alpha", "directions", "refinements", "questions", "grid", "after_search"),
)


class Resumable(Protocol):
    """The parts of a `Strategy` that are saved within a task."""

    experience: DomainExperience
    optimizer: torch.optim.Optimizer
    device: torch.device
    history: list[dict[str, Any]]
    images_seen: int
    own_state: OwnState | None
    best: BestPass | None

    @property
    def encoder(self) -> DualEncoder:
        """The encoder."""

    @property
    def classifier(self) -> PromptClassifier:
        """The classifier."""

    def task_state(self) -> dict[str, Any]:
        """Return what the method has changed during the task."""

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Restore what `task_state` returned after `step` updates."""


def refusal(strategy: object, plugins: Sequence[str] = ()) -> str | None:
    """Return why a task of this strategy cannot be continued in the middle, or None if it can."""
    if plugins:
        return f"the plugins {', '.join(plugins)} are saved only after each task"
    kinds = type(strategy).__mro__
    built_in = next(kind for kind in kinds if is_built_in(kind))
    has_task_state = False
    for kind in kinds[: kinds.index(built_in)]:
        overridden = [
            name
            for name, value in vars(kind).items()
            if hasattr(built_in, name) and name not in AROUND and not name.startswith("__") and _is_code(value)
        ]
        has_task_state = has_task_state or "task_state" in vars(kind)
        if overridden and not has_task_state:
            return f"{kind.__name__} overrides {overridden[0]} and not task_state, so it is saved only after each task"
    return None


def _is_code(value: object) -> bool:
    """Return whether an attribute of a class is code and not a setting."""
    return isinstance(value, (property, classmethod, staticmethod)) or inspect.isroutine(value)


class Batches:
    """The batches of a loader without end, restarting at its end, and the position among them.

    Raises ValueError for a loader without batches.
    """

    def __init__(self, loader: DataLoader[Any]):
        self.loader = loader
        self.taken = 0
        self._taken_of_pass = 0
        self._generators_before: dict[str, Any] = {}
        self._iterator: Iterator[Any] | None = None
        sampler = getattr(loader, "batch_sampler", None)
        self._sampler = sampler if isinstance(sampler, Skippable) else None
        if self._sampler is not None:
            self._sampler.repeats = True

    def __next__(self) -> Any:
        batch = None if self._iterator is None else next(self._iterator, None)
        while batch is None:
            left = self._to_skip
            batch = next(self._start(), None)
            if batch is None and self._to_skip == left:
                raise ValueError("the training split is empty")
        self.taken += 1
        self._taken_of_pass += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Return the batches taken, in all and in this pass, and the global generators before this pass.

        The order of the pass came from these generators.
        """
        return {"taken": self.taken, "of_pass": self._taken_of_pass, "before": self._generators_before}

    def restore(self, state: dict[str, Any]) -> None:
        """Return to the position of `state`. The global generators are changed: set them afterwards."""
        if self._sampler is not None:
            self._sampler.skip = self.taken = state["taken"]
            return
        set_generators(state["before"])
        self._start()
        for _ in range(state["of_pass"]):
            next(self)
        self.taken = state["taken"]

    @property
    def _to_skip(self) -> int:
        return 0 if self._sampler is None else self._sampler.skip

    def _start(self) -> Iterator[Any]:
        """Start a pass."""
        self._generators_before = generators()
        self._taken_of_pass = 0
        self._iterator = iter(self.loader)
        return self._iterator


def generators() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and torch's global generators, as tensors and numbers."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": [state.cpu() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Restore the states that `generators` returned."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])


def snapshot(strategy: Resumable, step: int, batches: Batches, losses: Sequence[Tensor], seconds: float) -> dict[str, Any]:
    """Return the state of a task after `step` updates. Waits for the device.

    The tensors are those in use, so save them before the next update.

    Raises:
        NonFiniteLoss: the state after such a loss cannot be continued.
    """
    check_finite(losses, strategy.experience.domain.name)
    history = [dict(record) for record in strategy.history]
    settle(history, losses)
    optimizer = strategy.optimizer.state_dict()["state"]
    return {
        "step": step,
        "optimizer": {str(index): dict(state) for index, state in optimizer.items()},
        "heads": strategy.classifier.head_state(),
        "method": strategy.task_state(),
        **({} if strategy.best is None else {"best": strategy.best.state()}),
        "attributes": {} if strategy.own_state is None else strategy.own_state.changed(),
        "batches": batches.state(),
        "generators": generators(),
        "history": history,
        "images_seen": strategy.images_seen,
        "seconds": seconds,
    }


def restore_snapshot(strategy: Resumable, weights: dict[str, Tensor], saved: dict[str, Any], batches: Batches) -> list[Tensor]:
    """Bring a task that has just been prepared to the point of a snapshot.

    Args:
        strategy: its `before_experience` has been called.
        weights: the state dict of its encoder at the snapshot.
        saved: what `snapshot` returned.
        batches: the task's batches, of which none has been taken.

    Returns:
        The losses so far.
    """
    strategy.encoder.load_state_dict(weights)
    load_heads(strategy.classifier, saved["heads"])
    if strategy.best is not None:
        strategy.best.load(saved["best"])
    optimizer = strategy.optimizer.state_dict()
    optimizer["state"] = {int(index): state for index, state in saved["optimizer"].items()}
    strategy.optimizer.load_state_dict(optimizer)
    strategy.load_task(saved["method"], saved["step"])
    if strategy.own_state is not None:
        strategy.own_state.compare(saved.get("attributes", {}), within=True)
    batches.restore(saved["batches"])
    strategy.images_seen = saved["images_seen"]
    losses = [record["loss"] for record in saved["history"]]
    strategy.history = [{name: v for name, v in record.items() if name != "loss"} for record in saved["history"]]
    set_generators(saved["generators"])
    return [torch.tensor(loss, dtype=strategy.encoder.mean.dtype, device=strategy.device) for loss in losses]
