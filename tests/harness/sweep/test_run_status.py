"""How far a run is, from made-up folders."""

import io
import json

import pytest
from rich.console import Console

from harness.display.screen import Screen
from harness.run.locks import at_work, locked
from harness.sweep.grid import Run
from harness.sweep.run_status import counts, last_line, look
from harness.sweep.sweep_screen import show_status


@pytest.fixture
def run(tmp_path):
    return Run("zscl", "I", 0, tmp_path / "zscl-1", tmp_path / "logs" / "zscl.log", ())


def record(run, **document):
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "run.json").write_text(json.dumps({"progress": {"after": 2, "of": 8}, **document}))


def test_nothing_there_yet(run):
    assert look(run) == look(run)._replace(state="missing", done=0, of=0, note="")
    assert not run.folder.exists(), "looking makes nothing"


def test_finished(run):
    record(run, status="finished", summary={"transfer": 1.25, "average": 2.0, "last": None}, train_seconds=3, eval_seconds=1)
    found = look(run)
    assert found == ("finished", 2, 8, "Transfer 1.2, Average 2.0", 4.0)
    record(run, status="finished", summary={"transfer": 1.25, "cil_average": 5.0, "cil_last": 6.0})
    assert look(run).note == "cil_average 5.0, cil_last 6.0"


def test_a_finished_record_that_contradicts_itself_is_failed(run, honest):
    """Also through links to the folder and to the one above it."""
    identity = {
        "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a"], "heldout": [], "strategy": "zscl", "options": {},
        "model": "tiny", "pretrained": None, "tuning": "full", "seed": 0, "limit": None,
    }  # fmt: skip
    folder = honest(run.folder.parent / "disk", identity, {(0, "test", "a"): (1, 4), (1, "test", "a"): (3, 4)})
    run.folder.symlink_to(folder)
    (folder.parent / "results").symlink_to(folder.parent)
    assert look(run)[:4] == look(run._replace(folder=folder.parent / "results" / folder.name))[:4]
    assert look(run)[:4] == ("finished", 0, 0, "Average 75.0, Last 75.0")
    document = json.loads((folder / "run.json").read_text())
    document["summary"]["average"] = 99.0
    (folder / "run.json").write_text(json.dumps(document))
    found = look(run)
    assert found.state == "failed" and "summary.average is 99.0000, but by accuracy.csv it is 75.0000" in found.note


def test_a_lock_means_running(run):
    record(run, status="failed", error="of an earlier attempt")
    with locked(run.folder):
        assert at_work(run.folder) and look(run).state == "running"
    assert not at_work(run.folder)
    assert look(run).state == "failed" and look(run).note == "of an earlier attempt"


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_what_was_killed_or_stopped_is_interrupted(run, status):
    record(run, status=status)
    assert look(run)[:3] == ("interrupted", 2, 8)


def test_a_checkpoint_without_a_record_is_something_to_continue_from(run):
    (run.folder / "checkpoint").mkdir(parents=True)
    (run.folder / "checkpoint" / "latest.json").write_text("{}")
    assert look(run).state == "interrupted"


def test_missing_says_how_the_last_attempt_ended(run):
    run.log.parent.mkdir()
    run.log.write_text("$ bench\nTraceback\n\nperennial: There is no data.\n\n")
    assert look(run)[::3] == ("missing", "last attempt: There is no data.")
    assert last_line(run.log.with_name("none")) == ""


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "5", '{"status": "finished", "summary": null}'])
def test_a_damaged_record_is_never_finished_work_nor_a_crash(run, text):
    run.folder.mkdir()
    (run.folder / "run.json").write_text(text)
    assert look(run).state in ("failed", "interrupted", "missing") or (look(run).state, look(run).note) == ("finished", "")


@pytest.mark.parametrize(
    "document",
    [
        {"progress": [1], "status": "running"},
        {"progress": "x"},
        {"progress": {"after": "2"}},
        {"progress": {"after": True}},
        {"progress": {"of": float("inf")}},
        {"status": "finished", "summary": "x"},
        {"status": "finished", "summary": [1]},
        {"status": "finished", "summary": {"transfer": "60"}},
        {"status": "finished", "summary": {"transfer": 10**400}},
        {"status": "finished", "summary": {"transfer": 60}, "train_seconds": "x", "eval_seconds": "y"},
    ],
)
def test_values_of_other_kinds_are_a_damaged_record(run, document):
    record(run, **document)
    found = look(run)
    assert found.state == "failed" and f"{run.folder / 'run.json'} is damaged (" in found.note
    with locked(run.folder):
        assert look(run).state == "running"
    text = io.StringIO()
    show_status([run], Screen(console=Console(file=text, width=400)))
    assert "1 run: 1 failed" in text.getvalue()


def test_counts():
    assert counts(["missing", "failed", "finished", "waiting", "finished"]) == "2 finished, 1 failed, 1 missing, 1 waiting"


def test_the_table(run):
    record(run, status="failed", error="NonFiniteLoss: the loss is nan")
    text = io.StringIO()
    show_status([run, run._replace(seed=1, folder=run.folder / "none")], Screen(console=Console(file=text, width=120)))
    assert "zscl      I         0  failed   2 of 8  NonFiniteLoss: the loss is nan" in text.getvalue()
    assert "2 runs: 1 failed, 1 missing" in text.getvalue()
