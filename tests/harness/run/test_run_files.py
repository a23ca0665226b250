"""Files that killed processes leave in the folder of a finished run are removed. Other files stay."""

import os

import pytest

from harness.run import run_files

OURS = (
    ".accuracy.csv.ab12_xyz",
    ".run.json.zzzzzzzz",
    "checkpoint/.latest.json.abcdefgh",
    "checkpoint/.after-3.4711/encoder.safetensors",
    "checkpoint/.after-3.4711/.sha256.json.abcdefgh",
    "checkpoint/within/latest.json",
    "checkpoint/within/previous.json",
    "checkpoint/within/.latest.json.abcdefgh",
    "checkpoint/within/after-20/encoder.safetensors",
    "checkpoint/within/after-20/strategy.json",
    "checkpoint/within/.after-30.4711/strategy.safetensors",
)
STAYS = (
    ".lock",
    "run.json",
    "accuracy.csv",
    ".accuracy.csv.short",
    ".notes.csv.abcdefgh",
    "notes.txt",
    "checkpoint/latest.json",
    "checkpoint/after-8/encoder.safetensors",
    "checkpoint/mine.txt",
)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path):
    for name in (*OURS, *STAYS):
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path / "run"


def test_unneeded_files_of_a_run_are_removed(folder):
    run_files.remove(run_files.find_unneeded(folder))
    assert files(folder) == set(STAYS) and not run_files.find_unneeded(folder)
    assert sorted(os.listdir(folder / "checkpoint")) == ["after-8", "latest.json", "mine.txt"]


def test_another_file_keeps_its_folder(folder):
    (folder / "checkpoint" / "within" / "mine.txt").write_text("x")
    run_files.remove(run_files.find_unneeded(folder))
    assert files(folder) == {*STAYS, "checkpoint/within/mine.txt"}


@pytest.mark.parametrize("place", ["checkpoint", "checkpoint/within", "checkpoint/within/after-20"])
def test_nothing_behind_a_link_is_touched(folder, tmp_path, place):
    (folder / place).rename(tmp_path / "away")
    (folder / place).symlink_to(tmp_path / "away")
    before = files(tmp_path / "away")
    run_files.remove(run_files.find_unneeded(folder))
    assert files(tmp_path / "away") == before and not (folder / ".run.json.zzzzzzzz").exists()


def test_a_missing_folder_has_no_files(tmp_path):
    assert run_files.find_unneeded(tmp_path / "none") == []
