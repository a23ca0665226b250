"""IIMM-guided interpolation: set how far a task may move the model from its measure before training."""

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
from models.setting import setting
from strategies.wise_ft import Interpolation

GAIN, FORGETTING = "gain_val", "forgetting_val"


class Expected(NamedTuple):
    """Expected outcome of fine-tuning on a task, in points: gain on it and mean forgetting on others.

    `in_range` tells whether the measure is within the study's range.
    """

    gain: float
    forgetting: float
    in_range: bool


class IIMMGuided(Interpolation):
    """IIMM-guided: WiSE-FT's interpolation with an alpha per task, set from a measure before the task is trained.

    This is our own method, not one of the IIMM paper. It needs a study of the model that is trained. The mini edition's study
    is included. The full edition needs `--set study=FOLDER` with a folder of `python cli.py study --edition full`.

    The task's measure (by default IIMM) is taken on the current model. Regression lines through the study's other domains
    (`metrics.study_table`, `metrics.regression`) turn it into an expected gain g on the task and an expected forgetting f on
    the others, in points of validation accuracy after plain fine-tuning. At alpha 0 the model is the one before the task and
    the others are at their best. At alpha 1 it is the fine-tuned one and the task is at its best. Both outcomes are taken for
    parabolas that are flat at their best end:

        gain(alpha) = g * (2 alpha - alpha^2)        forgetting(alpha) = f * alpha^2

    gain - weight * forgetting is then largest at alpha = g / (g + weight * f), with negative g and f set to 0. A task for which
    the study expects no gain gets alpha `least`. No expected forgetting gives alpha 1.

    A domain of the study that is the task, or that a class-incremental step is a part of, is left out of the lines. Outside
    the study's range the value at its end is used, with a note. If the measure is undefined on a task, the study's mean
    outcomes are used, with a note. `searches` holds measure, expectations and alpha of each task.

    - `study`: a folder of `python cli.py study` or its table.csv, of this model and with this tuning. None is
      `reference_data/tables/study_mini_40.csv`, of the tiny model. Only its validation outcomes are read.
    - `measure`: a column of the study.
    - `weight`: points gained that one forgotten point of the others' average is worth, as in `predict`.
    - `measure_n`: training images that are measured.

    The included study trains each task as the mini edition's benchmarks do, with 40 AdamW updates, so its outcomes are those
    that alpha has to weigh. The weight was chosen with it. In that study no slope over IIMM is significant, so it does not show
    that the measure improves alpha over the mean outcomes of the other domains. The broad study, which `predict` reads, trains
    until validation accuracy falls; the options have not been searched on it.

    Source:
        Our own method, with the measure of Niss et al. 2024, arXiv 2407.15731, and the interpolation of `wise-ft`.

    Defaults:
        Our choice: weight 1, in the mini edition 3; least 0.1; 1,000 measured images.

    Command:
        `python cli.py bench mtil --strategy iimm-guided`, in the full edition with `--edition full --set study=FOLDER`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(Interpolation.Options):
        """Options of `iimm-guided`."""

        study: str | None = setting(None, "folder of `python cli.py study` or its table.csv; none: the mini edition's study")
        measure: str = setting("iimm", "column of the study that predicts gain and forgetting")
        weight: float = setting(1.0, "points gained that one forgotten point is worth", least=0)
        least: float = setting(0.1, "smallest alpha of a task", least=0, most=1)
        measure_n: int = setting(1000, "training images that are measured", least=2)

        def __post_init__(self) -> None:
            super().__post_init__()
            if self.measure not in ONE_MODEL:
                raise unknown("measure", self.measure, ONE_MODEL)

    @classmethod
    def files(cls, options: Any) -> Mapping[str, Path]:
        """Return the study's table."""
        return {"study": study_table.table_path(options.study, study_table.FORTY_UPDATES)}

    def before_run(self) -> None:
        """Read the study's rows of this model and tuning."""
        super().before_run()
        if self.evaluates_only:
            return
        o, rows = self.options, study_table.read(self.files(self.options)["study"])
        rows = study_table.of_model(rows, self.encoder.name, self.encoder.pretrained)
        study_table.check_model(rows, self.encoder.name, self.encoder.pretrained)
        for column in (o.measure, GAIN, FORGETTING):
            if column not in rows.columns:
                raise UserError(f"The study has no column {column}, which {type(self).__name__} reads.")
        tunings = sorted(set(rows.tuning))
        if self.encoder.tuning not in tunings:
            raise UserError(f"The study has no cells of the tuning {self.encoder.tuning}; it has {', '.join(tunings)}.")
        self.rows: pd.DataFrame = rows[rows.tuning == self.encoder.tuning]

    def before_experience(self) -> None:
        """Measure the task and set its alpha."""
        super().before_experience()
        o, domain = self.options, self.experience.domain
        images = sample(domain.train, o.measure_n, self.seed)
        measure = measure_all(embed(self.encoder, images, domain.prompts(0)).features, [o.measure])[o.measure]
        updates = self.budget(self.experience)
        if updates not in set(self.rows.updates):
            study_updates = "/".join(map(str, sorted(set(self.rows.updates))))
            self.note(f"The study's cells had {study_updates} updates; the tasks here have a different number.")
        expected = expect(self.rows, o.measure, measure.value, {domain.name, domain.part_of})
        undefined = math.isnan(measure.value)
        if undefined:
            self.note(f"{o.measure} of {domain.name} is undefined ({measure.reason}): the study's mean outcomes are used.")
        elif not expected.in_range:
            self.note(f"{o.measure} {measure.value:.4g} of {domain.name} is outside the study's range: its end is used.")
        self.alpha = max(o.least, balance(expected.gain, expected.forgetting, o.weight))
        record = {o.measure: None if undefined else measure.value, "gain": expected.gain, "forgetting": expected.forgetting}
        self.searches.append({"task": domain.name, **record, "chosen": [self.alpha]})

    def task_alpha(self) -> float:
        """Return the alpha of the current task."""
        return self.alpha


def balance(gain: float, forgetting: float, weight: float) -> float:
    """Return the alpha in [0, 1] that maximises gain * (2 alpha - alpha^2) - weight * forgetting * alpha^2.

    Negative gain and forgetting count as 0. Without gain the result is 0.
    """
    gain, cost = max(gain, 0.0), max(weight * forgetting, 0.0)
    return gain / (gain + cost) if gain else 0.0


def expect(rows: pd.DataFrame, measure: str, value: float, without: set[str | None]) -> Expected:
    """Return the expected outcomes at a value of the measure, by regression lines through a study's domains.

    Args:
        rows: cells of a study, of one model and tuning.
        measure: a column of the study.
        value: the task's measure. NaN gives the domains' mean outcomes.
        without: names of domains to leave out.

    Raises:
        UserError: fewer than `metrics.study_table.FEWEST_DOMAINS` domains are left, or the measure is the same in all of them.
    """
    others = rows[~rows.domain.isin(without)]
    expected: dict[str, float] = {}
    in_range = True
    for outcome in (GAIN, FORGETTING):
        points = study_table.means_by_domain(others, measure, outcome)
        if len(points) < study_table.FEWEST_DOMAINS:
            left = f"{len(points)} other domains with {measure} and {outcome}"
            raise UserError(f"The study has {left}; at least {study_table.FEWEST_DOMAINS} are needed.")
        if math.isnan(value):
            expected[outcome] = float(points.y.mean())
            continue
        try:
            line = fit(points.x, points.y)
        except ValueError as error:
            raise UserError(f"No regression line can be fitted to the study over {measure}: {error}.") from error
        in_range &= line.covers(value)
        expected[outcome] = predict(line, float(np.clip(value, line.x_low, line.x_high))).value
    return Expected(expected[GAIN], expected[FORGETTING], in_range)
