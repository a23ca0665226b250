"""Small image towers for timm: those of SigLIP and EVA-02 for 48 x 48 pixels, four blocks deep and 128 wide.

open_clip takes these towers from timm by name, and its configurations have no place for their sizes. Importing this module adds
two names to timm's registry. Every other setting is timm's for the tower of `ViT-B-16-SigLIP` and `EVA02-B-16`. Sizes: our
choice, those of `models/tiny`. `siglip` adds towers of SigLIP of any other size, for models of transformers.

Example:
    >>> import models.loading.small_towers
    >>> model = open_clip.create_model("local-dir:models/tiny-eva02")
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from timm.models import eva, is_model, register_model, vision_transformer
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


class SigLIPTower(NamedTuple):
    """Sizes of a SigLIP image tower: width, blocks, heads, hidden units of the MLP, sides of patch and image, and its maths.

    `tanh` is the approximation of GELU by tanh that SigLIP was trained with and transformers computes. timm's towers of SigLIP,
    which open_clip's tags use, compute GELU itself.
    """

    width: int
    depth: int
    heads: int
    hidden: int
    patch: int
    side: int
    tanh: bool
    eps: float


def siglip(tower: SigLIPTower) -> str:
    """Add a SigLIP image tower of any size to timm's registry and return its name there."""
    kind = "tanh" if tower.tanh else "gelu"
    sizes = "_".join(map(str, tower[:6]))
    name = f"perennial_siglip_{sizes}_{kind}_{tower.eps:g}".replace("-", "m").replace(".", "p").replace("+", "")

    def build(**options: Any) -> nn.Module:
        settings: dict[str, Any] = {
            "img_size": tower.side,
            "patch_size": tower.patch,
            "embed_dim": tower.width,
            "depth": tower.depth,
            "num_heads": tower.heads,
            # timm multiplies and cuts off.
            "mlp_ratio": (tower.hidden + 0.5) / tower.width,
            "norm_layer": partial(nn.LayerNorm, eps=tower.eps),
            "act_layer": "gelu_tanh" if tower.tanh else "gelu",
        }
        model: nn.Module = vision_transformer.vit_base_patch16_siglip_224(**{**settings, **options})
        return model

    build.__name__ = name
    if not is_model(name):
        register_model(build)
    return name
