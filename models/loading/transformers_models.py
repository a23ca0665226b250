"""Read the configuration of a model directory of transformers, CLIP or SigLIP, as settings of open_clip.

`config.json` gives the architecture, and `preprocessor_config.json` (or `processor_config.json`) the preprocessing of images.
The tokenizer is made of the directory's files. Only numbers and names from the tables below are read, so nothing in the files
can name code (`models.loading.model_config`). A setting that open_clip cannot compute is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.loading import model_config
from models.loading.local_files import TRANSFORMERS_CONFIG
from models.loading.model_config import (
    LAYERS,
    PREPROCESS,
    SIDE,
    WIDTH,
    ModelConfig,
    Rule,
    choice,
    document,
    invalid,
    number,
    whole,
)
from models.loading.tokenizers import VOCABULARIES

FAMILIES = ("clip", "siglip")
# Size of the vocabulary of OpenAI's CLIP, whose tokenizer ships with open_clip.
CLIP_VOCABULARY = 49_408
# The rule and the defaults of transformers' configuration classes for a setting: CLIP's and SigLIP's.
ACTIVATION = choice("quick_gelu", "gelu", "gelu_pytorch_tanh")
BOTH: dict[str, Rule] = {
    "hidden_size": WIDTH,
    "intermediate_size": whole(1, 1_000_000),
    "num_hidden_layers": LAYERS,
    "num_attention_heads": whole(1, 1_024),
    "hidden_act": ACTIVATION,
    "layer_norm_eps": number(1e-12, 1),
}
RULES: dict[str, dict[str, Rule]] = {
    "vision_config": {**BOTH, "image_size": SIDE, "patch_size": SIDE, "num_channels": whole(3, 3)},
    "text_config": {
        **BOTH,
        "vocab_size": whole(1, 10_000_000),
        "max_position_embeddings": whole(2, 8_192),
        "eos_token_id": whole(0, 10_000_000),
    },
}
SIGLIP_BOTH = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu_pytorch_tanh",
    "layer_norm_eps": 1e-6,
}
DEFAULTS: dict[tuple[str, str], dict[str, Any]] = {
    ("clip", "vision_config"): {
        **SIGLIP_BOTH,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "image_size": 224,
        "patch_size": 32,
        "num_channels": 3,
    },
    ("clip", "text_config"): {
        "hidden_size": 512,
        "intermediate_size": 2048,
        "num_hidden_layers": 12,
        "num_attention_heads": 8,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "vocab_size": CLIP_VOCABULARY,
        "max_position_embeddings": 77,
        "eos_token_id": 49_407,
    },
    ("siglip", "vision_config"): {**SIGLIP_BOTH, "image_size": 224, "patch_size": 16, "num_channels": 3},
    ("siglip", "text_config"): {**SIGLIP_BOTH, "vocab_size": 32_000, "max_position_embeddings": 64, "eos_token_id": 1},
}
# Numbers of Pillow's filters.
INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}


def read(folder: Path) -> ModelConfig:
    """Return open_clip's settings of a model directory of transformers.

    Raises:
        UserError: the model is not CLIP or SigLIP, or a setting is out of its range or has no counterpart in open_clip.
    """
    path = folder / TRANSFORMERS_CONFIG
    config = document(path)
    family = config.get("model_type")
    if family not in FAMILIES:
        shown = repr(family)[:60] if family else "missing"
        raise invalid(path, f"its model_type is {shown}, and only 'clip' and 'siglip' can be read; convert it to open_clip")
    vision, text = (_tower(config, family, tower, path) for tower in ("vision_config", "text_config"))
    for values, tower in ((vision, "vision_config"), (text, "text_config")):
        if values["hidden_size"] % values["num_attention_heads"]:
            raise invalid(path, f"{tower}.hidden_size is not a multiple of num_attention_heads")
    model = _clip(config, vision, text, path) if family == "clip" else _siglip(config, vision, text, path)
    stored = any(file.is_file() for pattern in VOCABULARIES for file in folder.glob(pattern))
    if family == "siglip" or stored or text["vocab_size"] != CLIP_VOCABULARY:
        # Names the tokenizer in messages. Its files are those of the directory.
        model["text_cfg"]["hf_tokenizer_name"] = "the model"
    model_config.check_patches(model["vision_cfg"], path)
    return ModelConfig(model, _preprocessing(folder, family, vision["image_size"]), path)


def _clip(config: Mapping[str, Any], vision: dict[str, Any], text: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return open_clip's settings of a `CLIPModel`."""
    activations = {vision["hidden_act"], text["hidden_act"]}
    quick = activations == {"quick_gelu"}
    if "quick_gelu" in activations and not quick:
        raise invalid(path, "one tower computes quick_gelu and the other does not, which open_clip cannot")
    width = _value("projection_dim", config.get("projection_dim", 512), WIDTH, path)
    heads = vision.pop("num_attention_heads")
    image = {
        **_blocks(vision, 1e-5),
        "head_width": vision["hidden_size"] // heads,
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
    }
    end = text["eos_token_id"]
    # transformers pools at the largest id if the configuration has the wrong end of text, 2, of its early versions.
    pooling: dict[str, Any] = {"pool_type": "argmax"} if end == 2 else {"pool_type": "eos", "eos_id": end}
    words = {**_text(text, 1e-5), **pooling}
    return {"embed_dim": width, "quick_gelu": quick, "vision_cfg": image, "text_cfg": words}


def _siglip(config: Mapping[str, Any], vision: dict[str, Any], text: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return open_clip's settings of a `SiglipModel`."""
    from models.loading.small_towers import SigLIPTower, siglip

    if "quick_gelu" in (vision["hidden_act"], text["hidden_act"]):
        raise invalid(path, "hidden_act is 'quick_gelu'; allowed for SigLIP is 'gelu' or 'gelu_pytorch_tanh'")
    for key, tower, usual in (("vision_use_head", "vision_config", True), ("projection_size", "text_config", None)):
        value = _mapping(config, tower, path).get(key, usual)
        if value not in (usual, text["hidden_size"]) or value is False:
            raise invalid(path, f"{tower}.{key} is {str(value)[:60]}, which is not read; only SigLIP's own value is")
    if vision["hidden_size"] != text["hidden_size"]:
        raise invalid(path, "the towers have different widths (hidden_size)")
    sizes = SigLIPTower(
        width=vision["hidden_size"],
        depth=vision["num_hidden_layers"],
        heads=vision["num_attention_heads"],
        hidden=vision["intermediate_size"],
        patch=vision["patch_size"],
        side=vision["image_size"],
        tanh=vision["hidden_act"] == "gelu_pytorch_tanh",
        eps=vision["layer_norm_eps"],
    )
    image = {
        "image_size": vision["image_size"],
        "patch_size": vision["patch_size"],
        "timm_model_name": siglip(sizes),
        "timm_model_pretrained": False,
        "timm_pool": "map",
        "timm_proj": "none",
    }
    words = {
        **_text(text, None),
        "no_causal_mask": True,
        "proj_bias": True,
        "pool_type": "last",
        "tokenizer_kwargs": {"clean": "canonicalize"},
    }
    return {
        "embed_dim": text["hidden_size"],
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": image,
        "text_cfg": words,
    }


def _text(text: Mapping[str, Any], usual_eps: float | None) -> dict[str, Any]:
    """Return the settings of a text tower without its pooling."""
    return {
        **_blocks(text, usual_eps),
        "heads": text["num_attention_heads"],
        "context_length": text["max_position_embeddings"],
        "vocab_size": text["vocab_size"],
    }


def _blocks(values: Mapping[str, Any], usual_eps: float | None) -> dict[str, Any]:
    """Return the settings of a tower's blocks. `usual_eps` is open_clip's default."""
    settings: dict[str, Any] = {
        "width": values["hidden_size"],
        "layers": values["num_hidden_layers"],
        # open_clip multiplies and cuts off.
        "mlp_ratio": (values["intermediate_size"] + 0.5) / values["hidden_size"],
    }
    if values["hidden_act"] == "gelu_pytorch_tanh":
        settings["act_kwargs"] = {"approximate": "tanh"}
    if values["layer_norm_eps"] != usual_eps:
        settings["norm_kwargs"] = {"eps": values["layer_norm_eps"]}
    return settings


def _tower(config: Mapping[str, Any], family: str, tower: str, path: Path) -> dict[str, Any]:
    """Return the checked settings of a tower, with transformers' defaults."""
    # Early versions stored the difference from the defaults a second time.
    values = {**_mapping(config, tower, path), **_mapping(config, f"{tower}_dict", path)}
    defaults = DEFAULTS[family, tower]
    return {
        key: _value(f"{tower}.{key}", default if values.get(key) is None else values[key], RULES[tower][key], path)
        for key, default in defaults.items()
    }


def _mapping(config: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    """Return an object of the configuration; empty if it is missing."""
    value = config.get(key)
    if value is not None and not isinstance(value, Mapping):
        raise invalid(path, f"{key} is not an object")
    return value or {}


def _value(key: str, value: Any, rule: Rule, path: Path) -> Any:
    """Return a value that its rule allows."""
    if not rule.fits(value):
        raise invalid(path, f"{key} is {repr(value)[:60]}; allowed is {rule.allowed}")
    return value


def _preprocessing(folder: Path, family: str, side: int) -> dict[str, Any]:
    """Return the preprocessing of a directory, or its family's if the file is missing."""
    usual: dict[str, Any] = {"interpolation": "bicubic"}
    if family == "siglip":
        usual |= {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"}
    for name in ("preprocessor_config.json", "processor_config.json"):
        path = folder / name
        if not path.is_file():
            continue
        values = document(path)
        values = values.get("image_processor", values) if name == "processor_config.json" else values
        if not isinstance(values, Mapping) or "image_mean" not in values:
            continue
        settings = {**usual, "mean": values["image_mean"], "std": values.get("image_std")}
        settings["interpolation"] = INTERPOLATIONS.get(values.get("resample", 3), "unknown")
        settings["resize_mode"] = _resize_mode(values, side, path)
        for key, value in settings.items():
            _value(key, value, PREPROCESS[key], path)
        return settings
    return usual


def _resize_mode(values: Mapping[str, Any], side: int, path: Path) -> str:
    """Return how images become squares: "shortest" (resize the shortest edge and cut the centre) or "squash"."""
    size, crop = values.get("size", {"shortest_edge": side}), values.get("crop_size", side)
    cuts = values.get("do_center_crop", "crop_size" in values)
    squash = {"height": side, "width": side}
    if isinstance(size, Mapping) and dict(size) == squash:
        return "squash"
    edge = size.get("shortest_edge") if isinstance(size, Mapping) else size
    if cuts and edge == side and crop in (side, squash):
        return "shortest"
    raise invalid(
        path,
        f"size {str(size)[:60]} with crop_size {str(crop)[:60]} does not give the {side} pixels of the model",
    )
