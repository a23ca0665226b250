"""The status of runs in made-up folders."""

import io
import json

import pytest
from rich.console import Console

from harness.display.screen import Screen
from harness.run.locks import at_work, locked
from harness.sweep.grid import Run
from harness.sweep.run_status import counts, last_line, status_of
from harness.sweep.sweep_screen import show_status


@pytest.fixture
def run(tmp_path):
    return Run("zscl", "I", 0, tmp_path / "zscl-1", tmp_path / "logs" / "zscl.log", ())


IDENTITY = {
    "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a", "b"], "heldout": [], "strategy": "zscl", "options": {},
    "model": "tiny", "pretrained": None, "tuning": "full", "seed": 0, "limit": None,
}  # fmt: skip


def record(run, **document):
    """Write the record of a run that is not finished."""
    run.folder.mkdir(parents=True, exist_ok=True)
    document = {"identity": IDENTITY, "key": "k", "status": "running", "progress": {"after": 1, "of": 2}, **document}
    (run.folder / "run.json").write_text(json.dumps(document))


def test_a_run_without_a_folder_is_missing(run):
    assert status_of(run) == status_of(run)._replace(state="missing", done=0, total=0, note="")
    assert not run.folder.exists(), "looking creates nothing"


def test_finished(run, honest):
    counts = {(after, "test", task): (after + 1, 4) for after in range(3) for task in "ab"}
    folder = honest(
        run.folder, IDENTITY, counts, progress={"after": 2, "of": 2}, train_seconds=3, eval_seconds=1, samples={"test": [4, 4]}
    )
    found = status_of(run._replace(folder=folder))
    assert found == ("finished", 2, 2, "Transfer 50.0, Average 62.5, Last 75.0", 4.0)
    counts.update({(1, "test", "seen"): (2, 4), (2, "test", "seen"): (6, 8)})
    folder = honest(run.folder, {**IDENTITY, "benchmark": "cil-shapes-2"}, counts, samples={"test": [4, 4]})
    assert status_of(run._replace(folder=folder)).note == "cil_average 62.5, cil_last 75.0"


def test_a_finished_record_that_contradicts_itself_is_failed(run, honest):
    """This includes links to the folder and to its parent folder."""
    identity = {**IDENTITY, "tasks": ["a"]}
    folder = honest(run.folder.parent / "disk", identity, {(0, "test", "a"): (1, 4), (1, "test", "a"): (3, 4)})
    run.folder.symlink_to(folder)
    (folder.parent / "results").symlink_to(folder.parent)
    assert status_of(run)[:4] == status_of(run._replace(folder=folder.parent / "results" / folder.name))[:4]
    assert status_of(run)[:4] == ("finished", 0, 0, "Average 75.0, Last 75.0")
    document = json.loads((folder / "run.json").read_text())
    document["summary"]["average"] = 99.0
    (folder / "run.json").write_text(json.dumps(document))
    found = status_of(run)
    assert found.state == "failed" and "summary.average is 99.0000, but by accuracy.csv it is 75.0000" in found.note


def test_a_lock_means_running(run):
    record(run, status="failed", error="of an earlier attempt")
    with locked(run.folder):
        assert at_work(run.folder) and status_of(run).state == "running"
    assert not at_work(run.folder)
    assert status_of(run).state == "failed" and status_of(run).note == "of an earlier attempt"


@pytest.mark.parametrize("status", ["running", "interrupted"])
def test_a_killed_or_stopped_run_is_interrupted(run, status):
    record(run, status=status)
    assert status_of(run)[:3] == ("interrupted", 1, 2)


def test_a_checkpoint_without_a_record_is_something_to_continue_from(run):
    (run.folder / "checkpoint").mkdir(parents=True)
    (run.folder / "checkpoint" / "latest.json").write_text("{}")
    assert status_of(run).state == "interrupted"


def test_missing_says_how_the_last_attempt_ended(run):
    run.log.parent.mkdir()
    run.log.write_text("$ bench\nTraceback\n\nperennial: There is no data.\n\n")
    assert status_of(run)[::3] == ("missing", "last attempt: There is no data.")
    assert last_line(run.log.with_name("none")) == ""


@pytest.mark.parametrize("text", ["{", "[]", '"x"', "5", "{}", '{"status": "finished", "summary": null}'])
def test_a_damaged_record_is_a_failed_run(run, text):
    run.folder.mkdir()
    (run.folder / "run.json").write_text(text)
    found = status_of(run)
    assert found.state == "failed" and str(run.folder / "run.json") in found.note


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
def test_values_of_other_types_are_a_damaged_record(run, document):
    record(run, **document)
    found = status_of(run)
    assert found.state == "failed" and f"{run.folder / 'run.json'} is not the record of a run (" in found.note
    with locked(run.folder):
        assert status_of(run).state == "running"
    text = io.StringIO()
    show_status([run], Screen(console=Console(file=text, width=400)))
    assert "1 run: 1 failed" in text.getvalue()


def test_counts():
    assert counts(["missing", "failed", "finished", "waiting", "finished"]) == "2 finished, 1 failed, 1 missing, 1 waiting"


def test_the_table(run):
    record(run, status="failed", error="NonFiniteLoss: the loss is nan")
    text = io.StringIO()
    show_status([run, run._replace(seed=1, folder=run.folder / "none")], Screen(console=Console(file=text, width=120)))
    assert "zscl      I         0  failed   1 of 2  NonFiniteLoss: the loss is nan" in text.getvalue()
    assert "2 runs: 1 failed, 1 missing" in text.getvalue()
