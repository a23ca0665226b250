"""ImageNet and its shifted test sets by name: copies on the Hugging Face hub in webdataset shards.

They are meant for `--heldout`. A copy is downloaded once into <data root>/wds/NAME. It brings its class names and templates.
Imports no torch.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from models.registry import UserError

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
        # The test split only: some copies have a training split of ImageNet's size too.
        files = "--include 'test/*' --include '*.txt'"
        command = f"hf download {COPIES[name]} --repo-type dataset {files} --local-dir {shlex.quote(str(folder))}"
        raise UserError(f"{folder} is missing. Download the copy from the Hugging Face hub with `{command}`.")
    return folder
