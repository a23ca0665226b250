"""What a run is: from flags and files to one frozen, resolved configuration with a key."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import inspect
import json
import re
import sys
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.registry import UserError, unknown

DEFAULT_MODELS = {"mini": ("tiny", None), "full": ("ViT-B-16", "openai")}


@dataclass(frozen=True)
class RunConfig:
    """One run as asked for. None means the edition's default; `options` are the user's changes to the strategy's
    options.
    """

    benchmark: str = "mtil"
    strategy: str = "zscl"
    edition: str = "mini"
    order: str = "I"
    model: str | None = None
    pretrained: str | None = None
    tuning: str = "full"
    protocol: str = "task"
    data_root: str = "data"
    seed: int = 0
    limit: int | None = None
    heldout: tuple[str, ...] | None = None
    measure_n: int = 1000
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    device: str = "auto"
    out: str = "results"
    fresh: bool = False


@dataclass(frozen=True)
class Resolved:
    """A checked configuration: everything that decides the numbers, and where the record goes."""

    config: RunConfig
    strategy_class: Any
    strategy_slug: str
    options: Any
    order_label: str
    tasks: tuple[str, ...]
    heldout: tuple[str, ...]
    model: str
    pretrained: str | None
    strategy_sha256: str | None
    weights_sha256: str | None
    data_version: str | None

    def identity(self) -> dict[str, Any]:
        """What decides the numbers, as JSON: the key is its hash. Device, output and verbosity are not in it."""
        c = self.config
        return {
            "benchmark": c.benchmark,
            "edition": c.edition,
            "order": self.order_label,
            "tasks": list(self.tasks),
            "heldout": list(self.heldout),
            "strategy": c.strategy if self.strategy_sha256 is None else self.strategy_slug,
            "strategy_sha256": self.strategy_sha256,
            "options": dataclasses.asdict(self.options),
            "model": self.model,
            "pretrained": self.pretrained,
            "weights_sha256": self.weights_sha256,
            "data_version": self.data_version,
            "tuning": c.tuning,
            "protocol": c.protocol,
            "seed": c.seed,
            "limit": c.limit,
            "measure_n": c.measure_n,
        }

    @property
    def key(self) -> str:
        return _digest(self.identity(), 10)

    @property
    def folder(self) -> Path:
        c = self.config
        return Path(c.out) / f"{c.benchmark}-{c.edition}-{self.order_label}" / f"{self.strategy_slug}-{self.key}"


def check_names(config: RunConfig) -> None:
    """The mistakes that can be told without the seconds that importing torch takes. Raises UserError."""
    import models
    from benchmarks import BENCHMARKS, EDITIONS, PROTOCOLS
    from strategies import STRATEGIES

    strategies = [] if _is_file(config.strategy) else [("strategy", config.strategy, STRATEGIES.names())]
    for kind, name, valid in (
        ("benchmark", config.benchmark, BENCHMARKS.names()),
        ("edition", config.edition, EDITIONS),
        ("protocol", config.protocol, PROTOCOLS),
        ("tuning", config.tuning, models.TUNINGS),
        *strategies,
    ):
        if name not in valid:
            raise unknown(kind, name, valid)
    if config.protocol != "task":
        raise UserError(f"--protocol {config.protocol} is not part of this version yet; mtil's own protocol is task.")
    # Fewer than two images have no pairs to measure.
    for name, value, least in (("limit", config.limit, 2), ("measure-n", config.measure_n, 2), ("seed", config.seed, 0)):
        if value is not None and value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}.")


def resolve(config: RunConfig) -> Resolved:
    """Check a configuration before anything is loaded or trained: names, orders, options and their ranges.

    Model names and tags are checked by `models.load`, devices by `harness.machine`, both before training too.
    Raises UserError.
    """
    check_names(config)
    from benchmarks import BENCHMARKS
    from models.loading import weights_sha256
    from strategies import STRATEGIES

    plan = BENCHMARKS.get(config.benchmark)(config.edition, config.order, config.heldout)
    user_file = _is_file(config.strategy)
    strategy_class, sha = _load_strategy(config.strategy) if user_file else (STRATEGIES.get(config.strategy), None)
    model, pretrained = config.model, config.pretrained
    if model is None:
        default_model, default_pretrained = DEFAULT_MODELS[config.edition]
        model, pretrained = default_model, pretrained or default_pretrained
    order = f"custom-{_digest(list(plan.names), 8)}" if plan.order == "custom" else plan.order
    return Resolved(
        config=config,
        strategy_class=strategy_class,
        strategy_slug=_slug(strategy_class.__name__ if user_file else config.strategy),
        # The settings were found for the tiny model; another one keeps the papers' options.
        options=make_options(strategy_class, config.edition if model == "tiny" else "full", config.options),
        order_label=order,
        tasks=plan.names,
        heldout=plan.heldout,
        model=model,
        pretrained=pretrained,
        strategy_sha256=sha,
        weights_sha256=weights_sha256(model, pretrained),
        data_version=_data_version(config.edition),
    )


def make_options(strategy_class: Any, edition: str, changes: Mapping[str, Any]) -> Any:
    """The strategy's options: class defaults, then the edition's settings for it and its bases, then the user's changes.

    Raises UserError for an unknown key (listing the valid ones) or a value of the wrong kind or range.
    """
    options_class = strategy_class.Options
    if "__dataclass_fields__" not in vars(options_class):
        raise UserError(f"{strategy_class.__name__}.Options needs @dataclass(frozen=True) above it.")
    hints = typing.get_type_hints(options_class)
    valid = [f.name for f in dataclasses.fields(options_class)]
    values = _mini_settings_of(strategy_class) if edition == "mini" else {}
    for name, value in changes.items():
        if name not in valid:
            raise unknown("option", name, valid)
        values[name] = _convert(name, value, hints[name])
    try:
        return options_class(**values)
    except ValueError as error:
        raise UserError(f"{error}.") from error


def mini_settings() -> dict[str, dict[str, Any]]:
    """The mini edition's options per strategy name, found on validation splits by `python -m benchmarks.mini.tune`."""
    path = Path(__file__).parent.parent / "benchmarks" / "mini" / "settings.json"
    return json.loads(path.read_text(encoding="utf-8"))


def _mini_settings_of(strategy_class: Any) -> dict[str, Any]:
    """Those of the class and of the built-in classes that it derives from, the base's first."""
    from strategies import STRATEGIES

    found = {}
    for name, settings in mini_settings().items():
        if issubclass(strategy_class, STRATEGIES.get(name)):
            found.update(settings)
    return found


def _data_version(edition: str) -> str | None:
    """What the mini edition's pictures depend on: a run on other pictures is another run."""
    if edition != "mini":
        return None
    from benchmarks.mini import cache

    return cache.version_key()


def read_file(path: str) -> dict[str, Any]:
    """A configuration file's values: TOML, or the `run.json` of a run. Raises UserError, naming the file."""
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            document = json.loads(text)
            found = dict(document.get("request", document))
        else:
            found = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The configuration {path} is not valid: {error}.") from error
    valid = [f.name for f in dataclasses.fields(RunConfig)]
    if isinstance(found.get("order"), list):
        found["order"] = ",".join(map(str, found["order"]))
    hints = {**typing.get_type_hints(RunConfig), "options": dict, "seed": int | list[int]}
    for name, value in found.items():
        if name not in valid:
            raise unknown(f"setting in {path}", name, valid)
        found[name] = _convert(name, value, hints[name])
    return found


def parse_assignments(assignments: Sequence[str]) -> dict[str, str]:
    """`key=value` strings as a dict. Raises UserError for one without "="."""
    parsed = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise UserError(f"--set takes key=value, got {assignment!r}.")
        parsed[name.strip().replace("-", "_")] = value.strip()
    return parsed


def _convert(name: str, value: Any, kind: Any) -> Any:
    """A value from the command line or a file as the option's type. Lists and tuples may be joined by commas."""
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if kind is dict:
        if not isinstance(value, dict):
            raise UserError(f"{name} takes a table of options, got {value!r}.")
        return value
    if origin in (list, tuple):
        items = value if isinstance(value, (list, tuple)) else [v for v in str(value).split(",") if v]
        return origin(_convert(name, item, typing.get_args(kind)[0]) for item in items)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if str(choice) == str(value):
                return choice
        raise unknown(f"value of {name}", str(value), [str(c) for c in choices])
    if origin in (typing.Union, types.UnionType):
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        if len(inner) < len(typing.get_args(kind)) and (value is None or str(value).lower() == "none"):
            return None
        # A list for the list among several, anything else for the first.
        listed = [k for k in inner if typing.get_origin(k) is list]
        return _convert(name, value, listed[0] if listed and isinstance(value, list) else inner[0])
    if kind is bool:
        words = {
            "true": True,
            "1": True,
            "yes": True,
            "on": True,
            "false": False,
            "0": False,
            "no": False,
            "off": False,
        }
        if str(value).lower() not in words:
            raise UserError(f"{name} takes true or false, got {value!r}.")
        return words[str(value).lower()]
    try:
        whole_number = not isinstance(value, float) or value.is_integer()
        if isinstance(value, (list, dict)) or (kind is int and (isinstance(value, bool) or not whole_number)):
            raise ValueError
        return kind(value)
    except (TypeError, ValueError) as error:
        word = {int: "a whole number", float: "a number"}.get(kind, getattr(kind, "__name__", str(kind)))
        raise UserError(f"{name} takes {word}, got {value!r}.") from error


def _is_file(strategy: str) -> bool:
    """Whether --strategy names a user's file and not a registered strategy."""
    return strategy.partition(":")[0].endswith(".py")


def _load_strategy(reference: str) -> tuple[type, str]:
    """The class of `file.py:Class` (or of a file with a single strategy) and the SHA-256 of the file."""
    path, _, name = reference.rpartition(":") if not reference.endswith(".py") else (reference, "", "")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"There is no strategy file {path!r}.")
    sha = hashlib.sha256(file.read_bytes()).hexdigest()
    return _strategy_in(_run_file(str(file.resolve()), sha), path, name), sha


@functools.cache
def _run_file(path: str, sha256: str) -> types.ModuleType:
    """The module of a user's file, run once for each content: a file that registers names could not be run twice."""
    file = Path(path)
    specification = importlib.util.spec_from_file_location(f"perennial_user_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"{path!r} is not a Python file.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module


def _strategy_in(module: types.ModuleType, path: str, name: str) -> type:
    """The strategy class that a user's file defines. Raises UserError when there is none, or it is not clear which."""
    from strategies.base import Strategy

    own = {
        n: c
        for n, c in vars(module).items()
        if inspect.isclass(c) and issubclass(c, Strategy) and c.__module__ == module.__name__
    }
    if not own:
        raise UserError(f"{path} defines no subclass of strategies.Strategy.")
    if not name:
        if len(own) > 1:
            raise UserError(f"{path} defines several strategies, say which: {path}:{' or '.join(own)}.")
        name = next(iter(own))
    if name not in own:
        raise unknown(f"strategy in {path}", name, own)
    return own[name]


def _slug(name: str) -> str:
    """MyMethod -> my-method, ZSCL -> zscl, wise-ft -> wise-ft."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _digest(value: Any, length: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
