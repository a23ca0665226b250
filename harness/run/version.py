"""Version and revision of the project. Imports nothing heavy."""

from __future__ import annotations

import subprocess
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

NAME = "perennial"
ROOT = Path(__file__).resolve().parents[2]


@cache
def project_version() -> str:
    """Return the version of this source tree, or of the installed package if the tree has no pyproject.toml."""
    try:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == NAME:
            return str(project["version"])
    except (OSError, ValueError, KeyError):
        pass
    try:
        return metadata.version(NAME)
    except metadata.PackageNotFoundError:
        return "unknown"


def short_revision(revision: str) -> str:
    """Return the first ten digits of a revision, with "+changes" for a modified tree."""
    return revision[:10] + "+changes" * revision.endswith("+changes")


@cache
def git_revision() -> str | None:
    """Return the revision of the project, with "+changes" for a modified tree; None outside a checkout of the project."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
