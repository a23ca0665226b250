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


@pytest.mark.slow
def test_a_finished_run_is_checked_from_its_checkpoint(config):
    folder = run(config, Screen(quiet=True)).folder
    before = json.loads((folder / "run.json").read_text())
    assert "batch_check" not in before and leaderboard([folder]).batch_dependent.tolist() == [None]
    screen, checked = Heard(), replace(config, check_batch=True)
    assert run(checked, screen).skipped
    after = json.loads((folder / "run.json").read_text())
    result = after.pop("batch_check")
    assert after == before and result["dependent"] == 0
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
