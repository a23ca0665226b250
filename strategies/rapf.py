"""RAPF: a linear map of image features, with samples of earlier classes and a fusion of old and new weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data.dataset import targets_of
from models.adapter import LinearAdapter
from models.route import PLAIN, routed
from models.setting import setting
from strategies.engine.batches import mixed_seed
from strategies.engine.strategy import Batch, Strategy
from strategies.engine.training_features import FeatureRows, feature_loader, same_in_training

LEAST_VARIANCE = 1e-6
"""Added to the diagonal of a covariance of unit features. The released code adds 1e-4 for features of norm about 10."""


class RAPF(Strategy):
    """RAPF: a frozen encoder with one linear map W on the image feature, trained with samples of earlier classes.

    Each learned class has a normal distribution of its images' unit features f, before W. An update adds samples g of a few
    earlier classes to the batch. v = W f / |W f|, t_c are the text features of all classes so far, and y the class of v:

        loss = cross-entropy(exp(logit_scale) v t^T, y) + mean over pairs of max(0, margin - w t_a + w t_b)

    The pairs are earlier classes a and new classes b with |t_a - t_b| < threshold, and w = W g / |W g| are samples of a.
    After each task but the first, W is fused with its value before the task (`fused`).

    The towers are frozen, so without augmentation each training image passes the image tower once, and updates read its f.

    Source:
        Huang et al. 2024, ECCV 2024, arXiv 2407.14143, and its released code.

    Differs from the released code:
        W starts as the identity, so that row 0 is zero-shot and later tasks keep its ability. `initial=random` starts the first
        task as the code does.
        The classes and pairs of an update are drawn at random. The code takes the classes in turn from a shuffled list, and all
        pairs. At most `pairs` pairs are used here.
        The normal distributions are those of unit features. W of a longer feature gives the same v.
        Text features are those of the benchmark's first template.

    Defaults:
        From the released code for ten steps of CIFAR-100: 15 passes in batches of 100, Adam with rate 1e-3, which falls to a
        tenth after 4 and after 10 passes, 2 classes of 20 samples per update, 40 samples per pair, threshold 0.55, margin 0.1,
        bias 0.6, no augmentation. `pairs` is our choice.

    Command:
        `python cli.py bench cil --strategy rapf`
    """

    options: Options
    default_tuning = "frozen"

    @dataclass(frozen=True)
    class Options(Strategy.Options):
        """Options of `rapf`."""

        classes: int = setting(2, "earlier classes that an update samples", least=0)
        samples: int = setting(20, "samples of each of these classes", least=1)
        pairs: int = setting(16, "most pairs of an earlier and a new class in an update", least=0)
        pair_samples: int = setting(40, "samples of the earlier class of a pair", least=1)
        threshold: float = setting(0.55, "distance of two classes' text features below which they are a pair", least=0)
        margin: float = setting(0.1, "margin of the cosines of a pair", least=0)
        bias: float = setting(0.6, "least share of the new weights in the fusion; 1: no fusion", least=0, most=1)
        initial: Literal["identity", "random"] = setting("identity", "the map that the first task starts from")
        epochs: int = 15
        lr: float = 1e-3
        batch_size: int = 100
        warmup: int = 0
        label_smoothing: float = 0.0
        schedule: Literal["cosine", "constant", "one-cycle", "step"] = "step"
        step_at: tuple[float, ...] = (4 / 15, 10 / 15)
        augmentation: Literal["crop", "none"] = "none"

    def before_run(self) -> None:
        """Add the map to the encoder. No class is learned yet."""
        super().before_run()
        width = self.encoder.feature_dim
        self.encoder.image_adapter = LinearAdapter(width).to(self.encoder.mean)
        self.means = self.encoder.mean.new_zeros(0, width)
        self.factors = self.encoder.mean.new_zeros(0, width, width)

    def make_train_dataloader(self, *arguments: Any, **options: Any) -> None:
        """Make a loader of features, in the order of the images', where these are the same in every pass."""
        super().make_train_dataloader(*arguments, **options)
        again = self.options.augmentation != "none" or not same_in_training(self.encoder)
        if self.plain or again or self.order.training is not None:
            return
        encoder, domain = self.encoder, self.experience.domain
        labels = torch.tensor(targets_of(domain.train), dtype=torch.int64)
        rows = FeatureRows(lambda: self._task_images.raw(encoder, domain).features, labels, self.experience.task_label)
        self.dataloader = feature_loader(self.dataloader, rows)

    @property
    def map(self) -> Tensor:
        """W [d, d]."""
        assert isinstance(self.encoder.image_adapter, LinearAdapter)
        return self.encoder.image_adapter.weight

    def before_experience(self) -> None:
        """Keep W, and find the text features of all classes so far and the pairs."""
        super().before_experience()
        if self.options.initial == "random" and not self.trained:
            generator, width = torch.Generator().manual_seed(mixed_seed(self.seed, 17)), len(self.map)
            with torch.no_grad():
                self.map.copy_((2 * torch.rand(width, width, generator=generator) - 1) / width**0.5)
        self.old = self.map.detach().clone() if self.trained else None
        for experience in self.experiences:
            self.classifier.register_domain(experience.task_label, experience.domain)
        tasks = [experience.task_label for experience in self.experiences]
        with torch.no_grad():
            heads = [self.classifier.text_features(task) for task in tasks]
        # The first class of each task among all classes so far.
        self.offsets = torch.zeros(max(tasks) + 1, dtype=torch.int64)
        self.offsets[tasks] = torch.tensor([0, *map(len, heads)])[:-1].cumsum(dim=0)
        self.offsets = self.offsets.to(self.device)
        self.texts = torch.cat(heads)
        self.near = near_pairs(self.texts, len(self.means), self.options.threshold)

    def class_logits(self, features: Tensor) -> Tensor:
        """Keep the batch's features [B, d] for the loss."""
        self.batch_features = features
        return super().class_logits(features)

    def compute_loss(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of the batch and the samples, plus the hinge loss of the pairs."""
        o, features, labels = self.options, self.batch_features, batch.labels + self.offsets[batch.task_labels]
        chosen = torch.randperm(len(self.means))[: o.classes]
        if len(chosen):
            features = torch.cat([features, self._samples(chosen, o.samples)])
            labels = torch.cat([labels, chosen.repeat_interleave(o.samples).to(labels.device)])
        logits = self.encoder.logits(features, self.texts)
        loss = F.cross_entropy(logits, labels, label_smoothing=o.label_smoothing)
        pairs = self.near[torch.randperm(len(self.near))[: o.pairs]]
        if not len(pairs):
            return loss
        earlier, new = pairs.repeat_interleave(o.pair_samples, dim=0).to(self.device).unbind(dim=1)
        hinge = pair_loss(self._samples(pairs[:, 0], o.pair_samples), self.texts[earlier], self.texts[new], o.margin)
        self.log(cross_entropy=loss, hinge=hinge)
        return loss + hinge

    def after_experience(self) -> None:
        """Fuse W with its value before the task, and learn the distributions of the task's classes."""
        super().after_experience()
        if self.old is not None:
            with torch.no_grad():
                self.map.copy_(fused(self.old, self.map, self.options.bias))
        with routed(PLAIN):
            features, labels = self.task_features()
        learned = normals(features, labels, len(self.experience.domain.classnames))
        self.means = torch.cat([self.means, learned.means.to(self.means)])
        self.factors = torch.cat([self.factors, learned.factors.to(self.factors)])

    def _samples(self, classes: Tensor, count: int) -> Tensor:
        """Return W g / |W g| [n count, d] for samples g of n classes."""
        # Drawn on the CPU, so that the numbers do not depend on the device.
        noise = torch.randn(len(classes), count, self.means.shape[1]).to(self.means)
        index = classes.to(self.device)
        drawn = self.means[index, None] + noise @ self.factors[index].mT
        return self.encoder.finish_images(drawn.flatten(0, 1))

    def state(self) -> dict[str, Any]:
        """Return the distributions: d + d^2 numbers per class."""
        return {**super().state(), "means": self.means, "factors": self.factors}

    def load(self, state: dict[str, Any]) -> None:
        """Restore the distributions."""
        super().load(state)
        self.means, self.factors = state["means"], state["factors"]


class Normals(NamedTuple):
    """Means [C, d] of normal distributions and lower Cholesky factors [C, d, d] of their covariances."""

    means: Tensor
    factors: Tensor


def normals(features: Tensor, labels: Tensor, classes: int) -> Normals:
    """Return the normal distribution of each class, with `LEAST_VARIANCE` added to the variances, in float64.

    Args:
        features: features [N, d].
        labels: labels [N] in 0..classes-1. A class with fewer than two images has only `LEAST_VARIANCE`.
        classes: number of classes.
    """
    rows, width = features.double(), features.shape[1]
    smallest = LEAST_VARIANCE * torch.eye(width, dtype=rows.dtype, device=rows.device)
    means, factors = [], []
    for label in range(classes):
        of_class = rows[labels == label]
        means.append(of_class.mean(dim=0) if len(of_class) else rows.new_zeros(width))
        covariance = torch.cov(of_class.T) if len(of_class) > 1 else 0
        factors.append(torch.linalg.cholesky(covariance + smallest))
    return Normals(torch.stack(means), torch.stack(factors))


def near_pairs(texts: Tensor, earlier: int, threshold: float) -> Tensor:
    """Return the pairs [P, 2], on the CPU, of an earlier and a new class whose text features are nearer than the threshold.

    Args:
        texts: unit text features [C, d], those of earlier classes first.
        earlier: number of earlier classes.
        threshold: largest Euclidean distance, excluded.
    """
    distances = torch.cdist(texts[:earlier].double(), texts[earlier:].double())
    return (distances < threshold).nonzero().cpu() + torch.tensor([0, earlier])


def pair_loss(features: Tensor, own: Tensor, other: Tensor, margin: float) -> Tensor:
    """Return the mean of max(0, margin - features . own + features . other) over rows of unit vectors [N, d]."""
    return torch.relu(margin - (features * own).sum(dim=1) + (features * other).sum(dim=1)).mean()


def fused(old: Tensor, new: Tensor, bias: float) -> Tensor:
    """Return old weights fused with new ones, entry by entry in the basis of the old weights' left singular vectors.

    With old = U S V^T, P = U^T new and Q = U^T old = S V^T, the share of the new entry is m = min(1, |P - Q| / max |P - Q| +
    bias), and the result U (m P + (1 - m) Q). Entries that moved far keep their new value, and those that moved little are
    averaged with the old one.

    Args:
        old: weights [d, d] before the task.
        new: weights [d, d] after it.
        bias: least share of the new entries.
    """
    left: Tensor = torch.linalg.svd(old.double()).U
    before, after = left.T @ old.double(), left.T @ new.double()
    moved = (after - before).abs()
    share = (moved / moved.max().clamp(min=torch.finfo(moved.dtype).tiny) + bias).clamp(max=1)
    return (left @ (share * after + (1 - share) * before)).to(new.dtype)
