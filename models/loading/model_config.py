"""Read the `open_clip_config.json` of a model directory or hub repository, and accept only known settings.

The file may come from anybody. Every key, type and range is checked against the tables below before open_clip, timm or
transformers sees a value. A configuration therefore cannot name code, another repository or another file, and cannot ask for
more memory than the machine has. The names and defaults are open_clip's.
"""

from __future__ import annotations

import copy
import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from models.files import open_file, reason
from models.registry import UserError, first_line

# Patches of an image, about ten times the number of any model. Attention takes time and memory by their square.
MOST_PATCHES = 16_384
# Bytes of a file. A configuration has about a hundred lines, and a file of another kind is not read into memory.
LARGEST_FILE = 1_000_000
# The name of a hub repository, or an empty string.
REPOSITORY = r"([\w.-]{1,96}(/[\w.-]{1,96})?)?"


class Rule(NamedTuple):
    """The allowed values of a setting, in words and as a test."""

    allowed: str
    fits: Callable[[Any], bool]


class ModelConfig(NamedTuple):
    """A checked configuration: `model` for open_clip's model classes, `preprocess` for images, and the file for messages."""

    model: dict[str, Any]
    preprocess: dict[str, Any]
    path: Path

    @property
    def text(self) -> dict[str, Any]:
        """Settings of the text tower."""
        settings: dict[str, Any] = self.model["text_cfg"]
        return settings


def whole(least: int, most: int) -> Rule:
    """Return the rule for whole numbers in a range."""
    return Rule(f"a whole number from {least:,} to {most:,}", lambda v: type(v) is int and least <= v <= most)


def number(least: float, most: float) -> Rule:
    """Return the rule for finite numbers in a range."""

    def fits(value: Any) -> bool:
        return type(value) in (int, float) and math.isfinite(value) and least <= value <= most

    return Rule(f"a number from {least:g} to {most:g}", fits)


def choice(*values: str) -> Rule:
    """Return the rule for one of several strings."""
    return Rule(f"one of {', '.join(map(repr, values))}", lambda v: isinstance(v, str) and v in values)


def optional(rule: Rule) -> Rule:
    """Return a rule that also allows null."""
    return Rule(f"{rule.allowed}, or null", lambda v: v is None or rule.fits(v))


def either(*rules: Rule) -> Rule:
    """Return the rule for values that any of the rules allows."""
    return Rule(" or ".join(r.allowed for r in rules), lambda v: any(r.fits(v) for r in rules))


def several(rule: Rule, count: int) -> Rule:
    """Return the rule for lists of a length whose items are allowed by a rule."""
    fits = lambda v: isinstance(v, list) and len(v) == count and all(map(rule.fits, v))  # noqa: E731
    return Rule(f"a list of {count}, each {rule.allowed}", fits)


def matching(pattern: str, allowed: str) -> Rule:
    """Return the rule for strings that match a regular expression."""
    return Rule(allowed, lambda v: isinstance(v, str) and re.fullmatch(pattern, v) is not None)


FLAG = Rule("true or false", lambda v: type(v) is bool)
WIDTH = whole(1, 65_536)
LAYERS = whole(1, 1_024)
RATIO = number(0.01, 64)
SHARE = number(0, 0.99)
SIDE = whole(1, 4_096)
SIZE = either(SIDE, several(SIDE, 2))
COLOURS = several(number(-1_000, 1_000), 3)

# Settings of the blocks of both towers.
BLOCKS: dict[str, Any] = {
    "width": WIDTH,
    "mlp_ratio": RATIO,
    "ls_init_value": optional(number(-10, 10)),
    "final_ln_after_pool": FLAG,
    "output_tokens": FLAG,
    "act_kwargs": {"approximate": choice("none", "tanh")},
    "norm_kwargs": {"eps": number(1e-12, 1)},
    "block_type": optional(choice("default", "custom")),
    "qk_norm": FLAG,
    "scaled_cosine_attn": FLAG,
    "scale_heads": FLAG,
    "scale_attn_inner": FLAG,
    "scale_attn": FLAG,
    "scale_fc": FLAG,
}
VISION: dict[str, Any] = {
    **BLOCKS,
    "layers": either(LAYERS, several(LAYERS, 4)),
    "head_width": WIDTH,
    "patch_size": optional(SIDE),
    "image_size": SIZE,
    "patch_dropout": SHARE,
    "attentional_pool": either(FLAG, choice("parallel", "cascade")),
    "attn_pooler_queries": whole(1, 65_536),
    "attn_pooler_heads": whole(1, 1_024),
    "no_ln_pre": FLAG,
    "pos_embed_type": choice("learnable", "sin_cos_2d"),
    "pool_type": choice("tok", "avg"),
    # A name of timm: without a prefix such as "hf-hub:", which would fetch another repository, and not a path.
    "timm_model_name": optional(matching(r"[a-z0-9_]+(\.[a-z0-9_]+)?", "the name of a model that timm has")),
    "timm_model_pretrained": FLAG,
    "timm_pool": choice("", "avg", "max", "avgmax", "catavgmax", "token", "map", "abs_attn", "rot_attn"),
    "timm_proj": optional(choice("", "linear", "mlp", "none")),
    "timm_proj_bias": FLAG,
    "timm_drop": SHARE,
    "timm_drop_path": optional(SHARE),
}
# `additional_special_tokens`, `bpe_path` and `reduction_mask` of open_clip's tokenizer, and all other arguments of
# transformers' `from_pretrained` (`trust_remote_code`, `tokenizer_file`, ...), are left out on purpose.
TOKENIZER = {
    "clean": choice("whitespace", "lower", "canonicalize"),
    "strip_sep_token": FLAG,
    "language": optional(matching(r"[\w-]{1,40}", "the code of a language")),
}
TEXT: dict[str, Any] = {
    **BLOCKS,
    "layers": LAYERS,
    "heads": whole(1, 1_024),
    "context_length": whole(2, 8_192),
    "vocab_size": whole(1, 10_000_000),
    "embed_cls": FLAG,
    "pad_id": whole(0, 10_000_000),
    "eos_id": whole(0, 10_000_000),
    "no_causal_mask": FLAG,
    "pool_type": choice("argmax", "eos", "last", "first"),
    "proj_bias": FLAG,
    "proj_type": choice("linear", "none"),
    "hf_tokenizer_name": optional(matching(REPOSITORY, "the name of a repository")),
    "hf_model_name": optional(matching(REPOSITORY, "the name of a repository")),
    "hf_model_pretrained": FLAG,
    "hf_proj_type": optional(choice("linear", "mlp")),
    "hf_pooler_type": optional(choice("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler")),
    "tokenizer_mode": optional(choice("", "clips")),
    "tokenizer_kwargs": TOKENIZER,
}
MODEL: dict[str, Any] = {
    "embed_dim": WIDTH,
    "vision_cfg": VISION,
    "text_cfg": TEXT,
    "multimodal_cfg": {
        **TEXT,
        "dim_head": WIDTH,
        "n_queries": whole(1, 65_536),
        "attn_pooler_heads": whole(1, 1_024),
    },
    "quick_gelu": FLAG,
    "custom_text": FLAG,
    "init_logit_scale": number(-100, 100),
    "init_logit_bias": optional(number(-1_000, 1_000)),
    "nonscalar_logit_scale": FLAG,
    "pad_id": whole(0, 10_000_000),
}
PREPROCESS: dict[str, Any] = {
    "size": SIZE,
    "mode": choice("RGB"),
    "mean": COLOURS,
    "std": several(number(1e-6, 1_000), 3),
    "interpolation": choice("bicubic", "bilinear", "random"),
    "resize_mode": choice("shortest", "squash", "longest"),
    "fill_color": whole(0, 255),
}
NEEDED = ("embed_dim", "vision_cfg", "text_cfg")


def read(path: Path) -> ModelConfig:
    """Return the checked configuration in a file.

    Raises:
        UserError: the file cannot be read or is not JSON, or a setting is missing, unknown or out of its range.
    """
    values = document(path)
    model, preprocess = values.get("model_cfg"), values.get("preprocess_cfg")
    if model is None and all(name in values for name in NEEDED):
        raise invalid(path, 'its settings must be under "model_cfg", as in {"model_cfg": {...}, "preprocess_cfg": {...}}')
    if not isinstance(model, dict):
        raise invalid(path, "it has no object model_cfg with embed_dim, vision_cfg and text_cfg")
    model = _checked(model, MODEL, "model_cfg", path)
    for name in NEEDED:
        if name not in model:
            raise invalid(path, f"model_cfg.{name} is missing")
    if "multimodal_cfg" in model and not model.get("custom_text"):
        raise invalid(path, "model_cfg.multimodal_cfg needs model_cfg.custom_text to be true")
    check_patches(model["vision_cfg"], path)
    preprocess = {} if preprocess is None else _checked(preprocess, PREPROCESS, "preprocess_cfg", path)
    return ModelConfig(model, preprocess, path)


def check_preprocess(values: object, path: Path) -> dict[str, Any]:
    """Check the image settings that a weights file records, as those of a configuration. Raises UserError."""
    return _checked(values, PREPROCESS, "the recorded preprocessing", path)


def invalid(path: Path, problem: str) -> UserError:
    """Return the error for a configuration that cannot be used."""
    return UserError(f"The model configuration {path} is not valid: {problem}.")


def check_patches(vision: Mapping[str, Any], path: Path) -> None:
    """Raise UserError for images with too many patches."""
    size, patch = vision.get("image_size", 224), vision.get("patch_size") or 16
    rows, columns = size if isinstance(size, list) else (size, size)
    patches = (rows // patch) * (columns // patch)
    native = not vision.get("timm_model_name") and not isinstance(vision.get("layers"), list)
    if native and patches > MOST_PATCHES:
        problem = f"its images have {patches:,} patches (image_size, patch_size), and at most {MOST_PATCHES:,} are allowed"
        raise invalid(path, problem)


def document(path: Path) -> dict[str, Any]:
    """Return the JSON object in a configuration file. Raises UserError if it cannot be read or has no object."""
    try:
        with open_file(path) as opened:
            content = opened.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise ValueError(f"it is larger than {LARGEST_FILE:,} bytes")
        values = json.loads(content.decode("utf-8-sig"), parse_constant=_no_constant)
    except OSError as error:
        raise UserError(f"The model configuration {path} cannot be read: {reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise invalid(path, "it is not UTF-8 text") from error
    # ValueError: not JSON, or a number with too many digits. RecursionError: too deeply nested brackets.
    except (ValueError, RecursionError) as error:
        raise invalid(path, f"it is not JSON ({first_line(error)})") from error
    if not isinstance(values, dict):
        raise invalid(path, f"it is a JSON {type(values).__name__}, not an object")
    return values


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and infinity."""
    raise ValueError(f"{name} is not a JSON number")


def _checked(values: object, rules: Mapping[str, Any], where: str, path: Path) -> dict[str, Any]:
    """Return a copy of the settings, each allowed by its rule. Null is dropped for settings that may not be null."""
    if not isinstance(values, dict):
        raise invalid(path, f"{where} is {_shown(values)}, but must be an object")
    checked: dict[str, Any] = {}
    for name, value in values.items():
        rule = rules.get(name)
        if rule is None:
            near = difflib.get_close_matches(name, rules, n=1, cutoff=0.6)
            hint = f"; did you mean {near[0]!r}" if near else ""
            raise invalid(path, f"{where} has the unknown setting {_shown(name)}{hint}")
        if isinstance(rule, dict):
            if value is not None:
                checked[name] = _checked(value, rule, f"{where}.{name}", path)
        elif rule.fits(value):
            checked[name] = copy.deepcopy(value)
        elif value is None and name not in NEEDED:
            # open_clip writes null for settings at their default.
            continue
        else:
            raise invalid(path, f"{where}.{name} is {_shown(value)}; allowed is {rule.allowed}")
    return checked


def _shown(value: object) -> str:
    """Return a value for a message, shortened."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
