"""Read declarations from the files around a weights file: the activation, and the run that wrote it.

QuickGELU and GELU have no parameters. If one is computed with weights of the other, accuracies are too low on every dataset and
nothing fails. A run's own files record the activation in their metadata (`models.loading.description`). For other files, the
configuration next to them or the log of open_clip's trainer is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from models.files import read_text
from models.loading import description
from models.loading.read_weights import ADDED, TUNED, Weights
from models.registry import UserError

RUN = "run"
"""The entry of a file's description that names the run's tuning and method."""
QUICK_ACTIVATION = "quick_gelu"


class Activation(NamedTuple):
    """The declared activation: QuickGELU or not, and the source of the declaration."""

    quick: bool
    source: str


def activation(weights: Weights) -> Activation | None:
    """Return the activation that a weights file or a file next to it declares, or None.

    Looked at in this order: the entries that only OpenAI's release has, the record of a run's own file, `open_clip_config.json`
    and transformers' `config.json` in the same folder, and the `params.txt` that open_clip's trainer writes above its folder
    of checkpoints.
    """
    if weights.openai:
        return Activation(True, "it is OpenAI's")
    if weights.description is not None:
        return Activation(description.is_quick(weights.description), "its record")
    folder = weights.path.absolute().parent
    own = _json(folder / "open_clip_config.json").get("model_cfg")
    if isinstance(own, Mapping) and "embed_dim" in own:
        return Activation(own.get("quick_gelu") is True, "open_clip_config.json next to it")
    theirs = _json(folder / "config.json")
    acts = [
        tower.get("hidden_act")
        for tower in (theirs.get("vision_config"), theirs.get("text_config"))
        if isinstance(tower, Mapping)
    ]
    if any(isinstance(act, str) for act in acts):
        return Activation(QUICK_ACTIVATION in acts, "config.json next to it")
    return _trainer(folder.parent / "params.txt")


def _trainer(path: Path) -> Activation | None:
    """Return the activation that a `params.txt` of open_clip's trainer declares, one "name: value" per line.

    None for weights that started from OpenAI's: versions of open_clip differ in what they computed then.
    """
    values = dict(line.split(": ", 1) for line in _text(path).splitlines() if ": " in line)
    if "model" not in values or "force_quick_gelu" not in values:
        return None
    if values["force_quick_gelu"] == "True" or values["model"].endswith("-quickgelu"):
        return Activation(True, "params.txt of its training")
    return None if values.get("pretrained") == "openai" else Activation(False, "params.txt of its training")


def check_whole(weights: Weights) -> tuple[str, ...]:
    """Check that a run's file holds everything that the run's model answers with.

    Returns:
        A note for a method that classifies with more than the encoder.

    Raises:
        UserError: the file's run has a tuning whose parts are stored separately or elsewhere: LoRA, adapters, added modules,
            the heads of a probe.
    """
    tuning, own_answers = _run(weights)
    folder = run_folder(weights.path)
    run = "RUN" if folder is None else str(folder)
    names = list(weights.state)
    python = f"In Python, `perennial.load_run({run!r})` loads the whole model."
    if any(part in name for name in names for part in TUNED):
        lora = all(TUNED[0] in name for name in names if any(part in name for part in TUNED))
        writer = f"a run with --tuning {'lora' if lora else 'adapter'} or a method of that kind"
        raise UserError(
            f"The weights in {weights.path} come from {writer}, which stores its update separately from the weights. "
            f"`python cli.py export {run} --to {'open_clip' if lora else 'safetensors'} --out DIR` writes the whole model. "
            f"{python}"
        )
    if any(name.startswith(ADDED) for name in names):
        raise UserError(
            f"The weights in {weights.path} come from a run whose tuning or method adds modules to the towers. {python}"
        )
    if tuning == "probe":
        raise UserError(
            f"The weights in {weights.path} come from a run with --tuning probe, whose heads are in strategy.safetensors. Its "
            f"encoder is the model that the run started from. `python cli.py export {run} --to safetensors --out DIR` writes "
            f"it with its heads. {python}"
        )
    if own_answers:
        return (
            f"the run of {weights.path} classifies with more than its encoder, which is used here without it. {python[:-1]}",
        )
    return ()


def run_folder(path: Path) -> Path | None:
    """Return the folder of the run that a checkpoint's file is in (RUN/checkpoint/after-N/FILE), or None."""
    folder = path.parent.parent.parent
    inside = path.parent.name.startswith("after-") and path.parent.parent.name == "checkpoint"
    return folder if inside and (folder / "run.json").is_file() else None


def _run(weights: Weights) -> tuple[str | None, bool]:
    """Return the tuning of a file's run, and whether its method answers with more than the encoder."""
    recorded = (weights.description or {}).get(RUN)
    if isinstance(recorded, Mapping):
        return recorded.get("tuning"), recorded.get("own_answers") is True
    folder = run_folder(weights.path)
    identity: Any = {} if folder is None else _json(folder / "run.json").get("identity")
    return (identity.get("tuning") if isinstance(identity, Mapping) else None), False


def _json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; empty if the file has another content or cannot be read."""
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    """Return the content of a text file; empty if it cannot be read."""
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError):
        return ""
