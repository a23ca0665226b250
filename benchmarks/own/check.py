"""Check the images of a domain: by their heads before a run, or decoded whole for `data verify`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image
from torch.utils.data import Subset

from benchmarks.data.domain import Domain
from benchmarks.data.images import ImageFiles, own_datasets, unreadable_sentence
from benchmarks.data.progress import Progress
from benchmarks.data.survey import Depth, Survey, is_blank
from models.registry import UserError

SPLITS = ("train", "val", "test", "ood")
# Images between two reports of progress, and in flight at a time.
CHUNK = 256


@dataclass(frozen=True)
class Problem:
    """An image that cannot be decoded, or that has one colour: image `index` of a split, and a sentence that names it."""

    split: str
    index: int
    sentence: str
    blank: bool = False


def check_images(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[str]:
    """The sentences of `find_problems`. An empty list means that every image opens."""
    return [problem.sentence for problem in find_problems(domain, splits, progress) if not problem.blank]


def find_problems(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[Problem]:
    """Find the images that cannot be decoded, and those of one colour, in the order of the splits and their images.

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


def check_heads(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> Domain:
    """Survey the user's own images (`benchmarks.data.survey`); return the domain with the findings in `warnings` and `notes`.

    Reads the heads of all images, thousands per second, so that a run does not end in its middle over a text file with an
    image's name. Images that are cut short in their middle are found when they are decoded.

    Raises:
        UserError: for images in `splits` that are missing or not images, naming the first and how many there are, and for
            images that cannot be used as a whole.
    """
    asked = {id(dataset) for dataset in own_datasets(*(getattr(domain, split) for split in splits))}
    problems: list[str] = []
    for depth, result in _surveys(domain, progress):
        named = [(depth.datasets[d], index, reason) for d, index, reason in result.unreadable]
        problems += [unreadable_sentence(data.name_of(index), reason) for data, index, reason in named if id(data) in asked]
        problems += [result.refusal] if result.refusal is not None else []
        domain = _remarked(domain, result, () if result.blank is None else (result.blank,))
    if problems:
        rest = len(problems) - 1
        more = f" There {'is' if rest == 1 else 'are'} {rest:,} more: `python cli.py data verify` names them." if rest else ""
        raise UserError(problems[0] + more)
    return domain


def surveyed(domain: Domain, progress: Progress | None = None) -> tuple[Domain, list[str]]:
    """Return the domain with the survey's warnings and notes, and why its images cannot be used as a whole, if so.

    Images of one colour are left to `find_problems`, which looks at all of them.
    """
    refusals = []
    for _, result in _surveys(domain, progress):
        refusals += [result.refusal] if result.refusal is not None else []
        domain = _remarked(domain, result)
    return domain, refusals


def _surveys(domain: Domain, progress: Progress | None) -> list[tuple[Depth, Survey]]:
    datasets = own_datasets(*(getattr(domain, split) for split in SPLITS))
    depths = {id(dataset.depth): dataset.depth for dataset in datasets}
    return [(depth, depth.survey(progress, again=True)) for depth in depths.values()]


def _remarked(domain: Domain, result: Survey, more: Sequence[str] = ()) -> Domain:
    warnings = tuple(dict.fromkeys((*domain.warnings, *result.warnings, *more)))
    return replace(domain, warnings=warnings, notes=tuple(dict.fromkeys((*domain.notes, *result.notes))))


def _problem(name: str, split: str, dataset: Any, index: int) -> Problem | None:
    try:
        image = dataset[index][0]
        if isinstance(image, Image.Image) and image.mode == "RGB" and is_blank(image):
            return Problem(split, index, name_in(dataset, index), blank=True)
    except UserError as error:
        return Problem(split, index, str(error))
    except Exception as error:  # a user's dataset object may raise anything
        said = f"Cannot read image {index} of the {split} split of {name}: {type(error).__name__}: {error}."
        return Problem(split, index, said)
    return None


def name_in(dataset: Any, index: int) -> str:
    """Return what messages call an image of a dataset or a subset of it."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    return str(dataset.name_of(index)) if hasattr(dataset, "name_of") else f"image {index}"


def _innermost(dataset: Any) -> Any:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset
