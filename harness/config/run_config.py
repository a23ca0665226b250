"""What a run is: from flags and files to one frozen, resolved configuration with a key."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.plan import PROTOCOLS, Ask, StreamPlan
from harness.config.options import check_device, check_least, convert, make_options, plugin_options, split, tuning_options
from harness.config.user_file import check_source, check_strategy, is_file, load_strategy, source_sha256
from harness.config.user_plugins import class_name, plugin_settings, user_plugins
from harness.records.files import file_sha256
from harness.records.run_json import digest_of, key_of
from metrics.suite import AFTER_TRAINING, RUN_DEFAULTS, select_measures
from models.files import descriptor, read_text, reason
from models.registry import UserError, check_text, first_line, unknown
from strategies.engine.method_checks import is_built_in

PRECISIONS = {
    "fp32": "float32 throughout",
    "tf32": "float32 whose matrix products have 10 bits of mantissa: NVIDIA GPUs from Ampere on",
    "bf16": "the towers in bfloat16 (autocast); weights, features and losses in float32",
}
DEFAULT_MODELS = {False: ("tiny", None), True: ("ViT-B-16", "openai")}


@dataclass(frozen=True)
class RunConfig:
    """One run as asked for. None means the benchmark's or the strategy's default.

    `options` are the user's changes to the strategy's options, those of the tuning under "tuning.NAME", those of a plugin under
    "PLUGIN.NAME". `tasks` belong to the benchmark stream; `dataset`, `steps` and `base` to cil.
    """

    benchmark: str = "mtil"
    strategy: str = "zscl"
    edition: str | None = None
    order: str | tuple[str, ...] | None = None
    tasks: tuple[str, ...] | None = None
    dataset: str | None = None
    steps: int | None = None
    base: int | None = None
    model: str | None = None
    pretrained: str | None = None
    tuning: str | None = None
    plugins: tuple[str, ...] = ()
    protocol: str | None = None
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None
    seed: int = 0
    limit: int | None = None
    shots: int | None = None
    heldout: tuple[str, ...] | None = None
    measure_n: int = 1000
    measures: tuple[str, ...] | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str = "auto"
    workers: int | None = None
    precision: str = "fp32"
    microbatch: int | None = None
    checkpoint_minutes: float = 5.0
    cache: bool = True
    out: str = "results"
    fresh: bool = False

    def ask(self) -> Ask:
        """What of it is the benchmark's business."""
        return Ask(**{f.name: getattr(self, f.name) for f in dataclasses.fields(Ask)})


@dataclass(frozen=True)
class Resolved:
    """A checked configuration: everything that decides the numbers, and where the record goes.

    `files`: digests of what else the strategy reads. `reference_paths` are the images of a folder of the user's, so that it
    is searched once.
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
    reference_version: str | None
    files: dict[str, str]
    reference_paths: Sequence[str] | None = dataclasses.field(default=None, repr=False)

    @property
    def tasks(self) -> tuple[str, ...]:
        return self.plan.names

    @property
    def heldout(self) -> tuple[str, ...]:
        return self.plan.heldout

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured before each experience (`metrics.suite`), and after it."""
        return RUN_DEFAULTS if self.config.measures is None else select_measures(self.config.measures, AFTER_TRAINING)

    def identity(self) -> dict[str, Any]:
        """What decides the numbers, as JSON: the key is its hash. Device, output and verbosity are not in it."""
        c = self.config
        return {
            "benchmark": self.plan.benchmark,
            "edition": self.plan.edition,
            "order": self.order_label,
            "tasks": list(self.tasks),
            "heldout": list(self.heldout),
            **self.plan.details,
            "strategy": self.strategy_slug if self.strategy_sha256 else "+".join([c.strategy, *map(slug, self.plugins)]),
            "strategy_sha256": self.strategy_sha256,
            "options": dataclasses.asdict(self.options),
            "reference": None if self.reference is None else list(self.reference),
            "reference_version": self.reference_version,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights_sha256": self.weights_sha256,
            "data_version": self.data_version,
            "tuning": self.tuning,
            "tuning_options": dataclasses.asdict(self.tuning_options),
            "plugins": {name: plugin_settings(options) for name, options in self.plugins.items()},
            "protocol": self.plan.protocol,
            "seed": c.seed,
            "limit": c.limit,
            "shots": c.shots,
            "measure_n": c.measure_n,
            # Only where there is something to say: older records keep their keys.
            **({"files": self.files} if self.files else {}),
            **({} if c.precision == "fp32" else {"precision": c.precision}),
            **({} if self.measures == RUN_DEFAULTS else {"measures": list(self.measures)}),
        }

    @property
    def key(self) -> str:
        return key_of(self.identity())

    @property
    def folder(self) -> Path:
        parent = f"{self.plan.benchmark}-{self.plan.edition}-{self.order_label}"
        return Path(self.config.out) / parent / f"{self.strategy_slug}-{self.key}"


_on_disk: ContextVar[dict[str, Any] | None] = ContextVar("on_disk", default=None)


@contextmanager
def unchanged_data() -> Iterator[None]:
    """Within it the data on disk is looked through once, not once a run: for the seeds of one command."""
    token = _on_disk.set({})
    try:
        yield
    finally:
        _on_disk.reset(token)


def _once(what: str, look: Callable[[], Any]) -> Any:
    known = _on_disk.get()
    if known is None:
        return look()
    if what not in known:
        known[what] = look()
    return known[what]


def check_names(config: RunConfig) -> StreamPlan:
    """The mistakes that can be told without the seconds that importing torch takes; the plan. Raises UserError."""
    import models
    from benchmarks import BENCHMARKS, EDITIONS
    from strategies import STRATEGIES
    from strategies.plugins.built_in import PLUGINS

    _check_texts(config)
    strategies = [] if is_file(config.strategy) else [("strategy", config.strategy, STRATEGIES.names())]
    for kind, name, valid in (
        ("benchmark", config.benchmark, BENCHMARKS.names()),
        ("edition", config.edition, EDITIONS),
        ("protocol", config.protocol, PROTOCOLS),
        ("tuning", config.tuning, models.TUNINGS),
        ("precision", config.precision, PRECISIONS),
        *(("plugin", name, PLUGINS) for name in config.plugins if not is_file(name)),
        *strategies,
    ):
        if name is not None and name not in valid:
            raise unknown(kind, name, valid)
    for name in filter(is_file, (config.strategy, *config.plugins)):
        check_source(name, "plugin" if name in config.plugins else "strategy")
    if twice := {name for name in config.plugins if config.plugins.count(name) > 1}:
        raise UserError(f"--plugin names {', '.join(sorted(twice))} twice.")
    select_measures(config.measures or (), AFTER_TRAINING)
    # Fewer than two images have no pairs to measure.
    check_least(vars(config), limit=2, shots=1, measure_n=2, seed=0, workers=0, microbatch=1, checkpoint_minutes=0)
    check_device(config.device)
    if config.seed >= 2**63:
        raise UserError(f"--seed must be below 2 to the 63rd, got {config.seed}.")
    return BENCHMARKS.get(config.benchmark)(config.ask())


def _check_texts(config: RunConfig) -> None:
    """Raise UserError for a text that records cannot hold in any setting: a path with a line break, or not UTF-8."""
    for field in dataclasses.fields(config):
        value, flag = getattr(config, field.name), f"--{field.name.replace('_', '-')}"
        if field.name == "options":
            texts = [(f"value of --set {name}=", text) for name, text in value.items()]
        else:
            texts = [(f"value of {flag}", text) for text in (value if isinstance(value, tuple) else (value,))]
        for what, text in texts:
            if isinstance(text, str):
                check_text(text, what)


def resolve(config: RunConfig) -> Resolved:
    """Check a configuration before anything is loaded or trained: names, orders, options and their ranges.

    Model tags are checked by `models.load`, devices by `harness.run.environment`, before training too. Raises UserError.
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
        # What an installed package or a registering module runs decides the numbers as much as a file of the user's.
        sha = None if is_built_in(strategy_class) else source_sha256(strategy_class)
    resolved = _resolved(config, plan, strategy_class, sha)
    for name in (name for name in resolved.plugins if name in PLUGINS):
        if (reason := refusal(name, strategy_class, resolved.tuning)) is not None:
            raise UserError(reason)
    return resolved


def outline(config: RunConfig) -> Resolved | None:
    """Resolve a configuration without importing torch, Avalanche or a user's code; None where only such code can tell.

    The result has the key of the run, and a declaration (`strategies.engine.declared`) in place of the strategy's class.
    Whether plugins work with the strategy is not checked. Raises UserError.
    """
    plan = check_names(config)
    from strategies import TARGETS
    from strategies.engine.declared import declared

    if config.strategy not in TARGETS or any(map(is_file, config.plugins)):
        return None
    return _resolved(config, plan, declared(config.strategy), None)


def _resolved(config: RunConfig, plan: StreamPlan, strategy_class: Any, sha: str | None) -> Resolved:
    from models.loading.local_files import weights_sha256

    model, pretrained = model_of(config.model, config.pretrained, plan.full_size)
    own_plugins, changes = user_plugins(config.plugins, config.options, strategy_class)
    changes, plugins = plugin_options([name for name in config.plugins if not is_file(name)], changes)
    order = [class_name(name, own_plugins) for name in config.plugins]
    plugins = {name: {**plugins, **own_plugins}[name] for name in order}
    changes, tuning_changes = split(changes, "tuning")
    # The mini settings were found for the tiny model; another one keeps the papers' options.
    options = make_options(strategy_class, plan.tiny_settings if model == "tiny" else plan.settings, changes)
    for name in changes:
        if name.startswith("lr_by_task.") and (task := name.removeprefix("lr_by_task.")) not in plan.names:
            raise unknown("task of lr_by_task", task, plan.names)
    tuning = config.tuning or strategy_class.default_tuning
    reference = _reference(plan, options) if strategy_class.needs_reference else None
    reference_version, reference_paths = None, None
    if reference is not None:
        asked = (*reference, config.data_root)
        reference_version, reference_paths = _once(f"reference {asked}", lambda: _reference_on_disk(*asked))
    name = slug(strategy_class.__name__ if is_file(config.strategy) else config.strategy)
    return Resolved(
        config=config,
        plan=plan,
        strategy_class=strategy_class,
        strategy_slug="+".join([name, *map(slug, plugins)]),
        options=options,
        tuning=tuning,
        tuning_options=tuning_options(tuning, tuning_changes),
        plugins=plugins,
        order_label=order_label(plan),
        model=model,
        pretrained=pretrained,
        strategy_sha256=sha,
        weights_sha256=weights_sha256(model, pretrained),
        data_version=_once(f"data {config.benchmark} {config.ask()}", plan.version),
        reference=reference,
        reference_version=reference_version,
        files={what: _content(path) for what, path in strategy_class.files(options).items()},
        reference_paths=reference_paths,
    )


def model_of(model: str | None, pretrained: str | None, full_size: bool) -> tuple[str, str | None]:
    """The model asked for and its weights; None: the tiny one, for data of the papers' size ViT-B-16 with OpenAI's weights."""
    if model is not None:
        return model, pretrained
    default, weights = DEFAULT_MODELS[full_size]
    return default, pretrained or weights


def order_label(plan: StreamPlan) -> str:
    """Return the name of an order in the folder of a run: "I", or "custom-" and a digest of the names."""
    return f"custom-{digest_of(_ordered(plan), 8)}" if plan.order == "custom" else plan.order


def _ordered(plan: StreamPlan) -> list[str]:
    """What a custom order is an order of: the tasks, or the classes."""
    return plan.details.get("class_order") or list(plan.names)


def _reference(plan: StreamPlan, options: Any) -> tuple[str, str]:
    """The reference images and sentences that the options name; "default" is the benchmark's."""
    asked = (getattr(options, "reference_images", "default"), getattr(options, "reference_sentences", "default"))
    images, sentences = (d if a == "default" else a for a, d in zip(asked, plan.reference, strict=True))
    return images, sentences


def _reference_on_disk(images: str, sentences: str, data_root: str) -> tuple[str | None, Sequence[str] | None]:
    """The digest of the reference data, and the images of a folder of the user's, which has to be searched for it."""
    from benchmarks import reference_lookup as reference_files

    paths = None if images in (*reference_files.NAMES, *reference_files.OWN_IMAGES) else reference_files.image_paths(images)
    return reference_files.version(images, sentences, data_root, paths), paths


def read_file(path: str) -> dict[str, Any]:
    """A configuration file's values: TOML, or the `run.json` of a run. Raises UserError, naming the file."""
    file = Path(path)
    try:
        text = _config_text(path)
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
        if file.suffix == ".json" and isinstance(found, dict):
            found = found.get("request", found)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} where settings are wanted")
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {reason(error)}.") from error
    # ValueError is that of both parsers and of endless numbers, RecursionError of endless brackets.
    except (ValueError, RecursionError) as error:
        raise UserError(f"The configuration {path} is not valid: {first_line(error)}.") from error
    valid = [f.name for f in dataclasses.fields(RunConfig)]
    found = {name: value for name, value in found.items() if value is not None}
    hints = {**typing.get_type_hints(RunConfig), "options": dict, "seed": int | list[int]}
    for name, value in found.items():
        if name not in valid:
            raise unknown(f"setting in {path}", name, valid)
        listed = name == "order" and isinstance(value, list)
        try:
            found[name] = tuple(map(str, value)) if listed else convert(name, value, hints[name])
        except UserError as error:
            raise UserError(f"In the configuration {path}: {error}") from error
    return found


def _config_text(path: str) -> str:
    """Return the text of a configuration; that of a pipe (`--config <(...)`), which can be read once, is kept."""
    if path not in _piped:
        text = read_text(path)
        if descriptor(path) is None:
            return text
        _piped[path] = text
    return _piped[path]


_piped: dict[str, str] = {}


def slug(name: str) -> str:
    """Return a name in lower case with dashes: MyMethod -> my-method, ZSCL -> zscl, wise-ft -> wise-ft."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _content(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
