"""The output of `study`: banner and tables of results."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.table import Table

from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.study.protocol import Grid
from harness.study.study_config import Study, Technique


def banner(study: Study, done: int) -> tuple[str, list[str]]:
    """Return the title and the lines that describe a study.

    Args:
        study: resolved study.
        done: number of cells already trained.
    """
    config, cells = study.config, len(study.cells())
    lines = [
        f"{len(study.sources)} domains: {', '.join(study.sources)}",
        f"model {study.model}{' / ' + study.pretrained if study.pretrained else ''}; every cell starts from it",
    ]
    for tuning, technique in study.techniques.items():
        options = technique.options
        if technique.grid is not None:
            lines.append(f"{tuning}: {_grid(technique.grid)}, up to {options.epochs} passes{_budget(technique)}")
            continue
        updates = f"{options.epochs} epochs" if options.epochs else f"{options.iterations} updates"
        rates = "".join(f", {rate:g} for {task}" for task, rate in options.lr_by_task.items() if task in study.sources)
        lines.append(f"{tuning}: {updates}, batch {options.batch_size}, lr {options.lr:g}{rates}")
    if config.limit is not None:
        lines.append(f"at most {config.limit:,} images per split")
    kinds = {"one": "one prompt per class", "ensemble": "the ensemble of templates"}
    lines.append(f"protocol {config.protocol}; validated and tested with {kinds[study.prompts]}")
    lines.append(f"{cells} cells, {done} of them already trained" if done else f"{cells} cells")
    sizes = {"tuning": len(config.tunings), "seed": len(config.seeds)}
    counts = (f"{size} {noun}{'s' * (size != 1)}" for noun, size in sizes.items())
    return f"study: {', '.join(counts)}", lines


def _grid(grid: Grid) -> str:
    """Return the values of a grid as words."""
    names = {"lr": "lr", "weight_decay": "decay", "rank": "rank", "reduction": "reduction"}
    values = ((word, getattr(grid, name)) for name, word in names.items())
    return "; ".join(f"{word} {' '.join(f'{value:g}' for value in numbers)}" for word, numbers in values if numbers)


def _budget(technique: Technique) -> str:
    return "" if technique.images is None else f", at most {technique.images:,} images per cell"


def print_results(table: pd.DataFrame, lines: pd.DataFrame, folder: Path, screen: Screen) -> None:
    """Print outcomes by tuning, the lines over IIMM (without it, over the first measure), and the paths of the tables.

    Args:
        table: table of the cells.
        lines: `harness.study.study_tables.regressions`.
        folder: folder of the study.
        screen: output.
    """
    screen.show(_outcomes(table))
    measures = list(dict.fromkeys(lines.measure))
    if measures:
        measure = "iimm" if "iimm" in measures else measures[0]
        screen.show(_lines(lines[(lines.measure == measure) & lines.outcome.isin(("gain", "gain_over_error", "forgetting"))]))
        for reason, undefined in lines[lines.reason != ""].groupby("reason", sort=False):
            what = "no line" if undefined.slope.isna().all() else "no leave-one-out errors"
            screen.say(f"{what} for {len(undefined)} of {len(lines)} lines: {reason}", style="dim")
    screen.say(
        f"wrote {folder / 'table.csv'} ({len(table)} cells), {folder / 'regressions.csv'} ({len(lines)} lines) and "
        f"{folder / 'changes.csv'} (each other domain). Intervals are 95 % intervals and treat domains as independent. p is "
        "not corrected for the number of measures.",
        style="dim",
    )


def _outcomes(table: pd.DataFrame) -> Table:
    out = plain_table("means over domains and seeds, points")
    out.add_column("tuning", no_wrap=True)
    for name in ("cells", "gain", "of the error %", "out of distribution", "other domains", "worst other"):
        out.add_column(name, justify="right")
    for tuning, cells in table.groupby("tuning", sort=False):
        worst = cells.loc[cells.worst_other_change.idxmin()]
        out.add_row(
            str(tuning),
            f"{len(cells)}",
            *(f"{value:+z.1f}" for value in (cells.gain.mean(), cells.gain_over_error.mean())),
            "-" if cells.gain_ood.isna().all() else f"{cells.gain_ood.mean():+z.1f}",
            f"{-cells.forgetting.mean():+z.1f}",
            f"{worst.worst_other_change:+z.1f} ({worst.worst_other} after {worst.domain})",
        )
    return out


def _lines(lines: pd.DataFrame) -> Table:
    measure = lines.measure.iloc[0]
    out = plain_table(f"lines over {measure}, with slopes per 0.1")
    for name in ("tuning", "outcome"):
        out.add_column(name, no_wrap=True)
    for name in ("domains", "slope", "95 % interval", "R2", "p", "Kendall", "leave-one-out error", "error of the mean"):
        out.add_column(name, justify="right", no_wrap=True)
    for r in lines.itertuples():
        interval = "-" if r.slope_low != r.slope_low else f"{r.slope_low / 10:+z.2f} to {r.slope_high / 10:+z.2f}"
        out.add_row(
            str(r.tuning),
            str(r.outcome),
            f"{r.n}",
            _number(r.slope / 10, "+.2f"),
            interval,
            _number(r.r2, ".2f"),
            _number(r.p, ".1g"),
            _number(r.kendall, "+.2f"),
            _number(r.loo_mae, ".1f"),
            _number(r.loo_mae_of_mean, ".1f"),
        )
    return out


def _number(value: float, form: str) -> str:
    return "-" if value != value else f"{value:{form}}"
