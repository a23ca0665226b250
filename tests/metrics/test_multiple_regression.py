"""Fits over several predictors against numpy and scipy, the line of one predictor, and refitting without a task."""

import numpy as np
import pytest
from scipy import stats

from metrics import regression
from metrics.multiple_regression import fit, leave_one_out, leave_one_out_all, partial, predict

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(12, 2)) * [1, 30] + [5, 100]
Y = 2 * X[:, 0] - 0.1 * X[:, 1] + GENERATOR.normal(size=12)


def test_two_predictors_equal_numpys_least_squares():
    z = np.column_stack([np.ones(12), X])
    expected, unexplained, *_ = np.linalg.lstsq(z, Y, rcond=None)
    fitted = fit(X, Y)
    assert fitted.coefficients == pytest.approx(expected) and fitted.df == 9
    assert fitted.residual**2 * 9 == pytest.approx(unexplained[0])
    assert fitted.errors == pytest.approx(np.sqrt(np.diag(np.linalg.inv(z.T @ z)) * unexplained[0] / 9))
    r2 = 1 - unexplained[0] / ((Y - Y.mean()) ** 2).sum()
    assert (fitted.r2, fitted.p) == pytest.approx((r2, stats.f.sf(r2 / 2 / ((1 - r2) / 9), 2, 9)))


def test_one_predictor_is_the_line():
    line, fitted = regression.fit(X[:, 0], Y), fit(X[:, :1], Y)
    assert fitted.coefficients == pytest.approx((line.intercept, line.slope)) and fitted.p == pytest.approx(line.p)
    assert predict(fitted, [4.2]) == pytest.approx(regression.predict(line, 4.2))
    assert leave_one_out(X[:, :1], Y) == pytest.approx(regression.leave_one_out(X[:, 0], Y))
    assert fitted.covers([X[0, 0]]) and not fitted.covers([99])
    alone = partial(X[:, 0], Y, np.empty((12, 0)))
    assert alone[:4] == pytest.approx((line.slope, line.low, line.high, line.p))
    assert alone.r == pytest.approx(np.corrcoef(X[:, 0], Y)[0, 1])


def test_no_predictor_is_the_mean():
    none = np.empty((12, 0))
    fitted = fit(none, Y)
    half = stats.t.ppf(0.975, 11) * Y.std(ddof=1) * (1 + 1 / 12) ** 0.5
    assert predict(fitted, []) == pytest.approx((Y.mean(), Y.mean() - half, Y.mean() + half))
    assert leave_one_out(none, Y) == pytest.approx(regression.left_out_of_mean(Y))
    assert fitted.r2 == 0 and np.isnan(fitted.p) and fitted.covers([])


def test_a_partial_correlation_is_that_of_the_residuals():
    z = np.column_stack([np.ones(12), X[:, 1]])
    rest = [values - z @ np.linalg.lstsq(z, values, rcond=None)[0] for values in (X[:, 0], Y)]
    result = partial(X[:, 0], Y, X[:, 1])
    assert result.r == pytest.approx(np.corrcoef(*rest)[0, 1]) and result.n == 12
    assert result.slope == pytest.approx(np.polyfit(*rest, 1)[0]) and result.low < result.slope < result.high
    t = result.r * (9 / (1 - result.r**2)) ** 0.5
    assert result.p == pytest.approx(2 * stats.t.sf(abs(t), 9))


def test_leave_one_out_by_refitting():
    errors = [Y[i] - predict(fit(np.delete(X, i, 0), np.delete(Y, i)), X[i]).value for i in range(12)]
    assert leave_one_out(X, Y) == pytest.approx(errors)
    both = leave_one_out_all(np.stack([X, X[:, ::-1]]), np.column_stack([Y, 3 * Y]))
    assert both.shape == (2, 12, 2)
    assert both[0, :, 0] == pytest.approx(errors) and both[1, :, 1] / 3 == pytest.approx(errors)


def test_undefined_fits():
    with pytest.raises(ValueError, match="same for all tasks"):
        fit(np.ones((12, 1)), Y)
    with pytest.raises(ValueError, match="linearly dependent"):
        fit(np.column_stack([X[:, 0], 2 * X[:, 0] + 1]), Y)
    with pytest.raises(ValueError, match="at least 4 tasks, got 3"):
        fit(X[:3], Y[:3])
    with pytest.raises(ValueError, match="NaN"):
        fit(X, np.where(Y > 0, np.nan, Y))
    with pytest.raises(ValueError, match="finite predictors"):
        predict(fit(X, Y), [1.0])
    with pytest.raises(ValueError, match="shapes"):
        fit(X[:, 0], Y)
    single = np.zeros((12, 1))
    single[3] = 1
    with pytest.raises(ValueError, match="without task 4"):
        leave_one_out(single, Y)
    assert np.isinf(leave_one_out_all(np.stack([np.ones((12, 2)), np.column_stack([Y, 3 * Y])]), Y[:, None])).all()
