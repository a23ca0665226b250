"""Chooses the mini edition's training options, on validation splits only: `python -m benchmarks.mini.tune`.

First learning rate, iterations and batch size for `finetune`, by the mean accuracy on each task right after training it:
what somebody would choose who has only the current task's data. Every method takes those, and searches one number of its own
in four runs by Average, the mean of the accuracy matrix. Both on 100 validation images a domain, Order I, seed 0. What the
paper ties to the length of training keeps its proportion: warm-up and the distance of weight snapshots are a tenth of the
iterations, the reference batch is as large as the batch. Ties go to the first candidate.

Writes `settings.json` (what runs use) and `search.csv` (every candidate and what it scored) beside this file. Under 15
minutes on two cores. Test images are never read.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

HERE = Path(__file__).parent
RATES = (3e-4, 6e-4, 1e-3)
BUDGETS = ((40, 32), (20, 64))
OWN = {
    "wise-ft": ("alpha", (0.3, 0.5, 0.7, 0.8)),
    "zscl": ("l2", (0.001, 0.01, 0.1, 1.0)),
}
IMAGES = 100


def training_options(iterations: int, batch_size: int, lr: float) -> dict[str, Any]:
    """The options that all methods share."""
    return {"iterations": iterations, "lr": lr, "batch_size": batch_size, "warmup": iterations // 10}


def own_options(method: str, training: dict[str, Any], value: float) -> dict[str, Any]:
    """What a method adds to the shared options."""
    own = {OWN[method][0]: value}
    if method == "zscl":
        own |= {"average_every": training["iterations"] // 10, "reference_batch": training["batch_size"]}
    return own


def validation_score(method: str, options: dict[str, Any], scenario: Any, reference: Any, whole: bool) -> float:
    """Of one run on the validation stream, in percent: the mean of the matrix, or (`whole` False) of its diagonal."""
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
        strategy.eval(validation if whole else validation[i])
    cells = [cell.percent for row in accuracy.rows.values() for cell in row.values()]
    return sum(cells) / len(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dry-run", action="store_true", help="search, but write nothing")
    dry_run = parser.parse_args().dry_run

    from benchmarks import make
    from benchmarks.mini import reference as mini_reference
    from benchmarks.streams import scenario as make_scenario
    from harness.records import write_csv, write_json
    from reference_data import Reference

    console, began = Console(), time.perf_counter()
    whole = make("mtil", "mini", "I", heldout=())
    domains = [e.domain for e in whole.streams["train"]]
    scenario = make_scenario([limited_validation(d) for d in domains])
    reference = Reference(mini_reference.images(), mini_reference.sentences())
    rows: list[dict[str, Any]] = []

    def score(method: str, options: dict[str, Any], whole: bool) -> float:
        start = time.perf_counter()
        found = validation_score(method, options, scenario, reference, whole)
        rows.append({"method": method, "merit": "average" if whole else "diagonal", "score": round(found, 3), **options})
        shown = " ".join(f"{k}={v}" for k, v in options.items())
        console.print(f"{found:6.2f}  {method} {shown}  ({time.perf_counter() - start:.0f} s)", highlight=False)
        return found

    candidates = [training_options(iterations, batch, lr) for iterations, batch in BUDGETS for lr in RATES]
    training = max(candidates, key=lambda options: score("finetune", options, whole=False))
    settings: dict[str, Any] = {"finetune": training}
    for method, (_, values) in OWN.items():
        tried = [own_options(method, training, value) for value in values]
        scores = [score(method, {**training, **own}, whole=True) for own in tried]
        settings[method] = tried[scores.index(max(scores))]
    console.print(json.dumps(settings, indent=2))
    console.print(f"{time.perf_counter() - began:.0f} s")
    if not dry_run:
        write_json(HERE / "settings.json", settings)
        write_csv(HERE / "search.csv", ("method", "merit", "score", *training), rows)


def limited_validation(domain: Any) -> Any:
    """The domain with its whole training split and few validation images."""
    from dataclasses import replace

    from benchmarks.domain import limited

    return replace(limited(domain, IMAGES), train=domain.train)


if __name__ == "__main__":
    main()
