"""`vqa`: visual question answering as multiple choice (PAINT, 2208.05592), with question and option as one prompt.

An image is classified among the options of its question only (`Domain.groups`), in training too.

Mini edition: rendered scenes (`benchmarks.cases.scenes`). The model is patched on questions on color, shape, count and
position. Targets are its test images by kind of question, wordings that were never trained, and things whose pair of color and
shape was never trained. Training has 400 updates at 3e-4. Of 150 and 400 updates at 3e-4 and 1e-3, and 400 at 1e-4, these had
the highest mean of validation accuracy on the task and on the supported tasks at the chosen alpha (paint-single, seed 0). The
other strategies have the same number of updates.

Full edition: VQA v2 with options of our choice (`benchmarks.cases.vqa_files`). Targets are its test questions by kind of
answer, and question types that were never trained. Supported task: ImageNet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import mini
from benchmarks.cases.case import Made, case_plan, edition_of
from benchmarks.cases.vqa_files import VQAQuestions
from benchmarks.data.progress import Progress
from benchmarks.plan import Ask, StreamPlan
from models.registry import UserError

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain

# The set of scenes and the kind of question of each target.
_TARGETS: dict[str, tuple[str, str | None]] = {
    "vqa-wordings": ("wordings", None),
    "vqa-combinations": ("combinations", None),
    "vqa-color": ("test", "color"),
    "vqa-shape": ("test", "shape"),
    "vqa-count": ("test", "count"),
    "vqa-position": ("test", "position"),
}
_MINI = {"finetune": {"iterations": 400, "warmup": 15}, "paint-single": {"validation_images": 400}}
_ANSWER_TYPES = {"vqa-yes-no": "yes/no", "vqa-number": "number", "vqa-other": "other"}
SUPPORTED = {"mini": mini.HELDOUT, "full": ("imagenet",)}


def stream(ask: Ask) -> StreamPlan:
    """Return the plan of the mini or full edition.

    Raises:
        UserError: for another edition or protocol, an order, or an unknown name.
    """
    edition = edition_of(ask, "vqa", SUPPORTED, "bench vqa has one task, so it takes no --order.")
    if ask.protocol not in (None, "task"):
        raise UserError(
            "bench vqa classifies an image among the options of its question, so other classes cannot compete. Leave out "
            "--protocol."
        )
    supported = SUPPORTED[edition]
    if edition == "mini":
        targets = [Made(name, partial(_target, name)) for name in _TARGETS]
        return case_plan(ask, "vqa", edition, [Made("vqa", _trained)], supported, targets, _MINI)
    task = VQAQuestions("vqa", ask.data_root)
    kinds = [VQAQuestions(name, ask.data_root, answer_type) for name, answer_type in _ANSWER_TYPES.items()]
    new_types = VQAQuestions("vqa-new-types", ask.data_root, new_types=True)
    plan = case_plan(ask, "vqa", edition, [task], supported, [new_types, *kinds])

    def check() -> None:
        task.check()
        plan.check()

    return replace(plan, check=check)


def _trained(splits: Sequence[str], progress: Progress | None) -> Domain:
    from benchmarks.cases import scenes

    # The classes are the questions of all splits, whichever are read.
    return scenes.domain("vqa", {split: (split, None) for split in ("train", "val", "test")})


def _target(name: str, splits: Sequence[str], progress: Progress | None) -> Domain:
    from benchmarks.cases import scenes

    return scenes.domain(name, {"test": _TARGETS[name]})
