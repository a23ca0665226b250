"""`run.json` as the leaderboard, the report and comparisons read it: a document of the kinds that they rely on, or a UserError.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.records import read_csv, read_json, reading
from harness.summary import Percent, summarise
from models.registry import UserError

TEXT = ("benchmark", "edition", "order", "strategy", "model", "tuning")
NAMES = ("tasks", "heldout")
COSTS = ("train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb")


def read_run(path: Path) -> dict[str, Any]:
    """The document of a run. Raises UserError, naming the file and the value, for one that no run has written.

    Values that may be absent are checked where they are there. Of `summary` every value is a number or None.
    """
    document = read_json(path)
    if document is None:
        raise UserError(f"There is no record {path}.")
    try:
        _check(document)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path} is not the record of a run ({error}).") from error
    return document


def check_summary(document: Mapping[str, Any], path: Path) -> None:
    """Whether a finished run's summary is that of the `accuracy.csv` beside its `run.json`; nothing where there is none.

    Raises UserError, naming the file, for another one: somebody changed a number, or put files of two runs together.
    """
    table = path.parent / "accuracy.csv"
    if not table.is_file():
        return
    identity, said = document["identity"], document["summary"]
    with reading(table):
        rows: dict[int, dict[tuple[str, str], Percent]] = {}
        for row in read_csv(table):
            cell = Percent(100 * int(row["correct"]) / int(row["n"]))
            rows.setdefault(int(row["after"]), {})[row["stream"], row["task"]] = cell
        found = summarise(rows, identity["tasks"], identity["heldout"])
    with reading(path):
        differing = [n for n, value in found.items() if n != "iimm_mean" and not _same(said.get(n), value)]
    if differing:
        raise UserError(f"{path} has another {', '.join(differing)} than {table.name} beside it: one of them was changed.")


def _same(given: float | None, value: float) -> bool:
    return value != value if given is None else math.isclose(given, value, abs_tol=1e-6)


def _check(document: Mapping[str, Any]) -> None:
    for name in ("key", "status"):
        expect(name, document.get(name), str)
    identity = document.get("identity")
    expect("identity", identity, dict)
    for name in TEXT:
        expect(f"identity.{name}", identity.get(name), str)  # type: ignore[union-attr]
    for name in NAMES:
        _names(f"identity.{name}", identity.get(name))  # type: ignore[union-attr]
    for name, kinds in (
        ("seed", (int,)),
        ("options", (dict,)),
        ("pretrained", (str, type(None))),
        ("limit", (int, type(None))),
        ("shots", (int, type(None))),
        ("protocol", (str, type(None))),
        ("data_version", (str, type(None))),
        ("tuning_options", (dict, type(None))),
    ):
        expect(f"identity.{name}", identity.get(name), *kinds)  # type: ignore[union-attr]
    for name, kind in (("summary", dict), ("progress", dict), ("samples", dict), ("searches", list), ("notes", list)):
        expect(name, document.get(name), kind, type(None))
    for search in document.get("searches") or ():
        expect("searches", search, dict)
    for name in (*COSTS, "trainable_params"):
        _number(name, document.get(name))
    for name, value in (document.get("summary") or {}).items():
        _number(f"summary.{name}", value)


def expect(name: str, value: Any, *kinds: type) -> None:
    """Raise ValueError, naming the value, for one of another kind."""
    # JSON's true is an int to Python.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} is {_short(value)}")


def _names(name: str, value: Any) -> None:
    expect(name, value, list)
    for item in value:
        expect(name, item, str)


def _number(name: str, value: Any) -> None:
    expect(name, value, int, float, type(None))
    if value is not None:
        float(value)  # of whole numbers there are too large ones


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
