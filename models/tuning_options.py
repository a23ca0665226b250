"""The options of each tuning (`models.tuning`). Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from models import TUNINGS
from models.registry import unknown

Towers = Literal["both", "image", "text"]
TARGETS = ("q", "k", "v", "o", "fc", "proj")


@dataclass(frozen=True)
class Whole:
    """Options of full, visual and text.

    Attributes:
        logit_scale: also train the logit scale (and bias), as IIMM's full fine-tuning does and MTIL's does not.
    """

    logit_scale: bool = False


@dataclass(frozen=True)
class Partial:
    """Options of bitfit and attention.

    Attributes:
        towers: "both", "image" or "text".
        blocks: number of last residual blocks of each tower that train; None: all.
    """

    towers: Towers = "both"
    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 1:
            raise ValueError(f"tuning.blocks must be at least 1, got {self.blocks}")


@dataclass(frozen=True)
class LowRank:
    """Options of lora.

    Attributes:
        rank: rank of each update.
        targets: any of q, k, v, o, fc (an MLP's first layer) and proj (its second), joined: "qv", "q,v,fc".
        scale: factor of each update.
        towers: "both", "image" or "text".
    """

    rank: int = 4
    targets: str = "qv"
    scale: float = 0.2
    towers: Towers = "both"

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"tuning.rank must be at least 1, got {self.rank}")
        if self.rank > 65_536:
            raise ValueError(f"tuning.rank must be at most 65,536, got {self.rank}")
        if not re.fullmatch(f"(({'|'.join(TARGETS)})[, +]*)+", self.targets):
            raise ValueError(f"tuning.targets must be made of {', '.join(TARGETS)}, got {self.targets!r}")

    @property
    def roles(self) -> tuple[str, ...]:
        """The targets as a tuple, in the order of `TARGETS`."""
        named = re.findall("|".join(TARGETS), self.targets)
        return tuple(role for role in TARGETS if role in named)


@dataclass(frozen=True)
class Bottleneck:
    """Options of adapter.

    Attributes:
        reduction: the MLP's hidden width is the embedding's width divided by it.
        ratio: share of the MLP in the result.
        towers: "both", "image" or "text".
    """

    reduction: int = 4
    ratio: float = 0.2
    towers: Towers = "both"

    def __post_init__(self) -> None:
        if self.reduction < 1:
            raise ValueError(f"tuning.reduction must be at least 1, got {self.reduction}")
        if not 0 < self.ratio <= 1:
            raise ValueError(f"tuning.ratio must be in (0, 1], got {self.ratio}")


@dataclass(frozen=True)
class Heads:
    """Options of probe: none."""


OPTIONS: dict[str, type] = {
    "full": Whole,
    "visual": Whole,
    "text": Whole,
    "bitfit": Partial,
    "attention": Partial,
    "lora": LowRank,
    "adapter": Bottleneck,
    "probe": Heads,
}


def options_of(name: str) -> type:
    """Return the frozen dataclass of a tuning's options. Raises UserError for an unknown tuning."""
    if name not in TUNINGS:
        raise unknown("tuning", name, TUNINGS)
    return OPTIONS[name]
