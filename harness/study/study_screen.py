"""What a person sees of a study."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.table import Table

from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.study.study_config import Study


def banner(study: Study, done: int) -> tuple[str, list[str]]:
    """Title and lines that say what is about to run."""
    c, cells = study.config, len(study.cells())
    lines = [
        f"{len(study.sources)} domains: {', '.join(study.sources)}",
        f"model {study.model}{' / ' + study.pretrained if study.pretrained else ''}; each cell starts from it",
    ]
    for tuning, how in study.techniques.items():
        o = how.options
        updates = f"{o.epochs} epochs" if o.epochs else f"{o.iterations} updates"
        rates = "".join(f", {rate:g} for {task}" for task, rate in o.lr_by_task.items() if task in study.sources)
        lines.append(f"{tuning}: {updates}, batch {o.batch_size}, lr {o.lr:g}{rates}")
    if c.limit is not None:
        lines.append(f"at most {c.limit:,} images a split")
    lines.append(f"{cells} cells, {done} of them there already" if done else f"{cells} cells")
    counts = (f"{len(of)} {what}{'s' * (len(of) != 1)}" for of, what in ((c.tunings, "tuning"), (c.seeds, "seed")))
    return f"study: {', '.join(counts)}", lines


def show(table: pd.DataFrame, lines: pd.DataFrame, folder: Path, screen: Screen) -> None:
    """Outcomes by tuning, and what IIMM (else the first measure) says of them; which measures say more; where it all is."""
    screen.show(_outcomes(table))
    measures = list(dict.fromkeys(lines.measure))
    if measures:
        measure = "iimm" if "iimm" in measures else measures[0]
        screen.show(_lines(lines[(lines.measure == measure) & lines.outcome.isin(("gain", "gain_over_error", "forgetting"))]))
        for reason, of in lines[lines.reason != ""].groupby("reason", sort=False):
            what = "no line" if of.slope.isna().all() else "no errors of left-out domains"
            screen.say(f"{what} for {len(of)} of {len(lines)}: {reason}", style="dim")
    screen.say(
        f"written: {folder / 'table.csv'} ({len(table)} cells), {folder / 'regressions.csv'} ({len(lines)} lines). Intervals "
        "are 95 % and take domains for independent; p is not corrected for the number of measures.",
        style="dim",
    )


def _outcomes(table: pd.DataFrame) -> Table:
    out = plain_table("means over domains and seeds, points")
    out.add_column("tuning", no_wrap=True)
    for name in ("cells", "gain", "of the error %", "out of distribution", "others", "worst other"):
        out.add_column(name, justify="right")
    for tuning, of in table.groupby("tuning", sort=False):
        worst = of.loc[of.worst_other_change.idxmin()]
        out.add_row(
            str(tuning),
            f"{len(of)}",
            *(f"{value:+z.1f}" for value in (of.gain.mean(), of.gain_over_error.mean())),
            "-" if of.gain_ood.isna().all() else f"{of.gain_ood.mean():+z.1f}",
            f"{-of.forgetting.mean():+z.1f}",
            f"{worst.worst_other_change:+z.1f} ({worst.worst_other} by {worst.domain})",
        )
    return out


def _lines(lines: pd.DataFrame) -> Table:
    measure = lines.measure.iloc[0]
    out = plain_table(f"lines over {measure}; slopes are for 0.1 of it")
    for name in ("tuning", "outcome"):
        out.add_column(name, no_wrap=True)
    for name in ("domains", "slope", "95 % interval", "R2", "p", "Kendall", "error left out", "of the mean"):
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
