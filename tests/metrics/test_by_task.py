"""Terms of each task in the summary numbers: their weighted sums equal the numbers of metrics.matrix and of the harness."""

import numpy as np
import pytest

from metrics import by_task, matrix

R = np.array([[60, 40, 30], [50, 80, 20], [45, 70, 90]], dtype=float)


def test_by_hand():
    assert by_task.transfer(R)[0].tolist() == [0, 40, 25] and by_task.transfer(R).weights.tolist() == [0, 0.5, 0.5]
    assert by_task.average(R).values.tolist() == pytest.approx([155 / 3, 190 / 3, 140 / 3])
    assert by_task.last(R).values.tolist() == [45, 70, 90]
    assert by_task.forgetting(R).values.tolist() == [15, 10, 0] and by_task.forgetting(R).weights.tolist() == [0.5, 0.5, 0]
    assert by_task.backward_transfer(R).values.tolist() == [-15, -10, 0]


@pytest.mark.parametrize("tasks", [2, 5])
def test_they_add_up_to_the_numbers_of_the_matrix(tasks):
    generator = np.random.default_rng(tasks)
    r, zero = generator.uniform(0, 100, (tasks, tasks)), generator.uniform(10, 90, tasks)
    held, held0 = generator.uniform(0, 100, (tasks, 3)), np.array([20.0, 0.0, 50.0])
    for ours, reference in (
        (by_task.transfer, matrix.transfer),
        (by_task.average, matrix.average),
        (by_task.last, matrix.last),
        (by_task.forgetting, matrix.forgetting),
        (by_task.backward_transfer, matrix.backward_transfer),
    ):
        assert ours(r).mean == pytest.approx(reference(r)) and ours(r).weights.sum() == pytest.approx(1)
    for zeros in (zero, np.where(np.arange(tasks) == 1, 0, zero)):
        result = by_task.retention(r, zeros, held, held0)
        assert result.mean == pytest.approx(matrix.retention(r, zeros, held, held0).summary)
        assert result.weights.sum() == pytest.approx(1) and result.weights[0] == result.weights[tasks + 1] == 0
        alone = by_task.retention(r, zeros, np.zeros((tasks, 0)), [])
        assert alone.mean == pytest.approx(matrix.retention(r, zeros).summary, nan_ok=True)


def test_retention_by_hand():
    """Row 1: task 2 keeps 50 % and the held-out domain 80 %. Row 2: only the held-out domain counts, with 60 %."""
    result = by_task.retention([[0, 20], [0, 0]], [30, 40], [[40], [30]], [50])
    assert result.weights.tolist() == [0, 0.25, 0.75]
    assert result.values.tolist() == pytest.approx([0, 50, (80 * 0.25 + 60 * 0.5) / 0.75])
    assert result.mean == pytest.approx((65 + 60) / 2)


def test_class_incremental_numbers_are_over_images():
    images = [10, 30, 60]
    correct = R / 100 * images
    seen = [100 * correct[j, : j + 1].sum() / sum(images[: j + 1]) for j in range(3)]
    assert by_task.seen_average(R, images).mean == pytest.approx(np.mean(seen))
    assert by_task.seen_last(R, images).mean == pytest.approx(seen[-1])
    assert by_task.seen_average(R, images).weights.sum() == pytest.approx(1)


def test_one_task_has_no_transfer():
    for undefined in (by_task.transfer, by_task.forgetting, by_task.backward_transfer):
        assert np.isnan(undefined([[50]]).mean)
    assert by_task.last([[50]]).mean == 50
    assert np.isnan(by_task.retention([[50]], [40], np.zeros((1, 0)), []).mean)
