"""The residual attention blocks of the towers, and the matrices in them, whatever a model's family calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from models.encoder import DualEncoder
from models.registry import UserError
from models.towers import tower_of

# What `towers` may be, and which towers that is.
TOWERS = {"both": ("image", "text"), "image": ("image",), "text": ("text",)}
# Linear layers of an MLP by role: open_clip's names, timm's Mlp, timm's SwiGLU.
MLP = {"fc": ("c_fc", "fc1", "fc1_g", "fc1_x"), "proj": ("c_proj", "fc2")}


class Block(NamedTuple):
    """A residual attention block: its tower ("image" or "text"), its path in `encoder.clip`, the module."""

    tower: str
    path: str
    module: nn.Module


class Matrix(NamedTuple):
    """A weight matrix of a block, or the third of one where query, key and value share it.

    `path` is its module's, in `encoder.clip`, and `tensor` its name there; `third` 0, 1, 2 says which rows of a fused matrix
    are meant, None all of them. `called`: the module is a linear layer that is called. nn.MultiheadAttention never calls its
    own output layer, it reads the layer's weight: what wraps such a layer has no effect.
    """

    path: str
    tensor: str
    third: int | None
    called: bool


def blocks(encoder: DualEncoder, towers: str = "both", last: int | None = None) -> list[Block]:
    """The residual blocks of the towers from the input up; with `last`, the last so many of each (all where there are fewer).

    Blocks are told by their class: open_clip's (CLIP, CoCa, all of its text towers) and timm's vision transformer (SigLIP) and
    EVA. Attention pooling behind the blocks and CoCa's text decoder are no part of them.

    Raises:
        UserError: a tower without such blocks (a ResNet, a text tower of transformers).
    """
    from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock
    from timm.models.eva import EvaBlock, EvaBlockPostNorm
    from timm.models.vision_transformer import Block as ViTBlock

    classes = (ResidualAttentionBlock, CustomResidualAttentionBlock, ViTBlock, EvaBlock, EvaBlockPostNorm)
    found: list[Block] = []
    for tower in TOWERS[towers]:
        mine = [
            Block(tower, path, module)
            for path, module in encoder.clip.named_modules()
            if isinstance(module, classes) and tower_of(path) == tower
        ]
        if not mine:
            raise missing_in_tower(tower, encoder, "residual attention blocks of a class that is known")
        found += mine if last is None else mine[-last:]
    return found


def missing_in_tower(tower: str, encoder: DualEncoder, what: str) -> UserError:
    """The error for a selection that is empty in a tower."""
    name = encoder.name or type(encoder.clip).__name__
    return UserError(f"The {tower} tower of {name} has no {what}.")


def matrices(block: Block) -> dict[str, list[Matrix]]:
    """The block's matrices by role: q, k, v, o (the attention's output), fc and proj (the MLP's first and second layer).

    A role that the block has no matrix for is an empty list; SwiGLU has two for fc, its gate and its value.
    """
    attention = f"{block.path}.attn"
    layers = {name: layer for name, layer in block.module.attn.named_children() if isinstance(layer, nn.Linear)}  # type: ignore[union-attr]
    found: dict[str, list[Matrix]] = {role: [] for role in ("q", "k", "v", "o", "fc", "proj")}
    for third, role in enumerate("qkv"):
        if getattr(block.module.attn, "in_proj_weight", None) is not None:
            found[role].append(Matrix(attention, "in_proj_weight", third, False))
        elif "qkv" in layers:
            found[role].append(Matrix(f"{attention}.qkv", "weight", third, True))
        elif f"{role}_proj" in layers:
            found[role].append(Matrix(f"{attention}.{role}_proj", "weight", None, True))
    for name in ("out_proj", "proj"):
        if name in layers:
            found["o"].append(Matrix(f"{attention}.{name}", "weight", None, name == "proj"))
    for role, names in MLP.items():
        for name, layer in block.module.mlp.named_children():  # type: ignore[union-attr]
            if name in names and isinstance(layer, nn.Linear):
                found[role].append(Matrix(f"{block.path}.mlp.{name}", "weight", None, True))
    return found


def biases(block: Block) -> Iterator[nn.Parameter]:
    """Every bias in the block: of linear layers and layer norms, and those that an attention holds itself
    (nn.MultiheadAttention for its fused matrix, EVA for query and value).
    """
    for module in block.module.modules():
        for name in ("bias", "in_proj_bias", "q_bias", "v_bias"):
            bias = module._parameters.get(name)
            if bias is not None:
                yield bias
