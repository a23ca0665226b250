"""Check the images of a domain: only their heads before a run, or fully decoded for `data verify`."""

from __future__ import annotations

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
from models.processors import processors
from models.registry import UserError

SPLITS = ("train", "val", "test", "ood")
# Images between two reports of progress, decoded at the same time.
CHUNK = 256


@dataclass(frozen=True)
class Problem:
    """An image that cannot be decoded or has only one colour (`blank`): its split, its index, and a sentence about it."""

    split: str
    index: int
    sentence: str
    blank: bool = False


def check_images(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[str]:
    """Decode all images of a domain and return one sentence for each image that cannot be decoded.

    Args:
        domain: the domain.
        splits: the splits to check.
        progress: called as progress(done, total, what).

    Returns:
        The sentences. An empty list means that every image can be decoded.

    Example:
        >>> check_images(from_folder("photos"))
        ['Cannot read the image photos/cat/7.jpg: the file is empty (0 bytes).']
    """
    return [problem.sentence for problem in find_problems(domain, splits, progress) if not problem.blank]


def find_problems(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> list[Problem]:
    """Return the images that cannot be decoded and those of one colour, in the order of the splits and their images.

    Image files are decoded in threads (PIL releases the interpreter lock). Other datasets are read one item at a time, since
    they may not be thread-safe. `progress(done, total, what)` is called regularly.
    """
    datasets: dict[str, Any] = {split: d for split in splits if (d := getattr(domain, split)) is not None}
    total = sum(len(dataset) for dataset in datasets.values())
    problems: list[Problem] = []
    done = 0
    with ThreadPoolExecutor(processors()) as pool:
        for split, dataset in datasets.items():
            run: Callable[..., Any] = pool.map if isinstance(_innermost(dataset), ImageFiles) else map
            for start in range(0, len(dataset), CHUNK):
                indices = range(start, min(start + CHUNK, len(dataset)))
                results = run(lambda index, d=dataset, s=split: _problem(domain.name, s, d, index), indices)
                problems += [problem for problem in results if problem is not None]
                done += len(indices)
                if progress is not None:
                    progress(done, total, f"checking {domain.name} ({split})")
    return problems


def check_heads(domain: Domain, splits: Sequence[str] = SPLITS, progress: Progress | None = None) -> Domain:
    """Survey the user's own images (`benchmarks.data.survey`) and return the domain with more `warnings` and `notes`.

    This reads the heads of all images, thousands per second, so that a run does not fail halfway because of, for example, a
    text file with the name of an image. Truncated images are only detected when they are decoded.

    Raises:
        UserError: for images in `splits` that are missing or not images, naming the first one and the number of others, and
            for images that cannot be used as a whole.
    """
    checked = {id(dataset) for dataset in own_datasets(*(getattr(domain, split) for split in splits))}
    problems: list[str] = []
    for depth, result in _surveys(domain, progress):
        unreadable = [(depth.datasets[d], index, reason) for d, index, reason in result.unreadable]
        problems += [
            unreadable_sentence(dataset.name_of(index), reason)
            for dataset, index, reason in unreadable
            if id(dataset) in checked
        ]
        problems += [result.refusal] if result.refusal is not None else []
        domain = _with_remarks(domain, result, () if result.blank is None else (result.blank,))
    if problems:
        rest = len(problems) - 1
        more = f" There {'is' if rest == 1 else 'are'} {rest:,} more: `python cli.py data verify` lists them." if rest else ""
        raise UserError(problems[0] + more)
    return domain


def surveyed(domain: Domain, progress: Progress | None = None) -> tuple[Domain, list[str]]:
    """Return the domain with the survey's warnings and notes, and the reasons why its images cannot be used as a whole.

    Images of one colour are left to `find_problems`, which decodes all images.
    """
    refusals = []
    for _, result in _surveys(domain, progress):
        refusals += [result.refusal] if result.refusal is not None else []
        domain = _with_remarks(domain, result)
    return domain, refusals


def _surveys(domain: Domain, progress: Progress | None) -> list[tuple[Depth, Survey]]:
    datasets = own_datasets(*(getattr(domain, split) for split in SPLITS))
    depths = {id(dataset.depth): dataset.depth for dataset in datasets}
    return [(depth, depth.survey(progress, again=True)) for depth in depths.values()]


def _with_remarks(domain: Domain, result: Survey, more: Sequence[str] = ()) -> Domain:
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
        return Problem(
            split, index, f"Cannot read image {index} of the {split} split of {name}: {type(error).__name__}: {error}."
        )
    return None


def name_in(dataset: Any, index: int) -> str:
    """Return the name in messages of an image of a dataset or subset."""
    while isinstance(dataset, Subset):
        dataset, index = dataset.dataset, dataset.indices[index]
    return str(dataset.name_of(index)) if hasattr(dataset, "name_of") else f"image {index}"


def _innermost(dataset: Any) -> Any:
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset
