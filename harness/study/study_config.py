"""The configuration of a study, and its cells. Imports neither torch nor Avalanche."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import models
from benchmarks.catalog import MINI, Source, check_present, find_all
from benchmarks.settings import mini, mtil
from harness.config.options import make_options, split_prefix, tuning_options
from harness.config.settings import check_values
from harness.study.measure_config import measure_names, one_model_measures
from harness.study.protocol import PROMPTS, PROTOCOLS, USUAL_PROMPTS, Grid, Protocol, check_changes, paper
from models.registry import UserError
from models.setting import setting, without_usual, without_usual_values
from reference_data.mtil import ORDER_I

if TYPE_CHECKING:
    from strategies.engine.strategy import Strategy
    from strategies.engine.training_options import TrainingOptions

TUNINGS = ("full", "bitfit", "attention", "lora", "adapter")
"""The five fine-tuning techniques of the papers of IIMM and A-CLIP."""


@dataclass(frozen=True)
class StudyConfig:
    """The configuration of a study.

    `domains` None means all domains of the edition, including the held-out domains of the mini edition. `options` holds changed
    options of all tunings ("lr") or of one tuning ("lora.lr", "lora.rank").
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
        choices=lambda: [name for name in models.TUNINGS if name != "frozen"],
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
    protocol: str = setting(
        "mini",
        "mini: one training of fixed settings (default); paper: IIMM's protocol, settings and pass chosen by validation",
        choices=lambda: PROTOCOLS,
    )
    prompts: str | None = setting(
        None,
        "validate and test with one prompt per class, or with the ensemble (default: ensemble with mini, one with paper)",
        choices=lambda: PROMPTS,
    )
    edition: str | None = None
    model: str | None = None
    pretrained: str | None = None
    data_root: str = "data"
    limit: int | None = None
    measures: tuple[str, ...] | None = one_model_measures()
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
        """Name of the folder that holds the record."""
        return f"{self.domain}-{self.tuning}-{self.seed}"


class Technique(NamedTuple):
    """A tuning with the strategy that trains it (plain fine-tuning or the technique's strategy) and the options of both.

    `grid` has the settings that a protocol chooses from, and `images` its budget of training images per cell.
    """

    strategy: str
    strategy_class: type[Strategy]
    options: TrainingOptions
    tuning_options: Any
    grid: Grid | None = None
    images: int | None = None


@dataclass(frozen=True)
class Study:
    """A checked study with everything that determines its numbers."""

    config: StudyConfig
    sources: dict[str, Source]
    techniques: dict[str, Technique]
    measures: tuple[str, ...]
    model: str
    pretrained: str | None
    weights: str | None
    versions: dict[str, str]
    prompts: str = "ensemble"

    def cells(self) -> list[Cell]:
        """Return the cells in training order: by seed, tuning and domain."""
        config = self.config
        return [Cell(domain, tuning, seed) for seed in config.seeds for tuning in config.tunings for domain in self.sources]

    def identity(self, cell: Cell) -> dict[str, Any]:
        """Return the settings that determine the numbers of a cell, as JSON."""
        technique = self.techniques[cell.tuning]
        grid = {} if technique.grid is None else {"grid": dataclasses.asdict(technique.grid), "images": technique.images}
        return {
            **self.zero_shot_identity(cell.domain, cell.seed),
            "tuning": cell.tuning,
            "strategy": technique.strategy,
            "options": without_usual(technique.options),
            "tuning_options": without_usual(technique.tuning_options),
            "others": {name: version for name, version in self.versions.items() if name != cell.domain},
            "protocol": self.config.protocol,
            "prompts": self.prompts,
            **grid,
        }

    def comparable(self, recorded: Mapping[str, Any], tuning: str | None = None) -> dict[str, Any]:
        """Return a recorded identity in the form of today's, so that records from before an option existed are found again.

        Args:
            recorded: identity of a record.
            tuning: tuning of the record's cell; None for a record before training.
        """
        technique = self.techniques.get(tuning or "")
        kinds = {} if technique is None else {"options": technique.options, "tuning_options": technique.tuning_options}
        options = {
            name: without_usual_values(type(of), recorded[name])
            for name, of in kinds.items()
            if isinstance(recorded.get(name), dict)
        }
        return {"protocol": "mini", "prompts": USUAL_PROMPTS["mini"], **recorded, **options}

    def zero_shot_identity(self, domain: str, seed: int) -> dict[str, Any]:
        """Return the settings that determine the record of a domain before training, as JSON."""
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
    """Check a configuration without importing torch, and return the sources of the domains by name.

    Raises:
        UserError: for an unknown or repeated name, a value out of range, missing data, or fewer than two domains.
    """
    domains = config.domains
    if domains is None:
        domains = ORDER_I if config.edition == "full" else MINI
    for flag, values in (("--domains", domains), ("--tunings", config.tunings), ("--seed", config.seeds)):
        if not values:
            raise UserError(f"{flag} is empty. Give at least one value or leave it out.")
        if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
            raise UserError(f"{flag} contains {', '.join(repeated)} more than once.")
    check_values(config)
    measure_names(config.measures)
    _, sources = find_all(domains, config.edition, config.data_root)
    by_name = {source.name: source for source in sources}
    if len(by_name) < len(sources):
        raise UserError("--domains contains two datasets with the same name. Rename one of the folders.")
    if len(by_name) < 2:
        raise UserError(
            "A study needs at least two domains, because forgetting is measured on the other domains. Lines need at least four."
        )
    check_present(sources)
    return by_name


def resolve(config: StudyConfig) -> Study:
    """Check a configuration and resolve its defaults, before anything is loaded or trained.

    Raises:
        UserError: for mistakes in the configuration.
    """
    sources = check_config(config)
    from harness.config.resolve import model_of
    from models.loading.local_files import SHIPPED, weights_sha256

    model, pretrained = model_of(config.model, config.pretrained, any(s.edition == "full" for s in sources.values()))
    tiny = model in SHIPPED
    settings, protocol = (mini("mtil") if tiny else mtil()), paper(tiny) if config.protocol == "paper" else None
    return Study(
        config=config,
        sources=sources,
        techniques={t: technique(t, settings, config.options, config.tunings, protocol) for t in config.tunings},
        measures=measure_names(config.measures),
        model=model,
        pretrained=pretrained,
        weights=weights_sha256(model, pretrained),
        versions={name: source.version() for name, source in sources.items()},
        prompts=config.prompts or USUAL_PROMPTS[config.protocol],
    )


def technique(
    tuning: str,
    settings: Mapping[str, Mapping[str, Any]],
    changes: Mapping[str, Any],
    tunings: tuple[str, ...] = (),
    protocol: Protocol | None = None,
) -> Technique:
    """Return a tuning with its strategy and options: the settings of a benchmark or of a protocol, then the user's changes.

    Args:
        tuning: name of the tuning.
        settings: settings of a benchmark by strategy.
        changes: changed options of all tunings ("lr") or of one ("lora.lr").
        tunings: names of all tunings of the study.
        protocol: the protocol that takes the place of the benchmark's settings. A value that the user sets is fixed, the others
            are chosen from its grid.

    Raises:
        UserError: for an unknown option, a value out of range, or an option of a tuning that is not in the study.
    """
    from models.tuning_options import options_of
    from strategies import STRATEGIES

    name = tuning if tuning in STRATEGIES.names() else "finetune"
    strategy_class = STRATEGIES.get(name)
    shared, specific = dict(changes), dict[str, Any]()
    for other in models.TUNINGS:
        shared, prefixed = split_prefix(shared, other)
        if prefixed and other not in (*tunings, tuning):
            raise UserError(f"{other}.{next(iter(prefixed))} is an option of {other}, which is not among the tunings.")
        specific = prefixed if other == tuning else specific
    fields = {field.name for field in dataclasses.fields(options_of(tuning))}
    for_tuning = {key: value for key, value in specific.items() if key in fields}
    for_training = {**shared, **{key: value for key, value in specific.items() if key not in fields}}
    if protocol is None:
        return Technique(
            name, strategy_class, make_options(strategy_class, settings, for_training), tuning_options(tuning, for_tuning)
        )
    check_changes(for_training)
    options = make_options(strategy_class, {name: protocol.options(tuning)}, for_training)
    chosen = tuning_options(tuning, {**protocol.tuning_options(tuning), **for_tuning})
    values = {key: getattr(options, key) for key in for_training} | {key: getattr(chosen, key) for key in for_tuning}
    return Technique(name, strategy_class, options, chosen, protocol.grids[tuning].fixed(values), protocol.budget(tuning))
