"""Out-of-distribution sets of the domains that have no other source to take them from: their test images, seen badly.

Each test image once, blurred, faded and grainy, in that order and by amounts of its own (our choice, in the manner of
ImageNet-C: Hendrycks and Dietterich 2019, 1903.12261):

    blur        Gaussian, standard deviation 0.6 to 1.2 pixels
    contrast    a share of 0.3 to 0.6 of the difference from the image's mean grey stays
    noise       Gaussian, standard deviation 12 to 24 of 255, each colour by itself

The domain's name and the image's place in the test split decide the amounts and the noise. Classes stay recognisable; nothing
of it is in any training image.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.mini.render import generator

DOMAINS = ("closeups", "counting", "digits", "mnist", "shapes")


def corrupted(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One image uint8 [3, 48, 48], corrupted; the given one stays as it is."""
    blurred = Image.fromarray(image.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(rng.uniform(0.6, 1.2)))
    picture = np.asarray(blurred, dtype=np.float32).transpose(2, 0, 1)
    faded = picture.mean() + rng.uniform(0.3, 0.6) * (picture - picture.mean())
    noisy = faded + rng.normal(0, rng.uniform(12, 24), picture.shape)
    return noisy.round().clip(0, 255).astype(np.uint8)


def images(domain: str, test: np.ndarray) -> np.ndarray:
    """The out-of-distribution images of a domain, uint8 [N, 3, 48, 48], one for each of its test images, in their order."""
    return np.stack([corrupted(image, generator(domain, "ood", str(index))) for index, image in enumerate(test)])
