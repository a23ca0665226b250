"""Chooses the mini edition's training options, on validation splits only: `python -m tools.tune mtil` (or cil).

First learning rate, iterations and batch size for `finetune`, by the mean accuracy on each task right after training it:
what somebody would choose who has only the data so far. Every method takes those, and searches one number of its own in four
runs by the benchmark's average on validation images. Order I or the default class order, seed 0, at most 100 validation
images a task. What the paper ties to the length of training keeps its proportion: warm-up and the distance of weight
snapshots are a tenth of the iterations, the reference batch is as large as the batch. Ties go to the first candidate.

Writes `settings_<benchmark>.json` (what runs use) and `search_<benchmark>.csv` (every candidate and what it scored) beside
this file. About 45 seconds a run on two cores (`--method` searches some methods' numbers alone). Test images are never read.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from benchmarks.settings import MINI
from models.registry import unknown

HERE = Path(__file__).parents[1] / "benchmarks" / "mini"
IMAGES = 100


class Own(NamedTuple):
    """The number of its own that a method searches: the options it sets, the candidates, and options that stay."""

    names: tuple[str, ...]
    values: tuple[float, ...]
    fixed: dict[str, float]


class Search(NamedTuple):
    """The candidates of one benchmark: learning rates, (iterations, batch size), and each method's own number."""

    rates: tuple[float, ...]
    budgets: tuple[tuple[int, int], ...]
    own: dict[str, Own]


_ALPHA = Own(("alpha",), (0.3, 0.5, 0.7, 0.8), {})
_DISTILLATION = Own(("image_loss", "text_loss"), (0.3, 1.0, 3.0, 10.0), {})
# What trains fewer tensors wants another rate; PAINT and the merging methods choose alpha by themselves.
_RATE = Own(("lr",), (3e-4, 1e-3, 3e-3, 1e-2), {})
_IMAGE_RATE = Own(("lr",), (1e-4, 3e-4, 6e-4, 1e-3), {})
_LOW_RATE = Own(("lr",), (1e-5, 3e-5, 1e-4, 3e-4), {})
_L2 = Own(("l2",), (0.001, 0.01, 0.1, 1.0), {})
_OTHERS = {
    "lwf": _DISTILLATION,
    "icarl": _DISTILLATION,
    "paint-sequential": _IMAGE_RATE,
    "paint-joint": _IMAGE_RATE,
    "attention": _LOW_RATE,
    "lora": _RATE,
    "l2": Own(("l2",), (0.1, 1.0, 10.0, 100.0), {}),
    "lwf-vr": _DISTILLATION,
    "zscl-star": _DISTILLATION,
    # The methods that merge otherwise fine-tune alike and take its number.
    "paint-parallel": _IMAGE_RATE,
    "bitfit": _RATE,
    "adapter": _RATE,
    "probe": _RATE,
    "iimm-guided": Own(("weight",), (1.0, 3.0, 10.0, 30.0), {}),
}
SEARCHES = {
    "mtil": Search(
        (3e-4, 6e-4, 1e-3),
        ((40, 32), (20, 64)),
        {"wise-ft": _ALPHA, "zscl": _L2, **_OTHERS},
    ),
    # ZSCL's class-incremental protocol has no L2; there the weight of the distillation is what is left to choose.
    "cil": Search(
        (1e-4, 3e-4, 6e-4),
        ((40, 32), (20, 32)),
        {"wise-ft": _ALPHA, "zscl": Own(("image_loss", "text_loss"), (1.0, 2.0, 5.0, 10.0), {"l2": 0.0}), "lwf": _DISTILLATION},
    ),
}


def training_options(iterations: int, batch_size: int, lr: float) -> dict[str, Any]:
    """The options that all methods share."""
    return {"iterations": iterations, "lr": lr, "batch_size": batch_size, "warmup": iterations // 10}


def own_options(method: str, own: Own, training: dict[str, Any], value: float) -> dict[str, Any]:
    """What a method adds to the shared options."""
    options: dict[str, Any] = {**own.fixed, **dict.fromkeys(own.names, value)}
    if method in ("zscl", "zscl-star"):
        options |= {"average_every": training["iterations"] // 10, "reference_batch": training["batch_size"]}
    return options


def validation_score(method: str, options: dict[str, Any], benchmark: str, scenario: Any, reference: Any, whole: bool) -> float:
    """Of one run on the validation stream, in percent.

    `whole` True: the mean of the accuracy matrix, for `cil` the mean over its steps of the accuracy on all classes seen;
    False: the mean of the diagonal.
    """
    import models
    from metrics.plugins import AccuracyMatrix
    from strategies import STRATEGIES

    strategy_class = STRATEGIES.get(method)
    accuracy = AccuracyMatrix()
    strategy = strategy_class(
        encoder=models.load("tiny"),
        options=strategy_class.Options(**options),
        reference=reference if strategy_class.needs_reference else None,
        metrics=[accuracy],
    )
    validation = scenario.streams["val"]
    for i, experience in enumerate(scenario.streams["train"]):
        strategy.train(experience, eval_streams=[])
        strategy.eval((validation[: i + 1] if benchmark == "cil" else validation) if whole else validation[i])
    rows = [list(row.values()) for row in accuracy.rows.values()]
    if whole and benchmark == "cil":
        return sum(pooled(row) for row in rows) / len(rows)
    cells = [cell.percent for row in rows for cell in row]
    return sum(cells) / len(cells)


def pooled(cells: Sequence[Any]) -> float:
    """Percent over all images of several cells."""
    return 100 * sum(cell.correct for cell in cells) / sum(cell.n for cell in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("benchmark", choices=SEARCHES)
    parser.add_argument("--method", nargs="+", metavar="NAME", help="only their numbers; the rest stays as it was found")
    parser.add_argument("--dry-run", action="store_true", help="search, but write nothing")
    arguments = parser.parse_args()
    benchmark, search = arguments.benchmark, SEARCHES[arguments.benchmark]
    for name in arguments.method or ():
        if name not in search.own:
            raise SystemExit(str(unknown("method", name, search.own)))

    from benchmarks import make
    from benchmarks.mini import reference as mini_reference
    from benchmarks.scenario import scenario as make_scenario
    from harness.records.files import read_csv, write_csv, write_json
    from reference_data import Reference

    console, began = Console(), time.perf_counter()
    made = make(benchmark, "mini", select=True)
    # Held-out domains for the methods that choose alpha by them.
    trained, held = ([limited_validation(e.domain) for e in made.streams[s]] for s in ("train", "heldout"))
    scenario = make_scenario(trained, held, protocol=made.streams["train"][0].protocol)
    reference = Reference(mini_reference.images(), mini_reference.sentences())
    rows: list[dict[str, Any]] = []

    def score(method: str, options: dict[str, Any], whole: bool) -> float:
        start = time.perf_counter()
        found = validation_score(method, options, benchmark, scenario, reference, whole)
        rows.append({"method": method, "merit": "average" if whole else "diagonal", "score": round(found, 3), **options})
        shown = " ".join(f"{k}={v}" for k, v in options.items())
        console.print(f"{found:6.2f}  {method} {shown}  ({time.perf_counter() - start:.0f} s)", highlight=False)
        return found

    if arguments.method:
        settings = json.loads((HERE / f"settings_{benchmark}.json").read_text(encoding="utf-8"))
        kept = [row for row in read_csv(HERE / f"search_{benchmark}.csv") if row["method"] not in arguments.method]
        training = settings["finetune"]
    else:
        candidates = [training_options(iterations, batch, lr) for iterations, batch in search.budgets for lr in search.rates]
        training = max(candidates, key=lambda options: score("finetune", options, whole=False))
        settings, kept = {"finetune": training}, []
    for method, own in search.own.items():
        if arguments.method and method not in arguments.method:
            continue
        tried = [own_options(method, own, training, value) for value in own.values]
        fixed = MINI.get(method, {})
        scores = [score(method, {**training, **fixed, **options}, whole=True) for options in tried]
        settings[method] = tried[scores.index(max(scores))]
    console.print(json.dumps(settings, indent=2))
    console.print(f"{time.perf_counter() - began:.0f} s")
    if not arguments.dry_run:
        write_json(HERE / f"settings_{benchmark}.json", settings)
        write_csv(HERE / f"search_{benchmark}.csv", ("method", "merit", "score", *training), [*kept, *rows])


def limited_validation(domain: Any) -> Any:
    """The domain with its whole training split and few validation images."""
    from dataclasses import replace

    from benchmarks.data.domain import limited

    return replace(limited(domain, IMAGES), train=domain.train)


if __name__ == "__main__":
    main()
