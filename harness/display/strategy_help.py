"""Help of strategies for `list strategies`. Docstrings are read from the source, because importing it would load torch."""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import inspect
import typing
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.records.titles import stream_title
from models.setting import described
from strategies import ABOUT, TARGETS
from strategies.engine.training_options import TrainingOptions

if TYPE_CHECKING:
    from harness.config.resolve import Resolved


def read_docstring(target: str) -> str:
    """Return the docstring of the class at "module:Class".

    Raises:
        LookupError: if the module or its source does not exist, or the module does not define the class.
    """
    module, name = target.split(":")
    specification = importlib.util.find_spec(module)
    if specification is None or specification.origin is None:
        raise LookupError(f"there is no module {module}")
    tree = ast.parse(Path(specification.origin).read_text(encoding="utf-8"))
    strategy = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if strategy is None:
        raise LookupError(f"{module} has no class {name}")
    return inspect.cleandoc(ast.get_docstring(strategy) or "")


def own_options(options: Any) -> list[str]:
    """Return the names of a method's options without those that every method has."""
    common = {field.name for field in dataclasses.fields(TrainingOptions)}
    return [field.name for field in dataclasses.fields(options) if field.name not in common]


def option_table(options: Any, names: Collection[str], prefix: str = "") -> Table:
    """Return a table of options: name, value, default if it is another value, meaning.

    Args:
        options: an instance of a dataclass of options.
        names: the options to show.
        prefix: what is written before a name after `--set`.
    """
    settings, defaults, hints = described(type(options)), _defaults(type(options)), typing.get_type_hints(type(options))
    table = plain_table()
    for heading in ("  option", "value", "default"):
        table.add_column(heading, no_wrap=True)
    table.add_column("meaning")
    for name in names:
        value, default = getattr(options, name), defaults[name]
        meaning = settings[name].help if name in settings else ""
        if typing.get_origin(hints[name]) is typing.Literal:
            meaning = f"{meaning} ({', '.join(typing.get_args(hints[name]))})".strip()
        table.add_row(f"  {prefix}{name}", _text(value), "" if value == default else _text(default), meaning)
    return table


def print_strategy(resolved: Resolved, console: Console) -> None:
    """Print the docstring of a strategy, and its options with the values in effect for a benchmark, edition and model."""
    name, options, tuning = resolved.config.strategy, resolved.options, resolved.tuning_options
    console.print(Text.assemble((name, "bold"), "  ", (ABOUT.get(name, ""), "dim")), highlight=False)
    docstring = read_docstring(TARGETS[name]) if name in TARGETS else inspect.getdoc(resolved.strategy_class) or ""
    console.print(Padding(Text(docstring), (0, 0, 1, 4)))
    stream = stream_title(resolved.plan.benchmark, resolved.plan.edition, resolved.order_label, resolved.tasks)
    console.print(f"Values for {stream}, model {resolved.model}. --set NAME=VALUE changes them.", highlight=False)
    training = [field.name for field in dataclasses.fields(TrainingOptions)]
    for title, table in (
        (f"options of {name}", option_table(options, own_options(options))),
        ("options of training", option_table(options, training)),
        (f"options of the tuning {resolved.tuning}", option_table(tuning, list(_defaults(type(tuning))), "tuning.")),
    ):
        if table.row_count:
            console.print(title, style="bold", highlight=False)
            console.print(table, highlight=False)


def _defaults(kind: type) -> Mapping[str, Any]:
    return dataclasses.asdict(kind())


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={item}" for key, item in value.items()) or "-"
    return str(value)
