"""Rename the tensors of transformers' CLIP and SigLIP to open_clip's names.

transformers has query, key and value as three matrices, open_clip and timm have one. transformers' projections are linear
layers, those of open_clip's CLIP are the transposed matrices. Every value is kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

TOWERS = ("vision_model.", "text_model.")
# Tensors that only SigLIP has: the pooling of the image tower, the output layer of the text tower.
SIGLIP_HEADS = ("vision_model.head.", "text_model.head.")
LAYER = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
# Buffers that older versions of transformers saved.
POSITION_IDS = ".embeddings.position_ids"

OPEN_CLIP_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
TIMM_BLOCK = {
    "layer_norm1": "norm1",
    "layer_norm2": "norm2",
    "self_attn.out_proj": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
TEXT = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.": "ln_final.",
}
CLIP = {
    **TEXT,
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    # transformers spells it so.
    "vision_model.pre_layrnorm.": "visual.ln_pre.",
    "vision_model.post_layernorm.": "visual.ln_post.",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
}
SIGLIP = {
    **TEXT,
    "text_model.head.": "text_projection.",
    "vision_model.embeddings.patch_embedding.": "visual.trunk.patch_embed.proj.",
    "vision_model.embeddings.position_embedding.weight": "visual.trunk.pos_embed",
    "vision_model.post_layernorm.": "visual.trunk.norm.",
    "vision_model.head.probe": "visual.trunk.attn_pool.latent",
    "vision_model.head.attention.out_proj.": "visual.trunk.attn_pool.proj.",
    "vision_model.head.layernorm.": "visual.trunk.attn_pool.norm.",
    "vision_model.head.mlp.": "visual.trunk.attn_pool.mlp.",
}
POOLING = "vision_model.head.attention.in_proj_"


def is_transformers(names: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of a tower of transformers."""
    return any(name.startswith(TOWERS) for name in names)


def to_open_clip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under open_clip's names; names that are not transformers' CLIP or SigLIP are kept.

    Text names are those of CLIP, without `text.`, for SigLIP too (`models.loading.fit_weights` accepts both).

    Args:
        state: a state dict of `CLIPModel` or `SiglipModel`, or of one of their towers.
    """
    siglip = any(name.startswith(SIGLIP_HEADS) for name in state)
    table = SIGLIP if siglip else CLIP
    renamed: dict[str, Tensor] = {}
    thirds: dict[str, dict[str, tuple[str, Tensor]]] = {}
    for name, tensor in state.items():
        layer = LAYER.fullmatch(name)
        if layer is not None:
            tower, number, module, kind = layer.groups()
            timm = siglip and tower == "vision_model"
            prefix = {True: "visual.trunk.blocks", False: "visual.transformer.resblocks"}[timm]
            prefix = f"{'transformer.resblocks' if tower == 'text_model' else prefix}.{number}"
            third = re.fullmatch(r"self_attn\.([qkv])_proj", module)
            inner = (TIMM_BLOCK if timm else OPEN_CLIP_BLOCK).get(module)
            if third is not None:
                fused = f"{prefix}.attn.qkv.{kind}" if timm else f"{prefix}.attn.in_proj_{kind}"
                thirds.setdefault(fused, {})[third[1]] = name, tensor
            else:
                renamed[name if inner is None else f"{prefix}.{inner}.{kind}"] = tensor
        elif siglip and name.startswith(POOLING):
            kind, width = name.removeprefix(POOLING), len(tensor) // 3
            renamed[f"visual.trunk.attn_pool.q.{kind}"] = tensor[:width].clone()
            renamed[f"visual.trunk.attn_pool.kv.{kind}"] = tensor[width:].clone()
        elif not name.endswith(POSITION_IDS):
            renamed[_single(name, table)] = tensor
    for fused, by_role in thirds.items():
        if set(by_role) == set("qkv"):
            renamed[fused] = torch.cat([by_role[role][1] for role in "qkv"])
        else:
            renamed |= dict(by_role.values())
    for name in () if siglip else ("visual.proj", "text_projection"):
        if name in renamed and renamed[name].dim() == 2:
            renamed[name] = renamed[name].T.contiguous()
    if "visual.trunk.pos_embed" in renamed and renamed["visual.trunk.pos_embed"].dim() == 2:
        renamed["visual.trunk.pos_embed"] = renamed["visual.trunk.pos_embed"].unsqueeze(0)
    return renamed


def _single(name: str, table: Mapping[str, str]) -> str:
    """Return open_clip's name of a tensor outside the blocks. Entries that end in a dot name a module."""
    for theirs, ours in table.items():
        if name == theirs or (theirs.endswith(".") and name.startswith(theirs)):
            return ours + name.removeprefix(theirs)
    return name
