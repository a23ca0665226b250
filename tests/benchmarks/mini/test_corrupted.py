"""Out-of-distribution sets made from test images; the other splits do not change."""

import hashlib

import numpy as np
import pytest

from benchmarks import mini
from benchmarks.mini import cache, corrupted, render
from benchmarks.mini.domain_table import ENTRIES


@pytest.mark.parametrize("name", corrupted.DOMAINS)
def test_no_other_split_changes(name):
    before = cache.load_or_make(name, lambda: mini._drawn(name, None))
    digests = {split: hashlib.sha256(before[f"{split}_images"].tobytes()).digest() for split in ("train", "val", "test")}
    assert not any(key.startswith("ood") for key in before), "the cached arrays do not change"
    domain = mini.build(name)
    for split, digest in digests.items():
        data = getattr(domain, split)
        assert hashlib.sha256(data.images.numpy().tobytes()).digest() == digest
        assert data.targets == before[f"{split}_labels"].tolist()


@pytest.mark.slow
def test_every_domain_has_an_out_of_distribution_set():
    assert all(entry.ood for entry in ENTRIES.values())
    for name in corrupted.DOMAINS:
        domain = mini.build(name)
        assert domain.ood.targets == domain.test.targets
        assert ENTRIES[name].ood == ENTRIES[name].per_class[2]


def test_corruption_has_the_documented_amounts():
    rng = render.generator("test", "corruption")
    image = np.zeros((3, 48, 48), np.uint8)
    image[:, :, 24:] = 200
    copy = image.copy()
    results = np.stack([corrupted.corrupted(image, rng) for _ in range(200)]).astype(float)
    assert np.array_equal(image, copy)
    # Far from the edge the blur has no effect, so only contrast and noise remain.
    left, right = results[:, :, :, :10], results[:, :, :, -10:]
    contrast = (right.mean(axis=(1, 2, 3)) - left.mean(axis=(1, 2, 3))) / 200
    assert contrast.min() > 0.3 - 0.02 and contrast.max() < 0.6 + 0.02
    assert contrast.min() < 0.35 and contrast.max() > 0.55, "amounts differ"
    assert results.mean() == pytest.approx(100, abs=1), "the mean grey is kept"
    noise = left.std(axis=(1, 2, 3))
    assert noise.min() > 11 and noise.max() < 25.5
    grey = left - left.mean(axis=1, keepdims=True)
    assert grey.std() > 5, "the noise of the colour channels is independent"


def test_corruption_depends_only_on_the_domain_and_the_index():
    images = np.full((2, 3, 48, 48), 128, np.uint8)
    first = corrupted.images("mnist", images)
    np.testing.assert_array_equal(corrupted.images("mnist", images), first)
    np.testing.assert_array_equal(corrupted.images("mnist", images[:1]), first[:1])
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(corrupted.images("digits", images), first)
