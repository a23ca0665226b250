"""Options set by a benchmark, by strategy name. Those of "finetune", the base class, apply to all strategies.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.files import read_text, reason
from models.registry import UserError

_MINI = Path(__file__).parent / "mini"

# ZSCL's released class-incremental code: one epoch, AdamW without decay, 30 warm-up steps, distillation weights 5 and 5, no
# L2, a snapshot every 10 steps. It sets no seed, so each step sees the reference images in another order. Its iCaRL is meant
# to distil from the previous model. It keeps 5,000 images and herds among 10,000, and an update has 64 of them whatever the
# batch size.
CIL: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 1, "lr": 7.1e-6, "warmup": 30, "batch_size": 64, "weight_decay": 0.0, "label_smoothing": 0.2},
    "zscl": {"image_loss": 5.0, "text_loss": 5.0, "l2": 0.0, "average_every": 10, "reference_reshuffle": True},
    "lwf": {"image_loss": 5.0, "text_loss": 5.0},
    "icarl": {
        "image_loss": 5.0,
        "text_loss": 5.0,
        "teacher": "previous",
        "memory": 5_000,
        "candidates": 10_000,
        "memory_batch": 64,
    },
    # RAPF's released code.
    "rapf": {"epochs": 15, "lr": 1e-3, "warmup": 0, "batch_size": 100, "label_smoothing": 0.0},
}
# Its ImageNet-100 configurations have no label smoothing.
CIL_IMAGENET100: dict[str, dict[str, Any]] = {
    **CIL,
    "finetune": {**CIL["finetune"], "lr": 7e-6, "batch_size": 128, "weight_decay": 0.1, "label_smoothing": 0.0},
    # A batch has as many reference images as task images.
    "zscl": {**CIL["zscl"], "reference_batch": 128},
}
# Except the one of ZSCL in ten steps of ten classes (imagenet100_10-10-ZSCL.yaml).
CIL_IMAGENET100_10: dict[str, dict[str, Any]] = {
    **CIL_IMAGENET100,
    "zscl": {**CIL_IMAGENET100["zscl"], "label_smoothing": 0.2},
}
# imagenet1000_100-100.yaml is a configuration of ZSCL without a weight decay. Ours is that of ImageNet-100.
CIL_IMAGENET: dict[str, dict[str, Any]] = {
    **CIL_IMAGENET100,
    "finetune": {**CIL_IMAGENET100["finetune"], "lr": 7.1e-6, "label_smoothing": 0.2},
}

# A search of 21 points on all validation images would take most of a run's time.
_SEARCH = {"alphas": 11, "validation_images": 100}
# Options that define a method (ZSCL* has no L2), and sizes for the mini edition.
MINI: dict[str, dict[str, Any]] = {
    "zscl-star": {"l2": 0.0},
    "icarl": {"memory": 200},
    # As many updates as the other methods, in place of passes.
    "diki": {"epochs": 0},
    "coop": {"epochs": 0},
    "s-prompts": {"epochs": 0},
    "moe-adapters": {"experts": 8},
    # A batch has as many pairs as task images. The weights of the losses are the released ones.
    "gift": {"reference_batch": 32},
    "joint": {"joint_budget": "task"},
    "keep-lora": {"epochs": 0},
    "paint-single": _SEARCH,
    "paint-sequential": _SEARCH,
    "paint-joint": {**_SEARCH, "joint_budget": "task"},
    "paint-parallel": _SEARCH,
    "task-arithmetic": _SEARCH,
    "ranpac": {"width": 1024},
    "rapf": {"epochs": 0},
    "rail": {"width": 1024},
}


def cil(dataset: str, steps: int, base: int) -> dict[str, dict[str, Any]]:
    """Return ZSCL's released options of a class-incremental benchmark by strategy."""
    if dataset == "imagenet100":
        return CIL_IMAGENET100_10 if (steps, base) == (10, 0) else CIL_IMAGENET100
    return CIL_IMAGENET if dataset == "imagenet" else CIL


def mtil() -> dict[str, dict[str, Any]]:
    """Return ZSCL's learning rates that differ from the default, by dataset (its released scripts)."""
    from benchmarks.full.dataset_table import ENTRIES

    default = 1e-5
    rates = {n: e.lr for n, e in ENTRIES.items() if e.lr is not None and e.lr != default}
    # A batch of several tasks has one rate. PAINT's methods use one rate for all tasks (our choice).
    single = ("joint", "paint-single", "paint-sequential", "paint-joint", "paint-parallel", "task-arithmetic")
    # They were published with one rate for all tasks.
    published = ("keep-lora", "moram", "rapf")
    return {"finetune": {"lr_by_task": rates}, **{name: {"lr_by_task": {}} for name in (*single, *published)}}


def mini(benchmark: str) -> dict[str, dict[str, Any]]:
    """Return the tiny model's options for "mtil" or "cil", searched on validation splits by `python -m tools.tune`.

    The options in `MINI` are not searched.
    """
    searched: dict[str, dict[str, Any]] = json.loads((_MINI / f"settings_{benchmark}.json").read_text(encoding="utf-8"))
    # Both fine-tune in the same way, and the merging methods inherit from task arithmetic.
    searched["task-arithmetic"] = searched.get("paint-parallel", {})
    return {name: {**searched.get(name, {}), **MINI.get(name, {})} for name in dict.fromkeys((*searched, *MINI))}


def content(path: str | None) -> str | None:
    """Return the text of a file that affects results, for the key of a run. Raises UserError if it cannot be read."""
    if path is None:
        return None
    try:
        return read_text(path)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"Cannot read {path}: {error}.") from error
