"""The silhouette of embeddings with cosine distance, exact in linear time (Rousseeuw 1987).

For a sample x of cluster k, a = mean distance to the others of k, b = the smallest mean distance to another cluster:

    silhouette(x) = (b - a) / max(a, b)        0 for the only sample of its cluster, and where a = b = 0, as in scikit-learn

The distance 1 - x . y is linear in y, so the mean distance to a cluster follows from the sum S_k of its n_k unit vectors,
without the N x N distances: 1 - x . S_k / n_k, and 1 - (x . S_k - x . x) / (n_k - 1) for x's cluster without x. Two passes,
O(N K d) time, O(K d) memory beyond the features.

Two clusterings are in use. `silhouette` clusters images by class and shows how well classes separate.
`modality_silhouette` clusters images and texts by modality. A-CLIP's abstract (2402.09613) names a silhouette of zero-shot
image and text embeddings without specifying the clusters. Published code of its authors points to modalities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.sums import ClassSums, check_features, check_finite, chunks


class Clusters(ClassSums):
    """Sums of unit features by cluster, for a silhouette in two passes.

    First pass: `update` and `merge` collect the sums. Second pass: `samples` returns the silhouettes of each batch. Features
    are scaled to unit length here, in float64.
    """

    def update(self, features: Tensor, labels: Tensor) -> Clusters:
        """Add a batch: features [B, d] and clusters [B] from 0. Raises ValueError as `ClassSums.update`."""
        check_features(features, labels)
        for x, y in chunks(features, labels):
            super().update(F.normalize(x, dim=1, eps=0), y)
        return self

    def samples(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the silhouettes [B] in float64 of samples that were all part of the first pass.

        Raises:
            ValueError: there are fewer than two clusters, every cluster has a single sample, or a cluster was not in the
                first pass.
        """
        has_samples = self.counts > 0
        if int(has_samples.sum()) < 2:
            raise ValueError(f"a silhouette needs at least 2 clusters with samples, got {int(has_samples.sum())}")
        if int(self.counts.max()) < 2:
            raise ValueError("a silhouette needs a cluster of at least 2 samples")
        check_features(features, labels)
        if len(labels) and (int(labels.max()) >= len(self.counts) or not bool(self.counts[labels.cpu().long()].all())):
            raise ValueError("a sample belongs to a cluster that was not in the first pass")
        means = self.sums / self.counts.clamp(min=1)[:, None]
        scores = [self._scores(F.normalize(x, dim=1, eps=0), y, means) for x, y in chunks(features, labels)]
        return torch.cat(scores) if scores else torch.zeros(0, dtype=torch.float64)

    def _scores(self, x: Tensor, y: Tensor, means: Tensor) -> Tensor:
        """Return the silhouettes of unit features [B, d] with clusters [B], given the cluster means [K, d]."""
        distances = 1 - x @ means.T
        distances[:, self.counts == 0] = torch.inf
        distances.scatter_(1, y[:, None], torch.inf)
        b = distances.min(dim=1).values
        others = (self.counts[y] - 1).clamp(min=1)
        # Rounding may leave a distance of -1e-16.
        a = (1 - ((x * self.sums[y]).sum(dim=1) - (x * x).sum(dim=1)) / others).clamp(min=0)
        b = b.clamp(min=0)
        larger = torch.maximum(a, b)
        defined = (self.counts[y] > 1) & (larger > 0)
        return torch.where(defined, (b - a) / larger.where(defined, torch.ones_like(larger)), torch.zeros_like(a))


def silhouette(features: Tensor, clusters: Tensor) -> float:
    """Return the mean silhouette of features in clusters, with cosine distance.

    With image features and labels this is the class-clustered silhouette. Clusters without samples are ignored.

    Args:
        features: features [N, d] of any length; they are scaled to unit length.
        clusters: cluster of each sample [N], integers from 0.

    Returns:
        The mean in [-1, 1]. Higher values mean better separated clusters.

    Raises:
        ValueError: there are fewer than two clusters, no cluster has two samples, or features are not finite or have a row of
            zeros.

    Examples:
        >>> import torch
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> silhouette(features, torch.tensor([0, 0, 1, 1]))
        1.0
    """
    return float(Clusters().update(features, clusters).samples(features, clusters).mean())


def modality_silhouette(image_features: Tensor, text_features: Tensor) -> float:
    """Return the silhouette of images and class texts in two clusters, one per modality.

    Each text counts once. The mean is over the N + C samples.

    Args:
        image_features: features [N, d].
        text_features: class text features [C, d].

    Returns:
        The mean in [-1, 1]. Higher values mean a wider modality gap relative to the spread within the modalities.

    Raises:
        ValueError: as `silhouette`, or a modality has no features.
    """
    modalities = [(image_features, 0), (text_features, 1)]
    clusters = Clusters()
    for features, label in modalities:
        if features.ndim != 2 or not len(features):
            raise ValueError(f"expected features [N, d] of both modalities, got {tuple(features.shape)}")
        check_finite(features.detach(), ("image", "text")[label])
        clusters.update(features, torch.full((len(features),), label))
    scores = [clusters.samples(features, torch.full((len(features),), label)) for features, label in modalities]
    return float(torch.cat(scores).mean())
