"""Take the figures of docs/speed.md from a record of a GPU: `python -m tools.gpu_rows docs/gpu/NAME.json`.

Writes gpu_speed.csv, the measured rows of the section `speed`, and gpu_parity.csv, a summary of the section `parity`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.tables import TABLE_FOLDER, Row, markdown, number

MACHINE = ("device", "torch", "date", "revision")
SPEED = ("kind", "precision", "exactness", "compile", "images", "ms", "of_floor", "images_per_second", "tflops", "of_peak")
COLUMNS = {
    "gpu_speed": (*MACHINE, *SPEED, "memory_mb", "kernels", "busy_ms"),
    "gpu_parity": (*MACHINE, "runs", "strategies", "within", "largest_difference", "limit", "replayed", "equal"),
}
STEPS = ("floor", "step")
PASSES = ("evaluation", "cached", "alpha search")
NAMES = {"fp32": "float32", "fp32, graphs": "float32, CUDA graphs", "bf16": "bf16"}


def machine_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns that say where and when a record was made."""
    of = record["machine"]
    values = (of["device"], of["versions"]["torch"], record["started"][:10], str(record["git_revision"])[:7])
    return dict(zip(MACHINE, values, strict=True))


def speed_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the measured rows of the section `speed`, rounded."""
    made = []
    for row in record["sections"]["speed"]["tables"]["rows"]:
        if "error" not in row and "left_out" not in row:
            cells = {name: row.get(name) for name in COLUMNS["gpu_speed"] if name not in MACHINE}
            made.append(machine_of(record) | {name: _rounded(cell) for name, cell in cells.items()})
    return made


def parity_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per way of computing: how many strategies are within their limit, and the largest difference of a loss."""
    table, made = record["sections"]["parity"]["tables"]["parity"], []
    for precision, name in NAMES.items():
        rows = [row for row in table if row["precision"] == precision]
        found = [row["loss_difference"] for row in rows if "loss_difference" in row]
        graphs = [row for row in rows if "equals_off" in row]
        cells = {
            "runs": name,
            "strategies": len(rows),
            "within": sum(row["ok"] for row in rows),
            "largest_difference": f"{max(found):.1e}",
            "limit": min(row["limit"] for row in rows if "limit" in row),
            "replayed": sum(row["replays"] > 0 for row in graphs) if graphs else "",
            "equal": sum(row["equals_off"] for row in graphs) if graphs else "",
        }
        made.append(machine_of(record) | cells)
    return made


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return "" if value is None else value
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def gpu_table(speed: Sequence[Row], kinds: Sequence[str]) -> str:
    """Return the rows of some kinds as a table, without columns that none of them has."""
    headings = {
        "kind": "measured", "precision": "precision", "exactness": "exactness", "compile": "`--compile`", "images": "images",
        "ms": "ms", "of_floor": "of the floor", "images_per_second": "images / s", "tflops": "TFLOP / s",
        "of_peak": "% of the peak", "memory_mb": "peak memory, MB", "kernels": "kernels started", "busy_ms": "GPU busy, ms",
    }  # fmt: skip
    chosen = [row for row in speed if row["kind"] in kinds]
    names = [name for name in headings if any(row[name] for row in chosen)]
    return markdown([headings[name] for name in names], [[number(row[name]) or "-" for name in names] for row in chosen])


def main() -> None:
    """Write both tables."""
    parser = argparse.ArgumentParser(prog="python -m tools.gpu_rows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("record", type=Path)
    record = json.loads(parser.parse_args().record.read_text(encoding="utf-8"))

    from harness.records.files import write_csv

    for name, rows in (("gpu_speed", speed_rows(record)), ("gpu_parity", parity_rows(record))):
        write_csv(TABLE_FOLDER / f"{name}.csv", COLUMNS[name], rows)
        print(f"{len(rows)} rows of {name}.csv")


if __name__ == "__main__":
    main()
