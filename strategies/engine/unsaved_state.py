"""What a user's method or plugin keeps and does not save: found before a resumed run continues with other numbers.

A resumed run has what `before_run` makes again and what `load` restores. `OwnState.changed` gives the fingerprints of
everything else that had changed when a checkpoint was written; `OwnState.compare` finds, in the resumed run, what is not the
same. Such an attribute may be set again before it is read, as one made in `before_experience` is. So it is removed, and the
first read of it raises `StartOver`. A step costs nothing unless such an attribute exists.

Not seen: state in libraries, in files, and in attributes of experiences and domains.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from strategies.engine.fingerprint import PRIMITIVES, UNKNOWN, Fingerprints, changed
from strategies.engine.method_checks import is_built_in

OURS = ("strategies", "benchmarks", "models", "metrics", "harness", "reference_data", "avalanche")
ELSEWHERE = (*OURS, "__main__", "cli", "tests", "conftest", "tools", "full_roots")
STALE = "stale"
"""Recorded for an attribute that was neither restored nor set again before the next checkpoint."""


class StartOver(BaseException):
    """A resumed run has read state that its checkpoint does not hold. Not an Exception, so that no method catches it.

    `names` are the attributes; `within`: only the save within a task lacks them, so that the task can start at its beginning.
    """

    def __init__(self, names: Sequence[str], within: bool):
        super().__init__(", ".join(names))
        self.names, self.within = tuple(names), within


class OwnState:
    """The state of a user's classes: of a strategy, and of the plugins that come from the user."""

    def __init__(self, strategy: Any, plugins: Mapping[str, Any] | None = None):
        self._strategy = strategy
        self._owners = {type(strategy).__name__: strategy} if _user_classes(strategy) else {}
        self._owners.update({type(p).__name__: p for p in (plugins or {}).values() if _user_classes(p)})
        self._foreign = {label: set(_foreign_names(owner.__class__)) for label, owner in self._owners.items()}
        if strategy in self._owners.values():
            # A strategy has no constructor of its own.
            self._foreign[type(strategy).__name__] |= vars(strategy).keys()
        self._parts = {"encoder": strategy.encoder, "classifier": strategy.classifier} if self._owners else {}
        for label, part in self._parts.items():
            self._foreign[label] = {*vars(part), *_stored_by_self(type(part))}
        self._before: dict[str, str] = {}
        self._stale: dict[str, _Stale] = {}
        self._tripped: StartOver | None = None

    def prepared(self) -> None:
        """`before_run` is over: what it made, a resumed run makes again."""
        self._before = self._now()

    def changed(self) -> dict[str, str]:
        """Fingerprints, by name, of what has changed since `prepared`.

        Raises StartOver if the method has read a lost attribute and caught the error.
        """
        if self._tripped is not None:
            raise self._tripped
        lost = {name: STALE for name, guard in self._stale.items() if not guard.settled}
        return {**changed(self._before, self._now()), **lost}

    def compare(self, saved: Mapping[str, str], within: bool = False) -> list[str]:
        """Guard every attribute that is not what it was when `saved` was taken; their names.

        Raises StartOver for those that cannot be guarded: of classes, modules, the encoder and the classifier.
        """
        if not self._owners:
            return []
        now = self._now()
        differing = [name for name, found in saved.items() if found == UNKNOWN or now.get(name) != found]
        at_once = [name for name in differing if name.rpartition(".")[0] not in self._owners]
        if at_once:
            raise StartOver(at_once, within)
        for label, owner in self._owners.items():
            names = [name.rpartition(".")[2] for name in differing if name.rpartition(".")[0] == label]
            if names:
                self._guard(label, owner, names, within)
        return differing

    def unsaved(self) -> list[str]:
        """Attributes that have changed since `prepared` and are read, but neither in `state` nor set again by a hook.

        A guess from the source of the class, for a warning.
        """
        found = []
        for label, owner in self._owners.items():
            hooks = ("before_experience", "companion_images", "compute_loss", "forward", "before_training_exp")
            again = {name for hook in hooks for name in _attributes(_user_function(owner, hook), "STORE_ATTR")}
            read = {name for hook in ("state", "task_state") for name in _attributes(_user_function(owner, hook), "LOAD_ATTR")}
            functions = [value for kind in _user_classes(owner) for value in vars(kind).values()]
            used = {name for value in functions for name in _attributes(value, "LOAD_ATTR")}
            for name in changed(self._before, self._now()):
                holder, _, attribute = name.rpartition(".")
                if holder == label and attribute in used - (again | read):
                    found.append(name)
        return found

    def _guard(self, label: str, owner: Any, names: Sequence[str], within: bool) -> None:
        def lost(name: str) -> StartOver:
            self._tripped = StartOver([f"{label}.{name}"], within)
            return self._tripped

        guards = {name: _Stale(name, lost) for name in names}
        self._stale.update({f"{label}.{name}": guard for name, guard in guards.items()})
        kind = type(owner)
        for name in names:
            vars(owner).pop(name, None)
            for registered in ("_modules", "_parameters", "_buffers"):
                vars(owner).get(registered, {}).pop(name, None)
        namespace = {**guards, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
        make: Any = type(kind)
        owner.__class__ = make(kind.__name__, (kind,), namespace)

    def _now(self) -> dict[str, str]:
        if not self._owners:
            return {}
        prints = Fingerprints(self._shared())
        return {name: prints.of(value) for name, value in self._values()}

    def _values(self) -> Iterator[tuple[str, Any]]:
        for label, owner in self._owners.items():
            yield from _own(label, vars(owner), self._foreign[label])
        for label, part in self._parts.items():
            yield from _own(label, vars(part), self._foreign[label])
        for kind in dict.fromkeys(kind for owner in self._owners.values() for kind in _user_classes(owner)):
            yield from shared_data(kind)

    def _shared(self) -> dict[str, Any]:
        strategy = self._strategy
        found: dict[str, Any] = {"strategy": strategy, "encoder": strategy.encoder, "classifier": strategy.classifier}
        base = _foreign_names(strategy.__class__)
        found.update({name: value for name, value in vars(strategy).items() if name in base})
        found.update({f"encoder.{name}": parameter for name, parameter in strategy.encoder.named_parameters()})
        for owner in self._owners.values():
            found.setdefault(type(owner).__name__, owner)
        experience = strategy.experience
        for other in getattr(experience, "origin_stream", ()) or ():
            name, domain = f"experience {other.current_experience}", getattr(other, "domain", None)
            found.update({name: other, f"{name} data": other.dataset, f"{name} domain": domain})
            found.update({f"{name} {split}": getattr(domain, split, None) for split in ("train", "val", "test")})
        return {name: value for name, value in found.items() if not isinstance(value, (tuple, frozenset))}


class _Stale:
    """Stands for an attribute of which a resumed run has no right value, until it is set."""

    def __init__(self, name: str, lost: Any):
        self.name, self.lost, self.settled = name, lost, False

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        if owner is None:
            return self
        if not self.settled:
            raise self.lost(self.name)
        return vars(owner)[self.name]

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self.name], self.settled = value, True

    def __delete__(self, owner: Any) -> None:
        vars(owner).pop(self.name, None)
        self.settled = True


def shared_data(kind: type) -> Iterator[tuple[str, Any]]:
    """The data of a user's class, of its module and of the modules in the same folder: what all its objects share."""
    for name, value in list(vars(kind).items()):
        if not name.startswith("__") and name != "_abc_impl" and _is_data(value):
            yield f"class {kind.__name__}.{name}", value
    module = sys.modules.get(kind.__module__)
    for each in [] if module is None else [module, *neighbours(module)]:
        for name, value in list(vars(each).items()):
            if not name.startswith("__") and _is_data(value):
                yield f"module {each.__name__.removeprefix('perennial_user_')}.{name}", value


def neighbours(module: types.ModuleType) -> list[types.ModuleType]:
    """The imported modules in the folder of a user's file, and those of packages there."""
    path = getattr(module, "__file__", None)
    if path is None or not module.__name__.startswith("perennial_user_"):
        return []
    folder, near = os.path.dirname(path), []
    # Thousands of modules: text is compared before anything is taken apart.
    for name, other in list(sys.modules.items()):
        place = getattr(other, "__file__", None)
        if not isinstance(place, str) or not place.startswith(folder):
            continue
        ours = name.partition(".")[0] in ELSEWHERE or name.startswith("perennial_user_")
        parent = os.path.dirname(place)
        if not ours and folder in (parent, os.path.dirname(parent)):
            near.append(other)
    return near


def _is_data(value: Any) -> bool:
    """Whether a value shared by all objects is data that a run may change, and not code."""
    if isinstance(value, (*PRIMITIVES, Tensor, nn.Module, list, dict, set, tuple)):
        return True
    if isinstance(value, (type, types.ModuleType, property, classmethod, staticmethod, _Stale)) or callable(value):
        return False
    return hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in (*OURS, *sys.stdlib_module_names)


def _own(label: str, values: Mapping[str, Any], foreign: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items()):
        if name not in foreign:
            yield f"{label}.{name}", value


def _user_classes(owner: Any) -> list[type]:
    """The classes of an object that come neither with the project nor with Avalanche, torch or Python."""
    libraries = (*OURS, "torch", *sys.stdlib_module_names)
    kind = owner if isinstance(owner, type) else type(owner)
    return [each for each in kind.__mro__ if each.__module__.partition(".")[0] not in libraries]


# Reading the bytecode of a class takes longer than writing a checkpoint, and a class does not change.
@functools.cache
def _foreign_names(owner: Any) -> frozenset[str]:
    """Names of attributes that the project's and Avalanche's classes set themselves, unless a user's class sets them too.

    What the training loop itself sets is always theirs.
    """
    mine = set(_user_classes(owner))
    theirs = [kind for kind in owner.__mro__ if kind not in mine]
    methods = {name for kind in theirs for name in _stored_by_self(kind)}
    loop = {name for kind in theirs if kind.__module__ in LOOP or not is_built_in(kind) for name in _stored_by_self(kind)}
    user = {name for kind in mine for value in vars(kind).values() for name in _attributes(value, "STORE_ATTR")}
    return frozenset(loop | (methods - user))


LOOP = ("strategies.engine.strategy", "strategies.engine.avalanche_template")


def _user_function(owner: Any, name: str) -> Any:
    return next((vars(kind)[name] for kind in _user_classes(owner) if name in vars(kind)), None)


def _stored_by_self(kind: type) -> set[str]:
    """Names that the functions of a class assign to `self`."""
    return set().union(*map(_stored_here, kind.__mro__))


@functools.cache
def _stored_here(kind: Any) -> frozenset[str]:
    return frozenset(name for value in vars(kind).values() for name in _attributes(value, "STORE_ATTR", of_self=True))


def _attributes(value: Any, instruction: str, of_self: bool = False) -> Iterator[str]:
    """Names of attributes that a function or property stores ("STORE_ATTR") or reads ("LOAD_ATTR")."""
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _attributes(part, instruction, of_self)
        return
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    waiting = [code] if isinstance(code, types.CodeType) else []
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        previous: Any = None
        for found in dis.get_instructions(code):
            if found.opname in (instruction, "LOAD_METHOD" if instruction == "LOAD_ATTR" else instruction):
                loaded = previous.argval if previous is not None else None
                if not of_self or loaded == "self" or (isinstance(loaded, tuple) and loaded[-1] == "self"):
                    yield str(found.argval)
            previous = found
