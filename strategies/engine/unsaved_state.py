"""Find state that a user's method or plugin keeps and does not save, before a resumed run continues with other numbers.

A resumed run has what `before_run` makes again and what `load` restores. `OwnState.changed` returns the fingerprints of
everything else that had changed when a checkpoint was written. `OwnState.compare` finds what differs in the resumed run. Such
an attribute may be set again before it is read, as those made in `before_experience` are. So it is removed, and reading it
before it is set raises `StartOver`. Without such an attribute a step costs nothing.

Not seen: state in libraries, in files, and in attributes of experiences and domains.
"""

from __future__ import annotations

import dis
import functools
import os
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from strategies.engine.fingerprint import PRIMITIVES, UNKNOWN, Fingerprints, changed
from strategies.engine.method_checks import is_built_in

OURS = ("strategies", "benchmarks", "models", "metrics", "harness", "reference_data", "avalanche")
ELSEWHERE = (*OURS, "__main__", "cli", "tests", "conftest", "tools", "full_roots")
STALE = "stale"
"""Recorded for an attribute that was neither restored nor set again before the next checkpoint."""


class StartOver(BaseException):
    """A resumed run has read state that its checkpoint does not hold. It is not an Exception, so that no method catches it.

    `names` are the attributes. If `within`, only the save within a task lacks them, so the task can restart at its beginning.
    """

    def __init__(self, names: Sequence[str], within: bool):
        super().__init__(", ".join(names))
        self.names, self.within = tuple(names), within


class OwnState:
    """The state of a user's strategy class and plugins."""

    def __init__(self, strategy: Any, plugins: Mapping[str, Any] | None = None):
        self._strategy = strategy
        self._owners = {type(strategy).__name__: strategy} if _user_classes(strategy) else {}
        self._owners.update({type(p).__name__: p for p in (plugins or {}).values() if _user_classes(p)})
        self._foreign = {label: set(_foreign_names(owner.__class__)) for label, owner in self._owners.items()}
        if strategy in self._owners.values():
            # A user's strategy defines no constructor.
            self._foreign[type(strategy).__name__] |= vars(strategy).keys()
        self._models = {"encoder": strategy.encoder, "classifier": strategy.classifier} if self._owners else {}
        for label, model in self._models.items():
            self._foreign[label] = {*vars(model), *_stored_by_self(type(model))}
        self._before: dict[str, str] = {}
        self._stale: dict[str, _Stale] = {}
        self._tripped: StartOver | None = None

    def prepared(self) -> None:
        """Take the fingerprints after `before_run`: what it made, a resumed run makes again."""
        self._before = self._now()

    def changed(self) -> dict[str, str]:
        """Return fingerprints, by name, of the attributes that have changed since `prepared`.

        Raises:
            StartOver: the method has read a lost attribute and caught the error.
        """
        if self._tripped is not None:
            raise self._tripped
        lost = {name: STALE for name, guard in self._stale.items() if not guard.settled}
        return {**changed(self._before, self._now()), **lost}

    def compare(self, saved: Mapping[str, str], within: bool = False) -> list[str]:
        """Guard every attribute that differs from its value when `saved` was taken, and return their names.

        Raises:
            StartOver: an attribute of a class, a module, the encoder or the classifier differs. These cannot be guarded.
        """
        if not self._owners:
            return []
        now = self._now()
        differing = [name for name, digest in saved.items() if digest == UNKNOWN or now.get(name) != digest]
        at_once = [name for name in differing if name.rpartition(".")[0] not in self._owners]
        if at_once:
            raise StartOver(at_once, within)
        for label, owner in self._owners.items():
            names = [name.rpartition(".")[2] for name in differing if name.rpartition(".")[0] == label]
            if names:
                self._guard(label, owner, names, within)
        return differing

    def unsaved(self) -> list[str]:
        """Return attributes that have changed since `prepared` and are read, but neither saved nor set again by a hook.

        This is a guess from the bytecode of the class, for a warning.
        """
        names = []
        for label, owner in self._owners.items():
            hooks = ("before_experience", "companion_images", "compute_loss", "forward", "before_training_exp")
            again = {name for hook in hooks for name in _attributes(_user_function(owner, hook), "STORE_ATTR")}
            read = {name for hook in ("state", "task_state") for name in _attributes(_user_function(owner, hook), "LOAD_ATTR")}
            functions = [value for kind in _user_classes(owner) for value in vars(kind).values()]
            used = {name for value in functions for name in _attributes(value, "LOAD_ATTR")}
            for name in changed(self._before, self._now()):
                holder, _, attribute = name.rpartition(".")
                if holder == label and attribute in used - (again | read):
                    names.append(name)
        return names

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
            yield from _with_label(label, vars(owner), self._foreign[label])
        for label, model in self._models.items():
            yield from _with_label(label, vars(model), self._foreign[label])
        yield from shared_data(dict.fromkeys(kind for owner in self._owners.values() for kind in _user_classes(owner)))

    def _shared(self) -> dict[str, Any]:
        strategy = self._strategy
        shared: dict[str, Any] = {"strategy": strategy, "encoder": strategy.encoder, "classifier": strategy.classifier}
        base = _foreign_names(strategy.__class__)
        shared.update({name: value for name, value in vars(strategy).items() if name in base})
        shared.update({f"encoder.{name}": parameter for name, parameter in strategy.encoder.named_parameters()})
        for owner in self._owners.values():
            shared.setdefault(type(owner).__name__, owner)
        experience = strategy.experience
        for other in getattr(experience, "origin_stream", ()) or ():
            name, domain = f"experience {other.current_experience}", getattr(other, "domain", None)
            shared.update({name: other, f"{name} data": other.dataset, f"{name} domain": domain})
            shared.update({f"{name} {split}": getattr(domain, split, None) for split in ("train", "val", "test")})
        return {name: value for name, value in shared.items() if not isinstance(value, (tuple, frozenset))}


class _Stale:
    """Replaces an attribute for which a resumed run has no correct value, until the attribute is set."""

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


def shared_data(kinds: Iterable[type]) -> Iterator[tuple[str, Any]]:
    """Yield the data that all objects of users' classes share: of the classes, their modules, and modules in those folders."""
    modules: dict[str, types.ModuleType] = {}
    for kind in kinds:
        for name, value in list(vars(kind).items()):
            if not name.startswith("__") and name != "_abc_impl" and _is_data(value):
                yield f"class {kind.__name__}.{name}", value
        module = sys.modules.get(kind.__module__)
        if module is not None and module.__name__ not in modules:
            modules.update({each.__name__: each for each in (module, *neighbours(module))})
    for each in modules.values():
        for name, value in list(vars(each).items()):
            if not name.startswith("__") and _is_data(value):
                yield f"module {each.__name__.removeprefix('perennial_user_')}.{name}", value


_SEEN: dict[str, tuple[dict[str, Any], dict[str, types.ModuleType]]] = {}
"""For the last folder of a user's file: all modules looked at by name, and those of them that are in it."""


def neighbours(module: types.ModuleType) -> list[types.ModuleType]:
    """Return the imported modules in the folder of a user's file and in packages there."""
    path = getattr(module, "__file__", None)
    if path is None or not module.__name__.startswith("perennial_user_"):
        return []
    folder = os.path.dirname(path)
    if folder not in _SEEN:
        _SEEN.clear()
    seen, near = _SEEN.setdefault(folder, ({}, {}))
    # There are thousands of modules, so each is looked at once, and the text is compared before paths are split.
    for name, other in list(sys.modules.items()):
        if seen.get(name) is other:
            continue
        seen[name] = other
        near.pop(name, None)
        # Not getattr, for which a package of lazy modules searches them all.
        file = getattr(other, "__dict__", {}).get("__file__")
        if not isinstance(file, str) or not file.startswith(folder):
            continue
        excluded = name.partition(".")[0] in ELSEWHERE or name.startswith("perennial_user_")
        parent = os.path.dirname(file)
        if not excluded and folder in (parent, os.path.dirname(parent)):
            near[name] = other
    return [other for name, other in near.items() if sys.modules.get(name) is other]


def _is_data(value: Any) -> bool:
    """Return whether a value shared by all objects is data that a run may change, and not code."""
    if isinstance(value, (*PRIMITIVES, Tensor, nn.Module, list, dict, set, tuple)):
        return True
    if isinstance(value, (type, types.ModuleType, property, classmethod, staticmethod, _Stale)) or callable(value):
        return False
    return hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in (*OURS, *sys.stdlib_module_names)


def _with_label(label: str, values: Mapping[str, Any], foreign: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in list(values.items()):
        if name not in foreign:
            yield f"{label}.{name}", value


def _user_classes(owner: Any) -> list[type]:
    """Return the classes of an object that are not the project's, Avalanche's, torch's or Python's."""
    libraries = (*OURS, "torch", *sys.stdlib_module_names)
    kind = owner if isinstance(owner, type) else type(owner)
    return [each for each in kind.__mro__ if each.__module__.partition(".")[0] not in libraries]


# Reading the bytecode of a class takes longer than writing a checkpoint, and a class does not change.
@functools.cache
def _foreign_names(owner: Any) -> frozenset[str]:
    """Return the attributes that the project's and Avalanche's classes set, unless a user's class sets them too.

    The attributes that the training loop sets are always included.
    """
    user_classes = set(_user_classes(owner))
    foreign = [kind for kind in owner.__mro__ if kind not in user_classes]
    methods = {name for kind in foreign for name in _stored_by_self(kind)}
    loop = {name for kind in foreign if kind.__module__ in LOOP or not is_built_in(kind) for name in _stored_by_self(kind)}
    user = {name for kind in user_classes for value in vars(kind).values() for name in _attributes(value, "STORE_ATTR")}
    return frozenset(loop | (methods - user))


LOOP = ("strategies.engine.strategy", "strategies.engine.avalanche_template")


def _user_function(owner: Any, name: str) -> Any:
    return next((vars(kind)[name] for kind in _user_classes(owner) if name in vars(kind)), None)


def _stored_by_self(kind: type) -> set[str]:
    """Return the names that the functions of a class and its bases assign to `self`."""
    return set().union(*map(_stored_here, kind.__mro__))


@functools.cache
def _stored_here(kind: Any) -> frozenset[str]:
    return frozenset(name for value in vars(kind).values() for name in _attributes(value, "STORE_ATTR", of_self=True))


def _attributes(value: Any, instruction: str, of_self: bool = False) -> Iterator[str]:
    """Yield the attributes that a function or property stores ("STORE_ATTR") or reads ("LOAD_ATTR")."""
    if isinstance(value, property):
        for accessor in (value.fget, value.fset):
            yield from _attributes(accessor, instruction, of_self)
        return
    code = getattr(getattr(value, "__func__", value), "__code__", None)
    waiting = [code] if isinstance(code, types.CodeType) else []
    while waiting:
        code = waiting.pop()
        waiting += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        previous: Any = None
        for step in dis.get_instructions(code):
            if step.opname in (instruction, "LOAD_METHOD" if instruction == "LOAD_ATTR" else instruction):
                loaded = previous.argval if previous is not None else None
                if not of_self or loaded == "self" or (isinstance(loaded, tuple) and loaded[-1] == "self"):
                    yield str(step.argval)
            previous = step
