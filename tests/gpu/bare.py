"""Provide the packages that a machine without a network lacks: `python tests/gpu/bare.py WHEELS SITE`.

Wheels of WHEELS (made by `tools/carry.py`) whose package is not installed are unpacked into SITE, which then belongs on
PYTHONPATH. Avalanche imports further packages that no run here uses: where they are not installed, SITE gets empty packages of
these names, in place of which `models/deferred.py` puts its stand-ins.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path

UNUSED = ("wandb", "qpsolvers", "GPUtil", "gdown", "torchmetrics")
"""Packages that Avalanche imports and no run here uses. Each is deferred by `models/deferred.py`."""


def installed(distribution: str) -> bool:
    """Return whether a distribution is installed."""
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


def provide(wheels: Sequence[Path], site: Path, unused: Sequence[str] = UNUSED) -> list[str]:
    """Unpack what is not installed and make empty packages for what is not used. Return the names of both."""
    provided = []
    for wheel in wheels:
        name = wheel.name.split("-")[0]
        if not installed(name):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
            provided.append(name)
    for package in unused:
        if util.find_spec(package) is None:
            (site / package).mkdir(parents=True, exist_ok=True)
            (site / package / "__init__.py").touch()
            provided.append(f"{package} (empty)")
    return provided


def main() -> None:
    """Provide the packages and print their names."""
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: python {sys.argv[0]} WHEELS SITE")
    provided = provide(sorted(Path(sys.argv[1]).glob("*.whl")), Path(sys.argv[2]))
    print("packages provided for this run:", ", ".join(provided) or "none")


if __name__ == "__main__":
    main()
