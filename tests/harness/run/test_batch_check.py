"""`--check-batch`: the record of a run says whether its predictions depend on their batches, and the leaderboard marks it."""

import io
import json
import re
import shutil
from dataclasses import replace

import pytest
from rich.console import Console

from harness.display.leaderboard_table import print_leaderboard
from harness.display.screen import Screen
from harness.records.leaderboard import leaderboard
from harness.run.batch_check import sentence
from harness.run.loop import run
from models.registry import UserError

CENTRES = """
import torch.nn.functional as F
from strategies import Strategy

class Centres(Strategy):
    def predict(self, features, candidates):
        return super().predict(F.normalize(features - features.mean(dim=0) + 1e-3, dim=1), candidates)
"""


class Heard(Screen):
    """A screen that keeps what it is told."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, message, style=None):
        self.lines.append(message)


def passes(*rows):
    return [dict(zip(("batches", "images", "changed", "dependent"), row, strict=True)) for row in rows]


def test_what_the_check_reports_is_one_sentence():
    alike = passes(("other sizes and order", 1200, 0, 0), ("single images", 64, 0, 0))
    start = "no prediction of 1,200 test images depends on its batch (other sizes and order, single images"
    assert sentence({"images": 1200, "dependent": 0, "passes": alike}) == f"{start})."
    ties = passes(("other sizes and order", 1200, 3, 0), ("single images", 64, 1, 0))
    assert sentence({"images": 1200, "dependent": 0, "passes": ties}) == f"{start}; rounding decides 3 near ties)."
    worse = passes(("other sizes and order", 1200, 9, 7), ("one task per batch", 1200, 40, 38), ("single images", 64, 2, 2))
    assert sentence({"images": 1200, "dependent": 38, "passes": worse}) == (
        "38 of 1,200 predictions depend on the other images of their batch (changed by: one task per batch)."
    )


@pytest.mark.slow
def test_a_finished_run_is_checked_from_its_checkpoint(config):
    folder = run(config, Screen(quiet=True)).folder
    before = json.loads((folder / "run.json").read_text())
    assert "batch_check" not in before and leaderboard([folder]).batch_dependent.tolist() == [None]
    screen, checked = Heard(), replace(config, check_batch=True)
    assert run(checked, screen).skipped
    after = json.loads((folder / "run.json").read_text())
    result = after.pop("batch_check")
    assert after == before and (result["images"], result["dependent"]) == (96, 0)
    counted = {each["batches"]: (each["images"], each["dependent"]) for each in result["passes"]}
    assert set(counted) == {"other sizes and order", "single images"} and set(counted.values()) == {(96, 0)}
    assert all({*each} == {"batches", "images", "changed", "dependent"} for each in result["passes"])
    assert any(re.match("batch check: no prediction of 96 test images depends on its batch", line) for line in screen.lines)
    assert leaderboard([folder]).batch_dependent.tolist() == ["no"]
    screen.lines.clear()
    assert run(checked, screen).skipped and "finished already" in screen.lines[-1]
    (folder / "run.json").write_text(json.dumps(before))
    shutil.rmtree(folder / "checkpoint")
    with pytest.raises(UserError, match="has no checkpoint, so the finished run cannot be checked"):
        run(checked, Screen(quiet=True))


@pytest.mark.slow
def test_a_method_that_reads_its_batch_is_marked(config, tmp_path):
    (tmp_path / "mine.py").write_text(CENTRES)
    screen = Heard()
    marked = run(replace(config, strategy=str(tmp_path / "mine.py"), check_batch=True), screen).folder
    assert any(re.search(r"warning: \d+ of \d+ predictions depend on the other images", line) for line in screen.lines)
    table = leaderboard([marked.parent])
    assert table.batch_dependent.tolist() == ["yes"]
    console = Console(file=io.StringIO(), width=200)
    print_leaderboard(table, console)
    assert "centres *" in console.file.getvalue() and "* predictions depend on the other" in console.file.getvalue()
