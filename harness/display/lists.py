"""The lists of `python cli.py list`. Imports neither torch nor Avalanche."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.display.console import make_console
from harness.display.plain_table import plain_table

RECORDED = {
    "iimm_zero_shot": ("bench: iimm of the initial model.", "same as iimm", "Niss et al. 2407.15731"),
    "cka": (
        "bench, after training a task: linear CKA between the features of the current and the initial model on the task.",
        "the features moved less",
        "Kornblith et al. 1905.00414",
    ),
    "retention": (
        "bench, after training a task: percent of zero-shot accuracy retained on held-out domains and tasks not trained yet.",
        "less is forgotten",
        "our definition",
    ),
    "zero_shot": ("measure: zero-shot accuracy on the measured images, in percent.", "the model knows the task", "2103.00020"),
    "zero_shot_test": ("measure: zero-shot accuracy on the test split, in percent.", "the model knows the task", "2103.00020"),
}
"""Measures in records that are not in `metrics.suite.MEASURES`: name -> (description, meaning of a higher value, source)."""


def print_list(what: str, long: bool = False, title: bool = False, console: Console | None = None) -> None:
    """Print the names of one kind, each with a description.

    Args:
        what: kind of names, one of `harness.commands.list.LISTS`.
        long: add details to domains and strategies.
        title: print the kind above the list.
        console: console to print on; None makes one.
    """
    console = console or make_console()
    if title:
        console.print(what, style="bold")
    if what == "domains":
        console.print(_domains_table(long), highlight=False)
        return
    if what == "strategies" and long:
        _print_strategies(console)
        return
    if what == "measures":
        console.print(_measures_table(), highlight=False)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, description in _descriptions(what).items():
        table.add_row(f"  {name}", description)
    console.print(table, highlight=False)


def _print_strategies(console: Console) -> None:
    """Print the docstring, options and defaults of each built-in strategy. Registered strategies are listed by name."""
    from harness.display.strategy_help import option_table, own_options, read_docstring
    from strategies import ABOUT, STRATEGIES, TARGETS
    from strategies.engine.declared import declared

    for name in STRATEGIES.names():
        console.print(Text.assemble((name, "bold"), "  ", (ABOUT.get(name, ""), "dim")), highlight=False)
        if name not in TARGETS:
            continue
        console.print(Padding(Text(read_docstring(TARGETS[name])), (0, 0, 0, 4)))
        options = declared(name).Options()
        if names := own_options(options):
            console.print(Padding(option_table(options, names), (0, 0, 0, 2)), highlight=False)
        console.print()


def _domains_table(long: bool) -> Table:
    """Return the domains: the mini edition, the suite `broad`, the papers' datasets, and ImageNet's test sets to be held out.

    Columns are classes, images per split and templates, with `long` also licences, sources and how to get the data. A copy of
    one of ImageNet's test sets brings its class names, images and templates, so they are not counted.
    """
    from benchmarks import mini, shifts
    from benchmarks.broad.task_table import TASKS, how_to_make
    from benchmarks.full.dataset_table import ENTRIES
    from benchmarks.mini.domain_table import ENTRIES as MINI_ENTRIES

    table = plain_table()
    for name in ("  name", "edition"):
        table.add_column(name, no_wrap=True)
    for name in ("classes", "train", "val", "test", "templates"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("description", "licence", "source", "how to get it") if long else ("description",):
        table.add_column(name)
    for row in mini.summary():
        name, sizes = str(row["name"]), (row["classes"], row["train"], row["val"], row["test"])
        heldout = "held out; " if name in mini.HELDOUT else ""
        details = (str(row["licence"]), "", "included") if long else ()
        counts = map(_count, (*sizes, len(MINI_ENTRIES[name].templates)))
        table.add_row(f"  {name}", "mini", *counts, f"{heldout}{row['source']}", *details)
    for name, task in TASKS.items():
        details = (task.licence, "", how_to_make((name,), "data") if task.needs_study_data else "included") if long else ()
        counts = map(_count, (len(task.classnames), *task.sizes, len(task.templates)))
        table.add_row(f"  {name}", "broad", *counts, task.source, *details)
    for entry in ENTRIES.values():
        details = (entry.licence, entry.source, entry.get) if long else ()
        counts = map(_count, (entry.classes, entry.train, entry.val, entry.test, len(entry.templates)))
        table.add_row(f"  {entry.name}", f"full, {entry.suite}", *counts, entry.about, *details)
    for name, about in shifts.ABOUT.items():
        details = (
            ("see source", f"https://huggingface.co/datasets/{shifts.COPIES[name]}", shifts.how_to_get(name)) if long else ()
        )
        table.add_row(f"  {name}", "held out", *["-"] * 5, f"for --heldout: {about}", *details)
    return table


def _measures_table() -> Table:
    """Return the measures that `--measures` accepts, with those logged by default marked, then those found only in records."""
    from metrics.suite import MEASURES, RUN_DEFAULTS

    table = plain_table()
    table.add_column("  name", no_wrap=True)
    for name in ("description", "higher means", "source"):
        table.add_column(name)
    measures = {name: (m.meaning, m.higher, m.source) for name, m in MEASURES.items()} | RECORDED
    for name, cells in measures.items():
        table.add_row(f"{'*' if name in RUN_DEFAULTS else ' '} {name}", *cells)
    table.caption = "* logged by bench by default; --measures chooses others"
    table.caption_justify = "left"
    return table


def _count(number: object) -> str:
    return "-" if number is None else f"{number:,}"


def _descriptions(what: str) -> dict[str, str]:
    import benchmarks
    import models
    from metrics.definitions import METRICS
    from models.loading.local_files import SHIPPED, is_here
    from models.tuning_options import REGISTRY
    from strategies import ABOUT, STRATEGIES
    from strategies.plugins.built_in import PLUGINS

    return {
        "benchmarks": {name: benchmarks.ABOUT.get(name, "") for name in benchmarks.BENCHMARKS.names()},
        "strategies": {name: ABOUT.get(name, "") for name in STRATEGIES.names()},
        "tunings": {name: models.TUNINGS.get(name, "") for name in REGISTRY.names()},
        "plugins": PLUGINS,
        "models": {name: text for name, text in models.KNOWN.items() if name not in SHIPPED or is_here(name)},
        "metrics": METRICS,
    }[what]
