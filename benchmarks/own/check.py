"""Whether the images of a domain are images: by their heads before a run, or decoded whole for `data verify`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch.utils.data import Subset

from benchmarks.domain import Domain
from benchmarks.images import ImageFiles
from benchmarks.plan import Progress
from models.registry import UserError

SPLITS = ("train", "val", "test", "ood")
# Images between two reports of progress, and in flight at a time.
CHUNK = 256


@dataclass(frozen=True)
class Problem:
    """An image that cannot be decoded: image `index` of a split, and a sentence that names it."""

    split: str
    index: int
    sentence: str


def check_images(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[str]:
    """The sentences of `find_problems`. An empty list means that every image opens."""
    return [problem.sentence for problem in find_problems(domain, splits, progress)]


def find_problems(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[Problem]:
    """The images that cannot be decoded, in the order of the splits and their images.

    Image files are decoded in threads (PIL releases the interpreter lock), other datasets one by one, since they may not
    bear threads. `progress(done, total, what)` is called as it goes.
    """
    datasets: dict[str, Any] = {s: d for s in splits if (d := getattr(domain, s)) is not None}
    total = sum(len(dataset) for dataset in datasets.values())
    problems: list[Problem] = []
    done = 0
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for split, dataset in datasets.items():
            run: Callable[..., Any] = pool.map if isinstance(_innermost(dataset), ImageFiles) else map
            for start in range(0, len(dataset), CHUNK):
                indices = range(start, min(start + CHUNK, len(dataset)))
                found = run(lambda index, d=dataset, s=split: _problem(domain.name, s, d, index), indices)
                problems += [problem for problem in found if problem is not None]
                done += len(indices)
                if progress is not None:
                    progress(done, total, f"checking {domain.name} ({split})")
    return problems


def check_heads(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> None:
    """Raise UserError, naming the first and how many there are, for files that are missing or no images.

    Reads the heads of image files alone, thousands a second, so that a run does not end in its middle over a text file
    with an image's name. What is cut short further on shows when it is decoded.
    """
    files = [images for split in splits if isinstance(images := _innermost(getattr(domain, split)), ImageFiles)]
    paths = list(dict.fromkeys(str(path) for images in files for path in images.paths))
    problems: list[str] = []
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for start in range(0, len(paths), CHUNK):
            problems += [problem for problem in pool.map(_no_image, paths[start : start + CHUNK]) if problem is not None]
            if progress is not None:
                progress(min(start + CHUNK, len(paths)), len(paths), f"checking {domain.name}")
    if problems:
        more = f" There are {len(problems) - 1} more: `python cli.py data verify` names them." if len(problems) > 1 else ""
        raise UserError(problems[0] + more)


def _no_image(path: str) -> str | None:
    try:
        with Image.open(path):
            return None
    except FileNotFoundError:
        return f"The image {path} is missing."
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return f"{path} is no image."


def _problem(name: str, split: str, dataset: Any, index: int) -> Problem | None:
    try:
        dataset[index]
    except UserError as error:
        return Problem(split, index, str(error))
    except Exception as error:  # a user's dataset object may raise anything
        said = f"Cannot read image {index} of the {split} split of {name}: {type(error).__name__}: {error}."
        return Problem(split, index, said)
    return None


def _innermost(dataset: Any) -> Any:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset
