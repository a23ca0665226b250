"""`iimm-guided`: how far a task may move the model is set before training, by what a study says of tasks with its measure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.data.sampling import sample
from metrics import study_table
from metrics.embedding import embed
from metrics.regression import fit, predict
from metrics.suite import ONE_MODEL, measure_all
from models.registry import UserError, unknown
from strategies.engine.choices import Choosing
from strategies.engine.option_checks import check_fraction, check_not_negative
from strategies.wise_ft import Interpolation

GAIN, FORGETTING = "gain_val", "forgetting_val"


class Expected(NamedTuple):
    """What a study expects of fine-tuning on a task, in points: gain on it, mean forgetting on others; `inside` its range."""

    gain: float
    forgetting: float
    inside: bool


class IIMMGuided(Choosing, Interpolation):
    """Fine-tuning with WiSE-FT's interpolation, whose alpha is set for each task before it is trained (our own method).

    The task's measure (IIMM, Niss et al. 2407.15731) is taken on the current model; the study's lines through earlier domains
    (`metrics.study_table`, `metrics.regression`) turn it into an expected gain g on the task and an expected forgetting f on
    others, in points of validation accuracy after plain fine-tuning. On the way from the weights before (alpha 0, where the
    others are at their best) to the fine-tuned ones (alpha 1, where the task is) both are taken for parabolas that are flat at
    their own best end,

        gain(alpha) = g * (2 alpha - alpha^2)        forgetting(alpha) = f * alpha^2

    so that gain - weight * forgetting is largest at alpha = g / (g + weight * f), with g and f not below 0. What the study
    shows no gain for still gets `least`, and no forgetting is alpha 1.

    A domain of the study that is the task (or that a class-incremental step is a part of) is left out of the lines. Beyond the
    study's range the value at its end counts, and a note says so; a measure that is undefined on a task gives the study's mean
    outcomes, with a note. `searches` holds measure, expectations and alpha of each task.

    Options: `study`, a folder of `python cli.py study` or its table.csv, of this model and with this tuning (None: the mini
    edition's, of the tiny model); `measure`, a column of it; `weight`, how many points gained a point forgotten on the others'
    average counts as (as in `predict`); `measure_n`, how many training images are measured. Only validation outcomes are read.

    Command: `python cli.py bench mtil --strategy iimm-guided`.
    Expected, mini edition (weight 3), Order I, seeds 0 to 2: Transfer 66.5 to 66.8, Average 62.2 to 62.5, Last 65.2 to 65.8; no
    difference shown to wise-ft with one alpha for all tasks, but that Retention is a point lower.
    """

    @dataclass(frozen=True)
    class Options(Interpolation.Options):
        study: str | None = None
        measure: str = "iimm"
        weight: float = 1.0
        least: float = 0.1
        measure_n: int = 1000

        def __post_init__(self) -> None:
            super().__post_init__()
            check_not_negative("weight", self.weight)
            check_fraction("least", self.least)
            if self.measure_n < 2:
                raise ValueError(f"measure_n must be at least 2, got {self.measure_n}")
            if self.measure not in ONE_MODEL:
                raise unknown("measure", self.measure, ONE_MODEL)

    @classmethod
    def files(cls, options: Any) -> Mapping[str, Path]:
        return {"study": study_table.table_path(options.study)}

    def before_run(self) -> None:
        super().before_run()
        o, rows = self.options, study_table.read(study_table.table_path(self.options.study))
        study_table.check_model(rows, self.encoder.name, self.encoder.pretrained)
        for column in (o.measure, GAIN, FORGETTING):
            if column not in rows.columns:
                raise UserError(f"The study has no column {column}, which {type(self).__name__} reads.")
        tunings = sorted(set(rows.tuning))
        if self.encoder.tuning not in tunings:
            raise UserError(f"The study has no cells of the tuning {self.encoder.tuning}; it has {', '.join(tunings)}.")
        self.rows: pd.DataFrame = rows[rows.tuning == self.encoder.tuning]

    def before_experience(self) -> None:
        super().before_experience()
        o, domain = self.options, self.experience.domain
        images = sample(domain.train, o.measure_n, self.seed)
        found = measure_all(embed(self.encoder, images, domain.prompts(0)).features, [o.measure])[o.measure]
        updates = self.budget(self.experience)
        if updates not in set(self.rows.updates):
            self.note(f"The study's cells had {'/'.join(map(str, sorted(set(self.rows.updates))))} updates, tasks here others.")
        expected = expect(self.rows, o.measure, found.value, {domain.name, domain.part_of})
        if math.isnan(found.value):
            self.note(f"{o.measure} of {domain.name} is undefined ({found.reason}): the study's mean outcomes count.")
        elif not expected.inside:
            self.note(f"{o.measure} {found.value:.4g} of {domain.name} lies outside the study's range: its end counts.")
        self.alpha = max(o.least, balance(expected.gain, expected.forgetting, o.weight))
        said = {o.measure: None if math.isnan(found.value) else found.value, "gain": expected.gain}
        self.searches.append({"task": domain.name, **said, "forgetting": expected.forgetting, "chosen": [self.alpha]})

    def task_alpha(self) -> float:
        return self.alpha


def balance(gain: float, forgetting: float, weight: float) -> float:
    """The alpha in [0, 1] of largest gain * (2 alpha - alpha^2) - weight * forgetting * alpha^2; below 0 they count as 0."""
    gain, cost = max(gain, 0.0), max(weight * forgetting, 0.0)
    return gain / (gain + cost) if gain else 0.0


def expect(rows: pd.DataFrame, measure: str, value: float, without: set[str | None]) -> Expected:
    """Gain and forgetting on validation images at a value of the measure, by the lines through all domains but `without`.

    `rows` are of one model and tuning. NaN as value: the domains' means. Raises UserError for fewer than
    `metrics.study_table.FEWEST_DOMAINS` domains that are left, or a measure that is the same in all of them.
    """
    kept = rows[~rows.domain.isin(without)]
    found: dict[str, float] = {}
    inside = True
    for outcome in (GAIN, FORGETTING):
        of = study_table.means_by_domain(kept, measure, outcome)
        if len(of) < study_table.FEWEST_DOMAINS:
            left = f"{len(of)} other domains with {measure} and {outcome}"
            raise UserError(f"The study has {left}; it takes at least {study_table.FEWEST_DOMAINS}.")
        if math.isnan(value):
            found[outcome] = float(of.y.mean())
            continue
        try:
            line = fit(of.x, of.y)
        except ValueError as error:
            raise UserError(f"The study gives no line over {measure}: {error}.") from error
        inside &= line.covers(value)
        found[outcome] = predict(line, float(np.clip(value, line.x_low, line.x_high))).value
    return Expected(found[GAIN], found[FORGETTING], inside)
