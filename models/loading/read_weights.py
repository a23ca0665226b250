"""Read weights files of other programs without running anything in them, and fit them to an open_clip model.

A mapping of tensors is looked for at the top level and under the keys of `WRAPPERS` ("state_dict" of open_clip's trainer and
ZSCL's code, "model_state_dict", ...). Path components that wrappers of modules add ("module." of distributed training,
"_orig_mod." of compiled models) are removed from names. So is a prefix that all names of the model share ("model." of
Lightning, "clip." of `DualEncoder`). Tensors are matched by name and shape.
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
from torch import Tensor, nn

from models.files import reason
from models.loading import torchscript
from models.registry import UserError, first_line, out_of_memory
from models.towers import UNPACKED_TEXT

# Entries next to the weights that only OpenAI's release has.
OPENAI_EXTRAS = {"input_resolution", "context_length", "vocab_size"}
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "weights")
# Path components of wrapped modules, at any place in a name.
COMPONENTS = ("module.", "_orig_mod.")
PREFIXES = ("clip.", "model.")
# A buffer that older versions of transformers saved.
POSITION_IDS = "text.transformer.embeddings.position_ids"
DAMAGE = (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile)
# The entry of a safetensors file's metadata where `harness.run.checkpoint` stores `models.loading.description.describe`.
DESCRIPTION = "perennial"
# Names of the towers in transformers' CLIP and SigLIP.
TRANSFORMERS = ("vision_model.", "text_model.")
# Parts of tensor names in the files of tunings that store their update separately.
TUNED = ("parametrizations.", "image_adapter.", "text_adapter.")
ADDED = ("added.", "grown.")
TENSOR_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


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
    bare = {name.rpartition(".")[2]: name for name in state}
    openai = bare.keys() >= OPENAI_EXTRAS
    extras = {bare[name] for name in OPENAI_EXTRAS} if openai else set()
    return Weights({name: t for name, t in state.items() if name not in extras}, path, openai, description)


class Matched(NamedTuple):
    """The tensors of a model by the model's names, and the names of the file that are not part of the model."""

    state: dict[str, Tensor]
    left_out: list[str]


def match(expected: Mapping[str, Tensor], unsaved: set[str], weights: Weights, name: str) -> Matched:
    """Find the tensors of a model in a file. Nothing is copied.

    Position embeddings are not resized to other image sizes or contexts (our choice; open_clip does it silently). The text
    tower may be named as in CLIP, or with `text.` before it.

    Args:
        expected: the model's state dict. Its tensors need no data.
        unsaved: names of buffers that a file may have although the model does not save them.
        weights: the result of `read`.
        name: the model's name, for messages.

    Raises:
        UserError: naming the first tensor, in the model's order, that is missing, has another shape or is not floating point,
            else the first tensor that the model does not have.
    """
    tensors, left_out = _of_one_model(expected, weights)
    state = _named_as(expected, tensors)
    problem = None
    for key, model_tensor in expected.items():
        if key not in state:
            problem = f"{key!r} is missing"
        elif state[key].numel() == model_tensor.numel() == 1:
            # Scalars are saved as [] or as [1].
            state[key] = state[key].reshape(model_tensor.shape)
        elif state[key].shape != model_tensor.shape:
            problem = (
                f"{key!r} is {list(state[key].shape)} in the file and {list(model_tensor.shape)} in the model{_cause(key)}"
            )
        if not problem and model_tensor.is_floating_point() and state[key].dtype not in TENSOR_TYPES:
            kind = str(state[key].dtype).removeprefix("torch.")
            problem = f"{key!r} is {kind} in the file, and weights must be float16, bfloat16, float32 or float64"
        if problem:
            break
    extra = [key for key in state if key not in expected and key not in unsaved]
    extra += [key for key in left_out if any(part in key for part in TUNED)]
    if not problem and extra:
        problem = f"the model has no {extra[0]!r}"
    if problem:
        raise UserError(f"The weights in {weights.path} do not fit {name}: {problem}.{_hint(weights)}")
    return Matched({key: state[key] for key in expected}, left_out)


def fit(clip: nn.Module, weights: Weights, name: str) -> list[str]:
    """Copy the weights into a model, converted to its precision (`match`).

    Returns:
        The file's names that are left out.

    Raises:
        UserError: the weights do not fit, or have values that are not finite.
    """
    matched = match(clip.state_dict(), unsaved(clip), weights, name)
    clip.load_state_dict(matched.state)
    for key, tensor in clip.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"The weights in {weights.path} cannot be used: {key!r} has NaN or infinite values.")
    return matched.left_out


def unsaved(clip: nn.Module) -> set[str]:
    """Return names that files of a model may have although its state dict does not."""
    return {buffer for buffer, _ in clip.named_buffers()} | {POSITION_IDS}


def _cause(key: str) -> str:
    """Return the setting that decides the shape of a tensor, for a message."""
    if not key.endswith("positional_embedding"):
        return ""
    return ": another image_size or patch_size" if key.startswith("visual.") else ": another context_length"


def _hint(weights: Weights) -> str:
    """Return a hint for a file whose names are those of another program."""
    if all(any(part in key for key in weights.state) for part in TRANSFORMERS):
        return (
            " It is a model of transformers (names such as 'vision_model.'), which is not supported. Use open_clip's release "
            "of the same model (openai/clip-vit-base-patch16 is --model ViT-B-16 --pretrained openai), or rename the tensors "
            "to open_clip's names."
        )
    if any(part in key for key in weights.state for part in TUNED):
        return (
            " It comes from a run with --tuning lora or adapter, which stores its update separately from the weights. In "
            "Python, call models.tuning.apply with that tuning before load_state_dict."
        )
    if any(key.startswith(ADDED) for key in weights.state):
        return (
            " It comes from a run whose tuning or method adds modules to the towers. In Python, add them to the model in the "
            "same way before load_state_dict."
        )
    if re.search(r"-\d{5}-of-\d{5}", weights.path.name):
        return " It is one of several parts of the weights. Join them into one file."
    return ""


def _of_one_model(expected: Mapping[str, Tensor], weights: Weights) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors under the prefix of the model in the file, without the prefix, and the names of all others.

    Raises:
        UserError: the file has several models, such as a student and its teacher.
    """
    state = weights.state
    # The towers' names may differ (`_named_as`); those of the image tower do not.
    first = next((key for key in expected if key.startswith("visual.")), None)
    if first is None or first in state:
        return state, []
    prefixes = [key.removesuffix(first) for key in state if key.endswith(f".{first}")]
    if len(prefixes) > 1:
        raise UserError(
            f"The weights in {weights.path} are of several models ({', '.join(map(repr, prefixes))}). "
            "Save the state dict of one."
        )
    if not prefixes:
        return state, []
    [prefix] = prefixes
    inside = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
    return inside, [key for key in state if not key.startswith(prefix)]


def _named_as(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with the text tower's names as the model has them: under `text.`, or unpacked."""
    packed = "text.positional_embedding" in expected
    unpacked = "positional_embedding" in expected
    named = {}
    for key, tensor in state.items():
        bare = key.removeprefix("text.")
        if bare.split(".")[0] in UNPACKED_TEXT and (packed or unpacked):
            key = f"text.{bare}" if packed else bare
        named[key] = tensor
    return named


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
            raise UserError(
                f"The weights file {path} is a pickle that could run code when it is read{f' ({named[1]})' if named else ''}, "
                "so it is refused. If you trust it, save only its state dict with torch.save(STATE_DICT, NEW_FILE)."
            ) from error
        raise _unreadable(path, error, "file of PyTorch") from error


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
