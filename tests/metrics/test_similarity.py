"""Mean similarities against loops over pairs."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from metrics.similarity import correct_pair, modality_gap, text_text
from metrics.sums import ClassSums


@pytest.fixture
def drawn():
    generator = torch.Generator().manual_seed(1)
    x = F.normalize(torch.randn(25, 6, generator=generator, dtype=torch.float64), dim=1)
    t = F.normalize(torch.randn(5, 6, generator=generator, dtype=torch.float64), dim=1)
    # Class 4 has no images.
    return x, t, torch.randint(0, 4, (25,), generator=generator)


def test_against_the_definitions(drawn):
    x, t, y = drawn
    seen = ClassSums().update(x, y)
    pairs = [float(t[a] @ t[b]) for a, b in itertools.combinations(range(5), 2)]
    assert text_text(t) == pytest.approx(sum(pairs) / 10, abs=1e-12)
    assert correct_pair(seen, t) == pytest.approx(sum(float(a @ t[c]) for a, c in zip(x, y, strict=True)) / 25, abs=1e-12)
    assert modality_gap(seen, t) == pytest.approx(math.dist(x.mean(dim=0).tolist(), t.mean(dim=0).tolist()), abs=1e-12)


def test_identical_and_opposite():
    t = torch.eye(3)
    assert text_text(t[:1].expand(2, 3)) == 1 and text_text(t) == 0
    seen = ClassSums().update(-t[:1], torch.tensor([0]))
    assert correct_pair(seen, t[:1]) == -1 and modality_gap(seen, t[:1]) == 2


def test_errors(drawn):
    x, t, y = drawn
    seen = ClassSums().update(x, y)
    with pytest.raises(ValueError, match="2 classes, got 1"):
        text_text(t[:1])
    with pytest.raises(ValueError, match="no images"):
        correct_pair(ClassSums(), t)
    with pytest.raises(ValueError, match="needs class texts"):
        modality_gap(seen, t[:0])
    with pytest.raises(ValueError, match="only 2 class texts"):
        correct_pair(seen, t[:2])
    with pytest.raises(ValueError, match="NaN"):
        text_text(t * float("nan"))
