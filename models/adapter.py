"""CLIP-Adapter: a small MLP on the embedding of a frozen tower."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Adapter(nn.Module):
    """raw -> ratio * MLP(raw) + (1 - ratio) * raw, the MLP being Linear-ReLU-Linear-ReLU without biases.

    CLIP-Adapter (Gao et al. 2021, 2110.04544), with an adapter on the image and on the text embedding as in IIMM's code
    (mit-ll/IIMM), where the mixture is 0.2 new and 0.8 old. `raw` [B, width] is not normalised yet; the encoder does that
    afterwards. 2 width (width // reduction) parameters: 131,072 at width 512 and reduction 4.

    A new MLP is random, so that the model with it is not the model that was loaded. For the initial model to stay the initial
    model (the zero-shot row, a teacher, the start of an interpolation), the ratio in use is 0 until the first pass that records
    gradients for the adapter. It is a floating buffer, so that it is saved, loaded and interpolated with the weights: the way
    from the initial to the trained model starts exactly at the one and ends exactly at the other (our choice). Later tasks go
    on with the ratio that an interpolation left; sums of several vectors are cut to the option's ratio.
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
        """Before a pass: set the ratio if it is still 0 and this pass may train the adapter; whether it may.

        A pass with layers in evaluation mode (a plugin's importances) trains nothing.
        """
        trains = self.training and torch.is_grad_enabled() and any(p.requires_grad for p in self.parameters())
        if trains:
            # A new tensor, without asking the device whether it is 0: an earlier pass may need the old one for its gradient.
            self.ratio = torch.where(self.ratio == 0, torch.full_like(self.ratio, self.target), self.ratio)
        return trains

    def forward(self, raw: Tensor) -> Tensor:
        # A sum of several tasks' changes would sum their shares too.
        ratio = self.ratio.clamp(0, self.target)
        return ratio * self.mlp(raw) + (1 - ratio) * raw
