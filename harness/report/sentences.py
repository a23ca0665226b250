"""What a report says in sentences and tables: the summary of a section, its leaderboard, what the numbers mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.records.leaderboard import LESS_IS_BETTER
from harness.records.runs import Run
from harness.records.titles import METRIC_TITLES
from harness.report.markup import Cell, Markup, number, table, tag
from harness.report.sections import Method, Section
from harness.run.version import short_revision


class Metric(NamedTuple):
    """A column of numbers of a leaderboard."""

    heading: str
    meaning: str
    digits: int = 1


METRICS = {
    "transfer": Metric(
        METRIC_TITLES["transfer"], "accuracy on tasks not trained yet: mean over i >= 2 of the mean of R[j, i] over j < i"
    ),
    "average": Metric(METRIC_TITLES["average"], "mean of all cells"),
    "last": Metric(METRIC_TITLES["last"], "mean of the last row: all tasks after the whole stream"),
    "forgetting": Metric(METRIC_TITLES["forgetting"], "mean drop of a task from its best since it was trained to the end"),
    "bwt": Metric(METRIC_TITLES["bwt"], "mean of R[T, i] - R[i, i]"),
    "retention": Metric(
        METRIC_TITLES["retention"], "zero-shot accuracy kept on held-out domains and tasks not trained yet, in percent"
    ),
    "iimm_mean": Metric("IIMM", "inter-intra modal measure of a task on the initial model, mean over tasks", 3),
}
INCREMENTAL = {
    "average": Metric(METRIC_TITLES["cil_average"], "accuracy on all classes seen so far, mean over the steps"),
    "last": Metric(METRIC_TITLES["cil_last"], "accuracy on all classes after the last step"),
}
MOST_OPTIONS = 40
"""Methods whose options are shown at once."""
SUMMARISED = ("last", "transfer", "average")


def metrics(section: Section) -> dict[str, Metric]:
    """The columns of numbers of a section's leaderboard."""
    seen = section.first.identity["benchmark"].startswith("cil-") and "cil_average" in (section.first.document["summary"] or {})
    return {**METRICS, **INCREMENTAL} if seen else METRICS


def summary(section: Section) -> str:
    """One paragraph: which method is best in Last, Transfer and Average, by how much, over how many seeds; and zero-shot."""
    trained = [m for m in section.methods if m.trains]
    if not trained:
        return f"No trained method here yet. {_reference(section)}".strip()
    said = [_best(trained, key, metrics(section)[key].heading) for key in SUMMARISED]
    sentences = [sentence for sentence in said if sentence]
    counts = sorted({len(m.runs) for m in trained})
    seeds = f"{counts[0]} seed{'s' * (counts[0] != 1)} each" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds each"
    spread = " (± is one sample standard deviation over seeds)" if counts[-1] > 1 else "; one seed shows no spread"
    opening = f"{len(trained)} trained method{'s' * (len(trained) != 1)}, {seeds}{spread}."
    return " ".join([opening, *sentences, _reference(section)]).strip()


def _best(trained: list[Method], key: str, name: str) -> str:
    ranked = sorted((m for m in trained if m.row.get(key) is not None), key=lambda m: -m.row[key])
    if not ranked:
        return ""
    said = f"{'Best ' if len(ranked) > 1 else ''}{name}: {_value(ranked[0], key)}"
    if len(ranked) > 1:
        said += f", then {_value(ranked[1], key)}"
    return said + "."


def _value(method: Method, key: str) -> str:
    return f"{method.label} {number(method.row[key], 1, method.row.get(f'{key}_std'))[0]} (n = {len(method.runs)})"


def _reference(section: Section) -> str:
    """Zero-shot's numbers: of a run that trains nothing; else of row 0, where it stands for all rows."""
    names = metrics(section)
    for method in section.measured:
        if not method.trains:
            values = ", ".join(f"{names[k].heading} {method.row[k]:z.1f}" for k in SUMMARISED if method.row.get(k) is not None)
            return f"{method.label[:1].upper()}{method.label[1:]}, without training, has {values}." if values else ""
    if section.incremental:
        return "There is no zero-shot run to compare with."
    initial = [m for m in section.methods if m.derived]
    said = []
    for m in initial:
        values = ", ".join(f"{names[k].heading} {m.row[k]:z.1f}" for k in SUMMARISED if m.row.get(k) is not None)
        of = f" of {m.row['model']}" if len(initial) > 1 else ""
        said += [f"Zero-shot{of} (row 0 of the runs) has {values}."] if values else []
    return " ".join(said)


def origin(runs: Sequence[Run]) -> str:
    """Return a sentence on when, with which commits and with which version of torch the runs were made."""
    documents = [run.document for run in runs]
    days = sorted({str(d["started"])[:10] for d in documents if d.get("started")})
    commits = sorted({short_revision(str(d["git_revision"])) for d in documents if d.get("git_revision")})
    torch = sorted({str(d["versions"].get("torch")) for d in documents if isinstance(d.get("versions"), dict)})
    parts = [f"started {days[0]}" + f" to {days[-1]}" * (len(days) > 1)] if days else []
    parts += [f"commit{'s' * (len(commits) > 1)} {_few(commits)}"] if commits else []
    parts += [f"torch {_few(torch)}"] if torch else []
    return f"The runs: {', '.join(parts)}." if parts else ""


def options(section: Section) -> Markup:
    """Return the options that all methods share, and a table of those in which they differ."""
    by_method = [settings(m.runs[0]) for m in section.measured]
    names = list(dict.fromkeys(name for each in by_method for name in each))
    shared = [n for n in names if all(n in each and each[n] == by_method[0].get(n) for each in by_method)]
    said = ", ".join(f"{name} {by_method[0][name]}" for name in shared)
    parts: list[Markup] = [tag("p", f"Set alike for all methods: {said}.", class_="note")] if said else []
    different = [name for name in names if name not in shared]
    if different and len(by_method) > 1:
        cells = [
            [m.label, *(of.get(name, "-") for name in different)] for m, of in zip(section.measured, by_method, strict=True)
        ]
        columns = dict.fromkeys(["method", *different])
        parts.append(table("Options in which the methods differ", columns, cells, text_columns=len(columns)))
    return tag("details", tag("summary", "Options"), *parts, open=len(by_method) <= MOST_OPTIONS) if parts else Markup("")


def settings(run: Run) -> dict[str, str]:
    """Return the options of a run as text by the names that `--set` has for them; empty ones are left out."""
    identity = run.identity
    found = {"tuning": identity.get("tuning"), **(identity.get("options") or {})}
    found |= {f"tuning.{name}": value for name, value in (identity.get("tuning_options") or {}).items()}
    return {name: _text(value) for name, value in found.items() if value not in (None, {}, [])}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)


def _few(values: Sequence[str]) -> str:
    return ", ".join([*values[:3], *([f"{len(values) - 3} more"] if len(values) > 3 else [])])


def leaderboard(section: Section) -> Markup:
    """The section's leaderboard; numbers are means over seeds with standard deviations."""
    rows = [m.row for m in section.measured]
    names = metrics(section)
    plain = [name for name in ("model", "tuning") if len({row[name] for row in rows}) > 1]
    columns: dict[str, str | None] = {"method": None, **dict.fromkeys(plain)}
    columns |= {"seeds": "number of runs averaged"}
    columns |= {
        of.heading: f"{of.meaning} ({'less' if name in LESS_IS_BETTER else 'more'} is better)" for name, of in names.items()
    }
    columns["IIMM"] = names["iimm_mean"].meaning
    columns |= {"train s": "seconds of training, mean over seeds", "eval s": "seconds of evaluation, mean over seeds"}
    cells: list[list[Any]] = []
    for m in section.methods:
        numbers = [
            number(m.row.get(k), of.digits, None if k == "iimm_mean" else m.row.get(f"{k}_std")) for k, of in names.items()
        ]
        times = [number(m.row.get(k), 0) for k in ("train_seconds", "eval_seconds")]
        label = f"{m.label} (row 0)" if m.derived else m.label
        cells.append([label, *(m.row[name] for name in plain), Cell(len(m.runs), len(m.runs)), *numbers, *times])
    shared = "; ".join(f"{name} {rows[0][name]}" for name in ("model", "tuning") if name not in plain and rows[0].get(name))
    caption = f"Leaderboard: {section.title}. Means over seeds ± sample standard deviation; percent and points. {shared}"
    return table(caption, columns, cells, text_columns=1 + len(plain))
