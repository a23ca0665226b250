"""WiSE-FT: interpolate the fine-tuned weights with earlier ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from models.setting import setting
from models.weights import interpolate
from strategies.engine.strategy import Strategy


class Interpolation(Strategy):
    """Base class of the methods that fine-tune each task, then set theta <- (1 - alpha) * theta_0 + alpha * theta.

    theta_0 is the model before the task ("previous") or the initial one ("zero-shot"). A subclass says which alpha.
    """

    options: Options
    replaces_weights = True

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of every method that interpolates."""

        anchor: Literal["previous", "zero-shot"] = setting(
            "previous", "weights to interpolate with: those before the task or the initial ones"
        )

    def before_run(self) -> None:
        """Keep the initial weights."""
        super().before_run()
        self.anchor: dict[str, Tensor] = self.weights()

    def before_experience(self) -> None:
        """Keep the weights before the task."""
        super().before_experience()
        if self.options.anchor == "previous":
            self.anchor = self.weights()

    def after_experience(self) -> None:
        """Interpolate."""
        super().after_experience()
        # At 1 there is nothing to do, and LoRA must not be restarted by `set_weights`.
        if (alpha := self.task_alpha()) < 1:
            self.set_weights(interpolate(self.anchor, self.weights(), alpha))

    def task_alpha(self) -> float:
        """Return how far the task that was just trained may move the model, 0 to 1."""
        raise NotImplementedError


class WiSEFT(Interpolation):
    """WiSE-FT in a stream: fine-tune each task, then interpolate with earlier weights.

    theta is fine-tuned on the task. theta_0 is the model before the task (`anchor` "previous") or the initial one
    ("zero-shot"):

        theta <- (1 - alpha) * theta_0 + alpha * theta

    The result is evaluated, and the next task starts from it.

    Source:
        Wortsman et al. 2022, arXiv 2109.01903, as the baseline of ZSCL's released code (2303.06628).

    Differs from the released code:
        Not implemented: interpolation only at evaluation time.

    Defaults:
        From ZSCL's scripts: alpha 0.8 and anchor "previous". The mini edition uses alpha 0.3.

    Command:
        `python cli.py bench mtil --strategy wise-ft`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Interpolation.Options):
        """Options of `wise-ft`."""

        alpha: float = setting(0.8, "share of the fine-tuned weights", least=0, most=1)

    def task_alpha(self) -> float:
        """Return `alpha`."""
        return self.options.alpha
