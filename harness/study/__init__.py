"""`study`: fine-tune each domain with each tuning from the initial model, and see what measures before training say of it.

The experiment of IIMM's and A-CLIP's papers (2407.15731, 2402.09613) at any scale: gain in the domain, change on all others,
change on an out-of-distribution set, and lines through the domains for each measure. A folder holds

    <domain>-<tuning>-<seed>/cell.json   accuracies after one fine-tuning; the same command continues where cells are missing
    zero-shot-<seed>/<domain>.json       accuracies and measures before any
    table.csv                            a row a cell (`harness.study.outcome_tables`)
    regressions.csv                      a row a tuning, outcome and measure

Importing this imports neither torch nor Avalanche.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.study.cells import TUNINGS, StudyConfig

if TYPE_CHECKING:
    from harness.study.run_study import StudyResult

__all__ = ["TUNINGS", "StudyConfig", "run"]


def run(config: StudyConfig, screen: Any = None) -> StudyResult:
    """Run a study, or what is missing of it (`harness.study.run_study.run`)."""
    from harness.study import run_study as loop

    return loop.run(config, screen)
