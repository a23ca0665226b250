"""Fetch packages with the ordinary clients: npm, pip and apt-get. A file with a wrong checksum is refused."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Literal, NamedTuple

from models.registry import UserError

TIMEOUT = 900
"""Seconds after which a download is given up."""


class Package(NamedTuple):
    """One package of a registry, pinned by version and checksum.

    Attributes:
        registry: "npm", "pypi" or "debian".
        name: the name in the registry.
        version: the exact version.
        sha256: the SHA-256 of the file that the client fetches. Empty: not checked.
        licence: the licence of the used files, as the package states it.
    """

    registry: Literal["npm", "pypi", "debian"]
    name: str
    version: str
    sha256: str
    licence: str


def file_name(package: Package) -> str:
    """Return the name of the file that a client fetches."""
    if package.registry == "npm":
        return f"{package.name.lstrip('@').replace('/', '-')}-{package.version}.tgz"
    if package.registry == "pypi":
        return f"{package.name.replace('-', '_')}-{package.version}-py3-none-any.whl"
    return f"{package.name}_{package.version.replace(':', '%3a')}_all.deb"


def fetch(package: Package, folder: Path) -> Path:
    """Return the file of a package in `folder`. It is fetched if it is missing.

    Raises:
        UserError: if the client is missing or fails, or if the file has another checksum.
    """
    target = folder / file_name(package)
    if target.exists():
        check(target, package)
        return target
    folder.mkdir(parents=True, exist_ok=True)
    command = _command(package)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        _run(command, package, Path(fresh))
        fetched = Path(fresh) / target.name
        if not fetched.exists():
            others = ", ".join(sorted(path.name for path in Path(fresh).iterdir())) or "nothing"
            raise UserError(f"`{' '.join(command)}` fetched {others}, expected {target.name}.")
        check(fetched, package)
        os.replace(fetched, target)
    return target


def check(path: Path, package: Package) -> None:
    """Raise UserError if a file does not have the checksum of its package."""
    if not package.sha256:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != package.sha256:
        raise UserError(
            f"{path} is refused: its SHA-256 is {digest}, expected {package.sha256} "
            f"({package.registry} {package.name} {package.version}). Remove the file and start again."
        )


def _command(package: Package) -> list[str]:
    """Return the command line that fetches a package into the current folder."""
    client = {"npm": "npm", "pypi": "pip", "debian": "apt-get"}[package.registry]
    program = shutil.which(client)
    if program is None:
        raise UserError(f"Cannot fetch {package.name} {package.version}: the client `{client}` is not installed.")
    if package.registry == "pypi":
        exact = f"{package.name}=={package.version}"
        return [program, "download", "--quiet", "--no-deps", "--only-binary", ":all:", exact]
    if package.registry == "npm":
        return [program, "pack", "--silent", f"{package.name}@{package.version}"]
    return [program, "--quiet", "--quiet", "download", f"{package.name}={package.version}"]


def _run(command: list[str], package: Package, folder: Path) -> None:
    hint = "Check the network."
    if package.registry == "debian":
        hint = "Check the network and run `apt-get update`. The version is that of Debian 12 (bookworm)."
    try:
        done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        problem = f"no answer within {TIMEOUT} seconds"
    else:
        if done.returncode == 0:
            return
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        problem = lines[-1] if lines else f"exit status {done.returncode}"
    raise UserError(f"Cannot fetch {package.name} {package.version} with `{' '.join(command)}`: {problem}. {hint}")
