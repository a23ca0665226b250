"""Batches of the pretraining that are drawn ahead, against the sampler that draws them one by one."""

import json

import numpy as np
import pytest
import torch

from tools import batches, pretrain, schedule, vocabulary
from tools.pool import Pool
from tools.sampler import MASK_GROUPS, PICTURE_GROUP, Sampler


@pytest.fixture(scope="module")
def pool():
    """Three subjects with three pictures for every kind."""
    rng = np.random.default_rng(0)
    kinds = [kind for group in MASK_GROUPS.values() for kind in group.kinds]
    masks = np.repeat(np.array(kinds), 9)
    pictures = np.repeat(np.array(PICTURE_GROUP.kinds), 9)
    subjects = np.array(["two things", "cat", "seven"]).repeat(3)
    return Pool(
        rng.integers(0, 256, (len(masks), 64, 64), dtype=np.uint8),
        masks,
        np.tile(subjects, len(kinds)),
        rng.integers(0, 256, (len(pictures), 4, 64, 64), dtype=np.uint8),
        pictures,
        np.tile(subjects, len(PICTURE_GROUP.kinds)),
    )


@pytest.fixture(scope="module")
def drawn(pool, tmp_path_factory):
    """Seven iterations of 64 images, in three parts of 2, 2 and 3 that are drawn last first."""
    folder = tmp_path_factory.mktemp("batches")
    parts = json.loads(json.dumps(batches.record(Sampler(pool, 64, 3), 7, 3)))
    tokenizer = vocabulary.load(pretrain.TINY / "bpe.txt.gz")
    for part in reversed(parts):
        batches.draw(Sampler(pool, 64, seed=3), part, tokenizer, folder)
    return folder


def test_drawn_batches_are_those_of_the_sampler(pool, drawn):
    found = batches.Drawn(drawn, 7)
    assert sorted(found.parts) == [0, 2, 4]
    sampler, tokenizer = Sampler(pool, 64, 3), vocabulary.load(pretrain.TINY / "bpe.txt.gz")
    for step in range(7):
        expected = sampler.batch(schedule.ease_at(step / 7))
        images, tokens, subjects = found.batch(step)
        assert images.dtype == torch.bfloat16 and images.shape == (64, 3, 48, 48)
        assert torch.equal(images, ((expected.images - pretrain.MEAN) / pretrain.STD).bfloat16())
        assert torch.equal(tokens, tokenizer(expected.captions)) and torch.equal(subjects, expected.subjects)


def test_composed_and_drawn_batches_are_the_same(pool, drawn):
    found, composed = (
        batches.Drawn(drawn, 7),
        batches.composed(Sampler(pool, 64, 3), vocabulary.load(pretrain.TINY / "bpe.txt.gz")),
    )
    for step in range(7):
        images, *rest = composed(step, step / 7)
        assert torch.equal(images.bfloat16(), found.batch(step)[0])
        assert all(torch.equal(one, other) for one, other in zip(rest, found.batch(step)[1:], strict=True))


def test_another_length_is_refused(drawn, tmp_path):
    with pytest.raises(ValueError, match=r"holds the iterations \[\(0, 2\), \(2, 4\), \(4, 7\)\], not 0 to 8"):
        batches.Drawn(drawn, 8)
    with pytest.raises(ValueError, match=r"holds the iterations \[\], not 0 to 8"):
        batches.Drawn(tmp_path, 8)
