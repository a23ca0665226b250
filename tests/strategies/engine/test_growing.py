"""Modules that grow with the tasks, the hook between backward and update, and tunings from outside."""

import copy
import json
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run.loop import run
from models import places, tuning
from models.added import OfTask, stored_bytes
from models.blocks import blocks
from models.registry import UserError
from models.route import routed
from models.setting import setting
from models.tuning_options import REGISTRY, TuningOptions, check_tuning, register
from strategies.engine.mid_task import refusal
from strategies.engine.strategy import Strategy

QUICK = {"iterations": 4, "batch_size": 20, "warmup": 1, "lr": 0.01}


class Experts(Strategy):
    """An expert per task next to an MLP. Evaluation takes the nearest task mean of the plain features, for each image."""

    default_tuning = "frozen"

    def before_run(self):
        super().before_run()
        self.means = []
        self.block = blocks(self.encoder, "image")[-1]
        places.beside_mlp(self.encoder, self.block, OfTask(self.encoder, "expert"))

    def grow(self, experience):
        width = places.shape(self.block).width
        self.add_module_for(experience.current_experience, "expert", nn.Linear(width, width), tower="image")

    def training_route(self):
        return self.experience.current_experience

    def test_features(self):
        if not self.means:
            return super().test_features()
        with routed((self.plain_features() @ torch.stack(self.means).T).argmax(dim=1)):
            return super().test_features()

    def after_experience(self):
        super().after_experience()
        with torch.no_grad(), routed(None):
            self.means.append(self.task_features().features.mean(dim=0))

    def state(self):
        return {**super().state(), "means": self.means}

    def load(self, state):
        super().load(state)
        self.means = [*state["means"]]

    def task_state(self):
        return super().task_state()


@pytest.mark.slow
def test_modules_train_with_their_task_and_are_frozen_after_it(toy_encoder, stream, trained):
    strategy = Experts(encoder=toy_encoder(), options=Experts.Options(**QUICK))
    before = tuning.weights(strategy.encoder)
    strategy.train(stream.train_stream[0], eval_streams=[])
    first = strategy.modules_of(0)["expert"]
    width = first.weight.shape[0]
    assert sum(p.numel() for p in strategy.trainable) == width * width + width
    assert stored_bytes(strategy.encoder) == {0: 4 * (width * width + width)}
    assert all(not p.requires_grad for p in strategy.encoder.parameters())
    kept = copy.deepcopy(first.state_dict())
    strategy.train(stream.train_stream[1], eval_streams=[])
    second = strategy.modules_of(1)["expert"]
    assert {id(p) for p in strategy.trainable} == {id(p) for p in second.parameters()}
    assert all(torch.equal(kept[name], tensor) for name, tensor in first.state_dict().items())
    assert not torch.equal(first.weight, second.weight) and strategy.modules_of(2) == {}
    after = tuning.weights(strategy.encoder)
    assert after.keys() == before.keys() and all(torch.equal(before[name], after[name]) for name in after)
    # Weights for arithmetic do not change the modules.
    tuning.set_weights(strategy.encoder, before)
    assert torch.equal(first.weight, kept["weight"])


@pytest.mark.slow
def test_plain_features_pass_the_tower_once(toy_encoder, stream):
    strategy, images = Experts(encoder=toy_encoder(), options=Experts.Options(**QUICK)), []
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.block.module.register_forward_hook(lambda m, i, o: images.append(len(o)))
    strategy.eval(stream.streams["test"])
    once = sum(images)
    strategy.train(stream.train_stream[1], eval_streams=[])
    images.clear()
    strategy.eval(stream.streams["test"])
    assert sum(images) == once // 2


@pytest.mark.slow
def test_a_killed_run_makes_its_modules_again(toy_benchmark, model_directory, killed, tmp_path, monkeypatch):
    from strategies import STRATEGIES

    monkeypatch.setitem(STRATEGIES._objects, "experts", Experts)
    config = RunConfig(
        toy_benchmark, "experts", model=str(model_directory), measure_n=4, options=QUICK, protocol="agnostic",
        out=str(tmp_path / "results"), checkpoint_minutes=1e-9,
    )  # fmt: skip
    tables = ("accuracy.csv", "train.csv", "measures.csv")
    whole = run(replace(config, out=str(tmp_path / "whole"), checkpoint_minutes=0), Screen(quiet=True)).folder
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "after_step", 7)
    killed(lambda: run(config, Screen(quiet=True)), Strategy, "_before_training_exp", 2)
    folder = run(config, Screen(quiet=True)).folder
    assert [(folder / name).read_bytes() for name in tables] == [(whole / name).read_bytes() for name in tables]
    assert json.loads((folder / "run.json").read_text())["trainable_params"] > 0


class Late(Experts):
    def before_experience(self):
        super().before_experience()
        self.add_module_for(0, "late", nn.Linear(2, 2))


class Other(Experts):
    def grow(self, experience):
        self.add_module_for(experience.current_experience + 1, "other", nn.Linear(2, 2))


class Twice(Experts):
    def grow(self, experience):
        super().grow(experience)
        super().grow(experience)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Late, r"Late calls add_module_for for task 0 outside of grow\. Call it in grow\(experience\)"),
        (Other, r"for task 1 in grow of task 0"),
        (Twice, r"two modules called 'expert' in task 0"),
    ],
)
def test_modules_that_could_not_be_made_again(method, message, toy_encoder, stream):
    strategy = method(encoder=toy_encoder(), options=method.Options(**QUICK))
    with pytest.raises(UserError, match=message):
        strategy.train(stream.train_stream[0], eval_streams=[])


class Projected(Strategy):
    """Fine-tuning whose gradients have no part along the weight itself."""

    def after_backward(self):
        super().after_backward()
        self.seen = [p.grad is not None for p in self.trainable]
        for p in self.trainable:
            along = (p.grad * p.detach()).sum() / p.detach().square().sum().clamp(min=1e-12)
            p.grad.sub_(along * p.detach())
        self.directions = [(p.grad * p.detach()).sum().abs() for p in self.trainable]


def test_gradients_are_changed_before_the_update(toy_encoder, stream, trained):
    options = {**QUICK, "iterations": 1, "optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "warmup": 0, "lr": 0.1}
    torch.manual_seed(0)
    encoder = toy_encoder()
    start = [p.detach().clone() for p in encoder.parameters()]
    strategy = Projected(encoder=encoder, options=Projected.Options(**options))
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert all(strategy.seen) and max(strategy.directions) < 1e-4
    moves = [(p.detach() - s, s) for p, s in zip(encoder.parameters(), start, strict=True) if p.requires_grad]
    assert any(move.abs().max() > 0 for move, _ in moves)
    assert all(abs((move * weight).sum()) < 1e-4 for move, weight in moves)
    # What runs in a step may change something, and only the class can say what.
    assert "Projected overrides after_backward and not task_state" in refusal(strategy)


@dataclass(frozen=True)
class Shift(TuningOptions):
    """A learned shift of the state of some first blocks of the image tower."""

    count: int = setting(1, "number of blocks", least=1)

    def select(self, encoder):
        module = Shifted(places.shape(blocks(encoder, "image")[0]).width)
        for block in blocks(encoder, "image", first=self.count):
            places.beside_mlp(encoder, block, module)
        return module.parameters()


class Shifted(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(width))

    def forward(self, x):
        return self.shift.expand_as(x)


@pytest.mark.slow
def test_a_tuning_from_outside(toy_encoder, stream, trained, monkeypatch):
    monkeypatch.setattr(REGISTRY, "_objects", dict(REGISTRY._objects))
    register("shift")(Shift)
    encoder = toy_encoder()
    before = tuning.weights(encoder)
    strategy = trained(Strategy, encoder, [stream.train_stream[0]], tuning_name="shift")
    after = tuning.weights(encoder)
    moved = [name for name in after if name not in before or not torch.equal(before[name], after[name])]
    assert len(moved) == 1 and moved[0].startswith("added.image:mlp-") and moved[0].endswith(".shift")
    assert strategy.encoder.tuning == "shift" and len(strategy.trainable) == 1
    with pytest.raises(UserError, match=r"tuning\.count must be at least 1"):
        tuning.apply(toy_encoder(), Shift, count=0)
    with pytest.raises(UserError, match="Did you mean shift"):
        tuning.apply(toy_encoder(), "shfit")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (int, r"is not a subclass of models\.tuning_options\.TuningOptions"),
        (type("Bare", (TuningOptions,), {}), r"needs @dataclass\(frozen=True\)"),
        (dataclass(frozen=True)(type("Idle", (TuningOptions,), {})), r"does not define select\(encoder\)"),
    ],
)
def test_what_is_not_a_tuning(kind, message):
    with pytest.raises(UserError, match=message):
        check_tuning(kind, "mine")


FILE = """
from dataclasses import dataclass
from models import places
from models.blocks import blocks
from models.setting import setting
from models.tuning_options import TuningOptions
from torch import nn

@dataclass(frozen=True)
class SideMLP(TuningOptions):
    hidden: int = setting(4, "hidden width", least=1)

    def select(self, encoder):
        parameters = []
        for block in blocks(encoder, "image"):
            width = places.shape(block).width
            side = nn.Sequential(nn.Linear(width, self.hidden), nn.ReLU(), nn.Linear(self.hidden, width))
            nn.init.zeros_(side[2].weight)
            nn.init.zeros_(side[2].bias)
            places.beside_mlp(encoder, block, side)
            parameters += side.parameters()
        return parameters
"""


@pytest.mark.slow
def test_a_tuning_from_a_file(toy_benchmark, model_directory, tmp_path):
    file = tmp_path / "side.py"
    file.write_text(FILE)
    config = RunConfig(
        toy_benchmark, "finetune", model=str(model_directory), measure_n=4, out=str(tmp_path / "results"),
        tuning=f"{file}:SideMLP", options={**QUICK, "tuning.hidden": "3"},
    )  # fmt: skip
    document = json.loads((run(config, Screen(quiet=True)).folder / "run.json").read_text())
    assert document["status"] == "finished" and document["trainable_params"] > 0
    identity = document["identity"]
    assert identity["tuning"] == "side-mlp" and identity["tuning_options"] == {"hidden": 3}
    assert document["request"]["tuning"] == f"{file}:SideMLP"
    # The place of the file does not matter, its content does.
    moved = tmp_path / "other.py"
    moved.write_text(FILE)
    again = resolve(replace(config, tuning=str(moved)))
    assert again.key == document["key"] and run(replace(config, tuning=str(moved)), Screen(quiet=True)).skipped
    moved.write_text(FILE + "\n# changed\n")
    assert resolve(replace(config, tuning=str(moved))).key != document["key"]
    with pytest.raises(UserError, match=r"Unknown option of the tuning .*'hiden'.* Did you mean hidden"):
        resolve(replace(config, options={"tuning.hiden": "3"}))
    with pytest.raises(UserError, match=r"Unknown tuning in .*side\.py 'Side'\. Did you mean SideMLP"):
        resolve(replace(config, tuning=f"{file}:Side"))
    with pytest.raises(UserError, match=r"There is no tuning file 'nowhere\.py'"):
        resolve(replace(config, tuning="nowhere.py"))
