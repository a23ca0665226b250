"""What a method chose by data, and what a user should know of it: kept for the record."""

from __future__ import annotations

from typing import Any

from strategies.engine.strategy import Strategy


class Choosing(Strategy):
    """A method that chooses something by data. `searches` holds a record per task, `notes` sentences; both survive a kill."""

    searches: list[dict[str, Any]]
    notes: list[str]

    def before_run(self) -> None:
        super().before_run()
        self.searches, self.notes = [], []

    def note(self, sentence: str) -> None:
        """Say something to the user, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def state(self) -> dict[str, Any]:
        # Copies: what is given away must not change with the next task.
        return {**super().state(), "searches": [*self.searches], "notes": [*self.notes]}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.searches, self.notes = [*state["searches"]], [*state["notes"]]
