"""Small image towers for timm: those of SigLIP and EVA-02 for 48 x 48 pixels, four blocks deep and 128 wide.

open_clip takes these towers from timm by name, and its configurations have no place for their sizes. Importing this module adds
two names to timm's registry. Every other setting is timm's for the tower of `ViT-B-16-SigLIP` and `EVA02-B-16`. Sizes: our
choice, those of `models/tiny`.

Example:
    >>> import models.loading.small_towers
    >>> model = open_clip.create_model("local-dir:models/tiny-eva02")
"""

from __future__ import annotations

from typing import Any

from timm.models import eva, register_model, vision_transformer
from torch import nn

SIZES: dict[str, Any] = {"img_size": 48, "patch_size": 8, "embed_dim": 128, "depth": 4, "num_heads": 4}


@register_model
def perennial_siglip_patch8_48(**options: Any) -> nn.Module:
    """Return SigLIP's image tower: a vision transformer without class token, with attention pooling.

    Args:
        options: options of timm's `create_model`.
    """
    tower: nn.Module = vision_transformer.vit_base_patch16_siglip_224(**{**SIZES, **options})
    return tower


@register_model
def perennial_eva02_patch8_48(**options: Any) -> nn.Module:
    """Return EVA-02's image tower: rotary position embedding, SwiGLU, norms inside attention and MLP, class token.

    The reference grid of the rotary embedding is the tower's own grid of 6 x 6 patches. The head starts at the usual size. timm
    starts it at a thousandth, for fine-tuning.

    Args:
        options: options of timm's `create_model`.
    """
    settings = {**SIZES, "ref_feat_shape": (6, 6), "head_init_scale": 1.0, **options}
    tower: nn.Module = eva.eva02_base_patch16_clip_224(**settings)
    return tower
