"""The settings of `measure`. Settings without a description have that of `RunConfig`. Imports no torch."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial

from benchmarks.registry import EDITIONS
from metrics.suite import ONE_MODEL, select_measures
from models.setting import setting

data_edition = partial(
    setting, None, "mini, full or own (default: the edition of the named data)", group="data", choices=lambda: EDITIONS
)
sample_size = partial(
    setting, 1000, "number of training images to measure (default: 1000)", group="evaluation", metavar="N", least=2
)
one_model_measures = partial(
    setting,
    None,
    "names from `list measures` (default: all that need one model)",
    group="evaluation",
    metavar="NAME",
    items="names",
)
"""Fields that `measure` shares with `predict` and `study`."""


def measure_names(measures: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the measures; None stands for all that need one model. Raises UserError for an unknown name."""
    return ONE_MODEL if measures is None else select_measures(measures)


@dataclass(frozen=True)
class MeasureConfig:
    """Datasets, the measures to compute of them, and the model."""

    datasets: tuple[str, ...] = setting(
        dataclasses.MISSING,
        "names from `list domains`, folders, CSV files, ...",
        metavar="DATASET",
        flag="datasets",
        items="data",
    )
    edition: str | None = data_edition()
    model: str | None = None
    pretrained: str | None = None
    data_root: str = "data"
    classnames: str | None = None
    templates: str | None = None
    measures: tuple[str, ...] | None = one_model_measures()
    measure_n: int = sample_size()
    limit: int | None = setting(None, "use at most N test images", group="data", metavar="N", least=1)
    seed: int = setting(0, "seed of the samples (default: 0)", group="evaluation", metavar="N", least=0)
    device: str = "auto"
    cache: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the measures. Raises UserError for an unknown name."""
        return measure_names(self.measures)
