"""The counts of a plan are those of the run: passes of the towers, updates, bytes of checkpoints."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.plan.plan import make_plan
from harness.run.build import load_encoder
from harness.run.loop import run
from models.encoder import DualEncoder

USERS = """
from strategies import Strategy

class Twice(Strategy):
    def compute_loss(self, batch):
        self.encoder.encode_texts(self.encoder.tokenize(["a", "b", "c"]))
        return super().compute_loss(batch)

    def after_experience(self):
        super().after_experience()
        self.kept = self.task_features([0, 2, 4]).features

    def state(self):
        return {**super().state(), "kept": self.kept} if self.trained else super().state()
"""
METHODS = {
    "finetune": {},
    "zscl": {},
    "wise-ft": {},
    "paint-sequential": {"alphas": 3},
    "icarl": {"memory": 10},
    "lora": {},
    "ranpac": {"width": 20},
    "rail": {"width": 20},
    "moe-adapters": {"experts": 2, "task": "oracle"},
    "keep-lora": {},
    "joint": {"joint_budget": "sum"},
    "lwf": {"reference_images": "batch"},
    "Twice": {},
}


@pytest.fixture
def passes(monkeypatch):
    """Count the rows of every pass of a real run."""
    counts, real = Counter(), DualEncoder._pass

    def counted(self, name, tower, inputs, *others, **more):
        kind = "images" if inputs.dim() == 4 else "texts"
        counts[kind + (" with gradient" if torch.is_grad_enabled() else "")] += len(inputs)
        return real(self, name, tower, inputs, *others, **more)

    def loaded(resolved):
        encoder = load_encoder(resolved)
        counts.clear()  # a model that is loaded is tried out
        return encoder

    monkeypatch.setattr(DualEncoder, "_pass", counted)
    monkeypatch.setattr("harness.run.loop.load_encoder", loaded)
    return counts


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    """Updates enough for a smaller last batch and a second pass."""
    options = {"iterations": 8, "batch_size": 10, "warmup": 1}
    return RunConfig(toy_benchmark, model=str(model_directory), options=options, out=str(tmp_path / "results"), measure_n=4,
                     device="cpu")  # fmt: skip


def counted(plan):
    c = plan.counts
    parts = ("update", "prepared", "task", "measured", "evaluated", "timed")
    return {
        "images": sum(c[f"{part}_image_passes"] for part in parts),
        "images with gradient": c["trained_image_passes"] + c["task_trained_image_passes"],
        "texts with gradient + texts": c["trained_texts"] + c["texts"] + c["evaluated_texts"],
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_counts_are_those_of_the_run(method, config, passes, quick, tmp_path):
    if method == "Twice":
        (tmp_path / "users.py").write_text(USERS)
    strategy = f"{tmp_path / 'users.py'}:Twice" if method == "Twice" else method
    options = {**config.options, **METHODS[method]}
    config = replace(config, strategy=strategy, options=options, keep="all")
    plan = make_plan(config)
    folder = run(config, Screen(quiet=True)).folder
    texts = passes["texts"] + passes["texts with gradient"]
    assert counted(plan) == {
        "images": passes["images"],
        "images with gradient": passes["images with gradient"],
        "texts with gradient + texts": texts,
    }
    losses = (folder / "train.csv").read_text().splitlines()[1:]
    assert plan.counts["updates"] == len(losses)
    size = sum(path.stat().st_size for path in folder.glob("checkpoint/after-*/*") if path.name != "sha256.json")
    # The numbers of directions that keep-lora keeps, and the digits of searches, depend on the images.
    assert plan.disk["kept"] == pytest.approx(size, rel=0.1 if method == "keep-lora" else 2e-3)
