"""Zero-shot: no training. Every row repeats row 0."""

from __future__ import annotations

from strategies.engine.strategy import Strategy


class ZeroShot(Strategy):
    """The initial model, untouched: the reference that retention and Transfer are read against.

    Command: `python cli.py bench mtil --strategy zero-shot`.
    Expected, mini edition, Order I, seeds 0 to 2: Transfer 68.7, Average 60.4, Last 60.4.
    """

    trains = False
