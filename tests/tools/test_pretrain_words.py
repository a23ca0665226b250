"""The training with written words: the pictures, and what their features should match."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks.cases.written_words import font
from tools import pretrain_words
from tools.pretrain_words import WORDS, loss_of, with_words


def test_named_pictures_get_class_names_or_a_plain_ground_and_the_others_nonsense(monkeypatch):
    texts = []
    monkeypatch.setattr(pretrain_words, "write", lambda picture, text, face, rng: texts.append(text) or picture)
    noise = torch.rand(60, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    named = torch.arange(60) < 40
    written, words = with_words(noise, named, [font("DejaVuSans")], 0.5, np.random.default_rng(0))
    assert texts[:40] == [WORDS[word] for word in words[:40]] and len(set(texts[:40])) > 15
    assert not set(texts[40:]) & set(WORDS) and list(map(len, texts[40:])) == [len(WORDS[word]) for word in words[40:]]
    spread = written.flatten(2).std(dim=2).amax(dim=1)
    assert 8 < (spread[:40] == 0).sum() < 32 and (spread[40:] > 0).all()
    assert torch.equal(written[spread > 0], (noise[spread > 0] * 255).round() / 255)


def test_the_loss_names_words_and_keeps_other_features():
    generator = torch.Generator().manual_seed(0)
    features, text, kept = (F.normalize(torch.randn(n, 6, generator=generator), dim=1) for n in (5, 4, 2))
    keep, words = torch.tensor([0, 3]), torch.tensor([2, 0, 3])
    loss, hits = loss_of(features, kept, keep, words, text, 7.0)
    logits = 7 * features[[1, 2, 4]] @ text.T
    named = sum(torch.logsumexp(row, 0) - row[word] for row, word in zip(logits, words, strict=True)) / 3
    cosine = (features[0] @ kept[0] + features[3] @ kept[1]) / 2
    assert loss.item() == pytest.approx((named + pretrain_words.KEEP * (1 - cosine)).item(), rel=1e-5)
    assert hits.item() == pytest.approx(sum(row.argmax() == word for row, word in zip(logits, words, strict=True)) / 3)
