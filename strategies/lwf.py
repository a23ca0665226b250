"""LwF and LwF-VR: keep the previous model's outputs on the images of the current task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strategies.distillation import Distillation


class LwF(Distillation):
    """Learning without forgetting (Li and Hoiem 2016, 1606.09282) for CLIP, as ZSCL's baseline does it (2303.06628).

    The teacher is the model at the start of the task (for the first one the initial model). It is distilled on images of the
    current task, against the current task's class names in their first template, with ZSCL's image and text loss
    (`strategies.distillation`); in class-incremental benchmarks the class names are those of the step.

    reference_images: "current", drawn apart from the batch and with the evaluation transform, as in the released script;
    "batch", the batch itself, which costs a teacher's pass in each step and spares the student one. reference_sentences:
    "classnames", or "random" (`LwFVR`).

    What differs from the released code: the order in which images are drawn; in its class-incremental code they are augmented,
    and its teacher moves with the student.

    Defaults and their source (the released script): both losses 1, temperature 2, as many reference images as in a batch.
    Command: `python cli.py bench mtil --strategy lwf`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 64.2 to 65.0, Average 61.0 to 61.7, Last 66.1 to 67.3.
    """

    @dataclass(frozen=True)
    class Options(Distillation.Options):
        teacher: Literal["zero-shot", "previous", "wise"] = "previous"
        negatives: Literal["none", "previous"] = "none"
        reference_images: Literal["current", "batch", "noise"] = "current"
        reference_sentences: Literal["classnames", "random"] = "classnames"


class LwFVR(LwF):
    """LwF-VR (Ding et al. 2022, 2207.09248), as ZSCL's baseline does it (2303.06628): LwF against random sentences.

    The sentences are 1,000 times 10 uniformly random tokens between start and end, drawn anew (and seeded) for each task.
    Everything else is `LwF`. Command: `python cli.py bench mtil --strategy lwf-vr`.
    Expected, mini edition, Order I, seed 0: Transfer 65.3, Average 62.8, Last 68.7.
    """

    @dataclass(frozen=True)
    class Options(LwF.Options):
        reference_sentences: Literal["classnames", "random"] = "random"
