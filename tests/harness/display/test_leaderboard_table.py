"""The headings of the leaderboard on the screen."""

import io

import pandas as pd
import pytest
from rich.console import Console

from harness.display.leaderboard_table import print_leaderboard
from harness.records.leaderboard import COLUMNS, METRICS


@pytest.mark.parametrize(
    ("benchmark", "headings"), [("mtil", ("Average", "Last")), ("cil-nature-5", ("cil_average", "cil_last"))]
)
def test_class_incremental_metrics_have_their_own_names(benchmark, headings):
    row = dict.fromkeys(COLUMNS, "x") | dict.fromkeys(METRICS, 50.0) | {"benchmark": benchmark, "order": "default"}
    row |= dict.fromkeys(("train_seconds", "eval_seconds", "trainable_params", "seeds"), 1)
    console = Console(file=io.StringIO(), width=200)
    print_leaderboard(pd.DataFrame([row]), console)
    words = console.file.getvalue().splitlines()[1].split()
    assert [word for word in words if word.lower().endswith(("average", "last"))] == list(headings)
    assert ("average incremental accuracy" in console.file.getvalue()) is benchmark.startswith("cil-")
