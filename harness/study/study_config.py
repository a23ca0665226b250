"""A study before anything is loaded: what is asked for, and the cells that it comes to. Imports neither torch nor Avalanche."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import models
from benchmarks.catalog import MINI, Source, check_present, find_all
from benchmarks.settings import mini, mtil
from harness.config.options import make_options, split_prefix, tuning_options
from harness.config.settings import check_values
from metrics.suite import ONE_MODEL, select_measures
from models.registry import UserError
from models.setting import setting
from reference_data.mtil import ORDER_I

TUNINGS = ("full", "bitfit", "attention", "lora", "adapter")
"""The five techniques of IIMM's and A-CLIP's papers."""


@dataclass(frozen=True)
class StudyConfig:
    """A study as the user asks for it.

    `domains` None means all of the edition, with the mini edition's held-out domains. `options` holds changes to what trains,
    for all tunings ("lr") or for one ("lora.lr"), and options of a tuning ("lora.rank").
    """

    domains: tuple[str, ...] | None = setting(
        None, "names, folders, ... (default: all of the edition)", group="data", metavar="NAME", items="data"
    )
    tunings: tuple[str, ...] = setting(
        TUNINGS,
        f"names from `list tunings` (default: {','.join(TUNINGS)})",
        group="model",
        metavar="NAME",
        items="names",
        choices=lambda: models.TUNINGS,
        noun="tuning",
    )
    seeds: tuple[int, ...] = setting(
        (0,),
        "seeds, with one training of every cell each: 0 1 2, or 0-4 (default: 0)",
        metavar="N",
        flag="--seed",
        items="seeds",
        least=0,
    )
    edition: str | None = None
    model: str | None = None
    pretrained: str | None = None
    data_root: str = "data"
    limit: int | None = None
    measures: tuple[str, ...] | None = setting(
        None,
        "names from `list measures` (default: all that need one model)",
        group="evaluation",
        metavar="NAME",
        items="names",
    )
    measure_n: int = 1000
    options: Mapping[str, Any] = setting(
        {},
        "options of training for all tunings (iterations, lr, ...) or for one (lora.lr), and of a tuning (lora.rank)",
        flag="--set",
        metavar="KEY=VALUE",
    )
    device: str = "auto"
    workers: int = setting(0, "number of processes that read training images from files (default: 0)", metavar="N", least=0)
    cache: bool = True
    out: str = setting("study", "folder of the study (default: study)", group="output", metavar="DIR")
    fresh: bool = setting(False, "train all cells again", group="output")


class Cell(NamedTuple):
    """One fine-tuning."""

    domain: str
    tuning: str
    seed: int

    @property
    def folder(self) -> str:
        return f"{self.domain}-{self.tuning}-{self.seed}"


class Technique(NamedTuple):
    """How a tuning is trained: its method (plain fine-tuning, or the technique's own), and the resolved options of both."""

    strategy: str
    strategy_class: Any
    options: Any
    tuning_options: Any


@dataclass(frozen=True)
class Study:
    """A checked study: everything that decides its numbers."""

    config: StudyConfig
    sources: dict[str, Source]
    techniques: dict[str, Technique]
    measures: tuple[str, ...]
    model: str
    pretrained: str | None
    weights: str | None
    versions: dict[str, str]

    def cells(self) -> list[Cell]:
        """In the order in which they are trained: all domains of a tuning first."""
        c = self.config
        return [Cell(domain, tuning, seed) for seed in c.seeds for tuning in c.tunings for domain in self.sources]

    def identity(self, cell: Cell) -> dict[str, Any]:
        """What decides a cell's numbers, as JSON."""
        technique = self.techniques[cell.tuning]
        return {
            **self.identity_before(cell.domain, cell.seed),
            "tuning": cell.tuning,
            "strategy": technique.strategy,
            "options": dataclasses.asdict(technique.options),
            "tuning_options": dataclasses.asdict(technique.tuning_options),
            "others": {name: version for name, version in self.versions.items() if name != cell.domain},
        }

    def identity_before(self, domain: str, seed: int) -> dict[str, Any]:
        """What decides what is known of a domain before training, as JSON."""
        return {
            "domain": domain,
            "edition": self.sources[domain].edition,
            "data_version": self.versions[domain],
            "seed": seed,
            "limit": self.config.limit,
            "measure_n": self.config.measure_n,
            "model": self.model,
            "pretrained": self.pretrained,
            "weights": self.weights,
        }


def check_config(config: StudyConfig) -> dict[str, Source]:
    """The mistakes that can be told without the seconds that importing torch takes; the sources by name. Raises UserError."""
    domains = config.domains
    if domains is None:
        domains = ORDER_I if config.edition == "full" else MINI
    for what, given in (("--domains", domains), ("--tunings", config.tunings), ("--seed", config.seeds)):
        if not given:
            raise UserError(f"{what} names nothing.")
        if twice := sorted({str(name) for name in given if given.count(name) > 1}):
            raise UserError(f"{what} names {', '.join(twice)} twice.")
    check_values(config)
    if config.measures is not None:
        select_measures(config.measures)
    _, found = find_all(domains, config.edition, config.data_root)
    sources = {source.name: source for source in found}
    if len(sources) < len(found):
        raise UserError("--domains names two datasets of one name.")
    if len(sources) < 2:
        raise UserError("A study needs at least two domains: forgetting is seen on the others. For lines it needs four.")
    check_present(found)
    return sources


def resolve(config: StudyConfig) -> Study:
    """Check a study before anything is loaded or trained. Raises UserError."""
    sources = check_config(config)
    from harness.config.resolve import model_of
    from models.loading.local_files import weights_sha256

    model, pretrained = model_of(config.model, config.pretrained, any(s.edition == "full" for s in sources.values()))
    settings = mini("mtil") if model == "tiny" else mtil()
    return Study(
        config=config,
        sources=sources,
        techniques={tuning: technique(tuning, settings, config.options, config.tunings) for tuning in config.tunings},
        measures=ONE_MODEL if config.measures is None else select_measures(config.measures),
        model=model,
        pretrained=pretrained,
        weights=weights_sha256(model, pretrained),
        versions={name: source.version() for name, source in sources.items()},
    )


def technique(tuning: str, settings: Any, changes: Mapping[str, Any], tunings: tuple[str, ...] = ()) -> Technique:
    """The technique of a tuning with a benchmark's settings for it and the user's changes. Raises UserError."""
    from models.tuning_options import options_of
    from strategies import STRATEGIES

    name = tuning if tuning in STRATEGIES.names() else "finetune"
    strategy_class = STRATEGIES.get(name)
    shared, own = dict(changes), dict[str, Any]()
    for other in models.TUNINGS:
        shared, found = split_prefix(shared, other)
        if found and other not in (*tunings, tuning):
            raise UserError(f"{other}.{next(iter(found))} is for a tuning that is not in the study: {other}.")
        own = found if other == tuning else own
    fields = {field.name for field in dataclasses.fields(options_of(tuning))}
    of_tuning = {key: value for key, value in own.items() if key in fields}
    of_training = {**shared, **{key: value for key, value in own.items() if key not in fields}}
    return Technique(
        name, strategy_class, make_options(strategy_class, settings, of_training), tuning_options(tuning, of_tuning)
    )
