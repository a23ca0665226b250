"""Build the benchmark of a finished run again, with its data."""

from __future__ import annotations

from avalanche.benchmarks import CLScenario

from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.records.runs import Run
from harness.run.build import build_scenario
from models.encoder import DualEncoder
from models.registry import UserError


def benchmark_of(record: Run, config: RunConfig, encoder: DualEncoder) -> CLScenario:
    """Build the benchmark of a run, with its data.

    Raises:
        UserError: the data is missing, or is not that of the run.
    """
    resolved = resolve(config)
    if (resolved.tasks, resolved.data_version) != (record.tasks, record.identity.get("data_version")):
        raise UserError(f"The data of {resolved.plan.benchmark} has changed since the run {record.folder} was made.")
    resolved.plan.check()
    return build_scenario(resolved, encoder, Screen(quiet=True))
