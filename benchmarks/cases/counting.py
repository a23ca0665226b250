"""`counting`: teach a model to count with some numbers of objects, and test it on other numbers (PAINT, 2208.05592).

The model is patched on pictures of an odd number of objects. Even numbers are never trained. Which numbers PAINT trained is not
confirmed, so the choice is ours: every even number has trained neighbours, and the largest one is beyond all of them.

    odd-counts              the patched task: odd numbers among odd numbers
    even-counts             target: even numbers among even numbers
    even-counts-among-all   target: the same pictures among all numbers
    odd-counts-new-shapes   target (mini): odd numbers of shapes that no training picture shows

Mini edition: pictures of one to eight things (`benchmarks.cases.counted_things`). The tiny CLIP has seen no pictures and no
captions of more in pretraining. Supported tasks: the mini edition's held-out domains. Training has the usual settings of the
mini edition: 40, 80 and 160 updates at learning rates of 3e-4 and 1e-3 were compared on further pictures of odd numbers, and
none was clearly better.

Full edition: CLEVR (Johnson et al. 2017, 1612.06890), whose pictures show 3 to 10 objects. The published test split has no
scenes and so no labels; its validation split is the test set here. Supported task: ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from benchmarks import mini
from benchmarks.cases.case import Made, case_plan, edition_of
from benchmarks.catalog import DomainSource, find
from benchmarks.data.progress import Progress
from benchmarks.mini.domain_table import ENTRIES, QUANTITIES
from benchmarks.plan import Ask, StreamPlan

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.data.domain import Domain

TASK = "odd-counts"
EVEN, EVEN_AMONG_ALL, NEW_SHAPES = "even-counts", "even-counts-among-all", "odd-counts-new-shapes"
NUMBERS = {"mini": range(1, 9), "full": range(3, 11)}
"""The number of objects of each class, in class order."""
THINGS = (*QUANTITIES, "seven things", "eight things")
PER_NUMBER = {"train": 160, "val": 50, "test": 75, "new": 75}
"""Pictures of each number in the mini edition. "new" has the new shapes."""
CODE = 1
"""Version of the drawing. Increase it whenever a picture changes."""
SUPPORTED = {"mini": mini.HELDOUT, "full": ("imagenet",)}


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the mini or full edition.

    Raises:
        UserError: for another edition, an order, or an unknown name.
    """
    edition = edition_of(ask, "counting", SUPPORTED, "bench counting has one task, so it takes no --order.")
    clevr: tuple[DomainSource, ...] = (find("clevr", "full", ask.data_root),) if edition == "full" else ()
    names = (TASK, EVEN, EVEN_AMONG_ALL, *((NEW_SHAPES,) if edition == "mini" else ()))
    task, *targets = [Made(name, partial(_domain, name, edition, clevr), clevr, edition, CODE) for name in names]
    return case_plan(ask, "counting", edition, [task], SUPPORTED[edition], targets)


def _domain(
    name: str, edition: str, clevr: Sequence[DomainSource], splits: Sequence[str], progress: Progress | None = None
) -> Domain:
    """Return the task or a target of an edition."""
    numbers = NUMBERS[edition]
    every = range(len(numbers))
    odd = [label for label in every if numbers[label] % 2]
    even = [label for label in every if label not in odd]
    shown = even if name in (EVEN, EVEN_AMONG_ALL) else odd
    # CLEVR's training scenes are a large file.
    whole = (
        clevr[0].build(splits if name == TASK else ("test",), progress)
        if clevr
        else drawn(NEW_SHAPES if name == NEW_SHAPES else TASK, progress)
    )
    return part(whole, name, shown, every if name == EVEN_AMONG_ALL else shown)


def part(domain: Domain, name: str, shown: Sequence[int], among: Sequence[int]) -> Domain:
    """Return a domain of some classes whose images are classified among the same or more classes.

    Args:
        domain: the domain with all classes.
        name: name of the new domain.
        shown: the classes whose images it has.
        among: the classes that compete, in order. They include the shown ones.
    """
    from torch.utils.data import Subset

    from benchmarks.data.dataset import Relabelled, targets_of

    place = {label: index for index, label in enumerate(among)}
    splits: dict[str, Any] = {}
    for split in ("train", "val", "test"):
        images = getattr(domain, split)
        if images is not None:
            indices = [i for i, label in enumerate(targets_of(images)) if label in shown]
            splits[split] = Relabelled(Subset(images, indices), place)
    classnames = tuple(domain.classnames[label] for label in among)
    return replace(domain, name=name, classnames=classnames, ood=None, **splits)


def drawn(name: str, progress: Progress | None = None) -> Domain:
    """Return the pictures of the mini edition, from the cache or drawn: all numbers, or odd numbers of new shapes.

    Args:
        name: `TASK`, which has the test pictures of all numbers but training and validation pictures of odd numbers only, or
            `NEW_SHAPES`, which has test pictures only.
        progress: called as progress(done, total, what) while pictures are drawn.
    """
    import torch

    from benchmarks.data.dataset import TensorImages
    from benchmarks.data.domain import Domain
    from benchmarks.mini import cache

    arrays = cache.load_or_make(f"case-counting-{CODE}", lambda: pictures(progress))

    def images(split: str) -> TensorImages:
        return TensorImages(torch.from_numpy(arrays[f"{split}_images"]), arrays[f"{split}_labels"].tolist())

    if name == NEW_SHAPES:
        train, val, test = None, None, images("new")
    else:
        train, val, test = images("train"), images("val"), images("test")
    return Domain(
        name,
        THINGS,
        ENTRIES["counting"].templates,
        train,
        val,
        test,
        licence="drawn by this project",
        source=f"rendered: 1 to {len(THINGS)} separate things of mixed shapes, sizes and colours",
        split_sources=dict.fromkeys(("train", "val", "test"), "the mini edition"),
        published=True,
    )


def pictures(progress: Progress | None = None) -> dict[str, np.ndarray]:
    """Draw the mini edition: `<split>_images` uint8 [N, 3, 48, 48] and `<split>_labels` int64 [N], label = number - 1.

    The splits are train and val (odd numbers), test (all numbers) and new (odd numbers, other shapes).
    """
    import numpy as np

    from benchmarks.cases import counted_things
    from benchmarks.mini.render import distinct, generator

    arrays: dict[str, np.ndarray] = {}
    seen: set[bytes] = set()
    for done, (split, count) in enumerate(PER_NUMBER.items()):
        if progress is not None:
            progress(done, len(PER_NUMBER), f"drawing counts ({split})")
        shapes = counted_things.NEW_SHAPES if split == "new" else counted_things.SHAPES
        images, labels = [], []
        for number in NUMBERS["mini"]:
            if number % 2 or split == "test":
                rng = generator("case counting", split, str(number))
                draw = partial(counted_things.picture, number, shapes, rng)
                images += distinct(lambda _, draw=draw: draw(), count, seen)  # type: ignore[misc]
                labels += [number - 1] * count
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = np.stack(images), np.array(labels, dtype=np.int64)
    if progress is not None:
        progress(1, 1, "drew counts")
    return arrays
