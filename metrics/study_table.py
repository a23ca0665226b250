"""The table of a study: one row per domain, tuning and seed, with outcomes of fine-tuning and measures taken before it.

`harness.study` writes it. Predictions, and methods that set themselves from earlier tasks, read it. A row is of one model and
is not valid for any other (`of_model`).
"""

from __future__ import annotations

from collections.abc import Iterable
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

TABLES = Path(reference_data.__file__).parent / "tables"
SHIPPED = TABLES / "study_broad" / "table.csv"
"""The broad study of the tiny models, which ships with the project (docs/study.md)."""
FORTY_UPDATES = TABLES / "study_mini_40.csv"
"""The study of the mini edition with the training of its benchmark, 40 updates per task (docs/study_40.md)."""

IDENTITY = ("domain", "edition", "tuning", "strategy", "seed", "model", "pretrained", "weights")
OUTCOMES: dict[str, str] = {
    "gain": "test accuracy of the domain after fine-tuning minus before, points",
    "gain_over_error": "gain in percent of the zero-shot error: 100 gain / (100 - zero-shot accuracy)",
    "forgetting": "mean drop of test accuracy on all other domains, points",
    "gain_ood": "gain on the domain's out-of-distribution set, points",
    "gain_val": "gain on validation images",
    "gain_over_error_val": "gain_over_error on validation images",
    "forgetting_val": "forgetting on validation images",
}
"""Methods that choose by a study use the outcomes on validation images, because they must not look at test images."""
FEWEST_DOMAINS = FEWEST + 1
"""Domains that a prediction needs: enough for a line, and one more to estimate its error."""
MODEL_COLUMNS = ("model", "pretrained", "weights")
ENDINGS = ("", "_val", "_ood")
"""Suffixes of accuracies and gains on test, validation and out-of-distribution images."""
CLOSE = 1e-3
"""Tolerance in points. Tables are written with six digits."""


def measure_columns(rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the measures that a study's table has columns for."""
    return tuple(name for name in rows.columns if name in MEASURES)


def means_by_domain(rows: pd.DataFrame, measure: str, outcome: str) -> pd.DataFrame:
    """Return one row per domain: measure (x) and outcome (y), as means over seeds. Domains with NaN are left out.

    Runs of one domain are not independent tasks, so they count once.
    """
    return task_means(rows, (measure, outcome)).dropna().rename(columns={measure: "x", outcome: "y"})


def task_means(rows: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """Return the means over seeds, one row per domain. A domain that lacks a value for a seed is NaN in that column.

    A mean over only the seeds with a value would mix complete and incomplete domains.
    """
    grouped = rows.groupby("domain", sort=False)
    values = grouped[list(dict.fromkeys(columns))]
    return values.mean(numeric_only=True).where(values.count().eq(grouped.size(), axis=0))


def table_path(path: str | None, default: Path | None = None) -> Path:
    """Return the path of a study's table, from its folder or file.

    Args:
        path: the folder or file. None is the default.
        default: the table that ships with the project; None is `SHIPPED`.

    Raises:
        UserError: no study ships with this version.
    """
    included = SHIPPED if default is None else default
    if path is None and not included.is_file():
        raise UserError("No study ships with this version. Make one with `python cli.py study` and give its folder.")
    file = included if path is None else user_path(path)
    return file / "table.csv" if file.is_dir() else file


def of_model(rows: pd.DataFrame, model: str | None, pretrained: str | None = None) -> pd.DataFrame:
    """Return the rows of one model. A table of a single model is returned as it is, for `check_model` to compare.

    Args:
        rows: table of one or several models.
        model: name or folder of the model. None is the first one in the table.
        pretrained: its tag.

    Raises:
        UserError: the table has several models, and none of them has this name or these weights.
    """
    named = rows[["model", "pretrained"]]
    names = [*named.drop_duplicates().itertuples(index=False, name=None)]
    if len(names) < 2:
        return rows
    wanted = names[0] if model is None else (model, pretrained or "")
    if wanted not in names:
        from models.loading.local_files import weights_sha256

        # The same file under another name is the same model.
        digest = weights_sha256(model or "", pretrained)
        same = rows[rows.weights == digest][["model", "pretrained"]].drop_duplicates()
        if same.empty:
            known = ", ".join(name for name, _ in names)
            raise UserError(f"The study has no cells of {model}, only of {known}. {cheapest_study(rows, model or '')}")
        wanted = tuple(same.iloc[0])
    return rows[(named == list(wanted)).all(axis=1)]


def study_model(rows: pd.DataFrame) -> tuple[str, str, str]:
    """Return name, tag and digest of the weights of the model that a study was made with; "" for an absent tag or digest.

    Raises:
        UserError: the study is of several models or of none, or of random weights, which cannot be reproduced.
    """
    models = rows[list(MODEL_COLUMNS)].drop_duplicates()
    if len(models) != 1:
        raise UserError(f"A prediction needs a study of one model; this study has cells of {len(models)} models.")
    name, tag, weights = map(str, models.iloc[0])
    if tag == "random":
        raise UserError(f"The study used random weights of {name}, which cannot be reproduced, so it cannot be reused.")
    return name, tag, weights


def check_model(rows: pd.DataFrame, model: str, pretrained: str | None) -> None:
    """Raise UserError unless the study was made with this model and with its present weights."""
    from models.loading.local_files import weights_sha256

    name, tag, weights = study_model(rows)
    digest = (weights_sha256(model, pretrained) if model else None) or ""
    same_name = (model, pretrained or "") == (name, tag)
    # The same file under another name is the same model. Without a file, the names have to agree.
    if digest != weights or (not digest and not same_name):
        named = f"{name}{' / ' + tag if tag else ''}"
        used = f"earlier weights of {named}" if same_name else f"{named}, not with {model or 'this model'}"
        raise UserError(f"The study was made with {used}, and is valid only for that model. {cheapest_study(rows, model)}")


def cheapest_study(rows: pd.DataFrame, model: str) -> str:
    """Return how to make the smallest study of another model that predicts, and what it cost with the study's model.

    Args:
        rows: table of a study, whose recorded training times are used.
        model: name of the other model.
    """
    command = f"`python cli.py study --model {model or 'NAME'} --domains A,B,C,D --tunings TUNING --out FOLDER`"
    sentence = f"Run `study` for your model. {FEWEST_DOMAINS} domains with one tuning are enough to predict: {command}."
    if "device" in rows.columns and (on_processor := rows.device.astype(str).str.startswith("cpu")).any():
        # Times of an accelerator would promise too much.
        rows = rows[on_processor]
    if "train_seconds" not in rows.columns or not rows.train_seconds.notna().any():
        return sentence
    seconds = rows.groupby("tuning", sort=False).train_seconds.mean()
    name, updates = str(rows.model.iloc[0]), "updates" in rows.columns
    per_cell = f" of {rows[rows.tuning == seconds.idxmin()].updates.median():.0f} updates" if updates else ""
    return (
        f"{sentence} With {name} and {seconds.idxmin()}, {FEWEST_DOMAINS} such trainings{per_cell} took "
        f"{FEWEST_DOMAINS * seconds.min():.0f} s in the study, without measuring and testing. A larger model takes longer."
    )


def _check_gains(rows: pd.DataFrame, file: Path) -> None:
    """Raise UserError, naming the row, for a gain that is not the difference of the two accuracies next to it."""
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
            # A table may have no accuracies.
            consistent = ((value - target).abs() <= CLOSE) | target.isna()
            if not consistent.all():
                row = int(consistent.to_numpy().argmin())
                raise UserError(
                    f"{file} contradicts itself: {name} in row {row + 2} is {rows[name].iloc[row]:g}, which is not {formula}. "
                    "Run the study again: it writes the table from its cells."
                )


def read(path: Path) -> pd.DataFrame:
    """Read a study's table from its folder or its file.

    Args:
        path: the folder, or the CSV file.

    Returns:
        The table, with the columns of `IDENTITY` as text except for the seed.

    Raises:
        UserError: the file is missing or unreadable, is not the table of a study, or is inconsistent.
    """
    # Imported here, so that a sweep can be planned without it.
    import pandas as pd

    file = path / "table.csv" if path.is_dir() else path
    try:
        with open_file(file) as opened:
            rows = pd.read_csv(opened, dtype={key: str for key in (*IDENTITY, "worst_other") if key != "seed"})
    except OSError as error:
        raise UserError(f"There is no study at {path} ({file.name}: {reason(error)}).") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{file} is not the table of a study ({first_line(error)}).") from error
    required = (*IDENTITY, "gain", "gain_over_error", "forgetting")
    if missing := [name for name in required if name not in rows.columns]:
        raise UserError(f"{file} is not the table of a study: missing columns: {', '.join(missing)}.")
    accuracies = [f"{name}{ending}" for name in ("zero_shot", "fine_tuned") for ending in ENDINGS]
    for name in (*OUTCOMES, *accuracies, *measure_columns(rows)):
        if name in rows.columns and not pd.api.types.is_numeric_dtype(rows[name]):
            raise UserError(f"{file}: the column {name} has values that are not numbers.")
    if (twice := rows.duplicated(["domain", "tuning", "seed", *MODEL_COLUMNS])).any():
        cell = ", ".join(str(value) for value in rows.loc[twice, ["domain", "tuning", "seed"]].iloc[0])
        raise UserError(f"{file} has duplicate rows for (domain, tuning, seed) = ({cell}).")
    _check_gains(rows, file)
    text = [key for key in IDENTITY if key != "seed"]
    # Remove the apostrophe that keeps a spreadsheet from running a name as a formula.
    rows[text] = rows[text].fillna("").replace(r"^'(?=[=+@\t-])", "", regex=True)
    return rows
