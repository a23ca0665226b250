"""Generate the reference pages of the site from the code. mkdocs-gen-files runs this script at build time.

Commands come from the argument parser, method cards from the class docstrings and the table of results, tunings, plugins,
measures and datasets from the tables of names. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import cli
import models
from benchmarks import mini, shifts
from benchmarks.broad.task_table import TASKS
from benchmarks.full.dataset_table import ENTRIES
from benchmarks.mini.domain_table import ENTRIES as MINI_ENTRIES
from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.display.lists import RECORDED
from harness.display.strategy_help import read_docstring
from harness.records.schema import PATH as SCHEMA
from metrics import matrix
from metrics.suite import MEASURES, RUN_DEFAULTS
from models.registry import UserError
from models.setting import described
from models.tuning_options import OPTIONS as TUNING_OPTIONS
from reference_data import published
from strategies import ABOUT, TARGETS
from strategies.engine.declared import declared
from strategies.engine.training_options import TrainingOptions
from strategies.plugins import built_in
from tools.mini_pages import CIL_METRICS, METRICS, label, result_table, results
from tools.tables import markdown

STATE = "**Not verified at full size.** The method has not been run on the paper's full datasets or on a GPU."
# Sections of a docstring with a heading on the card, and those that the card has elsewhere.
SECTIONS = ("Source", "Sources", "Differs from the released code", "Not implemented", "Defaults", "Options")
# Training images of earlier tasks that a method reads.
TRAINING_IMAGES = {
    "icarl": "training (in a memory)",
    "joint": "training (all)",
    "paint-joint": "training (all)",
}
# Methods that search alpha on the current task and the held-out domains only.
CURRENT_TASK_ONLY = ("paint-single",)
SKIPPED = ("Command", "Hooks", "Example", "Examples", "Attributes", "Args", "Raises")
# Title, benchmark, protocol and metrics of the results on a card.
MEASURED = (
    ("MTIL, Order I", "mtil", "", METRICS),
    ("MTIL, Order I, `--protocol agnostic`", "mtil", "agnostic", METRICS),
    ("Class-incremental, `nature` in five steps", "cil-nature-5", "", CIL_METRICS),
)


def cell(text: object) -> str:
    """Return text for a cell of a Markdown table."""
    return starred(" ".join(str(text).split()).replace("|", "\\|").replace("<", "&lt;"))


def starred(text: str) -> str:
    """Return text with its asterisks escaped, except for those inside code: "ZSCL*" is a name."""
    return "".join(part if part.startswith("`") else part.replace("*", "\\*") for part in re.split(r"(`[^`]*`)", text))


def code(value: object) -> str:
    """Return a value as code in a table cell."""
    return "`none`" if value is None else f"`{cell(value)}`".replace("\\*", "*")


def without_empty(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table without the columns that are empty in every row."""
    body = [list(row) for row in rows]
    kept = [i for i in range(len(headings)) if any(row[i] for row in body)]
    return markdown([headings[i] for i in kept], [[row[i] for i in kept] for row in body])


def prose(docstring: str) -> str:
    """Return a docstring as Markdown.

    The text of a section (`SECTIONS`) goes under a heading, except for `SKIPPED` ones. Other indented blocks become code
    blocks, so that formulas and columns stay aligned.
    """
    parts: list[str] = []
    # A block with the blank lines inside it, or the text up to the next one.
    for text in re.split(r"((?:^ {4}.*\n?(?:[ \t]*\n(?= {4}))*)+)", docstring, flags=re.MULTILINE):
        indented = text.startswith("    ")
        if not indented:
            parts.append(text.strip("\n"))
            continue
        block = textwrap.dedent(text).strip("\n")
        *before, last = parts[-1].rsplit("\n", 1) if parts else [""]
        title = last.removesuffix(":")
        if title not in (*SECTIONS, *SKIPPED):
            parts.append(f"```text\n{block}\n```")
        else:
            parts[-1] = "".join(before).strip("\n")
            if title not in SKIPPED:
                parts.append(f"### {title}\n\n{block}")
    return "\n\n".join(part for part in parts if part)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield the parsers of all commands, subcommands after their command."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                command.format_help()  # adds the arguments, which a command imports late
                yield command
                yield from parsers(command)


def arguments(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the tables of a command's arguments, one per group."""
    for group in parser._action_groups:
        actions = [a for a in group._group_actions if a.dest != "help" and a.help != argparse.SUPPRESS]
        actions = [a for a in actions if not isinstance(a, argparse._SubParsersAction)]
        rows = []
        for action in actions:
            value = action.metavar if action.nargs != 0 else None
            if action.nargs != 0 and value is None and action.option_strings:
                value = action.dest.upper()
            shown = f" {value if isinstance(value, str) else ' '.join(value)}" if value and action.option_strings else ""
            names = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            rows.append([code(names + shown), cell(action.help or "")])
        if rows:
            yield f"**{group.title}**\n\n" + markdown(["argument", "meaning"], rows)


def commands() -> str:
    """Return the page of all commands."""
    parts = [
        "# Commands\n\nGenerated from the argument parser. These pages write `python cli.py`, which works in the folder of the "
        "repository. After `pip install -e .`, `perennial` is the same command in any folder."
    ]
    for parser in parsers(cli.parser()):
        name = parser.prog.removeprefix("perennial ")
        usage = " ".join(parser.format_usage().removeprefix("usage: ").split()).replace("perennial", "python cli.py", 1)
        parts.append(f"{'#' * (2 + name.count(' '))} {name}\n\n{parser.description or ''}\n\n```text\n{usage}\n```")
        parts += arguments(parser)
        if parser.epilog and name not in ("bench",):
            parts.append(f"```text\n{parser.epilog.strip().replace('perennial ', 'python cli.py ')}\n```")
    return "\n\n".join(parts)


def option_rows(strategy: str) -> Iterator[Sequence[str]]:
    """Yield the options of a strategy, its own first, with their values in effect in both editions of MTIL."""
    values = {}
    for edition in ("mini", "full"):
        try:
            resolved: Any = outline(RunConfig(strategy=strategy, edition=edition))
        except UserError:
            continue
        values[edition] = resolved.options
    options = values.get("mini") or values["full"]
    settings = described(type(options))
    shared = {field.name for field in dataclasses.fields(TrainingOptions)}
    for field in sorted(dataclasses.fields(options), key=lambda field: field.name in shared):
        shown = [code(getattr(values[e], field.name)) if e in values else "" for e in ("mini", "full")]
        yield [code(field.name), *shown, cell(settings[field.name].help if field.name in settings else "")]


def card(name: str) -> str:
    """Return the page of a method: docstring, results, state against the paper, options."""
    target = TARGETS[name]
    measured = []
    for title, benchmark, protocol, metrics in MEASURED:
        if rows := [row for row in results(benchmark, protocol) if row["strategy"] == name]:
            commands_used = "\n".join(f"- {label(row)}: `{row['command']}`" for row in rows)
            measured.append(f"{title}:\n\n{result_table(rows, metrics, {})}\n\nMeasured with\n\n{commands_used}")
    return "\n\n".join(
        [
            f"# {name}",
            f"{starred(ABOUT[name][:1].upper() + ABOUT[name][1:])}.{_technique(name)}",
            f"Images of earlier tasks: {_earlier_images(name)}. Reference data: {_reference_data(name)}.",
            f"```bash\npython cli.py bench mtil --strategy {name}\n```",
            "## Description",
            prose(read_docstring(target)),
            f"Code: `{target.partition(':')[0].replace('.', '/')}.py`, class `{target.partition(':')[2]}`.",
            "## Result in the mini edition",
            *(measured or ["Not measured yet."]),
            "## State against the paper",
            f"{STATE} {_published(name)}".strip(),
            "## Options",
            "Values in effect for MTIL. `--set NAME=VALUE` changes them.",
            without_empty(["option", "mini edition", "full edition", "meaning"], option_rows(name)),
        ]
    )


def _published(name: str) -> str:
    if name not in published.METHODS:
        return ""
    R = published.matrix("I", name)
    numbers = f"Transfer {matrix.transfer(R):.1f}, Average {matrix.average(R):.1f}, Last {matrix.last(R):.1f}"
    return f"The numbers to reproduce, released by ZSCL's authors for MTIL, Order I, ViT-B/16: {numbers}."


def _technique(name: str) -> str:
    """Return the sentence on a strategy that is called like a tuning."""
    if name not in models.TUNINGS:
        return ""
    return (
        f" The strategy `{name}` is plain fine-tuning with the tuning `{name}` and IIMM's training options. To train the same "
        f"parameters by another method, use [`--tuning {name}`](../reference/tunings.md) with that method."
    )


def _earlier_images(name: str) -> str:
    """Return which images of earlier tasks a method needs with its default options."""
    options = _resolved(name).options
    searches = declared(name).needs_validation and getattr(options, "alpha", None) is None
    validation = "validation" if searches and name not in CURRENT_TASK_ONLY else ""
    return ", ".join(filter(None, (TRAINING_IMAGES.get(name, ""), validation))) or "none"


def _reference_data(name: str) -> str:
    """Return whether a method reads reference images and sentences with its default options."""
    return "yes" if _resolved(name).reads_reference else "no"


def _resolved(name: str) -> Any:
    """Return the resolved configuration of a method in the mini edition's MTIL."""
    return outline(RunConfig(strategy=name))


def cards() -> str:
    """Return the page that lists all methods: how to choose one, what each needs, and its results."""
    needs = [[f"[`{name}`]({name}.md)", starred(ABOUT[name]), _earlier_images(name), _reference_data(name)] for name in TARGETS]
    measured = [row for name in TARGETS for row in results("mtil") if row["strategy"] == name]
    return "\n\n".join(
        [
            "# Method cards",
            "[Choose a method](../choose.md) starts from what you may keep. This page lists all methods. The "
            "[glossary](../glossary.md) explains their words.",
            "## Needs",
            "A card has the method's paper, what is implemented and what is not, its result and its options. The columns tell "
            "what a method needs besides the current task's training images, with its default options.",
            markdown(["strategy", "about", "images of earlier tasks", "reference data"], needs),
            "## Results in the mini edition",
            f"MTIL, Order I. {STATE} [All results](../results.md), with spreads and cost.",
            result_table(measured, METRICS, {}, ""),
        ]
    )


def class_options(options: Mapping[str, type], prefix: str) -> Iterator[str]:
    """Yield the option tables of tunings or plugins; names that share their options share a table."""
    for kind in dict.fromkeys(options.values()):
        names = [name for name, other in options.items() if other is kind]
        settings, rows = described(kind), []
        for field in dataclasses.fields(kind):
            meaning = settings[field.name].help if field.name in settings else ""
            rows.append([code(f"{prefix.format(names[0])}.{field.name}"), code(field.default), cell(meaning)])
        shown = without_empty(["option", "default", "meaning"], rows) if rows else ""
        yield f"### {', '.join(names)}\n\n{prose(inspect.cleandoc(kind.__doc__ or ''))}\n\n{shown}"


def tunings() -> str:
    """Return the page of tunings and plugins."""
    plugins = {name: built_in.options_of(name) for name in built_in.PLUGINS}
    return "\n\n".join(
        [
            "# Tunings and plugins",
            "## Tunings",
            "Which parameters train is a separate choice from the method: `--tuning NAME`. Options: `--set tuning.NAME=VALUE`.",
            "Five tunings are also strategies: `bitfit`, `attention`, `lora`, `adapter` and `probe`. `--strategy lora` "
            "is plain fine-tuning with `--tuning lora` and IIMM's training options (batches of 128, no label smoothing, no "
            "warm-up, weight decay 1e-4) and, for the tiny model, a learning rate that was searched for it. `--tuning lora` "
            "with another strategy keeps all options of that strategy, also its learning rate.",
            markdown(["tuning", "what trains"], [[code(n), cell(about)] for n, about in models.TUNINGS.items()]),
            *class_options(TUNING_OPTIONS, "tuning"),
            "## Plugins",
            "Avalanche's plugins go with any strategy: `--plugin NAME`. Combinations that cannot work are refused.",
            markdown(["plugin", "about"], [[code(n), cell(about)] for n, about in built_in.PLUGINS.items()]),
            *class_options(plugins, "{}"),
        ]
    )


def measures() -> str:
    """Return the page of all measures."""
    entries = {name: (m.meaning, m.higher, m.source) for name, m in MEASURES.items()} | RECORDED
    rows = [[code(name), *map(cell, entry), "yes" if name in RUN_DEFAULTS else ""] for name, entry in entries.items()]
    return (
        "# Measures\n\nMeasures of a task before training, for `measure`, `study` and `bench --measures`. "
        "The last rows are recorded by the command that is named.\n\n"
        "The meaning of a higher value is the claim of the source. In our [study](../study.md) of four "
        "families, the gain in points follows IIMM weakly and forgetting hardly, and other measures predict better.\n\n"
        + markdown(["measure", "meaning", "a higher value means, according to the source", "source", "logged by default"], rows)
        + "\n\n[Write a metric](../tutorials/metric.md)"
    )


def datasets() -> str:
    """Return the page of all datasets."""
    headings = ["name", "classes", "train", "val", "test", "templates", "about", "licence"]
    small, large = [], []
    for entry in mini.summary():
        sizes = [f"{entry[size]:,}" for size in ("classes", "train", "val", "test")]
        templates = len(MINI_ENTRIES[str(entry["name"])].templates)
        small.append([code(entry["name"]), *sizes, str(templates), cell(entry["source"]), cell(entry["licence"])])
    for dataset in ENTRIES.values():
        counts = (dataset.classes, dataset.train, dataset.val, dataset.test)
        sizes = ["-" if count is None else f"{count:,}" for count in counts]
        about = cell(f"{dataset.suite}: {dataset.about}")
        large.append([code(dataset.name), *sizes, str(len(dataset.templates)), about, cell(dataset.licence)])
    drawn = [
        [code(name), *(f"{n:,}" for n in (len(t.classnames), *t.sizes)), str(len(t.templates)), cell(t.source), cell(t.licence)]
        for name, t in TASKS.items()
    ]
    broad = "## Broad suite\n\n[The list and its sources](../broad.md)."
    title, full = "# Datasets\n\n## Mini edition", "## Full edition\n\n[How to get them](../data.md#the-papers-datasets)."
    shifted = [[code(name), cell(about), code(shifts.COPIES[name])] for name, about in shifts.ABOUT.items()]
    heldout = "## Held out by name\n\n[How to get them](../benchmarks.md#held-out-domains)."
    parts = [title, markdown(headings, small), broad, markdown(headings, drawn), full, markdown(headings, large)]
    parts += [heldout, markdown(["name", "about", "copy on the hub"], shifted)]
    return "\n\n".join(parts)


def pages() -> dict[str, str]:
    """Return the generated pages by their path in the site."""
    return {
        "reference/commands.md": commands(),
        "reference/tunings.md": tunings(),
        "reference/measures.md": measures(),
        "reference/datasets.md": datasets(),
        "contributing.md": (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "record.schema.json": SCHEMA.read_text(encoding="utf-8").rstrip(),
        "methods/index.md": cards(),
        **{f"methods/{name}.md": card(name) for name in TARGETS},
    }


def write() -> None:
    """Write the pages into the site that mkdocs builds."""
    import mkdocs_gen_files

    for path, text in pages().items():
        with mkdocs_gen_files.open(path, "w") as file:
            file.write(text + "\n")


if __name__ in ("__main__", "<run_path>"):
    write()
