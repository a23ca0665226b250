"""The tables of `measure`: one dataset, several datasets side by side, and reasons of undefined values."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console

from harness.display.measure_table import explained_table, print_measures, side_by_side
from harness.display.screen import Screen
from harness.study.measure import COLUMNS


def rows(dataset, gap=0.5, reason=""):
    return [
        (dataset, "mini", 3, 1200, "iimm", 0.4, 0.35, 0.45, ""),
        (dataset, "mini", 3, 1200, "hscore", math.nan if reason else gap, math.nan, math.nan, reason),
        (dataset, "mini", 3, 1200, "zero_shot", 62.5, 30.123, 86.5, ""),
        (dataset, "mini", 3, 40, "zero_shot_test", 100.0, 91.2, 100.0, ""),
    ]


def table(*parts):
    return pd.DataFrame([row for part in parts for row in part], columns=list(COLUMNS))


def cells(shown):
    return [list(column.cells) for column in shown.columns]


@pytest.fixture
def printed():
    def show_it(frame, width=160):
        out = io.StringIO()
        print_measures(frame, Screen(console=Console(file=out, width=width)))
        return out.getvalue()

    return show_it


def test_one_dataset(printed):
    names, values, intervals, meanings, higher = cells(explained_table(table(rows("trees", reason="too few images"))))
    assert names == ["iimm", "hscore", "zero_shot", "zero_shot_test"]
    assert values == ["0.4000", "-", "62.50", "100.0"]
    assert intervals == ["0.3500 to 0.4500", "", "30.12 to 86.50", "91.20 to 100.0"]
    assert meanings[0] == "Mean of iimm_intra and iimm_inter." and meanings[1].endswith("Undefined here: too few images.")
    assert higher[0] == "fine-tuning gains more and forgets more, according to the paper" and "same images" in meanings[2]
    out = printed(table(rows("trees")))
    assert "trees (mini): 3 classes, 1,200 images measured, 40 test images" in out and "jackknife" in out


def test_several_datasets(printed):
    frame = table(rows("trees"), rows("stones", reason="too few images"))
    (shown,) = side_by_side(frame, 160)
    names, trees, stones = cells(shown)
    assert names == ["edition", "classes", "images", "iimm", "", "hscore", "zero_shot", "", "zero_shot_test", ""]
    assert trees[:6] == ["mini", "3", "1,200", "0.4000", "0.3500 to 0.4500", "0.5000"] and stones[5] == "-"
    assert "stones: undefined hscore: too few images" in printed(frame)


@pytest.mark.parametrize(("width", "parts"), [(160, [5]), (66, [3, 2]), (10, [1, 1, 1, 1, 1])])
def test_a_narrow_screen_gets_several_tables(width, parts, printed):
    frame = table(*(rows(f"d{i}") for i in range(5)))
    found = list(side_by_side(frame, width))
    assert [len(part.columns) - 1 for part in found] == parts
    assert all(f"d{i}" in printed(frame) for i in range(5))
    for part in found:
        out = io.StringIO()
        Console(file=out, width=max(width, 31)).print(part)
        assert out.getvalue().count("30.12 to 86.50") == len(part.columns) - 1, "nothing is cut"
