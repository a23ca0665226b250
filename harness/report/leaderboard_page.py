"""The page of the leaderboard: one file that needs no network, with sortable tables and filters.

Tables are those of the command: one per benchmark, edition, order and setting, so mini and full are never mixed. The filter of
the edition always chooses one.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.registry import usual_settings
from harness.records.files import table_bytes
from harness.records.leaderboard import LESS_IS_BETTER, SECTION, section_title, shown
from harness.records.runs import Run
from harness.records.schema import RECORD
from harness.records.titles import METRIC_TITLES
from harness.report.html import file, folder_of, link, provenance, record_link, render
from harness.report.sections import unique
from harness.report.sentences import DEFINITIONS, INCREMENTAL, METRICS
from harness.report.tables import Cell, Table, number
from harness.report.tables import table as table_of
from models.files import reason, write_output
from models.registry import UserError

if TYPE_CHECKING:
    import pandas as pd

ARXIV = re.compile(r"\((\d{4}\.\d{5})\)")
"""The number of a paper in the source of a published row."""
FILTERS = ("edition", "benchmark", "protocol")
HEADINGS = {"average": METRIC_TITLES["cil_average"], "last": METRIC_TITLES["cil_last"]}
"""Headings of the metrics of class-incremental tables."""
NAMES = ("tuning", "model", "pretrained", "settings", "reported")
"""Columns of text, which are shown if a row of the table has them."""
COSTS = {
    "train_seconds": ("train s", "seconds of training, mean over seeds", 0),
    "eval_seconds": ("eval s", "seconds of evaluation, mean over seeds", 0),
    "test_ms_per_image": ("ms / image", "shortest time from the pixels of a test image to its logits", 2),
    "trainable_params": ("trains", "parameters that train", 0),
}
"""Heading, meaning and digits of the columns of cost."""

Row = dict[str, Any]


def write(
    table: pd.DataFrame,
    by_row: Sequence[Sequence[Run]],
    html: str | Path,
    command: str = "leaderboard",
    report: str | Path | None = None,
) -> None:
    """Write the page of a leaderboard.

    Args:
        table: `harness.records.leaderboard.table_of`.
        by_row: the runs of each row, by seed.
        html: path of the page.
        command: the command, which the page names.
        report: path of the report's page, which is linked.

    Raises:
        UserError: if the file cannot be written.
    """
    text = page(table, by_row, folder_of(html), command, None if report is None else link(report, folder_of(html)))
    try:
        write_output(html, text.encode())
    except OSError as error:
        raise UserError(f"Cannot write {html}: {reason(error)}.") from error


def page(
    table: pd.DataFrame, by_row: Sequence[Sequence[Run]], folder: Path, command: str = "leaderboard", report: str | None = None
) -> str:
    """Return the HTML of the page, which will be in `folder`. Other arguments are those of `write`."""
    rows: list[Row] = [
        {str(k): None if v is None or v != v else v for k, v in row.items()} for row in table.astype(object).to_dict("records")
    ]
    groups: dict[tuple[Any, ...], list[tuple[Row, Sequence[Run]]]] = {}
    for row, runs in zip(rows, by_row, strict=True):
        groups.setdefault(tuple(row.get(name) for name in SECTION), []).append((row, runs))
    ordered: dict[str, list[str]] = table.attrs.get("ordered", {})
    slugs: dict[str, int] = {}
    sections = [_section(pairs, ordered, slugs, folder) for pairs in groups.values()]
    # The page opens with an edition that has runs.
    by_runs = sorted(sections, key=lambda section: not section["records"])
    count = sum(map(len, by_row))
    elsewhere = sum(run.source != "run" for runs in by_row for run in runs)
    published = sum(not runs for runs in by_row)
    counts = f"{len(rows)} row{'s' * (len(rows) != 1)} from {count} finished run{'s' * (count != 1)}"
    counts += f", {elsewhere} of them from elsewhere" * bool(elsewhere) + f", and {published} published rows" * bool(published)
    return render(
        "leaderboard.html",
        file("page.css") + file("leaderboard.css"),
        file("page.js") + file("leaderboard.js"),
        sections=sections,
        filters=[(name, list(dict.fromkeys(section[name] for section in by_runs))) for name in FILTERS],
        counts=counts,
        provenance=provenance(command),
        report=report,
        csv=base64.b64encode(table_bytes(table)).decode(),
        definitions=DEFINITIONS,
    )


def _section(
    pairs: Sequence[tuple[Row, Sequence[Run]]], ordered: dict[str, list[str]], slugs: dict[str, int], folder: Path
) -> dict[str, Any]:
    """Return the data of a table: its title, the values that filters choose it by, its rows, records and commands."""
    first = pairs[0][0]
    title = section_title(first, ordered.get(first["order"], ()))
    records = [
        {
            "label": f"{row['strategy']}, seed {run.identity['seed']}",
            "link": record_link(run, folder),
            "command": command_of(run),
        }
        for row, runs in pairs
        for run in runs
    ]
    return {
        "title": title,
        "slug": unique(title, slugs),
        "edition": first["edition"],
        "benchmark": first["benchmark"],
        "protocol": first.get("protocol") or usual_settings(first["benchmark"])["protocol"],
        "table": _table(title, pairs, folder),
        "records": records,
    }


def _table(title: str, pairs: Sequence[tuple[Row, Sequence[Run]]], folder: Path) -> Table:
    """Return the table of a section. Columns without values are left out."""
    rows = [row for row, _ in pairs]
    incremental = str(rows[0]["benchmark"]).startswith("cil-")
    metrics = {**METRICS, **INCREMENTAL} if incremental else METRICS
    metrics = {name: metric for name, metric in metrics.items() if any(row.get(name) is not None for row in rows)}
    names = [name for name in NAMES if any(row.get(name) for row in rows)]
    costs = [name for name in COSTS if any(row.get(name) is not None for row in rows)]
    columns: dict[str, str | None] = {"method": None, **dict.fromkeys(names)}
    columns |= {"source": "run, or the dataset, folder or paper", "seeds": "number of runs", "records": "run.json by seed"}
    for name, metric in metrics.items():
        better = "" if name == "iimm_mean" else f" ({'lower' if name in LESS_IS_BETTER else 'higher'} is better)"
        columns[HEADINGS[name] if incremental and name in INCREMENTAL else metric.heading] = f"{metric.meaning}{better}"
    columns |= {COSTS[name][0]: COSTS[name][1] for name in costs}
    cells: list[list[Any]] = []
    for row, runs in pairs:
        numbers = [number(row.get(n), m.digits, None if n == "iimm_mean" else row.get(f"{n}_std")) for n, m in metrics.items()]
        seeds = str(row["seeds"])
        method = f"{row['strategy']} *" if row.get("batch_dependent") == "yes" else row["strategy"]
        cells.append(
            [
                method,
                *(row.get(name) for name in names),
                _source(row),
                Cell(seeds, seeds),
                _records(runs, folder),
                *numbers,
                *(number(row.get(name), COSTS[name][2]) for name in costs),
            ]
        )
    caption = f"{title}. Means over seeds ± sample standard deviation, in percent or points."
    if any(row.get("batch_dependent") == "yes" for row in rows):
        caption += " * Predictions depend on the other images of their batch."
    return table_of(caption, columns, cells, text_columns=2 + len(names))


def _source(row: Row) -> Cell:
    """Return the source of a row, with a link to a paper with an arXiv number."""
    source = str(row["source"])
    paper = ARXIV.search(source)
    return Cell(source, source, ((source, f"https://arxiv.org/abs/{paper[1]}"),) if paper else ())


def _records(runs: Sequence[Run], folder: Path) -> Cell:
    """Return links to the records of a row, one per seed."""
    links = tuple((str(run.identity["seed"]), record_link(run, folder) or "") for run in runs)
    return Cell("-", str(len(runs)) if runs else "", links)


def command_of(run: Run) -> str:
    """Return the command that repeats a run from its record."""
    if run.address is None:
        return f"python cli.py bench --config {shlex.quote(shown(run.folder / RECORD))}"
    repository, _, rest = run.address.removeprefix("hf://datasets/").partition("@")
    commit, _, path = rest.partition("/")
    name = f"{path}/{RECORD}" if path else RECORD
    return (
        f"hf download {repository} {shlex.quote(name)} --repo-type dataset --revision {commit} --local-dir records && "
        f"python cli.py bench --config {shlex.quote(f'records/{name}')}"
    )
