"""Write and read the files of a run: JSON and CSV, written completely or not at all."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.files import check_output, open_file, read_bytes, read_text, reason, write_bytes, write_output
from models.registry import UserError, first_line, printable
from strategies.engine.method_checks import TRAIN_COLUMNS as TRAIN_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

ACCURACY_COLUMNS = ("after", "stream", "task", "accuracy", "correct", "n")
MEASURE_COLUMNS = ("when", "experience", "task", "measure", "value", "n")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file, with NaN as null so that any reader accepts it."""
    write_bytes(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


class GrowingTable:
    """A CSV file that only grows. Each row is formatted and digested once, however often the file is written.

    Columns that only later rows have follow at the end and are empty in earlier rows.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, [*columns]
        self._lines: list[str] = []
        self._total = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def digest(self) -> str:
        """The digest of the rows, equal to `digest(read_csv(path))`."""
        return self._total.hexdigest()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows."""
        for row in rows:
            if new := [name for name in row if name not in self.columns]:
                self.columns += new
                self._lines = [line + "," * len(new) for line in self._lines]
            values = ["" if (value := row.get(name)) is None else str(value) for name in self.columns]
            self._lines.append(_line(values))
            self._total.update(_row_bytes(zip(self.columns, values, strict=True)))

    def write(self) -> None:
        """Write the whole file atomically."""
        write_bytes(self.path, ("\n".join([_line(self.columns), *self._lines]) + "\n").encode())


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV in the given column order. Further columns of any row follow at the end; missing values are empty."""
    table = GrowingTable(path, columns)
    table.add(rows)
    table.write()


def _line(values: Sequence[str]) -> str:
    """Return one line of CSV without its line ending."""
    buffer = io.StringIO()
    # The writer quotes a line break in a value only if it is part of its line ending.
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue().removesuffix("\r\n")


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV (`table_bytes`). Raises UserError if the file cannot be written."""
    try:
        write_output(path, table_bytes(table))
    except OSError as error:
        raise UserError(f"Cannot write {path}: {reason(error)}.") from error


def table_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as CSV with six significant digits. Texts are escaped so that no spreadsheet runs them as formulas."""
    table = table.assign(**{name: table[name].map(spreadsheet_text) for name in table.select_dtypes(exclude="number")})
    text: str = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return text.encode()


def check_table(path: str | None) -> None:
    """Raise UserError if `write_table` cannot write to a path. Called before the work that makes the table."""
    if path:
        try:
            check_output(path)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {reason(error)}.") from error


def spreadsheet_text(value: Any) -> Any:
    """Return a text that no spreadsheet runs as a formula: with an apostrophe before it, and control characters escaped.

    Other values and texts that are numbers are returned unchanged. `metrics.study_table.read` removes the apostrophe.
    """
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        text = printable(value, multiline=True)
        return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t")) else text
    return value


def read_csv(path: Path) -> list[dict[str, str]]:
    """Return all rows as text; none if there is no file. Raises UserError, naming the file, for one that is not a table."""
    with reading(path):
        try:
            text = read_bytes(path).decode()
        except (FileNotFoundError, NotADirectoryError):
            return []
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
        header = lines[0] if lines else []
        if len(set(header)) < len(header):
            raise ValueError("its header repeats a name")
        for number, line in enumerate(lines, start=1):
            if len(line) != len(header):
                raise ValueError(f"row {number} has {len(line)} values for {len(header)} columns")
        return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None if there is no file. Raises UserError, naming the file, for anything else."""
    with reading(path):
        try:
            text = read_text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError(f"it holds a {type(document).__name__}, not an object")
    return document


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn errors in reading a file of a run, or in its contents, into a UserError that names the file."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    # json raises ValueError for its syntax and for endless numbers, RecursionError for endless brackets.
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, csv.Error) as error:
        problem = f"no {error}" if type(error) is KeyError else first_line(error)
        raise UserError(f"{path} is damaged ({problem}); --fresh starts over.") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file. Raises OSError if it cannot be read."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(rows: Iterable[Mapping[str, str]]) -> str:
    """Return the SHA-256 of rows of `read_csv`. Empty values do not count, since later rows may add columns to earlier ones."""
    total = hashlib.sha256()
    for row in rows:
        total.update(_row_bytes(row.items()))
    return total.hexdigest()


def _row_bytes(items: Iterable[tuple[str, str]]) -> bytes:
    """Return the bytes of a row that are digested."""
    return json.dumps([[name, value] for name, value in items if value]).encode() + b"\n"


def plain(value: Any) -> Any:
    """Return a value as reading it back from JSON returns it: NaN is None, a tuple is a list, a key is a string."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
