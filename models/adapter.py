"""Adapters on the embedding of a frozen tower: CLIP-Adapter's small MLP, and a linear map."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """raw -> ratio * MLP(raw) + (1 - ratio) * raw, where the MLP is Linear-ReLU-Linear-ReLU without biases.

    CLIP-Adapter (Gao et al. 2021, 2110.04544), with an adapter on the image and on the text embedding as in IIMM's code
    (mit-ll/IIMM), where the mixture is 0.2 new and 0.8 old. `raw` [B, width] is not normalised yet; the encoder does that
    afterwards. It has 2 width (width // reduction) parameters: 131,072 at width 512 and reduction 4.

    A new MLP is random, so a model with it differs from the loaded model. The initial model must stay the initial model for
    the zero-shot row, a teacher and the start of an interpolation. The ratio in use is therefore 0 until the first pass that
    records gradients for the adapter. It is a floating-point buffer, so it is saved, loaded and interpolated with the
    weights, and the interpolation from the initial to the trained model starts and ends exactly at them (our choice). Later
    tasks continue with the ratio that an interpolation left. Sums of several vectors are clamped to the option's ratio.

    Args:
        width: width d of the embedding.
        reduction: the hidden width is width // reduction.
        ratio: share of the MLP in the result.
    """

    ratio: Tensor

    def __init__(self, width: int, reduction: int = 4, ratio: float = 0.2):
        super().__init__()
        hidden = width // reduction
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden, bias=False), nn.ReLU(), nn.Linear(hidden, width, bias=False), nn.ReLU()
        )
        self.target = ratio
        self.register_buffer("ratio", torch.zeros(()))

    def wake(self) -> bool:
        """Set the ratio before a pass if it is still 0 and this pass may train the adapter.

        A pass with layers in evaluation mode (a plugin's importances) does not train.

        Returns:
            Whether the pass may train the adapter.
        """
        trains = self.training and torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        if trains:
            # A new tensor, because an earlier pass may need the old one for its gradient. `where` avoids a synchronisation.
            self.ratio = torch.where(self.ratio == 0, torch.full_like(self.ratio, self.target), self.ratio)
        return trains

    def forward(self, raw: Tensor) -> Tensor:
        """Return the mixture of the MLP's output and the embedding [B, width]."""
        # A sum of several tasks' changes also sums their ratios.
        ratio = self.ratio.clamp(0, self.target)
        mixture: Tensor = ratio * self.mlp(raw) + (1 - ratio) * raw
        return mixture


class LinearAdapter(nn.Module):
    """raw -> W raw, without bias. W [width, width] starts as the identity, so the encoder is unchanged then.

    Args:
        width: width d of the embedding.
    """

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(width))

    def wake(self) -> bool:
        """Return that a first training pass changes nothing (see `Adapter.wake`)."""
        return False

    def forward(self, raw: Tensor) -> Tensor:
        """Return the mapped embedding [B, width]."""
        return raw @ self.weight.T
