"""The cross-validated linear probe."""

import numpy as np
import pytest
from scipy import optimize
from scipy.special import logsumexp
from sklearn.model_selection import StratifiedKFold

from metrics.linear_probe import linear_probe


def data(n=63, d=4, k=3, spread=0.6):
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    x = rng.normal(size=(k, d))[y] + spread * rng.normal(size=(n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def predicted(x, y, held_out):
    """Multinomial logistic regression with ridge penalty |W|^2 / 2 and free intercepts, by a general optimiser."""
    k, d = y.max() + 1, x.shape[1]

    def loss(parameters):
        w, b = parameters[: k * d].reshape(k, d), parameters[k * d :]
        scores = x @ w.T + b
        return (logsumexp(scores, axis=1) - scores[np.arange(len(y)), y]).sum() + (w**2).sum() / 2

    best = optimize.minimize(loss, np.zeros(k * d + k), options={"gtol": 1e-6}).x
    return (held_out @ best[: k * d].reshape(k, d).T + best[k * d :]).argmax(axis=1)


@pytest.mark.slow
def test_against_a_general_optimiser():
    x, y = data()
    # Each coordinate has mean square 1.
    scaled = 2 * x
    folds = [
        (predicted(scaled[a], y[a], scaled[b]) == y[b]) for a, b in StratifiedKFold(5, shuffle=True, random_state=3).split(x, y)
    ]
    result = linear_probe(x, y, seed=3)
    assert result.folds == pytest.approx([100 * f.mean() for f in folds])
    assert result.accuracy == pytest.approx(100 * np.concatenate(folds).mean())
    assert result.n == 63 and 40 < result.accuracy < 100


def test_separated_classes_and_noise():
    x, y = data(spread=0.01)
    assert linear_probe(x, 5 * y).accuracy == 100
    assert linear_probe(x, np.random.default_rng(1).permutation(y)).accuracy < 60
    overlapping = data()
    assert (linear_probe(*overlapping, seed=1).folds == linear_probe(*overlapping, seed=1).folds).all()
    assert (linear_probe(*overlapping, seed=1).folds != linear_probe(*overlapping, seed=2).folds).any()


def test_small_classes():
    x, y = data(12)
    y[y == 2] = 1
    y[:2] = 2
    assert len(linear_probe(x, y).folds) == 2
    y[0] = 1
    with pytest.raises(ValueError, match="2 images of each class"):
        linear_probe(x, y)
    for bad in ((x, y * 0, "got 1"), (x * np.nan, y, "NaN")):
        with pytest.raises(ValueError, match=bad[2]):
            linear_probe(*bad[:2])
    with pytest.raises(ValueError, match="at least 2 folds"):
        linear_probe(*data(), folds=1)
