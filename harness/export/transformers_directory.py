"""`--to huggingface`: a model directory of transformers, for CLIP and SigLIP; with --adapter, LoRA as a peft adapter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from harness.export import head, lora_adapter, tokenizers
from harness.export.architecture import preprocess_settings
from harness.export.exporters import Code, Exporter
from harness.export.transformers_weights import converted
from models.files import write_bytes
from models.loading.hub import quiet
from models.registry import UserError

LOAD = """\
import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

folder = "."  # the folder of this file
head, tensors = json.loads(Path(folder, "head.json").read_text("utf-8")), load_file(f"{folder}/head.safetensors")
model = AutoModel.from_pretrained(folder).eval()
processor = AutoImageProcessor.from_pretrained(folder, {backend})
"""
WITH_ADAPTER = """\
model = PeftModel.from_pretrained(AutoModel.from_pretrained(f"{folder}/base"), folder).merge_and_unload().eval()
"""
PHOTO = """\
image = processor(Image.open("photo.jpg").convert("RGB"), return_tensors="pt")["pixel_values"]
"""
ENCODE = """\
with torch.inference_mode():
    features = normalize({image}, dim=-1)
"""
TEXTS = """\
tokenizer = AutoTokenizer.from_pretrained(folder)


def text_rows(class_names, templates):
    with torch.inference_mode():
        prompts = [[template.replace("{{}}", name) for name in class_names] for template in templates]
        size = {{"padding": "max_length", "truncation": True, "max_length": {context}, "return_tensors": "pt"}}
        ids = [tokenizer(each, **size)["input_ids"] for each in prompts]
        texts = [normalize({text}, dim=-1) for each in ids]
        return normalize(torch.stack(texts).mean(dim=0), dim=-1)
"""
RESAMPLING = {"bilinear": 2, "bicubic": 3}
"""PIL's numbers of the interpolations."""


class TransformersDirectory(Exporter):
    """A `CLIPModel` or `SiglipModel` with its tokenizer and its image processor.

    Photos: the processor may cut the middle of an image one pixel away from open_clip's place.
    """

    library: ClassVar[str] = "transformers"
    exact_photos: ClassVar[bool] = False
    adapters: ClassVar[bool] = True

    def check(self) -> None:
        """Raise UserError for an architecture, a tokenizer or a preprocessing that transformers does not have."""
        encoder = self.model.encoder
        tokenizers.check(encoder)
        if encoder.preprocess.resize_mode == "longest":
            raise UserError(
                f"The image processors of CLIP and SigLIP in transformers do not pad as {encoder.name} needs it "
                "(resize mode longest). Export with --to open_clip or --to onnx."
            )
        self.settings, self.weights = converted(encoder, self.model.weights)

    def write(self, folder: Path) -> None:
        """Write the model, or the base model and an adapter, with tokenizer and image processor."""
        target = folder / "base" if self.adapter else folder
        weights = self.weights
        if self.adapter:
            weights = converted(self.model.encoder, lora_adapter.base_weights(self.model.encoder))[1]
            lora_adapter.write(self.model.encoder, folder)
        target.mkdir(exist_ok=True)
        self._save(target, weights)
        tokenizers.write(self.model.encoder, folder)
        write_bytes(folder / "preprocessor_config.json", (json.dumps(self._processor(), indent=2) + "\n").encode())

    def _save(self, folder: Path, weights: dict[str, Any]) -> None:
        """Write config.json and model.safetensors by transformers itself, so that they have the layout of its version."""
        import torch
        from transformers import AutoConfig, AutoModel
        from transformers.utils import logging

        shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        try:
            with torch.random.fork_rng(devices=[]), quiet():
                model = AutoModel.from_config(AutoConfig.for_model(**self.settings))
                different = model.load_state_dict(weights, strict=False)
                missing = [name for name in different.missing_keys if not name.endswith("position_ids")]
                if missing or different.unexpected_keys:
                    raise UserError(
                        f"transformers {_version()} has other tensors in its class for {self.settings['model_type']} than this "
                        f"version of the project knows: {', '.join([*missing, *different.unexpected_keys][:3])}. Export with "
                        "--to open_clip."
                    )
                model.save_pretrained(folder)
        finally:
            if shown:
                logging.enable_progress_bar()

    def _processor(self) -> dict[str, Any]:
        """Return the content of preprocessor_config.json."""
        values, side = preprocess_settings(self.model.encoder), self.model.encoder.image_size
        square = {"height": side, "width": side}
        squash = values["resize_mode"] == "squash"
        kind = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[self.settings["model_type"]]
        crop = {} if squash else {"do_center_crop": True, "crop_size": square}
        # Only CLIP's processor crops. It reads SigLIP's settings too.
        return {
            "image_processor_type": kind if squash else "CLIPImageProcessor",
            "do_resize": True,
            "size": square if squash else {"shortest_edge": side},
            "resample": RESAMPLING[values["interpolation"]],
            **(crop or {"do_center_crop": False}),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": values["mean"],
            "image_std": values["std"],
            "do_convert_rgb": True,
        }

    def code(self) -> Code | None:
        """Return the calls of transformers."""
        clip, backend = self.settings["model_type"] == "clip", "backend='pil'" if _version() >= "5" else "use_fast=False"
        image, text = (
            f"model.{tower}_model({inputs}).pooler_output"
            for tower, inputs in (("vision", "pixel_values=image"), ("text", "each"))
        )
        if clip:
            image, text = f"model.visual_projection({image})", f"model.text_projection({text})"
        load = LOAD.replace("{backend}", backend.replace("'", '"'))
        if self.adapter:
            plain = "model = AutoModel.from_pretrained(folder).eval()\n"
            load = load.replace("from PIL import Image\n", "from peft import PeftModel\nfrom PIL import Image\n")
            load = load.replace(plain, WITH_ADAPTER)
        context = self.model.encoder.context_length
        texts = TEXTS.format(text=head.raw(self.model, "text", text), context=context)
        encode = ENCODE.format(image=head.raw(self.model, "image", image))
        return Code(load + head.functions(self.model), PHOTO, encode, texts)


def _version() -> str:
    import transformers

    return str(transformers.__version__)
