"""iCaRL: distil on a herded memory of earlier tasks' images."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from benchmarks.data.sampling import permutation
from benchmarks.reference import FileImages
from models.setting import setting
from strategies.distillation import Distillation
from strategies.engine.batches import mixed_seed
from strategies.teacher_outputs import Images


class ICaRL(Distillation):
    """iCaRL for CLIP: distil a teacher on a memory of earlier tasks' images against the current class names.

    From the second task on, V are the unit features of images from the memory, R the teacher's features of the current task's
    class names, Z = exp(logit_scale) * V R^T, and D is `distillation_loss`:

        loss = cross-entropy + image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T)

    The memory's images have the evaluation transform and take no part in the cross-entropy.

    After each task exemplars are herded from its training images, on the features of the model just trained and towards the
    mean of the task, not of each class. Let K be `memory` and t the number of tasks so far, the new one included. Each earlier
    task is cut to its first K // t images. `memory_rule` decides the rest:

    - "budget" (our reading): all tasks together keep K images, so the new task gets what the earlier ones leave free. It is
      herded from a seeded choice of `candidates` of its images.
    - "released" (ZSCL's released MTIL code): the new task gets K - K // t images whatever the earlier ones hold, so the memory
      grows past K: in the full edition 16,732 images after Food in Order I, 8,572 of them from Food, and 18,181 after SUN397.
      It is herded from its first `candidates` images in file order. Each herding step removes a row from the features but
      looks the index of the next choice up in the whole list, so other images than the chosen ones are kept, some of them
      twice. The first task is not herded: its first K images in file order are kept.

    `teacher` is "zero-shot", the initial model (the default of the released MTIL code), or "previous", the model at the start
    of the task (the intention of its class-incremental code).

    Source:
        Rebuffi et al. 2017, arXiv 1611.07725, as the baseline of ZSCL's released code (2303.06628).

    Differs from the released code:
        Its script leaves out the flags that add the two distillation losses, so that its memory has no effect. Here both
        weights are 1, as in ZSCL's script.
        The memory is used in shuffled order, there in the order in which it was filled. In class-incremental benchmarks it is
        filled after a step, there before it and with the first step herded too.
        memory_rule=budget, the default, differs as described above.
        Not implemented: iCaRL's classification by the nearest mean of exemplars. Classification is CLIP's, by prompts.

    Defaults:
        From the released MTIL code: memory 10,000, candidates 30,000, temperature 2, as many memory images per update as in a
        batch. From its class-incremental code, in those benchmarks: memory 5,000, candidates 10,000, memory_batch 64.

    Command:
        `python cli.py bench mtil --strategy icarl`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Distillation.Options):
        """Options of `icarl`."""

        memory: int = setting(10_000, "images that all earlier tasks together keep", least=1)
        memory_rule: Literal["budget", "released"] = setting(
            "budget", "released: fill the memory as ZSCL's released MTIL code does, past its size", usual="budget"
        )
        candidates: int = setting(30_000, "most images of a task that exemplars are herded from", least=1, usual=30_000)
        memory_batch: int = setting(0, "memory images per update; 0: as many as in a batch", least=0, usual=0)
        negatives: Literal["none", "previous"] = "none"

    def before_run(self) -> None:
        """Start with an empty memory: indices of exemplars by task name."""
        self.memory: dict[str, list[int]] = {}
        super().before_run()

    def sources(self) -> tuple[str, str]:
        """Return the memory and the current class names."""
        return "memory", "classnames"

    def from_run(self) -> tuple[bool, bool]:
        """Return that neither images nor sentences come with the run."""
        return False, False

    @property
    def reference_size(self) -> int:
        """Memory images per update."""
        return self.options.memory_batch or super().reference_size

    def task_images(self, word: str) -> Images:
        """Return the images of the memory, in the order of the tasks."""
        train_splits: dict[str, Any] = {e.domain.name: e.domain.train for e in self.experiences}
        exemplars = [Subset(train_splits[name], indices) for name, indices in self.memory.items()]
        return FileImages(ConcatDataset(exemplars), self.encoder.preprocess) if exemplars else torch.empty(0)

    def after_experience(self) -> None:
        """Cut the earlier tasks' exemplars and herd those of the current task."""
        super().after_experience()
        domain = self.experience.domain
        images: Any = domain.train
        earlier = {name: indices for name, indices in self.memory.items() if name != domain.name}
        size, share = self.options.memory, self.options.memory // (len(earlier) + 1)
        self.memory = reduced(earlier, share)
        if self.options.memory_rule == "released":
            candidates = list(range(len(images)))[: self.options.candidates]
            chosen = (
                shrunk_indices(herd(self.task_features(candidates).features, size - share)) if earlier else candidates[:size]
            )
        else:
            seed = mixed_seed(self.seed, self.experience.current_experience, 4)
            candidates = sorted(permutation(len(images), seed)[: self.options.candidates])
            chosen = herd(self.task_features(candidates).features, size - sum(map(len, self.memory.values())))
        self.memory[domain.name] = [candidates[i] for i in chosen]

    def state(self) -> dict[str, Any]:
        """Return the memory."""
        return {**super().state(), "memory": self.memory}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the memory."""
        super().load(state)
        self.memory = {name: list(indices) for name, indices in state["memory"].items()}


def herd(features: Tensor, count: int) -> list[int]:
    """Choose rows by herding (Rebuffi et al. 2017, algorithm 4): O(count n d), in float64.

    Each step takes the row that brings the mean of the rows taken so far closest to the mean of all rows. Ties go to the
    smaller index. The first k indices are the result for a count of k.

    Args:
        features: rows [n, d].
        count: number of rows to take; at most n are taken.

    Returns:
        Indices in the order in which they were taken.
    """
    rows = features.double()
    mean, squares = rows.mean(dim=0), rows.square().sum(dim=1)
    total, taken = torch.zeros_like(mean), []
    excluded = torch.zeros(len(rows), dtype=rows.dtype, device=rows.device)
    for k in range(1, min(count, len(rows)) + 1):
        # |k mean - total - row|^2 without the terms that are the same for all rows.
        score = squares - 2 * (rows @ (k * mean - total)) + excluded
        best = score.argmin()
        total = total + rows[best]
        excluded[best] = torch.inf
        taken.append(best)
    return torch.stack(taken).tolist() if taken else []


def shrunk_indices(rows: Sequence[int]) -> list[int]:
    """Return the index that each row has after the rows before it in the sequence are deleted from the array.

    ZSCL's released code reads these indices as positions in the whole array, with memory_rule=released as here.

    Example:
        >>> shrunk_indices([2, 3, 1])
        [2, 2, 1]
    """
    deleted: list[int] = []
    indices = []
    for row in rows:
        indices.append(row - bisect_left(deleted, row))
        insort(deleted, row)
    return indices


def reduced(memory: Mapping[str, list[int]], count: int) -> dict[str, list[int]]:
    """Return the memory with only the first `count` exemplars of each task."""
    return {name: indices[:count] for name, indices in memory.items()}
