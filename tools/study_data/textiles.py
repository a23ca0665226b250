"""Simulated textiles with and without defects: the pictures of the package conformal-clip-data."""

from __future__ import annotations

import io

from PIL import Image

from tools.study_data.division import Splits, divided
from tools.study_data.opening import Open, below
from tools.study_data.pictures import SIDE, Source

KINDS = ("nominal", "global", "local")
"""The folders of the classes."""


def textiles(open_package: Open) -> Splits:
    """Return the pictures of woven textiles, divided at random."""
    folder = "conformal_clip_data/data/textile_images/simulated"
    files = open_package("textiles", below(folder, ".jpg"))
    sources = []
    for label, kind in enumerate(KINDS):
        for path in filter(below(f"{folder}/{kind}", ".jpg"), files):
            picture = Image.open(io.BytesIO(files[path])).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
            sources.append(Source(path, path, label, picture))
    return divided("textiles", sources, val=0.1, test=0.2)
