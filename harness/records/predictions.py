"""Save the predictions of a run, one file per row of the accuracy matrix, and score them under any protocol.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from harness.records.files import reading
from harness.records.run_check import Contradiction
from harness.records.runs import Run
from harness.records.summary import summary_of
from metrics.calibration import auroc, expected_calibration_error
from metrics.prediction_scores import PROTOCOLS, TaskScores, answers, competing, confidence_among
from metrics.seen_unseen import seen_unseen
from models.files import write_bytes
from models.registry import UserError

if TYPE_CHECKING:
    import pandas as pd

FOLDER = "predictions"
"""The folder of the predictions in that of a run."""
TOP = 5
"""Classes per image with their probabilities (`metrics.prediction_log.TOP`)."""


class Rescored(NamedTuple):
    """A run under a protocol: its numbers in percent or points, and a table with one row per row of the accuracy matrix."""

    run: Run
    protocol: str
    numbers: dict[str, float]
    rows: pd.DataFrame


def write_row(folder: Path, after: int, rows: Mapping[tuple[str, str], Mapping[str, Any]]) -> None:
    """Write the predictions after task `after`: one line per test image.

    Args:
        folder: the folder of the run.
        after: number of trained tasks.
        rows: arrays of an evaluation by (stream, task) and name (`metrics.prediction_log`).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables = []
    for (stream, task), values in rows.items():
        if not values:
            continue
        arrays = {name: np.asarray(value) for name, value in values.items()}
        count, tasks = len(arrays["label"]), arrays["best"].shape[1] - 1
        columns: dict[str, Any] = {
            "after": np.full(count, after, np.int16),
            "stream": pa.DictionaryArray.from_arrays(np.zeros(count, np.int8), [stream]),
            "task": pa.DictionaryArray.from_arrays(np.zeros(count, np.int16), [task]),
            "image": np.arange(count, dtype=np.int32),
            "label": arrays["label"],
        }
        for rank in range(TOP):
            for name, missing in (("task", -1), ("class", -1), ("probability", np.nan)):
                top = arrays[f"top_{name}"]
                columns[f"{name}_{rank + 1}"] = top[:, rank] if rank < top.shape[1] else np.full(count, missing, top.dtype)
        for name in ("best", "score", "mass"):
            columns |= {f"{name}_of_{column or 'own'}": arrays[name][:, column] for column in range(tasks + 1)}
        tables.append(pa.table(columns))
    buffer = io.BytesIO()
    pq.write_table(pa.concat_tables(tables).unify_dictionaries(), buffer, compression="zstd")
    write_bytes(folder / FOLDER / f"after-{after}.parquet", buffer.getvalue())


def rescore(run: Run, protocol: str | None = None) -> Rescored:
    """Score the saved predictions of a finished run under a protocol.

    Args:
        run: the run.
        protocol: "task", "class" or "agnostic"; None: the protocol of the run. A run can be scored under its own protocol and
            under those with fewer competing classes.

    Raises:
        UserError: the run has no predictions or not all rows, or it cannot be scored under the protocol.
        Contradiction: under the protocol of the run, an accuracy is not that of accuracy.csv.
    """
    import pandas as pd

    recorded = str(run.identity.get("protocol") or "task")
    protocol = protocol or recorded
    if PROTOCOLS.index(protocol) > PROTOCOLS.index(recorded):
        raise UserError(
            f"{run.folder} was evaluated under --protocol {recorded}, in which fewer classes compete than under {protocol}. "
            f"Predictions of a run with --protocol {protocol} --save-predictions can be scored under both."
        )
    if protocol != recorded and (rule := run.identity.get("duplicates") or "own") != "own":
        raise UserError(
            f"{run.folder} was evaluated with --duplicates {rule}, by which shared classes count according to the competing "
            f"tasks. Its predictions can only be scored under its own protocol, {recorded}."
        )
    tasks = len(run.tasks)
    if missing := [after for after in range(tasks + 1) if not (run.folder / FOLDER / f"after-{after}.parquet").is_file()]:
        rows = "any row" if len(missing) == tasks + 1 else f"row {', '.join(map(str, missing))}"
        raise UserError(
            f"{run.folder} has no saved predictions of {rows}. They are saved while a run evaluates: "
            "bench ... --save-predictions, with --fresh for a finished run."
        )
    table, accuracy = [], np.full((tasks + 1, tasks), np.nan)
    for after in range(tasks + 1):
        path = run.folder / FOLDER / f"after-{after}.parquet"
        with reading(path):
            scores = read_row(path, run.tasks)
        result = answers(scores, competing(scores.own, tasks, protocol, after))
        accuracy[after] = [100 * result.correct[scores.own == t + 1].mean() for t in range(tasks)]
        if protocol == recorded:
            _check(run, after, accuracy[after], path)
        learned, confidence = scores.own <= after, confidence_among(scores, after) if 0 < after < tasks else None
        table.append(
            {
                "after": after,
                **dict(zip(run.tasks, accuracy[after], strict=True)),
                "ece": expected_calibration_error(result.confidence, result.correct),
                "auroc": np.nan if confidence is None else _auroc(confidence, learned),
            }
        )
    kinds = seen_unseen(accuracy[1:])
    rows = pd.DataFrame(table)
    for place, name in enumerate(("seen", "unseen", "harmonic")):
        rows.insert(1 + place, name, [np.nan, *getattr(kinds, name)])
    numbers = {
        **summary_of(accuracy[1:]),
        "seen_average": _mean(kinds.seen),
        "unseen_average": _mean(kinds.unseen),
        "harmonic_average": _mean(kinds.harmonic),
        "ece_average": _mean(rows["ece"][1:]),
        "auroc_average": _mean(rows["auroc"]),
    }
    return Rescored(run, protocol, numbers, rows)


def read_row(path: Path, tasks: tuple[str, ...]) -> TaskScores:
    """Return the scores of the test images of the tasks in a file of `write_row`. Held-out domains are left out."""
    import pandas as pd

    frame = pd.read_parquet(path)
    frame = frame[frame["stream"] == "test"]
    best, score, mass = (
        np.stack([frame[f"{name}_of_{t}"].to_numpy() for t in range(1, len(tasks) + 1)], axis=1)
        for name in ("best", "score", "mass")
    )
    own = frame["task"].astype(str).map({name: t for t, name in enumerate(tasks, start=1)}).to_numpy(np.int64)
    label = frame["label"].to_numpy(np.int64)
    return TaskScores(own, label, best.astype(np.int64), score.astype(np.float64), mass.astype(np.float64))


def _check(run: Run, after: int, accuracy: NDArray[np.float64], path: Path) -> None:
    """Raise Contradiction if the predictions do not have the accuracies of the record."""
    for task, value in zip(run.tasks, accuracy, strict=True):
        recorded = run.cells[after, "test", task]
        if not abs(recorded - value) < 1e-6:
            raise Contradiction(path, f"by it the accuracy on {task} is {value:.4f}, but by accuracy.csv it is {recorded:.4f}")


def _auroc(confidence: NDArray[np.float64], learned: NDArray[np.bool_]) -> float:
    return float("nan") if np.isnan(confidence).any() else auroc(confidence[learned], confidence[~learned])


def _mean(values: Any) -> float:
    """Return the mean of the values that are defined; NaN without any."""
    defined = np.asarray(values, dtype=np.float64)
    defined = defined[~np.isnan(defined)]
    return float(defined.mean()) if len(defined) else float("nan")
