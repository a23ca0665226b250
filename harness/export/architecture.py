"""Configuration of an encoder in open_clip's form, and whether open_clip can build it without this project."""

from __future__ import annotations

import copy
from typing import Any

from models.encoder import DualEncoder
from models.loading import description
from models.loading.load import architecture
from models.registry import UserError


def model_settings(encoder: DualEncoder) -> dict[str, Any]:
    """Return `model_cfg` of an encoder's architecture, as open_clip's configuration files have it.

    Raises:
        UserError: the encoder is not a model of open_clip.
    """
    name = encoder.name
    settings = architecture(name)
    if settings is None:
        raise UserError(
            f"{name or type(encoder.clip).__name__} is not an architecture of open_clip. Export it with --to onnx, or take its "
            "tensors from the run's checkpoint."
        )
    settings = copy.deepcopy(settings)
    if description.is_quick(description.describe(encoder)):
        settings["quick_gelu"] = True
    settings["vision_cfg"]["image_size"] = encoder.image_size
    for tower, flag in (("vision_cfg", "timm_model_pretrained"), ("text_cfg", "hf_model_pretrained")):
        if flag in settings[tower]:
            # The weights are in the file.
            settings[tower][flag] = False
    return settings


def preprocess_settings(encoder: DualEncoder) -> dict[str, Any]:
    """Return `preprocess_cfg` of an encoder."""
    values = description.preprocessing(description.describe(encoder))
    if encoder.preprocess.resize_mode != "longest":
        values.pop("fill_color")
    return values


def only_here(settings: dict[str, Any]) -> str | None:
    """Return the name of an image tower that timm only knows after an import of this project, or None."""
    name = settings["vision_cfg"].get("timm_model_name")
    if not name:
        return None
    import timm

    entry: Any = timm.model_entrypoint(name) if timm.is_model(name) else None
    return name if entry is None or not entry.__module__.startswith("timm.") else None
