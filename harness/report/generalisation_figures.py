"""Figures of `bench generalisation`: gains of each tuning in two styles, change elsewhere, and predictors of difficulty."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure as Drawing

from harness.records.generalisation import (
    DIFFERENCE,
    OUTCOMES,
    PREDICTORS,
    Outcome,
    Predictor,
    applies,
    outcomes,
    over_domains,
    predictors,
)
from harness.report.figure import Figure, Numbers, not_drawn
from harness.report.figure_style import COLOURS, INK, MARKERS, MAX_BARS, OTHERS, WIDTH, legend, looks, short
from harness.report.sections import Section

TITLES = {
    "zero_shot_error": "zero-shot error",
    "error": "error after training",
    "gain": "gain",
    "gain_ood": "gain in another style",
}


def generalisation(section: Section) -> list[Figure]:
    """Return the figures of a section: gains of each tuning, and rank correlations. Empty for sections of other benchmarks."""
    methods = [m for m in section.measured if m.trains and all(map(applies, m.runs))]
    by_method = {m.label: outcomes(m.runs) for m in methods}
    if not by_method:
        return []
    ranked = {label: rows for label, domains in by_method.items() if (rows := predictors(domains))}
    return [_gains(section, by_method), *([_difficulty(section, ranked)] if ranked else [])]


def _gains(section: Section, by_method: Mapping[str, Sequence[Outcome]]) -> Figure:
    """Return the change of accuracy per tuning: a point per domain, the mean over domains and its interval."""
    means = {label: over_domains(domains) for label, domains in by_method.items()}
    drawn = list(by_method)[:MAX_BARS]
    look = looks([m.label for m in section.methods], section.references)

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 0.45 * len(drawn) + 1.2), layout="constrained")
        axes = figure.subplots(1, len(OUTCOMES), sharey=True)
        for axis, (name, title) in zip(axes, OUTCOMES.items(), strict=True):
            for y, label in enumerate(drawn):
                values = [getattr(domain, name) for domain in by_method[label]]
                axis.scatter(values, [y] * len(values), s=9, color=OTHERS, alpha=0.7, linewidth=0)
                m, style = means[label][name], look[label]
                reach = [[m.mean - m.low], [m.high - m.mean]] if m.n > 1 else None
                axis.errorbar(m.mean, y, xerr=reach, fmt=style.marker, color=style.colour, markersize=5, capsize=2)
            axis.axvline(0, linewidth=0.8, color=INK)
            axis.set_title(title.replace(" style", "\nstyle"), loc="left", fontsize=8)
        axes[0].set_yticks(range(len(drawn)), [short(label) for label in drawn])
        axes[0].invert_yaxis()
        figure.supxlabel("change of test accuracy, points", fontsize=9)
        return figure

    rows = [
        (
            label,
            d.task,
            100 - d.zero_shot_error,
            *(getattr(d, name) for name in OUTCOMES),
            d.silhouette,
            d.correct_pair,
            d.seeds,
        )
        for label, domains in by_method.items()
        for d in domains
    ]
    columns = ("method", "task", "zero_shot", *OUTCOMES, *PREDICTORS, "seeds")
    description = "; ".join(
        f"{label}: " + ", ".join(f"{value.mean:+z.1f} {OUTCOMES[name]}" for name, value in means[label].items())
        for label in drawn
    )
    caption = (
        "Change of test accuracy by training on one domain, from the initial model: on the domain in the style of training, on "
        "it in another style, and on the other tasks and supported tasks (mean). Grey: a domain, mean over seeds. Coloured: "
        f"the mean over domains with its 95 % interval (Student's t).{not_drawn(len(by_method) - len(drawn), 'methods')}"
    )
    title = "Gain in two styles, and change elsewhere"
    return Figure(f"{section.slug}-styles", title, caption, f"{description}.", Numbers(columns, rows), draw)


def _difficulty(section: Section, ranked: Mapping[str, Sequence[Predictor]]) -> Figure:
    """Return the rank correlations of silhouette and correct-pair similarity with errors and gains, one panel per outcome."""
    drawn = list(ranked)[:MAX_BARS]
    outcomes_shown = [name for name in TITLES if any(row.outcome == name for rows in ranked.values() for row in rows)]

    def draw() -> Drawing:
        figure = Drawing(figsize=(WIDTH, 0.5 * len(drawn) + 1.4), layout="constrained")
        axes = figure.subplots(1, len(outcomes_shown), sharey=True, squeeze=False)[0]
        handles = {}
        for axis, outcome in zip(axes, outcomes_shown, strict=True):
            for i, name in enumerate(PREDICTORS):
                for y, label in enumerate(drawn):
                    for row in ranked[label]:
                        if (row.outcome, row.predictor) == (outcome, name):
                            rho = row.rho
                            reach = [[max(0, rho.value - rho.low)], [max(0, rho.high - rho.value)]]
                            place = y + (i - 0.5) * 0.3
                            handles[name] = axis.errorbar(
                                rho.value, place, xerr=reach, fmt=MARKERS[i], color=COLOURS[i], capsize=2, markersize=5
                            )
            axis.axvline(0, linewidth=0.8, color=INK)
            axis.set_xlim(-1.08, 1.08)
            axis.set_title("\n".join(textwrap.wrap(TITLES[outcome], 12)), loc="left", fontsize=8)
        axes[0].set_yticks(range(len(drawn)), [short(label) for label in drawn])
        axes[0].invert_yaxis()
        figure.supxlabel("Spearman's rank correlation over domains", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    rows = [
        (label, row.outcome, row.predictor, row.rho.value, row.rho.low, row.rho.high, row.rho.n)
        for label, of_method in ranked.items()
        for row in of_method
    ]
    columns = ("method", "outcome", "predictor", "rho", "low", "high", "n")
    description = "; ".join(f"{label}: {_described(ranked[label])}" for label in drawn)
    caption = (
        "Rank correlation over domains of two measures taken before training, the silhouette of the images by class and the "
        "mean similarity of images to the text of their class, with errors and gains. Bars are 95 % bootstrap intervals over "
        f"domains, rough with so few of them. The data also has the difference of the two ({DIFFERENCE}) with its interval."
        f"{not_drawn(len(ranked) - len(drawn), 'methods')}"
    )
    title = "Silhouette and correct-pair similarity as predictors"
    return Figure(f"{section.slug}-difficulty", title, caption, f"{description}.", Numbers(columns, rows), draw)


def _described(rows: Sequence[Predictor]) -> str:
    return ", ".join(
        f"{row.predictor} with {TITLES[row.outcome]} {row.rho.value:+z.2f}" for row in rows if row.predictor in PREDICTORS
    )
