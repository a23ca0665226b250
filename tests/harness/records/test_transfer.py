"""Broad transfer in records: pairs without common classes, intervals, and the adjustment for many pairs."""

import math

import pytest

from harness.display.case_summary import transfer_lines
from harness.records.runs import Run
from harness.records.transfer import effects, mean_effect, whole_domains
from metrics.comparison import interval

TASKS = ["cars", "signs", "signs-a", "signs-b"]
SHARED = [["signs", "signs-a"], ["signs", "signs-b"]]


def run(seed=0, changes=None, shared=SHARED, lost=True, strategy="paint-single"):
    """Return a run in which every task has 50 of 100 right before. `changes` holds (gained, lost) by pair, else (2, 2)."""
    searches = []
    for task in TASKS:
        curve = []
        for test in TASKS:
            gained, gone = (changes or {}).get((task, test), (2, 2))
            row = {
                "stream": "test",
                "task": test,
                "points": [[0.0], [0.5], [1.0]],
                "correct": [50, 50 + gained - gone, 40],
                "n": 100,
            }
            curve.append(row | ({"lost": [0, gone, 20]} if lost else {}))
        searches.append({"task": task, "chosen": [0.5], "curve": curve})
    identity = {"tasks": TASKS, "heldout": [], "seed": seed, "strategy": strategy, "halves": [["signs-a", "signs-b"]]}
    document = {"identity": identity, "searches": searches} | ({} if shared is None else {"shared_classes": shared})
    return Run("x", document)


def test_only_pairs_without_a_common_class_count():
    pairs = [(e.patched_task, e.test) for e in effects([run()])]
    assert len(pairs) == 12 - 4 and ("signs", "signs-a") not in pairs and ("signs-b", "signs") not in pairs
    assert [pair for pair, e in zip(pairs, effects([run()]), strict=True) if e.halves] == [
        ("signs-a", "signs-b"), ("signs-b", "signs-a")
    ]  # fmt: skip
    assert whole_domains(run()) == ["cars", "signs"]


def test_effects_that_are_large_enough_are_named():
    changed = {("cars", "signs"): (30, 2), ("signs", "cars"): (1, 25), ("signs-a", "signs-b"): (8, 2)}
    by_pair = {(e.patched_task, e.test): e for e in effects([run(seed, changed) for seed in (0, 1, 2)])}
    helps, hurts = by_pair["cars", "signs"], by_pair["signs", "cars"]
    assert (helps.verdict, hurts.verdict, by_pair["cars", "signs-a"].verdict) == ("helps", "hurts", "no effect shown")
    assert (helps.zero_shot, helps.patched, helps.fine_tuned, helps.change) == pytest.approx((50, 78, 40, 28))
    assert (helps.n, helps.seeds) == (100, 3) and helps.low < 28 < helps.high
    # Benjamini and Hochberg: the k-th smallest of m p-values times m / k, here the third of eight. It is not shown any more.
    third = by_pair["signs-a", "signs-b"]
    assert third.p < 0.1 and third.adjusted == pytest.approx(third.p * 8 / 3) and third.verdict == "no effect shown"


def test_records_without_the_images_lost_have_no_effects():
    assert effects([]) == [] and effects([run(lost=False)]) == [] and effects([run(shared=None)]) == []
    assert effects([run(strategy="paint-sequential")]) == []


def test_the_mean_over_pairs():
    changed = {("cars", "signs"): (30, 2), ("cars", "signs-a"): (14, 2), ("signs-b", "signs-a"): (10, 2)}
    pairs = [("cars", "signs"), ("cars", "signs-a"), ("signs-b", "signs-a")]
    runs = [run(0, changed), run(1)]
    mean = mean_effect(runs, pairs)
    assert mean.change == pytest.approx((28 + 12 + 8) / 3 / 2) and mean.pairs == 3
    assert (mean.low, mean.high) == interval([[28, 10], [0, 0]], [1, 2])
    assert math.isnan(mean_effect([run()], [("cars", "signs")]).low)


def test_the_lines_at_the_end_of_bench():
    changed = {("cars", "signs"): (30, 2), ("signs", "cars"): (1, 25)}
    lines = transfer_lines([run(seed, changed) for seed in (0, 1, 2)])
    assert lines[0].endswith("3 seeds:") and lines[1].startswith("  mean between domains: +2.0 [")
    assert lines[2] == "  mean between the halves of a domain: +0.0 [+0.0, +0.0] (2 pairs)"
    assert lines[3:] == [
        "  helps, 1 of 8 pairs: cars -> signs +28.0 [+18.2, +37.8]",
        "  hurts, 1 of 8 pairs: signs -> cars -24.0 [-33.0, -15.0]",
    ]
    assert "With one seed" in transfer_lines([run()])[-1] and transfer_lines([run(lost=False)]) == []
