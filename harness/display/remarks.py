"""Print the warnings and notes that readers of data leave in a `Domain`, once each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.data.domain import Domain


def say_remarks(domains: Iterable[Domain], say: Callable[..., None]) -> None:
    """Print the remarks of several domains with `say(text, style=...)`, each sentence once (steps of `cil` share them)."""
    known = list(domains)
    for note in dict.fromkeys(note for domain in known for note in domain.notes):
        say(note, style="dim")
    for warning in dict.fromkeys(warning for domain in known for warning in domain.warnings):
        say(f"warning: {warning}", style="yellow")
