"""Zero-shot: no training. Every row repeats row 0."""

from __future__ import annotations

from strategies.engine.strategy import Strategy


class ZeroShot(Strategy):
    """Zero-shot: the initial model, never trained. Retention and Transfer are read against it.

    Source:
        The zero-shot row of ZSCL's tables (2303.06628).

    Command:
        `python cli.py bench mtil --strategy zero-shot`
    """

    trains = False
    learns = False
