"""Resolve the configuration of a run: names checked, defaults filled in, and the key that its folder has."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
from benchmarks.plan import StreamPlan
from harness.config.options import make_options, plugin_options, split_prefix, tuning_options
from harness.config.reference_names import pairs_on_disk, reference_names, reference_on_disk
from harness.config.run_config import RunConfig
from harness.config.settings import check_distinct_items, check_values, declared, in_identity
from harness.config.user_file import check_source, check_strategy, is_file, load_strategy, load_tuning, source_sha256
from harness.config.user_plugins import class_name, plugin_settings, user_plugins
from harness.loggers import check_loggers
from harness.records.files import file_sha256
from harness.records.run_json import digest_of, key_of, retained
from metrics.suite import AFTER_TRAINING, RUN_DEFAULTS, select_measures
from models.files import reason
from models.loading.local_files import SHIPPED, weights_sha256
from models.registry import UserError, unknown
from models.setting import without_usual
from models.tuning_options import options_of
from strategies.engine.method_checks import is_built_in

DEFAULT_MODELS = {False: ("tiny", None), True: ("ViT-B-16", "openai")}
"""The model and its weights by whether the data has the papers' size."""


@dataclass(frozen=True)
class Resolved:
    """A checked configuration: everything that decides the numbers, and the folder of the record.

    Attributes:
        config: the run as the user asked for it.
        plan: the stream.
        strategy_class: the strategy's class, or its declaration (`strategies.engine.declared`).
        strategy_slug: the name of the strategy and its plugins in the name of the folder.
        options: the strategy's options.
        tuning: the name of the tuning, or its file as the user wrote it.
        tuning_options: the options of the tuning.
        plugins: the options of each plugin by name.
        order_label: "I", "II", "default" or "custom-" and a digest.
        model: the name of the model.
        pretrained: the tag or file of its weights.
        strategy_sha256: the digest of the file of a strategy that is not built in.
        tuning_sha256: the digest of the file of a tuning that is not built in.
        weights_sha256: the digest of the weights' file.
        data_version: the digest of the data.
        reference: names of the reference images and sentences.
        reads_reference: the method reads them with its options.
        reference_version: the digest of the reference data.
        files: digests of other files that the strategy reads.
        reference_paths: the reference images in a folder of the user's, so that it is searched only once.
    """

    config: RunConfig
    plan: StreamPlan
    strategy_class: Any
    strategy_slug: str
    options: Any
    tuning: str
    tuning_options: Any
    plugins: dict[str, Any]
    order_label: str
    model: str
    pretrained: str | None
    strategy_sha256: str | None
    weights_sha256: str | None
    data_version: str | None
    reference: tuple[str, str] | None
    reads_reference: bool
    reference_version: str | None
    files: dict[str, str]
    reference_paths: Sequence[str] | None = dataclasses.field(default=None, repr=False)
    tuning_sha256: str | None = None

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of the tasks in order."""
        return self.plan.names

    @property
    def heldout(self) -> tuple[str, ...]:
        """The names of the held-out domains."""
        return self.plan.heldout

    @property
    def retained(self) -> tuple[str, ...]:
        """The names of the held-out domains that count for Retention."""
        return retained({"heldout": self.plan.heldout, "targets": self.plan.targets})

    @property
    def measures(self) -> tuple[str, ...]:
        """The measures that are computed before each experience (`metrics.suite`), and after it."""
        return _measures(self.config)

    @property
    def request(self) -> dict[str, Any]:
        """The settings that make this run again, with every default filled in, as JSON: `request` in run.json."""
        plugins = {
            f"{plugin}.{name}": value
            for plugin, options in self._plugin_settings().items()
            for name, value in options.items()
            if name != "sha256"
        }
        tuning = {f"tuning.{name}": value for name, value in dataclasses.asdict(self.tuning_options).items()}
        options = {**dataclasses.asdict(self.options), **tuning, **plugins}
        return {**filled_in(self.config, self.plan), "tuning": self.tuning, "options": options}

    def identity(self) -> dict[str, Any]:
        """Return what decides the numbers, as JSON. The key is its hash."""
        plain = "+".join([self.config.strategy, *map(slug, self.plugins)])
        return {
            "benchmark": self.plan.benchmark,
            "order": self.order_label,
            "tasks": list(self.tasks),
            "heldout": list(self.heldout),
            **self.plan.details,
            "strategy": self.strategy_slug if self.strategy_sha256 else plain,
            "strategy_sha256": self.strategy_sha256,
            "options": without_usual(self.options),
            "reference": None if self.reference is None else list(self.reference),
            "reference_version": self.reference_version,
            "weights_sha256": self.weights_sha256,
            "data_version": self.data_version,
            "tuning_options": without_usual(self.tuning_options),
            "plugins": self._plugin_settings(),
            **in_identity(self.request),
            **self._tuning_identity(),
            # Only if there are any: older records keep their keys.
            **({"files": self.files} if self.files else {}),
            **({"targets": list(self.plan.targets)} if self.plan.targets else {}),
        }

    def _tuning_identity(self) -> dict[str, Any]:
        """Return the name and the digest of a tuning that is not built in, so that the place of its file does not matter."""
        if self.tuning_sha256 is None:
            return {}
        name = slug(type(self.tuning_options).__name__) if is_file(self.tuning) else self.tuning
        return {"tuning": name, "tuning_sha256": self.tuning_sha256}

    def _plugin_settings(self) -> dict[str, dict[str, Any]]:
        return {name: plugin_settings(options) for name, options in self.plugins.items()}

    @property
    def key(self) -> str:
        """The hash of the identity."""
        return key_of(self.identity())

    @property
    def folder(self) -> Path:
        """The folder of the record."""
        return Path(self.config.out) / stream_folder(self.plan) / f"{self.strategy_slug}-{self.key}"


def stream_folder(plan: StreamPlan) -> str:
    """Return the name of the folder with all runs of a benchmark, edition and order."""
    return f"{plan.benchmark}-{plan.edition}-{order_label(plan)}"


def filled_in(config: RunConfig, plan: StreamPlan) -> dict[str, Any]:
    """Return the recorded settings of a run with the defaults of its benchmark filled in, as JSON.

    `tuning` is None for the strategy's default, and `options` holds the user's changes.
    """
    model, pretrained = model_of(config.model, config.pretrained, plan.full_size, plan.model)
    defaults = {
        "edition": plan.edition,
        "order": _order_flag(config, plan),
        "heldout": plan.heldout if config.heldout is None else config.heldout,
        "protocol": plan.protocol,
        "duplicates": plan.duplicates,
        "shots": plan.shots if config.shots is None else config.shots,
        "measures": _measures(config),
        "model": model,
        "pretrained": pretrained,
    }
    recorded = [name for name, setting in declared(RunConfig).items() if setting.recorded]
    values = {name: defaults.get(name, getattr(config, name)) for name in recorded}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _measures(config: RunConfig) -> tuple[str, ...]:
    return RUN_DEFAULTS if config.measures is None else select_measures(config.measures, AFTER_TRAINING)


def _order_flag(config: RunConfig, plan: StreamPlan) -> str | list[str] | None:
    """Return the value of --order that gives the same order again; None if --tasks gives it."""
    if plan.order != "custom":
        return plan.order
    return None if config.tasks is not None else _ordered_names(plan)


_on_disk: ContextVar[dict[str, Any] | None] = ContextVar("on_disk", default=None)


@contextmanager
def unchanged_data() -> Iterator[None]:
    """Assume within the block that data on disk does not change: it is searched once, not once per run."""
    token = _on_disk.set({})
    try:
        yield
    finally:
        _on_disk.reset(token)


def _once(key: str, look: Callable[[], Any]) -> Any:
    """Return what `look` returns, from memory within `unchanged_data`."""
    known = _on_disk.get()
    if known is None:
        return look()
    if key not in known:
        known[key] = look()
    return known[key]


def check_names(config: RunConfig) -> StreamPlan:
    """Check everything that can be checked without importing torch, and return the plan of the stream.

    Raises UserError.
    """
    from benchmarks import BENCHMARKS

    check_values(config)
    code = {"strategy": [config.strategy], "tuning": [config.tuning or ""], "plugin": config.plugins, "logger": config.log}
    for kind, names in code.items():
        for name in filter(is_file, names):
            check_source(name, kind)
    check_distinct_items(config.plugins, "--plugin")
    check_distinct_items(config.log, "--log")
    check_loggers(name for name in config.log if not is_file(name))
    select_measures(config.measures or (), AFTER_TRAINING)
    if config.val_limit is not None and config.split != "val":
        raise UserError("--val-limit limits the images that --split val scores: add --split val, or use --limit.")
    plan: StreamPlan = BENCHMARKS.get(config.benchmark)(config.ask())
    if config.split == "val":
        # Targets have only test images.
        heldout = tuple(name for name in plan.heldout if name not in plan.targets)
        return dataclasses.replace(plan, heldout=heldout, targets=())
    return plan


def resolve(config: RunConfig) -> Resolved:
    """Check a configuration before anything is loaded or trained: names, orders, options and their ranges.

    `models.load` checks the tag of a model and `harness.run.environment` the device, also before training.

    Raises UserError.
    """
    plan = check_names(config)
    from strategies import STRATEGIES
    from strategies.plugins.built_in import PLUGINS, refusal

    strategy_class: Any
    sha: str | None = None
    if is_file(config.strategy):
        strategy_class, sha = load_strategy(config.strategy)
    else:
        strategy_class = STRATEGIES.get(config.strategy)
        check_strategy(strategy_class, config.strategy)
        # The code of an installed package or of a module that registers a strategy decides the numbers like a user's file.
        sha = None if is_built_in(strategy_class) else source_sha256(strategy_class)
    resolved = _resolved(config, plan, strategy_class, sha)
    if (wrong := _frozen_refusal(resolved)) is not None:
        raise UserError(wrong)
    for name in (name for name in resolved.plugins if name in PLUGINS):
        if (reason := refusal(name, strategy_class, resolved.tuning)) is not None:
            raise UserError(reason)
    return resolved


def _frozen_refusal(resolved: Resolved) -> str | None:
    """Return why a strategy cannot have its tuning, in one sentence, or None if it can."""
    kind, name = resolved.strategy_class, resolved.config.strategy
    if (kind.default_tuning == "frozen") == (resolved.tuning == "frozen") or not kind.learns:
        return None
    if resolved.tuning != "frozen":
        does = "trains only modules that it adds" if kind.trains else "leaves the encoder frozen"
        return f"{name} {does}, so --tuning {resolved.tuning} has no effect. Leave --tuning out."
    if not kind.trains:
        return None
    return f"{name} trains the encoder, and under --tuning frozen nothing trains. Choose another tuning, or leave --tuning out."


def outline(config: RunConfig) -> Resolved | None:
    """Resolve a configuration without importing torch, Avalanche or a user's code; return None if that needs a user's code.

    The result has the key of the run, and a declaration (`strategies.engine.declared`) in place of the strategy's class.
    Whether the plugins work with the strategy is not checked. Raises UserError.
    """
    plan = check_names(config)
    from strategies import TARGETS
    from strategies.engine.declared import declared as declared_strategy

    if config.strategy not in TARGETS or any(map(is_file, config.plugins)) or config.tuning not in (None, *models.TUNINGS):
        return None
    return _resolved(config, plan, declared_strategy(config.strategy), None)


def _resolved(config: RunConfig, plan: StreamPlan, strategy_class: Any, sha: str | None) -> Resolved:
    model, pretrained = model_of(config.model, config.pretrained, plan.full_size, plan.model)
    file_plugins, changes = user_plugins(config.plugins, config.options, strategy_class)
    changes, named_plugins = plugin_options([name for name in config.plugins if not is_file(name)], changes)
    by_name = {**named_plugins, **file_plugins}
    plugins = {name: by_name[name] for name in (class_name(name, file_plugins) for name in config.plugins)}
    changes, tuning_changes = split_prefix(changes, "tuning")
    options = make_options(strategy_class, settings_of(plan, model), changes)
    for name in changes:
        if name.startswith("lr_by_task.") and (task := name.removeprefix("lr_by_task.")) not in plan.names:
            raise unknown("task of lr_by_task", task, plan.names)
    tuning = config.tuning or strategy_class.default_tuning
    kind, tuning_sha256 = _tuning(tuning)
    pairs = strategy_class.needs_pairs
    reference = reference_names(plan, options, pairs) if strategy_class.needs_reference else None
    reference_version, reference_paths = None, None
    # A user's class may read reference data for a loss that the options of its base do not name.
    reads_reference = reference is not None and (sha is not None or strategy_class.uses_reference(options))
    if reference is not None and reads_reference:
        place = (*reference, config.data_root)
        if pairs:
            reference_version = _once(f"pairs {place} {plan.names}", lambda: pairs_on_disk(*place, plan.names))
        else:
            reference_version, reference_paths = _once(f"reference {place}", lambda: reference_on_disk(*place))
    name = slug(strategy_class.__name__ if is_file(config.strategy) else config.strategy)
    return Resolved(
        config=config,
        plan=plan,
        strategy_class=strategy_class,
        strategy_slug="+".join([name, *map(slug, plugins)]),
        options=options,
        tuning=tuning,
        tuning_options=tuning_options(tuning, tuning_changes, kind),
        plugins=plugins,
        order_label=order_label(plan),
        model=model,
        pretrained=pretrained,
        strategy_sha256=sha,
        weights_sha256=weights_sha256(model, pretrained),
        data_version=_once(f"data {config.benchmark} {config.ask()}", plan.version),
        reference=reference,
        reads_reference=reads_reference,
        reference_version=reference_version,
        files={what: _content(path) for what, path in strategy_class.files(options).items()},
        reference_paths=reference_paths,
        tuning_sha256=tuning_sha256,
    )


def _tuning(name: str) -> tuple[type | None, str | None]:
    """Return the class and the digest of a tuning that is not built in, otherwise None and None."""
    if is_file(name):
        return load_tuning(name)
    if name in models.TUNINGS:
        return None, None
    kind = options_of(name)
    return kind, source_sha256(kind)


def settings_of(plan: StreamPlan, model: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the benchmark's options by strategy. The mini settings are for tiny models; others get the papers'."""
    return plan.tiny_settings if model in SHIPPED else plan.settings


def model_of(model: str | None, pretrained: str | None, full_size: bool, usual: str | None = None) -> tuple[str, str | None]:
    """Return a model and its weights with the default filled in: `usual`, or the one for data of the papers' size or less."""
    if model is not None or usual is not None:
        return model or str(usual), pretrained
    default, weights = DEFAULT_MODELS[full_size]
    return default, pretrained or weights


def order_label(plan: StreamPlan) -> str:
    """Return the name of an order in the folder of a run: "I", or "custom-" and a digest of the names."""
    return f"custom-{digest_of(_ordered_names(plan), 8)}" if plan.order == "custom" else plan.order


def _ordered_names(plan: StreamPlan) -> list[str]:
    """Return the names that an order sorts: the classes of a class-incremental stream, otherwise the tasks."""
    return list(plan.details.get("class_order") or plan.names)


def slug(name: str) -> str:
    """Return a name in lower case with dashes: MyMethod -> my-method, ZSCL -> zscl, wise-ft -> wise-ft."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
