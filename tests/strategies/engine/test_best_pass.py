"""The best pass by validation accuracy, against weights and accuracies taken after each pass by hand."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import scenario
from metrics.evaluate import evaluate
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.joint import Joint
from strategies.paint import PaintSequential
from strategies.zscl import ZSCL

# Three passes of three updates, and one update more.
OPTIONS = Strategy.Options(epochs=3, batch_size=8, warmup=0, lr=3e-2)


class ByHand(Strategy):
    """Keeps the weights and the accuracy after every third update and at the end."""

    def before_experience(self):
        super().before_experience()
        self.after = {}

    def after_step(self, step):
        super().after_step(step)
        if step + 1 in (3, 6, 9, 10):
            correct = evaluate(self.classifier, self.experience.domain, "val").correct
            self.after[step + 1] = correct, {n: t.clone() for n, t in self.encoder.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("lr", [3e-2, 1e-3])
def test_the_best_pass_by_hand(toy_encoder, toy_domain, lr):
    stream = scenario([toy_domain("a", 4, train=20, val=24)])
    options = replace(OPTIONS, lr=lr)
    last = ByHand(encoder=toy_encoder(), options=options)
    best = ByHand(encoder=toy_encoder(), options=replace(options, best_pass=True))
    for strategy in (last, best):
        strategy.train(stream.train_stream[0], eval_streams=[])
    assert [r["loss"] for r in last.history] == [r["loss"] for r in best.history], "validation changes nothing"
    most = max(correct for correct, _ in last.after.values())
    updates = next(updates for updates, (correct, _) in last.after.items() if correct == most)
    now = best.encoder.state_dict()
    assert all(torch.equal(now[name], tensor) for name, tensor in last.after[updates][1].items())
    passes = [{"updates": n, "val": 100 * correct / 24} for n, (correct, _) in last.after.items()]
    assert best.searches == [{"task": "a", "passes": passes, "best_updates": updates}] and last.searches == []


def test_the_best_pass_needs_validation_images(encoder, toy_domain):
    stream = scenario([replace(toy_domain("a", train=20), val=None)])
    strategy = Strategy(encoder=encoder, options=replace(OPTIONS, best_pass=True))
    stream.train_stream[0].domain = replace(stream.train_stream[0].domain, val=None)
    with pytest.raises(UserError, match="best_pass needs validation images of 'a'"):
        strategy.train(stream.train_stream[0], eval_streams=[])


@pytest.mark.slow
def test_joint_training_validates_on_all_its_tasks(toy_encoder, toy_domain):
    """Three and two updates are a pass over both tasks. Accuracies by hand after each pass and at the end."""
    stream = scenario([toy_domain("a", 4, train=20, val=24), toy_domain("b", 3, seed=1, train=16, val=10)])
    options = Joint.Options(epochs=0, iterations=9, batch_size=8, warmup=0, lr=3e-2, best_pass=True, joint_budget="task")

    class Spy(Joint):
        after = None

        def after_step(self, step):
            super().after_step(step)
            if self.after is not None and step + 1 in (5, 9):
                shares = [evaluate(self.classifier, e.domain, "val", task_label=e.task_label) for e in stream.train_stream]
                self.after[step + 1] = (shares[0].correct / 24 + shares[1].correct / 10) / 2

    strategy = Spy(encoder=toy_encoder(), options=options)
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.after = {}
    strategy.train(stream.train_stream[1], eval_streams=[])
    first, second = strategy.searches
    assert [entry["updates"] for entry in first["passes"]] == [3, 6, 9]
    assert {entry["updates"]: entry["val"] for entry in second["passes"]} == pytest.approx(
        {updates: 100 * mean for updates, mean in strategy.after.items()}
    )
    assert second["best_updates"] == max(strategy.after, key=strategy.after.get) and second["task"] == "b"
    stream.train_stream[0].domain = replace(stream.train_stream[0].domain, val=None)
    with pytest.raises(UserError, match="best_pass needs validation images of 'a'"):
        strategy.train(stream.train_stream[1], eval_streams=[])


def test_methods_that_select_the_best_pass():
    assert Strategy.selects(replace(OPTIONS, best_pass=True)) and not Strategy.selects(OPTIONS)
    fixed = PaintSequential.Options(alpha=0.5)
    assert PaintSequential.selects(replace(fixed, best_pass=True)) and not PaintSequential.selects(fixed)
    with pytest.raises(ValueError, match="set average_every=0"):
        ZSCL.Options(best_pass=True)
    assert ZSCL.Options(best_pass=True, average_every=0).best_pass
