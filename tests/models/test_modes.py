"""Temporary evaluation mode of a module's layers."""

import pytest
from torch import nn

from models.modes import evaluating


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_comes_back_even_after_an_error(training):
    module = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train(training)
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert all(part.training is training for part in module.modules())
    with pytest.raises(ZeroDivisionError), evaluating(module):
        raise ZeroDivisionError
    assert all(part.training is training for part in module.modules())
