"""What a dual encoder computes that its tensors do not show: recorded with weights, and compared where weights are loaded.

QuickGELU and GELU have no parameters, and neither have the heads of an attention, the epsilon of a norm, pooling, the
preprocessing of images or the tokenizer: with another one the same tensors give other features, without an error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

# Letter case, punctuation, white space, accents, digits, and more words than any context holds: tokenizers differ in these.
SENTENCES = ("a photo of a cat.", "  Two RED boats_on the sea!", "naïve café, 3,141 km²", "one two three four five " * 40)
# Where classes of activations are defined: torch, timm, transformers.
ACTIVATIONS = ("torch.nn.modules.activation", "timm.layers.activations", "transformers.activations")
WORDS = {
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
# Where towers of timm and transformers keep how they pool.
POOLERS = (("trunk", "global_pool"), ("pooler", "use_pooler_output"))


def describe(encoder: Any) -> dict[str, Any]:
    """The settings of an encoder's function, as JSON: preprocessing, tokenizer, and "image" and "text" for the towers."""
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
    """What differs between two descriptions, as "activation of the image tower (QuickGELU in the file, GELU in the model)".

    Settings that one of them does not have are not compared.
    """
    found = []
    for name, value in actual.items():
        theirs = recorded.get(name)
        if isinstance(value, Mapping):
            inner = theirs if isinstance(theirs, Mapping) else {}
            found += [
                f"{WORDS.get(key, key)} of the {name} tower ({_said(inner[key])} in the file, {_said(value[key])} in the model)"
                for key in value
                if key in inner and inner[key] != value[key]
            ]
        elif None not in (theirs, value) and theirs != value:
            found.append(
                WORDS["tokens"]
                if name == "tokens"
                else f"{WORDS.get(name, name)} ({_said(theirs)} in the file, {_said(value)} in the model)"
            )
    return found


def is_quick(recorded: Mapping[str, Any] | None) -> bool:
    """Whether a description says that a tower computes QuickGELU."""
    towers = [] if recorded is None else [recorded.get("image"), recorded.get("text")]
    return any(isinstance(tower, Mapping) and QUICK in str(tower.get("activation")) for tower in towers)


def preprocessing(recorded: Mapping[str, Any] | None) -> dict[str, Any]:
    """The preprocessing that a description records, in open_clip's words; nothing without a description."""
    names = {"mean": "mean", "std": "std", "resize_mode": "resize_mode", "interpolation": "interpolation", "fill": "fill_color"}
    return {} if recorded is None else {ours: recorded[name] for name, ours in names.items() if name in recorded}


def _tokens(encoder: Any) -> str | None:
    """A digest of the token ids of a few sentences: cleaning, vocabulary, context length and padding decide them."""
    try:
        tokens = encoder.tokenize(SENTENCES)
    except Exception:  # a user's tokenizer may take fewer letters, and a model may have none
        return None
    return hashlib.sha256(str(tokens.tolist()).encode()).hexdigest()[:16]


def _towers(clip: Any) -> dict[str, list[nn.Module]]:
    """The modules of each tower, and the module that holds the tower's settings first."""
    # Not at the top: `differences` is for commands that do not load torch, too.
    from torch import nn

    image = [clip.visual, *clip.visual.modules()] if isinstance(getattr(clip, "visual", None), nn.Module) else []
    text = getattr(clip, "text", None)
    if isinstance(text, nn.Module):
        return {"image": image, "text": [text, *text.modules()]}
    parts = [clip.transformer, clip.ln_final] if hasattr(clip, "transformer") and hasattr(clip, "ln_final") else []
    return {"image": image, "text": [clip, *(module for part in parts for module in part.modules())] if parts else []}


def _tower(modules: list[nn.Module]) -> dict[str, Any]:
    if not modules:
        return {}
    top: Any = modules[0]
    settings: dict[str, Any] = {
        "activation": sorted(set(_activations(modules))),
        "eps": sorted({eps for m in modules if isinstance(eps := getattr(m, "eps", None), float)}),
        "heads": sorted({h for m in modules if isinstance(h := getattr(m, "num_heads", None), int)}),
    }
    # CLIP keeps the text tower's settings on the model, under names of their own.
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
    from torch import nn

    for module in modules:
        kind = type(module)
        if kind.__name__ == QUICK:
            yield QUICK
        elif kind.__module__ in ACTIVATIONS and kind is not nn.MultiheadAttention:
            tanh = getattr(module, "approximate", "none") == "tanh"
            yield f"{kind.__name__}{' (tanh)' if tanh else ''}"


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_said, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
