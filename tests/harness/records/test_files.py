"""Files are complete or absent."""

import json
import os
import subprocess
import sys
import tempfile
import time

import pytest

from harness.records import files as records
from harness.records.files import GrowingTable, digest, read_csv, read_json, write_bytes, write_csv, write_json
from harness.run import locks
from harness.run.locks import AtWork, at_work, locked
from models.registry import UserError


def test_round_trips(tmp_path):
    write_json(tmp_path / "a" / "run.json", {"x": float("nan"), "y": [1, (2, float("nan"))], 3: "z"})
    assert read_json(tmp_path / "a" / "run.json") == {"x": None, "y": [1, [2, None]], "3": "z"}
    rows = [{"b": 1, "a": 2}, {"a": 3, "b": 4, "extra": "e"}]
    write_csv(tmp_path / "t.csv", ("a", "b"), rows)
    assert (tmp_path / "t.csv").read_text() == "a,b,extra\n2,1,\n3,4,e\n"
    assert read_csv(tmp_path / "t.csv")[1] == {"a": "3", "b": "4", "extra": "e"}
    assert read_json(tmp_path / "none.json") is None and read_csv(tmp_path / "none.csv") == []


def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_bytes(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["f"]


def test_files_are_readable_like_any_other(tmp_path):
    write_bytes(tmp_path / "f", b"x")
    (tmp_path / "g").write_bytes(b"x")
    assert (tmp_path / "f").stat().st_mode == (tmp_path / "g").stat().st_mode


def test_a_damaged_document_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"half":')
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        read_json(tmp_path / "run.json")


def test_infinity_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "x.json", {"x": float("inf")})
    assert json.loads("null") is None and not (tmp_path / "x.json").exists()


def test_a_growing_table_is_the_file_written_whole(tmp_path, monkeypatch):
    """The rows include a later column, values that need quotes, and NaN. Each row is formatted once."""
    rows = [
        {"a": 1, "b": 0.1},
        {"a": 2, "b": None},
        {"a": 3, "b": float("nan"), "late": 'x, "y"'},
        {"a": 4, "later": True},
    ]
    formatted, line = [], records._line
    monkeypatch.setattr(records, "_line", lambda values: formatted.append(values) or line(values))
    table = GrowingTable(tmp_path / "grown.csv", ("a", "b"))
    for i, row in enumerate(rows):
        table.add([row])
        table.write()
        so_far = len(formatted)
        write_csv(tmp_path / "whole.csv", ("a", "b"), rows[: i + 1])
        del formatted[so_far:]
        assert (tmp_path / "grown.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
        assert table.digest == digest(read_csv(tmp_path / "grown.csv"))
    assert len(table) == 4 and len([values for values in formatted if values[0] != "a"]) == 4
    again = GrowingTable(tmp_path / "again.csv", ("a", "b"))
    again.add(read_csv(tmp_path / "grown.csv"))
    again.write()
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "grown.csv").read_bytes() and again.digest == table.digest


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def held(tmp_path):
    """Let another process hold the lock of the folder for some seconds."""
    processes = []

    def hold(seconds):
        words = [sys.executable, "-I", "-S", "-c", HOLD, str(tmp_path / ".lock"), str(seconds)]
        processes.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        assert processes[-1].stdout.readline() == "held\n"

    yield hold
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lock_that_is_only_looked_at_is_waited_for(tmp_path, held):
    held(0.3)
    with locked(tmp_path):
        pass


def test_a_folder_that_another_process_is_at_work_on(tmp_path, held, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    held(60)
    with pytest.raises(AtWork, match=f"Another process is at work on {tmp_path}"), locked(tmp_path):
        pass
    monkeypatch.setattr(locks, "PATIENCE", 60)
    began = time.monotonic()
    assert at_work(tmp_path) and time.monotonic() - began < 10, "looking at a lock does not wait"


def test_looking_writes_nothing(tmp_path, monkeypatch):
    assert not at_work(tmp_path) and not list(tmp_path.iterdir())
    with locked(tmp_path):
        pass
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: pytest.fail("a file was written"))
    assert not at_work(tmp_path)
