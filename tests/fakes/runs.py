"""Runs whose printed text and tables are read. Loaded by path: tests are not a package."""

import io

from rich.console import Console

from harness.display.screen import Screen
from harness.run.loop import run


def said_by(config):
    """Run a configuration, and return its folder and the printed text."""
    text = io.StringIO()
    return run(config, Screen(console=Console(file=text, width=10_000), live=False)).folder, text.getvalue()


def files(folder):
    """Return the contents of a run's tables by name."""
    return {name: (folder / name).read_bytes() for name in ("accuracy.csv", "measures.csv", "train.csv")}
