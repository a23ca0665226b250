"""Check the files of a record against the published JSON schema. Imports neither torch nor Avalanche.

The schema is `record.schema.json` in this folder. `python -m tools.record_schema` makes it from the declarations that write
records. It gives the types and ranges of all fields and columns. `run_check` checks that the values agree with each other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.records.files import read_csv, read_json
from models.registry import UserError

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

PATH = Path(__file__).with_name("record.schema.json")
RECORD = "run.json"
WORDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minLength": "at least {} characters long",
    "maxLength": "at most {} characters long",
    "minItems": "a list of at least {} items",
    "maxItems": "a list of at most {} items",
    "pattern": "a text that matches {}",
    "const": "{!r}",
}
"""The end of "NAME must be ..." by keyword of JSON schema."""


class SchemaError(UserError):
    """A file of a record that does not follow the schema."""

    def __init__(self, path: Path, problem: str):
        self.path, self.problem = path, problem
        super().__init__(f"{path} does not follow the schema of records: {problem}.")


@cache
def schema() -> Mapping[str, Any]:
    """Return the schema of records."""
    document: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return document


def check_schema(folder: Path) -> None:
    """Check `run.json` and the tables of a folder against the schema. A table that does not exist is not checked.

    Raises:
        SchemaError: naming the file and the first field, or row and column, that the schema refuses.
        UserError: for a file that cannot be read.
    """
    document = read_json(folder / RECORD)
    if document is None:
        raise UserError(f"There is no record {folder / RECORD}.")
    for error in _validator(RECORD).iter_errors(document):
        raise SchemaError(folder / RECORD, _sentence(".".join(map(str, error.absolute_path)), error))
    for name in schema()["properties"]:
        if name != RECORD:
            for problem in _table_problems(name, folder / name):
                raise SchemaError(folder / name, problem)


def _table_problems(name: str, path: Path) -> Iterator[str]:
    """Yield the problems of a table, column by column. Each distinct value is checked once."""
    rows, row = read_csv(path), schema()["properties"][name]["items"]
    if not rows:
        return
    if missing := [column for column in row["required"] if column not in rows[0]]:
        yield f"column {missing[0]} is missing"
    for column in rows[0]:
        declared = row["properties"].get(column, row["additionalProperties"])
        validator = _validator(name, column)
        numeric = declared is True or {"integer", "number"} & {*_types(declared)}
        for text in dict.fromkeys(line[column] for line in rows):
            for error in validator.iter_errors(_cell(text) if numeric else text):
                number = next(i for i, line in enumerate(rows, start=2) if line[column] == text)
                yield f"row {number}: {_sentence(column, error, repr(text))}"


def _cell(text: str) -> int | float | str | None:
    """Return the value of a cell: a number, None for an empty one, else the text."""
    for kind in (int, float):
        try:
            value = kind(text)
        except ValueError:
            continue
        return None if math.isnan(value) else value
    return text or None


@cache
def _validator(name: str, column: str | None = None) -> Draft202012Validator:
    """Return the validator of `run.json`, or of the values in a column of a table."""
    from jsonschema import Draft202012Validator

    declared = schema()["properties"][name]
    if column is not None:
        declared = declared["items"]["properties"].get(column, declared["items"]["additionalProperties"])
    return Draft202012Validator(declared)


def _sentence(field: str, error: ValidationError, given: str | None = None) -> str:
    """Return an error as "FIELD must be ..., and is VALUE"."""
    keyword, allowed = str(error.validator), error.validator_value
    if keyword == "required":
        missing = next(name for name in allowed if name not in error.instance)
        return f"{f'{field}.{missing}' if field else missing} is missing"
    if keyword == "type":
        words = " or ".join(_types({"type": allowed}))
    elif keyword == "enum":
        words = f"one of {', '.join(allowed)}"
    else:
        words = WORDS.get(keyword, f"valid by {keyword}").format(allowed)
    given = repr(error.instance) if given is None else given
    return f"{field or 'the document'} must be {words}, and is {given if len(given) <= 40 else f'{given[:40]}...'}"


def _types(declared: Any) -> list[str]:
    """Return the types that a schema allows."""
    types = declared.get("type", []) if isinstance(declared, dict) else []
    return [types] if isinstance(types, str) else list(types)
