"""Find the runs that a name stands for: a strategy, a class of a strategy file or a folder, with options that select runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.config.resolve import slug
from harness.records.leaderboard import flat
from harness.records.runs import Run, check_copies, present, read
from models.registry import UserError, unknown


class Name(NamedTuple):
    """The strategy or folder that A or B names, and the options that select its runs."""

    strategy: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> Name:
        """Return the parts of "zscl:l2=0.5,lr=1e-4". An existing path has no options."""
        strategy, _, options = text.partition(":")
        if "=" not in options or Path(text).exists():
            return cls(text, {})
        return cls(strategy, dict(option.strip().partition("=")[::2] for option in options.split(",")))


class Side(NamedTuple):
    """The finished runs of a method, and its name in the table."""

    label: str
    runs: list[Run]


def find_sides(a: str, b: str, results: Sequence[str]) -> tuple[Side, Side]:
    """Find the finished runs of both methods. A run that only one side selects by options is not a run of the other side.

    Args:
        a: a strategy, a class of a strategy file or a folder, and options that select its runs ("zscl:l2=0.5").
        b: the other method.
        results: folders in which names are looked up.

    Raises:
        UserError: for a name or option without finished runs, and if both sides are one run.
    """
    texts = (a, b)
    needed = not all(Path(text).exists() for text in texts) or all(Path(root).exists() for root in results)
    runs = [run for run in read([*present(results)]) if run.finished] if needed else []
    names = [Name.parse(text) for text in texts]
    first, second = (_selected(name, _runs_of(name.strategy, runs, results)) for name in names)
    if names[0].options and not names[1].options:
        second = _without(second, first)
    elif names[1].options and not names[0].options:
        first = _without(first, second)
    shared = {run.folder.resolve() for run in first} & {run.folder.resolve() for run in second}
    if not (first and second) or shared:
        folder = min(shared) if first and second else (first or second)[0].folder
        raise UserError(
            f"A and B are both the run in {folder}: compare two methods, name two folders, or select runs by an option "
            "(zscl:l2=0.5 zscl:l2=0.1)."
        )
    check_copies([*first, *second])
    strategies = [side[0].identity["strategy"] for side in (first, second)]
    alike = strategies[0] == strategies[1]
    labels = [
        text if alike or name.options else strategy for text, name, strategy in zip(texts, names, strategies, strict=True)
    ]
    return Side(labels[0], first), Side(labels[1], second)


def _without(runs: Sequence[Run], others: Sequence[Run]) -> list[Run]:
    """Return the runs that are not among the others."""
    folders = {run.folder.resolve() for run in others}
    return [run for run in runs if run.folder.resolve() not in folders]


def _selected(name: Name, runs: Sequence[Run]) -> list[Run]:
    """Return the runs whose options have the values that the name gives. Raises UserError for an unknown option or value."""
    options = [flat({**(run.document.get("request") or {}).get("options", {}), **options_of(run)}) for run in runs]
    selected = [*zip(runs, options, strict=True)]
    for key, text in name.options.items():
        if not any(key in values for values in options):
            raise unknown(f"option of {name.strategy}", key, {key for values in options for key in values})
        of_runs = sorted({str(values[key]) for _, values in selected if key in values})
        selected = [(run, values) for run, values in selected if key in values and _is(values[key], text)]
        if not selected:
            raise UserError(f"{name.strategy} has no finished run with {key}={text}. Values of its runs: {', '.join(of_runs)}.")
    return [run for run, _ in selected]


def _is(value: Any, text: str) -> bool:
    """Return whether a recorded value is the one that a text gives: 0.1 and 1e-1 are equal."""
    shown = "none" if value is None else str(value)
    try:
        return float(shown) == float(text)
    except ValueError:
        return shown.lower() == text.lower()


def _runs_of(name: str, runs: Sequence[Run], roots: Sequence[str]) -> list[Run]:
    """Return the runs of a strategy, or those in a folder, which must belong to one strategy."""
    for strategy in (name, slug(name)):
        if matching := [run for run in runs if run.identity["strategy"] == strategy]:
            return matching
    if not Path(name).exists():
        where = f"strategy with finished runs in {', '.join(roots)}"
        raise unknown(where, name, {run.identity["strategy"] for run in runs})
    in_folder = [run for run in read([Path(name)]) if run.finished]
    strategies = sorted({run.identity["strategy"] for run in in_folder})
    if len(strategies) != 1:
        content = f"runs of {', '.join(strategies)}: name the folder of one method" if strategies else "no finished run"
        raise UserError(f"{name} holds {content}.")
    return in_folder


def options_of(run: Run) -> dict[str, Any]:
    """Return the settings of the method under their names for `--set`."""
    identity = run.identity
    tuning = {f"tuning.{name}": value for name, value in (identity.get("tuning_options") or {}).items()}
    return {"tuning": identity.get("tuning"), **identity["options"], **tuning}
