"""Sums by class: streaming, merging, subtraction, and refused inputs."""

import pytest
import torch

from metrics import sums
from metrics.iimm import iimm
from metrics.sums import ClassSums, class_texts


def data(n=30, d=4, classes=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=generator), torch.randint(0, classes, (n,), generator=generator)


def same(a, b):
    assert a.n == b.n
    torch.testing.assert_close(a.counts, b.counts)
    torch.testing.assert_close(a.sums, b.sums, rtol=0, atol=1e-12)
    torch.testing.assert_close(a.squares, b.squares, rtol=0, atol=1e-12)


def test_by_hand():
    seen = ClassSums().update(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([2, 0, 2]))
    assert seen.n == 3 and seen.counts.tolist() == [1, 0, 2] and float(seen.squares) == 91
    assert seen.sums.tolist() == [[3, 4], [0, 0], [6, 8]] and seen.sums.dtype == torch.float64


def test_chunks_batches_and_merging_give_the_same(monkeypatch):
    x, y = data()
    whole = ClassSums().update(x, y)
    batches = ClassSums().update(x[:0], y[:0]).update(x[:7], y[:7]).update(x[7:], y[7:])
    merged = ClassSums().merge(ClassSums().update(x[:9], y[:9])).merge(ClassSums()).merge(ClassSums().update(x[9:], y[9:]))
    monkeypatch.setattr(sums, "CHUNK", 4)
    for other in (batches, merged, ClassSums().update(x, y)):
        same(whole, other)


def test_without_is_the_rest_and_changes_nothing_else():
    x, y = data()
    whole, part = ClassSums().update(x, y), ClassSums().update(x[:9], y[:9])
    rest = whole.without(part)
    assert rest.n == 21 and whole.n == 30
    torch.testing.assert_close(rest.counts, torch.bincount(y[9:], minlength=5))
    torch.testing.assert_close(rest.sums, ClassSums().update(x[9:], y[9:]).sums, rtol=0, atol=1e-12)
    same(rest.merge(part), whole)


def test_a_refused_batch_leaves_no_trace():
    x, y = data()
    seen = ClassSums().update(x, y)
    before = ClassSums().merge(seen)
    bad = x.clone()
    bad[-1, 0] = float("nan")
    with pytest.raises(ValueError, match="NaN"):
        seen.update(bad, y)
    with pytest.raises(ValueError, match="must have width 4, as before, got 3"):
        seen.update(x[:, :3], y)
    same(seen, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[0], y), "expected features"),
        (lambda x, y: (x, y[:3]), "expected features"),
        (lambda x, y: (x, y - 1), "negative label -1"),
        (lambda x, y: (x, y.float()), "integers"),
        (lambda x, y: (x / 0, y), "infinity"),
        (lambda x, y: (torch.cat([x[1:], x[:1] * 0]), y), "row of zeros"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        ClassSums().update(*change(*data()))


def test_texts_that_do_not_fit():
    seen = ClassSums().update(*data())
    with pytest.raises(ValueError, match="label 4 has no text: there are only 4 class texts"):
        class_texts(torch.ones(4, 4), seen)
    with pytest.raises(ValueError, match="width 4 and text features 3"):
        class_texts(torch.ones(5, 3), seen)
    with pytest.raises(ValueError, match="text features contain a row of zeros"):
        class_texts(torch.zeros(5, 4), seen)
    with pytest.raises(ValueError, match=r"\[C, d\]"):
        class_texts(torch.ones(4), seen)


def test_iimm_refuses_rows_of_zeros():
    x, y = data()
    with pytest.raises(ValueError, match="row of zeros"):
        iimm(torch.zeros_like(x), torch.ones(5, 4), y)
