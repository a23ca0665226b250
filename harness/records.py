"""The files of a run: written whole or not at all, by one process at a time, and read back."""

from __future__ import annotations

import csv
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.registry import UserError
from strategies.contract import TRAIN_COLUMNS as TRAIN_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

ACCURACY_COLUMNS = ("after", "stream", "task", "accuracy", "correct", "n")
MEASURE_COLUMNS = ("when", "experience", "task", "measure", "value", "n")


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically: a temporary file in the same folder, flushed to disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; a record is as readable as any other file of its owner.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A folder, made where it is not there, for this process alone. Raises UserError when another one is at work on it."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    # The system releases it when the process dies, however it dies.
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"Another process is at work on {folder}.") from error
    try:
        yield
    finally:
        lock.release()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """JSON with NaN as null, so that any reader takes it."""
    write_bytes(path, (json.dumps(_plain(value), indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Rows in the given column order; columns that only some rows have follow at the end, empty where missing."""
    rows = list(rows)
    extra = {name: None for row in rows for name in row if name not in columns}
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*columns, *extra], lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, buffer.getvalue().encode())


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """A table as CSV, with enough digits to recompute from. Raises UserError when it cannot be written."""
    try:
        write_bytes(Path(path), table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def read_csv(path: Path) -> list[dict[str, str]]:
    """All rows as text; an absent file is empty."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> dict[str, Any] | None:
    """The document, or None where there is no file. Raises UserError, naming the file, when it is not JSON."""
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}); --fresh starts over.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
