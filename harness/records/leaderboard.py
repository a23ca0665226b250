"""Derive the leaderboard from the records of runs. It is never appended to. Imports neither torch nor Avalanche."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.registry import usual_settings
from harness.config.run_config import RunConfig
from harness.records.elsewhere import read_all
from harness.records.run_json import COSTS, TEST_COSTS
from harness.records.runs import Run
from harness.records.summary import summary_of
from harness.records.titles import ordered_names, stream_title
from metrics import matrix
from models.setting import ALWAYS, described
from reference_data import published
from reference_data.mtil import ORDERS

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = [
    "benchmark",
    "edition",
    "order",
    "model",
    "pretrained",
    "strategy",
    "tuning",
    "seeds",
    "transfer",
    "average",
    "last",
    "forgetting",
    "bwt",
    "retention",
    "iimm_mean",
    "trainable_params",
    "train_seconds",
    "eval_seconds",
    "images_per_second",
    "peak_memory_mb",
    "source",
    "run",
]
LATER = (*TEST_COSTS, "batch_dependent", "reported", "duplicates", "split")
"""Columns after all others, in the order in which they were added."""
METRICS = ("transfer", "average", "last", "forgetting", "bwt", "retention", "iimm_mean")
LESS_IS_BETTER = ("forgetting",)
TITLED = {name: setting for name, setting in described(RunConfig).items() if setting.title}
TITLES = {name: setting.title for name, setting in TITLED.items()}
# Marks that separate tables, with their text in a title. A mark is a column at the end if any run has it. The last two are
# shown only if runs of one benchmark, edition and order differ in them.
MARKS = {
    **TITLES,
    "data": "on data that is not the paper's",
    "heldout": "held out: {}",
    "data_version": "data {}",
}
TABLE = ("benchmark", "edition", "order")
# Columns in which the rows of one printed table agree.
SECTION = (*TABLE, *MARKS)
METHOD = ("model", "pretrained", "strategy", "tuning")
SORT = [*TABLE, "model", "average"]


def leaderboard(
    roots: Sequence[str | Path] = ("results",), with_published: bool = False, elsewhere: Sequence[str] = ()
) -> pd.DataFrame:
    """Return one row per method and setting, with means and standard deviations over seeds. The columns are always the same.

    Runs that agree in everything but the seed form one row. A copy of a run counts once. Columns at the end mark runs with
    --limit, with --shots or with a protocol other than the benchmark's default, and, in `data`, runs on data that differs from
    the paper's. `heldout` and `data_version` are filled if runs of one benchmark differ in them. `settings` names the options
    in which rows of one method differ. `batch_dependent` is "yes" or "no" for runs with --check-batch. `reported` is the
    average, or average / last, of a method's authors, for a published row that a third party re-ran. For class-incremental
    benchmarks, `average` and `last` cover all classes seen so far. Rows of one benchmark, edition and order are adjacent, with
    the best average first.

    Example:
        table = leaderboard(["results"], with_published=True)

    Args:
        roots: result folders, run folders or `run.json` files, searched downwards. Only finished runs count. A path that does
            not exist has no runs.
        with_published: add the rows of the papers.
        elsewhere: hub datasets (OWNER/NAME), folders and `run.json` files of others (`harness.records.elsewhere`).

    Returns:
        A table with the columns `COLUMNS`, then `<metric>_std` for each metric, the marks, `settings` and `LATER`.

    Raises:
        UserError: naming the file, for a record that is damaged or contradicts itself.
    """
    return table_of([run for run in read_all(roots, elsewhere) if run.finished], with_published)[0]


def table_of(runs: Sequence[Run], with_published: bool = False) -> tuple[pd.DataFrame, list[list[Run]]]:
    """Return the leaderboard of finished runs, and the runs of each row by seed (empty for a published row)."""
    import pandas as pd

    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    by_row = [sorted(group, key=lambda run: run.identity["seed"]) for group in groups.values()]
    rows = [_row([_values(run) for run in group]) for group in by_row]
    _set_apart(rows)
    if with_published:
        rows += _published()
    columns = [
        *COLUMNS,
        *(f"{metric}_std" for metric in METRICS),
        *(mark for mark in MARKS if mark not in LATER),
        "settings",
        *LATER,
    ]
    table = pd.DataFrame(rows, columns=columns)
    by = [*SORT[:-1], *MARKS, SORT[-1]]
    table = table.sort_values(by, ascending=[column != "average" for column in by], kind="stable", na_position="last")
    order = [by_row[i] if i < len(by_row) else [] for i in table.index]
    table = table.reset_index(drop=True)
    # For titles, which name a custom order by its tasks.
    table.attrs["ordered"] = {run.identity["order"]: ordered_names(run.identity) for run in runs}
    return table, order


def section_title(row: Mapping[str, Any], ordered: Sequence[str] = ()) -> str:
    """Return the title of a table whose rows agree in `SECTION`. Marks that are empty or None are left out.

    `ordered` lists the tasks or classes of a custom order.
    """
    marks = [text.format(row[mark]) for mark, text in MARKS.items() if row.get(mark)]
    return ", ".join([stream_title(row["benchmark"], row["edition"], row["order"], ordered), *marks])


def _values(run: Run) -> dict[str, Any]:
    """Return the values of a finished run that its row is made from."""
    document, identity = run.document, run.identity
    shared = {k: v for k, v in identity.items() if k != "seed"}
    return {
        **{k: identity.get(k) for k in (*TABLE, *METHOD)},
        **_metrics(document["summary"], identity["benchmark"]),
        **{c: document.get(c) for c in (*COSTS, *TEST_COSTS)},
        "batch_dependent": batch_dependent(document),
        "trainable_params": document["trainable_params"],
        **marked(identity),
        "data": "differs" if document.get("differences") else None,
        "heldout": ", ".join(identity["heldout"]) or "none",
        "data_version": identity.get("data_version"),
        "differing": flat({k: v for k, v in shared.items() if k not in (*TABLE, *METHOD, *MARKS)}),
        "source": run.source,
        "run": run.address or shown(run.folder),
    }


def _metrics(summary: dict[str, Any], benchmark: str) -> dict[str, Any]:
    """Return the metrics of a summary, in the class-incremental case with the average and last over all classes."""
    metrics = {name: summary.get(name) for name in METRICS}
    if benchmark.startswith("cil-") and "cil_average" in summary:
        metrics.update(average=summary["cil_average"], last=summary.get("cil_last"))
    return metrics


def batch_dependent(document: Mapping[str, Any]) -> str | None:
    """Return "yes" or "no": whether a prediction of the run depends on its batch; None if that was not checked."""
    result = document.get("batch_check")
    return None if result is None else "yes" if result["dependent"] else "no"


def marked(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return protocol, rule for shared classes, shots and limit of a run, None where they are the benchmark's own."""
    usual = usual_settings(identity["benchmark"])
    # An identity lacks values that are usual for most benchmarks.
    values = {name: identity.get(name, None if s.usual is ALWAYS else s.usual) for name, s in TITLED.items()}
    return {name: None if value == usual.get(name) else value for name, value in values.items()}


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested dictionary with dotted keys. Keys inside `options` have no prefix."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            result.update(flat(value, "" if name == "options" else f"{prefix}{name}."))
        else:
            result[prefix + name] = value
    return result


def _set_apart(rows: list[dict[str, Any]]) -> None:
    """Keep `heldout` and `data_version` only in tables that mix them, and fill `settings` for rows of one method."""
    for rows_of_table in _by(rows, TABLE):
        for mark in ("heldout", "data_version"):
            if len({row[mark] for row in rows_of_table}) == 1:
                for row in rows_of_table:
                    row[mark] = None
    for alike in _by(rows, (*TABLE, *METHOD, *MARKS)):
        everything = [row.pop("differing") for row in alike]
        names = dict.fromkeys(name for values in everything for name in values)
        differing = [name for name in names if len({json.dumps(values.get(name)) for values in everything}) > 1]
        for row, values in zip(alike, everything, strict=True):
            row["settings"] = " ".join(f"{n}={values[n]}" for n in differing if n in values) or None


def _by(rows: list[dict[str, Any]], names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Group rows that agree in some columns."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return list(groups.values())


def _row(group: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the row of several seeds."""
    row = {k: group[0][k] for k in (*TABLE, *METHOD)}
    row["pretrained"] = row["pretrained"] or ""
    row["seeds"] = len(group)
    row.update({name: group[0][name] for name in (*MARKS, "differing")})
    row["trainable_params"] = group[0]["trainable_params"]
    # One run that depends on its batches decides for all of the row.
    row["batch_dependent"] = max((r["batch_dependent"] for r in group if r["batch_dependent"]), default=None)
    for name in (*METRICS, *COSTS, *TEST_COSTS):
        values = np.array([np.nan if r[name] is None else r[name] for r in group], dtype=float)
        row[name] = float(values.mean())
        if name in METRICS and len(group) > 1:
            row[f"{name}_std"] = float(values.std(ddof=1))
    row["source"] = ";".join(dict.fromkeys(record["source"] for record in group))
    row["run"] = ";".join(record["run"] for record in group)
    return row


def _published() -> list[dict[str, Any]]:
    """Return the papers' rows in the full edition. Their matrices are summarised by the functions that summarise runs."""
    base = {"edition": "full", "model": "ViT-B-16", "pretrained": "openai", "tuning": "full", "seeds": 1}
    rows: list[dict[str, Any]] = []
    for order in ORDERS:
        zero = [published.ZERO_SHOT[task] for task in ORDERS[order]]
        matrices = {strategy: published.matrix(order, strategy) for strategy in published.METHODS}
        for strategy, R in {**matrices, "zero-shot": published.zero_shot_matrix(order)}.items():
            summary = {**summary_of(R), "retention": matrix.retention(R, zero).summary}
            rows.append(
                {**base, "benchmark": "mtil", "order": order, "strategy": strategy, **summary, "source": published.SOURCE}
            )
    for row in published.class_incremental():
        metrics = {name: float(row[name]) if row[name] else np.nan for name in ("average", "last")}
        # MoE-Adapters trains adapters, not the towers.
        tuning = "full" if row["strategy"] == "zscl" else ""
        rows.append({**base, **row, **metrics, "order": "default", "tuning": tuning})
    return [*rows, *map(_published_elsewhere, published.other_papers())]


def _published_elsewhere(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the row of a paper, or of a third party's re-run. `reported` is what the authors reported of a re-run method."""
    usual, shots = usual_settings(row["benchmark"]), int(row["shots"]) if row["shots"] else None
    settings = {"template": row["template"], "variant": row["variant"]}
    return {
        **{name: row[name] for name in ("benchmark", "order", "model", "pretrained", "strategy", "source")},
        **{name: float(row[name]) if row[name] else np.nan for name in ("transfer", "average", "last")},
        "edition": "full",
        "tuning": "",
        "seeds": 1,
        "protocol": None if row["protocol"] == usual["protocol"] else row["protocol"],
        "shots": None if shots == usual.get("shots") else shots,
        "settings": "; ".join(f"{name}: {value}" for name, value in settings.items() if value) or None,
        "reported": " / ".join(value for value in (row["reported_average"], row["reported_last"]) if value) or None,
    }


def shown(path: Path) -> str:
    """Return a folder relative to the working directory if possible, so that a leaderboard can be shared."""
    try:
        here, absolute = os.getcwd(), os.path.abspath(path)
    except FileNotFoundError:  # the working directory has been deleted
        return str(path)
    for each in (absolute, os.path.realpath(path)):
        if each.startswith(here.rstrip(os.sep) + os.sep):
            return os.path.relpath(each, here)
    return absolute
