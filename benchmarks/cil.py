"""Class-incremental learning: classes of one dataset arrive in steps, and test images are classified among all seen classes.

Datasets: those of ZSCL's released class-incremental code (2303.06628), any mini domain, and any dataset of class folders.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks import settings
from benchmarks.catalog import SPLITS, Source, build_sources, check_present, find, held_out, shadows, versions
from benchmarks.data.progress import Progress
from benchmarks.full.dataset_table import ENTRIES as DATASET_ENTRIES
from benchmarks.full.dataset_table import class_orders
from benchmarks.mini.domain_table import ENTRIES as MINI_ENTRIES
from benchmarks.names import check_distinct, split_names
from benchmarks.orders import order_seed
from benchmarks.plan import Ask, Built, StreamPlan
from models.registry import UserError, unknown

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

MINI_DATASET = "nature"


class Steps(NamedTuple):
    """Protocol of a dataset.

    Attributes:
        base: classes in the first step. 0: as in the others.
        steps: number of steps.
        template: the single prompt template. None: the dataset's templates.
        seed: seed of the class order. None: the order of the paper, or of the dataset.
        note: a sentence for whoever runs it.
    """

    base: int = 0
    steps: int = 5
    template: str | None = None
    seed: int | None = None
    note: str = ""


DATASETS = {
    "cifar100": Steps(0, 10, "a bad photo of a {}."),
    "tinyimagenet": Steps(100, 10, "a bad photo of a {}."),
    "imagenet100": Steps(0, 10, "a good photo of a {}."),
    "imagenet": Steps(0, 10, "a good photo of a {}."),
}
"""The paper's protocols."""

CLIP_DATASETS = {
    name: Steps(0, 10, seed=1993, note=note)
    for name, note in {
        "Aircraft": "",
        "cars": "",
        "cub": "",
        "food101": "",
        "imagenet-r": "imagenet-r is split by the lists of mammoth. Numbers of other splits cannot be compared.",
        "objectnet": "The licence of ObjectNet forbids to tune the parameters of any model on it.",
        "sun397": "",
        "coop-ucf101": "",
    }.items()
}
"""Datasets of the literature on class-incremental CLIP (PROOF and later), in its class order.

That literature samples subsets of some of them (100 of 196 cars, 300 of 397 scenes, 200 of 313 objects). Their archives have no
lists of images, so here all classes arrive.
"""


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of one dataset in steps.

    The dataset is a name in `DATASETS` or `CLIP_DATASETS` (full edition), a mini domain (default: nature) or the user's data.
    `steps` counts the steps after a first step of `base` classes, or all steps if base is 0. Tasks are called step-1, step-2,
    and so on. If the classes do not divide evenly, the first steps have one class more. The default order is the paper's class
    order, or the dataset's. "seed:N" is a seeded order, and a custom order lists all class names. A `base` of "half" is half of
    the classes.

    Raises:
        UserError: for unknown names, and, when the data is read, for more steps than classes.
    """
    ask.refuse("cil", "tasks")
    name = ask.dataset or MINI_DATASET
    if ask.edition == "full" and ask.dataset is None:
        raise UserError(f"bench cil --edition full needs --dataset: {', '.join([*DATASETS, *CLIP_DATASETS])}, or a folder.")
    protocols = {**DATASETS, **CLIP_DATASETS}
    # Two of them have the name of a held-out copy as well (`benchmarks.shifts`), which cannot be trained.
    source = find(name, "full" if name in CLIP_DATASETS and ask.edition is None else ask.edition, ask.data_root)
    if source.edition == "full" and name not in protocols:
        raise unknown("class-incremental dataset", name, protocols)
    source = source.with_files(ask.classnames, ask.templates)
    protocol = protocols[name] if source.edition == "full" else Steps()
    steps = protocol.steps if ask.steps is None else ask.steps
    base = protocol.base if ask.base is None else _base(ask.base, source)
    if steps < 1 or base < 0:
        raise UserError(f"--steps must be at least 1 and --base at least 0, not {steps} and {base}.")
    seed = order_seed(ask.order)
    order = None if ask.order is None or ask.order == "default" or seed is not None else split_names(ask.order)
    label = f"seed-{seed}" if seed is not None else "default" if order is None else "custom"
    seed = protocol.seed if label == "default" else seed
    names = tuple(f"step-{k + 1}" for k in range(steps + (base > 0)))
    heldout = held_out(ask, source.edition, [source.name], ())
    check_distinct([*names, source.name], [held.name for held in heldout])

    def build(progress: Progress | None, splits: Sequence[str], heldout_splits: Sequence[str] = ("test",)) -> Built:
        domain = source.build(splits or SPLITS, progress)
        differences = source.differences(domain)
        if protocol.template:
            domain = replace(domain, templates=(protocol.template,))
        sizes = step_sizes(len(domain.classnames), steps, base)
        domains = split_classes(domain, class_order(domain, order, name, seed), sizes)
        others = build_sources([], heldout, progress, splits, heldout_splits)
        return Built(domains, others.heldout, differences + others.differences)

    return StreamPlan(
        benchmark=f"cil-{_slug(source.name)}-{steps}" + (f"-base{base}" if base != protocol.base else ""),
        edition=source.edition,
        order=label,
        names=names,
        heldout=tuple(held.name for held in heldout),
        build=build,
        protocol=ask.protocol or "class",
        duplicates=ask.duplicates or "own",
        check=lambda: check_present([source, *heldout]),
        version=lambda: versions([source, *heldout], protocol.template, class_orders().get(name)),
        settings=settings.cil(name if source.edition == "full" else "", steps, base),
        tiny_settings=settings.mini("cil"),
        full_size=source.edition == "full",
        whole_train=source.edition == "full",
        reference=("conceptual_captions", "conceptual_captions") if source.edition == "full" else ("mini", "mini"),
        details={
            "dataset": source.name,
            "steps": steps,
            "base": base,
            "class_order": list(order) if order else None,
            "classnames": settings.content(ask.classnames),
            "templates": settings.content(ask.templates),
        },
        notes=(*filter(None, [protocol.note]), *shadows([*([source] if ask.dataset is not None else []), *heldout])),
    )


def step_sizes(classes: int, steps: int, base: int = 0) -> list[int]:
    """Return the number of classes per step: `base` first (unless 0), then the rest as evenly as possible.

    Larger steps come first. The sizes sum to `classes`, so no class is dropped.

    Raises:
        UserError: for more steps than classes.
    """
    rest = classes - base
    if rest < steps:
        first = f" after a first step of {base}" if base else ""
        remedy = f"use at most --steps {rest}" if rest > 0 else "use a smaller --base"
        raise UserError(f"{classes} classes cannot be split into {steps} steps{first}: {remedy}.")
    sizes = [rest // steps + (k < rest % steps) for k in range(steps)]
    return [base, *sizes] if base else sizes


def _base(base: int | str, source: Source) -> int:
    """Return the number of classes in the first step. Raises UserError for a text other than "half" or a number."""
    if isinstance(base, int):
        return base
    if base != "half":
        raise UserError(f"--base {base}: give a number of classes, or half.")
    if source.edition == "full":
        return DATASET_ENTRIES[source.name].classes // 2
    if source.edition == "mini":
        return len(MINI_ENTRIES[source.name].classnames) // 2
    raise UserError(f"--base half needs a dataset whose number of classes is known: give the number for {source.name}.")


def class_order(domain: Domain, order: Sequence[str] | None, dataset: str, seed: int | None = None) -> list[int]:
    """Return the class numbers in order of arrival.

    Args:
        domain: the dataset.
        order: the names of all classes. None: a rule.
        dataset: the name of the dataset, for the class orders of the papers.
        seed: seed of numpy's legacy permutation of all classes, as released code of class-incremental methods draws it.

    Raises:
        UserError: for an order that does not name each class once.
    """
    count = len(domain.classnames)
    if seed is not None:
        import numpy as np

        return [int(label) for label in np.random.RandomState(seed).permutation(count)]
    if order is None:
        published = class_orders().get(dataset)
        return list(published) if published is not None and len(published) == count else list(range(count))
    index = {unicodedata.normalize("NFC", name): label for label, name in enumerate(domain.classnames)}
    order = [unicodedata.normalize("NFC", name) for name in order]
    for name in order:
        if name not in index:
            raise unknown("class", name, index)
    if len(order) != count or len(set(order)) != count:
        raise UserError(f"--order must name each of the {count} classes of {domain.name!r} once, not {len(order)} names.")
    return [index[name] for name in order]


def split_classes(domain: Domain, order: Sequence[int], sizes: Sequence[int]) -> list[Domain]:
    """Return one domain per step, called step-1, step-2, ...: the images of its classes, labelled 0..c-1 in the given order.

    A step whose classes have no validation image has no validation split.

    Raises:
        UserError: for a step without training or test images.
    """
    from torch.utils.data import Subset

    from benchmarks.data.dataset import Relabelled, targets_of

    place = {label: position for position, label in enumerate(order)}
    starts = [sum(sizes[:k]) for k in range(len(sizes) + 1)]
    step_of = [k for k, size in enumerate(sizes) for _ in range(size)]
    indices: dict[str, list[list[int]]] = {}
    for split in SPLITS:
        dataset = getattr(domain, split)
        if dataset is None:
            continue
        indices[split] = [[] for _ in sizes]
        for i, target in enumerate(targets_of(dataset)):
            indices[split][step_of[place[target]]].append(i)
        if split != "val" and [] in indices[split]:
            empty = indices[split].index([])
            raise UserError(f"Step {empty + 1} of {domain.name!r} has no images in the {split} split.")
    steps = []
    for k, (start, end) in enumerate(pairwise(starts)):
        labels = {label: position - start for label, position in place.items() if start <= position < end}
        splits: dict[str, Any] = {split: None for split in SPLITS}
        for split in indices:
            if split == "val" and not indices[split][k]:
                continue
            splits[split] = Relabelled(Subset(getattr(domain, split), indices[split][k]), labels)
        names = tuple(domain.classnames[label] for label in order[start:end])
        steps.append(replace(domain, name=f"step-{k + 1}", part_of=domain.name, classnames=names, ood=None, **splits))
    return steps


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "data"
