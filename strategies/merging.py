"""Merging methods after PAINT: fine-tune each task, merge the task vectors, search how far to go along the merged one."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from models.merging import Vector, add, by_depth, dare, magmax, model_stock, patched, ties
from strategies.alpha_search import Point
from strategies.engine.batches import mixed_seed
from strategies.paint import Patching, TaskVectors


class TaskArithmetic(TaskVectors):
    """Task arithmetic (Ilharco et al. 2023, 2212.04089): theta = theta_0 + a sum_i (phi_i - theta_0), i <= j in row j.

    The same as paint-parallel with a shared alpha. Fine-tuning and search as in paint-sequential, alpha on a grid of 21 in
    [0, 1]; the paper too chooses it on validation data (of the trained tasks alone). Negation and analogies are left out.

    Command: `python cli.py bench mtil --strategy task-arithmetic`.
    Expected, mini edition, Order I, seed 0: Transfer 64.1, Average 60.7, Last 62.9.
    """

    def merged(self) -> list[Vector]:
        """The vectors to go along: here their sum."""
        return [add(self.vectors)]

    def combine(self) -> None:
        self.patch(self.initial, self.merged())


class Ties(TaskArithmetic):
    """TIES (Yadav et al. 2023, 2306.01708): trim, elect signs, mean of those that agree (`models.merging.ties`).

    `keep` 0.2 is the released code's 20 %. Alpha up to 1.5 in steps of 0.05 (LiNeS's released code searches TIES up to 1.5).

    Command: `python cli.py bench mtil --strategy ties`.
    Expected, mini edition, Order I, seed 0: Transfer 59.3, Average 59.2, Last 62.5.
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        alphas: int = 31
        max_alpha: float = 1.5
        keep: float = 0.2

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 < self.keep <= 1:
                raise ValueError(f"keep must be in (0, 1], got {self.keep}")

    def merged(self) -> list[Vector]:
        return [ties(self.vectors, self.options.keep)]


class Dare(TaskArithmetic):
    """DARE (Yu et al. 2024, 2311.03099) with task arithmetic: each vector's values are dropped at random, the rest rescaled.

    A task's mask depends on the seed and its place in the stream, so it is the same in every row. `drop` 0.9 is our choice: the
    paper shows that 90 % and more can be dropped. The released code's other merges (TIES) and its magnitude masks are left out.

    Command: `python cli.py bench mtil --strategy dare`.
    Expected, mini edition, Order I, seed 0: Transfer 62.6, Average 60.5, Last 62.9.
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        drop: float = 0.9

        def __post_init__(self) -> None:
            super().__post_init__()
            if not 0 <= self.drop < 1:
                raise ValueError(f"drop must be in [0, 1), got {self.drop}")

    def merged(self) -> list[Vector]:
        generators = [torch.Generator().manual_seed(mixed_seed(self.seed, i)) for i in range(len(self.vectors))]
        drop = self.options.drop
        return [add([dare(vector, drop, g) for vector, g in zip(self.vectors, generators, strict=True)])]


class ModelStock(TaskArithmetic):
    """Model Stock (Jang et al. 2024, 2403.19522): how far to go follows from the angle between the vectors, tensor by tensor.

    No validation image is looked at: alpha is 1, unless it is searched (`alpha=none`). The paper merges models of one task;
    here they are of different tasks. Not implemented: merging during training.

    Command: `python cli.py bench mtil --strategy model-stock`.
    Expected, mini edition, Order I, seed 0: Transfer 59.6, Average 57.9, Last 60.4.
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        alpha: float | None = 1.0

    def merged(self) -> list[Vector]:
        return [model_stock(self.vectors)]


class Lines(TaskArithmetic):
    """LiNeS (Wang et al. 2024, 2410.17146) on task arithmetic: deeper blocks go further along the sum S of the vectors.

    Block l of L goes by 1 / K + a l / (L - 1), K the number of tasks, other parameters by 1 / K; a is searched (the released
    code's setting for several tasks; its ratio of norms in the first term is 1 for a sum). A fixed `alpha` is that a.
    Not implemented: LiNeS on TIES or consensus merging, and its other setting for a single fine-tuned model.

    Command: `python cli.py bench mtil --strategy lines`.
    Expected, mini edition, Order I, seed 0: Transfer 56.5, Average 58.5, Last 63.1.
    """

    def merged(self) -> list[Vector]:
        total = add(self.vectors)
        return [total, by_depth(total)]

    def grid(self, count: int) -> list[Point]:
        return [(1 / len(self.vectors), a) for (a,) in super().grid(1)]


class MagMax(TaskArithmetic):
    """MagMax (Marczak et al. 2024, 2407.06322): fine-tune in sequence, merge by the largest magnitude.

    Task t is fine-tuned from the fine-tuned, unmerged weights of task t - 1; each vector is taken from the initial weights, and
    of each value the vector with the largest magnitude is kept. Alpha is searched; the released code fixes it at 0.5
    (`alpha=0.5`). The weights to go on from are initial weights plus last vector, exact up to the rounding of a sum.

    Command: `python cli.py bench mtil --strategy magmax`.
    Expected, mini edition, Order I, seed 0: Transfer 63.7, Average 61.0, Last 62.5.
    """

    def before_experience(self) -> None:
        super().before_experience()
        if self.vectors:
            self.set_weights(patched(self.initial, self.vectors[-1:], [1.0]))

    def merged(self) -> list[Vector]:
        return [magmax(self.vectors)]
