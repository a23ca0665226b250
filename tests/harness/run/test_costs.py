"""Stored bytes per task, and the time per test image."""

import json
from dataclasses import replace

import pytest
import torch

from harness.display.screen import Screen
from harness.records.leaderboard import leaderboard
from harness.run.costs import tensor_bytes
from harness.run.loop import run

KEEPS = """
import torch
from strategies import Strategy

class Keeps(Strategy):
    def before_run(self):
        self.kept = {}

    def after_experience(self):
        self.kept[self.experience.domain.name] = torch.zeros(10, 5)

    def state(self):
        return {**super().state(), "kept": self.kept}

    def load(self, state):
        super().load(state)
        self.kept = state["kept"]
"""


def test_bytes_of_nested_tensors():
    state = {"a": torch.zeros(3, 2), "b": [torch.zeros(4, dtype=torch.float64), "text", 3], "c": {"d": (torch.zeros(2),)}}
    assert tensor_bytes(state) == 4 * 6 + 8 * 4 + 4 * 2


@pytest.mark.slow
def test_the_record_has_the_costs_also_of_a_continued_run(config, tmp_path, killed):
    (tmp_path / "mine.py").write_text(KEEPS)
    from strategies.engine.strategy import Strategy

    config = replace(config, strategy=str(tmp_path / "mine.py"))
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "_before_training_exp", 3)
    document = json.loads((run(config, Screen(quiet=True)).folder / "run.json").read_text())
    assert document["stored_per_task"] == 4 * 50 and 0 < document["test_ms_per_image"] < 1000
    [row] = leaderboard([config.out]).to_dict("records")
    assert row["stored_per_task"] == 200 and row["test_ms_per_image"] == document["test_ms_per_image"]
