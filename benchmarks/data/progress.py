"""The type of progress callbacks."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called as progress(done, total, what); `what` is a short description such as "checking birds (train)"."""
