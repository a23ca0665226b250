"""Give a new strategy and new plugins the state of a checkpoint, for a resumed run and for a saved model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import StartOver
from strategies.plugins import built_in


def restore(
    weights: Mapping[str, Tensor],
    state: Mapping[str, Any],
    strategy: Strategy,
    plugins: Mapping[str, Any],
    experiences: Sequence[Any],
) -> None:
    """Give a strategy, after `prepare_run`, and its plugins the state of a checkpoint.

    Args:
        weights: of the encoder, from `harness.run.checkpoint.load_state`.
        state: the other state, from the same function.
        strategy: a new strategy with the options of the run.
        plugins: new plugins by name.
        experiences: the finished training experiences.

    Raises:
        StartOver: the checkpoint does not hold all state, such as parameters that the method has added to the encoder and does
            not make again.
    """
    strategy.make_modules(experiences)
    strategy.freeze_modules()
    if unmatched := sorted(strategy.encoder.state_dict().keys() ^ weights.keys()):
        raise StartOver([f"encoder.{name}" for name in unmatched], within=False)
    strategy.encoder.load_state_dict(weights)
    strategy.classifier.load_head_state(state["heads"])
    strategy.load(state["method"])
    for name, plugin in plugins.items():
        built_in.load_state(plugin, state["plugins"][name], strategy, experiences)
    if strategy.own_state is not None:
        strategy.own_state.compare(state.get("attributes", {}))
    strategy.trained = len(experiences)
