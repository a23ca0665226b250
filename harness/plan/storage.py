"""Bytes on disk of checkpoints and of cached pixels, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from harness.run import checkpoint
from models.loading.read_weights import DESCRIPTION

NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
}  # fmt: skip
"""The format's name of each type."""


def file_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> int:
    """Return the size of a safetensors file: 8 bytes, a JSON header padded to a multiple of 8, and the tensors."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    start = 0
    order = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    for name, tensor in order:
        end = start + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return 8 + -(-len(text) // 8) * 8 + start


def checkpoint_bytes(weights: Mapping[str, Tensor], state: Mapping[str, Any], description: Mapping[str, Any] | None) -> int:
    """Return the bytes of a checkpoint's files without that of the digests (`harness.run.checkpoint.save_state`)."""
    tensors: dict[str, Tensor] = {}
    structure = checkpoint.flatten(state, "state", tensors)
    metadata = None if description is None else {"format": "pt", DESCRIPTION: json.dumps(description)}
    return file_bytes(weights, metadata) + file_bytes(tensors) + len(json.dumps(structure).encode())
