"""The checks of a method's class when it is made."""

import warnings
from dataclasses import dataclass

import pytest

from models.registry import UserError
from strategies import STRATEGIES, Strategy
from strategies.engine.method_checks import HOOKS


def test_every_hook_is_one_of_the_base():
    assert all(callable(getattr(Strategy, hook)) for hook in HOOKS)


def test_a_hook_that_cannot_take_what_it_is_handed():
    with pytest.raises(UserError, match=r"^Mine.compute_loss must take \(self, batch\), not \(self\)\.$"):

        class Mine(Strategy):
            def compute_loss(self):
                return 0

    with pytest.raises(UserError, match=r"^Mine.before_run must take \(self\), not \(self, encoder\)\.$"):

        class Mine(Strategy):
            def before_run(self, encoder):
                pass

    with pytest.raises(UserError, match=r"^Mine.after_step must be a method \(self, step\)\.$"):

        class Mine(Strategy):
            after_step = 3


def test_an_init_and_options_of_their_own():
    with pytest.raises(UserError, match=r"^Mine defines __init__, which a strategy must not"):

        class Mine(Strategy):
            def __init__(self):
                pass

    with pytest.raises(UserError, match=r"^Mine.Options must be a subclass of Strategy.Options"):

        class Mine(Strategy):
            @dataclass(frozen=True)
            class Options:
                weight: float = 1.0


def test_a_misspelt_hook_is_said():
    with pytest.warns(UserWarning, match="^Mine.before_experiences is not a hook.* Did you mean before_experience"):

        class Mine(Strategy):
            def before_experiences(self):
                pass


def test_sound_classes_pass():
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        class Mine(STRATEGIES.get("zscl")):
            @dataclass(frozen=True)
            class Options(STRATEGIES.get("zscl").Options):
                weight: float = 1.0

            def compute_loss(self, batch, *, scale=1.0):
                return super().compute_loss(batch)

            def _after_steps(self):
                pass

            def weights_of_text(self):
                pass
