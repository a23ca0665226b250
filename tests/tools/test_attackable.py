"""The measurement of how far written words mislead a model."""

import numpy as np
import pytest
import torch

from benchmarks.cases.written_words import TYPEFACES
from models.classifier import PromptClassifier
from tools import attackable
from tools.attackable import attack, nonsense


def test_nonsense_has_the_form_of_the_word():
    rng = np.random.default_rng(0)
    words = {nonsense("gas pump", rng) for _ in range(5)}
    assert len(words) == 5 and all(word[3] == " " and len(word) == 8 and word.replace(" ", "").isalpha() for word in words)


class Reader(PromptClassifier):
    """Answers by the text that was written last on each picture, or by the label that its colour encodes."""

    def forward(self, pixels, task_label):
        answers = [int(picture[0, 0, 0]) for picture in pixels]
        return torch.nn.functional.one_hot(torch.tensor(answers), self.classes(task_label)).float()

    def classes(self, task_label):
        return len(self.prompts[task_label].classnames)


def test_a_reader_is_misled_by_words_and_not_by_nonsense(toy_domain, toy_encoder, monkeypatch):
    domain = toy_domain("toy", 3)
    for index, target in enumerate(domain.val.targets):
        domain.val.images[index] = target
    monkeypatch.setattr(attackable.mini, "build", lambda name: domain)

    def read(picture, text, face, rng):
        return np.full_like(picture, domain.classnames.index(text)) if text in domain.classnames else picture

    monkeypatch.setattr(attackable, "write", read)
    result = attack(Reader(toy_encoder()), "toy", "val", TYPEFACES)
    assert (result.clean, result.attacked, result.nonsense) == (100, 0, 100)
    assert (result.read, result.read_nonsense, result.n) == (100, pytest.approx(0), 12)
