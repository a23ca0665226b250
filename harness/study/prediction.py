"""The result of `predict`."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from harness.study.forecast import Advice
from metrics.suite import Value


class Prediction(NamedTuple):
    """The measured value of a dataset, and the predictions of a study (`harness.study.forecast.Forecast`)."""

    dataset: str
    edition: str
    value: Value
    n: int
    zero_shot: float
    table: pd.DataFrame
    nearest: pd.DataFrame
    warnings: list[str]
    advice: Advice
