"""A plan without measurements."""

import pytest

from harness.plan import rates


@pytest.fixture
def quick(monkeypatch):
    """Measure nothing: only the counts are read."""
    nothing = rates.Rates(0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, True)
    monkeypatch.setattr("harness.plan.plan.measure_rates", lambda *arguments: nothing)
    monkeypatch.setattr("harness.plan.updates.MOST_STEPS", 1)
