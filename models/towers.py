"""Assign the parameters of a dual encoder to its towers, by their names in open_clip's models."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models.registry import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

# open_clip's CLIP has the text tower's parts directly on the model. CustomTextCLIP and CoCa have them under `text.`.
UNPACKED_TEXT = ("transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection")
PARTS = {"visual": "image", "text": "text", "logit_scale": "scale", "logit_bias": "scale", "text_decoder": "unused"}


def tower_of(name: str) -> str:
    """Return the tower of a parameter: "image", "text", "scale" (logit scale and bias) or "unused".

    "unused" is CoCa's text decoder. It makes captions and has no part in features, so it never gets a gradient here.

    Args:
        name: a name of `encoder.clip.named_parameters()`.

    Raises:
        ValueError: the name belongs to none of open_clip's parts. Add a new part to the table; its tower is not guessed.
    """
    part = name.split(".", 1)[0]
    tower = "text" if part in UNPACKED_TEXT else PARTS.get(part)
    if tower is None:
        raise ValueError(f"the parameter {name!r} does not belong to a known tower")
    return tower


@contextmanager
def embedding_as(layer: nn.Module, embeddings: Tensor) -> Iterator[None]:
    """Let a layer of token embeddings return these embeddings [B, L, D] within the block, cut to the positions asked for."""
    handle = layer.register_forward_hook(lambda layer, inputs, output: embeddings[:, : output.shape[1]])
    try:
        yield
    finally:
        handle.remove()


def check_parts(clip: nn.Module) -> None:
    """Check that a dual encoder has the parts of open_clip's models.

    Raises:
        UserError: naming the missing parts and the required ones.
    """
    class_name, missing = type(clip).__name__, []
    for method in ("encode_image", "encode_text"):
        if not callable(getattr(clip, method, None)):
            missing.append(f"it has no method {method}")
        elif not _takes_normalize(getattr(clip, method)):
            missing.append(f"its method {method} does not take the argument normalize")
    if getattr(clip, "logit_scale", None) is None:
        missing.append("it has no parameter logit_scale")
    unassigned = dict.fromkeys(name.split(".", 1)[0] for name, _ in clip.named_parameters() if not _is_placed(name))
    if unassigned:
        missing.append(f"its parameters in {', '.join(map(repr, unassigned))} do not belong to a known tower")
    if missing:
        raise UserError(
            f"{class_name} cannot be used as a dual encoder: {'; '.join(missing)}. A dual encoder needs encode_image(pixels, "
            "normalize=False) and encode_text(tokens, normalize=False), which return [B, d], the parameter logit_scale, the "
            "image tower in the attribute `visual` and the text tower in `text`, with text.output_dim = d."
        )


def _takes_normalize(method: Callable[..., object]) -> bool:
    """Return whether a method accepts the argument `normalize`; True if its signature is unknown."""
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):
        return True
    return any(p.name == "normalize" or p.kind is p.VAR_KEYWORD for p in parameters)


def _is_placed(name: str) -> bool:
    """Return whether a parameter belongs to a known tower."""
    try:
        return bool(tower_of(name))
    except ValueError:
        return False
