"""Which parameters train.

`apply` freezes with `requires_grad`, never by leaving parameters out of the optimiser: Avalanche puts those back in.
"""

from __future__ import annotations

from torch import nn

from models import TUNINGS
from models.encoder import DualEncoder
from models.registry import unknown


def apply(encoder: DualEncoder, name: str = "full", *, logit_scale: bool = False) -> list[nn.Parameter]:
    """Set `requires_grad` on every parameter of the encoder and return the trainable ones, in the model's order.

    Args:
        name: one of `models.TUNINGS`.
        logit_scale: train the logit scale (and bias) too, as IIMM's full fine-tuning does; MTIL's does not.

    Raises:
        UserError: unknown name.
    """
    if name not in TUNINGS:
        raise unknown("tuning", name, TUNINGS)
    for parameter_name, parameter in encoder.clip.named_parameters():
        if parameter_name in ("logit_scale", "logit_bias"):
            parameter.requires_grad_(logit_scale)
        else:
            visual = parameter_name.startswith("visual.")
            parameter.requires_grad_(name == "full" or visual == (name == "visual"))
    return [p for p in encoder.parameters() if p.requires_grad]


def trains_text(encoder: DualEncoder) -> bool:
    """Whether any parameter of the text tower is trainable."""
    return any(
        p.requires_grad
        for n, p in encoder.clip.named_parameters()
        if not n.startswith("visual.") and n not in ("logit_scale", "logit_bias")
    )
