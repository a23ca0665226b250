"""Reports of special records: missing files, one task, class-incremental runs, unfinished runs and mistakes."""

import tomllib
from pathlib import Path

import pytest

from harness import report
from harness.records.files import read_csv
from harness.records.runs import read
from harness.report.iimm_prediction import NO_CHAIN
from harness.report.sections import sections
from harness.run.version import git_revision, project_version, short_revision
from models.registry import UserError
from strategies import STRATEGIES


@pytest.mark.slow
def test_the_summary_takes_zero_shot_from_row_0_without_a_zero_shot_run(tmp_path, record):
    record(tmp_path, "finetune")
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "Zero-shot (row 0 of the runs): Last 41.0, Transfer 41.5, Average 41.0." in text
    assert "so without standard deviations" in text and "Each method has one seed, so there are no intervals." in text


@pytest.mark.slow
def test_a_missing_file_is_replaced_by_a_sentence(tmp_path, record):
    folder = record(tmp_path, "finetune", measured=())
    for name in ("train.csv", "measures.csv"):
        (folder / name).unlink()
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "There are no losses" in text and "These runs have no IIMM in measures.csv." in text


@pytest.mark.slow
def test_one_task_without_held_out_domains_and_without_training(tmp_path, record):
    record(tmp_path / "one", "finetune", tasks=("red",), heldout=())
    text = report.write([tmp_path / "one"], tmp_path / "r.html").read_text()
    assert "Learning against forgetting needs at least two tasks" in text and "This run has no held-out domains." in text
    assert "IIMM against forgetting: no step has both values." in text
    record(tmp_path / "none", "zero-shot")
    text = report.write([tmp_path / "none"], tmp_path / "r.html").read_text()
    assert "No trained methods yet. Zero-shot, without training: Last 41.0" in text
    assert "needs a method that trains one task after the other" in text and "There are no losses" in text


@pytest.mark.slow
def test_methods_without_steps_are_not_in_the_iimm_figures(tmp_path, record):
    assert set(NO_CHAIN) <= set(STRATEGIES.names())
    record(tmp_path, "joint")
    assert "needs a method that trains one task after the other" in report.write([tmp_path], tmp_path / "r.html").read_text()
    record(tmp_path, "finetune")
    text = report.write([tmp_path], tmp_path / "r.html", tmp_path / "figures").read_text()
    assert "Not included: joint, whose rows all start from the initial model." in text
    [gains] = (tmp_path / "figures").glob("*-iimm-gain.csv")
    assert {row["method"] for row in read_csv(gains)} == {"finetune"}


@pytest.mark.slow
def test_a_fixed_alpha_is_reported(tmp_path, record):
    record(tmp_path, "paint-sequential", searches=[{"task": "red", "chosen": [0.5]}])
    assert "paint-sequential: alpha was fixed, not searched." in report.write([tmp_path], tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_an_alpha_per_task_is_reported(tmp_path, record):
    record(tmp_path, "iimm-guided", searches=[{"task": "red", "chosen": [0.5]}, {"task": "green", "chosen": [0.25]}])
    text = report.write([tmp_path], tmp_path / "r.html").read_text()
    assert "iimm-guided: alpha was set for each task before training it. red (seed 0): 0.5; green (seed 0): 0.25." in text


def test_only_unfinished_runs_and_no_runs(tmp_path, record):
    folder = record(tmp_path / "a", "finetune", status="running", done=1)
    text = report.write([tmp_path / "a"], tmp_path / "r.html").read_text()
    assert "1 of 3 tasks" in text and "Leaderboard" not in text
    (folder / "accuracy.csv").unlink()
    assert "No accuracy is recorded." in report.write([tmp_path / "a"], tmp_path / "r.html").read_text()
    (tmp_path / "empty").mkdir()
    assert "There are no runs." in report.write([tmp_path / "empty"], tmp_path / "r.html").read_text()


@pytest.mark.slow
def test_class_incremental_runs(tmp_path, record):
    record(tmp_path, "finetune", tasks=("step-1", "step-2"), heldout=(), benchmark="cil-nature-2", seen=True)
    text = report.write([tmp_path], tmp_path / "r.html", tmp_path / "figures").read_text()
    assert "all classes so far" in text and "There is no zero-shot run for comparison." in text
    assert "Last (cil_last): finetune 68.0" in text and "Average incremental accuracy (cil_average): finetune 69.0" in text
    assert ">Average</button>" not in text and ">Last</button>" not in text
    [curves] = (tmp_path / "figures").glob("*-curves.csv")
    assert [r["accuracy"] for r in read_csv(curves) if r["task"] == "seen"] == ["70", "68"]


@pytest.mark.slow
def test_mistakes_give_one_line_errors(tmp_path, record):
    with pytest.raises(UserError, match=r"There are no results at .*nowhere"):
        report.write([tmp_path / "nowhere"], tmp_path / "r.html")
    folder = record(tmp_path / "runs", "finetune")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write"):
        report.write([folder], tmp_path / "file" / "r.html")
    (folder / "accuracy.csv").write_text("after,stream,task\nx,test,red\n")
    with pytest.raises(UserError, match=r"accuracy\.csv is damaged"):
        report.write([folder], tmp_path / "r.html")
    for text in ("{", "[]", '{"status": "finished"}'):
        (folder / "run.json").write_text(text)
        with pytest.raises(UserError, match=r"run\.json"):
            report.write([folder], tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.slow
def test_zero_shot_is_a_row_and_in_the_figures(tmp_path, record, parse):
    """Without a zero-shot run, it is taken from row 0: accuracies 40, 41 and 42."""
    for seed in (0, 1):
        record(tmp_path / "runs", "finetune", seed)
    text = report.write([tmp_path / "runs"], tmp_path / "r.html", tmp_path / "figures").read_text()
    page = parse(text)
    shown = " ".join("".join(page.text).split())
    assert "zero-shot (row 0)" in shown and "2 finished runs." in shown and text.count('class="heat"') == 2
    [learning] = (tmp_path / "figures").glob("*-learning.csv")
    [zero] = [row for row in read_csv(learning) if row["method"] == "zero-shot"]
    assert (zero["learning"], zero["forgetting"]) == ("0", "0")
    [curves] = (tmp_path / "figures").glob("*-curves.csv")
    line = [(r["after"], r["accuracy"]) for r in read_csv(curves) if (r["method"], r["task"]) == ("zero-shot", "green")]
    assert line == [(str(j), "41") for j in range(4)]
    [cost] = (tmp_path / "figures").glob("*-cost.csv")
    assert [row["method"] for row in read_csv(cost)] == ["finetune"]
    [section] = sections(read([tmp_path / "runs"]))
    row = section.methods[-1].row
    assert (row["last"], row["last_std"], row["transfer"], row["retention"], row["iimm_mean"]) == pytest.approx(
        (41, 0, 41.5, 100, 0.4)
    )
    record(tmp_path / "runs", "finetune", model="small")
    labels = [m.label for m in sections(read([tmp_path / "runs"]))[0].methods]
    assert labels == ["finetune, small", "zero-shot, small", "finetune, tiny", "zero-shot, tiny"]


@pytest.mark.slow
def test_the_title_has_date_and_command(tmp_path, record, parse, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    started = {"git_revision": "0123456789abcdef" * 2 + "01234567+changes", "versions": {"torch": "9.8"}}
    record(tmp_path / "runs", started="2026-01-02T03:04:05Z", **started)
    record(tmp_path / "runs", "other", started="2026-01-05T03:04:05Z", options={"lr": 2, "l2": 0.5}, **started)
    text = report.write([tmp_path / "runs"], tmp_path / "r.html").read_text()
    shown = " ".join("".join(parse(text).text).split())
    revision = git_revision()
    commit = f"commit {short_revision(revision)}" if revision else "unknown commit"
    assert f"Made on 14 November 2023 with Perennial {project_version()} ({commit}): report {tmp_path / 'runs'}" in shown
    assert "The runs: started 2026-01-02 to 2026-01-05, commit 0123456789+changes, torch 9.8." in shown
    assert "<title>Report of continual-learning runs, 14 November 2023</title>" in text
    assert "Options shared by all methods: tuning full." in shown and "Options in which the methods differ" in shown
    version = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]["version"]
    assert project_version() == version
