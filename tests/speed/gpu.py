"""Speed of training, evaluation and the alpha search on a GPU: `python tests/speed/gpu.py --json gpu-speed.json`.

ViT-B/16 with random weights, 64 + 64 images a step, 13,000 sentences, 100 classes. Without a GPU the same code runs on a small
model, to show that the script works. Every measurement is a row of the record. A measurement that fails has its error in its
row, and the others continue. Rows come in the order of their importance until `--limit-s` is over, and the record is written
after each. The exit status is 1 if a row has an error. A row that the limit left out does not count as one.

    floor          the student's forward and backward pass of a step's images and prompts; `whole graph`: as one CUDA graph
    step           a ZSCL step; exactness `plain` is the papers' way of it, with the teacher's outputs in every step
    evaluation     forward passes of images that are on the device
    cached         the product's evaluation of images in memory, as its cache holds them
    alpha search   images times alphas of PAINT's search, all alphas in one pass over the images
    kernel start   microseconds that the host takes to start a kernel
    profile        of a step: kernels started, time that the device is busy, and the ten operations that take most of it

`compile` is the setting of that name (`harness.config.run_config.COMPILE`). Utilisation counts the operations of the student's
passes (`torch.utils.flop_counter`), over time and the device's peak in that precision (dense, NVIDIA's data sheets; `--peak`
for others). Batches are prepared before, so that it is the step that is timed.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch
from gpu_bench import COMPILES, ON_GPU, PRECISIONS, SMALL, Bench, Row
from rich.console import Console
from rich.table import Table

from harness.run import environment as machine

COLUMNS = (
    *("kind", "precision", "exactness", "compile", "images", "ms", "of_floor", "images_per_second", "tflops", "of_peak"),
    *("memory_mb", "kernels"),
)


def variants(bench: Bench, precisions: list[str], compiles: list[str]) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Yield what is measured, the most important first: the settings of a row and its measurement."""
    first, *others = sorted(precisions, key=("bf16", "tf32", "fp32").index)
    sizes = bench.size.evaluated
    usual, largest = sizes[len(sizes) // 2], sizes[-1]
    rows: list[tuple[Row, Callable[[], Row]]] = [({"kind": "kernel start", "precision": "fp32"}, bench.kernel_start)]

    def floor(p: str, c: str) -> None:
        rows.append(({"kind": "floor", "precision": p, "compile": c}, lambda: bench.floor(p, c)))

    def step(p: str, c: str, way: str = "fast") -> None:
        rows.append(({"kind": "step", "precision": p, "exactness": way, "compile": c}, lambda: bench.step(p, way, c)[0]))

    def profiled(p: str, c: str) -> None:
        rows.append(({"kind": "profile", "precision": p, "compile": c}, lambda: bench.profiled(p, c)))

    def evaluation(p: str, n: int, c: str = "off") -> None:
        rows.append(({"kind": "evaluation", "precision": p, "compile": c}, lambda: bench.evaluation(p, c, n)))

    def cached(p: str, n: int) -> None:
        rows.append(({"kind": "cached", "precision": p}, lambda: bench.cached(p, n)))

    def alpha_search(p: str) -> None:
        rows.append(({"kind": "alpha search", "precision": p}, lambda: bench.alpha_search(p)))

    floor(first, "off")
    floor(first, "whole graph")
    for c in ("off", "graphs", "both"):
        step(first, c)
    for c in ("off", "both"):
        profiled(first, c)
    for c in ("off", "blocks"):
        evaluation(first, usual, c)
    alpha_search(first)
    cached(first, usual)
    step(first, "off", "plain")
    for p in others:
        floor(p, "off")
        for c in ("off", "graphs"):
            step(p, c)
        evaluation(p, usual)
        step(p, "off", "plain")
    floor(first, "both")
    step(first, "blocks")
    for n in [n for n in sizes if n != usual]:
        evaluation(first, n)
    cached(first, largest)
    for p in others:
        step(p, "both")
        alpha_search(p)
    for c in ("graphs", "blocks"):
        floor(first, c)
    yield from [row for row in rows if row[0].get("compile", "off") in (*compiles, "whole graph")]


def measured(bench: Bench, settings: Row, measure: Callable[[], Row]) -> Row:
    """Return a row: its settings and figures, or the error that ended it."""
    began = time.perf_counter()
    row = dict(settings)
    if bench.on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(bench.device)
    try:
        row |= measure()
        if bench.on_gpu:
            row["memory_mb"] = round(torch.cuda.max_memory_allocated(bench.device) / 1e6)
    except Exception as error:  # one failure must not end the others
        row["error"] = f"{type(error).__name__}: {str(error).strip()[:600]}"
    torch.compiler.reset()
    gc.collect()
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def shown(row: Row) -> list[str]:
    """Return the cells of a row for the table."""
    cells = []
    for name in COLUMNS:
        value = row.get(name, "")
        cells.append(
            f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value or "")
        )
    return [*cells, str(row.get("error", row.get("left_out", "")))[:70]]


def main() -> None:
    """Measure, print a table and write the record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="file of the record, written after each row")
    parser.add_argument("--limit-s", type=float, default=150, help="seconds after which no measurement begins (default: 150)")
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, help="default: all; on a CPU fp32 and bf16")
    parser.add_argument("--compile", nargs="+", choices=COMPILES, default=list(COMPILES))
    parser.add_argument("--only", nargs="+", help="kinds of rows")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--classes", type=int)
    parser.add_argument("--sentences", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--backend", help="of torch.compile (default: inductor; on a CPU aot_eager, which compiles nothing)")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the device in the precisions asked for")
    a = parser.parse_args()
    began, device = time.perf_counter(), machine.device_of(a.device)
    on_gpu = device.type == "cuda"
    size = ON_GPU if on_gpu else SMALL
    asked = {name: getattr(a, name) for name in ("batch", "classes", "sentences", "steps") if getattr(a, name)}
    bench = Bench(device, size._replace(**asked), a.peak, a.backend or ("inductor" if on_gpu else "aot_eager"))
    rows: list[Row] = []
    top: list[Row] = []
    record = {
        "device": bench.name,
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "model": "ViT-B/16, random weights" if on_gpu else "a small model",
        "size": bench.size._asdict(),
        "tflop_a_step": bench.step_operations / 1e12,
        "rows": rows,
        "top": top,
    }
    for settings, measure in variants(bench, a.precision or [*(PRECISIONS if on_gpu else ("fp32", "bf16"))], a.compile):
        if a.only and settings["kind"] not in a.only:
            continue
        over = time.perf_counter() - began > a.limit_s
        rows.append({**settings, "left_out": f"after {a.limit_s:g} s"} if over else measured(bench, settings, measure))
        top += [{"precision": settings["precision"], "compile": settings["compile"], **e} for e in rows[-1].pop("top", [])]
        print(" ".join(filter(None, shown(rows[-1]))), flush=True)
        record["seconds"] = round(time.perf_counter() - began, 1)
        if a.json is not None:
            a.json.write_text(json.dumps(record, indent=1) + "\n")
    title = f"{bench.name}, torch {torch.__version__}, {record['model']}, {bench.size.batch} + {bench.size.batch}"
    table = Table(title=title, box=None)
    for heading in (*COLUMNS, "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*shown(row))
    Console(width=200).print(table)
    if not on_gpu:
        print("no GPU here: these figures say only that the script runs")
    failed = sum("error" in row for row in rows)
    print(f"{len(rows)} rows, {failed} with an error, {sum('left_out' in row for row in rows)} left out, {record['seconds']} s")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
