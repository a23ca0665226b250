"""Records from elsewhere: uploaded to a local hub and read back, and refused if they could do harm or do not agree."""

import json
import os
import re
import shutil

import pytest

import cli
from harness.records import elsewhere
from harness.records.elsewhere import read_all
from harness.records.files import write_json
from harness.records.leaderboard import COLUMNS, leaderboard
from harness.records.push import push
from harness.records.run_json import key_of
from harness.records.runs import read
from models.registry import UserError


@pytest.fixture
def record(honest):
    """Write a finished run of one task, with `correct` of 10 at the end."""

    def write(root, strategy="zscl", seed=0, correct=8, **more):
        identity = {
            "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a"], "heldout": [], "strategy": strategy,
            "strategy_sha256": None, "options": {"lr": 1}, "model": "tiny", "pretrained": None, "tuning": "full", "seed": seed,
            "limit": None, "measure_n": 10,
        }  # fmt: skip
        status = more.pop("status", "finished")
        losses = [{"after": 1, "iteration": i, "loss": 1 / (i + seed), "lr": 0.1} for i in range(1, 4)]
        identity |= more.pop("identity", {})
        counts = {(0, "test", task): (4, 10) for task in identity["tasks"]}
        counts |= {(1, "test", task): (correct, 10) for task in identity["tasks"]}
        return honest(root, identity, counts, losses=losses, status=status, **more)

    return write


def said(roots, places):
    """Return the runs and the sentences of `read_all`."""
    sentences = []
    return read_all(roots, places, sentences.append), sentences


@pytest.mark.slow
def test_records_go_to_a_hub_dataset_and_come_back(record, hub, tmp_path, monkeypatch, capsys):
    mine, yours = tmp_path / "results", tmp_path / "yours"
    for seed in (0, 1):
        folder = record(mine, seed=seed, correct=8 + seed)
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint" / "encoder.safetensors").write_bytes(b"weights")
        (folder / "predictions").mkdir()
        (folder / "image.png").write_bytes(b"image")
    record(mine, "finetune", status="running")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["leaderboard", "--push", "me/records"]) == 0
    assert "uploaded the records of 2 runs to" in capsys.readouterr().out
    files = hub.files("dataset", "me/records")
    keys = [run.key for run in read([mine]) if run.finished]
    tables = ("accuracy.csv", "measures.csv", "run.json", "train.csv")
    assert sorted(files) == sorted(["README.md", *(f"mtil-mini-I/zscl-{k}/{n}" for k in keys for n in tables)])
    assert b"leaderboard --from me/records" in files["README.md"]

    # Somebody else has seed 1 with other numbers, and seed 2. Mine are shown from my folder, and seed 1 once.
    record(yours, seed=1, correct=7)
    record(yours, seed=2, correct=6)
    assert cli.main(["leaderboard", "yours", "--push", "me/records"]) == 0
    assert "uploaded the records of 1 run to" in (out := capsys.readouterr().out) and "; 1 were there before" in out
    kept = hub.files("dataset", "me/records")[f"mtil-mini-I/zscl-{keys[1]}/run.json"]
    assert json.loads(kept)["summary"]["last"] == 90

    capsys.readouterr()
    table = leaderboard(["results"], elsewhere=["me/records"])
    assert list(table.columns)[: len(COLUMNS)] == COLUMNS
    [row] = table.to_dict("records")
    commit = hub.commit_of("dataset", "me/records")
    assert row["seeds"] == 3 and row["last"] == pytest.approx((80 + 90 + 60) / 3) and row["source"] == "run;me/records"
    *local, last = row["run"].split(";")
    assert [os.path.dirname(run) for run in local] == ["results"] * 2
    assert last.startswith(f"hf://datasets/me/records@{commit}/mtil-mini-I/zscl-")
    assert capsys.readouterr().err == "", "a copy of a run is shown once, without a sentence"
    # In place of mine: without RESULTS.
    [row] = leaderboard([], elsewhere=[f"hf://datasets/me/records@{commit}"]).to_dict("records")
    assert row["seeds"] == 3 and row["source"] == "me/records"
    assert cli.main(["leaderboard", "--check", "--from", "me/records"]) == 0
    assert "3 records: all files follow the schema" in capsys.readouterr().out
    assert cli.main(["leaderboard", "--from", "me/records", "--html", "board.html", "--quiet"]) == 0
    page = (tmp_path / "board.html").read_text()
    assert f"{hub.endpoint}/datasets/me/records/blob/{commit}/mtil-mini-I/zscl-{keys[0]}/run.json" in page
    assert f"--repo-type dataset --revision {commit} --local-dir records" in page


@pytest.mark.slow
def test_an_upload_continues_and_names_paths(record, hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("harness.records.push.RUNS_PER_COMMIT", 1)
    runs = read([record(tmp_path / "r", seed=seed).parent for seed in (0, 1)])
    hub.faults.refused["commit"] = 500
    with pytest.raises(UserError, match="The hub refused to write"):
        push(runs, "me/records")
    hub.faults.refused.clear()
    assert push(runs[:1], "me/records").uploaded == 1 and push(runs, "me/records")[1:] == (1, 1)
    assert [len(paths) for *_, paths in hub.commits] == [5, 4]
    with pytest.raises(UserError, match="no finished runs to upload"):
        push([], "me/records")
    record(tmp_path / "home", request={"data_root": "/home/me/data"})
    assert cli.main(["leaderboard", str(tmp_path / "home"), "--push", "me/other"]) == 0
    assert "note: run.json names paths of this machine, which readers will see: /home/me/data" in capsys.readouterr().out
    for words, message in ((["--push", "records"], "give OWNER/NAME"), (["--private"], "use it with --push")):
        assert cli.main(["leaderboard", str(tmp_path / "r"), *words]) == 2 and message in capsys.readouterr().err
    assert cli.main(["leaderboard", "--from", str(tmp_path / "r"), "--push", "me/x"]) == 2
    assert "leave one of them out" in capsys.readouterr().err


def test_records_that_fail_are_left_out(record, tmp_path):
    mine, yours = record(tmp_path / "mine"), tmp_path / "yours"
    good = record(yours, "finetune", correct=7)
    edited = record(yours, "joint")
    document = json.loads((edited / "run.json").read_text())
    document["summary"]["last"] = 99.0
    write_json(edited / "run.json", document)
    terminal = record(yours, "x\x1b[2Jy")
    lines = record(yours, "lwf", notes=["two\nlines", "\x1b]0;title\x07"])
    (record(yours, "ewc") / "accuracy.csv").write_text("after,stream\n0,test\n")
    runs, sentences = said([mine.parent], [str(yours)])
    assert [run.folder for run in runs] == [mine, good] and runs[1].source == str(yours)
    assert sorted(sentences) == sorted([
        f"{edited}/run.json: summary.last is 99.0000, but by accuracy.csv it is 80.0000: one of them was changed. It is left "
        "out.",
        f"{terminal}: The text in identity of run.json 'x\\x1b[2Jy' contains a control character (\\x1b), which records cannot "
        "hold: rename it. It is left out.",
        f"{lines}: The text '\\x1b]0;title\\x07' in run.json has characters that change a terminal. It is left out.",
        next(sentence for sentence in sentences if "column task is missing" in sentence),
    ])  # fmt: skip
    # The same record in the user's folder ends the command.
    with pytest.raises(UserError, match=r"contradicts itself|is damaged"):
        read_all([yours])


def test_a_run_in_two_places_is_shown_once(record, tmp_path):
    mine, yours = record(tmp_path / "mine"), record(tmp_path / "yours", correct=7)
    runs, [sentence] = said([tmp_path / "mine"], [str(tmp_path / "yours")])
    assert [run.folder for run in runs] == [mine] and runs[0].source == "run"
    assert sentence == f"{yours} and {mine} are the same run with different numbers; the second is shown."
    # A finished run of somebody else is shown in place of mine that is not finished.
    other = record(tmp_path / "unfinished", status="running")
    runs, sentences = said([other], [str(tmp_path / "yours")])
    assert [run.folder for run in runs] == [yours] and sentences == []


def test_many_bad_records_are_counted(record, tmp_path):
    for seed in range(8):
        (record(tmp_path / "yours", seed=seed) / "accuracy.csv").unlink()
    runs, sentences = said([], [str(tmp_path / "yours")])
    assert runs == [] and len(sentences) == 6 and sentences[-1].startswith("3 more records of")


def test_files_outside_the_folder_are_not_read(record, tmp_path):
    secret, yours = record(tmp_path / "secret"), tmp_path / "yours"
    linked = record(yours, "finetune")
    (linked / "accuracy.csv").unlink()
    (linked / "accuracy.csv").symlink_to(secret / "accuracy.csv")
    (yours / "whole").symlink_to(secret, target_is_directory=True)
    (yours / "loop").symlink_to(yours, target_is_directory=True)
    loop = record(yours, "ewc")
    (loop / "train.csv").unlink()
    (loop / "train.csv").symlink_to(loop / "train.csv")
    runs, sentences = said([], [str(yours)])
    assert runs == [] and len(sentences) == 2
    assert f"{linked}/accuracy.csv is a symbolic link to a file outside its folder. It is left out." in sentences
    # A link that stays in the folder is read.
    (linked / "accuracy.csv").unlink()
    shutil.copy(secret / "accuracy.csv", yours / "table")
    (linked / "accuracy.csv").symlink_to(yours / "table")
    assert len(said([], [str(yours)])[0]) == 1
    assert said([], [str(linked / "run.json")])[1][0].endswith("outside its folder. It is left out.")


def test_files_that_are_too_large_are_not_read(record, tmp_path, monkeypatch):
    folder = record(tmp_path / "yours")
    monkeypatch.setitem(elsewhere.LARGEST, "train.csv", 20)
    [sentence] = said([], [str(folder.parent)])[1]
    assert re.fullmatch(rf"{folder}/train\.csv has \d+ bytes, and at most 20 are read\. It is left out\.", sentence)
    monkeypatch.setattr(elsewhere, "MOST_RECORDS", 0)
    with pytest.raises(UserError, match="has more than 0 records: give a part of it"):
        read_all([], [str(folder.parent)])


@pytest.mark.slow
def test_names_and_sizes_of_a_hub_dataset_are_checked_before_the_download(record, hub, tmp_path):
    files = {path.name: path.read_bytes() for path in record(tmp_path / "yours").iterdir()}
    places = ("good", "../up", "/root", ".hidden", "a/../b", "deep/" * 8, "b c", "large", "wrong")
    stored = {f"{place}/{name}".replace("//", "/"): data for place in places for name, data in files.items()}
    stored |= {"good/model.safetensors": b"x", "good/strategy.py": b"raise SystemExit", "wrong/run.json": b"[]"}
    hub.put("dataset", "you/records", {path: data for path, data in stored.items() if not re.search(r"^/|^\.|\.\.", path)})
    hub.answers.claimed["dataset", "you/records"] = {path: len(data) for path, data in stored.items()} | {
        "large/train.csv": 1 << 40
    }
    runs, sentences = said([], ["you/records"])
    fetched = {path.rpartition("resolve/")[2].partition("/")[2] for _, path in hub.asked if "resolve/" in path}
    assert fetched == {f"{place}/{name}" for place in ("good", "wrong") for name in files}
    assert [run.address.rpartition("/")[2] for run in runs] == ["good"]
    assert len(sentences) == 2 and "large/train.csv has 1,099,511,627,776 bytes" in sentences[0]
    address = f"hf://datasets/you/records@{hub.commit_of('dataset', 'you/records')}/wrong"
    assert sentences[1] == f"{address}/run.json is damaged (it holds a list, not an object). It is left out."
    hub.put("dataset", "you/none", {"README.md": b""})
    with pytest.raises(UserError, match="There are no records"):
        read_all([], ["you/none"])


def test_a_forged_copy_is_left_out(record, tmp_path):
    more = {"started": "2026-01-02T03:04:05Z", "train_seconds": 3.25}
    mine, yours = record(tmp_path / "mine", **more), tmp_path / "yours"
    document = json.loads((mine / "run.json").read_text())
    document["identity"]["strategy"] = "better"
    document["key"] = key_of(document["identity"])
    copy = yours / f"better-{document['key']}"
    shutil.copytree(mine, copy)
    write_json(copy / "run.json", document)
    runs, [sentence] = said([mine.parent], [str(yours)])
    assert [run.folder for run in runs] == [mine]
    assert sentence.startswith(f"{copy}/run.json contradicts itself: it has every number of {mine}")
    assert sentence.endswith("It is left out.")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nothing", "'nothing' is neither a folder, a run.json file nor a hub dataset"),
        ("https://x/y", "is neither a folder"),
        ("../..", r"There are no records \(run\.json\)"),
        ("file.zip", "give a folder of records, and unpack an archive first"),
    ],
)
def test_places_that_are_not_there(tmp_path, monkeypatch, place, message):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file.zip").write_bytes(b"PK")
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(UserError, match=message):
        read_all([], [place])
