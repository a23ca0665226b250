"""Put a model into a local hub: a model directory, or a weights file under the name that open_clip gives it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from models.registry import UserError

WEIGHTS = "open_clip_model"
"""open_clip asks for the weights of its tags under this name, with the ending of safetensors first."""


def write(name: str, source: Path, target: Path) -> Path:
    """Write a model repository, and return its folder. Files are linked if they are on the same disk, else copied.

    Args:
        name: OWNER/NAME, for example timm/vit_base_patch16_clip_224.openai for ViT-B-16 with the tag openai.
        source: a model directory, or a file of weights in safetensors.
        target: the folder of the server, with `models` below it.

    Raises:
        UserError: the source is missing, or a file that is not safetensors.
    """
    if source.is_dir():
        files = {path.relative_to(source).as_posix(): path for path in sorted(source.rglob("*")) if path.is_file()}
    elif source.suffix == ".safetensors" and source.is_file():
        files = {f"{WEIGHTS}.safetensors": source}
    else:
        raise UserError(f"{source} is neither a model directory nor a file of weights in safetensors.")
    folder = target / "models" / name
    for inside, path in files.items():
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        (folder / inside).unlink(missing_ok=True)
        try:
            os.link(path.resolve(), folder / inside)
        except OSError:
            shutil.copy(path, folder / inside)
    return folder
