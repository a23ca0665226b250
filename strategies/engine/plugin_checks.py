"""Checks of plugins and metrics: Avalanche's classes that do not work on a `PromptClassifier` in this loop are refused.

Every plugin class of Avalanche 0.6 is either in `WORKS`, with an effect that a test checks, or refused with a reason.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from avalanche.core import BasePlugin, BaseSGDPlugin, SupervisedPlugin
from avalanche.evaluation import PluginMetric
from avalanche.logging import BaseLogger

from models.registry import UserError

WORKS = (
    *("AGEMPlugin", "EWCPlugin", "EvaluationPlugin", "FromScratchTrainingPlugin", "GEMPlugin", "LwFPlugin", "MASPlugin"),
    *("RWalkPlugin", "ReplayPlugin"),
)
BASES = ("BasePlugin", "BaseSGDPlugin", "SupervisedPlugin", "SupervisedMetaLearningPlugin", "PeriodicEval", "Clock")

_LABELS = "it counts classes by label over all tasks, and here labels start at 0 in every task"
_HEAD = "it needs a linear classification layer, and here the classes are prompts"
_FORWARD = "it calls the model without task labels, and here an image is scored among its own task's prompts"
_REPLAY = "use --plugin replay (strategies.plugins.built_in.make('replay')) or --strategy icarl"
REFUSED = {
    "BiCPlugin": (_HEAD, _REPLAY),
    "CWRStarPlugin": (_HEAD, "use --tuning probe"),
    "CheckpointPlugin": ("its checkpoints are pickles", "`bench` saves after every task"),
    "CoPEPlugin": (_HEAD, _REPLAY),
    "CurrentDataFeCAMUpdate": (_HEAD, "use --tuning probe"),
    "CurrentDataNCMUpdate": (_HEAD, "use --tuning probe"),
    "EarlyStoppingPlugin": (
        "it acts between epochs, and here a task is a fixed number of updates with one learning-rate schedule over them",
        "use --set iterations=N or epochs=N",
    ),
    "FeCAMOracle": (_HEAD, "use --tuning probe"),
    "FeatureDistillationPlugin": ("it needs a model with an attribute `features`", "use --strategy lwf or zscl"),
    "GDumbPlugin": (_LABELS, "use --strategy joint or --plugin replay"),
    "GSS_greedyPlugin": (_FORWARD, _REPLAY),
    "GenerativeReplayPlugin": ("it needs a model that generates images", _REPLAY),
    "ICaRLLossPlugin": (_HEAD, "use --strategy icarl"),
    "LFLPlugin": ("it needs a model with `get_features` and a linear layer", "use --strategy lwf or --plugin lwf"),
    "LRSchedulerPlugin": (
        "it steps a scheduler once per epoch, and here a task is one epoch with a warm-up and a cosine over its updates",
        "use --set lr=, warmup= and lr_by_task.TASK=, or override the hook `learning_rate` in your strategy",
    ),
    "MIRPlugin": (_LABELS, _REPLAY),
    "MaskedCrossEntropy": (_HEAD, "the loss is already over the classes of the image's own task"),
    "MemoryFeCAMUpdate": (_HEAD, "use --tuning probe"),
    "MemoryNCMUpdate": (_HEAD, "use --tuning probe"),
    "NCMOracle": (_HEAD, "use --tuning probe"),
    "PackNetPlugin": ("it needs a model made by PackNetModel", "use --tuning lora or --strategy l2"),
    "RARPlugin": (_FORWARD, _REPLAY),
    "SynapticIntelligencePlugin": (
        "on a CPU Avalanche 0.6 keeps references to the weights where it means copies, so that it has no effect",
        "use --plugin si (strategies.plugins.built_in.make('si'))",
    ),
    "_ExpertGatePlugin": (_HEAD, _REPLAY),
    "_ICaRLPlugin": (_HEAD, "use --strategy icarl"),
    "TrainGeneratorAfterExpPlugin": ("it needs a model that generates images", _REPLAY),
}
REFUSED_METRICS = {
    "CumulativeAccuracyPluginMetric": (_LABELS, "use --protocol class, or metrics.plugins.AccuracyMatrix"),
    "CumulativeForgettingPluginMetric": (_LABELS, "use --protocol class, or metrics.plugins.AccuracyMatrix"),
    "MeanScoresEvalPluginMetric": (_LABELS, "use class_accuracy_metrics"),
    "MeanScoresTrainPluginMetric": (_LABELS, "use class_accuracy_metrics"),
    "WeightCheckpoint": ("it pickles the model", "save strategy.encoder.state_dict()"),
}
CALLBACKS = {
    name
    for kind in (BasePlugin, BaseSGDPlugin, SupervisedPlugin)
    for name in dir(kind)
    if name.startswith(("before_", "after_"))
}


def check_plugins(plugins: Iterable[Any]) -> None:
    """Raise UserError for a plugin that would fail or silently do nothing here, with what to use instead."""
    for plugin in plugins:
        if isinstance(plugin, type):
            raise UserError(f"plugins takes objects: {plugin.__name__}(...), not the class {plugin.__name__}.")
        if isinstance(plugin, PluginMetric):
            raise UserError(f"{type(plugin).__name__} is a metric: pass it in metrics=[...], where its values are reported.")
        if isinstance(plugin, BaseLogger):
            raise UserError(f"{type(plugin).__name__} is a logger: pass it in loggers=[...].")
        check_plugin_class(type(plugin))


def check_plugin_class(kind: type) -> None:
    """Raise UserError for a subclass of an Avalanche plugin that does not work here, and for a class without callbacks."""
    origin = next((each for each in kind.__mro__ if each.__module__.partition(".")[0] in ("avalanche", "strategies")), None)
    if origin is not None and origin.__module__.startswith("avalanche.") and origin.__name__ not in (*WORKS, *BASES):
        reason, instead = REFUSED.get(origin.__name__, ("it has not been adapted to heads of class prompts", _REPLAY))
        name = kind.__name__ if kind is origin else f"{kind.__name__} (an Avalanche {origin.__name__})"
        raise UserError(f"The plugin {name} does not work here: {reason}; {instead}.")
    _check_callbacks(kind, "plugin")
    if not issubclass(kind, BasePlugin) and not any(hasattr(kind, name) for name in CALLBACKS):
        raise UserError(f"{kind.__name__} is not a plugin: it has no callback of avalanche.core.SupervisedPlugin.")


def check_metrics(metrics: Sequence[Any]) -> None:
    """Raise UserError for an object that is passed as a metric and is not a metric."""
    for metric in metrics:
        for each in metric if isinstance(metric, (list, tuple)) else [metric]:
            if not isinstance(each, PluginMetric):
                got = each.__name__ if inspect.isclass(each) or inspect.isfunction(each) else type(each).__name__
                hint = "call it" if inspect.isclass(each) or inspect.isfunction(each) else "pass plugins in plugins=[...]"
                raise UserError(
                    f"metrics takes metric plugins, such as those of accuracy_metrics(stream=True), not {got}; {hint}."
                )
            if type(each).__name__ in REFUSED_METRICS and type(each).__module__.startswith("avalanche."):
                reason, instead = REFUSED_METRICS[type(each).__name__]
                raise UserError(f"The metric {type(each).__name__} does not work here: {reason}; {instead}.")
            _check_callbacks(type(each), "metric")


def _check_callbacks(kind: type, role: str) -> None:
    """Raise UserError for a method named like a callback that does not exist: Avalanche would ignore it."""
    for name in {name for each in kind.__mro__ for name in vars(each)} - CALLBACKS:
        if name.startswith(("before_", "after_")) and callable(getattr(kind, name)):
            near = difflib.get_close_matches(name, CALLBACKS, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"{kind.__name__}.{name} is not a callback of a {role}, so it would never be called.{hint}")
