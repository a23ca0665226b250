"""What a study found, as a table: a row a domain, tuning and seed, with outcomes of fine-tuning and measures taken before it.

`harness.study` writes it; predictions and methods that set themselves by earlier tasks read it. A table is of one model: its
lines say nothing of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import reference_data
from metrics.regression import FEWEST
from metrics.suite import MEASURES
from models.files import open_file, reason
from models.paths import user_path
from models.registry import UserError, first_line

if TYPE_CHECKING:
    import pandas as pd

SHIPPED = Path(reference_data.__file__).parent / "tables" / "study_mini.csv"
"""The study of the mini edition with the tiny model."""

IDENTITY = ("domain", "edition", "tuning", "strategy", "seed", "model", "pretrained", "weights")
OUTCOMES: dict[str, str] = {
    "gain": "test accuracy of the domain after fine-tuning less before, points",
    "gain_over_error": "gain in percent of the zero-shot error: 100 gain / (100 - zero-shot accuracy)",
    "forgetting": "mean drop of test accuracy on all other domains, points",
    "gain_ood": "gain on the domain's out-of-distribution set, points",
    "gain_val": "gain on validation images",
    "gain_over_error_val": "gain_over_error on validation images",
    "forgetting_val": "forgetting on validation images",
}
"""Those on validation images are for methods that choose by a study: they must not look at test images."""
FEWEST_DOMAINS = FEWEST + 1
"""Domains that a prediction takes: a line, and one more to tell how far it is off."""
MODEL_COLUMNS = ("model", "pretrained", "weights")
ENDINGS = ("", "_val", "_ood")
"""Of accuracies and gains on test, validation and out-of-distribution images."""
CLOSE = 1e-3
"""Points: tables are written with six digits."""


def measure_columns(rows: pd.DataFrame) -> tuple[str, ...]:
    """The measures that a study's table has columns of."""
    return tuple(name for name in rows.columns if name in MEASURES)


def means_by_domain(rows: pd.DataFrame, measure: str, outcome: str) -> pd.DataFrame:
    """A row a domain: measure and outcome, means over seeds (runs of one domain are no independent tasks); none with NaN."""
    found = rows.groupby("domain", sort=False)[[measure, outcome]].mean(numeric_only=True)
    # A mean over the seeds that have a number would mix domains seen fully and in part.
    broken = rows.loc[rows[[measure, outcome]].isna().any(axis=1), "domain"]
    return found.drop(index=broken.unique(), errors="ignore").rename(columns={measure: "x", outcome: "y"})


def table_path(path: str | None) -> Path:
    """The table of a study by its folder or its file; None: the one that comes along. Raises UserError when there is none."""
    if path is None and not SHIPPED.is_file():
        raise UserError("No study comes with this version: make one with `python cli.py study` and name it.")
    found = SHIPPED if path is None else user_path(path)
    return found / "table.csv" if found.is_dir() else found


def study_model(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Name, tag and digest of the weights ("" where there is none) of the model that a study was made with.

    Raises UserError for a study of several models, of none, or of random weights, which are not the same again.
    """
    known = rows[list(MODEL_COLUMNS)].drop_duplicates()
    if len(known) != 1:
        raise UserError("The study holds cells of several models (or none); a prediction is for one.")
    name, tag, weights = map(str, known.iloc[0])
    if tag == "random":
        raise UserError(f"The study was made with random weights of {name}, which are not the same again: nothing follows.")
    return name, tag, weights


def check_model(rows: pd.DataFrame, model: str, pretrained: str | None) -> None:
    """Raise UserError unless this is the model that the study was made with, and with the weights that it had then."""
    from models.loading.local_files import weights_sha256

    name, tag, weights = study_model(rows)
    found = (weights_sha256(model, pretrained) if model else None) or ""
    same_name = (model, pretrained or "") == (name, tag)
    # The same file under another name is the same model; without a file the names have to say it.
    if found != weights or (not found and not same_name):
        named = f"{name}{' / ' + tag if tag else ''}"
        made = f"other weights of {named} than there are now" if same_name else f"{named}, not with {model or 'this model'}"
        raise UserError(f"The study was made with {made}: its lines hold for its own model. Make a study of yours.")


def _check_gains(rows: pd.DataFrame, file: Path) -> None:
    """Raise UserError, naming the row, for a gain that is not the difference of the two accuracies beside it."""
    for ending in ENDINGS:
        after, before, gain, share = (f"{name}{ending}" for name in ("fine_tuned", "zero_shot", "gain", "gain_over_error"))
        if not {after, before, gain} <= set(rows.columns):
            continue
        change = rows[after].astype(float) - rows[before].astype(float)
        checks = [(gain, rows[gain].astype(float), change, f"{after} - {before}")]
        if share in rows.columns:
            wrong = (100 - rows[before]).where(rows[before] < 100)
            formula = f"100 {gain} / (100 - {before})"
            checks.append((share, rows[share] * wrong / 100, change.where(wrong.notna()), formula))
        for name, value, target, formula in checks:
            # A table may come without accuracies.
            same = ((value - target).abs() <= CLOSE) | target.isna()
            if not same.all():
                row = int(same.to_numpy().argmin())
                raise UserError(
                    f"{file} contradicts itself: {name} in row {row + 2} is {rows[name].iloc[row]:g}, which is not {formula}. "
                    "Run the study again: it writes the table from its cells."
                )


def read(path: Path) -> pd.DataFrame:
    """A study's table from its folder or its file. Raises UserError for one that is not there or is no such table."""
    # Here, so that a sweep can be planned without it.
    import pandas as pd

    file = path / "table.csv" if path.is_dir() else path
    try:
        with open_file(file) as opened:
            found = pd.read_csv(opened, dtype={key: str for key in (*IDENTITY, "worst_other") if key != "seed"})
    except OSError as error:
        raise UserError(f"There is no study at {path} ({file.name}: {reason(error)}).") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not the table of a study ({first_line(error)}).") from error
    needed = (*IDENTITY, "gain", "gain_over_error", "forgetting")
    if missing := [name for name in needed if name not in found.columns]:
        raise UserError(f"{file} is not the table of a study: it has no column {', '.join(missing)}.")
    accuracies = [f"{name}{ending}" for name in ("zero_shot", "fine_tuned") for ending in ENDINGS]
    for name in (*OUTCOMES, *accuracies, *measure_columns(found)):
        if name in found.columns and not pd.api.types.is_numeric_dtype(found[name]):
            raise UserError(f"{file}: the column {name} holds something else than numbers.")
    if found.duplicated(["domain", "tuning", "seed", *MODEL_COLUMNS]).any():
        raise UserError(f"{file} holds a cell twice.")
    _check_gains(found, file)
    text = [key for key in IDENTITY if key != "seed"]
    # The apostrophe that keeps a spreadsheet from running a name as a formula.
    found[text] = found[text].fillna("").replace(r"^'(?=[=+@\t-])", "", regex=True)
    return found
