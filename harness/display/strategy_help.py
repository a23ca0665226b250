"""Help of strategies for `list strategies --long`, read from the source, because importing it would load torch."""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import NamedTuple


class StrategyHelp(NamedTuple):
    """Docstring of a strategy class, and its options as written in the source ("l2: float = 1.0")."""

    docstring: str
    options: list[str]


def read_strategy_help(target: str) -> StrategyHelp:
    """Read the help of the strategy at "module:Class".

    Raises:
        LookupError: if the module or its source does not exist, or the module does not define the class.
    """
    module, name = target.split(":")
    specification = importlib.util.find_spec(module)
    if specification is None or specification.origin is None:
        raise LookupError(f"there is no module {module}")
    tree = ast.parse(Path(specification.origin).read_text(encoding="utf-8"))
    strategy = _class(tree.body, name)
    if strategy is None:
        raise LookupError(f"{module} has no class {name}")
    options = _class(strategy.body, "Options")
    lines = [ast.unparse(node) for node in options.body if isinstance(node, ast.AnnAssign)] if options else []
    return StrategyHelp(inspect.cleandoc(ast.get_docstring(strategy) or ""), lines)


def _class(body: list[ast.stmt], name: str) -> ast.ClassDef | None:
    return next((node for node in body if isinstance(node, ast.ClassDef) and node.name == name), None)
