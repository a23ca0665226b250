"""Build the objects of a run from its resolved configuration: encoder, scenario, reference data, strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLScenario

import models
from benchmarks.full import Missing
from benchmarks.scenario import assemble
from harness.config.resolve import Resolved
from harness.display.screen import Screen
from harness.run.environment import set_compile
from harness.run.progress_plugins import ReaderProcesses, ScreenProgress, stoppable
from models.encoder import DualEncoder
from models.processors import processors
from reference_data import Reference
from strategies.engine.schedule import budget, seed_everything
from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import OwnState

MOST_WORKERS = 16


def load_encoder(resolved: Resolved) -> DualEncoder:
    """Load the model with its precision and microbatch. Random weights are those of the seed, also in a resumed run."""
    config = resolved.config
    seed_everything(config.seed, 0)
    encoder = models.load(resolved.model, resolved.pretrained)
    encoder.precision = "bf16" if config.precision == "bf16" else "fp32"
    encoder.microbatch = config.microbatch
    return encoder


def build_scenario(resolved: Resolved, encoder: DualEncoder, screen: Screen) -> CLScenario:
    """Read the data. A strategy that learns nothing needs no training data."""

    def scenario(splits: Sequence[str]) -> CLScenario:
        return assemble(
            resolved.plan,
            encoder=encoder,
            limit=resolved.config.limit,
            shots=resolved.config.shots,
            seed=resolved.config.seed,
            cache=resolved.config.cache,
            select=resolved.strategy_class.selects(resolved.options),
            scored=resolved.config.split,
            val_limit=resolved.config.val_limit,
            splits=splits,
            progress=stoppable(screen.data),
        )

    try:
        return scenario(("train", "val", "test"))
    except Missing:
        if resolved.strategy_class.learns or resolved.config.split == "val":
            raise
    test_only = scenario(("test",))
    screen.say("no training data found: the measures before training are left out", style="dim")
    return test_only


def load_reference(resolved: Resolved, encoder: DualEncoder, scenario: CLScenario, screen: Screen) -> Reference | None:
    """Load the reference data that the strategy distils on, with only as many images as the run uses; None without any."""
    if resolved.reference is None or not resolved.reads_reference:
        return None
    from benchmarks import reference, reference_pairs

    if resolved.strategy_class.needs_pairs:
        return reference_pairs.load(
            *resolved.reference,
            encoder.preprocess,
            resolved.tasks,
            data_root=resolved.config.data_root,
            cache=resolved.config.cache,
            progress=stoppable(screen.data),
        )
    updates = [budget(resolved.options, len(experience.dataset)) for experience in scenario.streams["train"]]
    return reference.load(
        *resolved.reference,
        encoder.preprocess,
        data_root=resolved.config.data_root,
        count=resolved.strategy_class.reference_count(resolved.options, updates),
        paths=resolved.reference_paths,
        cache=resolved.config.cache,
        progress=stoppable(screen.data),
    )


def build_strategy(
    resolved: Resolved,
    encoder: DualEncoder,
    reference: Reference | None,
    metrics: Sequence[Any],
    plugins: Mapping[str, Any],
    device: torch.device,
    screen: Screen,
) -> Strategy:
    """Return the strategy of a run, with its metrics and the user's plugins."""
    config = resolved.config
    strategy: Strategy = resolved.strategy_class(
        encoder=encoder,
        options=resolved.options,
        tuning_name=resolved.tuning if resolved.tuning_sha256 is None else type(resolved.tuning_options),
        tuning_options=dataclasses.asdict(resolved.tuning_options),
        reference=reference,
        seed=config.seed,
        device=device,
        metrics=metrics,
        plugins=[ScreenProgress(screen), ReaderProcesses(), *plugins.values()],
        workers=min(MOST_WORKERS, processors()) if config.workers is None else config.workers,
        progress=stoppable(screen.aside),
    )
    set_compile(config, encoder, device)
    strategy.own_state = OwnState(strategy, plugins)
    return strategy
