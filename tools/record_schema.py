"""Write the JSON schema of records from the declarations that write them: `python -m tools.record_schema [--check]`.

`run.json` is described by the settings of `RunConfig` and the tables of `harness.records.run_json`, the CSV files by their
columns. Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import argparse
import json
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config.run_config import RunConfig
from harness.config.settings import declared
from harness.records.files import ACCURACY_COLUMNS, MEASURE_COLUMNS, TRAIN_COLUMNS
from harness.records.leaderboard import METRICS
from harness.records.run_json import COSTS, NAMES, OPTIONAL_NAMES, SETTINGS, STATUSES, TEST_COSTS, TEXT, VALUES
from harness.records.schema import PATH
from models.files import write_bytes
from models.setting import value_types

JSON_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    list: "array",
    tuple: "array",
    dict: "object",
    type(None): "null",
}
LONGEST = 4096
"""Characters of a name or a path."""
MOST_NAMES = 100_000
"""Tasks, domains or classes of a run."""
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": ["number", "null"]}
COST = {"type": ["number", "null"], "minimum": 0}
PERCENT = {"type": ["number", "null"], "minimum": 0, "maximum": 100}
TEXTS = {"type": "array", "items": {"type": "string"}}
NAMED = {"type": "string", "minLength": 1, "maxLength": LONGEST}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}


def typed(kinds: Sequence[type], description: str = "") -> dict[str, Any]:
    """Return the schema of a value of one of several types."""
    names = list(dict.fromkeys(JSON_TYPES.get(kind, "object") for kind in kinds))
    names = [name for name in names if name != "integer" or "number" not in names]
    return {"type": names[0] if len(names) == 1 else names, **({"description": description} if description else {})}


def described(schema: Mapping[str, Any], description: str) -> dict[str, Any]:
    """Return a schema with a description."""
    return {**schema, "description": description}


def identity() -> dict[str, Any]:
    """Return the schema of `identity`: texts, names, and the settings that decide the numbers."""
    helps = {name: setting.help for name, setting in declared(RunConfig).items()}
    names = {"type": "array", "items": NAMED, "maxItems": MOST_NAMES}
    properties = {name: typed(kinds, helps.get(name, "")) for name, kinds in {**SETTINGS, **VALUES}.items()}
    properties |= {name: described(NAMED, helps.get(name, "")) for name in TEXT}
    properties["order"] = described(NAMED, "I, II, default, or custom- and a digest of the names")
    properties["tasks"] = described({**names, "minItems": 1}, "the tasks in order")
    properties["heldout"] = described(names, "domains that are evaluated and never trained")
    properties["class_order"] = {**names, "type": ["array", "null"], "description": "the classes in a given order"}
    properties["targets"] = described(names, "held-out domains that do not count for Retention")
    properties["seed"] = described(COUNT, "the seed of the run")
    properties["reference"] = {**TEXTS, "type": ["array", "null"], "description": "names of the reference images and sentences"}
    properties["files"] = {"type": "object", "description": "digests of other files that the method reads"}
    properties["plugins"] = {"type": "object", "description": "options of each plugin"}
    for name in ("strategy_sha256", "tuning_sha256", "weights_sha256", "reference_version"):
        properties[name] = {"type": ["string", "null"], "description": "digest of a file or of data"}
    assert {*NAMES, *OPTIONAL_NAMES} <= properties.keys()
    required = [*TEXT, *NAMES, "seed", "options"]
    return {"type": "object", "required": required, "properties": properties, "description": "what decides the numbers"}


def request() -> dict[str, Any]:
    """Return the schema of `request`: the settings of the run, for `bench --config`."""
    hints = typing.get_type_hints(RunConfig)
    recorded = {name: setting for name, setting in declared(RunConfig).items() if setting.recorded}
    properties = {name: typed([*value_types(hints[name]), type(None)], s.help) for name, s in recorded.items()}
    return {"type": ["object", "null"], "properties": properties, "description": "the configuration, for `bench --config`"}


def run() -> dict[str, Any]:
    """Return the schema of `run.json`. Fields that older records lack are optional."""
    summary = {name: NUMBER for name in (*METRICS, "cil_average", "cil_last")}
    counts = {"type": "array", "items": COUNT}
    properties: dict[str, Any] = {
        "key": {"type": "string", "pattern": "^[0-9a-f]{10}$", "description": "hash of `identity`"},
        "status": {"enum": list(STATUSES)},
        "identity": identity(),
        "request": request(),
        "changes": {"type": "object", "description": "options that the user changed"},
        "error": {"type": ["string", "null"]},
        "progress": {"type": ["object", "null"], "properties": {"after": {"type": "integer", "minimum": -1}, "of": COUNT}},
        "summary": {"type": ["object", "null"], "properties": summary, "additionalProperties": NUMBER},
        "differences": described(TEXTS, "how the data differs from the paper's"),
        "reference": {"type": ["object", "null"], "description": "names and numbers of the reference images and sentences"},
        "shared_classes": {"type": "array", "items": {**TEXTS, "minItems": 2, "maxItems": 2}},
        "random_accuracy": {"type": "object", "additionalProperties": PERCENT},
        "samples": {"type": ["object", "null"], "additionalProperties": counts, "description": "images per split"},
        "model_description": {"type": "object"},
        "model_notes": TEXTS,
        "parameters": COUNT,
        "trainable_params": COST,
        **{name: COST for name in COSTS},
        **{name: NUMBER for name in TEST_COSTS},
        "batch_check": {"type": ["object", "null"], "required": ["dependent"], "properties": {"dependent": NUMBER}},
        "device": {"type": "string"},
        "processes": COUNT,
        "torch_threads": COUNT,
        "python": {"type": "string"},
        "platform": {"type": "string"},
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
        "git_revision": {"type": ["string", "null"]},
        "started": TIME,
        "continued": {"type": "array", "items": {"type": "object", "properties": {"at": TIME, "warnings": TEXTS}}},
        "searches": {"type": ["array", "null"], "items": {"type": "object"}, "description": "choices of the method by data"},
        "notes": {**TEXTS, "type": ["array", "null"]},
    }
    # A finished run has a summary.
    finished = {"properties": {"status": {"const": "finished"}}}
    complete = {
        "required": ["summary", "trainable_params"],
        "properties": {"summary": {"type": "object"}, "trainable_params": {"type": "number"}},
    }
    return {
        "type": "object",
        "required": ["key", "status", "identity"],
        "properties": properties,
        "if": finished,
        "then": complete,
    }


def table(columns: Sequence[str], values: Mapping[str, Any], more: Mapping[str, Any] | bool = True) -> dict[str, Any]:
    """Return the schema of a table's rows. `more` is the schema of further columns."""
    assert list(columns) == [*values]
    row = {"type": "object", "required": list(columns), "properties": dict(values), "additionalProperties": more}
    return {"type": "array", "items": row}


def record() -> dict[str, Any]:
    """Return the JSON schema of a record: `run.json`, and its tables as arrays of rows."""
    experience = {"type": "integer", "minimum": 1}
    accuracy = {
        "after": described(COUNT, "tasks trained so far; 0 is zero-shot"),
        "stream": {"enum": ["test", "heldout"]},
        "task": described(NAMED, "the domain that is tested"),
        "accuracy": described(PERCENT, "100 x correct / n"),
        "correct": COUNT,
        "n": COUNT,
    }
    measures = {
        "when": {"enum": ["before", "after"]},
        "experience": experience,
        "task": NAMED,
        "measure": NAMED,
        "value": NUMBER,
        "n": COUNT,
    }
    train = {"after": experience, "iteration": experience, "loss": NUMBER, "lr": NUMBER}
    text = "The files of a run's folder. A CSV file is an array of rows; an empty cell is null, a cell of a number is a number."
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:perennial:record:1",
        "title": "Record of a run",
        "description": text,
        "type": "object",
        "required": ["run.json"],
        "properties": {
            "run.json": run(),
            "accuracy.csv": table(ACCURACY_COLUMNS, accuracy),
            "measures.csv": table(MEASURE_COLUMNS, measures),
            "train.csv": table(TRAIN_COLUMNS, train, {"type": ["number", "string", "null"]}),
        },
    }


def text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(record(), indent=2) + "\n"


def main() -> int:
    """Write the file, or return 1 with `--check` if it is not up to date."""
    parser = argparse.ArgumentParser(description="Write the JSON schema of records.")
    parser.add_argument("--check", action="store_true", help="only check that the file is up to date")
    if parser.parse_args().check:
        return int(PATH.read_text(encoding="utf-8") != text())
    write_bytes(PATH, text().encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
