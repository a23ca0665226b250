"""RAIL: ridge regression of all learned classes, mixed with zero-shot's probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from models.registry import UserError
from models.setting import setting
from strategies import ridge
from strategies.ranpac import RandomRidge

MOST_STORED = 40_000
"""Images that the dual form can store. Their kernel matrix takes 8 n^2 bytes, 13 GB."""


class RAIL(RandomRidge):
    """RAIL: ridge regression of all learned classes on frozen features, mixed with zero-shot where zero-shot sees one of them.

    f is a unit image feature. `kernel` chooses the form of the regression of one-hot labels Y of all learned classes:

        none:      h = relu(f R),   r = h (H^T H + ridge I)^-1 H^T Y                      (primal)
        gaussian:  k(f, g) = exp(-gamma |f - g|^2),   r = k(f, F) (K + kernel_ridge I)^-1 Y     (dual)

    p are zero-shot's probabilities of all candidates. An image whose largest p is that of a learned class is classified among
    the learned classes by 0.2 p + 0.8 r (`share` 0.8). All others get zero-shot's answer, so Transfer is zero-shot's.

    The primal form stores width^2 + width * classes numbers of 8 bytes, 1.8 GB at 15,000. Its weights are those of one
    regression on the images of all tasks, whatever their order. The dual form stores the features of all training images.

    Source:
        Xu et al. 2024, NeurIPS 2024, arXiv 2406.18868, and its released code.

    Differs from the released code:
        The weights are solved for from the sums H^T H and H^T Y. The code updates an inverse task by task, which gives the same
        weights.
        Where zero-shot sees a learned class, only learned classes compete. In the code other classes compete too, with 0.2 p.
        p has the model's logit scale, which is 100 for CLIP as in the code, and the benchmark's templates.
        Training images have the evaluation transform; the code passes them once with the training transform.

    Defaults:
        From the released code: width 15,000, ridge 0.1, gamma 0.1, kernel_ridge 0.001, share 0.8. R is uniform in
        +-1 / sqrt(d), torch's default for a linear layer of d inputs.

    Command:
        `python cli.py bench mtil --strategy rail --protocol agnostic`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(RandomRidge.Options):
        """Options of `rail`."""

        share: float = setting(0.8, "share of the regression in the score of a learned class", least=0, most=1)
        width: int = setting(15_000, "number of random features of the primal form; 0: the encoder's features", least=0)
        ridge: float = setting(0.1, "ridge of the primal form; 0: chosen for each task on a fifth of its images", least=0)
        kernel: Literal["none", "gaussian"] = setting("none", "none: the primal form; gaussian: the dual form with this kernel")
        gamma: float = setting(0.1, "gamma of the Gaussian kernel", above=0)
        kernel_ridge: float = setting(0.001, "ridge of the dual form", above=0)

    def before_run(self) -> None:
        """Start without stored features."""
        super().before_run()
        self.stored: Tensor | None = None
        self.labels: Tensor | None = None

    def draw(self, features: int, width: int, generator: torch.Generator) -> Tensor:
        """Return a random matrix [features, width] of uniform values."""
        return (2 * torch.rand(features, width, generator=generator) - 1) / math.sqrt(features)

    def learn(self, features: Tensor, labels: Tensor, classes: int) -> None:
        """Add the task to the sums, or in the dual form to the stored features."""
        if self.options.kernel == "none":
            super().learn(features, labels, classes)
            return
        before = sum(self.learned.values())
        self.stored = features if self.stored is None else torch.cat([self.stored, features])
        self.labels = labels + before if self.labels is None else torch.cat([self.labels, labels + before])
        if len(self.stored) > MOST_STORED:
            raise UserError(
                f"The dual form of RAIL stores all training images, {len(self.stored):,} after {self.experience.domain.name}, "
                f"and can store {MOST_STORED:,}. Use fewer --shots, or --set kernel=none."
            )
        self._solve_dual(before + classes)

    def learned_scores(self, features: Tensor) -> Tensor:
        """Return the regression's outputs."""
        if self.options.kernel == "none":
            return super().learned_scores(features)
        assert self.stored is not None and self.coefficients is not None
        kernel = ridge.gaussian_kernel(features.double(), self.stored.double(), self.options.gamma)
        scores: Tensor = kernel @ self.coefficients
        return scores.to(features)

    def state(self) -> dict[str, Any]:
        """Return the sums, or the stored features and their classes."""
        dual = {} if self.stored is None else {"stored": self.stored, "labels": self.labels}
        return {**super().state(), **dual}

    def load(self, state: dict[str, Any]) -> None:
        """Restore them, and solve."""
        super().load(state)
        if "stored" in state:
            self.stored, self.labels = state["stored"], state["labels"]
            self._solve_dual(sum(self.learned.values()))

    def _solve_dual(self, classes: int) -> None:
        assert self.stored is not None and self.labels is not None
        o = self.options
        self.coefficients = ridge.kernel_weights(self.stored, self.labels, classes, o.gamma, o.kernel_ridge)
