"""LoRA as an adapter of peft, on the class of transformers.

open_clip's towers have query, key and value in one matrix, for which peft has no class. transformers has them apart, so each
pair A, B becomes the `lora_A` and `lora_B` of one linear layer. peft's factor is lora_alpha / r, so lora_alpha is scale * r.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from harness.export.exportable import CLIP
from models import lora
from models.encoder import DualEncoder
from models.files import write_bytes
from models.registry import UserError

LAYERS = {
    "attn.in_proj_weight": "self_attn",
    "attn.qkv.weight": "self_attn",
    "attn.out_proj.weight": "self_attn.out_proj",
    "attn.proj.weight": "self_attn.out_proj",
    "mlp.c_fc.weight": "mlp.fc1",
    "mlp.fc1.weight": "mlp.fc1",
    "mlp.c_proj.weight": "mlp.fc2",
    "mlp.fc2.weight": "mlp.fc2",
}
"""Matrices of a block, and the layer of transformers; of a fused matrix the module of its layers."""
BLOCK = re.compile(r"(visual\.|)(?:text\.)?(?:transformer|trunk)?\.?(?:resblocks|blocks)\.(\d+)\.(.+)")


def check(encoder: DualEncoder, exporter: Any) -> None:
    """Raise UserError for a target without adapters and a model without LoRA."""
    if not exporter.adapters:
        raise UserError("--adapter writes an adapter of peft, which needs --to huggingface: leave it out for merged weights.")
    if not lora.sites(encoder):
        raise UserError(
            "--adapter needs a run with the tuning lora whose update is not merged into the weights. Leave it out to export "
            "the whole model."
        )


def base_weights(encoder: DualEncoder) -> dict[str, Tensor]:
    """Return the towers' tensors under open_clip's names, without LoRA."""
    return {name.removeprefix(CLIP): t.cpu() for name, t in lora.live(encoder).items() if name.startswith(CLIP)}


def write(encoder: DualEncoder, folder: Path) -> None:
    """Write adapter_config.json and adapter_model.safetensors."""
    import peft

    tensors, layers, scales, ranks = dict[str, Tensor](), list[str](), set[float](), set[int]()
    for layer, first, second, scale in pairs(encoder):
        tensors[f"base_model.model.{layer}.lora_A.weight"] = first
        tensors[f"base_model.model.{layer}.lora_B.weight"] = second
        layers.append(layer)
        scales.add(scale)
        ranks.add(len(first))
    [scale], [rank] = scales, ranks
    settings = {
        "peft_type": "LORA",
        "base_model_name_or_path": "base",
        "r": rank,
        "lora_alpha": scale * rank,
        "lora_dropout": 0.0,
        "target_modules": layers,
        "bias": "none",
        "inference_mode": True,
        "peft_version": peft.__version__,
    }
    write_bytes(folder / "adapter_config.json", (json.dumps(settings, indent=2) + "\n").encode())
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_bytes(folder / "adapter_model.safetensors", save(copies, {"format": "pt"}))


def pairs(encoder: DualEncoder) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Yield the layer of transformers, A [r, in], B [out, r] and the scale of each pair."""
    for site in lora.sites(encoder):
        match = BLOCK.fullmatch(site.name.removeprefix(CLIP))
        assert match is not None and match[3] in LAYERS
        layer = f"{'vision' if match[1] else 'text'}_model.encoder.layers.{match[2]}.{LAYERS[match[3]]}"
        update: Any = site.update
        if not isinstance(update, lora.RankUpdate):
            yield layer, update.lora_A[lora.ADAPTER].weight, update.lora_B[lora.ADAPTER].weight, update.scaling[lora.ADAPTER]
        elif update.thirds is None:
            yield layer, update.A[0], update.B[0], update.scale
        else:
            for third, first, second in zip(update.thirds, update.A, update.B, strict=True):
                yield f"{layer}.{'qkv'[third]}_proj", first, second, update.scale
