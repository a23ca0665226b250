"""The options and the template of methods that learn the words before the class name (`coop`, `s-prompts`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.contexts import placeholder
from models.setting import setting
from strategies.engine.strategy import Strategy


class LearnedContext(Strategy):
    """Base class: learned vectors in place of the words before the class name, in front of frozen towers."""

    options: Options
    default_tuning = "frozen"

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of every method with a learned context."""

        context: str = setting("a photo of a", "words that the context starts from, before the class name")
        random_tokens: int = setting(0, "if above 0, this many random vectors in place of the words", least=0, most=64)
        optimizer: Literal["adamw", "sgd"] = "sgd"
        lr: float = 0.01
        epochs: int = 30
        warmup: int = 0
        label_smoothing: float = 0.0

    @property
    def template(self) -> str:
        """The template whose words the context replaces."""
        return placeholder(self.options.random_tokens) if self.options.random_tokens else f"{self.options.context} {{}}."
