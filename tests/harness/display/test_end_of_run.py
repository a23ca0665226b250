"""The last lines of a run: small test sets, chosen alphas and the next commands."""

import pytest

from harness.display.end_of_run import final_notes, next_commands
from metrics.evaluate import Accuracy


def test_small_test_sets_are_shown_with_their_wilson_intervals():
    rows = {
        0: {},
        1: {("test", "photos"): Accuracy(40, 40), ("test", "big"): Accuracy(150, 200), ("heldout", "h"): Accuracy(5, 10)},
    }
    [line] = final_notes(rows, ["photos", "big"], ["h"])
    assert line == (
        "final accuracies on fewer than 200 test images, with 95 % Wilson intervals: "
        "photos 100.0 [91, 100] (n = 40); h 50.0 [24, 76] (n = 10)"
    )


def test_class_incremental_runs_count_the_images_of_all_classes():
    cells = {("test", f"step-{k}"): Accuracy(30, 60) for k in range(1, 4)}
    assert final_notes({3: {**cells, ("test", "seen"): Accuracy(200, 312)}}, ["step-1", "step-2", "step-3"], []) == []


def test_chosen_alphas_are_listed_by_task():
    rows = {1: {("test", "a"): Accuracy(1, 500)}}
    searches = [{"task": "a", "chosen": [0.35]}, {"task": "b", "chosen": [0.2, 0.40000001]}]
    assert final_notes(rows, ["a"], [], searches) == ["chosen alpha by task: a 0.35, b 0.2 0.4"]


@pytest.mark.parametrize(
    ("strategy", "out", "commands"),
    [
        ("zscl", "results", ["compare zscl finetune", "leaderboard ", "report"]),
        ("finetune", "my runs", ["compare finetune zscl --results 'my runs'", "leaderboard 'my runs' ", "report 'my runs'"]),
    ],
)
def test_next_commands_can_be_pasted(strategy, out, commands):
    text = "\n".join(next_commands(strategy, out))
    assert all(f"python cli.py {command}" in text for command in commands)
