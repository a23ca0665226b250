"""Parse the text of a table: encoding, separator, header and cells, with the line number of each row. No torch."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.own.columns import known
from models.files import read_bytes, reason
from models.registry import UserError

DELIMITERS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar"}
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # the first line that Excel writes


class Lines(NamedTuple):
    """The line number of the header, the header, (line number, cells) of each row, and the separator."""

    first: int
    header: list[str]
    rows: list[tuple[int, list[str]]]
    delimiter: str


def read_lines(path: str | Path, columns: Mapping[str, str]) -> Lines:
    """Return the cells of a file. Raises UserError if it is not a table in UTF-8."""
    text = _text(path)
    lines = text.splitlines(keepends=True)
    skipped = 0
    while skipped < len(lines) and not lines[skipped].strip(" \t\r\n;,"):
        skipped += 1
    separator = _SEPARATOR.fullmatch(lines[skipped].strip("\r\n")) if skipped < len(lines) else None
    skipped += separator is not None
    first = lines[skipped] if skipped < len(lines) else ""
    delimiter = separator[1] if separator is not None else _delimiter(first, columns)
    reader = csv.reader(io.StringIO("".join(lines[skipped:]), newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = skipped + 1
    try:
        for cells in reader:
            line, start = start, skipped + reader.line_num + 1
            if any(cell.strip() for cell in cells):
                rows.append((line, [cell.strip() for cell in cells]))
    except csv.Error as error:
        raise UserError(f"{path}, line {start}: {_damage(error)}.") from error
    if not rows:
        raise UserError(f"{path} is empty: write a header line such as path,label and one line per image.")
    header = rows[0][1]
    if len(header) == 1 and len(lines) > 1 and len(header[0].split()) > 1:
        *names, last = DELIMITERS.values()
        raise UserError(
            f"{path}, line {rows[0][0]}: the values are not separated by {', '.join(names)} or {last}: {header[0]!r:.60}."
        )
    return Lines(rows[0][0], header, rows[1:], delimiter)


def _text(path: str | Path) -> str:
    try:
        data = read_bytes(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f'{path} is UTF-16 text; save it as UTF-8 (Excel calls it "CSV UTF-8").')
    if data.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UserError(f'{path} is an Excel workbook or an archive, not text; save the sheet as "CSV UTF-8".')
    if b"\0" in data:
        line = data.count(b"\n", 0, data.index(b"\0")) + 1
        raise UserError(f"{path}, line {line}: the line has a zero byte, so this is UTF-16 or not text; save it as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text (byte {error.start}); save the file as UTF-8.") from error


def _delimiter(first: str, columns: Mapping[str, str]) -> str:
    """Return the separator that gives a header line the most known columns, of several the most frequent one."""

    def score(delimiter: str) -> tuple[int, int]:
        header = _cells(first, delimiter)
        roles = sum(bool(known(role, header)) for role in ("image", "label", "split"))
        return roles + sum(column in header for column in columns.values()), first.count(delimiter)

    return max(DELIMITERS, key=score)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _damage(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text:
        return "a quote that opens in this row is not closed"
    if "expected after" in text:
        return "there is text after a closing quote; inside quotes write a quote twice"
    if "field limit" in text:
        return f"a value is longer than {csv.field_size_limit():,} characters (is a closing quote missing?)"
    return "this is not a row of a table"
