"""WiSE-FT: interpolation at the end of each task."""

import pytest
import torch

from models.classifier import PromptClassifier
from strategies.engine.strategy import Strategy
from strategies.wise_ft import WiSEFT

QUICK = {"iterations": 4, "lr": 1e-3, "batch_size": 8, "warmup": 1}


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["previous", "zero-shot"])
def test_weights_by_formula(toy_encoder, stream, anchor, trained):
    """Two tasks, each replayed with plain fine-tuning from the weights that WiSE-FT should have left."""
    first, second = stream.train_stream
    start = toy_encoder().state_dict()
    tuned = trained(Strategy, toy_encoder(), [first]).encoder.state_dict()
    merged = {n: 0.3 * start[n] + 0.7 * tuned[n] for n in start}
    again = toy_encoder()
    again.load_state_dict(merged)
    tuned = trained(Strategy, again, [second]).encoder.state_dict()
    base = merged if anchor == "previous" else start
    expected = {n: 0.3 * base[n] + 0.7 * tuned[n] for n in start}
    found = trained(WiSEFT, toy_encoder(), [first, second], alpha=0.7, anchor=anchor).encoder.state_dict()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_alpha_ends(toy_encoder, stream, trained):
    first = stream.train_stream[0]
    start, tuned = toy_encoder().state_dict(), trained(Strategy, toy_encoder(), [first]).encoder.state_dict()
    for alpha, expected in ((0.0, start), (1.0, tuned)):
        found = trained(WiSEFT, toy_encoder(), [first], alpha=alpha).encoder.state_dict()
        assert all(torch.equal(found[n], expected[n]) for n in expected)


def test_the_text_cache_notices_the_merge(toy_encoder, stream):
    class Peeks(WiSEFT):
        def after_experience(self):
            self.model.eval()
            with torch.no_grad():
                self.before_merge = self.classifier.text_features(0).clone()
            super().after_experience()

    strategy = Peeks(encoder=toy_encoder(), options=WiSEFT.Options(**QUICK, alpha=0.0))
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.model.eval()
    with torch.no_grad():
        found = strategy.classifier.text_features(0)
        fresh = PromptClassifier(strategy.encoder).eval()
        fresh.register_domain(0, stream.train_stream[0].domain)
        torch.testing.assert_close(found, fresh.text_features(0))
    assert not torch.allclose(found, strategy.before_merge)


def test_alpha_outside_the_interval():
    with pytest.raises(ValueError, match="alpha must be at most 1"):
        WiSEFT.Options(alpha=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["lora", "adapter", "full"])
def test_alpha_one_is_fine_tuning_under_every_tuning_and_over_tasks(toy_encoder, stream, tuning, same):
    """LoRA continues from its matrices: setting weights would restart it."""

    def run(method, **options):
        torch.manual_seed(0)
        strategy = method(encoder=toy_encoder(), options=method.Options(**QUICK, **options), tuning_name=tuning)
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
        return strategy.encoder.state_dict()

    assert same(run(WiSEFT, alpha=1.0), run(Strategy))
