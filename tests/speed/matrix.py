"""The whole accuracy matrix, computed by this project and as in the papers' code: `python tests/speed/matrix.py`.

T + 1 checkpoints of one model (its image tower is moved a little at random each time) are tested on T sets of JPEG files in a
temporary folder. Ways:

    plain    for each checkpoint and set: a new dataset of the files, a loader with worker processes that decode and resize, the
             class prompts in all templates at full context, the forward
    ours     `strategy.eval` over a scenario whose test images are decoded once (`benchmarks.data.pixels`), with its building
    floor    the bare forward of all images, and of all prompts once

All ways must give the same correct answers. The table shows seconds, decoded images and encoded prompts.

With --text the text tower changes too, as in full fine-tuning, so prompts are encoded for each checkpoint. Then the padding of
a prompt decides: the context is 16 tokens in the tiny model and 77 in CLIP. `--model random` takes a random CLIP with that
context and towers in ViT-B/16's proportion.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset
from zscl_step import encoder as in_proportion

import models
from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles
from benchmarks.data.pixels import cached_domain
from benchmarks.scenario import scenario
from metrics.plugins import AccuracyMatrix
from models import tuning
from models.transforms import evaluation_transform
from strategies import Strategy


class Decoded(Dataset):
    """Files decoded and resized at every look."""

    def __init__(self, files: ImageFiles, preprocess: Any):
        self.files, self.transform = files, evaluation_transform(preprocess)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.files[index]
        return self.transform(image), label


class Result(NamedTuple):
    seconds: float
    correct: list[list[int]]
    decoded: int
    prompts: int


def photographs(folder: Path, count: int, classes: int, side: int, seed: int) -> ImageFiles:
    """Smooth noise, which compresses about as photographs do."""
    folder.mkdir()
    random, paths = np.random.default_rng(seed), []
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8))
        paths.append(folder / f"{i}.jpg")
        coarse.resize((side * 4 // 3, side), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return ImageFiles(paths, [i % classes for i in range(count)])


def checkpoints(encoder: Any, count: int, text: bool) -> list[dict[str, torch.Tensor]]:
    """Weights of the model after each task; the first are its own."""
    generator, found = torch.Generator().manual_seed(0), [tuning.weights(encoder)]
    for _ in range(count):
        state = dict(found[-1])
        for name, tensor in state.items():
            if tensor.is_floating_point() and tensor.ndim > 1 and (text or "visual" in name):
                noise = torch.randn(tensor.shape, generator=generator)
                state[name] = tensor + 0.05 * tensor.std() * noise
        found.append(state)
    return found


def plain(encoder: Any, states: list[Any], domains: list[Domain], batch: int, workers: int) -> Result:
    began, correct, decoded, prompts = time.perf_counter(), [], 0, 0
    for state in states:
        encoder.load_state_dict(state)
        row = []
        for domain in domains:
            loader = DataLoader(Decoded(domain.test, encoder.preprocess), batch, num_workers=workers)  # type: ignore[arg-type]
            with torch.no_grad():
                each = [encoder.encode_texts_plain(encoder.tokenize(domain.prompts(t))) for t in range(len(domain.templates))]
                head = each[0] if len(each) == 1 else F.normalize(torch.stack(each).mean(dim=0), dim=-1)
                prompts += sum(map(len, each))
                hits = 0
                for images, labels in loader:
                    hits += int((encoder.logits(encoder.encode_images(images), head).argmax(1) == labels).sum())
                    decoded += len(labels)
            row.append(hits)
        correct.append(row)
    return Result(time.perf_counter() - began, correct, decoded, prompts)


def ours(encoder: Any, states: list[Any], domains: list[Domain], batch: int, folder: Path, text: bool) -> Result:
    encoder.load_state_dict(states[0])
    prompts, looks, original, read = [0], [0], encoder.encode_texts, ImageFiles.__getitem__

    def encode(tokens: torch.Tensor, *length: int) -> torch.Tensor:
        prompts[0] += len(tokens)
        return original(tokens, *length)

    def look(self: ImageFiles, index: int) -> Any:
        looks[0] += 1
        return read(self, index)

    encoder.encode_texts, ImageFiles.__getitem__ = encode, look  # type: ignore[method-assign]
    try:
        began = time.perf_counter()
        kept = [cached_domain(domain, encoder.preprocess, ("test",), folder=folder) for domain in domains]
        made, accuracy = scenario(kept, preprocess=encoder.preprocess), AccuracyMatrix()
        tuned = "full" if text else "visual"
        strategy = Strategy(encoder=encoder, tuning_name=tuned, metrics=[accuracy], eval_batch_size=batch)
        for row, state in enumerate(states):
            strategy.trained = row
            if row:
                strategy.set_weights(state)
            strategy.eval(list(made.streams["test"]))
        seconds = time.perf_counter() - began
    finally:
        del encoder.encode_texts
        ImageFiles.__getitem__ = read  # type: ignore[method-assign]
    correct = [[accuracy.rows[row]["test", domain.name].correct for domain in domains] for row in range(len(states))]
    return Result(seconds, correct, looks[0], prompts[0])


def floor(encoder: Any, domains: list[Domain], rows: int, batch: int, text: bool) -> float:
    """Seconds of the forwards that cannot be left out."""
    size = encoder.image_size
    pixels = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in range(rows):
            for domain in domains:
                for start in range(0, len(domain.test), batch):  # type: ignore[arg-type]
                    encoder.encode_images(pixels[: min(batch, len(domain.test) - start)])  # type: ignore[arg-type]
        for _ in range(rows if text else 1):
            for domain in domains:
                for template in range(len(domain.templates)):
                    encoder.encode_texts(encoder.tokenize(domain.prompts(template)))
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny", help="or random: see above")
    parser.add_argument("--pretrained")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--images", type=int, default=100, help="of each test set")
    parser.add_argument("--side", type=int, default=224, help="of the files' shorter side, in pixels")
    parser.add_argument("--classes", type=int, default=50)
    parser.add_argument("--templates", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="of the plain way")
    parser.add_argument("--text", action="store_true", help="the text tower changes too")
    a = parser.parse_args()
    encoder = in_proportion() if a.model == "random" else models.load(a.model, a.pretrained)
    templates = [f"a photo of a {{}}, number {i}." for i in range(a.templates)]
    with tempfile.TemporaryDirectory() as temporary:
        folder, domains = Path(temporary), []
        for i in range(a.tasks):
            names = [f"kind {i} of thing {c}" for c in range(a.classes)]
            domains.append(Domain(f"set-{i}", names, templates, None, None, None))
            files = photographs(folder / f"set-{i}", a.images, a.classes, a.side, i)
            domains[-1] = replace(domains[-1], test=files)
        states = checkpoints(encoder, a.tasks, a.text)
        least = floor(encoder, domains, len(states), a.batch, a.text)
        results = {
            "plain": plain(encoder, states, domains, a.batch, a.workers),
            "ours": ours(encoder, states, domains, a.batch, folder / "pixels", a.text),
        }
    table = Table(
        title=f"{encoder.name}, {len(states)} x {a.tasks} cells of {a.images} files, {a.classes} classes, "
        f"{a.templates} templates, {torch.get_num_threads()} threads"
    )
    for header in ("way", "seconds", "plain / way", "images decoded", "prompts encoded"):
        table.add_column(header, justify="left" if header == "way" else "right")
    took = results["plain"].seconds
    for name, r in results.items():
        table.add_row(name, f"{r.seconds:.2f}", f"{took / r.seconds:.2f}", f"{r.decoded:,}", f"{r.prompts:,}")
    table.add_row("floor", f"{least:.2f}", f"{took / least:.2f}", "", "")
    same = results["plain"].correct == results["ours"].correct
    Console().print(table)
    print("same correct answers" if same else "DIFFERENT ANSWERS")
    raise SystemExit(not same)


if __name__ == "__main__":
    main()
