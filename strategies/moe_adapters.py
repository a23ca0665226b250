"""MoE-Adapters: a bank of adapters parallel to every MLP of a frozen encoder, with a router per task."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from benchmarks.scenario import DomainExperience
from models import places
from models.blocks import blocks
from models.candidates import Candidates
from models.experts import Expert, ExpertBank, Router
from models.gates import imbalance
from models.registry import UserError
from models.route import PLAIN, routed
from models.setting import setting
from strategies.auto_encoders import AutoEncoder, auto_encoder, reconstruction_errors
from strategies.by_task import ByTask, Choice
from strategies.engine.batches import mixed_seed
from strategies.engine.strategy import Batch
from strategies.task_choice import Gaussian, Statistics, gaussian, held_out_scores, log_densities


class MoEAdapters(ByTask):
    """MoE-Adapters: experts that the tasks share, a router per task, and experts that are frozen after a task.

    Parallel to the MLP of every block of both towers are E experts, each a bottleneck MLP whose last layer starts at zero. The
    block's state x after attention is their input, and the state of the first token decides their weights:

        block(x) + 0.1 * sum_e w_e * expert_e(x),    w = softmax over the two largest of x_0 R (noise is added in training)

    Each task has its routers R. After a task the two experts that its training chose most often are frozen, in each block. With
    `balance` above 0 the loss has the term balance * (imbalance of the experts' weights and of their use).

    At test time an image needs the routers of one task, or plain CLIP. `task` decides how the task is chosen, from features
    without experts: by "gaussian", the largest log-density under a normal distribution per task (as in `diki`); by "ddas", the
    smallest reconstruction error of an auto-encoder per task; or "oracle", the true task, which only --protocol task allows. An
    image gets plain CLIP if the score of its task is worse than those of a share `accept` of the task's training images, each
    scored by what is fitted on others (five parts).

    Source:
        Yu et al. 2024, CVPR 2024, arXiv 2403.11549, and its released code (JiazuoYu/MoE-Adapters4CL).

    Differs from the released code:
        It averages the auto-encoders' error over a test batch, whose images belong to one dataset, and chooses one task for the
        batch. Here each image has its own choice; `choose=batch` is the released rule, which depends on the batch.
        Its auto-encoders see features of AlexNet, with one more for TinyImageNet, and plain CLIP answers above an error of
        0.0655. Here they see the encoder's own image features, times sqrt(d), and the limit comes from the training images.
        That code computes the balance term and does not add it to the loss, as here with balance 0.
        Towers without a class token use the first patch.

    Defaults:
        From the released code (MTIL): 22 experts of width 64, two per input, scale 0.1, dropout 0.1, AdamW without decay,
        1,001 updates of 64 images, warm-up 100, label smoothing 0.2, auto-encoders with 300 updates. Its learning rates differ
        by dataset, from 1e-4 to 5e-3; here it is 1e-3. `accept` and the width of the auto-encoders' code are our choice.

    Command:
        `python cli.py bench mtil --strategy moe-adapters`
    """

    options: Options

    @dataclass(frozen=True)
    class Options(ByTask.Options):
        """Options of `moe-adapters`."""

        experts: int = setting(22, "experts per block", least=1, most=4096)
        width: int = setting(64, "hidden width of an expert", least=1, most=65_536)
        dropout: float = setting(0.1, "share of hidden values that training drops", least=0, below=1)
        scale: float = setting(0.1, "factor of the experts' sum")
        freeze: int = setting(2, "experts per block that are frozen after a task", least=0)
        task: Literal["gaussian", "ddas", "oracle"] = setting("gaussian", "how the task of a test image is chosen")
        choose: Literal["image", "batch"] = setting(
            "image", "choose a task for each image, or one for each test batch as the released code; depends on the batch"
        )
        accept: float = setting(0.95, "share of a task's training images whose score a test image must reach", least=0, most=1)
        code: int = setting(0, "width of the auto-encoders' code; 0: half the width of the features", least=0)
        balance: float = setting(0.0, "weight of the balance term", least=0)
        lr: float = 1e-3

    def before_run(self) -> None:
        """Place the experts."""
        super().before_run()
        torch.manual_seed(self.seed)
        self.banks: dict[str, ExpertBank] = {}
        self.routed_blocks = blocks(self.encoder)
        options = self.options
        for block in self.routed_blocks:
            width, name = places.shape(block).width, self._name(block.path)
            experts = [Expert(width, options.width, options.dropout) for _ in range(options.experts)]
            self.banks[name] = ExpertBank(self.encoder, name, experts, options.scale)
            places.beside_mlp(self.encoder, block, self.banks[name])

    def grow(self, experience: DomainExperience) -> None:
        """Add the task's routers and the tensors that choose it. Frozen experts stay out of the task's optimiser."""
        task, width = experience.current_experience, self.encoder.feature_dim
        for block in self.routed_blocks:
            router = Router(places.shape(block).width, self.options.experts)
            self.add_module_for(task, self._name(block.path), router, block.tower)  # type: ignore[arg-type]  # image or text
        if self.options.task == "gaussian":
            self.add_module_for(task, "choice", Statistics(mean=(width,), factor=(width, width), limit=()), "none")
        elif self.options.task == "ddas":
            code = self._code
            shapes = {"down": (code, width), "down_bias": (code,), "up": (width, code), "up_bias": (width,), "limit": ()}
            self.add_module_for(task, "choice", Statistics(**shapes), "none")
        for bank in self.banks.values():
            bank.freeze()

    def before_experience(self) -> None:
        """Compute the tensors that choose the task, and start to count the experts' use."""
        super().before_experience()
        for bank in self.banks.values():
            bank.start_counts()
            bank.gates = [] if self.options.balance else None
        if self.options.task == "oracle":
            if self.experience.protocol != "task":
                raise UserError(
                    f"--set task=oracle needs the task of each test image, which --protocol {self.experience.protocol} "
                    "withholds. Use --protocol task, or task=gaussian or task=ddas."
                )
            return
        with routed(PLAIN):
            features = self.task_features().features
        task = self.experience.current_experience
        tensors: AutoEncoder | Gaussian
        if self.options.task == "gaussian":
            tensors = gaussian(features)
            scores = held_out_scores(features, gaussian, lambda rows, fitted: log_densities(rows, [fitted])[:, 0])
        else:
            inputs = self._inputs(features)

            def fit(rows: Tensor) -> AutoEncoder:
                return auto_encoder(rows, self._code, mixed_seed(self.seed, task, 10))

            tensors = fit(inputs)
            scores = held_out_scores(inputs, fit, lambda rows, fitted: -reconstruction_errors(rows, [fitted])[:, 0])
        self.statistics(task).fill(**tensors._asdict(), limit=torch.quantile(scores, 1 - self.options.accept))

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy plus the balance term."""
        loss = super().compute_loss(batch)
        if not self.options.balance:
            return loss
        terms = []
        for bank in self.banks.values():
            terms += [imbalance(gates) for gates in bank.gates or ()]
            bank.gates = []
        balance = torch.stack(terms).sum()
        self.log(cross_entropy=loss, balance=balance)
        return loss + self.options.balance * balance

    def after_experience(self) -> None:
        """Freeze the experts that the task chose most often."""
        super().after_experience()
        for bank in self.banks.values():
            bank.gates = None
            bank.end_task(self.options.freeze)

    def choose(self, features: Tensor) -> Choice:
        """Return the task with the best score of each image, or of the batch, and -1 where it is below the task's limit."""
        if self.options.task == "oracle":
            # `predict` knows the task from the candidates.
            return Choice(torch.full((len(features),), -1, device=features.device), features.new_ones(len(features)))
        tasks = [self.statistics(task) for task in range(self.trained)]
        limits = torch.stack([task.get_buffer("limit") for task in tasks])
        tensors = [[buffer for name, buffer in task.named_buffers() if name != "limit"] for task in tasks]
        if self.options.task == "gaussian":
            scores = log_densities(features, [Gaussian(*each) for each in tensors])
        else:
            scores = -reconstruction_errors(self._inputs(features), [AutoEncoder(*each) for each in tensors])
        if self.options.choose == "batch":
            scores = scores.mean(dim=0).expand_as(scores)
        best, chosen = scores.max(dim=1)
        return Choice(chosen.where(best >= limits[chosen], -1), features.new_ones(len(features)))

    def predict(self, features: Tensor, candidates: Candidates) -> Tensor:
        """Return logits of each image with the routers of its task."""
        if self.options.task == "oracle" and self.choice is not None and candidates.tasks[0] < self.trained:
            task = torch.full_like(self.choice.tasks, candidates.tasks[0])
            self.choice = Choice(task, self.choice.scales)
            features = self.with_modules(features, self.choice)
        return super().predict(features, candidates)

    @property
    def _code(self) -> int:
        return int(self.options.code or self.encoder.feature_dim // 2)

    @staticmethod
    def _inputs(features: Tensor) -> Tensor:
        """Return features whose entries have a mean square of 1, in the range in which a sigmoid bends."""
        return features * math.sqrt(features.shape[1])

    @staticmethod
    def _name(path: str) -> str:
        return f"router-{path.replace('.', '-')}"
