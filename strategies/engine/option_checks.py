"""Checks of options that several methods and plugins share. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any


def check_not_negative(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is a finite number of at least 0."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be a finite number of at least 0, got {value}")


def check_positive(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is greater than 0; infinity is."""
    if not value > 0:
        raise ValueError(f"{name} must be greater than 0, got {value}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise ValueError, naming the option, for a value below `least`."""
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")


def check_at_most(name: str, value: float, most: float) -> None:
    """Raise ValueError, naming the option, for a value above `most`."""
    if value > most:
        raise ValueError(f"{name} must be at most {most:,}, got {value}")


def check_fraction(name: str, value: float) -> None:
    """Raise ValueError, naming the option, unless its value is in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_training(options: Any) -> None:
    """Raise ValueError for training options (`Strategy.Options`) that cannot work."""
    for name in ("lr", "label_smoothing", "weight_decay", "beta1", "beta2"):
        if not math.isfinite(getattr(options, name)):
            raise ValueError(f"{name} must be a finite number, got {getattr(options, name)}")
    least = {"iterations": 1, "epochs": 0, "batch_size": 1, "warmup": 0, "lr": 0, "weight_decay": 0}
    for name, value in least.items():
        check_at_least(name, getattr(options, name), value)
    most = {"iterations": 10**9, "epochs": 10**6, "batch_size": 10**7, "warmup": 10**9, "lr": 1e20, "weight_decay": 1e20}
    for name, largest in most.items():
        check_at_most(name, getattr(options, name), largest)
    for task, rate in options.lr_by_task.items():
        check_not_negative(f"lr_by_task.{task}", rate)
    check_fraction("label_smoothing", options.label_smoothing)
    for name in ("beta1", "beta2"):
        if not 0 <= getattr(options, name) < 1:
            raise ValueError(f"{name} must be in [0, 1), got {getattr(options, name)}")
