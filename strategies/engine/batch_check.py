"""Check whether the answers of a trained method depend on the other test images of their batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.scenario import DomainExperience
from metrics.batch_dependence import ROUNDING, Changes, changed_answers
from strategies.engine.mixed_evaluation import Batches, MixedEvaluation, mixed_batches, mixed_tasks, separate_batches

SINGLE_IMAGES = 64
"""Images per test set that are also classified one by one."""


def check_batches(strategy: MixedEvaluation, experiences: Sequence[DomainExperience]) -> dict[str, Any]:
    """Classify test images in batches of other sizes and orders, and count the answers that change.

    Args:
        strategy: the trained method. Its features of a frozen image tower are computed again.
        experiences: the test experiences. Tasks whose classes compete share batches, as in an evaluation.

    Returns:
        `images`, and for each kind of batches in `passes` the images in it, `changed` answers, and `dependent` answers, whose
        change rounding does not explain (`metrics.batch_dependence`). `dependent` is the largest of these counts.
    """
    together = mixed_tasks(experiences)
    groups = [together, *([e] for e in experiences if e not in together)] if together else [[e] for e in experiences]
    rounding = ROUNDING.get(strategy.encoder.precision, max(ROUNDING.values()))
    passes: dict[str, Changes] = {}
    for group in groups:
        sizes = [len(experience.dataset) for experience in group]
        usual = strategy.logits_of(group, mixed_batches(sizes, strategy.eval_mb_size), keep=False)
        for kind, batches in other_batches(sizes, strategy.eval_mb_size):
            rows = np.concatenate([np.asarray(batch) for batch in batches])
            other = strategy.logits_of(group, batches, keep=False)
            for offset, one, two in zip(np.cumsum([0, *sizes[:-1]]), usual, other, strict=True):
                chosen = np.sort(rows[(rows >= offset) & (rows < offset + len(one))] - offset)
                changes = changed_answers(one[chosen.tolist()], two[chosen.tolist()], rounding)
                passes[kind] = passes.get(kind, Changes(0, 0, 0)) + changes
    return {
        "images": sum(len(experience.dataset) for experience in experiences),
        "dependent": max(changes.dependent for changes in passes.values()),
        "passes": [{"batches": kind, **changes._asdict()} for kind, changes in passes.items()],
    }


def other_batches(sizes: Sequence[int], batch_size: int) -> Iterator[tuple[str, Batches]]:
    """Yield batches of the same images in other sizes and orders than those of an evaluation, each with its name.

    Args:
        sizes: number of images of each test set.
        batch_size: images per batch of an evaluation.
    """
    yield "other sizes and order", mixed_batches(sizes, max(1, min(batch_size, sum(sizes)) * 3 // 8), seed=1)
    if len(sizes) > 1:
        yield "one task per batch", separate_batches(sizes, batch_size, seed=2)
    offsets = np.cumsum([0, *sizes[:-1]])
    yield "single images", [[int(o + i)] for o, n in zip(offsets, sizes, strict=True) for i in range(min(n, SINGLE_IMAGES))]
