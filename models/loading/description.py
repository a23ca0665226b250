"""Settings of a dual encoder that its tensors do not show: recorded with weights, and compared when weights are loaded.

QuickGELU and GELU have no parameters, and neither have the heads of an attention, the epsilon of a norm, pooling, the
preprocessing of images or the tokenizer. If one of them differs, the same tensors give other features without an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from models.encoder import DualEncoder

# Tokenizers differ in letter case, punctuation, white space, accents, digits, and text longer than the context.
SENTENCES = ("a photo of a cat.", "  Two RED boats_on the sea!", "naïve café, 3,141 km²", "one two three four five " * 40)
# Modules of torch, timm and transformers that define activations.
ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations", "transformers.activations")
LABELS = {
    "mean": "mean of the pixels",
    "std": "standard deviation of the pixels",
    "resize_mode": "resize mode",
    "interpolation": "interpolation",
    "fill": "fill colour",
    "image_size": "image size",
    "tokens": "tokenizer",
    "activation": "activation",
    "eps": "epsilon of the norms",
    "heads": "attention heads",
    "pooling": "pooling",
    "mask": "causal mask",
    "padding": "padding token",
}
QUICK = "QuickGELU"
# Attributes with the pooling of timm's and transformers' towers.
POOLERS = (("trunk", "global_pool"), ("pooler", "use_pooler_output"))


def describe(encoder: DualEncoder) -> dict[str, Any]:
    """Return the settings of an encoder as JSON: preprocessing, tokenizer, and "image" and "text" for the towers."""
    preprocess = encoder.preprocess
    return {
        "mean": [round(value, 6) for value in encoder.mean.flatten().tolist()],
        "std": [round(value, 6) for value in encoder.std.flatten().tolist()],
        "resize_mode": preprocess.resize_mode,
        "interpolation": preprocess.interpolation,
        "fill": preprocess.fill,
        "image_size": encoder.image_size,
        "tokens": _tokens(encoder),
        **{tower: _tower(modules) for tower, modules in _towers(encoder.clip).items()},
    }


def differences(recorded: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    """Return the differences between two descriptions, in words; settings that are missing in one of them are not compared.

    Example: "activation of the image tower (QuickGELU in the file, GELU in the model)".
    """
    texts = []
    for name, value in actual.items():
        recorded_value = recorded.get(name)
        if isinstance(value, Mapping):
            inner = recorded_value if isinstance(recorded_value, Mapping) else {}
            texts += [
                f"{LABELS.get(key, key)} of the {name} tower "
                f"({_text(inner[key])} in the file, {_text(value[key])} in the model)"
                for key in value
                if key in inner and inner[key] != value[key]
            ]
        elif None not in (recorded_value, value) and recorded_value != value:
            texts.append(
                LABELS["tokens"]
                if name == "tokens"
                else f"{LABELS.get(name, name)} ({_text(recorded_value)} in the file, {_text(value)} in the model)"
            )
    return texts


def is_quick(recorded: Mapping[str, Any] | None) -> bool:
    """Return whether a tower of a description computes QuickGELU."""
    towers = [] if recorded is None else [recorded.get("image"), recorded.get("text")]
    return any(isinstance(tower, Mapping) and QUICK in str(tower.get("activation")) for tower in towers)


def preprocessing(recorded: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the preprocessing of a description under open_clip's names; empty without a description."""
    names = {"mean": "mean", "std": "std", "resize_mode": "resize_mode", "interpolation": "interpolation", "fill": "fill_color"}
    return {} if recorded is None else {ours: recorded[name] for name, ours in names.items() if name in recorded}


def _tokens(encoder: DualEncoder) -> str | None:
    """Return a digest of the token ids of a few sentences, which cleaning, vocabulary, context length and padding decide."""
    try:
        tokens = encoder.tokenize(SENTENCES)
    except Exception:  # a user's tokenizer may not accept all letters, and a model may have no tokenizer
        return None
    return hashlib.sha256(str(tokens.tolist()).encode()).hexdigest()[:16]


def _towers(clip: Any) -> dict[str, list[nn.Module]]:
    """Return the modules of each tower. The first one has the tower's settings."""
    # Imported here, because commands that do not load torch use `differences`.
    from torch import nn

    image = [clip.visual, *clip.visual.modules()] if isinstance(getattr(clip, "visual", None), nn.Module) else []
    text = getattr(clip, "text", None)
    if isinstance(text, nn.Module):
        return {"image": image, "text": [text, *text.modules()]}
    parts = [clip.transformer, clip.ln_final] if hasattr(clip, "transformer") and hasattr(clip, "ln_final") else []
    return {"image": image, "text": [clip, *(module for part in parts for module in part.modules())] if parts else []}


def _tower(modules: list[nn.Module]) -> dict[str, Any]:
    """Return the settings of a tower."""
    if not modules:
        return {}
    top: Any = modules[0]
    settings: dict[str, Any] = {
        "activation": sorted(set(_activations(modules))),
        "eps": sorted({eps for m in modules if isinstance(eps := getattr(m, "eps", None), float)}),
        "heads": sorted({h for m in modules if isinstance(h := getattr(m, "num_heads", None), int)}),
    }
    # CLIP has the text tower's settings on the model, under other names.
    kind = getattr(top, "text_pool_type", getattr(top, "pool_type", None))
    end = getattr(top, "text_eos_id", getattr(top, "eos_id", None)) if kind == "eos" else None
    of_trunk = [getattr(getattr(top, name, None), attribute, None) for name, attribute in POOLERS]
    after = bool(getattr(top, "final_ln_after_pool", False))
    settings["pooling"] = [_plain(value) for value in (kind, end, *of_trunk, after) if value is not None]
    if hasattr(top, "attn_mask"):
        settings["mask"] = top.attn_mask is not None
    if getattr(top, "cls_emb", None) is not None:
        settings["padding"] = _plain(top.pad_id)
    return settings


def _activations(modules: list[nn.Module]) -> Iterator[str]:
    """Yield the names of the activations among modules."""
    from torch import nn

    for module in modules:
        kind = type(module)
        if kind.__name__ == QUICK:
            yield QUICK
        elif kind.__module__ in ACTIVATIONS and kind is not nn.MultiheadAttention:
            tanh = getattr(module, "approximate", "none") == "tanh"
            yield f"{kind.__name__}{' (tanh)' if tanh else ''}"


def _plain(value: object) -> object:
    """Return a value that JSON can hold."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _text(value: object) -> str:
    """Return a setting's value for a message."""
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
