"""Cost of a run by its number of tasks, classes, captions and images: `python tests/speed/growth.py [--csv FILE] [--svg FILE]`.

Uses a random model smaller than the tiny one and images of noise. Five tables:

    length       one long stream, each task trained and evaluated separately: seconds per task, memory, by quarters
    run          whole runs of `harness.run.loop` (finetune) by number of tasks: seconds per task for training, for each tested
                 set (T + 1 rows of T), for writing the record, and for everything else
    images       evaluation of one task by its images; the floor is the bare forward
    classes      a training step by its classes; the floor is the bare forward and backward of images and prompts
    captions     the teacher sentences of zscl, embedded once, and its step; the floor embeds them

"growth" is the exponent of seconds against the number since the row above: 1 means linear, 0 means constant. --csv writes a
table, --svg a figure (needs matplotlib). Nothing is asserted.
"""

from __future__ import annotations

import argparse
import copy
import csv
import importlib.util
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import psutil
import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

import models
from benchmarks import BENCHMARKS
from benchmarks.data.dataset import TensorImages
from benchmarks.data.domain import Domain
from benchmarks.plan import Built, StreamPlan
from benchmarks.scenario import scenario
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run import loop as runner
from metrics.plugins import AccuracyMatrix, MeasuresBeforeTraining
from models.loading.local_files import TINY
from models.loading.tokenizers import MERGES
from reference_data import Reference
from strategies import Strategy
from strategies.zscl import ZSCL

SIDE = 24
TOWERS = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIDE, "patch_size": 12, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 32, "width": 32, "heads": 2, "layers": 2},
}
Row = dict[str, Any]


def write_model(folder: Path) -> Path:
    """A model directory: random weights, the tiny model's tokenizer."""
    folder.mkdir()
    shutil.copy(TINY / MERGES, folder / MERGES)
    config = copy.deepcopy(TOWERS)
    config["text_cfg"]["vocab_size"] = open_clip.SimpleTokenizer(bpe_path=str(TINY / MERGES)).vocab_size  # type: ignore[index]
    torch.manual_seed(0)
    weights = open_clip.model.CLIP(**config).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "open_clip_model.safetensors")
    described = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.27] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return folder


def domain(name: str, classes: int, train: int, test: int) -> Domain:
    """Noise with labels."""

    def split(count: int) -> TensorImages:
        pixels = torch.randint(0, 256, (count, 3, SIDE, SIDE), dtype=torch.uint8)
        return TensorImages(pixels, [i % classes for i in range(count)])

    names = [f"{name} thing {i}" for i in range(classes)]
    return Domain(name, names, ["a photo of a {}."], split(train), None, split(test))


def seconds(function: Callable[[], Any], rounds: int = 5) -> float:
    """The median of some rounds, after one that does not count."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        function()
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def length(model: Path, tasks: int, updates: int) -> list[Row]:
    """One stream of many tasks, without the evaluation of all tasks each time."""
    made = scenario([domain(f"task {i}", 2, 16, 16) for i in range(tasks)], preprocess=SIDE)
    options = Strategy.Options(iterations=updates, batch_size=8, warmup=0)
    strategy = Strategy(encoder=models.load(str(model)), options=options, metrics=[AccuracyMatrix()])
    process, rows, train, evaluate = psutil.Process(), [], [], []
    for i, (learned, tested) in enumerate(zip(made.streams["train"], made.streams["test"], strict=True), start=1):
        began = time.perf_counter()
        strategy.train(learned, eval_streams=[])
        middle = time.perf_counter()
        strategy.eval([tested])
        train.append(middle - began)
        evaluate.append(time.perf_counter() - middle)
        if i % max(1, tasks // 4) == 0:
            row = {"tasks so far": i, "train ms": 1e3 * statistics.median(train)}
            row |= {"evaluate ms": 1e3 * statistics.median(evaluate), "memory MB": process.memory_info().rss / 1e6}
            rows.append(row)
            train, evaluate = [], []
    return rows


def whole_run(model: Path, folder: Path, tasks: int, updates: int) -> Row:
    """Seconds of the parts of one run."""
    name, names = f"growth-{tasks}", tuple(f"task {i}" for i in range(tasks))

    def build(progress: Any, splits: Any, held: Any = ("test",)) -> Built:
        return Built([domain(task, 2, 16, 16) for task in names], [])

    @BENCHMARKS.register(name)
    def plan(ask: Any) -> StreamPlan:
        return StreamPlan(name, "mini", "default", names, (), build)

    spent: dict[str, float] = defaultdict(float)

    def timed(owner: Any, method: str, part: str) -> Callable[[], None]:
        original = getattr(owner, method)

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                spent[part] += time.perf_counter() - began

        setattr(owner, method, call)
        return lambda: setattr(owner, method, original)

    undo = [
        timed(Strategy, "train", "train"),
        timed(runner, "_evaluate", "evaluate"),
        timed(runner.RunState, "save", "record"),
        timed(MeasuresBeforeTraining, "measure_initial", "measure"),
    ]
    options = {"iterations": updates, "batch_size": 8, "warmup": 0}
    began = time.perf_counter()
    try:
        config = RunConfig(
            name, "finetune", model=str(model), options=options, out=str(folder), device="cpu", cache=False, measure_n=16
        )
        runner.run(config, Screen(quiet=True))
    finally:
        for back in undo:
            back()
    spent["rest"] = time.perf_counter() - began - sum(spent.values())
    return {
        "tasks": tasks,
        "train ms / task": 1e3 * spent["train"] / tasks,
        "evaluate ms / set": 1e3 * spent["evaluate"] / ((tasks + 1) * tasks),
        "record ms / task": 1e3 * spent["record"] / tasks,
        "rest ms / task": 1e3 * (spent["rest"] + spent["measure"]) / tasks,
    }


def by_images(model: Path, counts: list[int]) -> list[Row]:
    rows = []
    for count in counts:
        made = scenario([domain("task", 10, 8, count)], preprocess=SIDE)
        strategy = Strategy(encoder=models.load(str(model)), metrics=[AccuracyMatrix()])
        encoder, tests = strategy.encoder, made.streams["test"]
        batches = made.streams["test"][0].domain.test.images.split(256)

        def evaluate(strategy=strategy, tests=tests) -> None:
            strategy.encoder.touch()  # nothing is known from the round before
            strategy.eval(tests)

        def bare(encoder=encoder, batches=batches) -> None:
            with torch.inference_mode():
                for pixels in batches:
                    encoder.encode_images(pixels)

        rows.append({"images": count, "seconds": seconds(evaluate), "floor": seconds(bare)})
    return rows


def steps(strategy: Strategy, experience: Any, updates: int) -> float:
    """Seconds of an update: a long training less a short one, so that what a task costs once does not count."""

    def train(count: int) -> Callable[[], None]:
        def call() -> None:
            strategy.budget = lambda experience: count  # type: ignore[method-assign]
            strategy.train(experience, eval_streams=[])

        return call

    return (seconds(train(updates + 2), 3) - seconds(train(2), 3)) / updates


def by_classes(model: Path, counts: list[int]) -> list[Row]:
    rows = []
    for count in counts:
        experience = scenario([domain("task", count, 64, 8)], preprocess=SIDE).streams["train"][0]
        strategy = Strategy(encoder=models.load(str(model)), options=Strategy.Options(iterations=2, batch_size=32, warmup=0))
        encoder = models.load(str(model))
        tokens, pixels = encoder.tokenize(experience.domain.prompts(0)), experience.domain.train.images[:32]

        def bare(encoder=encoder, tokens=tokens, pixels=pixels) -> None:
            encoder.zero_grad()
            encoder.logits(encoder.encode_images(pixels), encoder.encode_texts(tokens)).sum().backward()

        rows.append({"classes": count, "seconds": steps(strategy, experience, 10), "floor": seconds(bare)})
    return rows


def by_captions(model: Path, counts: list[int]) -> list[Row]:
    rows, experience = [], scenario([domain("task", 10, 64, 8)], preprocess=SIDE).streams["train"][0]
    options = ZSCL.Options(iterations=2, batch_size=32, warmup=0, reference_batch=32)
    for count in counts:
        images = torch.randint(0, 256, (64, 3, SIDE, SIDE), dtype=torch.uint8)
        sentences = [f"a picture of thing {i}" for i in range(count)]
        strategy = ZSCL(encoder=models.load(str(model)), options=options, reference=Reference(images, sentences))
        encoder = models.load(str(model))

        def bare(encoder=encoder, sentences=sentences) -> None:
            with torch.inference_mode():
                for start in range(0, len(sentences), 512):
                    encoder.encode_texts(encoder.tokenize(sentences[start : start + 512]))

        row = {"captions": count, "seconds": seconds(strategy.before_run, 3), "floor": seconds(bare, 3)}
        rows.append(row | {"step seconds": steps(strategy, experience, 10)})
    return rows


def with_growth(rows: list[Row]) -> list[Row]:
    """With the exponent of every cost against the number in the first column, since the row above."""
    number, found, before = next(iter(rows[0])), [], None
    for row in rows:
        more = {"growth": ""}
        if before is not None:
            ratio = math.log(row[number] / before[number])
            costs = [n for n in row if n not in (number, "floor")]
            more["growth"] = ", ".join(f"{math.log(max(row[n], 1e-9) / max(before[n], 1e-9)) / ratio:.2f}" for n in costs)
        found.append({**row, **more})
        before = row
    return found


def draw(tables: dict[str, list[Row]], path: str) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(tables), figsize=(4 * len(tables), 3.2))
    for axis, (name, rows) in zip(axes, tables.items(), strict=True):
        number = next(iter(rows[0]))
        for column in [c for c in rows[0] if c != number]:
            axis.loglog([r[number] for r in rows], [max(r[column], 1e-6) for r in rows], marker="o", label=column)
        axis.set(title=name, xlabel=number)
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--length", type=int, default=200, help="tasks of the long stream")
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--images", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--captions", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--updates", type=int, default=2, help="of each task of the streams")
    parser.add_argument("--csv", metavar="FILE")
    parser.add_argument("--svg", metavar="FILE")
    a = parser.parse_args()
    if a.svg and importlib.util.find_spec("matplotlib") is None:
        sys.exit("--svg needs matplotlib, which is not installed.")
    with tempfile.TemporaryDirectory() as folder:
        model = write_model(Path(folder) / "model")
        whole_run(model, Path(folder) / "warm", 2, a.updates)
        tables = {
            "length": length(model, a.length, a.updates),
            "run": [whole_run(model, Path(folder) / "runs", tasks, a.updates) for tasks in a.tasks],
            "images": by_images(model, a.images),
            "classes": by_classes(model, a.classes),
            "captions": by_captions(model, a.captions),
        }
    console = Console()
    for name, rows in tables.items():
        shown = with_growth(rows)
        table = Table(title=f"{name}, {torch.get_num_threads()} threads")
        for column in shown[0]:
            table.add_column(column, justify="right")
        for row in shown:
            table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
        console.print(table)
    if a.csv:
        with Path(a.csv).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["table", "number", "cost", "value"])
            for name, rows in tables.items():
                number = next(iter(rows[0]))
                writer.writerows([name, row[number], cost, row[cost]] for row in rows for cost in row if cost != number)
    if a.svg:
        draw(tables, a.svg)


if __name__ == "__main__":
    main()
