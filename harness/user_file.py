"""A user's own strategy: the class in a file of theirs, which is run as code."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import sys
import types
from pathlib import Path

from harness.records import file_sha256
from models.paths import user_path
from models.registry import UserError, unknown


def is_file(strategy: str) -> bool:
    """Whether --strategy names a user's file and not a registered strategy."""
    return strategy.partition(":")[0].endswith(".py")


def load_strategy(reference: str) -> tuple[type, str]:
    """The class of `file.py:Class` (or of a file with a single strategy) and the SHA-256 of the file."""
    path, _, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    file = user_path(path)
    if not file.is_file():
        raise UserError(f"There is no strategy file {path!r}.")
    sha = file_sha256(file)
    return _strategy_in(_run_file(str(file.resolve()), sha), path, name), sha


def check_strategy(found: object, name: str) -> None:
    """Raise UserError unless what is offered under a strategy's name is a subclass of `Strategy`."""
    from strategies.base import Strategy

    if not (inspect.isclass(found) and issubclass(found, Strategy)):
        raise UserError(f"The strategy {name!r} is no subclass of strategies.Strategy but {found!r}.")


def source_sha256(strategy_class: type) -> str | None:
    """The SHA-256 of the file that a class is defined in; None where there is none to read (a class made in a session)."""
    try:
        return file_sha256(Path(inspect.getfile(strategy_class)))
    except (OSError, TypeError):
        return None


@functools.cache
def _run_file(path: str, sha256: str) -> types.ModuleType:
    """The module of a user's file, run once for each content: a file that registers names could not be run twice."""
    file = Path(path)
    specification = importlib.util.spec_from_file_location(f"perennial_user_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"{path!r} is not a Python file.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    # Its neighbours, behind everything else: a folder named `models` beside it must not hide ours.
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    specification.loader.exec_module(module)
    return module


def _strategy_in(module: types.ModuleType, path: str, name: str) -> type:
    """The strategy class that a user's file defines. Raises UserError when there is none, or it is not clear which."""
    from strategies.base import Strategy

    own = {
        n: c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, Strategy) and c.__module__ == module.__name__
    }
    if not own:
        raise UserError(f"{path} defines no subclass of strategies.Strategy.")
    if not name:
        if len(own) > 1:
            raise UserError(f"{path} defines several strategies, say which: {path}:{' or '.join(own)}.")
        name = next(iter(own))
    if name not in own:
        raise unknown(f"strategy in {path}", name, own)
    return own[name]
