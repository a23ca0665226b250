"""The published schema of records: it is up to date, and a file that breaks it is named with the field."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

import cli
from harness.records.files import read_csv, write_csv, write_json
from harness.records.schema import PATH, SchemaError, check_schema, schema
from tools import record_schema


@pytest.fixture
def folder(honest, tmp_path):
    """The record of a finished run of one task."""
    identity = {
        "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["1"], "heldout": [], "strategy": "zscl",
        "strategy_sha256": None, "options": {"lr": 1}, "model": "tiny", "pretrained": None, "tuning": "full", "seed": 0,
        "limit": None, "measure_n": 10,
    }  # fmt: skip
    counts = {(after, "test", "1"): (4 + after, 8) for after in (0, 1)}
    losses = [{"after": 1, "iteration": i, "loss": 1 / i, "lr": 0.1, "l2": float("nan")} for i in (1, 2, 3)]
    measures = [("before", 1, "1", "iimm_zero_shot", 0.25, 9)]
    return honest(tmp_path / "results", identity, counts, measures, losses, train_seconds=2.5, started="2026-01-02T03:04:05Z")


def test_the_file_is_the_one_that_the_declarations_give():
    assert PATH.read_text(encoding="utf-8") == record_schema.text(), "run `python -m tools.record_schema`"
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_whole_record_as_one_document_is_valid(folder):
    """A reader of the schema needs no code of ours: rows are read as objects with typed values."""
    check_schema(folder)

    def typed(name, text):
        return text if name == "task" else None if text in ("", "nan") else float(text) if text[0].isdigit() else text

    document = {"run.json": json.loads((folder / "run.json").read_text())}
    for name in ("accuracy.csv", "measures.csv", "train.csv"):
        document[name] = [{column: typed(column, text) for column, text in row.items()} for row in read_csv(folder / name)]
    jsonschema.validate(document, schema())
    document["train.csv"][0]["iteration"] = 0
    with pytest.raises(jsonschema.ValidationError, match="0 is less than the minimum of 1"):
        jsonschema.validate(document, schema())


def test_the_script_that_validates(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stream = tmp_path / "results" / "mtil-mini-I"
    stream.mkdir()
    folder.rename(stream / folder.name)
    text = (Path(__file__).parents[3] / "docs" / "publish.md").read_text("utf-8")
    (block,) = re.findall(r'```python title="validate_record.py"\n(.*?)```', text, flags=re.DOTALL)
    exec(block, {})
    path = next((tmp_path / "results").glob("*/*/run.json"))
    path.write_text(path.read_text().replace('"finished"', '"done"'))
    with pytest.raises(jsonschema.ValidationError, match="'done' is not one of"):
        exec(block, {})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("identity.seed", "zero", "identity.seed must be integer, and is 'zero'"),
        ("identity.seed", True, "identity.seed must be integer, and is True"),
        ("identity.tasks", [], "identity.tasks must be a list of at least 1 items, and is []"),
        ("identity.strategy", "x" * 5000, "identity.strategy must be at most 4096 characters long, and is 'xxx"),
        ("identity.shots", 1.5, "identity.shots must be integer or null, and is 1.5"),
        ("key", "../../etc", "key must be a text that matches ^[0-9a-f]{10}$, and is '../../etc'"),
        ("status", "done", "status must be one of running, interrupted, failed, finished, and is 'done'"),
        ("summary.average", "99", "summary.average must be number or null, and is '99'"),
        ("summary", None, "summary must be object, and is None"),
        ("batch_check", {}, "batch_check.dependent is missing"),
        ("identity.class_order", ["a", 1], "identity.class_order.1 must be string, and is 1"),
        ("train_seconds", -1, "train_seconds must be at least 0, and is -1"),
        ("started", "yesterday", "started must be a text that matches"),
        ("samples", {"train": [1, "2"]}, "samples.train.1 must be integer, and is '2'"),
    ],
)
def test_a_field_that_breaks_the_schema_is_named(folder, field, value, message):
    document = json.loads((folder / "run.json").read_text())
    *way, last = field.split(".")
    place = document
    for name in way:
        place = place[name]
    place[last] = value
    write_json(folder / "run.json", document)
    with pytest.raises(SchemaError) as caught:
        check_schema(folder)
    assert str(caught.value).startswith(f"{folder / 'run.json'} does not follow the schema of records: {message}")


@pytest.mark.parametrize(
    ("name", "column", "value", "message"),
    [
        ("accuracy.csv", "correct", "1.5", "row 3: correct must be integer, and is '1.5'"),
        ("accuracy.csv", "stream", "train", "row 3: stream must be one of test, heldout, and is 'train'"),
        ("accuracy.csv", "accuracy", "120", "row 3: accuracy must be at most 100, and is '120'"),
        ("accuracy.csv", "task", "", "row 3: task must be at least 1 characters long, and is ''"),
        ("measures.csv", "when", "later", "row 2: when must be one of before, after, and is 'later'"),
        ("train.csv", "loss", "low", "row 4: loss must be number or null, and is 'low'"),
        ("train.csv", "iteration", None, "column iteration is missing"),
    ],
)
def test_a_cell_that_breaks_the_schema_is_named(folder, name, column, value, message):
    rows = read_csv(folder / name)
    if value is None:
        rows = [{k: v for k, v in row.items() if k != column} for row in rows]
    else:
        rows[-1][column] = value
    write_csv(folder / name, list(rows[0]), rows)
    with pytest.raises(SchemaError, match=re.escape(f"{folder / name} does not follow the schema of records: {message}.")):
        check_schema(folder)


def test_fields_that_are_missing(folder):
    document = json.loads((folder / "run.json").read_text())
    del document["identity"]["seed"]
    write_json(folder / "run.json", document)
    with pytest.raises(SchemaError, match=r"identity\.seed is missing"):
        check_schema(folder)


def test_the_command_that_checks_a_folder(folder, capsys):
    assert cli.main(["leaderboard", str(folder.parent), "--check"]) == 0
    assert capsys.readouterr().out == "1 record: all files follow the schema and agree with each other.\n"
    other = folder.parent / "copy"
    other.mkdir()
    (other / "run.json").write_text((folder / "run.json").read_text().replace('"seed": 0', '"seed": "0"'))
    assert cli.main(["leaderboard", "--check", str(folder.parent)]) == 2
    shown, problem = capsys.readouterr(), "identity.seed must be integer, and is '0'.\n"
    assert shown.out == f"{other / 'run.json'} does not follow the schema of records: {problem}"
    assert shown.err == "perennial: 1 problem in 2 records.\n"
    # As records of somebody else, without the advice for their owner.
    assert cli.main(["leaderboard", "--check", "--from", str(folder.parent)]) == 2
    assert capsys.readouterr().out == f"{other / 'run.json'}: {problem}"
    assert cli.main(["leaderboard", "--check", str(folder / "checkpoint")]) == 2
    (other / "empty").mkdir()
    assert cli.main(["leaderboard", "--check", str(other / "empty")]) == 2
    assert "There are no records in" in capsys.readouterr().err
