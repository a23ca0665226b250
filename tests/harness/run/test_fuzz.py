"""Readers of the project's formats accept any bytes: they return, or raise a UserError that names the file."""

import copy
import json
import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.own.csv_table import read_table
from benchmarks.own.names import read_names, read_templates
from harness.config.config_file import read_file
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.records import runs
from harness.records.files import (
    ACCURACY_COLUMNS,
    MEASURE_COLUMNS,
    TRAIN_COLUMNS,
    digest,
    file_sha256,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from harness.records.leaderboard import leaderboard
from harness.records.run_json import key_of, read_run
from harness.run import checkpoint, resume
from harness.run.run_files import CHECKPOINT_FILES, DIGESTS, LATEST
from harness.run.state import RunState
from metrics import study_table
from models.registry import UserError

fuzz = settings(max_examples=50, deadline=None, derandomize=True, database=None)
# Inputs that are difficult for parsers: depth, endless numbers, surrogates, NUL, a lone quote.
TRAPS = [b"[" * 100_000, b"1" * 5000, b'{"a":' * 5000, b'"\\ud800"', b"\0", b'"', b"\xff\xfe", b"", b"null", b"\r", b"NaN"]
bytes_of_any_kind = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)

IDENTITY = {
    "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a", "b"], "heldout": ["c"], "strategy": "zscl",
    "strategy_sha256": None, "options": {"lr": 1, "lr_by_task": {"a": 0.1}}, "model": "tiny", "pretrained": None,
    "tuning": "full", "tuning_options": {}, "protocol": "task", "data_version": "v", "seed": 0, "limit": None, "shots": None,
}  # fmt: skip
SUMMARY = {
    "transfer": 50.0,
    "average": 50.0,
    "last": 50.0,
    "forgetting": 0.0,
    "bwt": 0.0,
    "retention": 100.0,
    "iimm_mean": None,
}
DOCUMENT = {
    "status": "finished", "identity": IDENTITY, "key": key_of(IDENTITY), "summary": SUMMARY,
    "trainable_params": 5, "train_seconds": 1.0, "eval_seconds": 1.0, "images_per_second": None, "peak_memory_mb": 2.0,
    "differences": [], "progress": {"after": 2, "of": 2}, "samples": {"test": [2, 2]}, "searches": [{"task": "a"}], "notes": [],
}  # fmt: skip
CELLS = [(j, stream, task) for j in range(3) for stream, task in (("test", "a"), ("test", "b"), ("heldout", "c"))]
ACCURACY = [dict(zip(ACCURACY_COLUMNS, (*cell, 50.0, 1, 2), strict=True)) for cell in CELLS]
MEASURES = [dict(zip(MEASURE_COLUMNS, ("before", j, "ab"[j - 1], "iimm", 0.5, 9), strict=True)) for j in (1, 2)]
LOSSES = [{**dict(zip(TRAIN_COLUMNS, (j, 1, 0.5, 0.1), strict=True)), "extra": 1} for j in (1, 2)]
TABLES = {
    "accuracy.csv": (ACCURACY_COLUMNS, ACCURACY),
    "measures.csv": (MEASURE_COLUMNS, MEASURES),
    "train.csv": (TRAIN_COLUMNS, LOSSES),
}


def places(value, at=()):
    """Return the paths to every value inside a JSON value."""
    found = [at] if at else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*at, key))
    return found


@st.composite
def changed(draw, document):
    """Draw a JSON value with one value inside it replaced or removed."""
    made = copy.deepcopy(document)
    *way, last = draw(st.sampled_from(places(made)))
    parent = made
    for key in way:
        parent = parent[key]
    if draw(st.booleans()):
        parent[last] = draw(values)
    else:
        del parent[last]
    return made


@st.composite
def spoilt(draw, text):
    """Draw a text with a piece of it replaced."""
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, min(len(text), start + 20)))
    junk = draw(
        st.one_of(st.text(max_size=8), st.sampled_from([",", "\n", '"', "-1", "nan", "1" * 5000, "1e999", "x" * 140_000]))
    )
    return (text[:start] + junk + text[end:]).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def refusal(read, *arguments):
    """Return the message of the UserError, or None if the file was read."""
    try:
        read(*arguments)
    except UserError as error:
        return str(error)
    return None


def survives(read, path, *others):
    """Read a file. A UserError must name it."""
    said = refusal(read, path)
    assert said is None or any(each.name in said for each in (path, *others)), said


READERS = {
    "run.json": (read_json, read_run, lambda p: leaderboard([p]), lambda p: runs.read([p]), lambda p: read_file(str(p))),
    "table.csv": (read_csv, read_table, study_table.read),
    "images.tsv": (read_table,),
    "settings.toml": (lambda p: read_file(str(p)), read_names, read_templates),
    "names.txt": (read_names, read_templates),
    "names.json": (read_names, read_templates),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
@fuzz
@given(data=bytes_of_any_kind)
def test_any_bytes(name, folder, data):
    (folder / name).write_bytes(data)
    for read in READERS[name]:
        survives(read, folder / name)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("data", TRAPS, ids=range(len(TRAPS)))
def test_inputs_that_are_difficult_for_parsers(name, data, tmp_path):
    path = tmp_path / name
    for before in (b"", b'{"request": ', b"classnames = ", b"seed = ", b"path,label\n~nobody/x,"):
        path.write_bytes(before + data)
        for read in READERS[name]:
            survives(read, path)


@pytest.mark.slow
@fuzz
@given(value=values)
def test_any_json(folder, value):
    path = folder / "names.json"
    path.write_text(json.dumps(value))
    for read in (*READERS["names.json"], *READERS["run.json"]):
        survives(read, path, folder / "accuracy.csv")


@pytest.mark.slow
@settings(fuzz, max_examples=200)
@given(document=changed(DOCUMENT))
@example(document={**DOCUMENT, "summary": {"average": 10**400}})
@example(document={**DOCUMENT, "identity": {**IDENTITY, "seed": True}})
def test_a_record_with_one_value_changed(folder, document):
    path = folder / "run.json"
    path.write_text(json.dumps(document))
    for read in READERS["run.json"][:4]:
        survives(read, path, *(folder / name for name in TABLES))


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
@fuzz
@given(data=st.data())
def test_tables_of_a_run(name, folder, data):
    (folder / "run.json").write_text(json.dumps(DOCUMENT))
    for each, (columns, rows) in TABLES.items():
        write_csv(folder / each, columns, rows)
    (folder / name).write_bytes(data.draw(spoilt((folder / name).read_text())))
    survives(lambda path: runs.read([path]), folder / "run.json", folder / name)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLES)
@fuzz
@given(data=st.data())
def test_tables_of_a_resumed_run(name, tmp_path_factory, folder, data):
    """Changed tables are refused, so a resumed run has the tables that were written."""
    made = state_in(folder / "run")
    for each, (columns, rows) in TABLES.items():
        write_csv(made.folder / each, columns, rows)
    counters = {"timings": {"train": 1.0, "evaluate": 1.0}, "images_trained": 3}
    tables = {name: made._rows_until(2, name) for name in TABLES}
    checkpoint.save_state(made.folder / "checkpoint", 2, {"w": torch.zeros(1)}, {})
    checkpoint.commit(made.folder / "checkpoint", 2, **counters, tables={each: digest(rows) for each, rows in tables.items()})
    made.load()
    assert made.done == 2 and len(made.losses) == 2
    path = made.folder / name
    path.write_bytes(data.draw(spoilt(path.read_text())))
    again = state_in(folder / "run")
    said = refusal(again.load)
    if said is None:
        assert (again.rows, again.measures) == (made.rows, made.measures)
        assert [{k: v for k, v in row.items() if v} for row in again.losses] == made.losses
    else:
        assert name in said


def state_in(folder):
    class Resolved:
        key, tasks, heldout = "k", ("a", "b"), ("c",)

    resolved = Resolved()
    resolved.folder = folder
    return RunState(resolved)


@fuzz
@given(document=st.one_of(values, changed({"status": "running", "key": "k", "identity": {"a": 1}, "summary": None})))
def test_the_record_of_a_resumed_run(folder, document):
    class Resolved:
        key = "k"

        def identity(self):
            return {"a": 1, "b": (1, 2)}

    resolved = Resolved()
    resolved.folder = folder / "resumed"
    resolved.folder.mkdir(exist_ok=True)
    path = resolved.folder / "run.json"
    path.write_text(json.dumps(document))
    survives(lambda _: resume.recorded_document(resolved), path)
    now = {"versions": {"torch": "1"}, **dict.fromkeys(resume.MACHINE, "x")}
    resume.note_continuation(now, document if isinstance(document, dict) else None, 1)
    assert now["continued"][-1]["after"] == 1


def test_a_sound_record_passes(folder):
    """The readers accept a valid record."""
    write_json(folder / "run.json", DOCUMENT)
    for name, (columns, rows) in TABLES.items():
        write_csv(folder / name, columns, rows)
    assert len(leaderboard([folder / "run.json"])) == len(runs.read([folder / "run.json"])) == 1


FIELDS = st.sampled_from(["seed", "limit", "tasks", "options", "order", "cache", "measures", "heldout", "edition", "nonsense"])


@fuzz
@given(found=st.dictionaries(FIELDS, values, max_size=4), request=st.booleans())
def test_settings(folder, found, request):
    path = folder / "settings.json"
    path.write_text(json.dumps({"request": found} if request else found))
    survives(lambda p: RunConfig(**{"seed": 0, **read_file(str(p))}), path)


@fuzz
@given(data=spoilt('benchmark = "mtil"\nseed = [0, 1]\ntasks = ["a", "b"]\n[options]\nlr = 0.1\nwhen = 1979-05-27T07:32:00Z\n'))
def test_toml(folder, data):
    (folder / "settings.toml").write_bytes(data)
    survives(lambda p: read_file(str(p)), folder / "settings.toml")


STUDY = (
    "domain,edition,tuning,strategy,seed,model,pretrained,weights,iimm,gain,gain_over_error,forgetting\n"
    "a,mini,full,finetune,0,tiny,,w,0.1,1,2,3\nb,mini,full,finetune,0,tiny,,w,0.2,2,3,4\n"
)


@pytest.mark.slow
@settings(fuzz, max_examples=100)
@given(data=spoilt(STUDY))
def test_a_study(folder, data):
    (folder / "table.csv").write_bytes(data)
    survives(study_table.read, folder / "table.csv")


@fuzz
@given(data=spoilt("path,label,split\na.png,cat,train\nb.png,dog,test\n"))
def test_a_table_of_images(folder, data):
    (folder / "images.csv").write_bytes(data)
    survives(read_table, folder / "images.csv")


plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(codec="utf-8"), max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.slow
@fuzz
@given(state=plain)
def test_state_comes_back(folder, state):
    checkpoint.save_state(folder / "c", 0, {}, {"state": state})
    assert same(checkpoint.load_state(folder / "c", 0)[1]["state"], state)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CHECKPOINT_FILES, DIGESTS])
@pytest.mark.parametrize("signed", [False, True])
@fuzz
@given(data=st.one_of(bytes_of_any_kind, values.map(lambda v: json.dumps({"a": {checkpoint.TENSOR: v}}).encode())))
def test_files_of_a_checkpoint(name, signed, folder, data):
    """In the signed case the digest matches the damaged file."""
    checkpoint.save_state(folder / "d", 0, {"w": torch.zeros(2)}, {"t": torch.ones(1)})
    source = folder / "d" / "after-0"
    (source / name).write_bytes(data)
    if signed and name != DIGESTS:
        write_json(source / DIGESTS, {n: file_sha256(source / n) for n in CHECKPOINT_FILES})
    said = refusal(checkpoint.load_state, folder / "d", 0)
    assert signed if said is None else "after-0" in said


@fuzz
@given(document=st.one_of(values, changed({"after": 0, "timings": {"train": 1.0}})), signed=st.booleans())
def test_the_index_of_the_latest_checkpoint(folder, document, signed):
    path = folder / "e" / LATEST
    path.parent.mkdir(exist_ok=True)
    if signed and isinstance(document, dict):
        document = checkpoint._with_digest({name: value for name, value in document.items() if name != "sha256"})
    path.write_text(json.dumps(document))
    survives(lambda p: checkpoint.last_undamaged(p.parent), path, path.parent / DIGESTS)


def test_a_configuration_from_a_file_is_resolved_or_refused(tmp_path):
    """`resolve` refuses in a sentence what `read_file` accepts."""
    path = tmp_path / "settings.json"
    for found in ({"options": {"lr": 10**400}}, {"options": {"lr": {}}}, {"tasks": {"a": 1}}, {"options": {"lr": None}}):
        path.write_text(json.dumps({"benchmark": "mtil", "strategy": "finetune", **found}))
        with pytest.raises(UserError):
            resolve(RunConfig(**read_file(str(path))))
