"""`load`: open_clip models by name, directory or hub name, as a float32 `DualEncoder`."""

from __future__ import annotations

import hashlib
import logging
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from models import checkpoints
from models.encoder import DualEncoder
from models.paths import user_path
from models.prompt_reader import PromptReader
from models.registry import UserError, first_line, unknown
from models.transforms import Preprocess

TINY = Path(__file__).parent / "tiny"
OPEN_CLIP_CONFIG = "open_clip_config.json"
MERGES = "bpe.txt.gz"
HUB = "hf-hub:"
# In a model directory: the first of these that there is, as open_clip prefers them.
WEIGHTS = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model", "*")
SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
# What the weights, the tokenizer and the configuration of a directory can be made of.
HASHED = (*SUFFIXES, ".gz", ".json", ".txt", ".model", ".vocab")


def load(name: str, pretrained: str | None = None) -> DualEncoder:
    """A dual encoder in float32, in evaluation mode, on the CPU.

    Args:
        name: "tiny" (ships with the project), a directory that holds an `open_clip_config.json` with its weights, a hub
            name ("hf-hub:owner/model"), or any architecture that open_clip knows.
        pretrained: an open_clip tag, or a weights file (a path: safetensors, or what `torch.save` wrote; see
            `models.checkpoints`); needed for architectures, and only for them. "random" gives random weights (drawn from
            torch's generator) for any name.

    QuickGELU: OpenAI trained with it, as some others did. open_clip knows it of its tags, and takes every file that its
    `load_openai_model` is given for OpenAI's. Here a file counts as OpenAI's when it holds what only OpenAI's release does
    (the entries `input_resolution`, `context_length` and `vocab_size`; the TorchScript archives have them too). Weights
    fine-tuned from OpenAI's look like any others: give their architecture as "ViT-B-16-quickgelu".

    Preprocessing: a tag, hub name or directory brings its own. For a file or random weights it is what all of open_clip's
    tags of that architecture agree on (SigLIP squashes images, say), else open_clip's default (our choice).

    Raises:
        UserError: unknown name, missing or unknown tag, a directory without a configuration or weights, weights that cannot
            be downloaded or read or that do not fit, a tokenizer that cannot be had.
    """
    import open_clip

    random = pretrained == "random"
    directory = _directory(name)
    weights: checkpoints.Weights | None = None
    arguments: dict[str, Any] = {}
    if directory is not None or name.startswith(HUB):
        if pretrained not in (None, "random"):
            raise UserError(f"The model {name!r} brings its own weights: leave out --pretrained {pretrained}.")
        source = name if directory is None else f"local-dir:{directory}"
        file = None if directory is None else _weights_in(directory)
    else:
        source, file = name, _weights_file(pretrained)
        tag = None if random or file else pretrained
        _check_architecture(open_clip, name, pretrained, tag)
        if tag is not None:
            arguments = {"pretrained": tag, "force_quick_gelu": _tag_setting(open_clip, name, tag, "quick_gelu") is True}
        else:
            arguments = {"force_preprocess_cfg": _usual_preprocessing(open_clip, name)}
    if file is not None and not random:
        weights = checkpoints.read(file)
        if directory is None:
            arguments["force_quick_gelu"] = weights.openai

    stored = not random and weights is None
    # Before the weights of an architecture, which may be a long download; a hub's tokenizer needs what the model fetches.
    tokenizer = None if name.startswith(HUB) else _tokenizer(open_clip, name, source, directory)
    try:
        with _quiet():
            clip = open_clip.create_model(
                source, precision="fp32", load_weights=stored, require_pretrained=stored, pretrained_text=False, **arguments
            )
    except (OSError, RuntimeError, ValueError, AssertionError, pickle.UnpicklingError, SafetensorError) as error:
        # open_clip reports a failed download, a damaged file and a wrong configuration this way.
        raise UserError(f"Cannot load the model {name!r}: {first_line(error)}") from error
    if weights is not None:
        checkpoints.fit(clip, weights, name)
    config = clip.visual.preprocess_cfg
    preprocess = Preprocess.from_open_clip(config)
    encoder = DualEncoder(
        clip,
        tokenizer or _tokenizer(open_clip, name, source, directory),
        image_size=preprocess.size,
        mean=config["mean"],
        std=config["std"],
        name=name,
        pretrained=pretrained,
        preprocess=preprocess,
    )
    return encoder.eval()


def prompt_reader(name: str) -> PromptReader:
    """Return how a model reads prompts, without its weights: `name` as in `load`. Raises UserError."""
    import open_clip

    directory = _directory(name)
    if directory is None and not name.startswith(HUB) and name not in open_clip.list_models():
        error = unknown("model", name, ["tiny", *open_clip.list_models()])
        raise UserError(str(error).split(" Known:")[0] + " `list models` shows the usual ones.")
    source = name if directory is None else f"local-dir:{directory}"
    return PromptReader(_tokenizer(open_clip, name, source, directory), name)


def weights_sha256(name: str, pretrained: str | None = None) -> str | None:
    """SHA-256 of the local files that the model comes from; None for a hub's or an open_clip tag, which name them."""
    if pretrained == "random":
        return None
    directory = _directory(name)
    if directory is not None:
        files = sorted(f for f in directory.iterdir() if f.suffix in HASHED and f.is_file())
    else:
        file = _weights_file(pretrained)
        files = [file] if file is not None and file.is_file() else []
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest() if files else None


def _directory(name: str) -> Path | None:
    """The local model directory that `name` means, or None."""
    if name == "tiny":
        return TINY
    path = user_path(name)
    if not path.is_dir():
        return None
    if not (path / OPEN_CLIP_CONFIG).is_file():
        raise UserError(f"The model directory {name!r} has no {OPEN_CLIP_CONFIG}.")
    if _weights_in(path) is None:
        raise UserError(f"The model directory {name!r} holds no weights (open_clip_model.safetensors).")
    return path


def _weights_in(directory: Path) -> Path | None:
    """The weights file of a model directory; safetensors before others of the same name."""
    for stem in WEIGHTS:
        for suffix in SUFFIXES:
            if found := sorted(directory.glob(stem + suffix)):
                return found[0]
    return None


def _weights_file(pretrained: str | None) -> Path | None:
    """The file that `pretrained` means, or None for a tag. Tags have neither folders nor suffixes."""
    if pretrained is None or pretrained == "random":
        return None
    path = user_path(pretrained)
    return path if path.suffix or os.sep in pretrained or "/" in pretrained else None


def _check_architecture(open_clip: Any, name: str, pretrained: str | None, tag: str | None) -> None:
    """Check name and tag before anything is downloaded."""
    architectures = open_clip.list_models()
    if name not in architectures:
        error = unknown("model", name, ["tiny", *architectures])
        raise UserError(str(error).split(" Known:")[0] + " `list models` shows the usual ones.")
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise UserError(f"The model {name!r} needs --pretrained, one of: {', '.join([*tags, 'random'])}, or a weights file.")
    if tag is not None and tag not in tags:
        raise unknown(f"weights for {name}", tag, [*tags, "random"])


def _tag_setting(open_clip: Any, name: str, tag: str, key: str) -> Any:
    return open_clip.pretrained.get_pretrained_cfg(name, tag).get(key)


def _usual_preprocessing(open_clip: Any, name: str) -> dict[str, Any]:
    """The preprocessing settings on which all of an architecture's tags agree."""
    agreed = {}
    for key in ("mean", "std", "interpolation", "resize_mode"):
        values = {_tag_setting(open_clip, name, tag, key) for tag in open_clip.list_pretrained_tags_by_model(name)}
        if len(values) == 1 and None not in values:
            agreed[key] = values.pop()
    return agreed


def _tokenizer(open_clip: Any, name: str, source: str, directory: Path | None) -> Any:
    """open_clip's tokenizer: CLIP's, CoCa's and EVA-02's ships with it, others (SigLIP's) come from a hub or directory."""
    # A model directory may ship its own merges; open_clip's configuration has no place for a path relative to itself.
    merges = directory / MERGES if directory is not None else None
    arguments = {"bpe_path": str(merges)} if merges is not None and merges.is_file() else {}
    try:
        with _quiet():
            return open_clip.get_tokenizer(source, **arguments)
    except (OSError, ImportError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"Cannot get the tokenizer of {name!r} ({first_line(error)}): it has to be downloaded once from its hub, or "
            f"its files must lie in a model directory beside {OPEN_CLIP_CONFIG}."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip reports each step on the root logger, the hub each failed attempt; only errors are of interest here."""
    loggers = [logging.getLogger(), logging.getLogger("huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
