"""Read what the built-in strategies declare without importing torch or Avalanche: options, tuning, what they need.

Planning a sweep and checking a command line need a class's `Options` and a few facts, and importing the class takes seconds. A
class of a declaration has the same name, bases, `Options` and facts as the strategy, and no method that trains. It is made
from the strategy's own source, of which nothing else is executed, so that each setting is declared in one place.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from models.registry import unknown
from strategies import TARGETS

FACTS = {"trains", "needs_reference", "needs_validation", "default_tuning"}
METHODS = {"files"}
LIGHT = {"strategies.engine.method_checks", "strategies.engine.training_options"}
"""Modules of this package that import nothing heavy and so are imported as they are."""
PLAIN = {"Literal", "Any", "tuple", "list", "dict", "int", "float", "str", "bool"}


def declared(name: str) -> Any:
    """Return the declaration of a built-in strategy. Raises UserError for an unknown name."""
    if name not in TARGETS:
        raise unknown("strategy", name, TARGETS)
    module, attribute = TARGETS[name].split(":")
    return _declarations(module)[attribute]


@functools.cache
def _declarations(module: str) -> dict[str, Any]:
    """Return the names of a module that declarations are made of: strategy classes, constants, and what these import."""
    specification = importlib.util.find_spec(module)
    if specification is None or specification.origin is None:
        raise ImportError(f"there is no module {module}")
    tree = ast.parse(Path(specification.origin).read_text(encoding="utf-8"))
    imports = {name: place for node in tree.body for name, place in _imported(node)}
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names(node.value) <= PLAIN:
            body.append(node)
        elif isinstance(node, ast.ClassDef) and (reduced := _reduced(node, imports, body)) is not None:
            body.append(reduced)
    made = {node.name for node in body if isinstance(node, ast.ClassDef)}
    namespace: dict[str, Any] = {"__name__": module}
    for name in set().union(*map(_names, body)) - made:
        if name in imports:
            namespace[name] = _resolve(*imports[name])
    # Annotations become types here: `typing.get_type_hints` could not look up their names later.
    exec(compile(ast.Module(body, []), specification.origin, "exec", dont_inherit=True), namespace)
    return namespace


def _reduced(node: ast.ClassDef, imports: dict[str, tuple[str, str]], body: Iterable[ast.stmt]) -> ast.ClassDef | None:
    """Return a strategy class with its declarations only; None for another class."""
    before = {each.name for each in body if isinstance(each, ast.ClassDef)}
    bases = [base for base in node.bases if isinstance(base, ast.Name) and _is_strategy(base.id, imports, before)]
    kept = [each for each in node.body if _declares(each)]
    if not bases and not any(isinstance(each, ast.ClassDef) for each in kept):
        return None
    here = {"lineno": node.lineno, "col_offset": node.col_offset}
    return ast.ClassDef(node.name, [*bases], [], kept or [ast.Pass(**here)], [], **here)


def _is_strategy(name: str, imports: dict[str, tuple[str, str]], before: set[str]) -> bool:
    if name in before:
        return True
    module, attribute = imports.get(name, ("", ""))
    return module.startswith("strategies.") and module not in LIGHT and isinstance(_declarations(module).get(attribute), type)


def _declares(node: ast.stmt) -> bool:
    if isinstance(node, ast.ClassDef):
        return node.name == "Options"
    if isinstance(node, ast.FunctionDef):
        return node.name in METHODS
    return isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id in FACTS for t in node.targets)


def _imported(node: ast.stmt) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that an import makes, each with its module and its name there ("": the module)."""
    if isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
        yield from ((alias.asname or alias.name, (node.module, alias.name)) for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name.partition(".")[0], (alias.name, "")) for alias in node.names)


def _resolve(module: str, name: str) -> Any:
    if module.startswith("strategies.") and module not in LIGHT:
        return _declarations(module)[name]
    found = importlib.import_module(module)
    # In `from package import module` the name may be a module that nobody has imported.
    return found if not name else getattr(found, name, None) or importlib.import_module(f"{module}.{name}")


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
