"""The accuracy on a test set, with its interval. Imports nothing heavy."""

from __future__ import annotations

from typing import NamedTuple


class Accuracy(NamedTuple):
    """The number of correct answers and the number of images."""

    correct: int
    n: int

    @property
    def percent(self) -> float:
        """100 x correct / n; NaN for n = 0."""
        return 100 * self.correct / self.n if self.n else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return Wilson's score interval (1927) of the accuracy in percent.

        Its coverage is close to the level for small n and near 0 and 100 %, where value plus or minus standard errors fails.

        Args:
            level: confidence level in (0, 1).

        Returns:
            The lower and upper end; NaN for n = 0.
        """
        if not self.n:
            return float("nan"), float("nan")
        from scipy.stats import binomtest

        low, high = binomtest(int(self.correct), int(self.n)).proportion_ci(level, method="wilson")
        return 100 * float(low), 100 * float(high)
