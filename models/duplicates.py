"""Classes that two competing tasks share: which answers count as right (`benchmarks.plan.DUPLICATES`)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from models.prompt_reader import Prompted, PromptReader

# Lower than any logit, so that it never wins an argmax.
LOWEST = torch.finfo(torch.float32).min


class Duplicates(NamedTuple):
    """The columns of a task's logits that are the same class twice.

    Attributes:
        own: columns of the image's task [P].
        other: columns of other tasks with the same class [P].
        earlier: whether the other task comes before the image's, bool [P].
    """

    own: Tensor
    other: Tensor
    earlier: Tensor


def class_keys(prompts: Prompted, reader: PromptReader, rule: str) -> list[Hashable]:
    """Return a key per class of a task: by the rule "merge" its name, otherwise its prompts as the model reads them.

    Names are compared without differences of case, "_", "-" and blanks.
    """
    if rule == "merge":
        return [" ".join(name.casefold().replace("_", " ").replace("-", " ").split()) for name in prompts.classnames]
    return [(tuple(prompts.templates), key) for key in reader.keys(prompts)]


def duplicates(columns: Sequence[tuple[int, list[int]]], keys: Mapping[int, Sequence[Hashable]]) -> Duplicates:
    """Return the pairs of columns of one class.

    Args:
        columns: the columns of an image's logits in order, as tasks with the labels of their classes. Its own task is first.
        keys: a key per class of each task. Classes with equal keys are one class.
    """
    (task, labels), *others = columns
    place: dict[Hashable, list[int]] = {}
    for column, label in enumerate(labels):
        place.setdefault(keys[task][label], []).append(column)
    pairs, start = [], len(labels)
    for other, rows in others:
        for column, label in enumerate(rows, start):
            pairs += [(own, column, other < task) for own in place.get(keys[other][label], ())]
        start += len(rows)
    table = torch.tensor(pairs, dtype=torch.long).reshape(-1, 3)
    return Duplicates(table[:, 0], table[:, 1], table[:, 2].bool())


def merged(logits: Tensor, same: Duplicates) -> Tensor:
    """Return logits in which the columns of one class are one: the image's own column gets the largest of their logits.

    Args:
        logits: [B, C].
        same: the columns of one class.
    """
    index = same.own.expand(len(logits), -1)
    largest = logits.scatter_reduce(1, index, logits[:, same.other], "amax")
    return largest.index_fill(1, same.other, LOWEST)


def first_of(logits: Tensor, same: Duplicates, tied: bool) -> Tensor:
    """Return logits in which the first of several equal columns wins, in the order of the tasks.

    An image whose class an earlier task has too is then never classified correctly by prompts, because both columns are equal.

    Args:
        logits: [B, C].
        same: the columns of one class.
        tied: the columns of one class are equal up to rounding, as those of prompts are. Otherwise they tie if they are equal.
    """
    own, other = logits[:, same.own], logits[:, same.other]
    own_loses = same.earlier & (tied | (other >= own))
    other_loses = ~same.earlier & (tied | (own >= other))
    result = logits.scatter_reduce(1, same.own.expand(len(logits), -1), own.masked_fill(own_loses, LOWEST), "amin")
    return result.scatter_reduce(1, same.other.expand(len(logits), -1), other.masked_fill(other_loses, LOWEST), "amin")
