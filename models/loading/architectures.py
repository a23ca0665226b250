"""Check the name of a model before the libraries that load it are imported, which takes seconds."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from models.loading.local_files import path_is
from models.paths import user_path
from models.registry import UserError, unknown

HUB = "hf-hub:"
OTHERS = " `list models` shows the usual ones."


def check_model(name: str | None) -> None:
    """Raise UserError for a name that is neither a model directory nor a hub's, nor an architecture of open_clip.

    None is the default of the edition. Directories, files and tags of weights are checked by `models.load`.
    """
    if name is None or name == "tiny" or name.startswith(HUB) or path_is(user_path(name), Path.exists):
        return
    known = architectures()
    if known and name not in known:
        raise UserError(str(unknown("model", name, ["tiny", *known])).split(" Known:")[0] + OTHERS)


def architectures() -> list[str]:
    """Return the architectures of open_clip, without importing it; empty where it is not installed."""
    if "open_clip" in sys.modules:
        return sys.modules["open_clip"].list_models()
    specification = importlib.util.find_spec("open_clip")
    folders = (specification and specification.submodule_search_locations) or ()
    return sorted(path.stem for folder in folders for path in (Path(folder) / "model_configs").glob("*.json"))
