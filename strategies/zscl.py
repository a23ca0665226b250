"""ZSCL: keep zero-shot ability by distilling the initial model on reference images and sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from models.registry import UserError
from models.setting import setting
from models.weights import RunningAverage, State, interpolate
from strategies.distillation import Distillation
from strategies.distillation import distillation_loss as distillation_loss
from strategies.engine.strategy import Batch
from strategies.l2 import squared_distance


class ZSCL(Distillation):
    """ZSCL: distil the initial model on reference data, stay near the start of the task, and average the weights.

    V are the unit features of a batch of reference images, R the teacher's features of all reference sentences, and
    Z = exp(logit_scale) * V R^T their logits by student (s) and teacher (t). D is `distillation_loss`, and theta_start are the
    trainable parameters at the start of the task:

        loss = cross-entropy + image_loss * D(Z_s, Z_t) + text_loss * D(Z_s^T, Z_t^T) + l2 * |theta - theta_start|^2

    The teacher is the initial model. R is the teacher's in both Z_s and Z_t, so distillation sends gradient to the image tower
    only. After the task the weights are the mean of the start of the task and of a snapshot every `average_every` updates. The
    first snapshot is taken right after update 0.

    Reference images and sentences are named by `reference_images` and `reference_sentences` (`benchmarks.reference`). "default"
    is the benchmark's: ImageNet's training images and Conceptual Captions' sentences in MTIL, Conceptual Captions' images and
    sentences in the class-incremental benchmarks, drawn images and listed sentences in the mini edition. Images may also be
    "current" (the task's training images), "batch" or "noise". Sentences may also be "classnames" (the task's),
    "seen-classnames" (those of all tasks up to the current one) or "random".

    Reference images come in the same seeded order in every task, as in the released MTIL code, which seeds every task alike.
    With `reference_reshuffle` each task has a different order and so uses different images, as in the released
    class-incremental code, which sets no seed.

    The released code's other options are off by default. For `teacher`, `teacher_alpha`, `feature_mse`, `image_image`,
    `weight_adjust` and `negatives` see `strategies.distillation.Distillation`.

    - `average_pull` a < 1: each snapshot is followed by mean <- a * mean + (1 - a) * start (--we_wise, whose default is 0.98).
    - `moving_average`: instead of averaging, every `average_every` updates pull the model itself,
      theta <- d * theta + (1 - d) * anchor with d = `moving_decay`. The anchor is the start of the task ("start"), theta as it
      was at the last pull ("previous") or the initial model ("zero-shot").
    - `merge`: at the end of the task theta <- a * theta + (1 - a) * anchor with a = `merge_alpha`. The anchor is the start of
      the task ("previous") or the initial model ("zero-shot").

    In the released scripts ZSCL_minus is average_every=0 l2=0 reference_sentences=imagenet, and ZSCL_WiSE is average_every=0
    l2=0 merge=previous.

    Source:
        Zheng et al. 2023, arXiv 2303.06628, and its released code.

    Differs from the released code:
        The outputs of the fixed teacher are computed once per run, not in every step. The reference images are not augmented
        there either, so the losses are the same.
        Reference images pass through the student together with the batch.
        `merge` is applied after the weight average, whose effect the released code loses.
        Not implemented: --fair, which has no effect in the released code.

    Defaults:
        From the released scripts: both distillation losses 1, temperature 2, l2 1, average_every 100, 64 reference images per
        step.

    Command:
        `python cli.py bench mtil --strategy zscl`
    """

    options: Options
    needs_reference = True

    @dataclass(frozen=True)
    class Options(Distillation.Options):
        """Options of `zscl`."""

        l2: float = setting(1.0, "weight of the squared distance to the start of the task", least=0)
        average_every: int = setting(100, "updates between two snapshots of the weight average; 0: no average", least=0)
        average_pull: float = setting(1.0, "below 1: pull the average to the start after each snapshot", least=0, most=1)
        moving_average: Literal["none", "start", "previous", "zero-shot"] = setting(
            "none", "pull the model to these weights instead of averaging it"
        )
        moving_decay: float = setting(0.999, "share of the model that a pull of moving_average keeps", least=0, most=1)
        merge: Literal["none", "previous", "zero-shot"] = setting("none", "interpolate with these weights after the task")
        merge_alpha: float = setting(0.8, "share of the trained weights in merge", least=0, most=1)
        reference_batch: int = setting(64, "reference images per update", least=1)
        reference_reshuffle: bool = setting(False, "use the reference images in a different order in each task")
        reference_images: str = setting("default", "name or folder of reference images: default, current, batch, noise, ...")
        reference_sentences: str = setting(
            "default", "name or file of reference sentences: default, classnames, seen-classnames, random, ..."
        )

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.moving_average != "none" and not self.average_every:
                raise ValueError("moving_average needs average_every > 0, the updates between two pulls")
            if self.best_pass and self.average_every and self.moving_average == "none":
                raise ValueError("best_pass has no effect on the weight average of the task; set average_every=0")

    def before_run(self) -> None:
        """Keep the initial weights if an option pulls or merges towards them."""
        super().before_run()
        o = self.options
        if o.moving_average != "none" and self.encoder.tuning == "lora":
            raise UserError(
                "moving_average cannot be combined with --tuning lora: each pull would restart LoRA. Use average_every."
            )
        self.zero_shot = self.weights() if "zero-shot" in (o.moving_average, o.merge) else {}

    def before_experience(self) -> None:
        """Keep the start of the task: the anchor of L2, of the average and of the merge."""
        super().before_experience()
        o = self.options
        self.anchor = [p.detach().clone() for p in self.trainable] if o.l2 else []
        self.start = self.weights() if "previous" in (o.merge, o.moving_average) or o.moving_average == "start" else {}
        self.pull_anchor = self.zero_shot if o.moving_average == "zero-shot" else self.start
        averages = o.average_every > 0 and o.moving_average == "none"
        self.average = PulledAverage(self.weights(), o.average_pull, foreach=not self.plain) if averages else None

    def compute_loss(self, batch: Batch) -> Tensor:
        """Add l2 * |theta - theta_start|^2 to the cross-entropy and the distillation terms."""
        loss = super().compute_loss(batch)
        if not self.options.l2:
            return loss
        drift = squared_distance(self.trainable, self.anchor, foreach=not self.plain, later=self.later)
        self.log(l2=drift)
        return loss + self.options.l2 * drift

    def after_step(self, step: int) -> None:
        """Take a snapshot, or pull the model, every `average_every` updates."""
        super().after_step(step)
        o = self.options
        if not o.average_every or step % o.average_every:
            return
        theta = self.weights()
        if self.average is not None:
            self.average.update(theta)
            return
        self.set_weights(interpolate(self.pull_anchor, theta, o.moving_decay))
        if o.moving_average == "previous":
            self.pull_anchor = theta

    def after_experience(self) -> None:
        """Replace the weights by their average, then merge them with the anchor of `merge`."""
        super().after_experience()
        o = self.options
        if self.average is not None:
            self.set_weights(self.average.state_dict())
        if o.merge != "none":
            anchor = self.start if o.merge == "previous" else self.zero_shot
            self.set_weights(interpolate(anchor, self.weights(), o.merge_alpha))

    def task_state(self) -> dict[str, Any]:
        """Return the average so far, or the anchor of the next pull."""
        state = super().task_state()
        if self.average is not None:
            state["average"] = self.average.state()
        if self.options.moving_average == "previous":
            state["moving_anchor"] = {**self.pull_anchor}
        return state

    def load_task(self, state: dict[str, Any], step: int) -> None:
        """Restore what `task_state` returned."""
        super().load_task(state, step)
        if self.average is not None:
            self.average.load(state["average"])
        self.pull_anchor = state.get("moving_anchor", self.pull_anchor)

    # Reference data

    def sources(self) -> tuple[str, str]:
        """Return `reference_images` and `reference_sentences`."""
        return self.options.reference_images, self.options.reference_sentences

    @property
    def reference_size(self) -> int:
        """Reference images per step."""
        return self.options.reference_batch

    @property
    def reference_seed(self) -> int:
        """Seed of the order of the reference images: the run's, or with `reference_reshuffle` the task's."""
        return super().reference_seed if self.options.reference_reshuffle else self.seed

    @classmethod
    def reference_count(cls, options: Any, updates: Sequence[int]) -> int | None:
        """Return the images of the longest task if all tasks use the same ones, else of all tasks together."""
        steps = sum(updates) if options.reference_reshuffle else max(updates)
        return steps * int(options.reference_batch)


class ZSCLStar(ZSCL):
    """ZSCL*: ZSCL with its weight average and without L2.

    Everything else, the differences from the released code included, is as in `zscl`.

    Source:
        Zheng et al. 2023, arXiv 2303.06628: ZSCL* of the released scripts.

    Defaults:
        Those of `zscl`, with l2 0.

    Command:
        `python cli.py bench mtil --strategy zscl-star`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(ZSCL.Options):
        """Options of `zscl-star`."""

        l2: float = 0.0


class PulledAverage(RunningAverage):
    """The running mean of a start and of later states, pulled back to the start after each one.

    average <- pull * (n * average + theta) / (n + 1) + (1 - pull) * start (ZSCL's released code, --we_wise). With pull 1 it is
    the plain mean.
    """

    def __init__(self, start: State, pull: float = 1.0, foreach: bool = True):
        super().__init__(start, foreach)
        self.pull = pull
        self._start = {name: start[name].detach().clone() for name in self._floating} if pull < 1 else {}

    def update(self, theta: State) -> None:
        """Add one state, then pull the average."""
        super().update(theta)
        if self._start:
            average = [self._average[name] for name in self._floating]
            torch._foreach_lerp_(average, [self._start[name] for name in self._floating], 1 - self.pull)
