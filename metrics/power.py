"""The power of a study: how often n tasks show a line whose true R2 is given, and the smallest R2 that they find.

Measure and outcome of a task are bivariate normal with correlation rho, and R2 = rho^2. Given the n values
of the measure, the t statistic of the slope has a noncentral t distribution with n - 2 degrees of freedom:

    delta^2 = W R2 / (1 - R2)        W = S / variance of the measure, chi-square with n - 1 degrees of freedom

with S as in `metrics.regression`. The power is P(|t| > critical value), averaged over W by quadrature. It is exact for normal
values. Sources: the noncentral distribution is textbook theory (Cohen 1988); random values of the measure are our choice,
because tasks are a sample. The formula for fixed values has delta^2 = n R2 / (1 - R2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# scipy.stats takes a second to import.
from scipy.special import chdtri, nctdtr, stdtrit

EFFECTS = (0.1, 0.2, 0.3, 0.5, 0.9)
TASKS = (9, 11, 24, 30)
LEVEL = 0.05
USUAL_POWER = 0.8
FEWEST = 4
_NODES = 400


class Power(NamedTuple):
    """The power of n tasks for each R2: of one test, and of one of `tests` tests after Holm's correction.

    `smallest` and `smallest_holm` are the R2 that are found with a power of 80 %.
    """

    n: int
    plain: tuple[float, ...]
    holm: tuple[float, ...]
    smallest: float
    smallest_holm: float


def power(n: int, r2: float, level: float = LEVEL) -> float:
    """Return the probability that the two-sided test of the slope through n tasks has p < level.

    Args:
        n: number of tasks.
        r2: true share of the variance that the measure explains, in [0, 1).
        level: level of the test in (0, 1).

    Raises:
        ValueError: n < 4, or r2 or level is out of range.

    Example:
        >>> round(power(30, 0.3), 2)
        0.9
    """
    if n < FEWEST:
        raise ValueError(f"the power of a line needs at least {FEWEST} tasks, got {n}")
    if not 0 <= r2 < 1 or not 0 < level < 1:
        raise ValueError(f"R2 must be in [0, 1) and the level in (0, 1), got R2 {r2} and level {level}")
    critical = stdtrit(n - 2, 1 - level / 2)
    # Midpoints of equally probable strata of W.
    w = chdtri(n - 1, (np.arange(_NODES) + 0.5) / _NODES)
    delta = np.sqrt(w * r2 / (1 - r2))
    # Where a tail is too small for scipy, it returns NaN.
    missed, wrong_sign = (np.nan_to_num(nctdtr(n - 2, delta, end)) for end in (critical, -critical))
    return float(np.mean(1 - missed + wrong_sign))


def smallest_effect(n: int, level: float = LEVEL, wanted: float = USUAL_POWER) -> float:
    """Return the smallest R2 that n tasks find with the wanted power, to 0.0005.

    Raises:
        ValueError: as `power`, or `wanted` is not between level and 1.
    """
    if not level < wanted < 1:
        raise ValueError(f"the wanted power must be between the level {level} and 1, got {wanted}")
    low, high = 0.0, 1 - 1e-6
    while high - low > 5e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if power(n, middle, level) >= wanted else (middle, high)
    return high


def power_table(tasks: tuple[int, ...], tests: int, effects: tuple[float, ...] = EFFECTS, level: float = LEVEL) -> list[Power]:
    """Return the power of each number of tasks.

    After Holm's correction, a measure is found at level / tests if no other measure has an effect. The
    power is larger if others have one.

    Args:
        tasks: numbers of tasks.
        tests: number of tests that are corrected together.
        effects: values of R2.
        level: level of the tests.

    Raises:
        ValueError: as `power`, or tests < 1.
    """
    if tests < 1:
        raise ValueError(f"the number of tests must be at least 1, got {tests}")
    return [
        Power(
            n,
            tuple(power(n, r2, level) for r2 in effects),
            tuple(power(n, r2, level / tests) for r2 in effects),
            smallest_effect(n, level),
            smallest_effect(n, level / tests),
        )
        for n in tasks
    ]
