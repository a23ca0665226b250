"""`predict`: what fine-tuning on a dataset would gain and cost, by a study of other datasets; one forward pass, no training."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from rich.table import Table

import models
from benchmarks.catalog import Source, shadows
from harness.config.settings import check_values
from harness.display.data_summary import print_remarks
from harness.display.plain_table import plain_table
from harness.display.screen import Screen
from harness.run import environment as machine
from harness.study.fine_tuning import measured
from harness.study.forecast import Advice, Forecast, check_weight, forecast
from harness.study.measure import read_domain, sources_of
from harness.study.measure_config import MeasureConfig
from harness.study.predict_config import PredictConfig
from harness.study.table_check import check_cells
from metrics import study_table
from metrics.suite import Value
from models.prompt_reader import check_prompts
from models.registry import UserError

# Means over images or pairs: their expectation does not depend on how many there are.
ANY_SIZE = ("iimm", "iimm_intra", "iimm_inter", "correct_pair", "text_text")


class Prediction(NamedTuple):
    """The measured value with its interval, and what the study makes of it (`harness.study.forecast.Forecast`)."""

    dataset: str
    edition: str
    value: Value
    n: int
    zero_shot: float
    table: pd.DataFrame
    nearest: pd.DataFrame
    warnings: list[str]
    advice: Advice


def predict(config: PredictConfig, screen: Screen | None = None) -> Prediction:
    """Measure a dataset and predict gain and forgetting of each tuning, with intervals; shown on the screen and returned.

    A dataset that is a domain of the study is left out of it first, and what the study saw stands beside what is predicted.

    Raises UserError for a study that is missing, damaged, of another model, or has fewer than four domains, for a dataset
    whose measure is undefined, and for missing or broken data.
    """
    check_weight(config.weight)
    screen = screen or Screen()
    table = study_table.table_path(config.study)
    rows = study_table.read(table)
    check_cells(rows, table.parent)
    if config.measure not in study_table.measure_columns(rows):
        raise UserError(
            f"The study has no {config.measure}; it has {', '.join(study_table.measure_columns(rows)) or 'no measure'}."
        )
    source = _source(config)
    for note in shadows([source]):
        screen.say(note, style="yellow")
    model, pretrained = _model(config, rows)
    encoder = models.load(model, pretrained).to(machine.device_of(config.device))
    for note in encoder.notes:
        screen.say(f"note: {note}")
    try:
        domain = read_domain(source, screen)
    finally:
        screen.end()
    print_remarks([domain], screen.say)
    prompt_warnings = check_prompts(encoder.reader, [domain])
    found = measured(domain, encoder, [config.measure], config.measure_n, config.seed)
    value = found.values[config.measure]
    if value.value != value.value:
        raise UserError(f"{config.measure} of {source.name} is undefined: {value.reason or 'not a number'}.")
    said = forecast(
        rows,
        config.measure,
        value.value,
        leave_out=(source.name, source.edition),
        zero_shot=found.zero_shot.percent,
        weight=config.weight,
    )
    said = said._replace(advice=within_reach(said.advice, said.table, found.zero_shot.percent, config.weight))
    warnings = [*prompt_warnings, *said.warnings]
    if domain.train is None:
        warnings.insert(0, f"{source.name} has no training images here: its test images were measured")
    if source.edition not in set(rows.edition):
        kinds = ", ".join(sorted(set(rows.edition)))
        warnings.append(
            f"the study's domains are of the {kinds} edition, {source.name} is not: its tasks may be of another kind"
        )
    warnings += _sizes(rows, config.measure, found.n)
    prediction = Prediction(
        source.name, source.edition, value, found.n, found.zero_shot.percent, said.table, said.nearest, warnings, said.advice
    )
    _show(prediction, said, rows, config, screen)
    return prediction


def _sizes(rows: pd.DataFrame, measure: str, n: int) -> list[str]:
    """A warning where the measure shifts with the sample's size and that is far from the study's (our choice: twice)."""
    if measure in ANY_SIZE or "measured" not in rows.columns:
        return []
    low, high = rows.measured.min(), rows.measured.max()
    if low / 2 <= n <= 2 * high:
        return []
    return [f"{measure} depends on how many images are measured: {n:,} here, {low:,.0f} to {high:,.0f} in the study"]


def _source(config: PredictConfig) -> Source:
    check_values(config)
    shared = {name: getattr(config, name) for name in ("edition", "data_root", "classnames", "templates")}
    [source] = sources_of(MeasureConfig((config.dataset,), **shared))
    return source


def _model(config: PredictConfig, rows: pd.DataFrame) -> tuple[str, str | None]:
    """The model asked for, or the study's. Raises UserError when that is not the model that the study was made with."""
    name, tag, _ = study_table.study_model(rows)
    model = name if config.model is None else config.model
    pretrained = config.pretrained or (tag or None if config.model is None else None)
    study_table.check_model(rows, model, pretrained)
    return model, pretrained


def _show(p: Prediction, said: Forecast, rows: pd.DataFrame, config: PredictConfig, screen: Screen) -> None:
    screen.say(verdict(p), style="bold")
    interval = "" if p.value.low is None else f" [{p.value.low:.4g}, {p.value.high:.4g}]"
    screen.say(
        f"{p.dataset} ({p.edition}): {config.measure} {p.value.value:.4g}{interval} on {p.n:,} images; zero-shot accuracy on "
        f"them {p.zero_shot:.1f} %"
    )
    left = f" besides {p.dataset}, which is left out" if said.table.observed.notna().any() else ""
    screen.say(f"predicted from {rows.domain.nunique() - bool(left)} domains{left}", style="dim")
    for warning in p.warnings:
        screen.say(f"warning: {warning}", style="yellow")
    screen.show(_predictions(said.table))
    screen.show(_analogous(said.nearest, config.measure))
    screen.say(f"recommended: {p.advice.sentence}.")
    if p.advice.tuning is not None:
        screen.say(_accuracy(said.table[said.table.tuning == p.advice.tuning], config.measure), style="dim")
    screen.say(f"it rests on the study's cells {_cells(p.advice.rests_on)}", style="dim")
    screen.say(f"to do it: {command(p, config)}")


def within_reach(advice: Advice, table: pd.DataFrame, zero_shot: float, weight: float) -> Advice:
    """Return the advice, or to leave the model as it is where what is missing to 100 % is less than the expected loss.

    A line over a measure may predict a gain of more points than are missing.
    """
    if advice.tuning is None:
        return advice
    of, room = table[table.tuning == advice.tuning].set_index("outcome").predicted, 100 - zero_shot
    if of["gain"] <= room or room > weight * of["forgetting"]:
        return advice
    sentence = (
        f"leave the model as it is: only {room:.1f} points are missing to 100 %, and {advice.tuning} is expected to change the "
        f"others by {-of['forgetting']:+z.1f}"
    )
    return advice._replace(strategy=None, tuning=None, sentence=sentence)


def verdict(p: Prediction) -> str:
    """Return one sentence: fine-tune or not, how, and what to expect of it."""
    if p.advice.tuning is None:
        return (
            f"Verdict: leave the model as it is. No tuning is expected to gain more on {p.dataset} than it loses elsewhere "
            f"(zero-shot accuracy {p.zero_shot:.1f} %)."
        )
    of = p.table[p.table.tuning == p.advice.tuning].set_index("outcome")
    gain, lost = of.loc["gain"], of.loc["forgetting"]
    sure = "" if gain.low > 0 else " The gain is not certain: its interval holds zero."
    return (
        f"Verdict: fine-tune on {p.dataset} with --tuning {p.advice.tuning}: {gain.predicted:+z.1f} points expected on it "
        f"(95 %: {gain.low:+z.1f} to {gain.high:+z.1f}), {-lost.predicted:+z.1f} on what else the model knows "
        f"({-lost.high:+z.1f} to {-lost.low:+z.1f}).{sure}"
    )


def command(p: Prediction, config: PredictConfig) -> str:
    """Return the command that does what is recommended, ready to paste."""
    words = ["python", "cli.py", "bench", "stream", "--tasks", config.dataset, "--strategy", p.advice.strategy or "zero-shot"]
    words += ["--tuning", p.advice.tuning] if p.advice.tuning is not None else []
    flags = ("edition", "model", "pretrained", "classnames", "templates")
    words += [word for flag in flags if (value := getattr(config, flag)) is not None for word in (f"--{flag}", value)]
    words += ["--data-root", config.data_root] if config.data_root != "data" else []
    return shlex.join(words)


def _accuracy(of: pd.DataFrame, measure: str) -> str:
    """How far off the lines of a tuning are on the study's own domains, each left out, beside the mean of the others."""
    errors = (
        f"{r.loo_mae:.1f} points of {r.outcome} (the mean of the others by {r.loo_mae_of_mean:.1f})"
        for r in of[of.outcome != "gain_over_error"].itertuples()
    )
    return f"with each domain of the study left out, its lines over {measure} are off by {' and '.join(errors)}"


def _cells(names: Sequence[str]) -> str:
    """Cells by tuning, with the domains of one set of seeds together: "full-0/1/2 of letters, mnist"."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for name in names:
        domain, tuning, seed = name.rsplit("-", 2)
        seeds.setdefault((tuning, domain), []).append(seed)
    domains: dict[str, list[str]] = {}
    for (tuning, domain), of in seeds.items():
        domains.setdefault(f"{tuning}-{'/'.join(of)}", []).append(domain)
    return "; ".join(f"{which} of {', '.join(of)}" for which, of in domains.items())


def _predictions(table: pd.DataFrame) -> Table:
    """Change on the task and on the others by tuning: predicted, 95 % prediction interval, as seen where it was left out."""
    out = plain_table("predicted, with 95 % prediction intervals")
    seen = table.observed.notna().any()
    out.add_column("tuning", no_wrap=True)
    for name in ("gain", "of the error %", "on the others"):
        out.add_column(name, justify="right", no_wrap=True)
        if seen:
            out.add_column("seen", justify="right", no_wrap=True, style="dim")
    for tuning, of in table.groupby("tuning", sort=False):
        cells = []
        for r in of.itertuples():
            # Forgetting is a drop; a reader wants all three with the same sign.
            sign = -1 if r.outcome == "forgetting" else 1
            low, high = sorted((sign * r.low, sign * r.high))
            cells.append("-" if r.predicted != r.predicted else f"{sign * r.predicted:+z.1f} [{low:+z.1f}, {high:+z.1f}]")
            if seen:
                cells.append("-" if r.observed != r.observed else f"{sign * r.observed:+z.1f}")
        out.add_row(str(tuning), *cells)
    return out


def _analogous(nearest: pd.DataFrame, measure: str) -> Table:
    out = plain_table(f"nearest tasks of the study by {measure}: gain, change on the others")
    for name in ("task", measure):
        out.add_column(name, no_wrap=True)
    tunings = list(dict.fromkeys(nearest.tuning))
    for tuning in tunings:
        out.add_column(str(tuning), justify="right", no_wrap=True)
    for name, of in nearest.groupby("domain", sort=False):
        by = {r.tuning: f"{r.gain:+z.1f}, {-r.forgetting:+z.1f}" for r in of.itertuples()}
        out.add_row(str(name), f"{of[measure].iloc[0]:.4g}", *(by.get(tuning, "-") for tuning in tunings))
    return out
