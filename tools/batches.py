"""Draw the batches of a pretraining ahead, with many processes: for a machine whose accelerator would wait for pictures.

    python -m tools.batches record --iterations 8376 --parts 16 --states states.json
    python -m tools.batches draw --states states.json --out FOLDER --workers 16
    python -m tools.pretrain --family coca --iterations 8376 --device cuda --batches FOLDER

`record` draws all batches once (11 minutes on one core) and writes the random state at the start of each part. `draw` repeats
the parts side by side. The batches are those of `tools.pretrain` without `--batches`: the same pictures and captions in the
same order, already normalised and rounded to bfloat16, as the pretraining does. One iteration of 128 images takes 1.8 MB.
"""

from __future__ import annotations

import argparse
import base64
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.mini import cache
from models.loading.local_files import SHIPPED
from models.loading.tokenizers import MERGES
from tools import pool, vocabulary
from tools.families import MEAN, STD
from tools.sampler import Sampler
from tools.schedule import ease_at

NAMES = ("images", "tokens", "bounds", "subjects")
Batches = Callable[[int, float], tuple[Tensor, Tensor, Tensor]]
"""Iteration and progress from 0 to 1 -> normalised images [B, 3, 48, 48], captions [U, L], the caption of each image [B]."""


def composed(sampler: Sampler, tokenizer: Any) -> Batches:
    """Return the function that composes a sampler's next batch."""

    def batch(step: int, progress: float) -> tuple[Tensor, Tensor, Tensor]:
        drawn = sampler.batch(ease_at(progress))
        return (drawn.images - MEAN) / STD, tokenizer(drawn.captions), drawn.subjects

    return batch


def record(sampler: Sampler, iterations: int, parts: int) -> list[dict[str, Any]]:
    """Draw all batches of a pretraining and return, for each part, its iterations and the random state at its start."""
    bounds = [iterations * part // parts for part in range(parts + 1)]
    found = []
    for first, end in pairwise(bounds):
        found.append({"first": first, "end": end, "iterations": iterations, **encoded(sampler.state())})
        for step in range(first, end):
            sampler.batch(ease_at(step / iterations))
    return found


def encoded(state: dict[str, Any]) -> dict[str, Any]:
    """Return a sampler's state as JSON values."""
    return {**state, "torch": base64.b64encode(state["torch"].numpy().tobytes()).decode()}


def decoded(state: dict[str, Any]) -> dict[str, Any]:
    """Return the state that `encoded` was given."""
    return {**state, "torch": torch.frombuffer(bytearray(base64.b64decode(state["torch"])), dtype=torch.uint8)}


def draw(sampler: Sampler, part: dict[str, Any], tokenizer: Any, out: Path) -> None:
    """Draw the batches of a part and write them to four arrays in `out`.

    images int16 [n, B, 3, 48, 48] are the bits of bfloat16, tokens int32 [sum of U, L] the captions of all batches, bounds
    int64 [n + 1] where those of a batch begin, and subjects int64 [n, B].
    """
    sampler.restore(decoded(part))
    batches, images, tokens, subjects = composed(sampler, tokenizer), [], [], []
    for step in range(part["first"], part["end"]):
        pixels, captions, of_images = batches(step, step / part["iterations"])
        images.append(pixels.bfloat16().view(torch.int16).numpy())
        tokens.append(captions.numpy().astype(np.int32))
        subjects.append(of_images.numpy())
    bounds = np.cumsum([0, *(len(each) for each in tokens)])
    for name, array in zip(NAMES, (np.stack(images), np.concatenate(tokens), bounds, np.stack(subjects)), strict=True):
        np.save(out / f"{part['first']:06d}-{name}.npy", array)


class Drawn:
    """The batches that `draw` wrote, by iteration.

    Args:
        folder: the folder of `draw`.
        iterations: length of the pretraining.

    Raises:
        ValueError: if the folder holds another number of iterations.
    """

    def __init__(self, folder: Path, iterations: int):
        firsts = sorted(int(path.name.partition("-")[0]) for path in folder.glob("*-images.npy"))
        self.parts = {
            first: tuple(np.load(folder / f"{first:06d}-{name}.npy", mmap_mode="r") for name in NAMES) for first in firsts
        }
        ends = [first + len(part[0]) for first, part in self.parts.items()]
        if [0, *ends] != [*firsts, iterations]:
            raise ValueError(f"{folder} holds the iterations {list(zip(firsts, ends, strict=True))}, not 0 to {iterations}.")

    def batch(self, step: int, progress: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """Return images bfloat16 [B, 3, 48, 48], captions [U, L] and the caption of each image [B] of an iteration.

        The progress was decided when the batches were drawn.
        """
        first = max(first for first in self.parts if first <= step)
        images, tokens, bounds, subjects = self.parts[first]
        row = step - first
        captions = np.array(tokens[bounds[row] : bounds[row + 1]], dtype=np.int64)
        pixels = torch.from_numpy(np.array(images[row])).view(torch.bfloat16)
        return pixels, torch.from_numpy(captions), torch.from_numpy(np.array(subjects[row]))


def _draw_part(job: tuple[dict[str, Any], int, int, Path]) -> None:
    part, batch_size, seed, out = job
    torch.set_num_threads(1)
    draw(Sampler(_pool(), batch_size, seed), part, vocabulary.load(SHIPPED["tiny"] / MERGES), out)


def _pool() -> pool.Pool:
    return pool.load_or_make(cache.folder().parent / "pretraining")


def main() -> None:
    """Parse the command line, and record or draw."""
    parser = argparse.ArgumentParser(prog="python -m tools.batches", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("action", choices=("record", "draw"))
    parser.add_argument("--states", type=Path, required=True, help="file of the random states")
    parser.add_argument("--iterations", type=int, default=8376, help="length of the pretraining (default: 8376)")
    parser.add_argument("--parts", type=int, default=16, help="parts that can be drawn side by side (default: 16)")
    parser.add_argument("--batch-size", type=int, default=128, help="images per iteration (default: 128)")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--out", type=Path, help="folder of the batches")
    parser.add_argument("--workers", type=int, default=2, help="processes of `draw` (default: 2)")
    args = parser.parse_args()
    if args.action == "record":
        torch.set_num_threads(1)
        parts = record(Sampler(_pool(), args.batch_size, args.seed), args.iterations, args.parts)
        args.states.write_text(json.dumps({"batch_size": args.batch_size, "seed": args.seed, "parts": parts}) + "\n")
        return
    if args.out is None:
        parser.error("draw needs --out FOLDER")
    args.out.mkdir(parents=True, exist_ok=True)
    states = json.loads(args.states.read_text())
    jobs = [(part, states["batch_size"], states["seed"], args.out) for part in states["parts"]]
    with ProcessPoolExecutor(args.workers) as workers:
        list(workers.map(_draw_part, jobs))


if __name__ == "__main__":
    main()
