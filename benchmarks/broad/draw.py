"""Draw the tasks of the suite `broad`: the images of all classes and splits from one function per task.

A task's function is called as function(label, rng, other_style) and returns one picture, uint8 [3, 48, 48]. `other_style` is
True for the out-of-distribution set. Each class of each split has a separate generator, seeded by the names of task, split and
class.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.broad.task import Task
from benchmarks.broad.task_table import SUITE
from benchmarks.data.progress import Progress
from benchmarks.mini.cache import Arrays
from benchmarks.mini.render import distinct, generator

GENERATOR_VERSION = 1
"""Increase it whenever a drawing changes: cached images of another version are not used."""

Draw = Callable[[int, np.random.Generator, bool], np.ndarray]


def function(task: Task) -> Draw:
    """Return the function that draws the pictures of a task."""
    module, name = task.drawn_by.split(":")
    found: Draw = getattr(importlib.import_module(f"benchmarks.broad.{module}"), name)
    return found


def class_counts(classes: int, total: int, skew: float = 0.0) -> list[int]:
    """Return how many of `total` images each class has: in proportion to (k + 1) ** -skew, and at least one.

    The largest remainders are rounded up, so that the counts add up to `total`.

    Raises:
        ValueError: if there are fewer images than classes.
    """
    if total < classes:
        raise ValueError(f"{total} images for {classes} classes; every class needs one")
    weights = (np.arange(classes) + 1.0) ** -skew
    exact = 1 + (total - classes) * weights / weights.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - counts.sum()]] += 1
    return [int(count) for count in counts]


def draw(name: str, task: Task, progress: Progress | None = None) -> Arrays:
    """Draw a task: `<split>_images` uint8 [N, 3, 48, 48] and `<split>_labels` int64 [N]. No picture occurs twice.

    Args:
        name: the task's name, which seeds the generators.
        task: its row.
        progress: called as progress(done, total, what).
    """
    picture, arrays, seen = function(task), dict[str, np.ndarray](), set[bytes]()
    done, total = 0, len(task.size_of) * len(task.classnames)
    for split, size in task.size_of.items():
        classes = []
        for label, count in enumerate(class_counts(len(task.classnames), size, task.skew)):
            if progress is not None:
                progress(done, total, f"drawing {name} ({split})")
            rng = generator(SUITE, name, split, task.classnames[label])
            classes.append(distinct(partial(_one, picture, label, rng, split == "ood"), count, seen))
            done += 1
        labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in classes])
        order = generator(SUITE, name, split).permutation(len(labels))
        arrays[f"{split}_images"] = np.concatenate([np.stack(pictures) for pictures in classes])[order]
        arrays[f"{split}_labels"] = labels.astype(np.int64)[order]
    if progress is not None:
        progress(total, total, f"drew {name}")
    return arrays


def _one(picture: Draw, label: int, rng: np.random.Generator, other_style: bool, _index: int) -> np.ndarray:
    return picture(label, rng, other_style)
