"""Avalanche's plugins by name: what they are, their options, where they cannot work, and what of them survives a kill.

They go with any strategy: `Strategy(plugins=[make("ewc", options_of("ewc")())])`. The classes are Avalanche's, with
fixes for this model (`strategies.plugins.consolidation`, `strategies.plugins.replay`). Avalanche is imported when one is made.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from models.registry import unknown
from strategies.engine.option_checks import check_at_least, check_fraction, check_not_negative, check_positive


@dataclass(frozen=True)
class EWCOptions:
    """`ewc_lambda`: weight of the penalty, which Avalanche does not halve.

    mode: "separate", a penalty for each earlier task; "online", one, whose Fisher information is decay_factor times the old
    plus the new. `decay_factor` is for "online" alone and 1 unless given (our choice).

    Avalanche has no default for the weight. Ours is the best of 1e3, 1e4, 1e5, 3e5 and 1e6 by the mean accuracy on validation
    images of the mini edition's first four MTIL tasks, with finetune, seed 0; on the full edition it has not been measured.
    """

    ewc_lambda: float = 1e5
    mode: Literal["separate", "online"] = "separate"
    decay_factor: float | None = None

    def __post_init__(self) -> None:
        check_not_negative("ewc_lambda", self.ewc_lambda)
        if self.decay_factor is not None:
            check_not_negative("decay_factor", self.decay_factor)
            if self.mode != "online":
                raise ValueError("decay_factor needs mode=online")


@dataclass(frozen=True)
class SIOptions:
    """`si_lambda`: twice the weight of the penalty; `eps` keeps importances finite; they are cut to [0, clip], None: no limit.

    Avalanche has no default for the weight. Ours is the best of 0.1, 0.3, 1, 10 and 100, found as `EWCOptions.ewc_lambda` was.
    `eps` is Avalanche's. It cuts at 0.001, which after the first of those tasks three quarters of all values exceeded, so that
    the penalty would be nearly plain L2; the paper has no limit.
    """

    si_lambda: float = 0.3
    eps: float = 1e-7
    clip: float | None = None

    def __post_init__(self) -> None:
        check_not_negative("si_lambda", self.si_lambda)
        check_positive("eps", self.eps)
        if self.clip is not None:
            check_positive("clip", self.clip)


@dataclass(frozen=True)
class MASOptions:
    """`lambda_reg`: weight of the penalty; `alpha`: share of the old importances in the new ones. Defaults: Avalanche's."""

    lambda_reg: float = 1.0
    alpha: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative("lambda_reg", self.lambda_reg)
        check_fraction("alpha", self.alpha)


@dataclass(frozen=True)
class ReplayOptions:
    """`mem_size` images in all, shared equally by the tasks; `batch_size_mem` of them in a step, None: as many as in a batch.

    Defaults: Avalanche's.
    """

    mem_size: int = 200
    batch_size_mem: int | None = None
    task_balanced_dataloader: bool = False

    def __post_init__(self) -> None:
        check_at_least("mem_size", self.mem_size, 1)
        if self.batch_size_mem is not None:
            check_at_least("batch_size_mem", self.batch_size_mem, 1)


@dataclass(frozen=True)
class LwFOptions:
    """`alpha`: weight of the distillation. Defaults: Avalanche's."""

    alpha: float = 1.0
    temperature: float = 2.0

    def __post_init__(self) -> None:
        check_not_negative("alpha", self.alpha)
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be greater than 0, got {self.temperature}")


class _Plugin(NamedTuple):
    """What it is in a line, its options, and where the class is."""

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
        "earlier tasks' images beside every batch, each scored among its own task's classes",
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
    """The frozen dataclass of a plugin's options. Raises UserError for an unknown plugin."""
    if name not in _TABLE:
        raise unknown("plugin", name, _TABLE)
    return _TABLE[name].options


def make(name: str, options: Any = None) -> Any:
    """A new plugin, ready for `Strategy(plugins=[...])`; `options` is an `options_of(name)`, None: its defaults.

    Raises UserError for an unknown plugin.
    """
    kind = options_of(name)
    module, attribute = _TABLE[name].target.split(":")
    found = getattr(importlib.import_module(module), attribute)
    return found(**dataclasses.asdict(options if options is not None else kind()))


def refusal(name: str, strategy_class: Any, tuning_name: str) -> str | None:
    """Why a plugin cannot work with a strategy and a tuning, in a sentence; None: it can."""
    from strategies.engine.joint_batches import JointTraining
    from strategies.paint import Patching, TaskVectors
    from strategies.wise_ft import WiSEFT
    from strategies.zscl import ZSCL

    options_of(name)
    who = getattr(strategy_class, "__name__", str(strategy_class))
    if not strategy_class.trains:
        return f"The plugin {name} acts on training, and {who} does not train."
    if tuning_name == "probe":
        return f"The plugin {name} has nothing to keep under the tuning probe: no task trains what another one uses."
    if issubclass(strategy_class, (JointTraining, TaskVectors)):
        return (
            f"The plugin {name} is for models trained one task after another; {who} trains from the initial weights each time."
        )
    if name == "lwf" and issubclass(strategy_class, Patching):
        return f"The plugin lwf compares heads of the first template, and {who} trains against template ensembles."
    if tuning_name == "lora" and name in ("ewc", "si", "mas") and issubclass(strategy_class, (Patching, WiSEFT, ZSCL)):
        return (
            f"The plugin {name} holds LoRA's matrices, and {who} merges them into the weights at the end of a task and starts "
            "again from none."
        )
    return None


def state(plugin: Any) -> dict[str, Any]:
    """What must survive a kill: tensors, numbers, strings, lists and dicts with string keys.

    A user's plugin says it by methods `state()` and `load(state)`; one without them has nothing to say.
    """
    return plugin.state() if hasattr(plugin, "state") else {}


def load_state(plugin: Any, saved: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
    """Take back what `state` gave: the run then goes on to the bit as if it had not been killed.

    Args:
        plugin: a new one, made with the same options, among the strategy's plugins.
        strategy: its encoder has the weights of the checkpoint already.
        experiences: the training experiences that are done, in order.
    """
    for experience in experiences:
        for label in experience.task_labels:
            strategy.classifier.register_domain(label, experience.domain)
        strategy.classifier.known_train_tasks_labels.update(experience.task_labels)
    # Avalanche's plugins count experiences by it.
    strategy.clock.train_exp_counter = len(experiences)
    if type(plugin).__module__.partition(".")[0] == "strategies":
        plugin.load(saved, strategy, experiences)
    elif hasattr(plugin, "load"):
        plugin.load(saved)
