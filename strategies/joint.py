"""Joint training: all tasks so far together, from the initial weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.setting import setting
from strategies.engine.joint_batches import JointTraining


class Joint(JointTraining):
    """Joint training on all tasks so far, as a reference. It needs the data of all tasks at once: not a continual method.

    Row j of the matrix is the model of the first j tasks, each time trained from the initial weights. Batches come from the
    tasks in turn, each scored among its own task's class prompts. Everything else is as in `finetune`.

    `joint_budget` is the number of updates of row j: those of its last task ("task") or of all its tasks together ("sum"). The
    mini edition uses "task", with which the last rows are under-trained. With "sum" the method is a reference for methods that
    train shared towers. All tasks have one learning rate: `lr_by_task`, if set, is looked up for the last task.

    Source:
        Our choice: no paper has this method's protocol.

    Defaults:
        joint_budget "sum" is our choice. The rest as in `finetune`.

    Command:
        `python cli.py bench mtil --strategy joint`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(JointTraining.Options):
        """Options of `joint`."""

        joint_budget: Literal["task", "sum"] = setting(
            "sum", "updates of a row: those of its last task or of all its tasks together"
        )
