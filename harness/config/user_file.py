"""Load a user's strategy, tuning, plugin or logger: a class in a Python file, which is run as code."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import os
import sys
import threading
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from harness.display.console import complain
from harness.records.files import file_sha256
from models.files import read_bytes, reason
from models.paths import user_path
from models.registry import UserError, first_line, unknown

if TYPE_CHECKING:
    from harness.loggers.logger import Logger
    from models.tuning_options import TuningOptions

SLOW = 10.0
"""Seconds after which an import that is still running is reported."""


class _Loaded(NamedTuple):
    """A module of a user's file, and fingerprints of its data right after the import."""

    module: types.ModuleType
    data: dict[str, str]


_loaded: dict[tuple[str, str], _Loaded] = {}


def is_file(name: str) -> bool:
    """Return whether a strategy, tuning, plugin or logger is given as a file, not by its registered name."""
    return name.partition(":")[0].endswith(".py")


def file_of(reference: str) -> Path:
    """Return the path in `file.py` or `file.py:Class`."""
    path = reference if reference.endswith(".py") else reference.rpartition(":")[0]
    return user_path(path)


def check_source(reference: str, kind: str) -> None:
    """Check a file of code without running it.

    Args:
        reference: `file.py` or `file.py:Class`.
        kind: "strategy", "tuning", "plugin" or "logger", for messages.

    Raises:
        UserError: for a file that is missing, is not Python or does not define the class.
    """
    path, name = file_of(reference), split_reference(reference)[1]
    try:
        tree = ast.parse(read_bytes(path), str(path))
    except FileNotFoundError as error:
        raise UserError(f"There is no {kind} file {str(path)!r}.") from error
    except OSError as error:
        raise UserError(f"Cannot read the {kind} file {path}: {reason(error)}.") from error
    except SyntaxError as error:
        raise UserError(f"{path} cannot be imported: {type(error).__name__} in line {error.lineno}: {error.msg}.") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise UserError(f"{path} cannot be imported: {first_line(error)}.") from error
    nodes = list(ast.walk(tree))
    assigned = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assigned |= {
        (alias.asname or alias.name).partition(".")[0]
        for node in nodes
        for alias in getattr(node, "names", ())
        if isinstance(alias, ast.alias)
    }
    classes = [node.name for node in nodes if isinstance(node, ast.ClassDef)]
    if name and name not in classes and not assigned & {name, "*"}:
        raise unknown(f"{kind} in {path}", name, classes)


def load_strategy(reference: str) -> tuple[type, str]:
    """Return the class of `file.py:Class`, or of a file with a single strategy, and the SHA-256 of the file.

    Raises UserError for a file that is missing, cannot be imported or does not define the class.
    """
    from strategies.engine.strategy import Strategy

    return _load(reference, Strategy, "strategy", "strategies", "strategies.Strategy")


def load_tuning(reference: str) -> tuple[type[TuningOptions], str]:
    """Return the tuning of `file.py:Class` and the SHA-256 of the file. Raises UserError as `load_strategy` does."""
    from models.tuning_options import TuningOptions, check_tuning

    kind, sha = _load(reference, TuningOptions, "tuning", "tunings", "models.tuning_options.TuningOptions")
    check_tuning(kind, reference)
    return kind, sha


def load_plugin(reference: str) -> tuple[type, str]:
    """Return the plugin class of `file.py:Class` and the SHA-256 of the file. Raises UserError as `load_strategy` does."""
    from avalanche.core import BasePlugin

    return _load(reference, BasePlugin, "plugin", "plugins", "avalanche.core.SupervisedPlugin")


def load_logger(reference: str) -> type[Logger]:
    """Return the logger class of `file.py:Class`. Raises UserError as `load_strategy` does."""
    from harness.loggers.logger import Logger

    return _load(reference, Logger, "logger", "loggers", "harness.loggers.Logger")[0]


def split_reference(reference: str) -> tuple[str, str]:
    """Return the path and the class name of `file.py:Class`. The class name of `file.py` is ""."""
    path, _, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    return path, name


def check_strategy(target: object, name: str) -> None:
    """Raise UserError if the object registered as a strategy is not a subclass of `Strategy`."""
    from strategies.engine.strategy import Strategy

    if not (inspect.isclass(target) and issubclass(target, Strategy)):
        raise UserError(f"The strategy {name!r} is not a subclass of strategies.Strategy but {target!r}.")


def source_sha256(strategy_class: type) -> str | None:
    """Return the SHA-256 of the file that defines a class; None for a class from an interactive session."""
    try:
        return file_sha256(Path(inspect.getfile(strategy_class)))
    except (OSError, TypeError):
        return None


def _load(reference: str, base: type, kind: str, kinds: str, base_name: str) -> tuple[type, str]:
    path, name = split_reference(reference)
    file = user_path(path)
    if not file.is_file():
        raise UserError(f"There is no {kind} file {path!r}.")
    sha = file_sha256(file)
    module = _module(str(file.resolve()), sha)
    classes = {
        n: c for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, base) and c.__module__ == module.__name__
    }
    if not classes:
        raise UserError(f"{path} defines no subclass of {base_name}.")
    if not name:
        if len(classes) > 1:
            raise UserError(f"{path} defines several {kinds}; name one: {path}:{' or '.join(classes)}.")
        name = next(iter(classes))
    if name not in classes:
        raise unknown(f"{kind} in {path}", name, classes)
    return classes[name], sha


def _module(path: str, sha256: str) -> types.ModuleType:
    """Return the module of a user's file. It is imported once per content, and again after a run that changed its data.

    So every run of a command (several seeds, or a run that starts over) begins in the state of a new process.
    """
    loaded = _loaded.get((path, sha256))
    if loaded is not None and _data(loaded.module) == loaded.data:
        return loaded.module
    if loaded is not None:
        _forget(loaded.module)
    name = f"perennial_user_{Path(path).stem}"
    other = sys.modules.get(name)
    if other is not None and getattr(other, "__file__", None) != path:
        name += f"_{sha256[:8]}"
    specification = importlib.util.spec_from_file_location(name, path)
    if specification is None or specification.loader is None:
        raise UserError(f"{path!r} is not a Python file.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    # Files next to it can be imported. They come last, so that a folder named `models` next to it does not hide ours.
    folder = str(Path(path).parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        with importing(path):
            specification.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    _loaded[path, sha256] = _Loaded(module, _data(module))
    return module


@contextmanager
def importing(path: str) -> Iterator[None]:
    """Report an import that takes long, and raise UserError for everything that ends it early."""

    def slow() -> None:
        complain(f"still importing {path} after {SLOW:g} s (Ctrl-C stops) ...")

    timer = threading.Timer(SLOW, slow)
    timer.daemon = True
    timer.start()
    try:
        yield
    except SystemExit as error:
        raise UserError(
            f"{path} calls exit() while it is imported{_line(error, path)}: put the code of the script under "
            '`if __name__ == "__main__":`.'
        ) from error
    except UserError:
        raise
    except SyntaxError as error:
        where = f"line {error.lineno}" if error.filename == path else f"{error.filename}, line {error.lineno}"
        raise UserError(f"{path} cannot be imported: {type(error).__name__} in {where}: {error.msg}.") from error
    except Exception as error:
        raise UserError(
            f"{path} cannot be imported{_line(error, path)}: {type(error).__name__}: {first_line(error)}."
        ) from error
    finally:
        timer.cancel()


def _line(error: BaseException, path: str) -> str:
    """Return the line of a user's file that raised an error, as " (line 3)", or "" if the file is not in the traceback."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if os.path.realpath(frame.filename) == path]
    return f" (line {lines[-1]})" if lines else ""


def _data(module: types.ModuleType) -> dict[str, str]:
    """Return fingerprints of the data of a user's module and of its classes."""
    from strategies.engine.fingerprint import Fingerprints
    from strategies.engine.unsaved_state import shared_data

    fingerprints = Fingerprints()
    classes = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == module.__name__]
    return {name: fingerprints.of(value) for name, value in shared_data(classes)}


def _forget(module: types.ModuleType) -> None:
    """Unload a module, its neighbours and the strategies that it registered, so that it can be imported again."""
    from models.tuning_options import REGISTRY
    from strategies import STRATEGIES
    from strategies.engine.unsaved_state import neighbours

    for other in neighbours(module):
        sys.modules.pop(other.__name__, None)
    for registry in (STRATEGIES, REGISTRY):
        registry.remove(lambda target: getattr(target, "__module__", None) == module.__name__)


def exited(error: SystemExit) -> UserError:
    """Return the error for a user's code that called exit() during a run, with its file and line."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return UserError(f"A strategy, tuning or plugin called exit() during the run{where}; raise an exception instead.")


@contextmanager
def no_silent_end() -> Iterator[None]:
    """Report `os._exit(0)` in a user's code during a run and end with status 1. Report threads that are left after the run."""
    process, end, threads = os.getpid(), os._exit, set(threading.enumerate())

    def ended(status: int) -> NoReturn:
        # Processes that read images end with os._exit too.
        if os.getpid() == process and status == 0:
            complain("a strategy or plugin called os._exit(0) during the run, which is not finished.")
            sys.stderr.flush()
            end(1)
        end(status)

    os._exit = ended
    try:
        yield
    finally:
        os._exit = end
        running = [t.name for t in threading.enumerate() if t not in threads and not t.daemon]
        if running:
            complain(
                f"the thread {', '.join(running)} of a strategy or plugin is still running; the command ends when it ends "
                "(Ctrl-C stops it)."
            )
