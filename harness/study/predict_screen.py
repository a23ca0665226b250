"""The output of `predict`: verdict, tables of predictions and the recommended command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
from rich.table import Table

from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.study.forecast import Advice, predictor_label
from harness.study.prediction import Prediction
from harness.study.predictors import BEFORE
from metrics.suite import Value
from strategies import TARGETS
from strategies.engine.declared import declared

if TYPE_CHECKING:
    from harness.study.predict_config import PredictConfig


def print_prediction(prediction: Prediction, rows: pd.DataFrame, config: PredictConfig, screen: Screen) -> None:
    """Print a prediction.

    Args:
        prediction: result of `harness.study.predict.predict`.
        rows: table of the study.
        config: configuration of the prediction.
        screen: output.
    """
    table, advice, label = prediction.table, prediction.advice, predictor_label(tuple(prediction.predictors))
    screen.say(verdict(prediction), style="bold")
    values = "".join(f"{name} {_measured(value)}, " for name, value in prediction.predictors.items() if name != BEFORE)
    screen.say(
        f"{prediction.dataset} ({prediction.edition}): {values}zero-shot accuracy {prediction.zero_shot:.1f} % on "
        f"{prediction.n:,} images"
    )
    is_domain = table.observed.notna().any()
    without = f", without {prediction.dataset} itself" if is_domain else ""
    screen.say(f"predicted from {rows.domain.nunique() - bool(is_domain)} domains{without}, by {label}", style="dim")
    if prediction.checks is not None:
        screen.say(_checked(prediction.checks, label), style="dim")
    for warning in prediction.warnings:
        screen.say(f"warning: {warning}", style="yellow")
    screen.show(_predictions(table))
    if len(prediction.nearest):
        screen.show(_nearest(prediction.nearest, tuple(prediction.predictors)))
    screen.say(f"recommended: {advice.sentence}.")
    if advice.tuning is not None:
        screen.say(_errors(table[table.tuning == advice.tuning], label), style="dim")
    screen.say(f"based on these cells of the study: {_cells(advice.based_on)}", style="dim")
    screen.say(f"run: {command(prediction, config)}")


def verdict(prediction: Prediction) -> str:
    """Return one sentence: whether to fine-tune, with which tuning, and the expected change."""
    name = prediction.dataset
    if prediction.advice.tuning is None:
        return (
            f"Verdict: do not fine-tune. No tuning is expected to gain more on {name} than it loses on other domains "
            f"(zero-shot accuracy {prediction.zero_shot:.1f} %)."
        )
    outcomes = prediction.table[prediction.table.tuning == prediction.advice.tuning].set_index("outcome")
    gain, forgetting = outcomes.loc["gain"], outcomes.loc["forgetting"]
    chosen = shlex.join(flags(prediction.advice))
    caution = "" if gain.low > 0 else " The gain is uncertain: its interval includes zero."
    return (
        f"Verdict: fine-tune on {name} with {chosen}: {gain.predicted:+z.1f} points expected on it "
        f"(95 %: {gain.low:+z.1f} to {gain.high:+z.1f}), {-forgetting.predicted:+z.1f} on other domains "
        f"({-forgetting.high:+z.1f} to {-forgetting.low:+z.1f}).{caution}"
    )


def command(prediction: Prediction, config: PredictConfig) -> str:
    """Return the command that follows the recommendation, ready to paste."""
    advice = prediction.advice
    words = ["python", "cli.py", "bench", "stream", "--tasks", config.dataset, *flags(advice)]
    asked = ("edition", "model", "pretrained", "classnames", "templates")
    words += [word for name in asked if (value := getattr(config, name)) is not None for word in (f"--{name}", value)]
    words += ["--data-root", config.data_root] if config.data_root != "data" else []
    return shlex.join(words)


def flags(advice: Advice) -> list[str]:
    """Return the flags of `bench` that follow the recommendation. A strategy's default tuning is left out."""
    strategy = advice.strategy or "zero-shot"
    default = declared(strategy).default_tuning if strategy in TARGETS else None
    return ["--strategy", strategy, *(["--tuning", advice.tuning] if advice.tuning not in (None, default) else [])]


def _measured(value: Value) -> str:
    return f"{value.value:.4g}" + ("" if value.low is None else f" [{value.low:.4g}, {value.high:.4g}]")


def _checked(checks: pd.DataFrame, label: str) -> str:
    """Return a sentence on the choice of the predictors: its errors and coverage on domains that it has not seen."""
    means = checks.groupby("outcome", sort=False)[["error", "error_of_mean"]].mean()
    errors = " and ".join(
        f"{r.error:.1f} points of {outcome} (mean of the others: {r.error_of_mean:.1f})"
        for outcome, r in zip(means.index, means.itertuples(), strict=True)
    )
    chosen = f"chosen: {label}" if label != "mean" else "chosen: the mean, because no measure predicted left-out domains better"
    return (
        f"{chosen}. On left-out domains, this choice is off by {errors}, mean over tunings. The 95 % intervals contain "
        f"{checks.inside.sum()} of {checks.n.sum()} left-out outcomes"
    )


def _errors(predictions: pd.DataFrame, measure: str) -> str:
    """Return the leave-one-out errors of a tuning's lines on the domains of the study, next to those of the mean."""
    errors = (
        f"{r.loo_mae:.1f} points of {r.outcome} (mean of the other domains: {r.loo_mae_of_mean:.1f})"
        for r in predictions[predictions.outcome != "gain_over_error"].itertuples()
    )
    return f"mean leave-one-out error of its lines over {measure} on the study's domains: {' and '.join(errors)}"


def _cells(names: Sequence[str]) -> str:
    """Group cells by tuning and seeds: "full-0/1/2 of letters, mnist"."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for name in names:
        domain, tuning, seed = name.rsplit("-", 2)
        seeds.setdefault((tuning, domain), []).append(seed)
    domains: dict[str, list[str]] = {}
    for (tuning, domain), values in seeds.items():
        domains.setdefault(f"{tuning}-{'/'.join(values)}", []).append(domain)
    return "; ".join(f"{cells} of {', '.join(names)}" for cells, names in domains.items())


def _predictions(table: pd.DataFrame) -> Table:
    """Return the predicted changes by tuning, with 95 % prediction intervals and observed outcomes of a left-out domain."""
    out = plain_table("predicted, with 95 % prediction intervals")
    observed = table.observed.notna().any()
    out.add_column("tuning", no_wrap=True)
    for name in ("gain", "of the error %", "other domains"):
        out.add_column(name, justify="right", no_wrap=True)
        if observed:
            out.add_column("seen", justify="right", no_wrap=True, style="dim")
    for tuning, outcomes in table.groupby("tuning", sort=False):
        cells = []
        for r in outcomes.itertuples():
            # Forgetting is positive for a loss. It is shown as a change, like the gain.
            sign = -1 if r.outcome == "forgetting" else 1
            low, high = sorted((sign * r.low, sign * r.high))
            cells.append("-" if r.predicted != r.predicted else f"{sign * r.predicted:+z.1f} [{low:+z.1f}, {high:+z.1f}]")
            if observed:
                cells.append("-" if r.observed != r.observed else f"{sign * r.observed:+z.1f}")
        out.add_row(str(tuning), *cells)
    return out


def _nearest(nearest: pd.DataFrame, names: Sequence[str]) -> Table:
    out = plain_table(f"nearest domains of the study by {predictor_label(names)}: gain, change on the other domains")
    for name in ("domain", *names):
        out.add_column(name, no_wrap=True)
    tunings = list(dict.fromkeys(nearest.tuning))
    for tuning in tunings:
        out.add_column(str(tuning), justify="right", no_wrap=True)
    for name, rows in nearest.groupby("domain", sort=False):
        changes = {r.tuning: f"{r.gain:+z.1f}, {-r.forgetting:+z.1f}" for r in rows.itertuples()}
        out.add_row(
            str(name), *(f"{rows[each].iloc[0]:.4g}" for each in names), *(changes.get(tuning, "-") for tuning in tunings)
        )
    return out
