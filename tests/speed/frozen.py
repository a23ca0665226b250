"""Evaluation after every task with a frozen image tower: `python tests/speed/frozen.py [--tuning adapter] [--rows 9]`.

The mini edition's test images, the tiny model. "plain": every image passes through the tower each time; "kept": its features
are kept. Training is left out. Exits with 1 if an accuracy differs.
"""

import argparse
import time

import torch
from rich.console import Console
from rich.table import Table

import models
from benchmarks import make
from metrics.plugins import AccuracyMatrix
from models import tuning
from strategies import Strategy


def evaluate(args, scenario, kept):
    """Seconds, images through the tower, and the accuracies of all rows."""
    accuracy = AccuracyMatrix()
    torch.manual_seed(0)
    strategy = Strategy(encoder=models.load("tiny"), tuning_name=args.tuning, metrics=[accuracy])
    passed, trains = [0], tuning.trains_images
    strategy.encoder.clip.visual.register_forward_hook(lambda tower, given, out: passed.__setitem__(0, passed[0] + len(out)))
    if not kept:
        tuning.trains_images = lambda encoder: True
    began = time.perf_counter()
    try:
        for row in range(args.rows):
            strategy.trained = row
            # As after training: prompts are encoded again, the image tower has not changed.
            strategy.encoder.touch_text()
            strategy.eval([*scenario.streams["test"], *scenario.streams["heldout"]])
    finally:
        tuning.trains_images = trains
    return time.perf_counter() - began, passed[0], accuracy.rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tuning", default="adapter", choices=("adapter", "probe", "text"))
    parser.add_argument("--rows", type=int, default=9)
    args = parser.parse_args()
    scenario = make("mtil", "mini")
    evaluate(args, scenario, kept=True)
    results = {name: evaluate(args, scenario, kept=name == "kept") for name in ("plain", "kept")}
    table = Table(title=f"{args.rows} rows under {args.tuning}, {torch.get_num_threads()} threads")
    for header in ("way", "seconds", "plain / way", "images through the tower"):
        table.add_column(header, justify="left" if header == "way" else "right")
    for name, (seconds, passed, _) in results.items():
        table.add_row(name, f"{seconds:.1f}", f"{results['plain'][0] / seconds:.1f}", f"{passed:,}")
    same = results["plain"][2] == results["kept"][2]
    Console().print(table)
    print("same accuracies" if same else "DIFFERENT ACCURACIES")
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
