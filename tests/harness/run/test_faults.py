"""Faults of disks, files, machines and other processes end in one sentence, and the last good state is kept.

Other tests cover damaged images (test_run_data), a loss that is NaN (test_run, test_cli), caches (test_pixel_files, test_mini).
"""

import errno
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError

from harness.config.resolve import resolve
from harness.display.screen import Screen
from harness.records.files import read_csv, read_json, write_json, write_table
from harness.records.leaderboard import leaderboard
from harness.run import checkpoint
from harness.run import environment as machine
from harness.run import loop as runner
from harness.run.failures import reporting_failures
from harness.run.loop import run
from harness.run.state import RunState
from models.files import write_bytes
from models.registry import UserError

RUNS = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "runs.py"))
said_by, files = RUNS["said_by"], RUNS["files"]


@pytest.fixture(scope="module")
def known():
    return {}


@pytest.fixture
def whole(config, tmp_path, known):
    """Return the tables of an undisturbed run, which do not depend on its folder."""

    def tables(**changes):
        key = str(changes)
        if key not in known:
            known[key] = files(run(replace(config, out=str(tmp_path / "whole"), **changes), Screen(quiet=True)).folder)
        return known[key]

    return tables


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def full_in_safetensors(*_, **__):
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.slow
def test_a_full_disk_at_any_kind_of_write(config, whole, monkeypatch, capsys):
    """Each task meets a full disk in another way, until the process has ended."""
    folder = resolve(config).folder
    original = RunState.save
    faults = ((0, checkpoint, "save_file", full_in_safetensors), (1, os, "fsync", full), (2, os, "replace", full))
    for after, owner, name, fault in faults:
        with monkeypatch.context() as patch:

            def save(self, number, *rest, after=after, owner=owner, name=name, fault=fault, patch=patch):
                if number == after:
                    patch.setattr(owner, name, fault)
                return original(self, number, *rest)

            patch.setattr(RunState, "save", save)
            with pytest.raises(SystemExit) as caught, reporting_failures():
                run(config, Screen(quiet=True))
        said = capsys.readouterr().err
        assert caught.value.code == 1 and said.startswith(f"perennial: no space left for {folder}/") and said.count("\n") == 1
        kept = checkpoint.last_undamaged(folder / "checkpoint")
        assert (kept.after if kept else -1) == after - 1 and (kept is None or kept.warning is None)
        assert not [path for path in folder.rglob(".*") if path.name != ".lock"], "no unfinished files"
    assert files(run(config, Screen(quiet=True)).folder) == whole()


@pytest.mark.slow
def test_the_system_refuses_large_files(config, whole, monkeypatch, capsys):
    """The system refuses the second checkpoint because of a limit on the size of files."""
    resource = pytest.importorskip("resource", reason="limits are Unix's")
    original, limits = RunState.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save(self, number, *rest):
        if number == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
        return original(self, number, *rest)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(RunState, "save", save)
            with pytest.raises(SystemExit), reporting_failures():
                run(config, Screen(quiet=True))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    folder = resolve(config).folder
    assert f"no space left for {folder}/checkpoint/after-1/encoder.safetensors" in capsys.readouterr().err
    document = read_json(folder / "run.json")
    assert document["status"] == "failed" and "File too large" in document["error"] and document["progress"]["after"] == 0
    assert files(run(config, Screen(quiet=True)).folder) == whole()


def test_a_full_disk_does_not_hide_the_cause(config, monkeypatch):
    def wrong(*_):
        monkeypatch.setattr(os, "fsync", full)
        raise ZeroDivisionError

    monkeypatch.setattr(runner, "_evaluate", wrong)
    with pytest.raises(ZeroDivisionError):
        run(config, Screen(quiet=True))


@pytest.mark.slow
@pytest.mark.parametrize("existing", [False, True])
def test_a_folder_that_cannot_be_written(config, existing, monkeypatch, killed):
    """Nothing is trained, and existing files stay unchanged."""
    trained = []
    if existing:
        killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 2)

        def refuse(*_, **__):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    else:
        Path(config.out).write_text("a file in the way")
    before = everything(Path(config.out))
    monkeypatch.setattr(runner, "_evaluate", lambda *_: trained.append(1))
    with pytest.raises(UserError, match=rf"Cannot write to {config.out}.*; --out names another folder"):
        run(config, Screen(quiet=True))
    assert not trained and everything(Path(config.out)) == before


def test_a_table_that_cannot_be_written(tmp_path, monkeypatch):
    table = leaderboard([tmp_path])
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write .*board\.csv: "):
        write_table(table, tmp_path / "file" / "board.csv")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write .*board\.csv: no space is left"):
        write_table(table, tmp_path / "board.csv")
    assert sorted(os.listdir(tmp_path)) == ["file"]


@pytest.mark.parametrize("fault", [os.fsync, os.replace], ids=["fsync", "replace"])
def test_a_failed_write_names_the_file_that_was_meant(fault, tmp_path, monkeypatch):
    monkeypatch.setattr(os, fault.__name__, full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(tmp_path / "run.json", b"x")
    assert caught.value.filename == str(tmp_path / "run.json") and not os.listdir(tmp_path)


@pytest.mark.slow
def test_a_flipped_bit_in_a_checkpoint(config, whole, killed):
    """The file is named, the run continues from the task before it, and the numbers are those of an undisturbed run."""
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 4)
    folder = resolve(config).folder
    path = folder / "checkpoint" / "after-2" / "encoder.safetensors"
    flip(path)
    _, said = said_by(config)
    warning = f"The checkpoint file {path} is missing or damaged (its SHA-256 differs from the recorded one)"
    assert f"warning: {warning}; continuing from the checkpoint before it" in said
    assert "continuing after experience 1 of 3" in said and files(folder) == whole()
    assert [(each["after"], len(each["warnings"])) for each in read_json(folder / "run.json")["continued"]] == [(1, 1)]


@pytest.mark.slow
def test_a_changed_digit_in_a_table(config, killed):
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 3)
    folder = resolve(config).folder
    table = folder / "accuracy.csv"
    before = table.read_text()
    first = read_csv(table)[0]
    table.write_text(before.replace(f",{first['accuracy']},{first['correct']},", ",99.0,9,", 1))
    kept = everything(folder)
    with pytest.raises(UserError, match=r"accuracy\.csv is damaged \(not the rows that were written\); --fresh starts over"):
        run(config, Screen(quiet=True))
    assert everything(folder) == kept
    table.write_text(before)
    assert not run(config, Screen(quiet=True)).skipped


@pytest.mark.slow
def test_another_device_and_other_versions(config, whole, killed, monkeypatch):
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 3)
    describe = machine.describe

    def elsewhere(device):
        found = describe(device)
        return {**found, "device": "cuda:0: A GPU", "versions": {**found["versions"], "torch": "9.9", "avalanche-lib": "8.8"}}

    monkeypatch.setattr(machine, "describe", elsewhere)
    folder, said = said_by(config)
    document = read_json(folder / "run.json")
    (continued,) = document["continued"]
    (warning,) = continued["warnings"]
    assert f"warning: {warning}" in said and continued["after"] == 1
    words = ("now cuda:0: A GPU)", "now 9.9)", "avalanche-lib (", "now 8.8)", "numbers may differ")
    assert all(word in warning for word in words) and "numpy" not in warning
    assert document["versions"]["torch"] == "9.9" and files(folder) == whole()


def test_the_same_machine_is_not_reported(config, killed):
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 2)
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 2)
    folder, said = said_by(config)
    assert "warning" not in said
    assert [(c["after"], c["warnings"]) for c in read_json(folder / "run.json")["continued"]] == [(0, []), (1, [])]


@pytest.fixture
def photographs_of_reference(tmp_path):
    folder, rng = tmp_path / "reference", np.random.default_rng(0)
    folder.mkdir()
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (50, 50, 3), np.uint8)).save(folder / f"{i}.png")
    (tmp_path / "sentences.txt").write_text("a thing\nanother thing\n")
    return folder


@pytest.mark.slow
def test_reference_data_that_vanishes_and_comes_back(config, whole, killed, photographs_of_reference, tmp_path, home):
    folder, sentences = photographs_of_reference, tmp_path / "sentences.txt"
    options = {**config.options, "reference_batch": 4, "reference_images": str(folder), "reference_sentences": str(sentences)}
    config = replace(config, strategy="zscl", options=options)
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 2)
    record = everything(resolve(config).folder)
    for path in (folder, sentences):
        shutil.move(path, tmp_path / "elsewhere")
        with pytest.raises(UserError, match=f"{path.name}"):
            run(config, Screen(quiet=True))
        shutil.move(tmp_path / "elsewhere", path)
    assert everything(resolve(config).folder) == record
    another = resolve(config).folder
    assert files(run(config, Screen(quiet=True)).folder) == whole(strategy="zscl", options=options)
    (folder / "0.png").unlink()
    assert resolve(config).folder != another, "with other reference data it is another run"


@pytest.mark.slow
def test_two_processes_and_one_that_dies(config):
    folder = resolve(config).folder
    folder.mkdir(parents=True)
    path = str(folder / ".lock")
    holds = f"from filelock import FileLock; lock = FileLock({path!r}); lock.acquire(); print(1, flush=True); input()"
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", holds], **pipe) as other:
        try:
            assert other.stdout.readline() == b"1\n"
            with pytest.raises(UserError, match=f"Another process is at work on {folder}"):
                run(config, Screen(quiet=True))
            assert not everything(folder)
        finally:
            other.kill()
    assert not run(config, Screen(quiet=True)).skipped, "the dead process holds nothing"


def test_a_changed_configuration_is_another_run(config):
    one, other = (resolve(replace(config, options={**config.options, "lr": lr})).folder for lr in (0.003, 0.004))
    assert one != other and one.parent == other.parent


SPOILT = {
    "another seed": lambda d: d["identity"].update(seed=7),
    "another option": lambda d: d["identity"]["options"].update(lr=1.0),
    "another key": lambda d: d.update(key="0123456789"),
    "no identity": lambda d: d.pop("identity"),
    "no summary": lambda d: d.update(status="finished", summary=None),
    "no status": lambda d: d.update(status="done"),
}


@pytest.mark.slow
def test_a_record_changed_by_hand(config, killed, whole):
    """Nothing is overwritten. Without the file, the run continues from its checkpoint."""
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 3)
    folder = resolve(config).folder
    path = folder / "run.json"
    sound = path.read_text()
    words = {"another seed": "another seed", "another option": "another options", "another key": "another key"}
    for what, spoil in SPOILT.items():
        document = json.loads(sound)
        spoil(document)
        write_json(path, document)
        kept = everything(folder)
        with pytest.raises(UserError, match=words.get(what, "not the record of a run")) as caught:
            run(config, Screen(quiet=True))
        assert str(path) in str(caught.value) and "without that file the run continues" in str(caught.value)
        assert everything(folder) == kept
    path.unlink()
    assert files(run(config, Screen(quiet=True)).folder) == whole()
