"""The result of `predict`."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from harness.study.forecast import Advice
from metrics.suite import Value


class Prediction(NamedTuple):
    """The measured values of a dataset, and the predictions of a study (`harness.study.forecast.Forecast`).

    `predictors` has the value of each predictor by name, none if the mean of the domains predicts. `value` is that of the first
    one, or the zero-shot accuracy without predictors. `checks` has the errors and coverage of the choice on left-out domains
    (`harness.study.selection.check`), or is None if the measure was given.
    """

    dataset: str
    edition: str
    value: Value
    n: int
    zero_shot: float
    table: pd.DataFrame
    nearest: pd.DataFrame
    warnings: list[str]
    advice: Advice
    predictors: dict[str, Value]
    checks: pd.DataFrame | None
