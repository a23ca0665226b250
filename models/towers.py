"""Which part of a dual encoder a parameter belongs to, by its name in open_clip's models."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from models.registry import UserError

if TYPE_CHECKING:
    from torch import nn

# open_clip's CLIP keeps its text tower unpacked on the model; CustomTextCLIP and CoCa keep theirs under `text.`.
UNPACKED_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
PARTS = {"visual": "image", "text": "text", "logit_scale": "scale", "logit_bias": "scale", "text_decoder": "unused"}


def tower_of(name: str) -> str:
    """ "image", "text", "scale" (logit scale and bias) or "unused", for a name as `encoder.clip.named_parameters()` gives it.

    "unused" is CoCa's text decoder: captions come from it, features do not, so it never gets a gradient here.

    Raises:
        ValueError: a name that belongs to none of open_clip's parts: a new part must be placed, not guessed.
    """
    part = name.split(".", 1)[0]
    tower = "text" if part in UNPACKED_TEXT else PARTS.get(part)
    if tower is None:
        raise ValueError(f"the parameter {name!r} belongs to no tower that is known")
    return tower


def check_parts(clip: nn.Module) -> None:
    """Check that a dual encoder has the parts of open_clip's models. Raises UserError, saying what is missing and wanted."""
    kind, missing = type(clip).__name__, []
    for method in ("encode_image", "encode_text"):
        if not callable(getattr(clip, method, None)):
            missing.append(f"it has no method {method}")
        elif not _takes_normalize(getattr(clip, method)):
            missing.append(f"its method {method} takes no argument normalize")
    if getattr(clip, "logit_scale", None) is None:
        missing.append("it has no parameter logit_scale")
    strange = dict.fromkeys(name.split(".", 1)[0] for name, _ in clip.named_parameters() if not _is_placed(name))
    if strange:
        missing.append(f"its parameters in {', '.join(map(repr, strange))} belong to no tower that is known")
    if missing:
        raise UserError(
            f"{kind} cannot be used as a dual encoder: {'; '.join(missing)}. Wanted is a module with encode_image(pixels, "
            "normalize=False) and encode_text(tokens, normalize=False), which return [B, d], the parameter logit_scale, the "
            "image tower in the attribute `visual` and the text tower in `text`, with text.output_dim = d."
        )


def _takes_normalize(method: Any) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == "normalize" or p.kind is p.VAR_KEYWORD for p in parameters)


def _is_placed(name: str) -> bool:
    try:
        return bool(tower_of(name))
    except ValueError:
        return False
