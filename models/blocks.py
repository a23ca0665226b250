"""The residual attention blocks of the towers and their matrices, independent of a model family's names for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from models.encoder import DualEncoder
from models.registry import UserError
from models.towers import tower_of

# Values of the option `towers`, and the towers that each means.
TOWERS = {"both": ("image", "text"), "image": ("image",), "text": ("text",)}
# Linear layers of an MLP by role: open_clip's names, timm's Mlp, timm's SwiGLU.
MLP = {"fc": ("c_fc", "fc1", "fc1_g", "fc1_x"), "proj": ("c_proj", "fc2")}


class Block(NamedTuple):
    """A residual attention block: its tower ("image" or "text"), its path in `encoder.clip`, and the module."""

    tower: str
    path: str
    module: nn.Module


class Matrix(NamedTuple):
    """A weight matrix of a block, or one third of a matrix that query, key and value share.

    Attributes:
        path: path of the module in `encoder.clip`.
        tensor: name of the tensor in the module.
        third: 0, 1 or 2 for the rows of a fused matrix; None for all rows.
        called: the module is a linear layer that is called. nn.MultiheadAttention never calls its output layer. It only reads
            the layer's weight, so wrapping the layer has no effect.
    """

    path: str
    tensor: str
    third: int | None
    called: bool


def blocks(encoder: DualEncoder, towers: str = "both", last: int | None = None, first: int | None = None) -> list[Block]:
    """Return the residual blocks of the towers, from the input up.

    Blocks are recognised by class: open_clip's (CLIP, CoCa, all of its text towers), timm's vision transformer (SigLIP) and
    EVA. Attention pooling after the blocks and CoCa's text decoder are not included.

    Args:
        encoder: the encoder.
        towers: a key of `TOWERS`.
        last: only this many last blocks of each tower; all if there are fewer.
        first: only this many first blocks of each tower, those next to the input; all if there are fewer.

    Raises:
        UserError: a tower has no blocks of these classes (a ResNet, a text tower of transformers).
    """
    from open_clip.transformer import CustomResidualAttentionBlock, ResidualAttentionBlock
    from timm.models.eva import EvaBlock, EvaBlockPostNorm
    from timm.models.vision_transformer import Block as ViTBlock

    classes = (ResidualAttentionBlock, CustomResidualAttentionBlock, ViTBlock, EvaBlock, EvaBlockPostNorm)
    selected: list[Block] = []
    for tower in TOWERS[towers]:
        tower_blocks = [
            Block(tower, path, module)
            for path, module in encoder.clip.named_modules()
            if isinstance(module, classes) and tower_of(path) == tower
        ]
        if not tower_blocks:
            raise missing_in_tower(tower, encoder, "residual attention blocks of a known class")
        selected += tower_blocks[:first] if last is None else tower_blocks[-last:]
    return selected


def missing_in_tower(tower: str, encoder: DualEncoder, what: str) -> UserError:
    """Return the error for a selection that is empty in a tower."""
    name = encoder.name or type(encoder.clip).__name__
    return UserError(f"The {tower} tower of {name} has no {what}.")


def matrices(block: Block) -> dict[str, list[Matrix]]:
    """Return the block's matrices by role: q, k, v, o (the attention's output), fc and proj (the MLP's first and second layer).

    A role without a matrix has an empty list. SwiGLU has two for fc, its gate and its value.
    """
    attention = f"{block.path}.attn"
    layers = {name: layer for name, layer in block.module.attn.named_children() if isinstance(layer, nn.Linear)}  # type: ignore[union-attr]  # attn is a module
    by_role: dict[str, list[Matrix]] = {role: [] for role in ("q", "k", "v", "o", "fc", "proj")}
    for third, role in enumerate("qkv"):
        if getattr(block.module.attn, "in_proj_weight", None) is not None:
            by_role[role].append(Matrix(attention, "in_proj_weight", third, False))
        elif "qkv" in layers:
            by_role[role].append(Matrix(f"{attention}.qkv", "weight", third, True))
        elif f"{role}_proj" in layers:
            by_role[role].append(Matrix(f"{attention}.{role}_proj", "weight", None, True))
    for name in ("out_proj", "proj"):
        if name in layers:
            by_role["o"].append(Matrix(f"{attention}.{name}", "weight", None, name == "proj"))
    for role, names in MLP.items():
        for name, layer in block.module.mlp.named_children():  # type: ignore[union-attr]  # mlp is a module
            if name in names and isinstance(layer, nn.Linear):
                by_role[role].append(Matrix(f"{block.path}.mlp.{name}", "weight", None, True))
    return by_role


def biases(block: Block) -> Iterator[nn.Parameter]:
    """Yield every bias in the block: of linear layers, of layer norms, and those that an attention keeps itself.

    nn.MultiheadAttention has one for its fused matrix, EVA has them for query and value.
    """
    for module in block.module.modules():
        for name in ("bias", "in_proj_bias", "q_bias", "v_bias"):
            bias = module._parameters.get(name)
            if bias is not None:
                yield bias
