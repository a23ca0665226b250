"""Time and passes of an alpha search with and without its fast paths: `python tests/speed/alpha.py`.

A stream of tasks whose task vectors are random, searched as sequential patching does it (supported tasks, and the tasks so
far), on random pixels in files that have to be decoded:

    plain   for each alpha: interpolate, load, evaluate every task on its own (metrics.evaluate)
    ours    all alphas in one pass over the decoded images, heads once per run, alpha = 0 known from the search before

Both count the same correct answers, which is checked. Time, passes over a validation split, and forward passes of an image
through the image tower.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from encoded import Encoded
from rich.console import Console
from rich.table import Table

import models
from benchmarks.data.domain import Domain
from metrics.evaluate import evaluate
from models import tuning
from models.classifier import PromptClassifier
from models.merging import patched
from strategies.alpha_search import AnswerCounter, Question, Search
from strategies.alpha_search import Path as AlphaPath


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pretrained")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=64, help="of each validation split")
    parser.add_argument("--side", type=int, default=256, help="of the files, in pixels")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--tasks", type=int, default=2)
    parser.add_argument("--supported", type=int, default=1)
    parser.add_argument("--alphas", type=int, default=11)
    a = parser.parse_args()

    torch.manual_seed(0)
    encoder = models.load(a.model, a.pretrained).eval().to(a.device)
    tuning.apply(encoder, "visual")
    theta, vectors = tuning.weights(encoder), []
    for _ in range(a.tasks):
        changed = {n: t for n, t in theta.items() if "visual" in n and t.is_floating_point()}
        vectors.append({n: 0.5 * t.std(correction=0) * torch.randn_like(t) for n, t in changed.items()})
    templates = [f"a {word} photo of a {{}}." for word in ("good", "bad", "small", "large", "dark", "bright", "clean")]
    splits = [Encoded(a.images, a.classes, a.side, seed) for seed in range(a.tasks + a.supported)]
    names = [f"thing {i}" for i in range(a.classes)]
    domains = {i: Domain(f"noise {i}", names, templates, None, split, None) for i, split in enumerate(splits)}
    grid = [(i / (a.alphas - 1),) for i in range(a.alphas)]
    supported = list(range(a.tasks, a.tasks + a.supported))
    forwards = [0]

    def count(module, inputs, output) -> None:
        forwards[0] += len(inputs[0])

    encoder.clip.visual.register_forward_hook(count)

    def plain() -> list[np.ndarray]:
        found, start = [], theta
        for task, vector in enumerate(vectors):
            asked, counts = [*range(task + 1), *supported], []
            for point in grid:
                encoder.load_state_dict(patched(start, [vector], point))
                counts.append([evaluate(PromptClassifier(encoder), domains[d], "val").correct for d in asked])
            found.append(np.array(counts))
            start = patched(start, [vector], (0.5,))
        return found

    def ours() -> list[np.ndarray]:
        found, start, validation = [], theta, AnswerCounter(encoder, domains)
        for task, vector in enumerate(vectors):
            path = AlphaPath(encoder, start, [vector])
            search = Search(validation, path, [Question(d) for d in range(task + 1)], [Question(d) for d in supported])
            search.ask(grid)
            found.append(np.array([search.counts[point] for point in grid]))
            path.move((0.5,))
            middle = search.counts.get((0.5,))
            # If 0.5 is not a point of the grid, the next alpha = 0 is not known.
            validation.known = {} if middle is None else search.correct((0.5,))
            start = tuning.weights(encoder)
        return found

    table = Table(
        title=f"{encoder.name}, {a.tasks} tasks, {a.supported} supported, {a.images} images each, {a.alphas} alphas, "
        f"{a.device}, {torch.get_num_threads()} threads"
    )
    for header in ("way", "seconds", "plain / way", "passes", "image forwards"):
        table.add_column(header, justify="left" if header == "way" else "right")
    results, seconds = {}, {}
    for name, way in (("plain", plain), ("ours", ours)):
        for split in splits:
            split.decoded = 0
        forwards[0], began = 0, time.perf_counter()
        results[name] = way()
        if torch.device(a.device).type == "cuda":
            torch.cuda.synchronize()
        seconds[name] = time.perf_counter() - began
        passes = sum(split.decoded for split in splits) // a.images
        table.add_row(name, f"{seconds[name]:.2f}", f"{seconds['plain'] / seconds[name]:.2f}", str(passes), str(forwards[0]))
        encoder.load_state_dict(theta)
    same = all((p == o).all() for p, o in zip(results["plain"], results["ours"], strict=True))
    Console().print(table)
    print("same counts" if same else "DIFFERENT COUNTS")
    sys.exit(not same)


if __name__ == "__main__":
    main()
