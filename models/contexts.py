"""Learned contexts of class prompts (CoOp): which positions of a prompt they take, and prompts with a context put in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.prompt_reader import PromptReader
from models.registry import UserError

NAMES = ("a", "0")
"""Two class names whose first tokens differ for every tokenizer."""


def context_span(reader: PromptReader, template: str) -> tuple[int, int]:
    """Return the first position of a template's words before the class name, and the position after the last one.

    A start token is not included. The positions are those in which the prompts of two names agree before they first differ.

    Args:
        reader: the model's prompt reader.
        template: a template with "{}".

    Raises:
        UserError: the template has no words before the name.
    """
    start, end = (_first_difference(reader.rows(words, NAMES)) for words in ("{}", template))
    if end <= start or not template.partition("{}")[0].strip():
        raise UserError(f"The context {template!r} has no words before the class name; give some, such as 'a photo of a'.")
    return start, end


def with_context(embeddings: Tensor, context: Tensor, start: int) -> Tensor:
    """Return prompts whose positions from `start` on are the context.

    Args:
        embeddings: token embeddings [C, L, d].
        context: the context [n, d].
        start: the first position to replace.

    Returns:
        Token embeddings [C, L, d].
    """
    rows = context.expand(len(embeddings), -1, -1)
    return torch.cat([embeddings[:, :start], rows, embeddings[:, start + len(context) :]], dim=1)


def placeholder(count: int) -> str:
    """Return a template of `count` words before the class name, for a context that starts at random."""
    return f"{' '.join(['x'] * count)} {{}}."


def _first_difference(rows: Tensor) -> int:
    differs: Sequence[bool] = (rows[0] != rows[1]).tolist()
    return differs.index(True)
