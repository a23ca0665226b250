"""CoOp: one learned context for the class prompts of all tasks, in front of frozen towers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models import places
from models.candidates import Candidates
from models.context_modules import Context
from models.route import PLAIN, routed
from strategies.learned_context import LearnedContext

CONTEXT = "context"
"""The route of texts with the learned context."""


class CoOp(LearnedContext):
    """CoOp: the words before the class name are learned vectors. Both towers are frozen.

    A class prompt is [context] NAME. with n vectors in place of the embeddings of the words `context`. One context serves all
    classes and is trained by each task in turn with cross-entropy over the task's classes. At the start it is these words, so
    the logits are those of the template "a photo of a NAME.". From the first task on, all tasks and held-out domains are
    classified by it and not by their own templates.

    Source:
        Zhou et al. 2022, IJCV 130, arXiv 2109.01134 (CoOp, unified context), applied to a sequence of tasks.

    Differs from the paper:
        The paper learns one task. Here the context of a task is the start of the next one.

    Defaults:
        The optimiser is that of `s-prompts`. `random_tokens=16` starts from 16 random vectors in place of words.

    Command:
        `python cli.py bench mtil --strategy coop`
    """

    def before_run(self) -> None:
        """Place the context."""
        super().before_run()
        torch.manual_seed(self.seed)
        context = Context(self.encoder, self.template, at_random=self.options.random_tokens > 0)
        places.token_embeddings(self.encoder, context)
        self.classifier.routed_template = self.template

    def training_route(self) -> str:
        """Return the route of texts with the context."""
        return CONTEXT

    def test_route(self) -> Any:
        """Return the route of texts with the context; before the first task, that of zero-shot."""
        return CONTEXT if self.trained else PLAIN

    def predict(self, features: Tensor, candidates: Candidates) -> Tensor:
        """Return logits with the context; before the first task, zero-shot's."""
        with routed(self.test_route()):
            return super().predict(features, candidates)
