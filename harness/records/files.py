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
    """JSON with NaN as null, so that any reader takes it."""
    write_bytes(path, (json.dumps(plain(value), indent=2, allow_nan=False) + "\n").encode())


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as `csv_bytes` makes them."""
    write_bytes(path, csv_bytes(columns, rows))


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows in the given column order; columns that only some rows have follow at the end, empty where missing."""
    rows = list(rows)
    extra = {name: None for row in rows for name in row if name not in columns}
    header = [*columns, *extra]
    lines = [header, *(["" if (value := row.get(name)) is None else str(value) for name in header] for row in rows)]
    return "".join(f"{_line(line)}\n" for line in lines).encode()


class GrowingTable:
    """A CSV file whose rows are only ever added to: each is formatted and digested once, however often the file is written.

    Columns that only later rows have follow at the end, empty before. `digest` is that of `digest(read_csv(path))`.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self.path, self.columns = path, [*columns]
        self._lines: list[str] = []
        self._total = hashlib.sha256()

    def __len__(self) -> int:
        return len(self._lines)

    @property
    def digest(self) -> str:
        return self._total.hexdigest()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if new := [name for name in row if name not in self.columns]:
                self.columns += new
                self._lines = [line + "," * len(new) for line in self._lines]
            values = ["" if (value := row.get(name)) is None else str(value) for name in self.columns]
            self._lines.append(_line(values))
            self._total.update(_digested(zip(self.columns, values, strict=True)))

    def write(self) -> None:
        """The whole file, atomically."""
        write_bytes(self.path, ("\n".join([_line(self.columns), *self._lines]) + "\n").encode())


def _line(values: Sequence[str]) -> str:
    buffer = io.StringIO()
    # The writer quotes a line break in a value only if it is a part of its own line ending.
    csv.writer(buffer, lineterminator="\r\n").writerow(values)
    return buffer.getvalue().removesuffix("\r\n")


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as CSV, with enough digits to recompute from, and so that a spreadsheet runs no formula in it.

    Raises UserError when it cannot be written.
    """
    table = table.assign(**{name: table[name].map(spreadsheet_text) for name in table.select_dtypes(exclude="number")})
    try:
        write_output(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {reason(error)}.") from error


def check_table(path: str | None) -> None:
    """Raise UserError where `write_table` cannot write, before the work that makes the table; None: nowhere is asked for."""
    if path:
        try:
            check_output(path)
        except OSError as error:
            raise UserError(f"Cannot write {path}: {reason(error)}.") from error


def spreadsheet_text(value: Any) -> Any:
    """Return a text as a spreadsheet shows it: with an apostrophe before what it would run, and control characters escaped.

    Other values, and texts that are numbers, stay as they are. `metrics.study_table.read` takes the apostrophe away again.
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
    """All rows as text; an absent file is empty. Raises UserError, naming the file, for one that is no table."""
    with reading(path):
        try:
            text = read_bytes(path).decode()
        except (FileNotFoundError, NotADirectoryError):
            return []
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), strict=True) if line]
        header = lines[0] if lines else []
        if len(set(header)) < len(header):
            raise ValueError("its header has a name twice")
        for number, line in enumerate(lines, start=1):
            if len(line) != len(header):
                raise ValueError(f"row {number} has {len(line)} values for {len(header)} columns")
        return [dict(zip(header, line, strict=True)) for line in lines[1:]]


def read_json(path: Path) -> dict[str, Any] | None:
    """The document, or None where there is no file. Raises UserError, naming the file, when it is no JSON object."""
    with reading(path):
        try:
            text = read_text(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__} where an object is wanted")
    return found


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the contents of a file of ours into a UserError that names it."""
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    # Of json: ValueError for syntax and for endless numbers, RecursionError for endless brackets.
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError, csv.Error) as error:
        said = f"no {error}" if type(error) is KeyError else first_line(error)
        raise UserError(f"{path} is damaged ({said}); --fresh starts over.") from error


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content. Raises OSError for one that cannot be read."""
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(rows: Iterable[Mapping[str, str]]) -> str:
    """SHA-256 of rows as `read_csv` gives them. Empty values count as absent: later rows may add columns to earlier ones."""
    total = hashlib.sha256()
    for row in rows:
        total.update(_digested(row.items()))
    return total.hexdigest()


def _digested(items: Iterable[tuple[str, str]]) -> bytes:
    return json.dumps([[name, value] for name, value in items if value]).encode() + b"\n"


def plain(value: Any) -> Any:
    """A value as it comes back from a JSON file of ours: NaN is null, a tuple a list, a key a string."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value
