"""LwF and LwF-VR: keep the previous model's outputs on the images of the current task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.setting import setting
from strategies.distillation import Distillation


class LwF(Distillation):
    """LwF for CLIP: distil the model at the start of the task on the task's images and class names.

    The loss is ZSCL's without L2, with another teacher and other reference data. V are the unit features of reference images,
    R the teacher's features of the reference sentences, Z = exp(logit_scale) * V R^T, and D is `distillation_loss`:

        loss = cross-entropy + image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T)

    The teacher is the model at the start of the task, which is the initial model in the first task. The sentences are the
    current task's class names in their first template; in class-incremental benchmarks they are those of the step.

    `reference_images` is "current", training images of the task drawn separately from the batch, with the evaluation transform;
    "batch", the batch itself, which costs one pass of the teacher per step and saves one of the student; or "noise".
    `reference_sentences` is "classnames", or "random" as in `lwf-vr`.

    Source:
        Li and Hoiem 2016, arXiv 1606.09282, as the baseline of ZSCL's released code (2303.06628).

    Differs from the released code:
        The images are drawn in another order. Its class-incremental code augments them, and its teacher there shares tensors
        with the student, so it changes during the task. Here the teacher is fixed during a task.

    Defaults:
        From the released script: both losses 1, temperature 2, as many reference images per step as in a batch.

    Command:
        `python cli.py bench mtil --strategy lwf`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Distillation.Options):
        """Options of `lwf`."""

        teacher: Literal["zero-shot", "previous", "wise"] = "previous"
        negatives: Literal["none", "previous"] = "none"
        reference_images: Literal["current", "batch", "noise"] = setting(
            "current", "separately drawn training images of the task, the batch itself, or noise"
        )
        reference_sentences: Literal["classnames", "random"] = setting(
            "classnames", "class names of the task in its first template, or random tokens"
        )

    def sources(self) -> tuple[str, str]:
        """Return `reference_images` and `reference_sentences`."""
        return self.options.reference_images, self.options.reference_sentences


class LwFVR(LwF):
    """LwF-VR: LwF with random sentences in place of class names.

    The sentences are 1,000 times 10 uniformly random tokens between the start and end tokens, drawn again for each task by
    seed. Everything else is as in `lwf`.

    Source:
        Ding et al. 2022, arXiv 2207.09248, as the baseline of ZSCL's released code (2303.06628).

    Defaults:
        Those of `lwf`.

    Command:
        `python cli.py bench mtil --strategy lwf-vr`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(LwF.Options):
        """Options of `lwf-vr`."""

        reference_sentences: Literal["classnames", "random"] = "random"
