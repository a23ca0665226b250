"""Which part of a dual encoder a parameter belongs to, by its name in open_clip's models."""

from __future__ import annotations

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
