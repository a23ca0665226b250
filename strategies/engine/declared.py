"""Declarations of the built-in strategies: their options, default tuning and requirements, without importing torch.

Planning a sweep and checking a command line need the `Options` of a strategy and a few class attributes. Importing the strategy
for them takes seconds. Its declaration is a class with the same name, bases, `Options` and attributes, and without the methods
that train. It is compiled from the source of the strategy. No other code of that file is executed.
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

ATTRIBUTES = {"trains", "learns", "needs_reference", "needs_pairs", "needs_validation", "default_tuning"}
"""Class attributes that a declaration has."""
METHODS = {"files", "uses_reference"}
"""Class methods that a declaration has."""
LIGHT = {"strategies.engine.method_checks", "strategies.engine.training_options"}
"""Modules of `strategies` that import nothing heavy. Declarations import them."""
PLAIN_NAMES = {"Literal", "Any", "tuple", "list", "dict", "int", "float", "str", "bool"}
"""Names in the value of a constant that a declaration may use."""


def declared(name: str) -> Any:
    """Return the declaration of a built-in strategy. Raises UserError for an unknown name."""
    if name not in TARGETS:
        raise unknown("strategy", name, TARGETS)
    module, attribute = TARGETS[name].split(":")
    return _declarations(module)[attribute]


@functools.cache
def _declarations(module: str) -> dict[str, Any]:
    """Return the namespace of a module's declarations: strategy classes, constants, and the imports that they use."""
    specification = importlib.util.find_spec(module)
    if specification is None or specification.origin is None:
        raise ImportError(f"there is no module {module}")
    tree = ast.parse(Path(specification.origin).read_text(encoding="utf-8"))
    imports = {name: target for node in tree.body for name, target in _imported(node)}
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and _names(node.value) <= PLAIN_NAMES:
            body.append(node)
        elif isinstance(node, ast.ClassDef) and (reduced := _reduced(node, imports, body)) is not None:
            body.append(reduced)
    defined = {node.name for node in body if isinstance(node, ast.ClassDef)}
    namespace: dict[str, Any] = {"__name__": module}
    for name in set().union(*map(_names, body)) - defined:
        if name in imports:
            namespace[name] = _resolve(*imports[name])
    # Annotations are evaluated here, because `typing.get_type_hints` could not look up their names later.
    exec(compile(ast.Module(body, []), specification.origin, "exec", dont_inherit=True), namespace)
    return namespace


def _reduced(node: ast.ClassDef, imports: dict[str, tuple[str, str]], body: Iterable[ast.stmt]) -> ast.ClassDef | None:
    """Return a strategy class with only its declarations, or None for another class.

    Args:
        node: the class.
        imports: the module and attribute of each imported name.
        body: the declarations before it in the module.
    """
    before = {each.name for each in body if isinstance(each, ast.ClassDef)}
    bases = [base for base in node.bases if isinstance(base, ast.Name) and _is_strategy(base.id, imports, before)]
    declarations = [each for each in node.body if _declares(each)]
    if not bases and not any(isinstance(each, ast.ClassDef) for each in declarations):
        return None
    position = {"lineno": node.lineno, "col_offset": node.col_offset}
    return ast.ClassDef(node.name, [*bases], [], declarations or [ast.Pass(**position)], [], **position)


def _is_strategy(name: str, imports: dict[str, tuple[str, str]], before: set[str]) -> bool:
    if name in before:
        return True
    module, attribute = imports.get(name, ("", ""))
    return module.startswith("strategies.") and module not in LIGHT and isinstance(_declarations(module).get(attribute), type)


def _declares(node: ast.stmt) -> bool:
    """Return whether a statement of a strategy class is part of its declaration."""
    if isinstance(node, ast.ClassDef):
        return node.name == "Options"
    if isinstance(node, ast.FunctionDef):
        return node.name in METHODS
    return isinstance(node, ast.Assign) and all(isinstance(t, ast.Name) and t.id in ATTRIBUTES for t in node.targets)


def _imported(node: ast.stmt) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each imported name with its module and its name in the module, which is "" for the module."""
    if isinstance(node, ast.ImportFrom) and node.module and node.module != "__future__":
        yield from ((alias.asname or alias.name, (node.module, alias.name)) for alias in node.names)
    elif isinstance(node, ast.Import):
        yield from ((alias.asname or alias.name.partition(".")[0], (alias.name, "")) for alias in node.names)


def _resolve(module: str, name: str) -> Any:
    """Return the target of an import, as a declaration if it is a strategy's."""
    if module.startswith("strategies.") and module not in LIGHT:
        return _declarations(module)[name]
    target = importlib.import_module(module)
    # In `from package import module` the name may be a module that is not imported yet.
    return target if not name else getattr(target, name, None) or importlib.import_module(f"{module}.{name}")


def _names(node: ast.AST) -> set[str]:
    """Return the names that are read. A field may have the name of an import."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
