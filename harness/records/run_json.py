"""Read `run.json` and check the types of the values that the leaderboard, the report and comparisons rely on.

Imports neither torch nor Avalanche.
"""

from __future__ import annotations

import hashlib
import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.config.run_config import RunConfig
from harness.records.files import plain, read_json
from models.registry import UserError
from models.setting import described, value_types

TEXT = ("benchmark", "edition", "order", "strategy", "model", "tuning")
NAMES = ("tasks", "heldout")
OPTIONAL_NAMES = ("targets",)
STATUSES = ("running", "interrupted", "failed", "finished")
SETTINGS: dict[str, tuple[type, ...]] = {
    name: (*(list if kind is tuple else kind for kind in value_types(typing.get_type_hints(RunConfig)[name])), type(None))
    for name, setting in described(RunConfig).items()
    if setting.identity
}
"""The JSON types of settings that decide the numbers. Records from before a setting existed lack it."""
VALUES: dict[str, tuple[type, ...]] = {
    "seed": (int,),
    "options": (dict,),
    "data_version": (str, type(None)),
    "tuning_options": (dict, type(None)),
}
COSTS = ("train_seconds", "eval_seconds", "images_per_second", "peak_memory_mb")
TEST_COSTS = ("stored_per_task", "test_ms_per_image")
"""What a method stores per task, in bytes, and its time per test image. Older records lack them."""


def read_run(path: Path) -> dict[str, Any] | None:
    """Return the document of a run, or None if there is no file.

    Values have the types that readers rely on; optional values may be missing. Raises UserError, naming the file and the value,
    for a document that no run has written.
    """
    document = read_json(path)
    if document is None:
        return None
    try:
        _check(document)
    except (ValueError, OverflowError) as error:
        raise UserError(f"{path} is not the record of a run ({error}).") from error
    return document


def digest_of(value: Any, length: int) -> str:
    """Return the first hex digits of the SHA-256 of a JSON value. Writing and reading the value does not change them."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:length]


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key of a run: the hash of its identity, which holds everything that decides its numbers."""
    return digest_of(identity, 10)


def _check(document: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the value, for a document of other types."""
    for name in ("key", "status"):
        expect(name, document.get(name), str)
    identity: Any = document.get("identity")
    expect("identity", identity, dict)
    for name in TEXT:
        expect(f"identity.{name}", identity.get(name), str)
    for name in (*NAMES, *(name for name in OPTIONAL_NAMES if name in identity)):
        _names(f"identity.{name}", identity.get(name))
    for name, kinds in {**SETTINGS, **VALUES}.items():
        expect(f"identity.{name}", identity.get(name), *kinds)
    for name, kind in (("summary", dict), ("progress", dict), ("samples", dict), ("searches", list), ("notes", list)):
        expect(name, document.get(name), kind, type(None))
    for name in ("after", "of"):
        expect(f"progress.{name}", (document.get("progress") or {}).get(name), int, type(None))
    for search in document.get("searches") or ():
        expect("searches", search, dict)
    expect("batch_check", document.get("batch_check"), dict, type(None))
    _number("batch_check.dependent", (document.get("batch_check") or {}).get("dependent"))
    for name in (*COSTS, *TEST_COSTS, "trainable_params"):
        _number(name, document.get(name))
    for name, value in (document.get("summary") or {}).items():
        _number(f"summary.{name}", value)


def expect(name: str, value: Any, *kinds: type) -> None:
    """Raise ValueError, naming the value, if it has another type."""
    # In Python, JSON's true is an int.
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise ValueError(f"{name} is {_short(value)}")


def _names(name: str, value: Any) -> None:
    """Raise ValueError unless a value is a list of strings."""
    expect(name, value, list)
    for item in value:
        expect(name, item, str)


def _number(name: str, value: Any) -> None:
    """Raise ValueError or OverflowError unless a value is a number or None."""
    expect(name, value, int, float, type(None))
    if value is not None:
        float(value)  # raises OverflowError for an int that is too large


def _short(value: Any) -> str:
    """Return a value for a message."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def retained(identity: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the held-out domains of a run that count for Retention: all but its targets (`StreamPlan.targets`)."""
    return tuple(name for name in identity["heldout"] if name not in identity.get("targets", ()))
