"""The silhouette of embeddings with cosine distance, exact in linear time (Rousseeuw 1987).

For a sample x of cluster k, a = mean distance to the others of k, b = the smallest mean distance to another cluster:

    silhouette(x) = (b - a) / max(a, b)        0 for the only sample of its cluster, and where a = b = 0, as in scikit-learn

The distance 1 - x . y is linear in y, so the mean distance to a cluster follows from its sum S_k of n_k unit vectors, without
the N x N distances: 1 - x . S_k / n_k, and 1 - (x . S_k - x . x) / (n_k - 1) for the own cluster without x itself. Two passes,
O(N K d) time, O(K d) memory beyond the features.

Two clusterings are in use. By class (`silhouette`): do the images of a class lie together? By modality
(`modality_silhouette`): do images and texts lie apart? A-CLIP's abstract (2402.09613) names a silhouette of zero-shot image
and text embeddings without saying which; published code of its authors points to modalities.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from metrics.sums import ClassSums, check_features, check_finite, chunks


class Clusters(ClassSums):
    """First pass: sums of unit features by cluster, in batches (`update`, `merge`). Second pass: `samples` of each batch.

    Features are scaled to unit length here, in float64.
    """

    def update(self, features: Tensor, labels: Tensor) -> Clusters:
        """Add a batch: features [B, d], clusters [B] from 0. Raises ValueError as `ClassSums.update`."""
        check_features(features, labels)
        for x, y in chunks(features, labels):
            super().update(F.normalize(x, dim=1, eps=0), y)
        return self

    def samples(self, features: Tensor, labels: Tensor) -> Tensor:
        """Silhouettes [B] in float64 of samples that were all seen in the first pass.

        Raises ValueError with fewer than two clusters, when every cluster has a single sample, or for an unseen cluster.
        """
        used = self.counts > 0
        if int(used.sum()) < 2:
            raise ValueError(f"a silhouette needs at least 2 clusters with samples, got {int(used.sum())}")
        if int(self.counts.max()) < 2:
            raise ValueError("a silhouette needs a cluster of at least 2 samples")
        check_features(features, labels)
        if len(labels) and (int(labels.max()) >= len(self.counts) or not bool(self.counts[labels.cpu().long()].all())):
            raise ValueError("a sample of a cluster that the first pass has not seen")
        means = self.sums / self.counts.clamp(min=1)[:, None]
        parts = [self._scores(F.normalize(x, dim=1, eps=0), y, means) for x, y in chunks(features, labels)]
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)

    def _scores(self, x: Tensor, y: Tensor, means: Tensor) -> Tensor:
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
    """Mean silhouette of features [N, d] in clusters [N] (integers from 0), in [-1, 1]; higher: clusters lie apart.

    Of image features and labels: the class-clustered silhouette. Clusters without samples do not exist. Raises ValueError
    with fewer than two clusters, without a cluster of two samples, or for features that are not finite or rows of zeros.
    """
    return float(Clusters().update(features, clusters).samples(features, clusters).mean())


def modality_silhouette(image_features: Tensor, text_features: Tensor) -> float:
    """Silhouette of images [N, d] and class texts [C, d], each text once, in two clusters: image and text. In [-1, 1].

    Higher: a wider modality gap relative to the spread within the modalities. The mean is over the N + C samples. Raises
    ValueError as `silhouette`.
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
