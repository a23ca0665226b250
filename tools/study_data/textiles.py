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
    sources = []
    for label, kind in enumerate(KINDS):
        for path, content in open_package("textiles", below(f"{folder}/{kind}", ".jpg")).items():
            picture = Image.open(io.BytesIO(content)).convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
            sources.append(Source(path, path, label, picture))
    return divided("textiles", sources, val=0.1, test=0.2)
