"""Sentences and leaderboard tables of the report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.records.leaderboard import LESS_IS_BETTER
from harness.records.runs import Run
from harness.records.titles import METRIC_TITLES
from harness.report.sections import Method, Section
from harness.report.tables import Cell, Table, number, table
from harness.run.version import short_revision


class Metric(NamedTuple):
    """A column of numbers in a leaderboard."""

    heading: str
    meaning: str
    digits: int = 1


METRICS = {
    "transfer": Metric(
        METRIC_TITLES["transfer"],
        "accuracy on tasks before they are trained: the mean over tasks i >= 2 of the mean of R[j, i] over 1 <= j < i. Row 0 "
        "and held-out domains are not included",
    ),
    "average": Metric(
        METRIC_TITLES["average"],
        "mean of R[j, i] over all rows 1 <= j <= T and all tasks. Row 0 and held-out domains are not included",
    ),
    "last": Metric(
        METRIC_TITLES["last"], "mean of R[T, i] over all tasks: accuracy after the whole stream, without held-out domains"
    ),
    "forgetting": Metric(
        METRIC_TITLES["forgetting"], "mean over tasks i < T of the drop from the maximum of R[l, i] over i <= l < T to R[T, i]"
    ),
    "bwt": Metric(METRIC_TITLES["bwt"], "backward transfer: mean over tasks i < T of R[T, i] - R[i, i]"),
    "retention": Metric(
        METRIC_TITLES["retention"],
        "accuracy in percent of zero-shot accuracy, on held-out domains and tasks not trained yet, mean over rows 1 <= j <= T",
    ),
    "iimm_mean": Metric("IIMM", "inter-intra modal measure of each task by the initial model, mean over tasks", 3),
}
INCREMENTAL = {
    "average": Metric(
        "Average incremental accuracy (cil_average)", "accuracy on all classes so far, mean over the steps 1 <= j <= T"
    ),
    "last": Metric("Last (cil_last)", "accuracy on all classes after the last step"),
}
"""The metrics of class-incremental benchmarks, which replace Average and Last."""
DEFINITIONS = [
    ("R[j, i]", "accuracy in percent on task i after training task j, for T tasks; row 0 is zero-shot"),
    *((metric.heading, metric.meaning) for metric in (*METRICS.values(), *INCREMENTAL.values())),
    ("Learning", "mean over tasks of R[i, i] - R[0, i]: the gain on a task after training it, from the initial model"),
]
MAX_OPTIONS = 40
"""With more methods, the options are closed at first."""
SUMMARISED = ("last", "transfer", "average")


def metrics(section: Section) -> dict[str, Metric]:
    """Return the metrics of a section's leaderboard by column."""
    incremental = section.first.identity["benchmark"].startswith("cil-")
    if incremental and "cil_average" in (section.first.document["summary"] or {}):
        return {**METRICS, **INCREMENTAL}
    return METRICS


def summary(section: Section) -> str:
    """Return a paragraph with the two best methods in Last, Transfer and Average, and the zero-shot values."""
    trained = [method for method in section.methods if method.trains]
    if not trained:
        return f"No trained methods yet. {_zero_shot(section)}".strip()
    counts = sorted({len(method.runs) for method in trained})
    seeds = f"{counts[0]} seed{'s' * (counts[0] != 1)} each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds each"
    deviation = " (± is one sample standard deviation over seeds)" if counts[-1] > 1 else ", so without standard deviations"
    opening = f"{len(trained)} trained method{'s' * (len(trained) != 1)}, {seeds}{deviation}."
    best = [_best(trained, column, metrics(section)[column].heading) for column in SUMMARISED]
    return " ".join(filter(None, [opening, *best, _zero_shot(section)]))


def _best(trained: list[Method], column: str, heading: str) -> str:
    ranked = sorted((m for m in trained if m.row.get(column) is not None), key=lambda m: -m.row[column])[:2]
    if not ranked:
        return ""
    return f"{'Best ' * (len(ranked) > 1)}{heading}: {', then '.join(_value(method, column) for method in ranked)}."


def _value(method: Method, column: str) -> str:
    return f"{method.label} {number(method.row[column], 1, method.row.get(f'{column}_std')).text} (n = {len(method.runs)})"


def _zero_shot(section: Section) -> str:
    """Return the zero-shot values: of a run that trains nothing, otherwise of row 0 of the runs."""
    names = metrics(section)

    def values(method: Method) -> str:
        known = [column for column in SUMMARISED if method.row.get(column) is not None]
        return ", ".join(f"{names[column].heading} {method.row[column]:z.1f}" for column in known)

    for method in section.measured:
        if not method.trains:
            label = f"{method.label[:1].upper()}{method.label[1:]}"
            return f"{label}, without training: {values(method)}." if values(method) else ""
    if section.incremental:
        return "There is no zero-shot run for comparison."
    initial = [method for method in section.methods if method.derived]
    model = {m.label: f" of {m.row['model']}" if len(initial) > 1 else "" for m in initial}
    return " ".join(f"Zero-shot{model[m.label]} (row 0 of the runs): {values(m)}." for m in initial if values(m))


def origin(runs: Sequence[Run]) -> str:
    """Return a sentence with the dates, commits and versions of torch of the runs."""
    documents = [run.document for run in runs]
    days = sorted({str(d["started"])[:10] for d in documents if d.get("started")})
    commits = sorted({short_revision(str(d["git_revision"])) for d in documents if d.get("git_revision")})
    torch = sorted({str(d["versions"].get("torch")) for d in documents if isinstance(d.get("versions"), dict)})
    parts = [f"started {days[0]}" + f" to {days[-1]}" * (len(days) > 1)] if days else []
    parts += [f"commit{'s' * (len(commits) > 1)} {_first(commits)}"] if commits else []
    parts += [f"torch {_first(torch)}"] if torch else []
    return f"The runs: {', '.join(parts)}." if parts else ""


def options(section: Section) -> tuple[str, Table | None]:
    """Return the options shared by all methods as text, and a table of the options in which they differ."""
    by_method = [settings(method.runs[0]) for method in section.measured]
    names = list(dict.fromkeys(name for values in by_method for name in values))
    shared = [name for name in names if all(name in values and values[name] == by_method[0].get(name) for values in by_method)]
    text = ", ".join(f"{name} {by_method[0][name]}" for name in shared)
    different = [name for name in names if name not in shared]
    if not different or len(by_method) < 2:
        return text, None
    rows = [[m.label, *(v.get(name, "-") for name in different)] for m, v in zip(section.measured, by_method, strict=True)]
    columns = dict.fromkeys(["method", *different])
    return text, table("Options in which the methods differ", columns, rows, text_columns=len(columns))


def settings(run: Run) -> dict[str, str]:
    """Return the options of a run as text by their names for `--set`. Empty options are left out."""
    identity = run.identity
    values = {"tuning": identity.get("tuning"), **(identity.get("options") or {})}
    values |= {f"tuning.{name}": value for name, value in (identity.get("tuning_options") or {}).items()}
    return {name: _text(value) for name, value in values.items() if value not in (None, {}, [])}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _first(values: Sequence[str]) -> str:
    return ", ".join([*values[:3], *([f"{len(values) - 3} more"] if len(values) > 3 else [])])


def leaderboard(section: Section) -> Table:
    """Return the leaderboard of a section: means over seeds with standard deviations."""
    rows, names = [method.row for method in section.measured], metrics(section)
    varying = [name for name in ("model", "tuning") if len({row[name] for row in rows}) > 1]
    columns: dict[str, str | None] = {"method": None, **dict.fromkeys(varying), "seeds": "number of runs averaged"}
    for column, metric in names.items():
        better = "" if column == "iimm_mean" else f" ({'lower' if column in LESS_IS_BETTER else 'higher'} is better)"
        columns[metric.heading] = f"{metric.meaning}{better}"
    columns |= {"train s": "seconds of training, mean over seeds", "eval s": "seconds of evaluation, mean over seeds"}
    cells: list[list[Any]] = []
    for method in section.methods:
        row = method.row
        numbers = [number(row.get(c), m.digits, None if c == "iimm_mean" else row.get(f"{c}_std")) for c, m in names.items()]
        seconds = [number(row.get(column), 0) for column in ("train_seconds", "eval_seconds")]
        label = f"{method.label} (row 0)" if method.derived else method.label
        seeds = str(len(method.runs))
        cells.append([label, *(row[name] for name in varying), Cell(seeds, seeds), *numbers, *seconds])
    same = "; ".join(f"{name} {rows[0][name]}" for name in ("model", "tuning") if name not in varying and rows[0].get(name))
    caption = f"Leaderboard: {section.title}. Means over seeds ± sample standard deviation, in percent or points. {same}"
    return table(caption, columns, cells, text_columns=1 + len(varying))
