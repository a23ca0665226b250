"""The heads of a frozen text tower, which searches, curves and evaluation share."""

from collections import Counter

from benchmarks.scenario import scenario
from models.encoder import DualEncoder
from strategies.paint import PaintSequential


def test_the_frozen_text_tower_encodes_each_prompt_once(toy_encoder, toy_domain, monkeypatch):
    """Training, validation, curves and evaluation of all tasks share the heads."""
    stream = scenario(
        [toy_domain("a", 3), toy_domain("b", 4, seed=1), toy_domain("c", 3, seed=3)], [toy_domain("h", 3, seed=2)]
    )
    options = PaintSequential.Options(iterations=4, lr=1e-3, batch_size=8, warmup=1, alphas=5, curve=True)
    strategy, encoded = PaintSequential(encoder=toy_encoder(), options=options), Counter()
    original = DualEncoder.raw_texts

    def count(encoder, tokens, *given):
        encoded.update(map(tuple, tokens.tolist()))
        return original(encoder, tokens, *given)

    monkeypatch.setattr(DualEncoder, "raw_texts", count)
    checks = []
    monkeypatch.setattr("strategies.engine.avalanche_template.check_prompts", lambda *given: checks.append(given))
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval([*stream.test_stream, *stream.streams["heldout"]])
    assert encoded and set(encoded.values()) == {1}
    assert len(checks) == 1, "the prompts of a stream are checked once, not for every test set"
