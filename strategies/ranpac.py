"""RanPAC: ridge regression on random features of a frozen encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.setting import setting
from strategies import ridge
from strategies.closed_form import ClosedForm
from strategies.engine.batches import mixed_seed
from strategies.ridge import Sums


class RandomRidge(ClosedForm):
    """Base class: ridge regression of one-hot labels on relu(f R), where R is a fixed random matrix."""

    options: Options

    @dataclass(frozen=True)
    class Options(ClosedForm.Options):
        """Options of a ridge regression on random features."""

        width: int = setting(10_000, "number of random features; 0: the encoder's features", least=0)
        ridge: float = setting(0.0, "ridge; 0: chosen for each task on a fifth of its training images", least=0)

    def before_run(self) -> None:
        """Draw the random matrix, the same for every run of a seed."""
        super().before_run()
        self.projection = None
        if self.options.width:
            generator = torch.Generator().manual_seed(mixed_seed(self.seed, 15))
            drawn = self.draw(self.encoder.feature_dim, self.options.width, generator)
            self.projection = drawn.to(self.encoder.mean)
        self.sums: Sums | None = None
        self.ridge = self.options.ridge
        self.coefficients: Tensor | None = None

    def draw(self, features: int, width: int, generator: torch.Generator) -> Tensor:
        """Return a random matrix [features, width], here of standard normal values."""
        return torch.randn(features, width, generator=generator)

    def learn(self, features: Tensor, labels: Tensor, classes: int) -> None:
        """Add the task's sums and solve for the weights of all learned classes."""
        inputs = ridge.random_features(features, self.projection)
        self.sums = ridge.joined(self.sums, ridge.sums(inputs, labels, classes))
        if not self.options.ridge:
            seed = mixed_seed(self.seed, self.experience.current_experience, 16)
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).to(labels.device)
            self.ridge = ridge.best_ridge(inputs, labels, classes, order)
            self.searches.append({"task": self.experience.domain.name, "ridge": self.ridge})
        self.coefficients = ridge.solve(self.sums, self.ridge)

    def learned_scores(self, features: Tensor) -> Tensor:
        """Return the regression's outputs."""
        assert self.coefficients is not None
        return ridge.random_features(features, self.projection) @ self.coefficients.to(features)

    def state(self) -> dict[str, Any]:
        """Return the sums and the ridge. The random matrix is drawn again, and the weights are solved for again."""
        return {**super().state(), **({} if self.sums is None else {**self.sums._asdict(), "ridge": self.ridge})}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the sums, and solve."""
        super().load(state)
        if "gram" in state:
            self.sums, self.ridge = Sums(state["gram"], state["cross"]), float(state["ridge"])
            self.coefficients = ridge.solve(self.sums, self.ridge)


class RanPAC(RandomRidge):
    """RanPAC: ridge regression of the learned classes on random features, relu(f R) with R standard normal.

    The weights are those of one regression on the images of all tasks, whatever their order (`strategies.ridge`). Images that
    zero-shot does not take for a learned class get zero-shot's answer (`strategies.closed_form`). Stored are width^2 + width *
    classes numbers of 8 bytes, 0.8 GB at 10,000.

    Source:
        McDonnell et al. 2023, arXiv 2307.02251.

    Differs from the released code:
        No parameter-efficient fine-tuning on the first task: the encoder stays as it is.
        It classifies among the learned classes only: `rule=always` in a class-incremental benchmark is the same. The rule for
        other classes is that of RAIL.
        Training images have the evaluation transform.

    Defaults:
        width 10,000, and the ridge chosen among 10^-8 to 10^8 by the squared error on a fifth of the task's images, from the
        paper. share 1 and rule zero-shot are our choice.

    Command:
        `python cli.py bench mtil --strategy ranpac`
    """
