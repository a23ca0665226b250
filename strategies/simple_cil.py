"""SimpleCIL: the mean feature of each learned class is its classifier."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from strategies.closed_form import ClosedForm


class SimpleCIL(ClosedForm):
    """SimpleCIL: the class with the nearest mean of unit image features, by cosine. The encoder stays as it is.

    Images that zero-shot does not take for a learned class get zero-shot's answer (`strategies.closed_form`). Each learned
    class is stored as one feature.

    Source:
        Zhou et al. 2023, arXiv 2303.07338.

    Differs from the released code:
        It classifies among the learned classes only: `rule=always` in a class-incremental benchmark is the same. The rule for
        other classes is that of RAIL.
        Training images have the evaluation transform.

    Defaults:
        share 1 and rule zero-shot are our choice.

    Command:
        `python cli.py bench mtil --strategy simple-cil`
    """

    def before_run(self) -> None:
        """Start without means."""
        super().before_run()
        self.means: Tensor | None = None

    def learn(self, features: Tensor, labels: Tensor, classes: int) -> None:
        """Add the mean of each class, in float64. A class without images has the mean 0."""
        targets = F.one_hot(labels, classes).double()
        means = targets.T @ features.double() / targets.sum(dim=0).clamp(min=1)[:, None]
        self.means = means if self.means is None else torch.cat([self.means, means])

    def learned_scores(self, features: Tensor) -> Tensor:
        """Return cosines with the means."""
        assert self.means is not None
        return features @ F.normalize(self.means, dim=1).to(features).T

    def state(self) -> dict[str, Any]:
        """Return the means [C, d]."""
        return {**super().state(), **({} if self.means is None else {"means": self.means})}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the means."""
        super().load(state)
        self.means = state.get("means")
