"""The best pass by validation accuracy, against weights and accuracies taken after each pass by hand."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import scenario
from metrics.evaluate import evaluate
from models.registry import UserError
from strategies.engine.strategy import Strategy
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


def test_methods_that_select_the_best_pass():
    assert Strategy.selects(replace(OPTIONS, best_pass=True)) and not Strategy.selects(OPTIONS)
    fixed = PaintSequential.Options(alpha=0.5)
    assert PaintSequential.selects(replace(fixed, best_pass=True)) and not PaintSequential.selects(fixed)
    with pytest.raises(ValueError, match="set average_every=0"):
        ZSCL.Options(best_pass=True)
    assert ZSCL.Options(best_pass=True, average_every=0).best_pass
