"""The curriculum of the pretraining: how easy its pictures are."""

from __future__ import annotations

import numpy as np

# A small transformer learns shapes in random colours very slowly. If it sees white on black first, it learns both sooner.
EASY_UNTIL, EASE_ENDS, LEAST_EASE = 0.06, 0.4, 0.08


def ease_at(progress: float) -> float:
    """Return the share of easy pictures: 1 until 6 % of the time, then falling linearly to 0.08 at 40 %, constant after."""
    return float(np.interp(progress, (EASY_UNTIL, EASE_ENDS), (1.0, LEAST_EASE)))
