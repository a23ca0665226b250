"""What a report says in sentences and tables: the summary of a section, its leaderboard, what the numbers mean."""

from __future__ import annotations

from typing import Any, NamedTuple

from harness.leaderboard import LESS_IS_BETTER
from harness.report.markup import Cell, Markup, number, table
from harness.report.methods import Method, Section
from harness.screen import SUMMARY
from harness.summary import Percent, zero_shot_summary


class Metric(NamedTuple):
    """A column of numbers of a leaderboard."""

    heading: str
    meaning: str
    digits: int = 1


METRICS = {
    "transfer": Metric(
        SUMMARY["transfer"], "accuracy on tasks not trained yet: mean over i >= 2 of the mean of R[j, i] over j < i"
    ),
    "average": Metric(SUMMARY["average"], "mean of all cells"),
    "last": Metric(SUMMARY["last"], "mean of the last row: all tasks after the whole stream"),
    "forgetting": Metric(SUMMARY["forgetting"], "mean drop of a task from its best since it was trained to the end"),
    "bwt": Metric(SUMMARY["bwt"], "mean of R[T, i] - R[i, i]"),
    "retention": Metric(
        SUMMARY["retention"], "zero-shot accuracy kept on held-out domains and tasks not trained yet, in percent"
    ),
    "iimm_mean": Metric("IIMM", "inter-intra modal measure of a task on the initial model, mean over tasks", 3),
}
INCREMENTAL = {
    "average": Metric(SUMMARY["cil_average"], "accuracy on all classes seen so far, mean over the steps"),
    "last": Metric(SUMMARY["cil_last"], "accuracy on all classes after the last step"),
}
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
    for method in section.methods:
        if not method.trains:
            values = ", ".join(f"{names[k].heading} {method.row[k]:z.1f}" for k in SUMMARISED if method.row.get(k) is not None)
            return f"{method.label[:1].upper()}{method.label[1:]}, without training, has {values}." if values else ""
    if section.incremental:
        return "There is no zero-shot run to compare with."
    models = {m.row["model"]: m.runs[0] for m in section.methods}
    said = []
    for model, run in models.items():
        row = {("test", task): Percent(run.cells.get((0, "test", task), float("nan"))) for task in run.tasks}
        zero = zero_shot_summary({0: row}, run.tasks)
        values = ", ".join(f"{names[k].heading} {zero[k]:z.1f}" for k in SUMMARISED if zero[k] == zero[k])
        said += [f"Zero-shot{f' of {model}' * (len(models) > 1)} (row 0 of the runs) has {values}."] if values else []
    return " ".join(said)


def leaderboard(section: Section) -> Markup:
    """The section's leaderboard; numbers are means over seeds with standard deviations."""
    rows = [m.row for m in section.methods]
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
        cells.append([m.label, *(m.row[name] for name in plain), Cell(len(m.runs), len(m.runs)), *numbers, *times])
    shared = "; ".join(f"{name} {rows[0][name]}" for name in ("model", "tuning") if name not in plain and rows[0].get(name))
    caption = f"Leaderboard: {section.title}. Means over seeds ± sample standard deviation; percent and points. {shared}"
    return table(caption, columns, cells, text_columns=1 + len(plain))
