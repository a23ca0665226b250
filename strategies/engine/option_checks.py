"""Checks of options that several methods and plugins share. Imports neither torch nor Avalanche."""

from __future__ import annotations

import math


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is a finite number of at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is greater than 0. Infinity passes."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, got {value}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError, naming the option, for a value below `least`."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
