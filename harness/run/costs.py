"""Costs of a method other than training: the bytes that it stores per task, and the time per test image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from strategies.engine.mixed_evaluation import mixed_tasks
from strategies.engine.strategy import Strategy
from strategies.plugins import built_in


def stored_bytes(strategy: Strategy, plugins: Mapping[str, Any]) -> int:
    """Return the bytes of all tensors that a checkpoint holds: encoder, probe heads, and state of the method and of plugins.

    Images that a method keeps by their index in the training data are not counted.
    """
    states = [strategy.encoder.state_dict(), strategy.classifier.head_state(), strategy.state()]
    return sum(map(tensor_bytes, [*states, *(built_in.state(plugin) for plugin in plugins.values())]))


def tensor_bytes(value: Any) -> int:
    """Return the bytes of the tensors in nested dicts, lists and tuples."""
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    return sum(map(tensor_bytes, value)) if isinstance(value, (list, tuple)) else 0


def milliseconds_per_image(strategy: Strategy, tests: Sequence[Any]) -> float:
    """Return the time from the pixels of a test image to its logits, in milliseconds, in a batch of up to 64 images."""
    return 1000 * strategy.seconds_per_image(mixed_tasks(tests) or tests[:1])
