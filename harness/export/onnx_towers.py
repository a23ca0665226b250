"""`--to onnx`: two ONNX models, one per tower, with a dynamic batch. Adapters are part of them."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from harness.export import head, tokenizers
from harness.export.exporters import Code, Exporter
from models import lora
from models.adapter import Adapter
from models.encoder import DualEncoder
from models.registry import UserError, first_line

IMAGE, TEXT = "image.onnx", "text.onnx"
MISSING = "Export to ONNX needs the packages onnx, onnxruntime and onnxscript: pip install -e '.[export]'."
LOAD = """\
import json
from pathlib import Path

import numpy as np
import onnxruntime
{torch}from PIL import Image
from safetensors.numpy import load_file
from tokenizers import Tokenizer

folder = "."  # the folder of this file
head, tensors = json.loads(Path(folder, "head.json").read_text("utf-8")), load_file(f"{folder}/head.safetensors")
image_tower = onnxruntime.InferenceSession(f"{folder}/image.onnx", providers=["CPUExecutionProvider"])
text_tower = onnxruntime.InferenceSession(f"{folder}/text.onnx", providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_truncation({context})
tokenizer.enable_padding(length={context}, pad_id={padding})
mean, std = (np.array(head["preprocess"][name], np.float32)[:, None, None] for name in ("mean", "std"))
"""
PHOTO = {
    "shortest": """\
photo, size = Image.open("photo.jpg").convert("RGB"), {size}
photo = photo.resize([int(size * side / min(photo.size)) for side in photo.size], Image.Resampling.{interpolation})
left, top = (round((side - size) / 2) for side in photo.size)
photo = photo.crop((left, top, left + size, top + size))
image = ((np.asarray(photo, np.float32).transpose(2, 0, 1) / 255 - mean) / std)[None]
""",
    "squash": """\
photo = Image.open("photo.jpg").convert("RGB").resize(({size}, {size}), Image.Resampling.{interpolation})
image = ((np.asarray(photo, np.float32).transpose(2, 0, 1) / 255 - mean) / std)[None]
""",
    "longest": """\
photo, size = Image.open("photo.jpg").convert("RGB"), {size}
ratio = max(photo.size) / size
photo = photo.resize([max(1, round(side / ratio)) for side in photo.size], Image.Resampling.{interpolation})
square = Image.new("RGB", (size, size), ({fill}, {fill}, {fill}))
square.paste(photo, tuple((size - side) // 2 for side in photo.size))
image = ((np.asarray(square, np.float32).transpose(2, 0, 1) / 255 - mean) / std)[None]
""",
}
ENCODE = """\
features = image_tower.run(None, {"pixels": image})[0]
"""
TEXTS = """\
def text_rows(class_names, templates):
    prompts = [[template.replace("{}", name) for name in class_names] for template in templates]
    ids = [np.array([text.ids for text in tokenizer.encode_batch(each)], np.int64) for each in prompts]
    rows = np.stack([text_tower.run(None, {"ids": each})[0] for each in ids]).mean(axis=0)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
"""


class OnnxTowers(Exporter):
    """image.onnx maps normalised pixels [B, 3, S, S] to unit features [B, d], text.onnx token ids [B, context]."""

    library: ClassVar[str] = "onnx"

    def check(self) -> None:
        """Raise UserError if packages are missing or the tokenizer has no file."""
        # Not imported here: onnxruntime leaves a file in the folder of temporary files.
        if None in map(importlib.util.find_spec, ("onnx", "onnxruntime", "onnxscript")):
            raise UserError(MISSING)
        tokenizers.check(self.model.encoder)

    def write(self, folder: Path) -> None:
        """Write both towers and the tokenizer."""
        encoder = merged_copy(self.model.encoder)
        for name in ("image_adapter", "text_adapter"):
            if isinstance(adapter := getattr(encoder, name), Adapter):
                setattr(encoder, name, _Mixture(adapter))
        side = encoder.image_size
        # Two rows: torch takes a size of 1 for a constant.
        pixels, ids = torch.zeros(2, 3, side, side), encoder.tokenize(["a", "b"])
        _export(_Tower(encoder, "image"), pixels, folder / IMAGE, "pixels")
        _export(_Tower(encoder, "text"), ids, folder / TEXT, "ids")
        tokenizers.write(encoder, folder)

    def code(self) -> Code | None:
        """Return the calls of onnxruntime."""
        encoder, preprocess = self.model.encoder, self.model.encoder.preprocess
        with_torch = "" if self.model.classifier is None else "import torch\n"
        values = {"context": encoder.context_length, "padding": tokenizers.padding_id(encoder)}
        load = LOAD.replace("{torch}", with_torch)
        for name, value in values.items():
            load = load.replace(f"{{{name}}}", str(value))
        photo = PHOTO[preprocess.resize_mode].format(
            size=preprocess.size, interpolation=preprocess.interpolation.upper(), fill=preprocess.fill
        )
        return Code(load + head.functions(self.model, adapters=False), photo, ENCODE, TEXTS, numpy=True)


def merged_copy(encoder: DualEncoder) -> DualEncoder:
    """Return a copy of an encoder on the CPU, in evaluation mode, with LoRA merged. The encoder does not change."""
    copied = copy.deepcopy(encoder).cpu().eval()
    for module in copied.modules():
        if parametrize.is_parametrized(module):
            # A copied layer shares its class, and removing a parametrisation changes the class.
            kind = type(module)
            members = {name: value for name, value in vars(kind).items() if name not in ("__dict__", "__weakref__")}
            module.__class__ = type(kind.__name__, kind.__bases__, members)
    lora.merge(copied)
    return copied


class _Mixture(nn.Module):
    """CLIP-Adapter with a fixed ratio: torch cannot translate the clamping of a scalar."""

    def __init__(self, adapter: Adapter):
        super().__init__()
        self.mlp, self.ratio = adapter.mlp, float(adapter.ratio.clamp(0, adapter.target))

    def wake(self) -> bool:
        return False

    def forward(self, raw: Tensor) -> Tensor:
        mixture: Tensor = self.ratio * self.mlp(raw) + (1 - self.ratio) * raw
        return mixture


class _Tower(nn.Module):
    """A tower with its adapter, from normalised pixels or full-length token ids to unit features."""

    def __init__(self, encoder: DualEncoder, tower: str):
        super().__init__()
        self.encoder, self.tower = encoder, tower

    def forward(self, inputs: Tensor) -> Tensor:
        clip = self.encoder.clip
        if self.tower == "image":
            return self.encoder.finish_images(clip.encode_image(inputs, normalize=False))
        return self.encoder.finish_texts(clip.encode_text(inputs, normalize=False))


def _export(tower: nn.Module, example: Tensor, path: Path, name: str) -> None:
    """Write a tower. Raises UserError if torch cannot translate it."""
    batch = torch.export.Dim("batch", min=1)
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                tower,
                (example,),
                path,
                input_names=[name],
                output_names=["features"],
                dynamic_shapes={"inputs": {0: batch}},
                dynamo=True,
                external_data=_large(tower),
            )
    except OSError:
        raise
    except Exception as error:  # torch and onnxscript raise any class for an operation that they do not know
        raise UserError(
            f"torch cannot write the {name} tower as ONNX ({type(error).__name__}: {first_line(error)}). Export with "
            "--to open_clip or --to safetensors."
        ) from error


def _large(tower: nn.Module) -> bool:
    """Return whether the weights need a separate file: one file holds at most 2 GB."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tower.parameters()) > 1_800_000_000


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's report and its warnings off the screen."""
    # onnxscript reports each node that it leaves as it is.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
