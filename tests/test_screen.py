"""The estimate behind the progress bars."""

import pytest

from harness.screen import Estimate, _duration


def test_training_and_evaluation_are_timed_apart():
    estimate = Estimate(steps=100, images=1000)
    assert estimate.remaining() is None
    estimate.add("evaluate", 100, 2.0)
    assert estimate.fraction() == 0
    assert estimate.remaining() is None, "training has not been timed yet"
    estimate.add("train", 10, 5.0)
    assert estimate.remaining() == pytest.approx(90 * 0.5 + 900 * 0.02)
    assert estimate.fraction() == pytest.approx(7 / (7 + 45 + 18))
    estimate.add("train", 90, 1.0)
    estimate.add("evaluate", 900, 1.0)
    assert estimate.remaining() == 0


def test_nothing_to_train_needs_no_training_rate():
    estimate = Estimate(steps=0, images=10)
    estimate.add("evaluate", 5, 1.0)
    assert estimate.remaining() == pytest.approx(1.0)


def test_durations():
    assert [_duration(s) for s in (0, 59.6, 125, 3730)] == ["0 s left", "1:00 left", "2:05 left", "1:02:10 left"]
