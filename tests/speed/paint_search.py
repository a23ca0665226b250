"""Cost of PAINT's search for alpha: `python tests/speed/paint_search.py [--single] [--supported imagenet]`.

Nine tasks are patched one after the other with 21 alphas, on the tasks so far and the supported ones. With --single each task
starts from the initial weights and is searched on its data and the supported ones. Random task vectors and small sets of JPEG
files replace the paper's. The script counts decoded images and forwards of each set while the real code runs, and multiplies
them out to the sizes of the paper's protocol (2208.05592 and its released code). Ways:

    tests    what the released code can do: all test images of every set for each alpha, of which the best is taken
    plain    the paper's protocol, one alpha and one validation set after the other, then every test set once
    ours     the same by `strategies.alpha_search`: validation and test images decoded once per run, all alphas in one pass
             (alpha 0 is known from the search before), then every test set once
    floor    every validation image at every alpha except the known one, without the tests

"figure" is the number of images that the released code passes for the paper's figures. These show all five supported sets,
whichever are selected on. The last columns are the selection without the tests at the chosen alpha. The exit status is 1 if
`plain` and `ours` choose different alphas. Validation is 10 % of the training images, at most 5,000, or the set's validation
split. KITTI is split by videos; its validation set is assumed to be as large as its test set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
from encoded import Encoded
from rich.console import Console
from rich.table import Table

import models
from benchmarks.data.domain import Domain
from benchmarks.data.pixels import cached_domain
from metrics.evaluate import evaluate
from models import tuning
from models.classifier import PromptClassifier
from models.merging import patched
from strategies.alpha_search import Path as AlphaPath
from strategies.alpha_search import Question, Scores, Search, Validation, choose

# Validation and test images.
PATCHING = {
    "Cars": (814, 8041),
    "DTD": (376, 1880),
    "EuroSAT": (2700, 2700),
    "GTSRB": (2664, 12630),
    "KITTI": (711, 711),
    "MNIST": (5000, 10000),
    "RESISC45": (1890, 6300),
    "SUN397": (1985, 19850),
    "SVHN": (5000, 26032),
}
SUPPORTED = {
    "ImageNet": (5000, 50000),
    "CIFAR-10": (5000, 10000),
    "CIFAR-100": (5000, 10000),
    "STL-10": (500, 8000),
    "Food101": (5000, 25250),
}


class Set(Encoded):
    """A set of the paper's, by a few images: `size`, how many it has there; `forwards` of them are counted too."""

    def __init__(self, name: str, count: int, side: int, classes: int, size: int, seed: int):
        super().__init__(count, classes, side, seed)
        self.name, self.size, self.forwards = name, size, 0

    def fingerprint(self) -> str:
        return f"{self.name} {len(self)}"


class Cost(NamedTuple):
    seconds: float
    alphas: list[float]
    decoded: int
    forwards: int
    selection: int


class Protocol:
    """The sets, the encoder and the task vectors that all ways share."""

    def __init__(self, a: argparse.Namespace):
        torch.manual_seed(0)
        self.encoder = models.load(a.model, a.pretrained).eval()
        tuning.apply(self.encoder, "visual")
        self.theta = tuning.weights(self.encoder)
        self.grid = [(i / (a.alphas - 1),) for i in range(a.alphas)]
        self.tasks, self.vectors, self.domains, self.single = len(PATCHING), [], {}, a.single
        for _ in range(self.tasks):
            moved = {n: t for n, t in self.theta.items() if "visual" in n and t.is_floating_point()}
            self.vectors.append({n: a.noise * t.std(correction=0) * torch.randn_like(t) for n, t in moved.items()})
        names = [f"thing {i}" for i in range(a.classes)]
        wanted = SUPPORTED if a.supported == "five" else {"ImageNet": SUPPORTED["ImageNet"]}
        for label, (name, sizes) in enumerate({**PATCHING, **wanted}.items()):
            val, test = (
                Set(f"{name} {kind}", count, a.side, a.classes, size, 2 * label + i)
                for i, (kind, count, size) in enumerate(zip(("validation", "test"), (a.validation, a.test), sizes, strict=True))
            )
            self.domains[label] = Domain(name, names, ["a photo of a {}.", "the {}."], None, val, test)
        self.sets = [split for d in self.domains.values() for split in (d.val, d.test)]
        self.looked: Set | None = None
        self.encoder.clip.visual.register_forward_hook(self._count)

    def _count(self, tower: Any, given: Any, output: Any) -> None:
        assert self.looked is not None
        self.looked.forwards += len(given[0])

    def patching(self, task: int) -> list[int]:
        """Return the tasks of a search: all so far, or only one."""
        return [task] if self.single else [*range(task + 1)]

    def asked(self, task: int) -> list[int]:
        """The sets of a search: its tasks, then the supported ones."""
        return [*self.patching(task), *range(self.tasks, len(self.domains))]

    def scores(self, counts: list[list[int]], task: int, split: str) -> Scores:
        sizes = np.array([len(getattr(self.domains[d], split)) for d in self.asked(task)])
        percent = 100 * np.array(counts) / sizes
        patching = len(self.patching(task))
        return Scores(percent[:, :patching].mean(axis=1), percent[:, patching:].mean(axis=1))

    def correct(self, domain: Domain, label: int, split: str) -> int:
        self.looked = getattr(self.domains[label], split)
        return evaluate(PromptClassifier(self.encoder), domain, split).correct

    def grid_search(self, split: str, tests_after: bool) -> list[float]:
        """One alpha and one set after the other."""
        start, chosen = self.theta, []
        for task, vector in enumerate(self.vectors):
            counts = []
            for point in self.grid:
                self.encoder.load_state_dict(patched(start, [vector], point))
                counts.append([self.correct(self.domains[d], d, split) for d in self.asked(task)])
            point = self.grid[choose(self.grid, self.scores(counts, task, split), "mean")]
            chosen.append(point[0])
            reached = patched(start, [vector], point)
            if tests_after:
                self.encoder.load_state_dict(reached)
                for d in self.asked(task):
                    self.correct(self.domains[d], d, "test")
            start = start if self.single else reached
        return chosen

    def ours(self, folder: Path) -> list[float]:
        kept = {
            label: cached_domain(d, self.encoder.preprocess, ("val", "test"), folder=folder)
            for label, d in self.domains.items()
        }
        start, chosen, validation = self.theta, [], Watched(self, kept)
        for task, vector in enumerate(self.vectors):
            path = AlphaPath(self.encoder, start, [vector])
            supported = [Question(d) for d in range(self.tasks, len(self.domains))]
            search = Search(validation, path, [Question(d) for d in self.patching(task)], supported)
            search.ask(self.grid)
            point = search.best()
            # As `PaintSequential.after_search`: the next search starts where this one ended.
            validation.known = {} if self.single else search.correct(point)
            path.move(point)
            chosen.append(point[0])
            start = start if self.single else tuning.weights(self.encoder)
            for d in self.asked(task):
                self.correct(kept[d], d, "test")
        return chosen

    def cost(self, way: Callable[[], list[float]]) -> Cost:
        """A way's seconds on the small sets, and its counts at the paper's sizes."""
        for split in self.sets:
            split.decoded = split.forwards = 0
        self.encoder.load_state_dict(self.theta)
        began = time.perf_counter()
        alphas = way()
        seconds = time.perf_counter() - began
        decoded = sum(split.size * split.decoded // len(split) for split in self.sets)
        # The search of `tests` is on test images.
        by_set = {split.name: split.size * split.forwards // len(split) for split in self.sets}
        validated = sum(n for name, n in by_set.items() if name.endswith("validation"))
        return Cost(seconds, alphas, decoded, sum(by_set.values()), validated or sum(by_set.values()))

    def floor(self) -> int:
        """Forwards of every validation image at every alpha but 0."""
        sizes = {label: domain.val.size for label, domain in self.domains.items()}  # type: ignore[union-attr]
        return (len(self.grid) - 1) * sum(sizes[d] for task in range(self.tasks) for d in self.asked(task))

    def figure(self) -> int:
        """Forwards of every test image at every alpha, with all five supported sets."""
        own = [PATCHING[self.domains[d].name][1] for task in range(self.tasks) for d in self.patching(task)]
        return len(self.grid) * (sum(own) + self.tasks * sum(test for _, test in SUPPORTED.values()))


class Watched(Validation):
    """Says whose images pass."""

    def __init__(self, protocol: Protocol, domains: dict[int, Domain]):
        super().__init__(protocol.encoder, domains)
        self.protocol = protocol

    def _column(self, path: Any, points: Any, question: Question) -> list[int]:
        self.protocol.looked = self.protocol.domains[question.label].val  # type: ignore[assignment]
        return super()._column(path, points, question)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--pretrained")
    parser.add_argument("--supported", choices=("five", "imagenet"), default="five")
    parser.add_argument("--single", action="store_true", help="each task alone, from the initial weights")
    parser.add_argument("--alphas", type=int, default=21)
    parser.add_argument("--validation", type=int, default=5, help="images of each small validation set")
    parser.add_argument("--test", type=int, default=1, help="images of each small test set")
    parser.add_argument("--side", type=int, default=64, help="of the files, in pixels")
    parser.add_argument("--classes", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.1, help="size of the random task vectors")
    a = parser.parse_args()
    protocol = Protocol(a)
    with tempfile.TemporaryDirectory() as folder:
        costs = {
            "tests": protocol.cost(lambda: protocol.grid_search("test", tests_after=False)),
            "plain": protocol.cost(lambda: protocol.grid_search("val", tests_after=True)),
            "ours": protocol.cost(lambda: protocol.ours(Path(folder))),
        }
    table = Table(
        title=f"nine tasks {'each alone' if a.single else 'in sequence'}, {a.supported} supported, {a.alphas} alphas; sets of "
        f"{a.validation} and {a.test} images in seconds by the {a.model} model, {torch.get_num_threads()} threads"
    )
    ratio = "tests / way"
    for header in ("way", "seconds", "decoded", ratio, "forwards", ratio, "figure / way", "selection", "figure / it"):
        table.add_column(header, justify="left" if header == "way" else "right")
    first, figure, once = costs["tests"], protocol.figure(), sum(split.size for split in protocol.sets)
    least = protocol.floor()
    for name, cost in {**costs, "floor": Cost(0.0, [], once, least, least)}.items():
        shown = [f"{cost.decoded:,}", f"{first.decoded / cost.decoded:.1f}"]
        shown += [f"{cost.forwards:,}", f"{first.forwards / cost.forwards:.2f}", f"{figure / cost.forwards:.2f}"]
        shown += [f"{cost.selection:,}", f"{figure / cost.selection:.2f}"]
        table.add_row(name, f"{cost.seconds:.1f}" if cost.alphas else "", *shown)
    Console(width=140).print(table)
    print(f"figure: {figure:,} forwards")
    same = costs["plain"].alphas == costs["ours"].alphas
    print(("same alphas: " if same else "DIFFERENT ALPHAS: ") + ", ".join(f"{alpha:g}" for alpha in costs["ours"].alphas))
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
