"""Write rows of mini_results.csv and batch_check.csv from finished runs: `python -m tools.result_rows RESULTS...`.

Runs that agree in everything but the seed are one row: means over the seeds, with standard deviations if there are several.
A row replaces that of the same benchmark, strategy and options, unless that has more seeds. Its place in the file is kept.
Times of whole commands are left empty: they need a machine without other work.

mini_results.csv takes runs with the default settings of the mini edition, also under another protocol. batch_check.csv takes
every run with `--check-batch`.

After it, `python -m tools.pages` shows the rows. The sentences about them must be read again.
"""

from __future__ import annotations

import argparse
import datetime
import platform
from collections.abc import Sequence
from typing import Any

from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.records.files import write_csv
from harness.records.leaderboard import METRICS, flat, marked, table_of
from harness.records.runs import Run, read
from tools.tables import KEYS, TABLE_FOLDER, Row, markdown, number, rows

SHOWN = [metric for metric in METRICS if metric != "iimm_mean"]
TABLE = ("benchmark", "edition", "order", "strategy", "options", "seeds")
ORIGIN = ("command", "revision", "measured", "machine")
COLUMNS = {
    "mini_results": (
        *TABLE,
        *(column for metric in SHOWN for column in (metric, f"{metric}_std")),
        *("trainable_params", "train_seconds", "eval_seconds", "command_seconds_min", "command_seconds_max", "note", *ORIGIN),
    ),
    "batch_check": (*TABLE, "batches", "images", "changed", "dependent", "dependent_low", "dependent_high", *ORIGIN),
}


def result_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row of mini_results.csv per method and protocol of finished runs with default settings."""
    table, groups = table_of(runs)
    made = []
    for values, group in zip(table.to_dict("records"), groups, strict=True):
        # A class-incremental benchmark has no held-out domains.
        shown = [name for name in SHOWN if name != "retention" or not values["benchmark"].startswith("cil-")]
        row = {**origin(group), **{name: _text(values[name]) for name in shown}}
        row |= {f"{name}_std": _text(values[f"{name}_std"]) if values[f"{name}_std"] else "" for name in shown}
        made.append(row | {name: round(values[name]) for name in ("trainable_params", "train_seconds", "eval_seconds")})
    return made


def batch_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return one row of batch_check.csv per method and kind of batches: counts over all seeds, and the range of a seed."""
    made = []
    for group in table_of([run for run in runs if "batch_check" in run.document])[1]:
        checks = [run.document["batch_check"]["passes"] for run in group]
        for same in zip(*checks, strict=True):
            dependent = [each["dependent"] for each in same]
            totals = {name: sum(each[name] for each in same) for name in ("images", "changed", "dependent")}
            row = {**origin(group, check=True), "batches": same[0]["batches"], **totals}
            made.append(row | {"dependent_low": min(dependent), "dependent_high": max(dependent)})
    return made


def origin(group: Sequence[Run], check: bool = False) -> dict[str, Any]:
    """Return the columns of a row that identify its runs: method, settings, seeds, command and revision."""
    first, seeds = group[0], [str(run.identity["seed"]) for run in group]
    options = {**{name: value for name, value in marked(first.identity).items() if value}, **settings(first)}
    words = ["python cli.py bench", name_of(first), "--strategy", first.identity["strategy"]]
    words += [f"--{name} {value}" if name == "protocol" else f"--set {name}={value}" for name, value in options.items()]
    words += [*(["--seed", *seeds] if len(seeds) > 1 else []), *(["--check-batch"] if check else [])]
    return {
        **{name: first.identity[name] for name in TABLE if name in first.identity},
        "options": " ".join(f"{name}={value}" for name, value in options.items()),
        "seeds": len(group),
        "command": " ".join(words),
        "revision": str(first.document["git_revision"])[:7],
    }


def settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run that are not the defaults of its benchmark, strategy and protocol.

    Raises:
        SystemExit: for a run whose identity differs from the default one in something that is not an option.
    """
    identity = run.identity
    resolved = outline(
        RunConfig(name_of(run), identity["strategy"], protocol=marked(identity)["protocol"], seed=identity["seed"])
    )
    usual = {} if resolved is None else flat(resolved.identity())
    here = flat(identity)
    different = {name: value for name, value in here.items() if usual.get(name) != value}
    if different.keys() - flat({"options": identity["options"]}).keys():
        raise SystemExit(f"{run.folder} is not a run of the mini edition as it is now: {', '.join(different)}.")
    return different


def name_of(run: Run) -> str:
    """Return the name of a run's benchmark as it is typed."""
    return str(run.identity["benchmark"]).split("-")[0]


def merged(name: str, old: Sequence[Row], new: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the old rows of a file with the new ones in their places. Rows with a new key follow at the end.

    An old row with more seeds than the new one stays.
    """

    def key(row: dict[str, Any]) -> tuple[str, ...]:
        return tuple(str(row[column]) for column in KEYS[name])

    by_key = {key(row): row for row in new}
    places = []
    for row in old:
        other = by_key.pop(key(row), row)
        places.append(row if int(row["seeds"]) > int(other["seeds"]) else other)
    return [*places, *by_key.values()]


def batch_table(checks: Sequence[Row]) -> str:
    """Return batch_check.csv as the table of a page: one row per method, one column per kind of batches."""
    kinds = list(dict.fromkeys(row["batches"] for row in checks))
    cells = {(row["strategy"], row["options"], row["batches"]): row for row in checks}
    body = []
    for strategy, options in dict.fromkeys((row["strategy"], row["options"]) for row in checks):
        here = [cells[strategy, options, kind] for kind in kinds]
        counts = [f"{number(row['dependent'])} of {number(row['images'])}" for row in here]
        shown = " ".join(part for part in options.split() if not part.startswith("protocol="))
        body.append([f"`{strategy}`" + (f" `{shown}`" if shown else ""), here[0]["seeds"], *counts])
    return markdown(["method", "seeds", *kinds], body)


def _text(value: float) -> str:
    return "" if value != value else f"{value:z.1f}"


def main() -> None:
    """Read the runs and write the files."""
    parser = argparse.ArgumentParser(prog="python -m tools.result_rows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("results", nargs="+", help="folders with the runs of whole rows")
    parser.add_argument("--machine", default=platform.processor() or platform.machine(), help="the machine, for the table")
    arguments = parser.parse_args()
    runs = [run for run in read(arguments.results) if run.finished]
    made = {"mini_results": result_rows([run for run in runs if not settings(run)]), "batch_check": batch_rows(runs)}
    for name, new in made.items():
        dated = [
            {
                **dict.fromkeys(COLUMNS[name], ""),
                **row,
                "measured": datetime.date.today().isoformat(),
                "machine": arguments.machine,
            }
            for row in new
        ]
        old = rows(name) if (TABLE_FOLDER / f"{name}.csv").exists() else ()
        write_csv(TABLE_FOLDER / f"{name}.csv", COLUMNS[name], merged(name, old, dated))
        for row in new:
            print(name, *(f"{row[column]}" for column in (*KEYS[name], "seeds")), row.get("average", row.get("dependent")))


if __name__ == "__main__":
    main()
