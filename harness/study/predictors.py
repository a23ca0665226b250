"""Predictors of a study's outcomes: its measures, and the simple baselines next to which a measure has to add something.

Tables hold one row per model, domain, tuning and seed. A domain counts once: seeds are averaged, and a domain without a value
for one of its seeds has no value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from metrics.study_table import measure_columns, read, table_path
from models.registry import UserError

BEFORE, CLASSES, PER_CLASS, IMAGES, ENTROPY = "before", "log_classes", "log_per_class", "log_images", "class_entropy"
BASELINES = {
    BEFORE: "accuracy before training on validation images, in percent",
    CLASSES: "logarithm of the number of classes",
    PER_CLASS: "logarithm of the number of training images per class",
    IMAGES: "logarithm of the number of training images",
    ENTROPY: "entropy of the class shares of the training images, in nats",
}
"""Test accuracy is not a baseline: it shares its noise with the outcomes."""
FEWEST_ERRORS = 10
"""A task with fewer errors before training is near the ceiling (our choice)."""


def read_studies(paths: Sequence[str]) -> pd.DataFrame:
    """Read the tables of one or several studies, such as one per family, with the baselines as columns.

    Args:
        paths: folders of studies or their tables; none means the study that ships with the project.

    Raises:
        UserError: a table is missing or damaged, or two tables have the same cell.
    """
    tables = [read(table_path(path)) for path in paths] or [read(table_path(None))]
    return with_baselines(joined(tables))


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the tables of several studies as one. Raises UserError if two of them have the same cell."""
    rows = pd.concat(tables, ignore_index=True)
    if (twice := rows.duplicated(["model", "domain", "tuning", "seed"])).any():
        cell = ", ".join(map(str, rows.loc[twice, ["model", "domain", "tuning", "seed"]].iloc[0]))
        raise UserError(f"Two of the tables have the cell (model, domain, tuning, seed) = ({cell}). Give each study once.")
    return rows


def with_baselines(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the columns of `BASELINES` that it has the numbers for.

    Without validation accuracies, `before` is missing.
    """
    columns: dict[str, pd.Series] = {}
    if "zero_shot_val" in rows:
        columns[BEFORE] = rows.zero_shot_val
    if {"classes", "n_train"} <= set(rows.columns):
        columns[CLASSES] = np.log(rows.classes)
        columns[PER_CLASS] = np.log(rows.n_train / rows.classes)
        columns[IMAGES] = np.log(rows.n_train)
    return rows.assign(**columns)


def predictors(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the names of the measures, then of the baselines, that have a value for at least one domain."""
    names = (*measure_columns(rows), *(name for name in BASELINES if name in rows.columns))
    return tuple(name for name in names if rows[name].notna().any())


def groups(rows: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yield model, tuning and their rows, in the order of the table."""
    for (model, tuning), group in rows.groupby(["model", "tuning"], sort=False):
        yield str(model), str(tuning), group


def without_ceilings(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the domains on which the model makes fewer than ten errors before training.

    Tables without accuracies are returned as they are.
    """
    if not {"zero_shot", "n_test"} <= set(rows.columns):
        return rows
    errors = (100 - rows.zero_shot) / 100 * rows.n_test
    return rows[~(errors < FEWEST_ERRORS - 1e-6)]
