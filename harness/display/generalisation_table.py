"""Tables of `bench generalisation`: gains of each tuning in two styles, and how well two measures predict difficulty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from harness.display.plain_table import plain_table
from harness.records.generalisation import OUTCOMES, Outcome, Predictor, over_domains, predictors


def generalisation_tables(by_strategy: Mapping[str, Sequence[Outcome]]) -> list[Table]:
    """Return the changes of accuracy per strategy, and the rank correlations of the measures with them."""
    domains = len(next(iter(by_strategy.values())))
    caption = f"Change of test accuracy in points, mean over {domains} domains with its 95 % interval (Student's t)."
    changes = plain_table(caption=Text(caption), caption_justify="left")
    changes.add_column("strategy", no_wrap=True)
    for title in OUTCOMES.values():
        changes.add_column(title, justify="right")
    for strategy, outcomes in by_strategy.items():
        changes.add_row(Text(strategy), *(value.signed() for value in over_domains(outcomes).values()))
    rows = {strategy: predictors(outcomes) for strategy, outcomes in by_strategy.items()}
    return [changes, *([_predictors(rows)] if any(rows.values()) else [])]


def _predictors(rows: Mapping[str, Sequence[Predictor]]) -> Table:
    names = list(dict.fromkeys(row.predictor for each in rows.values() for row in each))
    caption = "Spearman's rank correlation over domains of measures taken before training, with its 95 % bootstrap interval."
    table = plain_table(caption=Text(caption), caption_justify="left")
    for heading in ("strategy", "outcome"):
        table.add_column(heading, no_wrap=True)
    for name in names:
        table.add_column(name, justify="right")
    for strategy, each in rows.items():
        for outcome in dict.fromkeys(row.outcome for row in each):
            cells = {row.predictor: row.rho for row in each if row.outcome == outcome}
            shown = [f"{cells[name].value:+z.2f} [{cells[name].low:+z.2f}, {cells[name].high:+z.2f}]" for name in names]
            table.add_row(Text(strategy), outcome.replace("_", " "), *shown)
    return table
