"""A bank of expert MLPs parallel to a block's MLP, and the routers that weight them (MoE-Adapters)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from models.added import OfTask
from models.encoder import DualEncoder
from models.gates import most_chosen, noisy_scores, top_gates
from models.route import current_route
from models.scaled import Share


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


def mixture(x: Tensor, gates: Tensor, experts: Iterable[nn.Module]) -> Tensor:
    """Return sum_e gates[:, e] * expert_e(x). An expert passes only the rows that chose it, and gets no gradient without rows.

    Args:
        x: tokens [B, L, d].
        gates: weights of the experts [B, E].
        experts: E modules from [n, L, d] to [n, L, d].

    Returns:
        The weighted sum [B, L, d], of x's type. Under autocast, experts and gates may have others.
    """
    total = torch.zeros_like(x)
    for index, expert in enumerate(experts):
        rows = gates[:, index].nonzero().squeeze(1)
        if len(rows):
            total = total.index_add(0, rows, (gates[rows, index, None, None] * expert(x[rows])).to(total.dtype))
    return total


class ExpertBank(OfTask):
    """Experts parallel to a block's MLP, weighted by the router of the route's task (`models.places.beside_mlp`).

    The experts belong to all tasks. A router belongs to a task and is found by name. It reads the state of the first token.
    Under a route without a task (`models.scaled.Share`) the bank adds nothing.

    Args:
        encoder: the encoder.
        name: the name of the tasks' routers.
        experts: the experts.
        scale: factor of the weighted sum.

    Attributes:
        counts: how often training chose each expert since `start_counts`.
        frozen: 1 for each expert that no longer trains.
        gates: the weights of the passes since it was set to an empty list; None: they are not kept.
    """

    counts: Tensor
    frozen: Tensor

    def __init__(self, encoder: DualEncoder, name: str, experts: Sequence[nn.Module], scale: float):
        super().__init__(encoder, name)
        self.experts, self.scale = nn.ModuleList(experts), scale
        self.register_buffer("counts", torch.zeros(len(self.experts)))
        self.register_buffer("frozen", torch.zeros(len(self.experts)))
        self.gates: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor | None:
        """Return the scaled mixture [B, L, d] for states [B, L, d]."""
        route = current_route()
        gates = self._gates(x[:, 0], route.task) if isinstance(route, Share) else None
        if gates is None:
            return None
        if self.training and torch.is_grad_enabled():
            self.counts += (gates.detach() > 0).sum(dim=0)
            if self.gates is not None:
                self.gates.append(gates)
        return self.scale * mixture(x, gates, self.experts)

    def freeze(self) -> None:
        """Let only the experts train that are not frozen."""
        for frozen, expert in zip(self.frozen.tolist(), self.experts, strict=True):
            expert.requires_grad_(not frozen)

    def start_counts(self) -> None:
        """Set the counts to zero."""
        self.counts.zero_()

    def end_task(self, count: int) -> None:
        """Freeze the experts that were chosen most often since `start_counts`."""
        self.frozen[most_chosen(self.counts, count)] = 1
        self.freeze()

    def _gates(self, state: Tensor, task: int | Tensor) -> Tensor | None:
        """Return weights [B, E] for the first tokens [B, d], or None for a task without a router."""
        if isinstance(task, int):
            router = self._module(task)
            return None if router is None else router(state)
        gates = state.new_zeros(len(state), len(self.experts))
        for number in torch.unique(task).tolist():
            if (router := self._module(number)) is not None:
                rows = (task == number).nonzero().squeeze(1)
                gates = gates.index_copy(0, rows, router(state[rows]))
        return gates
