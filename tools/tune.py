"""Choose the mini edition's training options on validation splits: `python -m tools.tune mtil` (or `cil`).

First, learning rate, iterations and batch size are chosen for `finetune`, by the mean accuracy on each task right after
training it. This is the choice of a user who has only the data so far. Every method uses these values. Then one option of
each method is searched in four runs, by the benchmark's average on validation images.

A candidate is a run of `bench --split val`, scored as `tune` scores its trials, with Order I or the default class order,
seed 0, and at most 100 validation images per task. Values that the papers tie to the length of training keep their proportion:
warm-up and the interval between weight snapshots are a tenth of the iterations, and the reference batch is as large as the
batch. Ties go to the first candidate. Test images are never read.

The results are `settings_<benchmark>.json` (the settings of runs) and `search_<benchmark>.csv` (every candidate and its
score) in benchmarks/mini. A run takes about 45 seconds on two cores. `--method` searches only some methods. Records are kept in
`--out`, so the same command continues.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.settings import MINI
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.tune.score import METRICS, score_of
from models.registry import unknown
from strategies.engine.declared import declared

HERE = Path(__file__).parents[1] / "benchmarks" / "mini"
IMAGES = 100


class MethodSearch(NamedTuple):
    """The search of one method: the options that get the same value, the candidate values, and fixed options."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    fixed: dict[str, float]


class Search(NamedTuple):
    """The candidates of one benchmark: learning rates, (iterations, batch size), and the search of each method."""

    rates: tuple[float, ...]
    budgets: tuple[tuple[int, int], ...]
    methods: dict[str, MethodSearch]


_ALPHA = MethodSearch(("alpha",), (0.3, 0.5, 0.7, 0.8), {})
_DISTILLATION = MethodSearch(("image_loss", "text_loss"), (0.3, 1.0, 3.0, 10.0), {})
# Methods that train fewer tensors need another rate. PAINT and the merging methods choose alpha themselves.
_RATE = MethodSearch(("lr",), (3e-4, 1e-3, 3e-3, 1e-2), {})
_IMAGE_RATE = MethodSearch(("lr",), (1e-4, 3e-4, 6e-4, 1e-3), {})
_LOW_RATE = MethodSearch(("lr",), (1e-5, 3e-5, 1e-4, 3e-4), {})
_SGD_RATE = MethodSearch(("lr",), (10.0, 30.0, 100.0, 300.0), {})
_CONTEXT_RATE = MethodSearch(("lr",), (0.001, 0.003, 0.01, 0.03), {})
# Updates outside the subspaces of the weights and of the earlier tasks are small.
_SUBSPACE_RATE = MethodSearch(("lr",), (1e-3, 1e-2, 3e-2, 1e-1), {})
_L2 = MethodSearch(("l2",), (0.001, 0.01, 0.1, 1.0), {})
_RIDGE = MethodSearch(("ridge",), (0.01, 0.1, 1.0, 10.0), {})
# The methods after ZSCL.
_LATER = {
    "keep-lora": _SUBSPACE_RATE,
    "moram": MethodSearch(("lr",), (5e-4, 3e-3, 1e-2, 3e-2), {}),
    "moe-adapters": MethodSearch(("lr",), (0.003, 0.01, 0.03), {}),
    "diki": _SGD_RATE,
    "rapf": _RATE,
    "gift": _DISTILLATION,
    "coop": _CONTEXT_RATE,
    "s-prompts": _CONTEXT_RATE,
    "rail": _RIDGE,
}
_OTHERS = {
    "lwf": _DISTILLATION,
    "icarl": _DISTILLATION,
    "paint-sequential": _IMAGE_RATE,
    "paint-joint": _IMAGE_RATE,
    "attention": _LOW_RATE,
    "lora": _RATE,
    "l2": MethodSearch(("l2",), (0.1, 1.0, 10.0, 100.0), {}),
    "lwf-vr": _DISTILLATION,
    "zscl-star": _DISTILLATION,
    # The other merging methods fine-tune in the same way and use its value.
    "paint-parallel": _IMAGE_RATE,
    "bitfit": _RATE,
    "adapter": _RATE,
    "probe": _RATE,
    "iimm-guided": MethodSearch(("weight",), (1.0, 3.0, 10.0, 30.0), {}),
    **_LATER,
}
SEARCHES = {
    "mtil": Search(
        (3e-4, 6e-4, 1e-3),
        ((40, 32), (20, 64)),
        {"wise-ft": _ALPHA, "zscl": _L2, **_OTHERS},
    ),
    # ZSCL's class-incremental protocol has no L2, so the weight of the distillation is searched.
    "cil": Search(
        (1e-4, 3e-4, 6e-4),
        ((40, 32), (20, 32)),
        {
            "wise-ft": _ALPHA,
            "zscl": MethodSearch(("image_loss", "text_loss"), (1.0, 2.0, 5.0, 10.0), {"l2": 0.0}),
            "lwf": _DISTILLATION,
            **_LATER,
            # Two values, whose scores differ by 0.1 points.
            "gift": MethodSearch(("image_loss", "text_loss"), (0.3, 1.0), {}),
        },
    ),
}


def training_options(iterations: int, batch_size: int, lr: float) -> dict[str, Any]:
    """Return the options that all methods share."""
    return {"iterations": iterations, "lr": lr, "batch_size": batch_size, "warmup": iterations // 10}


def method_options(method: str, search: MethodSearch, training: dict[str, Any], value: float) -> dict[str, Any]:
    """Return the options of a method in addition to the shared ones."""
    options: dict[str, Any] = {**search.fixed, **dict.fromkeys(search.names, value)}
    if method in ("zscl", "zscl-star"):
        options |= {"average_every": training["iterations"] // 10, "reference_batch": training["batch_size"]}
    if method == "gift":
        options |= {"reference_batch": training["batch_size"]}
    return options


def candidate(benchmark: str, method: str, options: dict[str, Any], out: str) -> RunConfig:
    """Return the validation run of a candidate. Options that are not given have the defaults of the method's class.

    The settings of the benchmark, which this search makes, do not hold.
    """
    every = dataclasses.asdict(declared(method).Options(**options))
    return RunConfig(benchmark, method, options=every, split="val", val_limit=IMAGES, measures=("iimm",), measure_n=2, out=out)


def main() -> None:
    """Parse the command line, search, and write the results."""
    parser = argparse.ArgumentParser(prog="python -m tools.tune", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("benchmark", choices=SEARCHES, help="the benchmark to tune")
    parser.add_argument("--method", nargs="+", metavar="NAME", help="search only these methods and keep the other settings")
    parser.add_argument("--out", default="tuned/mini", help="folder of the records (default: tuned/mini)")
    parser.add_argument("--dry-run", action="store_true", help="search, but write no files")
    arguments = parser.parse_args()
    benchmark, search = arguments.benchmark, SEARCHES[arguments.benchmark]
    for name in arguments.method or ():
        if name not in search.methods:
            raise SystemExit(str(unknown("method", name, search.methods)))

    from harness.records.files import read_csv, write_csv, write_json
    from harness.run import run

    console, began = Console(), time.perf_counter()
    rows: list[dict[str, Any]] = []

    def score(method: str, options: dict[str, Any], whole: bool) -> float:
        start = time.perf_counter()
        metric = METRICS["diagonal" if not whole else "cil_average" if benchmark == "cil" else "average"]
        percent = score_of(run(candidate(benchmark, method, options, arguments.out), Screen(quiet=True)).folder, metric)
        rows.append({"method": method, "merit": "average" if whole else "diagonal", "score": round(percent, 3), **options})
        shown = " ".join(f"{k}={v}" for k, v in options.items())
        console.print(f"{percent:6.2f}  {method} {shown}  ({time.perf_counter() - start:.0f} s)", highlight=False)
        return percent

    if arguments.method:
        settings = json.loads((HERE / f"settings_{benchmark}.json").read_text(encoding="utf-8"))
        earlier = [row for row in read_csv(HERE / f"search_{benchmark}.csv") if row["method"] not in arguments.method]
        training = settings["finetune"]
    else:
        candidates = [training_options(iterations, batch, lr) for iterations, batch in search.budgets for lr in search.rates]
        training = max(candidates, key=lambda options: score("finetune", options, whole=False))
        settings, earlier = {"finetune": training}, []
    for method, method_search in search.methods.items():
        if arguments.method and method not in arguments.method:
            continue
        candidates = [method_options(method, method_search, training, value) for value in method_search.values]
        fixed = MINI.get(method, {})
        scores = [score(method, {**training, **fixed, **options}, whole=True) for options in candidates]
        settings[method] = candidates[scores.index(max(scores))]
    console.print(json.dumps(settings, indent=2))
    console.print(f"{time.perf_counter() - began:.0f} s")
    if not arguments.dry_run:
        write_json(HERE / f"settings_{benchmark}.json", settings)
        write_csv(HERE / f"search_{benchmark}.csv", ("method", "merit", "score", *training), [*earlier, *rows])


if __name__ == "__main__":
    main()
