"""The options of each tuning (`models.tuning`), and the registry of tunings. Imports no torch.

A tuning from outside is a frozen dataclass of options with a method `select`:

    @models.tuning_options.register("shallow-prompt")
    @dataclass(frozen=True)
    class ShallowPrompt(TuningOptions):
        count: int = setting(4, "number of prompt tokens", least=1)

        def select(self, encoder):
            prompt = Prompt(self.count, ...)            # a torch module
            places.image_tokens(encoder, prompt)        # where it acts (`models.places`)
            return prompt.parameters()                  # what trains; everything else is frozen

`--tuning shallow_prompt.py:ShallowPrompt` takes it from a file. An installed package offers tunings under the
entry points `perennial.tunings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from models import TUNINGS
from models.registry import Registry, UserError
from models.setting import check_ranges, setting

if TYPE_CHECKING:
    from models.encoder import DualEncoder

Towers = Literal["both", "image", "text"]
TARGETS = ("q", "k", "v", "o", "fc", "proj")


@dataclass(frozen=True)
class TuningOptions:
    """Options of a tuning, whose ranges are checked. A tuning from outside defines `select`."""

    def __post_init__(self) -> None:
        check_ranges(self, "tuning.")

    def select(self, encoder: DualEncoder) -> Iterable[Any]:
        """Add the tuning's modules to the encoder and return the parameters that train. All others are frozen.

        Args:
            encoder: an encoder without modules of another tuning.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define select(encoder)")


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


REGISTRY = Registry(
    "tuning", {name: f"{__name__}:{kind.__name__}" for name, kind in OPTIONS.items()}, entry_points="perennial.tunings"
)
register = REGISTRY.register


def options_of(name: str) -> type[TuningOptions]:
    """Return the frozen dataclass of a tuning's options.

    Raises:
        UserError: the tuning is unknown, or what is registered is not such a dataclass.
    """
    kind = REGISTRY.get(name)
    check_tuning(kind, name)
    checked: type[TuningOptions] = kind
    return checked


def check_tuning(kind: Any, name: str) -> None:
    """Check that a class is a tuning: a frozen dataclass derived from `TuningOptions`, with `select` unless it is built in.

    Raises:
        UserError: it is not.
    """
    if not (isinstance(kind, type) and issubclass(kind, TuningOptions)):
        raise UserError(f"The tuning {name!r} is not a subclass of models.tuning_options.TuningOptions but {kind!r}.")
    parameters: Any = vars(kind).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise UserError(f"The tuning {name!r} needs @dataclass(frozen=True) above its class {kind.__name__}.")
    if name not in TUNINGS and kind.select is TuningOptions.select:
        raise UserError(f"The tuning {name!r} does not define select(encoder), which returns the parameters that train.")
