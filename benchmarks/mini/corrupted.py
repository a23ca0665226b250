"""Out-of-distribution sets for domains without another source: corrupted copies of their test images.

Each test image is blurred, faded and made noisy, in this order and by random amounts (our choice, in the manner of
ImageNet-C: Hendrycks and Dietterich 2019, 1903.12261):

    blur        Gaussian, standard deviation 0.6 to 1.2 pixels
    contrast    0.3 to 0.6 of the difference from the image's mean grey is kept
    noise       Gaussian, standard deviation 12 to 24 of 255, independent for each colour channel

The domain's name and the image's index in the test split determine the amounts and the noise. Classes stay recognisable. No
training image is corrupted.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from PIL import Image, ImageFilter

from benchmarks.data.dataset import TensorImages
from benchmarks.mini.render import generator

DOMAINS = ("closeups", "counting", "digits", "mnist", "shapes")


def corrupted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a corrupted copy of an image, uint8 [3, 48, 48]."""
    blurred = Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.2)))
    picture = np.asarray(blurred, dtype=np.float32).transpose(2, 0, 1)
    faded = picture.mean() + rng.uniform(0.3, 0.6) * (picture - picture.mean())
    noisy: np.ndarray = faded + rng.normal(0, rng.uniform(12, 24), picture.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def images(domain: str, test: np.ndarray) -> np.ndarray:
    """Return the out-of-distribution images of a domain, uint8 [N, 3, 48, 48]: one per test image, in the same order."""
    return np.stack([corrupted(image, generator(domain, "ood", str(index))) for index, image in enumerate(test)])


class CorruptedImages(TensorImages):
    """Corrupted copies of a domain's test images, made when the first one is read: most runs read none.

    Args:
        domain: the domain's name.
        test: its test images.
    """

    def __init__(self, domain: str, test: TensorImages):
        self.domain, self.test, self.targets = domain, test, list(test.targets)

    @functools.cached_property
    def images(self) -> torch.Tensor:  # type: ignore[override]
        """The copies, uint8 [N, 3, 48, 48]."""
        return torch.from_numpy(images(self.domain, self.test.images.numpy()))
