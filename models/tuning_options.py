"""The options of each tuning (`models.tuning`). Imports no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from models import TUNINGS
from models.registry import unknown
from models.setting import check_ranges, setting

Towers = Literal["both", "image", "text"]
TARGETS = ("q", "k", "v", "o", "fc", "proj")


@dataclass(frozen=True)
class TuningOptions:
    """Options of a tuning, whose ranges are checked."""

    def __post_init__(self) -> None:
        check_ranges(self, "tuning.")


@dataclass(frozen=True)
class Whole(TuningOptions):
    """Options of full, visual and text."""

    logit_scale: bool = setting(False, "train the logit scale (and bias) too, as IIMM's full fine-tuning does, not MTIL's")


@dataclass(frozen=True)
class Partial(TuningOptions):
    """Options of bitfit and attention."""

    towers: Towers = setting("both", "the towers that train")
    blocks: int | None = setting(None, "number of last residual blocks of each tower that train; none: all", least=1)
    first_blocks: int | None = setting(
        None,
        "number of first residual blocks of each tower that train, as IIMM's --train-blocks; none: all",
        least=1,
        usual=None,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.blocks is not None and self.first_blocks is not None:
            raise ValueError(
                f"tuning.blocks is {self.blocks} (last blocks) and tuning.first_blocks is {self.first_blocks}: give one of them"
            )


@dataclass(frozen=True)
class LowRank(TuningOptions):
    """Options of lora."""

    rank: int = setting(4, "rank of each update", least=1, most=65_536)
    targets: str = setting("qv", "any of q, k, v, o, fc (an MLP's first layer) and proj (its second), joined: qv, or q,v,fc")
    scale: float = setting(0.2, "factor of each update")
    towers: Towers = setting("both", "the towers that train")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(f"(({'|'.join(TARGETS)})[, +]*)+", self.targets):
            raise ValueError(f"tuning.targets must be made of {', '.join(TARGETS)}, got {self.targets!r}")

    @property
    def roles(self) -> tuple[str, ...]:
        """The targets as a tuple, in the order of `TARGETS`."""
        named = re.findall("|".join(TARGETS), self.targets)
        return tuple(role for role in TARGETS if role in named)


@dataclass(frozen=True)
class Bottleneck(TuningOptions):
    """Options of adapter."""

    reduction: int = setting(4, "the MLP's hidden width is the embedding's width divided by it", least=1)
    ratio: float = setting(0.2, "share of the MLP in the result", above=0, most=1)
    towers: Towers = setting("both", "the towers that have an adapter")


@dataclass(frozen=True)
class Heads(TuningOptions):
    """Options of probe and frozen: none."""


OPTIONS: dict[str, type] = {
    "full": Whole,
    "visual": Whole,
    "text": Whole,
    "bitfit": Partial,
    "attention": Partial,
    "lora": LowRank,
    "adapter": Bottleneck,
    "probe": Heads,
    "frozen": Heads,
}


def options_of(name: str) -> type:
    """Return the frozen dataclass of a tuning's options. Raises UserError for an unknown tuning."""
    if name not in TUNINGS:
        raise unknown("tuning", name, TUNINGS)
    return OPTIONS[name]
