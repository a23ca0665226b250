"""The type of progress callbacks, and the progress bars of the `datasets` package."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, what); `what` is a short description such as "checking birds (train)"."""


@contextmanager
def library_bars(shown: bool) -> Iterator[None]:
    """Show or hide the progress bars of the `datasets` package in the block. They are restored afterwards."""
    import datasets

    enabled = not datasets.are_progress_bars_disabled()
    if not shown:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if enabled:
            datasets.enable_progress_bars()
