"""What `list strategies --long` says of a method: its docstring and options, read from the source without running it.

Running it would import torch, which takes seconds.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path
from typing import NamedTuple


class StrategyHelp(NamedTuple):
    """A class's docstring, and its own options with their defaults as they are written ("l2: float = 1.0")."""

    docstring: str
    options: list[str]


def read_strategy_help(target: str) -> StrategyHelp:
    """The method at "module:Class". Raises LookupError when the source is not there or has no such class."""
    module, name = target.split(":")
    specification = importlib.util.find_spec(module)
    if specification is None or specification.origin is None:
        raise LookupError(f"there is no module {module}")
    tree = ast.parse(Path(specification.origin).read_text(encoding="utf-8"))
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if found is None:
        raise LookupError(f"{module} has no class {name}")
    options = next((node for node in found.body if isinstance(node, ast.ClassDef) and node.name == "Options"), None)
    lines = [ast.unparse(node) for node in options.body if isinstance(node, ast.AnnAssign)] if options else []
    return StrategyHelp(inspect.cleandoc(ast.get_docstring(found) or ""), lines)
