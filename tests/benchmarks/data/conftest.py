"""Image files to cache."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.data.images import ImageFiles


@pytest.fixture
def photographs(tmp_path):
    """Forty image files of several formats, modes and shapes: more than two blocks of a cache."""
    generator, paths = np.random.default_rng(0), []
    (tmp_path / "photographs").mkdir()
    for i in range(40):
        noise = Image.fromarray(generator.integers(0, 256, (31 + i, 67 - i, 3), np.uint8))
        image = noise.convert(("RGB", "L", "P")[i % 3])
        paths.append(tmp_path / "photographs" / f"{i}.{'png' if i % 3 == 2 else 'jpg'}")
        image.save(paths[-1])
    return ImageFiles(paths, [i % 4 for i in range(40)])
