"""The settings of `predict`. Settings without a description have that of `RunConfig`. Imports no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from harness.study.measure_config import data_edition, sample_size
from models.setting import setting


@dataclass(frozen=True)
class PredictConfig:
    """A dataset to predict for, and the study to predict from. None as `model` means the study's model."""

    dataset: str = setting(
        dataclasses.MISSING, "a name from `list domains`, a folder, a CSV file, ...", metavar="DATASET", flag="dataset"
    )
    study: str | None = setting(
        None,
        "a study's folder or table.csv (default: the included study of the tiny models)",
        group="evaluation",
        metavar="STUDY",
        flag="--from",
    )
    measure: str | None = setting(
        None,
        "the measure of the study that predicts (default: what predicted left-out domains of the study best)",
        group="evaluation",
        metavar="NAME",
    )
    weight: float = setting(
        1.0,
        "for the recommendation, one forgotten point counts as W gained points (default: 1)",
        group="evaluation",
        metavar="W",
    )
    edition: str | None = data_edition()
    model: str | None = setting(
        None, "the study's model, if its folder has moved; no other model is valid (default: as in the study)", group="model"
    )
    pretrained: str | None = None
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None
    measure_n: int = sample_size()
    seed: int = setting(0, "seed of the sample (default: 0)", group="evaluation", metavar="N", least=0)
    device: str = "auto"
