"""Verdicts on A-CLIP's claims, with made-up records on both sides."""

import pytest

from harness.claims import judge
from harness.claims.a_clip import TUNINGS
from harness.claims.evidence import Evidence


def decide(name, runs):
    return next(claim for claim in judge.CLAIMS if claim.name == name).verdict(Evidence(tuple(runs)))


@pytest.fixture
def tunings(styles_run):
    """Return the runs of all tunings with two seeds; `changes` maps a tuning to its options."""

    def make(**changes):
        return [styles_run(seed, name, **changes.get(name, {})) for name in TUNINGS for seed in (0, 1)]

    return make


def test_runs_of_every_tuning_are_needed(styles_run):
    assert decide("a-clip-1", [styles_run()]).word == "not run"
    assert "adapter" in decide("a-clip-2", [styles_run(), styles_run(1)]).reason


def test_the_silhouette_must_rank_the_errors_better(tunings):
    verdict = decide("a-clip-1", tunings())
    # Its rank correlation with the error is -1, that of the similarity +0.4.
    assert "zero-shot error: silhouette -1.00 [-1.00, -1.00], correct_pair +0.40" in verdict.reason
    assert verdict.word == "does not hold", "with four domains the interval of the difference includes 0"
    assert decide("a-clip-1", tunings(finetune={"measured": False})).word == "cannot be judged"


def test_attention_must_beat_each_tuning_and_lose_to_none(tunings):
    assert decide("a-clip-2", tunings()).word == "does not hold", "all are equal"
    best = {"attention": {"ood": 12.0, "elsewhere": -1.0}}
    verdict = decide("a-clip-2", tunings(**best))
    assert verdict.word == "holds" and "against lora: +4.0 [+4.0, +4.0] in another style, +2.0" in verdict.reason
    assert decide("a-clip-2", tunings(**best, lora={"elsewhere": 0.0})).word == "does not hold", "lora forgets less"
