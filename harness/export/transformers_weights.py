"""Convert weights of open_clip's CLIP and SigLIP to those of `CLIPModel` and `SiglipModel` of transformers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from harness.export import tokenizers
from harness.export.architecture import model_settings, only_here
from models.encoder import DualEncoder
from models.loading import description
from models.registry import UserError

Converted = tuple[dict[str, Any], dict[str, Tensor]]
"""The configuration and the weights of a model for transformers."""
ACTIVATIONS = {"QuickGELU": "quick_gelu", "GELU": "gelu", "GELU (tanh)": "gelu_pytorch_tanh", "GELUTanh": "gelu_pytorch_tanh"}
"""Activations of a description and in transformers."""


def converted(encoder: DualEncoder, weights: Mapping[str, Tensor]) -> Converted:
    """Return the configuration and the weights of a model for transformers.

    Args:
        encoder: the encoder, for its sizes.
        weights: its tensors under open_clip's names, without LoRA's tensors.

    Raises:
        UserError: transformers has no class for the architecture.
    """
    clip: Any = encoder.clip
    text = getattr(clip, "text", clip)
    if _is_clip(clip, text):
        return _clip(encoder, clip, text, weights)
    if _is_siglip(clip, text):
        return _siglip(encoder, clip, text, weights)
    others = "--to onnx or --to safetensors" if only_here(model_settings(encoder)) else "--to open_clip or --to onnx"
    raise UserError(
        f"transformers has no class for the architecture of {encoder.name}: only CLIP with OpenAI's text tower, and SigLIP. "
        f"Export with {others}."
    )


def _is_clip(clip: Any, text: Any) -> bool:
    """Return whether a model has CLIP's towers: class token, norm before the blocks, causal text, pooled at its end."""
    from open_clip.transformer import ResidualAttentionBlock, VisionTransformer

    visual, pool = clip.visual, getattr(text, "pool_type", getattr(text, "text_pool_type", None))
    if not isinstance(visual, VisionTransformer) or not hasattr(text, "positional_embedding"):
        return False
    towers = [*visual.transformer.resblocks, *text.transformer.resblocks]
    return (
        all(isinstance(block, ResidualAttentionBlock) and isinstance(block.ls_1, nn.Identity) for block in towers)
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.final_ln_after_pool
        and isinstance(visual.ln_pre, nn.LayerNorm)
        and isinstance(visual.patch_dropout, nn.Identity)
        and visual.proj is not None
        and pool == "argmax"
        and text.attn_mask is not None
        and getattr(text, "cls_emb", None) is None
        and getattr(clip, "text_decoder", None) is None
        and getattr(clip, "logit_bias", None) is None
        and _bias(text.text_projection) is None
    )


def _is_siglip(clip: Any, text: Any) -> bool:
    """Return whether a model has SigLIP's towers: attention pooling of patches, text without mask, pooled at the last id."""
    from timm.layers.attention_pool import AttentionPoolLatent
    from timm.models.vision_transformer import VisionTransformer

    trunk = getattr(clip.visual, "trunk", None)
    return (
        isinstance(trunk, VisionTransformer)
        and isinstance(trunk.attn_pool, AttentionPoolLatent)
        and trunk.cls_token is None
        and trunk.pos_embed is not None
        and isinstance(trunk.head, nn.Identity)
        and not len(clip.visual.head)
        and hasattr(text, "positional_embedding")
        and text.pool_type == "last"
        and text.attn_mask is None
        and getattr(text, "cls_emb", None) is None
        and isinstance(text.text_projection, nn.Linear)
        and getattr(clip, "logit_bias", None) is not None
    )


def _clip(
    encoder: DualEncoder, clip: Any, text: Any, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    visual, own = clip.visual, "text." if text is not clip else ""
    image_settings, text_settings = _tower_settings(encoder, clip, text)
    settings = {
        "model_type": "clip",
        "projection_dim": encoder.feature_dim,
        "vision_config": {
            **image_settings,
            "hidden_size": visual.class_embedding.shape[0],
            "intermediate_size": visual.transformer.resblocks[0].mlp.c_fc.out_features,
            "num_hidden_layers": len(visual.transformer.resblocks),
            "num_attention_heads": visual.transformer.resblocks[0].attn.num_heads,
            "projection_dim": encoder.feature_dim,
        },
        "text_config": text_settings,
    }
    theirs = {
        "logit_scale": weights["logit_scale"].reshape(()),
        "visual_projection.weight": weights["visual.proj"].T,
        "text_projection.weight": _projection(text, weights, own),
        "vision_model.embeddings.class_embedding": weights["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        **_norm(weights, "visual.ln_pre", "vision_model.pre_layrnorm"),
        **_norm(weights, "visual.ln_post", "vision_model.post_layernorm"),
        **dict(_blocks(weights, "visual.transformer.resblocks", "vision_model.encoder.layers")),
        **_text(weights, own),
    }
    return settings, _separate(theirs)


def _siglip(
    encoder: DualEncoder, clip: Any, text: Any, weights: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    trunk = clip.visual.trunk
    image_settings, text_settings = _tower_settings(encoder, clip, text)
    settings = {
        "model_type": "siglip",
        "vision_config": {
            **image_settings,
            "hidden_size": trunk.embed_dim,
            "intermediate_size": trunk.blocks[0].mlp.fc1.out_features,
            "num_hidden_layers": len(trunk.blocks),
            "num_attention_heads": trunk.blocks[0].attn.num_heads,
        },
        "text_config": {**text_settings, "projection_size": encoder.feature_dim},
    }
    at, pool = "visual.trunk.", "visual.trunk.attn_pool."
    heads = "vision_model.head."
    theirs = {
        "logit_scale": weights["logit_scale"].reshape(1),
        "logit_bias": weights["logit_bias"].reshape(1),
        "vision_model.embeddings.patch_embedding.weight": weights[f"{at}patch_embed.proj.weight"],
        "vision_model.embeddings.patch_embedding.bias": weights[f"{at}patch_embed.proj.bias"],
        "vision_model.embeddings.position_embedding.weight": weights[f"{at}pos_embed"][0],
        **_norm(weights, f"{at}norm", "vision_model.post_layernorm"),
        **dict(_blocks(weights, f"{at}blocks", "vision_model.encoder.layers")),
        f"{heads}probe": weights[f"{pool}latent"],
        f"{heads}attention.in_proj_weight": torch.cat([weights[f"{pool}q.weight"], weights[f"{pool}kv.weight"]]),
        f"{heads}attention.in_proj_bias": torch.cat([weights[f"{pool}q.bias"], weights[f"{pool}kv.bias"]]),
        **_norm(weights, f"{pool}proj", f"{heads}attention.out_proj"),
        **_norm(weights, f"{pool}norm", f"{heads}layernorm"),
        **_norm(weights, f"{pool}mlp.fc1", f"{heads}mlp.fc1"),
        **_norm(weights, f"{pool}mlp.fc2", f"{heads}mlp.fc2"),
        **_text(weights, "text."),
        "text_model.head.weight": weights["text.text_projection.weight"],
        "text_model.head.bias": weights["text.text_projection.bias"],
    }
    return settings, _separate(theirs)


def _tower_settings(encoder: DualEncoder, clip: Any, text: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the settings that both architectures share. Raises UserError for an unknown activation or several epsilons."""
    known, settings = description.describe(encoder), []
    for tower in ("image", "text"):
        activations, eps = known[tower]["activation"], known[tower]["eps"]
        if len(activations) != 1 or activations[0] not in ACTIVATIONS or len(eps) != 1:
            raise UserError(
                f"transformers computes the {tower} tower of {encoder.name} in another way (activation "
                f"{', '.join(activations)}; epsilon of the norms {', '.join(map(str, eps))}). Export with --to open_clip or "
                "--to onnx."
            )
        settings.append({"hidden_act": ACTIVATIONS[activations[0]], "layer_norm_eps": eps[0]})
    convolution = clip.visual.trunk.patch_embed.proj if hasattr(clip.visual, "trunk") else clip.visual.conv1
    settings[0] |= {"image_size": encoder.image_size, "patch_size": convolution.kernel_size[0]}
    blocks = text.transformer.resblocks
    start, end = _ends(encoder)
    settings[1] |= {
        "vocab_size": text.token_embedding.num_embeddings,
        "hidden_size": text.token_embedding.embedding_dim,
        "projection_dim": encoder.feature_dim,
        "intermediate_size": blocks[0].mlp.c_fc.out_features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": blocks[0].attn.num_heads,
        "max_position_embeddings": encoder.context_length,
        "pad_token_id": tokenizers.padding_id(encoder),
        "bos_token_id": start,
        "eos_token_id": end,
    }
    return settings[0], settings[1]


def _ends(encoder: DualEncoder) -> tuple[int, int]:
    """Return the ids of the start and the end of a text."""
    ids = encoder.tokenize(["a"])[0].tolist()
    return ids[0], max(ids)


def _text(weights: Mapping[str, Tensor], own: str) -> dict[str, Tensor]:
    """Return the text tower's tensors, without its projection. `own` is the prefix of the tower's names."""
    return {
        "text_model.embeddings.token_embedding.weight": weights[f"{own}token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": weights[f"{own}positional_embedding"],
        **_norm(weights, f"{own}ln_final", "text_model.final_layer_norm"),
        **dict(_blocks(weights, f"{own}transformer.resblocks", "text_model.encoder.layers")),
    }


def _blocks(weights: Mapping[str, Tensor], ours: str, theirs: str) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of all blocks of a tower: open_clip's, or timm's."""
    numbers = {name.removeprefix(f"{ours}.").partition(".")[0] for name in weights if name.startswith(f"{ours}.")}
    for number in numbers:
        block, layer = f"{ours}.{number}", f"{theirs}.{number}"
        native = f"{block}.attn.in_proj_weight" in weights
        fused = "attn.in_proj_" if native else "attn.qkv."
        for kind in ("weight", "bias"):
            parts = weights[f"{block}.{fused}{kind}"].chunk(3)
            for role, part in zip("qkv", parts, strict=True):
                yield f"{layer}.self_attn.{role}_proj.{kind}", part
        pairs = {
            "attn.out_proj" if native else "attn.proj": "self_attn.out_proj",
            "ln_1" if native else "norm1": "layer_norm1",
            "ln_2" if native else "norm2": "layer_norm2",
            "mlp.c_fc" if native else "mlp.fc1": "mlp.fc1",
            "mlp.c_proj" if native else "mlp.fc2": "mlp.fc2",
        }
        for our, their in pairs.items():
            yield from _norm(weights, f"{block}.{our}", f"{layer}.{their}").items()


def _norm(weights: Mapping[str, Tensor], ours: str, theirs: str) -> dict[str, Tensor]:
    """Return the weight and the bias of a layer."""
    return {f"{theirs}.{kind}": weights[f"{ours}.{kind}"] for kind in ("weight", "bias")}


def _projection(text: Any, weights: Mapping[str, Tensor], own: str) -> Tensor:
    """Return the matrix of the text tower's projection [d, width]."""
    if isinstance(text.text_projection, nn.Linear):
        return weights[f"{own}text_projection.weight"]
    return weights[f"{own}text_projection"].T


def _bias(projection: object) -> Tensor | None:
    return projection.bias if isinstance(projection, nn.Linear) else None


def _separate(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().contiguous() for name, tensor in weights.items()}
