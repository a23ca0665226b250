"""Learned prompts as modules: a context in place of a template's words, and tokens in the image tower (CoOp, S-Prompts)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.added import OfTask
from models.contexts import context_span, with_context
from models.encoder import DualEncoder
from models.route import current_route
from models.scaled import Share

STD = 0.02
"""Standard deviation of tokens that start at random, as of CLIP's token embeddings."""


class Context(nn.Module):
    """A learned context [n, D] in place of a template's words before the class name (`models.places.token_embeddings`).

    Args:
        encoder: the encoder whose texts have the context.
        template: the template with these words.
        at_random: start at random and not from the words' embeddings.
    """

    def __init__(self, encoder: DualEncoder, template: str, at_random: bool = False):
        super().__init__()
        self.start, end = context_span(encoder.reader, template)
        ids = encoder.reader.rows(template, ["a"])[0, self.start : end].to(encoder.device)
        with torch.no_grad():
            words = encoder.token_embedding(ids)
        self.context = nn.Parameter(torch.randn_like(words) * STD if at_random else words.clone())

    def forward(self, ids: Tensor, embeddings: Tensor) -> Tensor | None:
        """Return embeddings [B, L, D] of prompts with the context; None without a route, which leaves them as they are."""
        return None if current_route() is None else with_context(embeddings, self.context.to(embeddings), self.start)


class ContextOfTask(OfTask):
    """Changes token embeddings with the `Context` of the route's task (`models.scaled.Share`)."""

    def forward(self, ids: Tensor, embeddings: Tensor) -> Tensor | None:  # type: ignore[override]  # two inputs
        """Return the changed embeddings [B, L, D], or None for a route without a task."""
        route = current_route()
        module = self._module(route.task) if isinstance(route, Share) and isinstance(route.task, int) else None
        return None if module is None else module(ids, embeddings)


class ImagePrompt(nn.Module):
    """Learned tokens [P, D] for the input of the image tower's first block. They start at random.

    Args:
        count: number P of tokens.
        width: width D of the tower.
    """

    def __init__(self, count: int, width: int):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(count, width) * STD)


class ImagePromptOfTask(OfTask):
    """Returns the tokens of the route's task (`models.scaled.Share`), for `models.places.image_tokens`."""

    def forward(self, x: Tensor) -> Tensor | None:
        """Return tokens [P, D], or [B, P, D] for a route with a task per image; None without a task."""
        route = current_route()
        if not isinstance(route, Share):
            return None
        if isinstance(route.task, int):
            module = self._module(route.task)
            return None if module is None else module.tokens
        tasks, index = torch.unique(route.task, return_inverse=True)
        tokens: Tensor = torch.stack([self._module(task).tokens for task in tasks.tolist()])[index]
        return tokens
