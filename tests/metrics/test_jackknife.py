"""The jackknife of IIMM against leaving out images one by one, and its coverage on draws from a known population."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from metrics import sums
from metrics.iimm import IIMMAccumulator, iimm
from metrics.jackknife import group_jackknife, jackknife


def data(n=40, c=5, d=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    t = F.normalize(torch.randn(c, d, generator=generator, dtype=torch.float64), dim=1)
    y = torch.randint(0, c - 1, (n,), generator=generator)
    x = F.normalize(torch.randn(n, d, generator=generator, dtype=torch.float64) + 0.5 + t[y], dim=1)
    return x, t, y


def test_against_leaving_out_one_by_one(monkeypatch):
    monkeypatch.setattr(sums, "CHUNK", 7)
    x, t, y = data()
    result = jackknife(x, t, y)
    left_out = np.array([iimm(x[keep], t, y[keep])[:3] for keep in ~torch.eye(40, dtype=torch.bool)])
    errors = np.sqrt(39 / 40 * ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0))
    for part, value, error in zip(result[:3], iimm(x, t, y)[:3], errors, strict=True):
        assert part.value == pytest.approx(value, abs=1e-14)
        assert part.standard_error == pytest.approx(error, rel=1e-9)
        assert part.high - part.value == pytest.approx(stats.t.ppf(0.975, 39) * error, rel=1e-9)
        assert part.value - part.low == pytest.approx(part.high - part.value)
    assert result.n == 40
    assert jackknife(x, t, y, level=0.5).score.high < result.score.high


def test_groups_of_one_are_the_exact_jackknife():
    x, t, y = data()
    parts = [IIMMAccumulator().update(x[i : i + 1], y[i : i + 1]) for i in range(40)]
    exact, grouped = jackknife(x, t, y), group_jackknife([*parts, IIMMAccumulator()], t)
    for a, b in zip(exact[:3], grouped[:3], strict=True):
        assert b == pytest.approx(a, rel=1e-9)


def test_unequal_groups_follow_the_weighted_formula():
    x, t, y = data()
    bounds = [(0, 5), (5, 16), (16, 24), (24, 40)]
    parts = [IIMMAccumulator().update(x[a:b], y[a:b]) for a, b in bounds]
    whole = iimm(x, t, y).score
    rest = [iimm(torch.cat([x[:a], x[b:]]), t, torch.cat([y[:a], y[b:]])).score for a, b in bounds]
    sizes = [b - a for a, b in bounds]
    centre = 4 * whole - sum((1 - n / 40) * r for n, r in zip(sizes, rest, strict=True))
    terms = [(40 / n * whole - (40 / n - 1) * r - centre) ** 2 / (40 / n - 1) for n, r in zip(sizes, rest, strict=True)]
    assert group_jackknife(parts, t).score.standard_error == pytest.approx((sum(terms) / 4) ** 0.5, rel=1e-9)


@pytest.mark.slow
def test_coverage():
    """Samples with replacement from 500 images, whose expected IIMM is known exactly: 95 % intervals contain it."""
    x, t, y = data(n=500)
    mean = x.mean(dim=0)
    inter = float(((x @ t.T).sum(dim=1) - (x * t[y]).sum(dim=1)).mean() / 4)
    truth = ((float(mean @ mean) + inter) / 2, float(mean @ mean), inter)
    generator = torch.Generator().manual_seed(1)
    exact, grouped = np.zeros(3), np.zeros(3)
    for _ in range(200):
        chosen = torch.randint(0, 500, (80,), generator=generator)
        a, b = x[chosen], y[chosen]
        parts = [IIMMAccumulator().update(a[i : i + 4], b[i : i + 4]) for i in range(0, 80, 4)]
        for hits, result in ((exact, jackknife(a, t, b)), (grouped, group_jackknife(parts, t))):
            hits += [part.low <= value <= part.high for part, value in zip(result[:3], truth, strict=True)]
    assert (exact >= 180).all() and (grouped >= 180).all()
    assert (exact < 200).any()


def test_errors():
    x, t, y = data()
    with pytest.raises(ValueError, match="at least 3 images, got 2"):
        jackknife(x[:2], t, y[:2])
    with pytest.raises(ValueError, match="level"):
        jackknife(x, t, y, level=95)
    with pytest.raises(ValueError, match="NaN"):
        jackknife(x * float("nan"), t, y)
    part = IIMMAccumulator().update(x, y)
    with pytest.raises(ValueError, match="at least 2 groups with images, got 1"):
        group_jackknife([part, IIMMAccumulator()], t)
    with pytest.raises(ValueError, match="at least 2 images, got 1"):
        group_jackknife([part, IIMMAccumulator().update(x[:1], y[:1])], t)
