"""`load`: open_clip models by name, directory or hub name, as a float32 `DualEncoder`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.encoder import DualEncoder
from models.registry import UserError, unknown

TINY = Path(__file__).parent / "tiny"
OPEN_CLIP_CONFIG = "open_clip_config.json"
MERGES = "bpe.txt.gz"


def load(name: str, pretrained: str | None = None) -> DualEncoder:
    """A dual encoder in float32, in evaluation mode, on the CPU.

    Args:
        name: "tiny" (ships with the project), a directory that holds an `open_clip_config.json` with its weights, a hub
            name ("hf-hub:owner/model"), or any architecture that open_clip knows.
        pretrained: the open_clip tag or a weights file; needed for architectures, and only for them. "random" gives
            random weights (drawn from torch's generator) for any name.

    Raises:
        UserError: unknown name, missing or unknown tag, a directory without a configuration or weights, weights that cannot
            be downloaded or read.
    """
    import open_clip

    random = pretrained == "random"
    directory = _directory(name)
    if directory is not None or name.startswith("hf-hub:"):
        if pretrained not in (None, "random"):
            raise UserError(f"The model {name!r} brings its own weights: leave out --pretrained {pretrained}.")
        source = name if directory is None else f"local-dir:{directory}"
        arguments: dict[str, Any] = {}
    else:
        source = name
        arguments = {"force_quick_gelu": _check_architecture(open_clip, name, pretrained)}
        if not random:
            arguments["pretrained"] = pretrained

    try:
        with _quiet():
            clip = open_clip.create_model(source, precision="fp32", load_weights=not random, **arguments)
            tokenizer = open_clip.get_tokenizer(source, **_tokenizer_arguments(directory))
    except (OSError, RuntimeError, ValueError) as error:
        # open_clip reports a failed download, a damaged file and a wrong configuration this way.
        raise UserError(f"Cannot load the model {name!r}: {str(error).splitlines()[0]}") from error
    preprocess = clip.visual.preprocess_cfg
    size = preprocess["size"]
    encoder = DualEncoder(
        clip,
        tokenizer,
        image_size=size if isinstance(size, int) else int(size[0]),
        mean=preprocess["mean"],
        std=preprocess["std"],
        name=name,
    )
    return encoder.eval()


def weights_sha256(name: str, pretrained: str | None = None) -> str | None:
    """SHA-256 of the local files that the weights come from; None for a hub's or an open_clip tag, which name them."""
    if pretrained == "random":
        return None
    directory = _directory(name)
    if directory is not None:
        files = sorted(f for f in directory.iterdir() if f.suffix in (".safetensors", ".bin", ".pt", ".gz", ".json"))
    else:
        files = [Path(pretrained)] if pretrained and Path(pretrained).is_file() else []
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest() if files else None


def _directory(name: str) -> Path | None:
    """The local model directory that `name` means, or None."""
    if name == "tiny":
        return TINY
    path = Path(name).expanduser()
    if not path.is_dir():
        return None
    if not (path / OPEN_CLIP_CONFIG).is_file():
        raise UserError(f"The model directory {name!r} has no {OPEN_CLIP_CONFIG}.")
    if not any(path.glob("open_clip*model*")) and not any(path.glob("*.safetensors")):
        raise UserError(f"The model directory {name!r} holds no weights (open_clip_model.safetensors).")
    return path


def _check_architecture(open_clip: Any, name: str, pretrained: str | None) -> bool:
    """Check name and tag before anything is downloaded; returns whether the weights were trained with QuickGELU."""
    architectures = open_clip.list_models()
    if name not in architectures:
        error = unknown("model", name, ["tiny", *architectures])
        raise UserError(str(error).split(" Known:")[0] + " `list models` shows the usual ones.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained == "random" or (pretrained and Path(pretrained).is_file()):
        return False
    if pretrained is None:
        raise UserError(f"The model {name!r} needs --pretrained, one of: {', '.join(tags)}, random.")
    if pretrained not in tags:
        raise unknown(f"weights for {name}", pretrained, [*tags, "random"])
    return bool(open_clip.pretrained.get_pretrained_cfg(name, pretrained).get("quick_gelu", False))


def _tokenizer_arguments(directory: Path | None) -> dict[str, str]:
    """A model directory may ship its own merges; open_clip's configuration has no place for a path relative to itself."""
    if directory is None or not (directory / MERGES).is_file():
        return {}
    return {"bpe_path": str(directory / MERGES)}


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip reports each step on the root logger; only its errors are of interest here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)
