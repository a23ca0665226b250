"""The lists of `python cli.py list`. Imports neither torch nor Avalanche."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.display.console import make_console
from harness.display.plain_table import plain_table

# What records hold beside `metrics.suite.MEASURES`: name -> what it is, what a higher value says, source.
RECORDED = {
    "iimm_zero_shot": ("bench: iimm by the initial model.", "as iimm", "Niss et al. 2407.15731"),
    "cka": (
        "bench, after training a task: linear CKA of its features by the current and by the initial model.",
        "the features moved less",
        "Kornblith et al. 1905.00414",
    ),
    "retention": (
        "bench, after training a task: percent of zero-shot accuracy kept on held-out domains and tasks not trained yet.",
        "less is forgotten",
        "our definition",
    ),
    "zero_shot": ("measure: zero-shot accuracy on the measured images, in percent.", "the model knows the task", "2103.00020"),
    "zero_shot_test": ("measure: zero-shot accuracy on the test split, in percent.", "the model knows the task", "2103.00020"),
}


def print_list(what: str, long: bool = False, title: bool = False, console: Console | None = None) -> None:
    """The names of one kind, each with what it is."""
    console = console or make_console()
    if title:
        console.print(what, style="bold")
    if what == "domains":
        console.print(_domains_table(long), highlight=False)
        return
    if what == "strategies" and long:
        _print_methods(console)
        return
    if what == "measures":
        console.print(_measures_table(), highlight=False)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column()
    for name, about in _entries(what).items():
        table.add_row(f"  {name}", about)
    console.print(table, highlight=False)


def _print_methods(console: Console) -> None:
    """Each built-in method: what it implements, where its defaults come from, its options; then others by name."""
    from harness.display.strategy_help import read_strategy_help
    from strategies import ABOUT, STRATEGIES, TARGETS

    for name in STRATEGIES.names():
        console.print(Text.assemble((name, "bold"), "  ", (ABOUT.get(name, ""), "dim")), highlight=False)
        if name not in TARGETS:
            continue
        method = read_strategy_help(TARGETS[name])
        console.print(Padding(Text(method.docstring), (0, 0, 0, 4)))
        for option in method.options:
            console.print(Padding(Text(f"--set {option}"), (0, 0, 0, 4)), style="cyan")
        console.print()


def _domains_table(long: bool) -> Table:
    """The mini edition's domains and the papers' datasets: classes, images per split, templates; long: terms and sources."""
    from benchmarks import mini
    from benchmarks.full.dataset_table import ENTRIES

    table = plain_table()
    for name in ("  name", "edition"):
        table.add_column(name, no_wrap=True)
    for name in ("classes", "train", "val", "test", "templates"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("what", "licence", "source", "how to get it") if long else ("what",):
        table.add_column(name)
    for e in mini.summary():
        sizes = (e["train"], e["val"], e["test"])
        held = "held out; " if e["name"] in mini.HELDOUT else ""
        more = (str(e["licence"]), "", "nothing to get") if long else ()
        templates = len(mini.ENTRIES[str(e["name"])].templates)
        table.add_row(f"  {e['name']}", "mini", *map(_count, (e["classes"], *sizes, templates)), f"{held}{e['source']}", *more)
    for entry in ENTRIES.values():
        more = (entry.licence, entry.source, entry.get) if long else ()
        counts = (entry.classes, entry.train, entry.val, entry.test, len(entry.templates))
        table.add_row(f"  {entry.name}", f"full, {entry.suite}", *map(_count, counts), entry.about, *more)
    return table


def _measures_table() -> Table:
    """What `--measures` takes, those logged by default marked, then what records hold beside them."""
    from metrics.suite import MEASURES, RUN_DEFAULTS

    table = plain_table()
    table.add_column("  name", no_wrap=True)
    for name in ("what it is", "higher means", "source"):
        table.add_column(name)
    entries = {name: (m.meaning, m.higher, m.source) for name, m in MEASURES.items()} | RECORDED
    for name, cells in entries.items():
        table.add_row(f"{'*' if name in RUN_DEFAULTS else ' '} {name}", *cells)
    table.caption = "* logged by bench unless --measures says otherwise"
    table.caption_justify = "left"
    return table


def _count(number: object) -> str:
    return "-" if number is None else f"{number:,}"


def _entries(what: str) -> dict[str, str]:
    import benchmarks
    import models
    from strategies import ABOUT, STRATEGIES
    from strategies.plugins.built_in import PLUGINS

    return {
        "benchmarks": {name: benchmarks.ABOUT.get(name, "") for name in benchmarks.BENCHMARKS.names()},
        "strategies": {name: ABOUT.get(name, "") for name in STRATEGIES.names()},
        "tunings": models.TUNINGS,
        "plugins": PLUGINS,
        "models": models.KNOWN,
    }[what]
