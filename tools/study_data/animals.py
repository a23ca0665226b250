"""Silhouettes of ten animals: the arrays of the package animal-mnist."""

from __future__ import annotations

import gzip
import io
import pickle
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.full import read_pickles
from models.registry import UserError
from tools.study_data.division import Splits, divided, thinned
from tools.study_data.opening import Open, below
from tools.study_data.pictures import Source, mask

TRAIN = 4000
_FOLDER = "animal_mnist/data/Animal_MNIST"


def silhouettes(open_package: Open) -> Splits:
    """Return the distinct silhouettes, 28 x 28 pixels, white on black, divided at random."""
    contents = open_package("animal-mnist", below(_FOLDER, ".gz"))
    scans = _array(contents, "animal_data_version_3.gz")
    labels = _array(contents, "animal_label_version_3.gz")
    if scans.shape != (len(labels), 28, 28):
        raise UserError(f"animal-mnist holds {len(labels)} labels and images of shape {list(scans.shape)}.")
    sources = [
        Source(f"{index}", f"{index}", int(label), mask(Image.fromarray(scan)))
        for index, (scan, label) in enumerate(zip(scans, labels, strict=True))
    ]
    splits = divided("silhouettes", sources, val=0.04, test=0.1)
    return {**splits, "train": thinned("silhouettes", splits["train"], TRAIN)}


def _array(contents: dict[str, bytes], name: str) -> Any:
    """Return the array in a compressed pickle. Raises UserError for anything but an array of NumPy."""
    try:
        value = read_pickles.restricted(io.BytesIO(gzip.decompress(contents[f"{_FOLDER}/{name}"])))
    except (pickle.UnpicklingError, EOFError, OSError) as error:
        raise UserError(f"Cannot read {name} of animal-mnist: {error}.") from error
    if not isinstance(value, np.ndarray):
        raise UserError(f"{name} of animal-mnist holds a {type(value).__name__}, expected an array.")
    return value
