"""`--to open_clip`: a model directory, `open_clip.create_model_from_pretrained("local-dir:DIR")`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from safetensors.torch import save

from harness.export import head, tokenizers
from harness.export.architecture import model_settings, only_here, preprocess_settings
from harness.export.exporters import Code, Exporter
from models.files import write_bytes
from models.loading.local_files import OPEN_CLIP_CONFIG
from models.registry import UserError

WEIGHTS = "open_clip_model.safetensors"
LOAD = """\
import json
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize

folder = "."  # the folder of this file
head, tensors = json.loads(Path(folder, "head.json").read_text("utf-8")), load_file(f"{folder}/head.safetensors")
model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
model.eval()
"""
PHOTO = """\
image = preprocess(Image.open("photo.jpg"))[None]
"""
ENCODE = """\
with torch.inference_mode():
    features = normalize({image}, dim=-1)
"""
TEXTS = """\
tokenizer = open_clip.get_tokenizer(f"local-dir:{{folder}}")


def text_rows(class_names, templates):
    with torch.inference_mode():
        prompts = [[template.replace("{{}}", name) for name in class_names] for template in templates]
        texts = [normalize({text}, dim=-1) for each in prompts]
        return normalize(torch.stack(texts).mean(dim=0), dim=-1)
"""


class OpenClipDirectory(Exporter):
    """A directory with open_clip's configuration, weights and, if it is not CLIP's own, the tokenizer."""

    library: ClassVar[str] = "open_clip"

    def check(self) -> None:
        """Raise UserError for a tower that only this project has, and for a tokenizer without a file."""
        encoder = self.model.encoder
        if (tower := only_here(model_settings(encoder))) is not None:
            raise UserError(
                f"open_clip cannot build {encoder.name}: timm has no image tower {tower!r} outside of this project. "
                "Export with --to onnx or --to safetensors, or a SigLIP with --to huggingface."
            )
        tokenizers.check(encoder)

    def write(self, folder: Path) -> None:
        """Write configuration, weights and tokenizer."""
        encoder, settings = self.model.encoder, model_settings(self.model.encoder)
        if not tokenizers.is_clips(encoder):
            tokenizers.write(encoder, folder)
            # open_clip reads the tokenizer's files of the directory if this name is not empty.
            settings["text_cfg"]["hf_tokenizer_name"] = settings["text_cfg"].get("hf_tokenizer_name") or "tokenizer"
        content = {"model_cfg": settings, "preprocess_cfg": preprocess_settings(encoder)}
        write_bytes(folder / OPEN_CLIP_CONFIG, (json.dumps(content, indent=2) + "\n").encode())
        tensors = {name: tensor.contiguous() for name, tensor in self.model.weights.items()}
        write_bytes(folder / WEIGHTS, save(tensors, {"format": "pt"}))

    def code(self) -> Code | None:
        """Return open_clip's calls."""
        image = head.raw(self.model, "image", "model.encode_image(image)")
        text = head.raw(self.model, "text", "model.encode_text(tokenizer(each))")
        return Code(LOAD + head.functions(self.model), PHOTO, ENCODE.format(image=image), TEXTS.format(text=text))
