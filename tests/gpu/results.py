"""The results of a section, in a file that is replaced after each addition: a kill at any moment loses nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Results:
    """Tables by name: lists of rows. The table `checks` has a column `ok`, and `figures` has measured values.

    Without a path nothing is written.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, table: str, **row: Any) -> None:
        """Add a row to a table, and write the file."""
        self.tables.setdefault(table, []).append(row)
        if self.path is not None:
            write_json(self.path, self.tables)

    def check(self, name: str, ok: bool, **more: Any) -> bool:
        """Add a check, and return whether it was passed."""
        self.add("checks", check=name, ok=bool(ok), **more)
        print(f"{'ok  ' if ok else 'FAIL'} {name}", *(f"{key}={value}" for key, value in more.items()), flush=True)
        return bool(ok)

    def figure(self, name: str, value: float, unit: str, basis: str) -> None:
        """Add a value. `basis` says how it was obtained: "measured", or how it was computed."""
        self.add("figures", figure=name, value=value, unit=unit, basis=basis)
        print(f"{name}: {value:.6g} {unit} ({basis})", flush=True)

    @property
    def failed(self) -> int:
        """Number of checks that were not passed."""
        return sum(not row["ok"] for rows in self.tables.values() for row in rows if "ok" in row)


def write_json(path: Path, value: Any) -> None:
    """Write JSON by way of a second file, so that the first one is complete at every moment. NaN and infinity become null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(_finite(value), indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
