"""The linear-time silhouette against scikit-learn's pairwise one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_samples, silhouette_score

from metrics import sums
from metrics.silhouette import Clusters, modality_silhouette, silhouette


def data(n=120, d=8, k=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(k, d, generator=generator, dtype=torch.float64)
    y = torch.randint(0, k, (n,), generator=generator)
    return centres[y] + 0.8 * torch.randn(n, d, generator=generator, dtype=torch.float64), y


def test_against_scikit_learn():
    x, y = data()
    # A singleton, a label without samples, and rows of another length.
    y[0], x = 9, x * torch.arange(1, 121)[:, None]
    assert silhouette(x, y) == pytest.approx(silhouette_score(x, y, metric="cosine"), abs=1e-12)
    clusters = Clusters().update(x, y)
    result = clusters.samples(x, y).numpy()
    np.testing.assert_allclose(result, silhouette_samples(x, y, metric="cosine"), rtol=0, atol=1e-12)
    assert result[0] == 0


def test_two_passes_in_batches(monkeypatch):
    x, y = data()
    whole = silhouette(x, y)
    monkeypatch.setattr(sums, "CHUNK", 7)
    first = Clusters().update(x[:50], y[:50]).merge(Clusters().update(x[50:], y[50:]))
    scores = torch.cat([first.samples(x[i : i + 30], y[i : i + 30]) for i in range(0, 120, 30)])
    assert float(scores.mean()) == pytest.approx(whole, abs=1e-12)
    assert first.samples(x[:0], y[:0]).shape == (0,)


def test_by_hand():
    x, y = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, 0, 1, 1])
    assert silhouette(x, y) == 1
    assert silhouette(x, torch.tensor([0, 1, 0, 1])) == -0.5
    assert silhouette(x[:1].expand(4, 2), y) == 0


def test_by_modality():
    x, t = data()[0], data(n=6, seed=3)[0]
    both = torch.cat([x, t])
    modality = [0] * 120 + [1] * 6
    assert modality_silhouette(x, t) == pytest.approx(silhouette_score(both, modality, metric="cosine"), abs=1e-12)
    # One text is a singleton, which counts 0.
    one = silhouette_score(both[:121], modality[:121], metric="cosine")
    assert modality_silhouette(x, t[:1]) == pytest.approx(one, abs=1e-12)


def test_half_precision_is_scaled_in_double():
    x, y = data()
    half = F.normalize(x, dim=1).half()
    assert silhouette(half, y) == pytest.approx(silhouette_score(half.double(), y, metric="cosine"), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y * 0), "2 clusters"),
        (lambda x, y: (x[:0], y[:0]), "2 clusters"),
        (lambda x, y: (x[:5], torch.arange(5)), "at least 2 samples"),
        (lambda x, y: (x * float("nan"), y), "NaN"),
        (lambda x, y: (x * 0, y), "row of zeros"),
        (lambda x, y: (x, y[:3]), "labels"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        silhouette(*change(*data()))


def test_errors_of_the_second_pass_and_of_modalities():
    x, y = data()
    clusters = Clusters().update(x[y != 2], y[y != 2])
    for unseen in (2, 7):
        with pytest.raises(ValueError, match="not in the first pass"):
            clusters.samples(x[:1], torch.tensor([unseen]))
    with pytest.raises(ValueError, match="both modalities"):
        modality_silhouette(x, x[:0])
    with pytest.raises(ValueError, match="text features contain NaN"):
        modality_silhouette(x, x / 0)
