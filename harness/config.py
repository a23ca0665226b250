"""What a run is: from flags and files to one frozen, resolved configuration with a key."""

from __future__ import annotations

import dataclasses
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
            "tuning": c.tuning,
            "seed": c.seed,
            "limit": c.limit,
            "measure_n": c.measure_n,
        }

    @property
    def key(self) -> str:
        return _digest(self.identity(), 10)

    @property
    def folder(self) -> Path:
        order = self.order_label
        if order == "custom":
            order = f"custom-{_digest(list(self.tasks), 8)}"
        c = self.config
        return Path(c.out) / f"{c.benchmark}-{c.edition}-{order}" / f"{self.strategy_slug}-{self.key}"


def resolve(config: RunConfig) -> Resolved:
    """Check a configuration completely, before anything is loaded or trained.

    Raises UserError for unknown names, options or values.
    """
    import models
    from benchmarks import BENCHMARKS, EDITIONS
    from strategies import STRATEGIES

    if config.edition not in EDITIONS:
        raise unknown("edition", config.edition, EDITIONS)
    if config.tuning not in models.TUNINGS:
        raise unknown("tuning", config.tuning, models.TUNINGS)
    for name, value, least in (
        ("limit", config.limit, 1),
        ("measure-n", config.measure_n, 2),
        ("seed", config.seed, 0),
    ):
        if value is not None and value < least:
            raise UserError(f"--{name} must be at least {least}, got {value}.")
    user_file = ":" in config.strategy or config.strategy.endswith(".py")
    if not user_file and config.strategy not in STRATEGIES:
        raise unknown("strategy", config.strategy, STRATEGIES.names())
    plan = BENCHMARKS.get(config.benchmark)(config.edition, config.order, config.heldout)
    sha = None
    if user_file:
        strategy_class, sha = _load_strategy(config.strategy)
    else:
        strategy_class = STRATEGIES.get(config.strategy)
    model, pretrained = config.model, config.pretrained
    if model is None:
        default_model, default_pretrained = DEFAULT_MODELS[config.edition]
        model, pretrained = default_model, pretrained or default_pretrained
    return Resolved(
        config=config,
        strategy_class=strategy_class,
        strategy_slug=_slug(strategy_class.__name__ if user_file else config.strategy),
        options=make_options(strategy_class, config.edition, config.options),
        order_label=plan.order,
        tasks=plan.names,
        heldout=plan.heldout,
        model=model,
        pretrained=pretrained,
        strategy_sha256=sha,
    )


def make_options(strategy_class: Any, edition: str, changes: Mapping[str, Any]) -> Any:
    """The strategy's options: class defaults, then the edition's settings for it and its bases, then the user's
    changes.

    Raises UserError for an unknown key (listing the valid ones) or a value of the wrong kind.
    """
    options_class = strategy_class.Options
    hints = typing.get_type_hints(options_class)
    valid = [f.name for f in dataclasses.fields(options_class)]
    values: dict[str, Any] = {}
    if edition == "mini":
        settings = mini_settings()
        for base in reversed(inspect.getmro(strategy_class)):
            values.update(settings.get(base.__name__, {}))
    values = {name: value for name, value in values.items() if name in valid}
    for name, value in changes.items():
        if name not in valid:
            raise unknown("option", name, valid)
        values[name] = _convert(name, value, hints[name])
    try:
        options = options_class(**values)
    except ValueError as error:
        raise UserError(f"{error}.") from error
    for name, least in (("iterations", 1), ("batch_size", 1), ("warmup", 0), ("lr", 0)):
        if getattr(options, name, least) < least:
            raise UserError(f"{name} must be at least {least}, got {getattr(options, name)}.")
    return options


def mini_settings() -> dict[str, dict[str, Any]]:
    """The mini edition's options per strategy class, found on validation splits by `python -m benchmarks.mini.tune`."""
    path = Path(__file__).parent.parent / "benchmarks" / "mini" / "settings.json"
    return json.loads(path.read_text(encoding="utf-8"))


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
    for name in found:
        if name not in valid:
            raise unknown(f"setting in {path}", name, valid)
    if isinstance(found.get("heldout"), list):
        found["heldout"] = tuple(found["heldout"])
    if isinstance(found.get("order"), list):
        found["order"] = ",".join(found["order"])
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
    """A value from the command line or a file as the option's type."""
    origin = typing.get_origin(kind)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        for choice in choices:
            if str(choice) == str(value):
                return choice
        raise unknown(f"value of {name}", str(value), [str(c) for c in choices])
    if origin in (typing.Union, types.UnionType):
        inner = [k for k in typing.get_args(kind) if k is not type(None)]
        if value is None or str(value).lower() == "none":
            return None
        return _convert(name, value, inner[0])
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
        if kind is int and isinstance(value, float) and not value.is_integer():
            raise ValueError
        return kind(value)
    except (TypeError, ValueError) as error:
        word = {int: "a whole number", float: "a number"}.get(kind, getattr(kind, "__name__", str(kind)))
        raise UserError(f"{name} takes {word}, got {value!r}.") from error


def _load_strategy(reference: str) -> tuple[type, str]:
    """The class of `file.py:Class` (or of a file with a single strategy) and the SHA-256 of the file."""
    path, _, name = reference.partition(":")
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"There is no strategy file {path!r}.")
    specification = importlib.util.spec_from_file_location(f"perennial_user_{file.stem}", file)
    if specification is None or specification.loader is None:
        raise UserError(f"{path!r} is not a Python file.")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)

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
    return own[name], hashlib.sha256(file.read_bytes()).hexdigest()


def _slug(name: str) -> str:
    """MyMethod -> my-method, ZSCL -> zscl, wise-ft -> wise-ft."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name)
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _digest(value: Any, length: int) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]
