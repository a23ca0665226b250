"""Check the name of a model without importing the libraries that load it, which takes seconds."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

from models.loading.local_files import SHIPPED, path_is
from models.paths import user_path
from models.registry import UserError, unknown

HUB = "hf-hub:"


def check_model(name: str | None) -> None:
    """Raise UserError for a name that is neither a model directory, nor a hub name, nor an architecture of open_clip.

    None is the default of the edition. `models.load` checks directories, files and tags of weights.
    """
    if name is None or name in SHIPPED or name.startswith(HUB) or path_is(user_path(name), Path.exists):
        return
    known = architectures()
    if known and name not in known:
        raise unknown_model(name, known)


def unknown_model(name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown architecture, with the nearest names instead of all of them."""
    hint = str(unknown("model", name, [*SHIPPED, *known])).split(" Known:")[0]
    return UserError(f"{hint} `list models` shows the usual ones.")


def architectures() -> list[str]:
    """Return the architectures of open_clip without importing it; empty if it is not installed."""
    if "open_clip" in sys.modules:
        names: list[str] = sys.modules["open_clip"].list_models()
        return names
    specification = importlib.util.find_spec("open_clip")
    folders = (specification and specification.submodule_search_locations) or ()
    return sorted(path.stem for folder in folders for path in (Path(folder) / "model_configs").glob("*.json"))
