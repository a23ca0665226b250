"""S-Prompts: prompts per task in front of frozen towers, chosen by the nearest centre of the tasks' features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.scenario import DomainExperience
from models import places
from models.blocks import blocks
from models.context_modules import Context, ContextOfTask, ImagePrompt, ImagePromptOfTask
from models.contexts import context_span
from models.route import PLAIN, routed
from models.setting import setting
from strategies.by_task import ByTask, Choice
from strategies.engine.batches import mixed_seed
from strategies.learned_context import LearnedContext
from strategies.task_choice import Statistics, k_means, nearest_task


class SPrompts(LearnedContext, ByTask):
    """S-Prompts: each task learns its own image tokens and its own context of class prompts. Both towers are frozen.

    A task has P learned tokens at the input of the image tower's first block, after the class token, and a context of n vectors
    in place of the words before the class name, [context] NAME. (`coop`). They train by cross-entropy over the task's classes.
    K-means gives each task k centres of the unit features of its training images, computed without prompts. A test image gets
    the prompts of the task that has the nearest centre, so images of tasks that were not trained get prompts of another task.

    Source:
        Wang et al. 2022, NeurIPS 2022, arXiv 2207.12819 (S-liPrompts), and its released code (iamwangyabin/S-Prompts).

    Differs from the released code:
        A task there is a domain with the classes of all others. Here its classes may be others.
        The context starts from the words `context`, not at random (`random_tokens`). The momentum is our choice.

    Defaults:
        From the released code: 10 image tokens, 5 centres, SGD with learning rate 0.01, 30 passes over the task's images.

    Command:
        `python cli.py bench mtil --strategy s-prompts`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(LearnedContext.Options):
        """Options of `s-prompts`."""

        image_tokens: int = setting(10, "learned tokens in the image tower", least=0, most=1024)
        centres: int = setting(5, "centres per task", least=1, most=1024)

    def before_run(self) -> None:
        """Place the prompts."""
        super().before_run()
        context_span(self.encoder.reader, self.template)
        self.classifier.routed_template = self.template
        places.token_embeddings(self.encoder, ContextOfTask(self.encoder, "context"))
        if self.options.image_tokens:
            places.image_tokens(self.encoder, ImagePromptOfTask(self.encoder, "tokens"))

    def grow(self, experience: DomainExperience) -> None:
        """Add the task's prompts and its centres."""
        task, options = experience.current_experience, self.options
        context = Context(self.encoder, self.template, at_random=options.random_tokens > 0)
        self.add_module_for(task, "context", context, "text")
        if options.image_tokens:
            width = places.shape(blocks(self.encoder, "image")[0]).width
            self.add_module_for(task, "tokens", ImagePrompt(options.image_tokens, width), "image")
        self.add_module_for(task, "centres", Statistics(centres=(options.centres, self.encoder.feature_dim)), "none")

    def before_experience(self) -> None:
        """Compute the task's centres."""
        super().before_experience()
        task = self.experience.current_experience
        with routed(PLAIN):
            features = self.task_features().features
        found = k_means(features, self.options.centres, mixed_seed(self.seed, task, 9))
        # Fewer different images than centres: the first centre again.
        padding = found[:1].expand(self.options.centres - len(found), -1)
        self.statistics(task).fill(centres=torch.cat([found, padding]))

    def choose(self, features: Tensor) -> Choice:
        """Return the task of the nearest centre."""
        tasks = nearest_task(features, [self.statistics(task).get_buffer("centres") for task in range(self.trained)])
        return Choice(tasks, features.new_ones(len(features)))
