"""Seconds of a plan by hand: the line through timed updates, saves within a task, and their text."""

import pytest

from harness.display.plan_table import duration, size
from harness.plan.hours import _saves
from harness.plan.ledger import IMAGES, TEXTS, TRAINED_IMAGES
from harness.plan.rates import Rates, line


def test_the_line_through_timed_updates():
    assert line([]) == (0.0, 1.0)
    assert line([(2.0, 5.0), (2.0, 7.0), (2.0, 6.0)]) == (6.0, 0.0)  # one kind of update: its median, whatever its passes
    assert line([(1.0, 5.0), (3.0, 9.0)]) == pytest.approx((3.0, 2.0))
    assert line([(1.0, 3.0), (2.0, 5.0), (4.0, 9.0)]) == pytest.approx((1.0, 2.0))
    # A falling line is replaced by one through the origin.
    assert line([(1.0, 8.0), (3.0, 4.0)]) == pytest.approx((0.0, 3.0))


def test_a_backward_pass_counts_as_two_forward_passes():
    rates = Rates(0.5, 0.1, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, True)
    assert rates.passes({IMAGES: 2, TRAINED_IMAGES: 4, TEXTS: 10}) == pytest.approx(0.5 * (2 + 3 * 4) + 0.1 * 10)
    assert rates.update({TRAINED_IMAGES: 2}) == pytest.approx(2.0 + 3.0 * 0.5 * 3 * 2)


@pytest.mark.parametrize(("seconds", "minutes", "saves"), [(59, 10, 0), (61, 10, 1), (600, 10, 1), (661, 10, 2), (1e6, 0, 0)])
def test_a_task_is_saved_every_ten_minutes_and_at_its_end(seconds, minutes, saves):
    assert _saves(seconds, minutes) == saves


def test_amounts_in_words():
    assert [size(n) for n in (12, 3_400, 5_600_000, 7.8e9)] == ["12 B", "3.4 kB", "5.6 MB", "7.8 GB"]
    assert [duration(n) for n in (3, 119.9, 180, 7200)] == ["3.0 s", "119.9 s", "3.0 min", "2.0 h"]
