"""The choice of a task for an image: by hand on toy data, and against torch's distributions."""

import math

import pytest
import torch

from strategies.auto_encoders import AutoEncoder, auto_encoder, reconstruction_errors
from strategies.task_choice import density_scale, gaussian, held_out_scores, k_means, log_densities, majority, nearest_task


def test_a_gaussian_has_the_mean_and_covariance_of_the_rows():
    """Four corners of a rectangle of 2 x 4: variances 1 and 4, no covariance."""
    mean, factor = gaussian(torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]]), ridge=0.0)
    assert mean.tolist() == [1.0, 2.0]
    assert factor.tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_the_densities_are_those_of_torchs_multivariate_normal():
    features = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tasks = [gaussian(rows, ridge=0.1) for rows in features]
    points = torch.randn(5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = [
        torch.distributions.MultivariateNormal(
            rows.mean(dim=0), torch.cov(rows.T, correction=0) + 0.1 * torch.eye(4, dtype=torch.float64)
        ).log_prob(points)
        for rows in features
    ]
    assert torch.allclose(log_densities(points, tasks), torch.stack(expected, dim=1), atol=1e-10)


def test_the_task_of_the_largest_density_is_not_that_of_the_nearest_mean():
    """Task 0 is narrow around 0 and task 1 wide around 10: at 4, five deviations from task 0, task 1 is likelier."""
    narrow, wide = torch.tensor([[-0.8], [0.8]]), torch.tensor([[2.0], [18.0]])
    densities = log_densities(torch.tensor([[0.5], [4.0]]), [gaussian(narrow, 0.0), gaussian(wide, 0.0)])
    assert densities.argmax(dim=1).tolist() == [0, 1]
    assert densities[1].tolist() == pytest.approx(
        [-25 / 2 - math.log(0.8) - math.log(2 * math.pi) / 2, -9 / 32 - math.log(8) - math.log(2 * math.pi) / 2]
    )


def test_one_image_makes_a_gaussian_and_none_does_not():
    mean, factor = gaussian(torch.tensor([[1.0, 2.0]]))
    assert mean.tolist() == [1.0, 2.0]
    assert torch.allclose(factor, torch.eye(2, dtype=torch.float64) * 1e-7**0.5)
    with pytest.raises(ValueError, match="at least one image"):
        gaussian(torch.zeros(0, 2))


def test_the_scale_of_a_density():
    """sigmoid(0) = 1/2 at a log-density of d, and nearly nothing far away."""
    assert density_scale(torch.tensor([512.0, 512.0 * (1 + math.log(3)), -1e6]), 512).tolist() == pytest.approx([0.5, 0.75, 0])


def test_the_majority_of_a_batch():
    assert majority(torch.tensor([2, 0, 2, 1])).tolist() == [2, 2, 2, 2]
    assert majority(torch.tensor([1, 0])).tolist() == [0, 0]


def test_k_means_finds_separate_groups():
    rows = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0], [10.0, 4.0]])
    assert sorted(k_means(rows, 2, seed=0).tolist()) == [[0.0, 1.0], [10.0, 2.0]]
    assert torch.equal(k_means(rows, 2, seed=0), k_means(rows, 2, seed=0))


def test_k_means_has_no_more_centres_than_different_rows():
    assert k_means(torch.tensor([[1.0], [1.0], [3.0]]), 5, seed=0).sort(dim=0).values.tolist() == [[1.0], [3.0]]
    with pytest.raises(ValueError, match="at least one image"):
        k_means(torch.zeros(0, 2), 5, seed=0)


def test_the_nearest_centre_gives_the_task():
    tasks = [torch.tensor([[0.0, 0.0], [9.0, 9.0]]), torch.tensor([[5.0, 5.0]])]
    assert nearest_task(torch.tensor([[1.0, 1.0], [5.0, 6.0], [8.0, 8.0]]), tasks).tolist() == [0, 1, 0]


def test_the_error_of_an_auto_encoder_by_hand():
    """Both inputs are sigmoid(0) = 1/2. Kept: the first input. Lost: the second, so the error is 1/4 of 2 inputs."""
    keeps_first = AutoEncoder(torch.tensor([[1.0, 0.0]]), torch.zeros(1), torch.tensor([[1.0], [0.0]]), torch.zeros(2))
    keeps_mean = keeps_first._replace(up_bias=torch.tensor([0.0, 0.5]))
    assert reconstruction_errors(torch.zeros(1, 2), [keeps_first, keeps_mean]).tolist() == [[0.125, 0.0]]


def test_an_auto_encoder_knows_the_features_that_it_was_trained_on():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(1, 6, generator=generator) + 0.1 * torch.randn(20, 6, generator=generator) for _ in range(2))
    state = torch.get_rng_state()
    tasks = [auto_encoder(rows, code=2, seed=0, updates=100, lr=1e-2) for rows in (one, other)]
    assert torch.equal(state, torch.get_rng_state())
    assert reconstruction_errors(one, tasks).argmin(dim=1).tolist() == [0] * 20
    assert reconstruction_errors(other, tasks).argmin(dim=1).tolist() == [1] * 20
    with pytest.raises(ValueError, match="at least one image"):
        auto_encoder(one[:0], code=2, seed=0)


def test_an_image_is_scored_by_the_others_of_its_task():
    rows = torch.tensor([[1.0], [2.0], [4.0], [8.0], [16.0]])
    # Two parts: rows 0, 2, 4 and rows 1, 3. The score is the distance to the mean of the other part: 5, or 7.
    scores = held_out_scores(rows, lambda x: x.mean(), lambda x, mean: (x - mean).abs()[:, 0], folds=2)
    assert scores.tolist() == [4.0, 5.0, 1.0, 1.0, 11.0]
    assert held_out_scores(rows[:1], lambda x: x.mean(), lambda x, mean: (x - mean)[:, 0]).tolist() == [0.0]


def test_a_limit_from_few_images_is_reached_by_new_ones_of_the_task():
    generator = torch.Generator().manual_seed(0)
    draw = lambda n: torch.randn(n, 32, generator=generator) / 32**0.5  # noqa: E731
    train, new = draw(60), draw(400)
    fitted = gaussian(train)
    score = lambda x, one: log_densities(x, [one])[:, 0]  # noqa: E731
    reached = lambda limit: float((score(new, fitted) >= limit).double().mean())  # noqa: E731
    assert reached(torch.quantile(held_out_scores(train, gaussian, score), 0.05)) > 0.9
    assert reached(torch.quantile(score(train, fitted), 0.05)) < 0.2
