"""Read weights files of other programs without running anything in them.

A mapping of tensors is looked for at the top level and under the keys of `WRAPPERS` ("state_dict" of open_clip's trainer and
ZSCL's code, "model_state_dict", ...). Path components that wrappers of modules add ("module." of distributed training,
"_orig_mod." of compiled models) are removed from names. So is a prefix that all names of the model share ("model." of
Lightning, "clip." of `DualEncoder`). Names of transformers' CLIP and SigLIP become open_clip's
(`models.loading.transformers_names`). `models.loading.fit_weights` matches the tensors with a model by name and shape.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from models.files import reason
from models.loading import torchscript, transformers_names
from models.registry import UserError, first_line, out_of_memory

# Entries next to the weights that only OpenAI's release has.
OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# Path components of wrapped modules, at any place in a name.
COMPONENTS = ("module.", "_orig_mod.")
PREFIXES = ("clip.", "model.")
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile)
# The entry of a safetensors file's metadata where `harness.run.checkpoint` stores `models.loading.description.describe`.
DESCRIPTION = "perennial"
# Parts of tensor names in the files of tunings that store their update separately.
TUNED = ("parametrizations.", "image_adapter.", "text_adapter.")
ADDED = ("added.", "grown.")


class Weights(NamedTuple):
    """Tensors by name, the file for messages, whether OpenAI released them, and the file's record of its model."""

    state: dict[str, Tensor]
    path: Path
    openai: bool = False
    description: dict[str, Any] | None = None


def read(path: Path) -> Weights:
    """Read the weights in a file: safetensors, a file of `torch.save`, or a TorchScript archive, recognised by content.

    Files of `torch.save` are read with `weights_only=True`. Tensors are taken out of TorchScript without running it.

    Raises:
        UserError: the file is missing, unreadable or damaged, has no mapping of tensors, or would have to run code to be read,
            or the memory is too small.
    """
    start = _start(path)
    description = None
    content: object
    try:
        if _is_safetensors(start, path):
            content, description = _safetensors(path)
        elif torchscript.is_torchscript(path):
            content = _torchscript(path)
        else:
            content = _pickled(path)
    except Exception as error:
        if out_of_memory(error):
            size = path.stat().st_size / 1e6
            raise UserError(f"There is not enough memory to read the weights file {path} ({size:,.0f} MB).") from error
        raise
    state = {_without_components(name): tensor for name, tensor in _tensors(content, path).items()}
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in state)), None):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if transformers_names.is_transformers(state):
        state = transformers_names.to_open_clip(state)
    bare = {name.rpartition(".")[2]: name for name in state}
    openai = bare.keys() >= OPENAI_EXTRAS
    extras = {bare[name] for name in OPENAI_EXTRAS} if openai else set()
    return Weights({name: t for name, t in state.items() if name not in extras}, path, openai, description)


def _start(path: Path) -> bytes:
    """Return the first bytes of a file. Raises UserError if it is missing or unreadable, or obviously not weights."""
    try:
        is_file = path.is_file()
    except OSError as error:
        raise UserError(f"The weights file {str(path)[:200]} cannot be read: {reason(error)}.") from error
    if not is_file:
        raise UserError(
            f"The weights file {path} is a folder. Give the file in it, or give a model directory as --model."
            if path.is_dir()
            else f"The weights file {path} does not exist."
        )
    try:
        with path.open("rb") as opened:
            start = opened.read(64)
    except OSError as error:
        raise UserError(f"The weights file {path} cannot be read: {reason(error)}.") from error
    if start.startswith(b"version https://git-lfs"):
        raise UserError(
            f"The weights file {path} is a pointer of Git LFS, not the weights. Run `git lfs pull` in its repository."
        )
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise UserError(f"The weights file {path} is a web page, not weights. Download the file again.")
    return start


def _is_safetensors(start: bytes, path: Path) -> bool:
    """Return whether a file is safetensors: by its content, a length in eight bytes and a JSON header, else by its suffix.

    The length decides, because its first byte may be the one that starts a pickle.
    """
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size - 8:
        return True
    return path.suffix == ".safetensors" and not start.startswith((pickle.PROTO, b"PK"))


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Return the tensors of a safetensors file and its record of its model."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            recorded = (opened.metadata() or {}).get(DESCRIPTION)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, *DAMAGE) as error:
        if out_of_memory(error):
            raise
        raise _unreadable(path, error, "safetensors file") from error
    try:
        description = None if recorded is None else json.loads(recorded)
    except (ValueError, RecursionError):
        description = None
    return state, description if isinstance(description, dict) else None


def _torchscript(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a TorchScript archive."""
    try:
        return torchscript.read_tensors(path)
    except (pickle.UnpicklingError, RecursionError, *DAMAGE) as error:
        if out_of_memory(error):
            raise
        raise UserError(
            f"The TorchScript archive {path} cannot be read without running it ({first_line(error)}). If you trust it, "
            "convert it with torch.save(torch.jit.load(FILE).state_dict(), NEW_FILE)."
        ) from error


def _pickled(path: Path) -> object:
    """Return the content of a file of `torch.save`, read without running code."""
    try:
        torchscript.check_archive(path)
        with warnings.catch_warnings():
            # Pickles of other programs are read or refused. A warning about a newer protocol does not help the user.
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            # An opened file, because newer versions of torch choose the format by the suffix of a path.
            with path.open("rb") as opened:
                content: object = torch.load(opened, map_location="cpu", weights_only=True)
                return content
    except (pickle.UnpicklingError, RecursionError, *DAMAGE) as error:
        if out_of_memory(error):
            raise
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        with path.open("rb") as opened:
            pickled = opened.read(1) == pickle.PROTO
        # Newer protocols stop the reader before it sees a name. Only a pickle starts with its protocol.
        if isinstance(error, pickle.UnpicklingError) and (named or pickled):
            raise UserError(_refusal(path, named[1] if named else None)) from error
        raise _unreadable(path, error, "file of PyTorch") from error


def _refusal(path: Path, named: str | None) -> str:
    """Return the message for a file that could run code. If it names a class, two lines follow that convert the file.

    wise-ft and task_vectors save whole models so, as their classes `ImageClassifier` and `ImageEncoder`.
    """
    refused = f"The weights file {path} is a pickle that could run code when it is read"
    if named is None:
        return f"{refused}, so it is refused. If you trust it, save only its state dict with torch.save(STATE_DICT, NEW_FILE)."
    new = path.with_name(f"{path.stem}-state.pt")
    return (
        f"{refused} ({named}), so it is refused. If you trust it, convert it with these two lines, in a Python that can import "
        "the program that wrote it (for wise-ft and task_vectors, in the folder of their code):\n"
        f"import torch; content = torch.load({str(path)!r}, map_location='cpu', weights_only=False)\n"
        f"torch.save(content.state_dict() if hasattr(content, 'state_dict') else content['state_dict'], {str(new)!r})"
    )


def _unreadable(path: Path, error: BaseException, kind: str) -> UserError:
    """Return the error for a file that its reader refuses: the system's reason if there is one, else damage."""
    if isinstance(error, OSError) and error.errno is not None:
        return UserError(f"The weights file {path} cannot be read: {reason(error)}.")
    return UserError(f"The weights file {path} is damaged, cut short or not a {kind}: {first_line(error)}.")


def _tensors(content: object, path: Path) -> dict[str, Tensor]:
    """Return the mapping of tensors in the content. Numbers and strings next to tensors (counters of steps) are left out."""
    candidates = [content, *(content.get(key) for key in WRAPPERS)] if isinstance(content, Mapping) else []
    for plain in ((Tensor,), (Tensor, int, float, str, type(None))):
        for candidate in candidates:
            if isinstance(candidate, Mapping) and all(isinstance(value, plain) for value in candidate.values()):
                tensors = {str(key): value for key, value in candidate.items() if isinstance(value, Tensor)}
                if tensors:
                    return tensors
    raise UserError(f"The file {path} has no state dict (tensors by name).")


def _without_components(name: str) -> str:
    """Return a name without the path components of wrapped modules."""
    for component in COMPONENTS:
        name = name.removeprefix(component).replace(f".{component}", ".")
    return name
