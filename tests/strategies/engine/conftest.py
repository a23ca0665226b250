"""Fixtures of the engine."""

import pytest
from avalanche.core import SupervisedPlugin


class Logits(SupervisedPlugin):
    """Keeps the logits of every evaluated batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def after_eval_iteration(self, strategy, **kwargs):
        self.seen.append(strategy.mb_output.clone())


@pytest.fixture
def kept_logits():
    return Logits
