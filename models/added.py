"""Modules that a tuning or a method adds to an encoder, and the tower that each of them acts in.

`encoder.added` has the modules of a tuning (`models.places`). They are weights of the encoder. `encoder.grown` has modules by
task (`Strategy.add_module_for`). They are not part of `models.tuning.weights`, because the number of tasks changes.

    state dict       added.<tower>:<name>.<tensor>          grown.<task>.<tower>:<name>.<tensor>
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from models.registry import UserError
from models.route import current_route

Tower = Literal["image", "text", "both", "none"]
TOWERS = ("image", "text", "both", "none")


class Extensible(Protocol):
    """A `models.encoder.DualEncoder`, whose module imports this one."""

    added: nn.ModuleDict
    grown: nn.ModuleDict
    mean: Tensor
    training: bool

    def modules(self) -> Iterator[nn.Module]:
        """Yield all modules."""

    def touch_images(self, tower: bool = True) -> None:
        """Tell caches that image features have changed."""

    def touch_text(self) -> None:
        """Tell caches that text features have changed."""


def add(encoder: Extensible, tower: Tower, name: str, module: nn.Module) -> None:
    """Include a module in the encoder's weights, on its device. A module that is already part of it keeps its name.

    Args:
        encoder: the encoder.
        tower: the tower whose features it changes; "both", or "none" for a module outside the towers.
        name: its name, without "." and ":".
        module: the module.

    Raises:
        UserError: the name is taken or not valid.
    """
    if all(module is not known for known in encoder.modules()):
        _insert(encoder.added, tower, name, module, "the encoder")
        module.to(encoder.mean).train(encoder.training)
    encoder.touch_images(tower=False)
    encoder.touch_text()


def add_for(encoder: Extensible, task: int, tower: Tower, name: str, module: nn.Module) -> None:
    """Add a module of a task, as `add` does. Raises UserError if the name is taken or not valid."""
    if str(task) not in encoder.grown:
        encoder.grown[str(task)] = nn.ModuleDict()
    _insert(_of(encoder.grown, task), tower, name, module, f"task {task}")
    module.to(encoder.mean).train(encoder.training)
    encoder.touch_images(tower=False)
    encoder.touch_text()


def _insert(modules: nn.ModuleDict, tower: str, name: str, module: nn.Module, owner: str) -> None:
    if tower not in TOWERS:
        raise UserError(f"The tower of the added module {name!r} is {tower!r}; it must be one of {', '.join(TOWERS)}.")
    if not name or "." in name or ":" in name:
        raise UserError(f"An added module cannot be called {name!r}: its name must not be empty and must not have '.' or ':'.")
    if any(key.partition(":")[2] == name for key in modules):
        raise UserError(f"There are two modules called {name!r} in {owner}: give each its own name.")
    modules[f"{tower}:{name}"] = module


def of_task(encoder: Extensible, task: int) -> dict[str, nn.Module]:
    """Return the modules of a task by name."""
    return {key.partition(":")[2]: module for key, module in _of(encoder.grown, task).items()}


def _of(grown: nn.ModuleDict, task: int) -> nn.ModuleDict:
    modules: Any = grown[str(task)] if str(task) in grown else nn.ModuleDict()
    assert isinstance(modules, nn.ModuleDict)
    return modules


def in_tower(encoder: Extensible, tower: str) -> Iterator[nn.Module]:
    """Yield the added modules that act in a tower ("image" or "text")."""
    for modules in (encoder.added, *(_of(encoder.grown, int(task)) for task in encoder.grown)):
        for key, module in modules.items():
            if key.partition(":")[0] in (tower, "both"):
                yield module


def parameters_in(encoder: Extensible, tower: str) -> Iterator[nn.Parameter]:
    """Yield the parameters of the added modules that act in a tower."""
    for module in in_tower(encoder, tower):
        yield from module.parameters()


def tower_of_added(name: str) -> str:
    """Return the tower of a tensor of an added module, by its name in the encoder's state dict."""
    parts = name.split(".")
    return parts[2 if parts[0] == "grown" else 1].partition(":")[0]


def stored_bytes(encoder: Extensible) -> dict[int, int]:
    """Return the bytes of parameters and buffers that each task has added, by task."""
    return {
        int(task): sum(tensor.numel() * tensor.element_size() for tensor in modules.state_dict().values())
        for task, modules in encoder.grown.items()
    }


class OfTask(nn.Module):
    """Passes inputs to the module that a task has added under a name (`Strategy.add_module_for`), by the route of the call.

    The route is a task, or a tensor [B] with the task of each image. Without a route, and for a task that has no module of
    this name, nothing is added. Place it once, in a place that adds the module's output (`models.places`); modules of later
    tasks are found by name. The module's first input and its output have one row per image.

    Args:
        encoder: the encoder whose tasks are meant.
        name: the name of the modules.
    """

    def __init__(self, encoder: Extensible, name: str):
        super().__init__()
        # In a tuple, so that the modules are not parts of this one. A deep copy of the encoder copies both consistently.
        self._grown, self.name = (encoder.grown,), name

    def forward(self, x: Tensor) -> Tensor | None:
        """Return the output of the module that the route names [B, ...], or None."""
        route = current_route()
        if isinstance(route, int):
            module = self._module(route)
            return None if module is None else module(x)
        if not isinstance(route, Tensor):
            return None
        added = torch.zeros_like(x)
        for task in torch.unique(route).tolist():
            if (module := self._module(task)) is not None:
                rows = (route == task).nonzero().squeeze(1)
                added = added.index_copy(0, rows, module(x[rows]).to(added.dtype))
        return added

    def _module(self, task: int) -> Any:
        by_key = _of(self._grown[0], task).items()
        return next((module for key, module in by_key if key.partition(":")[2] == self.name), None)
