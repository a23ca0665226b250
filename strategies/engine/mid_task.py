"""A task in the middle: all that training has changed since its start, so that a killed run goes on from there to the bit.

What a task starts with is made again: the weights of the last experience's checkpoint, and from them, by `before_experience`,
what the method prepares. Over that come the weights, the optimiser, generators, the place in the data and what the method
itself has changed meanwhile (`Strategy.task_state`).
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strategies.engine.batches import Skippable
from strategies.engine.losses import check_finite, settle
from strategies.engine.method_checks import is_built_in

# What is called before the first update of a task or after its last, so that a class of a user's may have its own without a
# word on what changes in between. Whatever else it overrides may change something during the task, and only it can say what.
AROUND = (
    *("before_run", "before_experience", "after_experience", "state", "load", "budget", "learning_rate", "files", "selects"),
    *("reference_count", "task_alpha", "combine", "merged", "questions", "grid", "rebase"),
)


def refusal(strategy: Any, plugins: Sequence[str] = ()) -> str | None:
    """Why a task of this strategy cannot be taken up in the middle; None when it can."""
    if plugins:
        return f"the plugins {', '.join(plugins)} are saved after each task only"
    said, kinds = False, type(strategy).__mro__
    comes_along = next(kind for kind in kinds if is_built_in(kind))
    for kind in kinds[: kinds.index(comes_along)]:
        own = [
            name
            for name, value in vars(kind).items()
            if hasattr(comes_along, name) and name not in AROUND and not name.startswith("__") and _acts(value)
        ]
        said = said or "task_state" in vars(kind)
        if own and not said:
            return f"{kind.__name__} has its own {own[0]} and no task_state, so it is saved after each task only"
    return None


def _acts(value: Any) -> bool:
    """Whether an attribute of a class is code and no setting."""
    return isinstance(value, (property, classmethod, staticmethod)) or inspect.isroutine(value)


class Batches:
    """A loader's batches without end, starting over at its end, and where they stand.

    Raises ValueError for a loader without any.
    """

    def __init__(self, loader: Any):
        self.loader = loader
        self.taken = 0
        self._of_pass = 0
        self._before: dict[str, Any] = {}
        self._iterator: Iterator[Any] | None = None

    def __next__(self) -> Any:
        batch = None if self._iterator is None else next(self._iterator, None)
        while batch is None:
            left = self._to_skip
            self._start()
            batch = next(self._iterator, None)  # type: ignore[arg-type]
            if batch is None and self._to_skip == left:
                raise ValueError("the training split is empty")
        self.taken += 1
        self._of_pass += 1
        return batch

    def state(self) -> dict[str, Any]:
        """Batches taken, in all and in this pass, and the global generators before this pass, which its order came from."""
        return {"taken": self.taken, "of_pass": self._of_pass, "before": self._before}

    def go_on(self, state: dict[str, Any]) -> None:
        """Stand where `state` was taken. The global generators are left anywhere: set them afterwards."""
        sampler = getattr(self.loader, "batch_sampler", None)
        if isinstance(sampler, Skippable):
            sampler.skip = self.taken = state["taken"]
            return
        set_generators(state["before"])
        self._start()
        for _ in range(state["of_pass"]):
            next(self)
        self.taken = state["taken"]

    @property
    def _to_skip(self) -> int:
        sampler = getattr(self.loader, "batch_sampler", None)
        return sampler.skip if isinstance(sampler, Skippable) else 0

    def _start(self) -> None:
        self._before = generators()
        self._of_pass = 0
        self._iterator = iter(self.loader)


def generators() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's global generators, as tensors and numbers."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "python": [version, torch.tensor(words), gauss],
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": [state.cpu() for state in torch.cuda.get_rng_state_all()] if torch.cuda.is_available() else [],
    }


def set_generators(state: dict[str, Any]) -> None:
    """Take back what `generators` gave."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"]:
        torch.cuda.set_rng_state_all([each.cpu() for each in state["cuda"]])


def snapshot(strategy: Any, step: int, batches: Batches, losses: Sequence[Tensor], seconds: float) -> dict[str, Any]:
    """A task after `step` updates; tensors are those in use, so save them before the next update. Waits for the device.

    Raises NonFiniteLoss: what follows such a loss is no state to go on from.
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
        "attributes": {} if strategy.own_state is None else strategy.own_state.changed(),
        "batches": batches.state(),
        "generators": generators(),
        "history": history,
        "images_seen": strategy.images_seen,
        "seconds": seconds,
    }


def go_on(strategy: Any, weights: dict[str, Tensor], saved: dict[str, Any], batches: Batches) -> list[Tensor]:
    """Bring a task that has just been prepared to where `snapshot` was taken; the losses so far."""
    strategy.encoder.load_state_dict(weights)
    # In place: the optimiser holds these parameters.
    with torch.no_grad():
        for label, head in saved["heads"].items():
            strategy.classifier.heads[label].copy_(head)
    optimizer = strategy.optimizer.state_dict()
    optimizer["state"] = {int(index): state for index, state in saved["optimizer"].items()}
    strategy.optimizer.load_state_dict(optimizer)
    strategy.load_task(saved["method"], saved["step"])
    if strategy.own_state is not None:
        strategy.own_state.compare(saved.get("attributes", {}), within=True)
    batches.go_on(saved["batches"])
    strategy.images_seen = saved["images_seen"]
    losses = [record["loss"] for record in saved["history"]]
    strategy.history = [{name: v for name, v in record.items() if name != "loss"} for record in saved["history"]]
    set_generators(saved["generators"])
    return [torch.tensor(loss, dtype=strategy.encoder.mean.dtype, device=strategy.device) for loss in losses]
