"""Find and digest the local files of a model. Imports no torch."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from models.files import open_file, reason
from models.paths import user_path
from models.registry import UserError

TINY = Path(__file__).parents[1] / "tiny"
FAMILIES = {"tiny-siglip": "siglip", "tiny-coca": "coca", "tiny-eva02": "eva02", "tiny-cone": "cone"}
"""The tiny models of other families, and the names under which `tools.pretrain` makes them."""
SHIPPED = {name: TINY.with_name(name) for name in ("tiny", "tiny-words", *FAMILIES)}
"""The model directories that ship with the project, by name."""
OPEN_CLIP_CONFIG = "open_clip_config.json"
TRANSFORMERS_CONFIG = "config.json"
# `--pretrained TAG+FILE`: a file over the weights of a tag.
TAG_AND_FILE = re.compile(r"([\w-]+)\+(.+)")
# Stems of weights files in a model directory, in open_clip's order of preference.
WEIGHTS = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model", "*")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
# Suffixes of the weights, the tokenizer and the configuration of a directory.
HASHED = (*SUFFIXES, ".gz", ".json", ".txt", ".model", ".vocab")


def weights_sha256(name: str, pretrained: str | None = None) -> str | None:
    """Return the SHA-256 of the local files of a model; None for hub names and open_clip tags, which identify the files."""
    if pretrained == "random":
        return None
    directory = directory_of(name, pretrained)
    inside = () if directory is None else directory.iterdir()
    files = sorted(f for f in inside if f.suffix in HASHED and f.is_file())
    file = weights_file(name, pretrained)
    if file is not None and path_is(file, Path.is_file):
        files.append(file)
    digest = hashlib.sha256()
    for path in files:
        try:
            with open_file(path) as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
        except OSError as error:
            raise UserError(f"The file {path} of the model cannot be read: {reason(error)}.") from error
    return digest.hexdigest() if files else None


def directory_of(name: str, pretrained: str | None) -> Path | None:
    """Return the local model directory that `name` means, or None.

    Raises:
        UserError: the directory has no configuration, or no weights although `pretrained` is None.
    """
    if name in SHIPPED:
        if pretrained is None and not is_here(name):
            raise UserError(
                f"The weights of {name!r} are not in this copy of the project ({SHIPPED[name]}). Make them with "
                f"`python -m tools.pretrain --family {FAMILIES.get(name, 'clip')}`, or give --model tiny, or --pretrained "
                "random for random weights."
            )
        return SHIPPED[name]
    path = user_path(name)
    if not path_is(path, Path.is_dir):
        return None
    if not any((path / config).is_file() for config in (OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG)):
        if (checkpoint := path / "encoder.safetensors").is_file():
            raise UserError(
                f"{name!r} is a checkpoint of a run, not a model directory. Give the run's --model with --pretrained "
                f"{checkpoint}, or put that file next to a {OPEN_CLIP_CONFIG}."
            )
        raise UserError(f"The model directory {name!r} has no {OPEN_CLIP_CONFIG} and no {TRANSFORMERS_CONFIG}.")
    if pretrained is None and weights_in(path) is None:
        raise no_weights(name)
    return path


def is_here(name: str) -> bool:
    """Return whether the weights of a model of `SHIPPED` are in this copy of the project."""
    return SHIPPED[name].is_dir() and weights_in(SHIPPED[name]) is not None


def no_weights(name: str) -> UserError:
    """Return the error for a model directory without weights."""
    return UserError(
        f"The model directory {name!r} has no weights (open_clip_model.safetensors). Add them, or give --pretrained random "
        "for random weights."
    )


def path_is(path: Path, kind: Callable[[Path], bool]) -> bool:
    """Return whether a path is a file or folder. Raises UserError if the system refuses: a name too long, a closed folder."""
    try:
        return kind(path)
    except OSError as error:
        raise UserError(f"{str(path)[:200]} cannot be read: {reason(error)}.") from error


def weights_in(directory: Path) -> Path | None:
    """Return the weights file of a model directory, or None. safetensors is preferred to other files of the same name."""
    for stem in WEIGHTS:
        for suffix in SUFFIXES:
            if files := sorted(path for path in directory.glob(stem + suffix) if path.is_file()):
                return files[0]
    return None


def weights_file(name: str, pretrained: str | None) -> Path | None:
    """Return the file that `pretrained` means, or None for a tag of the model. Tags have neither folders nor suffixes.

    Of "TAG+FILE" it is the file.
    """
    if pretrained is None or pretrained == "random":
        return None
    if base_tag(pretrained) is not None:
        pretrained = pretrained.partition("+")[2]
    path = user_path(pretrained)
    if path.suffix or os.sep in pretrained or "/" in pretrained:
        return path
    if not path_is(path, Path.is_file):
        return None
    import open_clip

    return None if pretrained in open_clip.list_pretrained_tags_by_model(name) else path


def base_tag(pretrained: str | None) -> str | None:
    """Return the tag of "TAG+FILE", the weights that a file is put over; None for only a tag or only a file."""
    both = TAG_AND_FILE.fullmatch(pretrained or "")
    return both[1] if both is not None and not path_is(user_path(pretrained or ""), Path.exists) else None
