"""Fit the tensors of a weights file to an open_clip model, by name and shape."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.loading import positions, transformers_names
from models.loading.read_weights import TUNED, Weights
from models.registry import UserError
from models.towers import UNPACKED_TEXT, tower_of

# A buffer that older versions of transformers saved.
POSITION_IDS = "text.transformer.embeddings.position_ids"
TENSOR_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Matched(NamedTuple):
    """The tensors that a model takes from a file.

    Attributes:
        state: tensors by the model's names.
        kept: the model's tensors that the file lacks and that stay as they are: the text tower of a file without one.
        notes: sentences for the user: tensors left out, embeddings interpolated, a tower kept.
        resized: the position embeddings are interpolated.
    """

    state: dict[str, Tensor]
    kept: tuple[str, ...]
    notes: tuple[str, ...]
    resized: bool


def match(expected: Mapping[str, Tensor], unsaved: set[str], weights: Weights, name: str, base: str | None = None) -> Matched:
    """Find the tensors of a model in a file. Nothing is copied.

    The text tower may be named as in CLIP, or with `text.` before it. Position embeddings of another image size are
    interpolated (`models.loading.positions`), those of another context are refused (our choice; open_clip interpolates them,
    silently).

    Args:
        expected: the model's state dict. Its tensors need no data.
        unsaved: names of buffers that a file may have although the model does not save them.
        weights: the result of `read`.
        name: the model's name, for messages.
        base: the name of weights that the model already has. Then the file may lack the text tower.

    Raises:
        UserError: naming the first tensor, in the model's order, that is missing, has another shape or is not floating point,
            else the first tensor that the model does not have.
    """
    tensors, left_out = _of_one_model(expected, weights)
    state = _named_as(expected, tensors)
    kept: tuple[str, ...] = ()
    notes = _left_out(weights, left_out)
    if _only_images(expected, state):
        if base is None:
            raise UserError(
                f"The weights in {weights.path} have an image tower but no text tower. Give the weights that training started "
                "from as well, as --pretrained TAG+FILE."
            )
        kept = tuple(k for k in expected if tower_of(k) in ("text", "unused") or (tower_of(k) == "scale" and k not in state))
        notes += (f"{weights.path} has no text tower, so {name} keeps the one of {base}",)
    problem = None
    resized = False
    for key, model_tensor in expected.items():
        if key in kept:
            continue
        if key in positions.NAMES and key in state and state[key].shape != model_tensor.shape:
            grid = positions.resized(state[key], model_tensor.shape[-2])
            if grid is not None:
                resized = True
                state[key] = grid.tensor
                notes += (
                    f"the position embeddings of {weights.path} were interpolated from {grid.before} x {grid.before} to "
                    f"{grid.after} x {grid.after} patches, because {name} takes images of another size",
                )
        problem = _problem(key, model_tensor, state)
        if problem:
            break
    extra = [key for key in state if key not in expected and key not in unsaved]
    extra += [key for key in left_out if any(part in key for part in TUNED)]
    if not problem and extra:
        problem = f"the model has no {extra[0]!r}"
    if problem:
        raise UserError(f"The weights in {weights.path} do not fit {name}: {problem}.{_hint(weights)}")
    return Matched({key: state[key] for key in expected if key not in kept}, kept, notes, resized)


def fit(clip: nn.Module, weights: Weights, name: str, base: str | None = None) -> Matched:
    """Copy the weights into a model, converted to its precision (`match`).

    Raises:
        UserError: the weights do not fit, or have values that are not finite.
    """
    matched = match(clip.state_dict(), unsaved(clip), weights, name, base)
    clip.load_state_dict(matched.state, strict=not matched.kept)
    for key, tensor in clip.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"The weights in {weights.path} cannot be used: {key!r} has NaN or infinite values.")
    return matched


def unsaved(clip: nn.Module) -> set[str]:
    """Return names that files of a model may have although its state dict does not."""
    return {buffer for buffer, _ in clip.named_buffers()} | {POSITION_IDS}


def _problem(key: str, model_tensor: Tensor, state: dict[str, Tensor]) -> str | None:
    """Return why the file's tensor does not fit the model's, or None. A scalar gets the model's shape."""
    if key not in state:
        return f"{key!r} is missing"
    if state[key].numel() == model_tensor.numel() == 1:
        # Scalars are saved as [] or as [1].
        state[key] = state[key].reshape(model_tensor.shape)
    if state[key].shape != model_tensor.shape:
        return f"{key!r} is {list(state[key].shape)} in the file and {list(model_tensor.shape)} in the model{_cause(key)}"
    if model_tensor.is_floating_point() and state[key].dtype not in TENSOR_TYPES:
        kind = str(state[key].dtype).removeprefix("torch.")
        return f"{key!r} is {kind} in the file, and weights must be float16, bfloat16, float32 or float64"
    return None


def _cause(key: str) -> str:
    """Return the setting that decides the shape of a tensor, for a message."""
    if not key.endswith("positional_embedding"):
        return ""
    return ": another image_size or patch_size" if key.startswith("visual.") else ": another context_length"


def _hint(weights: Weights) -> str:
    """Return a hint for a file whose names are those of another program."""
    if transformers_names.is_transformers(weights.state):
        return (
            " Its names are those of transformers (such as 'vision_model.'), of which CLIP and SigLIP can be read. Give the "
            "architecture of the same family and size, or give the model's folder as --model."
        )
    if re.search(r"-\d{5}-of-\d{5}", weights.path.name):
        return " It is one of several parts of the weights. Join them into one file."
    return ""


def _left_out(weights: Weights, names: list[str]) -> tuple[str, ...]:
    """Return the note about tensors of a file that the model does not have."""
    if not names:
        return ()
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (f"{weights.path} also has {names[0]!r}{more}, which the model does not have; left out",)


def _only_images(expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> bool:
    """Return whether a file has the whole image tower and none of the text tower's layers.

    wise-ft and task_vectors delete the layers (`model.transformer`) before training and save the rest of CLIP.
    """
    layers = [key for key in expected if tower_of(key) == "text" and "transformer." in key]
    image = [key for key in expected if tower_of(key) == "image"]
    return bool(layers) and not any(key in state for key in layers) and all(key in state for key in image)


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
