"""--fresh deletes only files that a run writes, by name, and nothing through a symbolic link."""

import os
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config.resolve import resolve
from harness.display.screen import Screen
from harness.run import loop as runner
from harness.run.failures import reporting_failures
from harness.run.loop import run
from models.registry import UserError

RUNS = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "runs.py"))
said_by, files = RUNS["said_by"], RUNS["files"]


@pytest.fixture
def whole(config, tmp_path):
    """Return the tables of an undisturbed run."""
    return files(run(replace(config, out=str(tmp_path / "whole")), Screen(quiet=True)).folder)


@pytest.mark.slow
def test_fresh_deletes_only_what_a_run_writes(config, tmp_path):
    """Each folder is replaced by a link to a home with other files, and other files are mixed with those of the run."""
    folder = run(config, Screen(quiet=True)).folder
    home = tmp_path / "home"

    def fill(place):
        for name in (
            "latest.json",
            "notes.txt",
            "after-1/thesis.tex",
            "after-0/encoder.safetensors",
            "within/latest.json",
            ".x",
        ):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(name)

    def snapshot(place):
        return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}

    fill(home)
    before = snapshot(home)
    fresh, checkpoints = replace(config, fresh=True), folder / "checkpoint"

    shutil.rmtree(checkpoints)
    checkpoints.symlink_to(home)
    assert f"--fresh left {home}, which is not a file of this run" in " ".join(said_by(fresh)[1].split())
    assert snapshot(home) == before and not checkpoints.is_symlink()

    # Among other files, only names that a run writes are deleted.
    (checkpoints / "notes.txt").write_text("mine")
    (checkpoints / "after-party").mkdir()
    (checkpoints / "after-7").symlink_to(home)
    (checkpoints / "within").symlink_to(home)
    (checkpoints / ".after-1.123").mkdir()
    (checkpoints / ".after-1.123" / "strategy.json").touch()
    (folder / "paper.pdf").write_text("mine")
    (folder / ".accuracy.csv.abcd1234").touch()
    table = tmp_path / "table.csv"
    table.write_text("mine")
    (folder / "train.csv").unlink()
    (folder / "train.csv").symlink_to(table)
    said = " ".join(said_by(fresh)[1].split())
    assert f"--fresh left {home}" in said and snapshot(home) == before and table.read_text() == "mine"
    assert sorted(os.listdir(checkpoints)) == ["after-3", "after-party", "latest.json", "notes.txt"]
    assert (folder / "paper.pdf").exists() and not (folder / ".accuracy.csv.abcd1234").exists()

    # A checkpoint that holds another file stays and is reported.
    (checkpoints / "after-3" / "thesis.tex").write_text("mine")
    with pytest.raises(SystemExit), reporting_failures():
        said_by(fresh)
    assert (checkpoints / "after-3" / "thesis.tex").read_text() == "mine"
    shutil.rmtree(checkpoints / "after-3")

    for part in (folder, folder.parent):
        part.rename(tmp_path / "moved")
        fill(tmp_path / "moved")
        part.symlink_to(tmp_path / "moved")
        before = snapshot(tmp_path / "moved")
        with pytest.raises(UserError, match=f"{part} is a symbolic link to {tmp_path}/moved, and --fresh deletes nothing"):
            run(fresh, Screen(quiet=True))
        assert snapshot(tmp_path / "moved") == before
        part.unlink()
        (tmp_path / "moved").rename(part)


@pytest.mark.slow
def test_a_checkpoint_folder_on_another_disk(config, tmp_path, whole, killed):
    """Checkpoints are written through a link, and the checkpoints of other runs behind it stay."""
    folder, disk = resolve(config).folder, tmp_path / "disk"
    (disk / "after-7").mkdir(parents=True)
    (disk / "after-7" / "encoder.safetensors").write_text("another run's")
    folder.mkdir(parents=True)
    (folder / "checkpoint").symlink_to(disk)
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 3)
    assert files(run(config, Screen(quiet=True)).folder) == whole
    assert (disk / "after-7" / "encoder.safetensors").read_text() == "another run's" and (folder / "checkpoint").is_symlink()
    assert sorted(p.name for p in disk.glob("after-*")) == ["after-3", "after-7"]


@pytest.mark.slow
def test_unfinished_files_of_a_killed_process_are_removed(config, killed, whole):
    killed(lambda: run(config, Screen(quiet=True)), runner, "_evaluate", 3)
    folder = resolve(config).folder
    mine = (folder / ".accuracy.csv.mine", folder / "checkpoint" / "notes.txt")
    for path in (folder / ".accuracy.csv.abcd12_4", folder / "checkpoint" / ".latest.json.abcd1234", *mine):
        path.touch()
    (folder / "checkpoint" / ".after-2.99").mkdir()
    (folder / "checkpoint" / "within").mkdir()
    (folder / "checkpoint" / "within" / "latest.json").write_text("{")
    assert files(run(config, Screen(quiet=True)).folder) == whole
    names = {path.name for path in folder.rglob("*")}
    assert {path.name for path in mine} <= names and "within" not in names
    assert not names & {".accuracy.csv.abcd12_4", ".latest.json.abcd1234", ".after-2.99"}
