"""ImageNet and its shifted test sets by name: copies on the Hugging Face hub in webdataset shards.

They are meant for `--heldout`. A copy is downloaded once into <data root>/wds/NAME. It brings its class names and templates.
Imports no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from models.registry import UserError

ABOUT: Mapping[str, str] = {
    "imagenet1k": "ImageNet-1k, the validation images",
    "imagenetv2": "ImageNet-V2, new photographs of ImageNet's classes",
    "imagenet-sketch": "ImageNet-Sketch, drawings of ImageNet's classes",
    "imagenet-a": "ImageNet-A, photographs that a ResNet-50 misclassifies, 200 classes",
    "imagenet-r": "ImageNet-R, renditions, 200 classes",
    "objectnet": "ObjectNet, household objects in unusual views, the 113 classes that ImageNet has too",
}
COPIES: Mapping[str, str] = {
    "imagenet1k": "clip-benchmark/wds_imagenet1k",
    "imagenetv2": "clip-benchmark/wds_imagenetv2",
    "imagenet-sketch": "clip-benchmark/wds_imagenet_sketch",
    "imagenet-a": "clip-benchmark/wds_imagenet-a",
    "imagenet-r": "clip-benchmark/wds_imagenet-r",
    "objectnet": "clip-benchmark/wds_objectnet",
}
"""The copies by name, as CLIP_benchmark lists them: test/N.tar with images and .cls, and classnames.txt."""


def folder_of(name: str, data_root: str | Path) -> Path:
    """Return the folder of a copy. Raises UserError with the command that downloads it if it is missing."""
    folder = Path(data_root) / "wds" / name
    if not folder.is_dir():
        command = how_to_get(name, data_root)
        raise UserError(f"{folder} is missing. Download the copy from the Hugging Face hub with `{command}`.")
    return folder


def how_to_get(name: str, data_root: str | Path = "data") -> str:
    """Return the command that downloads a copy: its test split only, because some have a large training split too."""
    folder = shlex.quote(str(Path(data_root) / "wds" / name))
    return f"hf download {COPIES[name]} --repo-type dataset --include 'test/*' --include '*.txt' --local-dir {folder}"
