"""Weights of experts and how evenly they are used, by hand."""

import math

import pytest
import torch

from models.gates import imbalance, most_chosen, noisy_scores, top_gates
from models.prefixes import prefix_attention


def test_the_two_largest_scores_share_the_weight():
    gates = top_gates(torch.tensor([[0.0, math.log(3), -5.0, 0.0]]) + torch.tensor([0.0, 0.0, 0.0, -1e-3]), 2)
    assert gates[0].tolist() == pytest.approx([0.25, 0.75, 0, 0])
    assert top_gates(torch.zeros(1, 1), 2).tolist() == [[1.0]]


def test_only_chosen_experts_have_a_gradient():
    scores = torch.tensor([[1.0, 3.0, 2.0]], requires_grad=True)
    top_gates(scores, 2)[0, 1].backward()
    # The derivative of a sigmoid at the difference 1.
    slope = math.e / (1 + math.e) ** 2
    assert scores.grad[0].tolist() == pytest.approx([0, slope, -slope])


def test_the_noise_has_the_learned_spread():
    scores = noisy_scores(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, -50.0]]), torch.tensor([[2.0, -1.0]]))
    assert scores[0].tolist() == pytest.approx([1 + 2 * (math.log(2) + 0.01), 1 - 0.01])


def test_imbalance_by_hand():
    """Importance (2, 0): variance 2, mean 1. Load (2, 0): the same. Equal use is balanced."""
    assert imbalance(torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item() == pytest.approx(4)
    assert imbalance(torch.tensor([[0.5, 0.5], [0.5, 0.5]])).item() == 0
    assert imbalance(torch.ones(3, 1)).item() == 0


def test_the_most_chosen_experts():
    assert most_chosen(torch.tensor([1, 7, 7, 9]), 2) == [1, 3]
    assert most_chosen(torch.tensor([4]), 2) == [0]


def test_prefixes_attend_with_a_separate_softmax():
    """Keys 0 and 2 ln 3 for a query of 1 in one head of width 4: weights 1/4 and 3/4."""
    query = torch.zeros(1, 1, 1, 4)
    query[..., 0] = 1
    keys, values = torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)
    keys[0, 1, 0], values[0, 0, 0], values[0, 1, 1] = 2 * math.log(3), 4.0, 4.0
    assert prefix_attention(query, keys, values).flatten().tolist() == pytest.approx([1, 3, 0, 0])


def test_values_of_zero_add_nothing():
    query, keys = torch.randn(2, 3, 5, 4), torch.rand(3, 8, 4)
    assert not prefix_attention(query, keys, torch.zeros(3, 8, 4)).any()
