"""IIMM in linear time against the definition, pair by pair."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from metrics.iimm import IIMMAccumulator, iimm


def by_definition(x, t, y):
    intra = [float(x[i] @ x[j]) for i, j in itertools.combinations(range(len(x)), 2)]
    inter = [sum(float(x[i] @ t[c]) for c in range(len(t)) if c != y[i]) / (len(t) - 1) for i in range(len(x))]
    return sum(intra) / len(intra), sum(inter) / len(inter)


def data(n=40, c=7, d=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.3, dim=1)
    t = F.normalize(torch.randn(c, d, generator=generator, dtype=torch.float64), dim=1)
    # Class c - 1 stays empty: it still counts as a wrong class.
    return x, t, torch.randint(0, c - 1, (n,), generator=generator)


def test_against_the_definition():
    x, t, y = data()
    result = iimm(x, t, y)
    intra, inter = by_definition(x, t, y)
    assert result.intra == pytest.approx(intra, abs=1e-12)
    assert result.inter == pytest.approx(inter, abs=1e-12)
    assert result.score == pytest.approx((intra + inter) / 2, abs=1e-12)
    assert result.n == 40


def test_by_hand():
    x = torch.tensor([[1.0, 0], [0, 1], [1, 0]])
    t = torch.tensor([[1.0, 0], [0, 1]])
    result = iimm(x, t, torch.tensor([0, 1, 1]))
    assert result.intra == pytest.approx(1 / 3)
    assert result.inter == pytest.approx(1 / 3)


def test_streaming_and_merging_give_the_same():
    x, t, y = data()
    whole = iimm(x, t, y)
    streamed = IIMMAccumulator()
    for start in range(0, 40, 9):
        streamed.update(x[start : start + 9], y[start : start + 9])
    assert streamed.result(t) == pytest.approx(whole, abs=1e-12)
    # The first part has not seen the higher labels.
    low, high = y < 3, y >= 3
    merged = IIMMAccumulator().update(x[low], y[low]).merge(IIMMAccumulator().update(x[high], y[high]))
    assert merged.result(t) == pytest.approx(whole, abs=1e-12)
    assert IIMMAccumulator().merge(streamed).merge(IIMMAccumulator()).result(t) == pytest.approx(whole, abs=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_sums_on_a_gpu_equal_those_on_the_processor():
    x, t = (torch.nn.functional.normalize(torch.randn(n, 6), dim=1) for n in (50, 4))
    y = torch.arange(50) % 4
    there = IIMMAccumulator("cuda").update(x[:20].cuda(), y[:20].cuda()).merge(IIMMAccumulator().update(x[20:], y[20:]))
    assert there.result(t) == pytest.approx(iimm(x, t, y), abs=1e-12)


def test_half_precision_is_accumulated_in_double():
    x, t, y = data(n=200)
    half = iimm(x.half(), t.half(), y)
    assert half.score == pytest.approx(iimm(x.half().double(), t.half().double(), y).score, abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t, y: (x[:1], t, y[:1]), "2 images"),
        (lambda x, t, y: (x, t[:1], y * 0), "2 classes"),
        (lambda x, t, y: (x, t[:3], y), "class texts"),
        (lambda x, t, y: (x, t, y - 1), "negative label"),
        (lambda x, t, y: (x * float("nan"), t, y), "NaN"),
        (lambda x, t, y: (x, t * float("inf"), y), "NaN or infinity"),
        (lambda x, t, y: (x, t, y[:3]), "labels"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        iimm(*change(*data()))
