"""A bank of expert MLPs parallel to a block's MLP, and the routers that weight them (MoE-Adapters)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.gates import noisy_scores, top_gates


class Expert(nn.Module):
    """A bottleneck up(dropout(relu(down x))) on tokens [..., width]. `up` starts at zero, so a new expert adds nothing.

    Args:
        width: width of the tower.
        hidden: width of the bottleneck.
        dropout: share of the hidden values that training drops.
    """

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.Linear(hidden, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the expert's output [..., width]."""
        output: Tensor = self.up(self.dropout(torch.relu(self.down(x))))
        return output


class Router(nn.Module):
    """The weights of the experts for an input: a softmax over its two largest scores, with noise in training.

    Both matrices start at zero, so before training the choice is random in training mode and the first experts' otherwise.

    Args:
        width: width of the tower.
        experts: number of experts.
        chosen: experts per input.
    """

    def __init__(self, width: int, experts: int, chosen: int = 2):
        super().__init__()
        self.chosen = chosen
        self.scores = nn.Parameter(torch.zeros(width, experts))
        self.spread = nn.Parameter(torch.zeros(width, experts))

    def forward(self, state: Tensor) -> Tensor:
        """Return the weights [B, experts] for states of the first token [B, width]."""
        scores = state @ self.scores
        if self.training:
            scores = noisy_scores(scores, state @ self.spread, torch.randn_like(scores))
        return top_gates(scores, self.chosen)


def mixture(x: Tensor, gates: Tensor, experts: Sequence[nn.Module]) -> Tensor:
    """Return sum_e gates[:, e] * expert_e(x). An expert passes only the rows that chose it, and gets no gradient without rows.

    Args:
        x: tokens [B, L, d].
        gates: weights of the experts [B, E].
        experts: E modules from [n, L, d] to [n, L, d].

    Returns:
        The weighted sum [B, L, d].
    """
    total = torch.zeros_like(x)
    for index, expert in enumerate(experts):
        rows = gates[:, index].nonzero().squeeze(1)
        if len(rows):
            total = total.index_add(0, rows, gates[rows, index, None, None] * expert(x[rows]))
    return total
