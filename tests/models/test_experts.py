"""Experts and routers on toy tensors."""

import pytest
import torch
from torch import nn

from models.experts import Expert, Router, mixture


class Times(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, x):
        return self.factor * x


def test_a_new_expert_adds_nothing_and_can_learn():
    expert, x = Expert(6, 3, 0.1), torch.randn(2, 5, 6)
    assert not expert(x).any()
    expert(x).sum().backward()
    assert expert.up.weight.grad.any()


def test_a_mixture_is_the_weighted_sum():
    experts, x = [Times(1.0), Times(10.0), Times(100.0)], torch.tensor([[[1.0]], [[2.0]]])
    gates = torch.tensor([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
    total = mixture(x, gates, experts)
    assert total.flatten().tolist() == [7.75, 2.0]
    total.sum().backward()
    assert experts[0].factor.grad.item() == 0.25 + 2
    # An optimiser leaves a tensor without gradient as it is. A gradient of zero would let its momentum move it.
    assert experts[2].factor.grad is None


def test_each_image_has_its_experts():
    """The mixture of a batch is that of its images one at a time."""
    torch.manual_seed(0)
    experts, router = [Expert(4, 3, 0.0) for _ in range(5)], Router(4, 5).eval()
    for expert in experts:
        nn.init.normal_(expert.up.weight)
    nn.init.normal_(router.scores)
    x = torch.randn(6, 3, 4)
    whole = mixture(x, router(x[:, 0]), experts)
    single = torch.cat([mixture(row[None], router(row[None, 0]), experts) for row in x])
    assert torch.allclose(whole, single, atol=1e-6)
    assert len({tuple(gates.nonzero().flatten().tolist()) for gates in router(x[:, 0])}) > 1


def test_a_new_router_chooses_at_random_in_training_only():
    router, state = Router(4, 6), torch.randn(300, 4)
    gates = router(state)
    assert ((gates > 0).sum(dim=1) == 2).all() and gates.sum(dim=1).tolist() == pytest.approx([1] * 300)
    # Each of 6 experts is expected 100 times.
    assert (gates > 0).sum(dim=0).min() > 50
    assert len(torch.unique(router.eval()(state), dim=0)) == 1
