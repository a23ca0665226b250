"""The plugins of `--plugin` by name: their options, the combinations that do not work, and their saved state.

They can be combined with any strategy: `Strategy(plugins=[make("ewc", options_of("ewc")())])`. The classes are Avalanche's,
with fixes for prompt heads (`strategies.plugins.consolidation`, `strategies.plugins.replay`). `make` imports Avalanche.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from models.registry import unknown
from models.setting import check_ranges, setting

if TYPE_CHECKING:
    from benchmarks.scenario import DomainExperience
    from strategies.engine.strategy import Strategy


@dataclass(frozen=True)
class PluginOptions:
    """Base class of the options of plugins: checks their ranges."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value out of range."""
        check_ranges(self)


@dataclass(frozen=True)
class EWCOptions(PluginOptions):
    """Options of `ewc`.

    `ewc_lambda` is the weight of the penalty, which Avalanche does not halve. `mode` "separate" has a penalty for each earlier
    task. "online" has one, whose Fisher information is decay_factor times the old plus the new. `decay_factor` is only for
    "online", where its default is 1 (our choice).

    Avalanche has no default for the weight. Ours is the best of 1e3, 1e4, 1e5, 3e5 and 1e6 by the mean accuracy on validation
    images of the mini edition's first four MTIL tasks, with finetune, seed 0. It has not been measured on the full edition.
    """

    ewc_lambda: float = setting(1e5, "weight of the penalty", least=0)
    mode: Literal["separate", "online"] = setting("separate", "one penalty per earlier task, or one for all of them")
    decay_factor: float | None = setting(None, "share of the old Fisher information in the new one, with mode=online", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay_factor is not None and self.mode != "online":
            raise ValueError("decay_factor needs mode=online")


@dataclass(frozen=True)
class SIOptions(PluginOptions):
    """Options of `si`.

    `si_lambda` is twice the weight of the penalty. `eps` keeps importances finite. They are cut to [0, clip], or not cut if
    `clip` is None.

    Avalanche has no default for the weight. Ours is the best of 0.1, 0.3, 1, 10 and 100, found like `EWCOptions.ewc_lambda`.
    `eps` is Avalanche's. Avalanche cuts at 0.001. Three quarters of all values exceeded this after the first of those tasks, so
    that the penalty would be nearly plain L2. The paper has no limit.
    """

    si_lambda: float = setting(0.3, "twice the weight of the penalty", least=0)
    eps: float = setting(1e-7, "added to squared path lengths, so that importances are finite", above=0)
    clip: float | None = setting(None, "largest importance; none: no limit", above=0)


@dataclass(frozen=True)
class MASOptions(PluginOptions):
    """Options of `mas`, with Avalanche's defaults.

    `lambda_reg` is the weight of the penalty, `alpha` the share of the old importances in the new ones.
    """

    lambda_reg: float = setting(1.0, "weight of the penalty", least=0)
    alpha: float = setting(0.5, "share of the old importances in the new ones", least=0, most=1)


@dataclass(frozen=True)
class ReplayOptions(PluginOptions):
    """Options of `replay`, with Avalanche's defaults.

    `mem_size` images in all are shared equally by the tasks. Each step uses `batch_size_mem` of them; None is as many as in a
    batch.
    """

    mem_size: int = setting(200, "images in the memory, shared equally by the tasks", least=1)
    batch_size_mem: int | None = setting(None, "images of the memory per update; none: as many as in a batch", least=1)
    task_balanced_dataloader: bool = setting(False, "take the same number of images of each task in every update")


@dataclass(frozen=True)
class LwFOptions(PluginOptions):
    """Options of `lwf`, with Avalanche's defaults. `alpha` is the weight of the distillation."""

    alpha: float = setting(1.0, "weight of the distillation", least=0)
    temperature: float = setting(2.0, "temperature of the distillation", above=0)


class _Plugin(NamedTuple):
    """A plugin: one line about it, its options, and "module:class"."""

    about: str
    options: type
    target: str


_TABLE = {
    "ewc": _Plugin(
        "elastic weight consolidation: a penalty by each weight's Fisher information (1612.00796)",
        EWCOptions,
        "strategies.plugins.consolidation:EWC",
    ),
    "si": _Plugin(
        "synaptic intelligence: a penalty by each weight's share in the loss's fall (1703.04200)",
        SIOptions,
        "strategies.plugins.consolidation:SynapticIntelligence",
    ),
    "mas": _Plugin(
        "memory aware synapses: a penalty by each weight's influence on the logits (1711.09601)",
        MASOptions,
        "strategies.plugins.consolidation:MAS",
    ),
    "replay": _Plugin(
        "earlier tasks' images with every batch, each scored among its own task's classes",
        ReplayOptions,
        "strategies.plugins.replay:Replay",
    ),
    "lwf": _Plugin(
        "learning without forgetting: the previous model's outputs for all earlier tasks (1606.09282)",
        LwFOptions,
        "strategies.plugins.consolidation:MultiHeadLwF",
    ),
}
PLUGINS = {name: plugin.about for name, plugin in _TABLE.items()}


def options_of(name: str) -> type:
    """Return the frozen dataclass of a plugin's options. Raises UserError for an unknown plugin."""
    if name not in _TABLE:
        raise unknown("plugin", name, _TABLE)
    return _TABLE[name].options


def make(name: str, options: Any = None) -> Any:
    """Return a new plugin for `Strategy(plugins=[...])`.

    Args:
        name: one of `PLUGINS`.
        options: an instance of `options_of(name)`; None for the defaults.

    Raises:
        UserError: the plugin is unknown.

    Example:
        strategy = Strategy(encoder=encoder, plugins=[make("replay")])
    """
    kind = options_of(name)
    module, attribute = _TABLE[name].target.split(":")
    plugin_class = getattr(importlib.import_module(module), attribute)
    return plugin_class(**dataclasses.asdict(options if options is not None else kind()))


def refusal(name: str, strategy_class: Any, tuning_name: str) -> str | None:
    """Return why a plugin cannot work with a strategy and a tuning, in one sentence, or None if it can."""
    options_of(name)
    method = getattr(strategy_class, "__name__", str(strategy_class))
    if not strategy_class.trains:
        return f"The plugin {name} acts on training, and {method} does not train."
    if tuning_name == "probe":
        return f"The plugin {name} has nothing to keep under --tuning probe: the tasks share no trainable parameter."
    if strategy_class.restarts:
        return (
            f"The plugin {name} is for models trained one task after another, and {method} trains from the initial weights "
            "each time."
        )
    if name == "lwf" and strategy_class.trains_on_ensembles:
        return f"The plugin lwf compares heads of the first template, and {method} trains against template ensembles."
    if tuning_name == "lora" and name in ("ewc", "si", "mas") and strategy_class.replaces_weights:
        return (
            f"The plugin {name} holds LoRA's matrices, and {method} merges them into the weights at the end of a task and "
            "restarts LoRA."
        )
    return None


def state(plugin: Any) -> dict[str, Any]:
    """Return what must survive a kill: tensors, numbers, strings, lists and dicts with string keys.

    A user's plugin returns it from a method `state()` and restores it in `load(state)`. A plugin without them has no state.
    """
    return plugin.state() if hasattr(plugin, "state") else {}


def load_state(plugin: Any, saved: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
    """Restore a plugin, so that the run continues bit-exactly as if it had not been killed.

    Args:
        plugin: a new plugin with the same options, among the strategy's plugins.
        saved: what `state` returned.
        strategy: its encoder has the weights of the checkpoint.
        experiences: the training experiences that are done, in order.
    """
    for experience in experiences:
        for label in experience.task_labels:
            strategy.classifier.register_domain(label, experience.domain)
        strategy.classifier.known_train_tasks_labels.update(experience.task_labels)
    # Avalanche's plugins count experiences by this counter.
    strategy.clock.train_exp_counter = len(experiences)
    if type(plugin).__module__.partition(".")[0] == "strategies":
        plugin.load(saved, strategy, experiences)
    elif hasattr(plugin, "load"):
        plugin.load(saved)
