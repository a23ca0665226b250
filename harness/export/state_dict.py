"""`--to safetensors`: one file of tensors with open_clip's names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from safetensors.torch import save

from harness.export import head
from harness.export.architecture import model_settings, only_here
from harness.export.exporters import Code, Exporter
from harness.export.open_clip_directory import ENCODE, PHOTO
from models.files import write_bytes

WEIGHTS = "model.safetensors"
SETTINGS = "architecture.json"
LOAD = """\
import json
from pathlib import Path

import open_clip
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize

folder = "."  # the folder of this file
head, tensors = json.loads(Path(folder, "head.json").read_text("utf-8")), load_file(f"{{folder}}/head.safetensors")
model = open_clip.{kind}(**json.loads(Path(folder, "architecture.json").read_text("utf-8")))
model.load_state_dict(load_file(f"{{folder}}/model.safetensors"))
model.eval()
values = dict(head["preprocess"])
preprocess = open_clip.image_transform(values.pop("size"), is_train=False, **values)
"""


class StateDict(Exporter):
    """The tensors of the towers, with LoRA merged, and the settings of the architecture. It has no tokenizer."""

    library: ClassVar[str] = "open_clip"

    def check(self) -> None:
        """Accept every model: a file of tensors needs no library for its architecture."""

    def write(self, folder: Path) -> None:
        """Write the tensors and the settings."""
        settings = model_settings(self.model.encoder)
        settings.pop("custom_text", None)
        write_bytes(folder / SETTINGS, (json.dumps(settings, indent=2) + "\n").encode())
        tensors = {name: tensor.contiguous() for name, tensor in self.model.weights.items()}
        write_bytes(folder / WEIGHTS, save(tensors, {"format": "pt"}))

    def code(self) -> Code | None:
        """Return the lines that build open_clip's class and load the tensors; None for a tower of this project."""
        if only_here(model_settings(self.model.encoder)) is not None:
            return None
        load = LOAD.format(kind=type(self.model.encoder.clip).__name__)
        image = head.raw(self.model, "image", "model.encode_image(image)")
        return Code(load + head.functions(self.model), PHOTO, ENCODE.format(image=image), "")
