"""PAINT: patching of single tasks, and of several with sequential, joint and parallel fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from benchmarks.scenario import DomainExperience
from models.merging import Vector, task_vector
from models.setting import setting
from strategies.engine.joint_batches import JointTraining
from strategies.merging import TaskArithmetic
from strategies.patching import Patching


class PaintSingle(Patching):
    """PAINT on single tasks: each task is patched separately, always from the initial weights.

    phi_t is fine-tuned on task t from the initial weights theta_0. Row t of the matrix is

        theta_t = (1 - a_t) theta_0 + a_t phi_t

    a_t is searched on the validation images of task t and of the held-out domains (supported tasks). There is no chain of
    models: row t knows nothing of the other tasks, so its other cells show what patching on task t does to them (PAINT's broad
    transfer). Everything else is as in `paint-sequential`.

    Source:
        Ilharco et al. 2022, arXiv 2208.05592: the experiments with a single patching task, and its released code.

    Differs from the released code:
        The decay of the learning rate reaches 0 one step earlier. The released code has no search.

    Defaults:
        Those of `paint-sequential`.

    Command:
        `python cli.py bench paint --strategy paint-single`
    """

    restarts = True

    def start_weights(self) -> Mapping[str, Tensor] | None:
        """Return the initial weights."""
        return self.initial

    def after_experience(self) -> None:
        """Search how far to go from the initial weights to the fine-tuned ones."""
        super().after_experience()
        self.patch(self.initial, [task_vector(self.initial, self.weights())])

    def patching_tasks(self) -> list[DomainExperience]:
        """Return the current task only."""
        return [self.experience]


class PaintSequential(Patching):
    """PAINT, sequential patching: after each task go back part of the way to the weights before it.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    phi_t is fine-tuned from theta_{t-1} on task t:

        theta_t = (1 - a_t) theta_{t-1} + a_t phi_t

    a_t is searched on the validation images of the tasks so far and of the held-out domains (supported tasks). `rule` "mean"
    maximises the mean of patching and supported accuracy. "bounded" maximises patching accuracy where supported accuracy is at
    most `epsilon` points below the initial model's. The training data of earlier tasks is not used again.

    Source:
        Ilharco et al. 2022, arXiv 2208.05592, and its released code, which has no search and a single task.

    Differs from the released code:
        The decay of the learning rate reaches 0 one step earlier.
        Not implemented: several random orders in one run.

    Defaults:
        From the released code and from papers that follow PAINT: AdamW with weight decay 0.1, clipping at norm 1, 2,000
        iterations of 128 images at 1e-5 with 200 of warm-up. 21 alphas: the markers of the paper's figure. Equal weight of
        patching and supported tasks, and ties to the smaller alpha: our reading.

    Command:
        `python cli.py bench mtil --strategy paint-sequential`
    """

    def before_experience(self) -> None:
        """Keep the weights before the task."""
        super().before_experience()
        self.anchor = self.weights()

    def after_experience(self) -> None:
        """Search how far to go from the weights before the task to the fine-tuned ones."""
        super().after_experience()
        self.patch(self.anchor, [task_vector(self.anchor, self.weights())])

    def after_search(self, counts: dict[str, int]) -> None:
        """Keep the counts: the next search starts here, so its alpha = 0 is known."""
        self.validation_splits().known = counts


class PaintJoint(JointTraining, Patching):
    """PAINT, joint patching: one fine-tuning on all tasks so far, then one interpolation.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    phi_j is fine-tuned on the first j tasks together, from the initial weights theta_0:

        theta_j = (1 - a_j) theta_0 + a_j phi_j

    Row j of the matrix is theta_j. Batches come from the tasks in turn, each with its own frozen head. `joint_budget` is the
    number of updates of row j: those of its last task ("task") or of all its tasks ("sum"). Everything else is as in
    `paint-sequential`.

    Source:
        Ilharco et al. 2022, arXiv 2208.05592. Batches in turn: as papers that follow PAINT describe it.

    Defaults:
        Those of `paint-sequential`; joint_budget "sum", in the mini edition "task" except in `bench paint`.

    Command:
        `python cli.py bench mtil --strategy paint-joint`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `paint-joint`."""

        joint_budget: Literal["task", "sum"] = setting(
            "sum", "updates of a row: those of its last task or of all its tasks together"
        )

    def after_experience(self) -> None:
        """Search how far to go from the initial weights to the fine-tuned ones."""
        super().after_experience()
        self.patch(self.initial, [task_vector(self.initial, self.weights())])


class PaintParallel(TaskArithmetic):
    """PAINT, parallel patching: fine-tune each task from the initial weights, then add up the changes.

    Needs the validation images of all tasks so far and of the held-out domains. `alpha=VALUE` skips the search and needs none.

    phi_i is fine-tuned on task i from the initial weights theta_0. No two tasks' data is needed at once. Row j of the matrix is

        theta_j = theta_0 + sum_{i <= j} a_i (phi_i - theta_0)

    `search` "shared" takes one alpha for all tasks, which is `task-arithmetic`. "vector" takes one per task, found by
    `evaluations` more points around the best shared one (`alpha_search.refine`). The sum of the alphas is not bounded.
    Everything else is as in `paint-sequential`.

    Source:
        Ilharco et al. 2022, arXiv 2208.05592.

    Defaults:
        Those of `paint-sequential`. 50 evaluations are our choice.

    Command:
        `python cli.py bench mtil --strategy paint-parallel`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Patching.Options):
        """Options of `paint-parallel`."""

        search: Literal["shared", "vector"] = setting("shared", "one alpha for all tasks, or one per task")
        evaluations: int = setting(50, "further points of the search for one alpha per task", least=1)

    @property
    def refinements(self) -> int:
        """`evaluations` for one alpha per task, 0 for a shared one."""
        return self.options.evaluations if self.options.search == "vector" else 0

    def directions(self) -> list[Vector]:
        """Return the task vectors."""
        return self.vectors
