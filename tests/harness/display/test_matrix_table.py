"""The accuracy matrix at several widths."""

import io
from typing import NamedTuple

import pytest
from rich.console import Console

from harness.display.matrix_table import matrix_tables

TASKS = ["closeups", "counting", "letters", "logos", "mnist", "nature", "shapes", "transport"]
HELD = ["buttons", "digits", "objects"]


class Cell(NamedTuple):
    percent: float


def printed(width, tasks=TASKS, held=HELD, seen=False, shorten=True):
    row = {("test", t): Cell(100.0) for t in tasks} | {("heldout", h): Cell(50.0) for h in held}
    rows = {0: row, **{i + 1: row | ({("test", "seen"): Cell(7.0)} if seen else {}) for i in range(len(tasks))}}
    console = Console(file=io.StringIO(), width=width)
    tables = matrix_tables(rows, tasks, held, console, width, shorten)
    console.print(*tables)
    text = console.file.getvalue()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    return len(tables), text


def test_every_name_where_there_is_room():
    count, text = printed(120)
    assert count == 1 and text.split()[: 1 + len(TASKS)] == ["after", *TASKS] and "(objects)" in text


def test_at_100_columns_names_are_whole_and_the_held_out_domains_one_mean():
    count, text = printed(100)
    head, *_ = text.splitlines()
    assert count == 1 and head.split() == ["after", *TASKS, "(held)"]
    assert "held out: mean of buttons, digits, objects" in text


def test_abbreviations_are_told_apart_and_explained():
    count, text = printed(80)
    assert count == 1 and text.splitlines()[0].split()[1:9] == [
        "clos",
        "coun",
        "lett",
        "logos",
        "mnist",
        "natu",
        "shap",
        "tran",
    ]
    assert "clos = closeups" in text and "logos =" not in text
    _, text = printed(55, ["photos-2023", "photos-2024", "photographs"], [])
    assert "photos-2023" in text or "photos-2023 =" in text


@pytest.mark.parametrize("width", [40, 60])
def test_a_narrow_screen_gets_blocks_with_whole_names(width):
    count, text = printed(width)
    assert count > 1 and all(name in text for name in [*TASKS, *(f"({name})" for name in HELD)])
    assert text.count("after") == count


def test_piped_output_keeps_every_value():
    tasks = [f"a-long-name-of-a-task-{i}" for i in range(12)]
    count, text = printed(160, tasks, HELD, shorten=False)
    assert count > 1 and all(f"({name})" in text for name in HELD) and "mean of" not in text


def test_steps_are_numbers_and_fifty_of_them_one_column():
    steps = [f"step-{k}" for k in range(1, 11)]
    _, text = printed(90, steps, [], seen=True)
    assert text.splitlines()[0].split() == ["after", "seen", *map(str, range(1, 11))]
    _, text = printed(80, [f"step-{k}" for k in range(1, 51)], [], seen=True)
    assert text.splitlines()[0].split() == ["after", "seen"]
