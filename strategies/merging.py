"""Merging: fine-tune each task from the initial weights, merge the task vectors, search how far to go along the result.

The formulas are pure functions on task vectors (`models.merging`). Each class here says which of them to apply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.merging import (
    Vector,
    add,
    by_depth,
    dare,
    magmax,
    model_stock,
    norm,
    opcm,
    patched,
    scaled_to,
    task_vector,
    ties,
)
from models.setting import setting
from strategies.alpha_search import Point
from strategies.engine.batches import mixed_seed
from strategies.patching import Patching


class TaskArithmetic(Patching):
    """Task arithmetic: add up the task vectors and scale the sum by one number.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    phi_i is fine-tuned on task i from the initial weights theta_0. Row j of the matrix is

        theta_j = theta_0 + a sum_{i <= j} (phi_i - theta_0)

    This is `paint-parallel` with a shared alpha. Fine-tuning and search are as in `paint-sequential`. The task vectors are kept
    on the CPU.

    Source:
        Ilharco et al. 2023, arXiv 2212.04089. The paper, too, chooses a on validation data, of the trained tasks only.

    Differs from the released code:
        Not implemented: negation and analogies.

    Defaults:
        Those of `paint-sequential`: a on a grid of 21 in [0, 1].

    Command:
        `python cli.py bench mtil --strategy task-arithmetic`
    """

    restarts = True

    def before_run(self) -> None:
        """Start without task vectors."""
        super().before_run()
        self.vectors: list[Vector] = []

    def start_weights(self) -> Mapping[str, Tensor] | None:
        """Return the initial weights."""
        return self.initial

    def after_experience(self) -> None:
        """Keep the task vector, and move to the best point along the merged vectors so far."""
        super().after_experience()
        vector = task_vector(self.initial, self.weights())
        self.keep({name: tensor.cpu() for name, tensor in vector.items()})
        self.patch(self.initial, self.directions())

    def keep(self, vector: Vector) -> None:
        """Keep the task vector, on the CPU, for `directions`."""
        self.vectors.append(vector)

    def directions(self) -> list[Vector]:
        """Return the vectors along which alpha is searched. Here: the sum of the task vectors."""
        return [add(self.vectors)]

    def state(self) -> dict[str, Any]:
        """Return the task vectors."""
        return {**super().state(), "vectors": [*self.vectors]}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the task vectors."""
        super().load(state)
        self.vectors = [{name: tensor.cpu() for name, tensor in vector.items()} for vector in state["vectors"]]


class Ties(TaskArithmetic):
    """TIES: trim the task vectors, elect a sign for each value, and average the values that agree with it.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    theta_j = theta_0 + a ties(v_1, ..., v_j) with the task vectors v_i (`models.merging.ties`).

    Source:
        Yadav et al. 2023, arXiv 2306.01708, and its released code.

    Defaults:
        keep 0.2: the released code's 20 %. Alpha up to 1.5 in steps of 0.05: LiNeS's released code searches TIES up to 1.5. The
        rest as in `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy ties`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `ties`."""

        alphas: int = 31
        max_alpha: float = 1.5
        keep: float = setting(0.2, "share of the values of a task vector that the trim keeps", above=0, most=1)

    def directions(self) -> list[Vector]:
        """Return the merged vector."""
        return [ties(self.vectors, self.options.keep)]


class Dare(TaskArithmetic):
    """DARE: drop values of each task vector at random, rescale the others, then add up the vectors.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    theta_j = theta_0 + a sum_{i <= j} dare(v_i) with the task vectors v_i (`models.merging.dare`). A task's mask depends on the
    seed and on its place in the stream, so it is the same in every row.

    Source:
        Yu et al. 2024, arXiv 2311.03099, and its released code.

    Differs from the released code:
        Not implemented: its other merges (TIES) and its masks by magnitude.

    Defaults:
        drop 0.9 is our choice: the paper shows that 90 % and more can be dropped. The rest as in `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy dare`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `dare`."""

        drop: float = setting(0.9, "probability of dropping a value of a task vector", least=0, below=1)

    def directions(self) -> list[Vector]:
        """Return the sum of the vectors that are left."""
        generators = [torch.Generator().manual_seed(mixed_seed(self.seed, i)) for i in range(len(self.vectors))]
        drop = self.options.drop
        return [add([dare(vector, drop, g) for vector, g in zip(self.vectors, generators, strict=True)])]


class ModelStock(TaskArithmetic):
    """Model Stock: interpolate tensor by tensor, by a ratio that follows from the angle between the task vectors.

    theta_j = theta_0 + model_stock(v_1, ..., v_j) with the task vectors v_i (`models.merging.model_stock`). Alpha is 1, so the
    method uses no validation image. `alpha=none` searches alpha.

    Source:
        Jang et al. 2024, arXiv 2403.19522. The formula is that of mergekit.

    Differs from the released code:
        The paper merges models of one task; here they are of different tasks.
        Not implemented: merging during training.

    Defaults:
        alpha 1. The rest as in `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy model-stock`
    """

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `model-stock`."""

        alpha: float | None = 1.0

    def directions(self) -> list[Vector]:
        """Return the merged vector."""
        return [model_stock(self.vectors)]


class Lines(TaskArithmetic):
    """LiNeS: go further along the sum of the task vectors in deeper blocks.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    Block l of L moves by 1 / K + a l / (L - 1) along the sum, K the number of tasks. Parameters outside the blocks move by
    1 / K. a is searched; a fixed `alpha` is that a.

    Source:
        Wang et al. 2024, arXiv 2410.17146: the released code's setting for several tasks. Its ratio of norms in the first term
        is 1 for a sum.

    Differs from the released code:
        Not implemented: LiNeS on TIES or consensus merging, and its setting for a single fine-tuned model.

    Defaults:
        Those of `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy lines`
    """

    def directions(self) -> list[Vector]:
        """Return the sum of the task vectors, and the sum scaled by depth."""
        total = add(self.vectors)
        return [total, by_depth(total)]

    def grid(self, count: int) -> list[Point]:
        """Return the points (1 / K, a)."""
        return [(1 / len(self.vectors), a) for (a,) in super().grid(1)]


class MagMax(TaskArithmetic):
    """MagMax: fine-tune in sequence, and keep of each value the task vector with the largest magnitude.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    theta_j = theta_0 + a magmax(v_1, ..., v_j) with the task vectors v_i (`models.merging.magmax`). Task t is fine-tuned from
    the unmerged weights of task t - 1, and each vector is taken from the initial weights. The weights to continue from are the
    initial weights plus the last vector, exact up to the rounding of a sum.

    Source:
        Marczak et al. 2024, arXiv 2407.06322, and its released code.

    Differs from the released code:
        It fixes a at 0.5 (`alpha=0.5`); here a is searched.

    Defaults:
        Those of `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy magmax`
    """

    def start_weights(self) -> Mapping[str, Tensor] | None:
        """Return the fine-tuned weights of the last task."""
        return patched(self.initial, self.vectors[-1:], [1.0]) if self.vectors else self.initial

    def directions(self) -> list[Vector]:
        """Return the merged vector."""
        return [magmax(self.vectors)]


class OPCM(TaskArithmetic):
    """OPCM: add each task vector without its part in the subspace of the earlier ones, at the mean length of the vectors.

    Only the sum and one number per task are kept, whatever the number of tasks. Alpha is 1, so the method uses no validation
    image. `alpha=none` searches alpha along the result.

    s_1 = v_1 and s_j = s_{j-1} + P_{j-1}(v_j) with the task vectors v_i, where P_{j-1} removes from each matrix of v_j what
    lies along the leading singular vectors of the same matrix of s_{j-1} (`models.merging.opcm`). Row j of the matrix is

        theta_j = theta_0 + (mean_{i <= j} |v_i|) s_j / |s_j|

    Source:
        Tang et al. 2025, arXiv 2501.09522, and its released code.

    Differs from the released code:
        The tasks come in the order of the stream, not in a random one.
        The output projection of the image tower is trained here and added like a bias. The released code merges towers without
        it.

    Defaults:
        subspace 0.5, alpha 1: the released code's. Fine-tuning is as in `task-arithmetic`.

    Command:
        `python cli.py bench mtil --strategy opcm`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `opcm`."""

        alpha: float | None = 1.0
        subspace: float = setting(
            0.5,
            "share of the sum of the singular values of the earlier tasks' change that spans the subspace",
            least=0,
            below=1,
        )

    def before_run(self) -> None:
        """Start without a sum."""
        super().before_run()
        self.total: Vector = {}
        self.norms: list[float] = []

    def keep(self, vector: Vector) -> None:
        """Add the part of the task vector outside the subspace to the sum."""
        self.total = opcm(self.total, vector, self.options.subspace)
        self.norms.append(norm(vector))

    def directions(self) -> list[Vector]:
        """Return the sum, scaled to the mean norm of the task vectors."""
        return [scaled_to(self.total, sum(self.norms) / len(self.norms))]

    def state(self) -> dict[str, Any]:
        """Return the sum and the norms."""
        return {**super().state(), "total": {**self.total}, "norms": [*self.norms]}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the sum and the norms."""
        super().load(state)
        self.total, self.norms = {name: tensor.cpu() for name, tensor in state["total"].items()}, [*state["norms"]]
