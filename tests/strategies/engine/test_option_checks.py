"""Checks of options: values that pass, and messages for values that do not."""

import math
import re

import pytest

from strategies.engine.option_checks import check_at_least, check_fraction, check_not_negative, check_positive


@pytest.mark.parametrize("value", [0, 0.0, 1e-300, 3, 1e300])
def test_finite_numbers_from_0_on_pass(value):
    check_not_negative("l2", value)


@pytest.mark.parametrize("value", [-1, -1e-300, math.nan, math.inf, -math.inf])
def test_others_are_named(value):
    with pytest.raises(ValueError, match=f"^{re.escape(f'the weight l2 must be a finite number of at least 0, got {value}')}$"):
        check_not_negative("the weight l2", value)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_fractions_include_both_ends(value):
    check_fraction("alpha", value)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf])
def test_what_is_no_fraction_is_named(value):
    with pytest.raises(ValueError, match=f"^{re.escape(f'alpha must be in [0, 1], got {value}')}$"):
        check_fraction("alpha", value)


@pytest.mark.parametrize("value", [1e-300, 1, math.inf])
def test_what_is_greater_than_0_passes(value):
    check_positive("eps", value)


@pytest.mark.parametrize("value", [0, -1.0, math.nan])
def test_what_is_not_is_named(value):
    with pytest.raises(ValueError, match=f"^eps must be greater than 0, got {re.escape(str(value))}$"):
        check_positive("eps", value)


def test_least_values_pass_and_lesser_ones_are_named():
    check_at_least("memory", 1, 1)
    with pytest.raises(ValueError, match=r"^memory must be at least 1, got 0$"):
        check_at_least("memory", 0, 1)
