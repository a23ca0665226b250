"""KeepLoRA: low-rank updates outside the subspaces that pre-training and earlier tasks use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.data.dataset import targets_of
from benchmarks.reference import FileImages
from models import parallel, places
from models.blocks import Matrix, blocks, matrices
from models.modes import evaluating
from models.registry import UserError
from models.setting import setting
from models.subspaces import extended, principal, residual_factors
from strategies.engine.batches import sent
from strategies.engine.strategy import Strategy

ROLES = ("q", "k", "v", "o")


class Update(nn.Module):
    """x -> scale (B - B_start) A x, the update of a matrix W [out, in]. Only B [out, rank] trains.

    It is zero at the start of a task, whatever B_start is. `active` is False outside of training, when it is part of W.

    Args:
        rows: number of outputs.
        columns: number of inputs.
        rank: the rank.
        scale: the factor.
    """

    a: Tensor
    start: Tensor

    def __init__(self, rows: int, columns: int, rank: int, scale: float):
        super().__init__()
        self.scale, self.active = scale, False
        self.b = nn.Parameter(torch.zeros(rows, rank))
        self.register_buffer("a", torch.zeros(rank, columns))
        self.register_buffer("start", torch.zeros(rows, rank))

    def matrix(self) -> Tensor:
        """Return the update [out, in], float64."""
        return self.scale * (self.b.detach() - self.start).double() @ self.a.double()

    def forward(self, x: Tensor) -> Tensor | None:
        """Return the update's output [B, L, out], or None if it is part of W."""
        return F.linear(F.linear(x, self.a), self.scale * (self.b - self.start)) if self.active else None


class Site(NamedTuple):
    """A matrix with an update: its name, the matrix, the update, the tower, and what its input is.

    Query, key and value of a block have the same input.
    """

    name: str
    matrix: Matrix
    update: Update
    tower: str
    input: tuple[str, str]


class KeepLoRA(Strategy):
    """KeepLoRA: each task trains low-rank updates outside what the pre-trained weights and earlier tasks' activations use.

    For each query, key, value and output matrix W of the blocks, with a basis U of directions of its input to keep:

        before the run   U = principal directions of the pre-trained W (share `image_energy` or `text_energy`)
        before a task    G = mean gradient of the loss over the task's images; A, B = SVD of G - G U U^T, A is fixed
        in training      W + scale (B - B_start) A, B trains
        after a task     the update is added to W; U gains the activations' principal directions (`activation_energy`)

    A has no part in U, so W x does not change for inputs x within U. After a task the model has the architecture and the cost
    of the initial one. `models.subspaces` has the formulas.

    Source:
        Luo et al., KeepLoRA (ICLR 2026), github.com/MaolinLuo/KeepLoRA.

    Differs from the released code:
        Gradients and activations are those of images under the evaluation transform, and of all positions of the task's
        prompts in the first template. The update is added to the output and not to the weight, so that it is exactly zero
        before the first update. The variant with a cosine classifier is not implemented. Label smoothing is that of `finetune`.

    Defaults:
        From the released code: rank 16, scale 1/16, energies 0.85, 0.2 and 0.99, AdamW with rate 1e-3 and weight decay 0.01,
        one-cycle schedule, batches of 64, 10 passes.

    Command:
        `python cli.py bench mtil --strategy keep-lora`
    """

    options: Options
    default_tuning = "frozen"

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of `keep-lora`."""

        rank: int = setting(16, "rank of each update", least=1, most=65_536)
        scale: float = setting(1 / 16, "factor of each update", above=0)
        image_energy: float = setting(
            0.85, "share of the pre-trained weights' energy that is kept, image tower", least=0, most=1
        )
        text_energy: float = setting(0.2, "the same, text tower", least=0, most=1)
        activation_energy: float = setting(0.99, "share of a task's activations' energy that is kept", least=0, most=1)
        images: int = setting(0, "training images looked at for gradients and activations; 0: all", least=0)
        lr: float = 1e-3
        weight_decay: float = 0.01
        epochs: int = 10
        schedule: Literal["cosine", "constant", "one-cycle", "step"] = "one-cycle"

    def before_run(self) -> None:
        """Place the updates and find the principal directions of the pre-trained weights."""
        super().before_run()
        o, energies = self.options, {"image": self.options.image_energy, "text": self.options.text_energy}
        self.sites: list[Site] = []
        self.bases: dict[str, Tensor] = {}
        for block in blocks(self.encoder):
            by_role = matrices(block)
            for role, matrix in [(name, each) for name in ROLES for each in by_role[name]]:
                rows, columns = places.matrix_shape(self.encoder, matrix)
                if o.rank > min(rows, columns):
                    raise UserError(f"rank is {o.rank}, and must be at most {min(rows, columns)}, the size of {matrix.path}.")
                update = Update(rows, columns, o.rank, o.scale)
                places.around_linear(self.encoder, matrix, update)
                site = Site(f"{block.path}.{role}", matrix, update, block.tower, (block.path, "o" if role == "o" else "qkv"))
                self.sites.append(site)
                self.bases[site.name] = principal(self._weight(matrix), energies[block.tower])

    def before_experience(self) -> None:
        """Choose the directions in which the task trains, from its mean gradient."""
        super().before_experience()
        gradients = self._mean_gradients()
        with torch.no_grad():
            for site, gradient in zip(self.sites, gradients, strict=True):
                factors, update = residual_factors(gradient, self.bases[site.name], self.options.rank), site.update
                update.a.copy_(factors.a)
                update.b.copy_(factors.b)
                update.start.copy_(factors.b)
                update.active = True
        self.encoder.touch()

    def after_experience(self) -> None:
        """Add the updates to the weights, and keep the directions of the task's activations."""
        super().after_experience()
        with torch.no_grad():
            for site in self.sites:
                weight, update = self._weight(site.matrix), site.update
                weight.copy_(weight.double() + update.matrix())
                update.start.copy_(update.b)
                update.active = False
        self.encoder.touch()
        grams = self._activations()
        for site in self.sites:
            self.bases[site.name] = extended(self.bases[site.name], grams[site.input], self.options.activation_energy)

    def state(self) -> dict[str, Any]:
        """Return the kept directions too."""
        return {**super().state(), "bases": dict(self.bases)}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the kept directions too."""
        super().load(state)
        self.bases = dict(state["bases"])

    def _weight(self, matrix: Matrix) -> Tensor:
        """Return the rows of a matrix that the update changes, as a view."""
        weight = self._tensor(matrix).data
        return weight if matrix.third is None else weight.chunk(3)[matrix.third]

    def _tensor(self, matrix: Matrix) -> nn.Parameter:
        """Return the parameter that has a matrix."""
        parameter: nn.Parameter = getattr(self.encoder.clip.get_submodule(matrix.path), matrix.tensor)
        return parameter

    def _images(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of the task's training images and their labels, on the device."""
        domain = self.experience.domain
        if domain.train is None:
            raise ValueError(f"the domain {domain.name!r} has no training images")
        labels, images = (
            torch.tensor(targets_of(domain.train), dtype=torch.int64),
            FileImages(domain.train, self.encoder.preprocess),
        )
        rows = torch.arange(len(labels))
        if 0 < self.options.images < len(rows):
            # Evenly spaced: a domain may be sorted by class.
            rows = torch.linspace(0, len(rows) - 1, self.options.images).round().long()
        for done, part in enumerate(torch.split(rows, self.options.batch_size)):
            self.progress(done * self.options.batch_size, len(rows), f"statistics of {domain.name}")
            yield sent(images[part], self.device), labels[part].to(self.device)

    def _mean_gradients(self) -> list[Tensor]:
        """Return the gradient of the loss with respect to each matrix, as the mean over the task's images."""
        tensors = {(site.matrix.path, site.matrix.tensor): self._tensor(site.matrix) for site in self.sites}
        trained, task, count = list(tensors.values()), self.experience.task_label, 0
        totals = [torch.zeros_like(tensor) for tensor in trained]
        for tensor in trained:
            tensor.requires_grad_(True)
        try:
            for images, labels in self._images():
                logits = self.classifier.classify(self.encoder.encode_images(images), task, labels)
                loss = self.cross_entropy(logits, labels, torch.full_like(labels, task))
                for total, gradient in zip(totals, torch.autograd.grad(loss * len(labels), trained), strict=True):
                    total += gradient
                count += len(labels)
        finally:
            for tensor in trained:
                tensor.requires_grad_(False)
        # Each process has the gradient of its rows, and the mean over processes is that of all rows.
        parallel.add_up(totals)
        by_name = {name: total / count / parallel.size() for name, total in zip(tensors, totals, strict=True)}
        gradients = [(by_name[site.matrix.path, site.matrix.tensor], site.matrix.third) for site in self.sites]
        return [gradient if third is None else gradient.chunk(3)[third] for gradient, third in gradients]

    @torch.no_grad()
    def _activations(self) -> dict[tuple[str, str], Tensor]:
        """Return the sum of x x^T by input, over all positions x of the task's images or prompts."""
        matrix_by_input = {site.input: site.matrix for site in self.sites}
        inputs, grams = list(matrix_by_input), dict[tuple[str, str], Tensor]()

        def see(index: int, x: Tensor) -> None:
            rows = x.flatten(0, -2)
            gram = (rows.T @ rows).double()
            grams[inputs[index]] = grams[inputs[index]] + gram if inputs[index] in grams else gram

        prompts = self.classifier.prompts[self.experience.task_label]
        with evaluating(self.encoder), places.watching(self.encoder, list(matrix_by_input.values()), see):
            for images, _ in self._images():
                self.encoder.encode_images(images)
            tokens = self.encoder.reader.rows(prompts.templates[0], prompts.classnames)
            self.encoder.encode_texts(tokens.to(self.device))
        parallel.add_up(list(grams.values()))
        return grams
