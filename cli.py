#!/usr/bin/env python3
"""Perennial on the command line: `python cli.py bench mtil --strategy zscl`."""

from __future__ import annotations

import signal
import sys

if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    # Until `main` handles signals, an interrupt ends the process without Python's traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from collections.abc import Sequence

if not (3, 11) <= sys.version_info[:2] < (3, 14):
    raise SystemExit(
        f"perennial: Python 3.11, 3.12 or 3.13 is needed, and this is {sys.version.split()[0]}. `make bench` sets up the "
        "environment .venv with one of them; activate it with `source .venv/bin/activate`."
    )

from harness.commands.main import main as run_command
from harness.commands.main import make_parser as parser

__all__ = ["main", "parser"]

PACKAGES = {
    *("torch", "torchvision", "avalanche", "open_clip", "timm", "transformers", "huggingface_hub", "datasets", "peft"),
    *("pandas", "pyarrow", "rich", "numpy", "PIL", "safetensors", "scipy", "filelock", "matplotlib", "mlxtend", "qtawesome"),
    *("skimage", "sklearn", "threadpoolctl", "setuptools"),
}
"""Modules of the packages that the project needs (`pyproject.toml`)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, and report a missing package in one sentence.

    Returns 0 on success, 1 if the output cannot be written, 2 for a mistake in the command or a missing package, 130 or 143
    after a signal. Raises SystemExit(1) for a run that failed.
    """
    try:
        return run_command(argv)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in PACKAGES:
            raise
        print(
            f"perennial: the package {error.name} is not installed for {sys.executable}. Activate the environment that "
            "`make bench` has set up, `source .venv/bin/activate`, or install the project: `pip install -e .`.",
            file=sys.stderr,
        )
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
