"""Stand-ins for packages that Avalanche imports and a run does not use. Each is imported when it is first used.

Avalanche 0.6 imports all its plugins, loggers and metrics, and with them these packages. wandb leaves two folders in the
temporary directory at every start. qpsolvers imports jax, whose callback in the garbage collector swallows exceptions that
signal handlers raise. torchmetrics imports scipy.signal and transformers, GPUtil needs distutils, and gdown an HTML parser.
Together they take as long to import as torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

DEFERRED: dict[str, tuple[str, ...]] = {
    "wandb": (),
    "qpsolvers": (),
    "GPUtil": (),
    "gdown": (),
    "torchmetrics": (),
    "torchmetrics.functional": ("accuracy",),
}
"""Modules, and the functions that Avalanche imports from them by name. A package precedes its modules."""


class Deferred(ModuleType):
    """A module that is imported when something in it is first read."""

    def __getattr__(self, name: str) -> Any:
        # Called for attributes that the stand-in lacks. Python itself looks up these two.
        if name in ("__wrapped__", "__warningregistry__"):
            raise AttributeError(name)
        return getattr(self.load(), name)

    def load(self) -> ModuleType:
        """Import the real module in place of the stand-ins of its package, and return it."""
        package = self.__name__.partition(".")[0]
        for name in DEFERRED:
            if name.partition(".")[0] == package and isinstance(sys.modules.get(name), Deferred):
                del sys.modules[name]
        return importlib.import_module(self.__name__)


class _Path(list[str]):
    """The `__path__` of a stand-in. Python tests its presence, and iterates it only to find a submodule."""

    def __init__(self, module: Deferred):
        super().__init__()
        self._module = module

    def __iter__(self) -> Iterator[str]:
        return iter(self._module.load().__path__)


def defer() -> None:
    """Install the stand-ins for the modules that are installed and not yet imported."""
    for name, functions in DEFERRED.items():
        package = name.partition(".")[0]
        if name in sys.modules or (package != name and not isinstance(sys.modules.get(package), Deferred)):
            continue
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        module = sys.modules[name] = Deferred(name)
        module.__spec__, module.__file__, module.__path__ = spec, spec.origin, _Path(module)
        for function in functions:
            setattr(module, function, _late(name, function))


def _late(module: str, name: str) -> Any:
    """Return a function that imports the real one when it is called."""

    def call(*arguments: Any, **options: Any) -> Any:
        stand_in = sys.modules[module]
        real = stand_in.load() if isinstance(stand_in, Deferred) else stand_in
        return getattr(real, name)(*arguments, **options)

    call.__name__ = call.__qualname__ = name
    return call
