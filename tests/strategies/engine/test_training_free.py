"""Methods that learn without updates: their hooks, the tuning `frozen`, and features computed once."""

import pytest

from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from models import tuning
from models.registry import UserError
from strategies import Strategy
from strategies.zero_shot import ZeroShot


class Free(Strategy):
    trains = False
    default_tuning = "frozen"

    def before_run(self):
        self.calls = []

    def before_experience(self):
        super().before_experience()
        self.calls.append(("before", self.experience.domain.name, self.trained))

    def compute_loss(self, batch):
        raise AssertionError("no update")

    def after_experience(self):
        super().after_experience()
        self.calls.append(("after", self.experience.domain.name, self.trained))


def test_each_task_calls_the_two_hooks_and_makes_no_update(encoder, stream):
    strategy = Free(encoder=encoder)
    assert encoder.tuning == "frozen" and strategy.trainable == [] == tuning.trainable(encoder)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    assert strategy.calls == [("before", "a", 0), ("after", "a", 0), ("before", "b", 1), ("after", "b", 1)]
    assert strategy.trained == 2 and strategy.history == [] and strategy.seconds > 0


def test_a_test_image_passes_the_frozen_tower_once(encoder, stream, monkeypatch):
    strategy, encoded, encode = Free(encoder=encoder), [], encoder.clip.encode_image
    monkeypatch.setattr(encoder.clip, "encode_image", lambda pixels, **k: (encoded.append(len(pixels)), encode(pixels, **k))[1])
    strategy.eval(stream.test_stream)
    images = sum(len(experience.dataset) for experience in stream.test_stream)
    assert sum(encoded) == images
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.eval(stream.test_stream)
    assert sum(encoded) == images


def test_zero_shot_learns_nothing():
    assert not ZeroShot.trains and not ZeroShot.learns and Free.learns and Strategy.learns


def test_a_tuning_that_does_not_fit_the_method_is_refused(tmp_path):
    with pytest.raises(UserError, match="finetune trains the encoder, and under --tuning frozen nothing trains"):
        resolve(RunConfig("mtil", strategy="finetune", tuning="frozen"))
    file = tmp_path / "free.py"
    lines = ["from strategies import Strategy", "class Free(Strategy):", "    trains, default_tuning = False, 'frozen'"]
    file.write_text("\n".join(lines))
    with pytest.raises(UserError, match="leaves the encoder frozen, so --tuning visual has no effect"):
        resolve(RunConfig("mtil", strategy=f"{file}:Free", tuning="visual"))
    assert resolve(RunConfig("mtil", strategy=f"{file}:Free")).tuning == "frozen"
    with pytest.raises(UserError, match=r"keep-lora trains only modules that it adds, so --tuning lora has no effect\. Leave"):
        resolve(RunConfig("mtil", strategy="keep-lora", tuning="lora"))
