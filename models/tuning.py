"""Which parameters train.

`apply` freezes with `requires_grad`, never by leaving parameters out of the optimiser: Avalanche puts those back in.

    tuning      what trains                                                  ViT-B-32
    full        both towers; the logit scale too with logit_scale=True       151,277,313 with it
    visual, text  one tower
    bitfit      every bias inside the residual blocks                        168,960
    attention   the query, key and value matrices of the blocks              30,670,848
    lora        a low-rank change of some of the blocks' matrices            61,440 x rank (q and v)
    adapter     a small MLP on each tower's embedding                        262,144 (reduction 4)
    probe       a linear head per trained task, no tensor of the encoder     512 x classes

Sources: IIMM's code (mit-ll/IIMM; of its bias and attention modes, which choose by pattern, the same tensors) for the last
five; attention is also A-CLIP's (2402.09613) as far as that code, by the same authors, tells. The sets for SigLIP, CoCa and
EVA-02, whose tuning that code does in full only, are the same tensors by their other names (our choice).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from models import TUNINGS, lora
from models.adapter import Adapter
from models.blocks import TOWERS, biases, blocks, matrices, nothing_in
from models.encoder import DualEncoder
from models.registry import UserError, unknown
from models.towers import tower_of

Towers = Literal["both", "image", "text"]
TARGETS = ("q", "k", "v", "o", "fc", "proj")


@dataclass(frozen=True)
class Whole:
    """full, visual, text. `logit_scale`: the logit scale (and bias) trains too, as IIMM's full fine-tuning has it, not MTIL."""

    logit_scale: bool = False


@dataclass(frozen=True)
class Partial:
    """bitfit, attention. `blocks`: only the last so many residual blocks of each tower; None: all of them."""

    towers: Towers = "both"
    blocks: int | None = None

    def __post_init__(self) -> None:
        if self.blocks is not None and self.blocks < 1:
            raise ValueError(f"tuning.blocks must be at least 1, got {self.blocks}")


@dataclass(frozen=True)
class LowRank:
    """lora. `targets` strings together any of q, k, v, o, fc (an MLP's first layer) and proj (its second): "qv", "q,v,fc"."""

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
            raise ValueError(f"tuning.targets takes any of {', '.join(TARGETS)}, got {self.targets!r}")

    @property
    def roles(self) -> tuple[str, ...]:
        """The targets one by one, in the order of `TARGETS`."""
        named = re.findall("|".join(TARGETS), self.targets)
        return tuple(role for role in TARGETS if role in named)


@dataclass(frozen=True)
class Bottleneck:
    """adapter. The MLP's hidden width is the embedding's divided by `reduction`; `ratio` is the MLP's share of the result."""

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
    """probe, which has no options."""


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
    """The frozen dataclass of a tuning's options. Raises UserError for an unknown tuning."""
    if name not in TUNINGS:
        raise unknown("tuning", name, TUNINGS)
    return OPTIONS[name]


def apply(encoder: DualEncoder, name: str = "full", **options: Any) -> list[nn.Parameter]:
    """Set `requires_grad` on every parameter of the encoder and return the trainable ones, in the model's order.

    LoRA from an earlier call is merged into the weights first. What the features never use (CoCa's text decoder,
    `models.towers`) trains under no name. "probe" returns no parameters: its heads are the classifier's (`trainable`).

    Args:
        name: one of `models.TUNINGS`.
        options: those of `options_of(name)`.

    Raises:
        UserError: unknown name or option, a value out of range, or a selection that finds nothing in a tower.
        ValueError: the encoder has adapters already, which cannot be merged into its weights.
    """
    kind = options_of(name)
    valid = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in valid:
            raise unknown(f"option of the tuning {name}", option, valid)
    try:
        chosen = kind(**options)
    except ValueError as error:
        raise UserError(f"{error}.") from error
    towers = getattr(chosen, "towers", "both")
    if towers not in TOWERS:
        raise unknown("value of tuning.towers", str(towers), TOWERS)
    if encoder.image_adapter is not None or encoder.text_adapter is not None:
        raise ValueError("the encoder has adapters already: load the model again to tune it another way")
    lora.merge(encoder)
    trained = {id(p) for p in _chosen(encoder, name, chosen)}
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) in trained)
    encoder.tuning = name
    return trainable(encoder)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that train, of an encoder or of a `PromptClassifier`, whose heads may ("probe": the current task's)."""
    return [p for p in model.parameters() if p.requires_grad]


def trains_images(encoder: DualEncoder) -> bool:
    """Whether anything in the image tower is trainable, LoRA included: if not, `encoder.raw_images` stays what it is."""
    return _trains(encoder, "image")


def trains_text(encoder: DualEncoder) -> bool:
    """Whether text features change by training: something in the text tower, or behind it, is trainable."""
    adapter = encoder.text_adapter
    return trains_text_tower(encoder) or (adapter is not None and any(p.requires_grad for p in adapter.parameters()))


def trains_text_tower(encoder: DualEncoder) -> bool:
    """Whether anything in the text tower is trainable, LoRA included: if not, `encoder.raw_texts` stays what it is."""
    return _trains(encoder, "text")


def _trains(encoder: DualEncoder, tower: str) -> bool:
    return any(p.requires_grad and tower_of(name) == tower for name, p in encoder.clip.named_parameters())


def weights(encoder: DualEncoder) -> dict[str, Tensor]:
    """A copy of the weights, for arithmetic on them: name -> tensor.

    Names and shapes are the model's own under every tuning: LoRA's change is added to the matrices that it is for. Adapters
    come along under names of their own, a probe's heads do not.
    """
    return lora.weights(encoder)


def set_weights(encoder: DualEncoder, theta: Mapping[str, Tensor]) -> None:
    """Give the encoder weights of the names and shapes that `weights` gave; LoRA starts again from no change.

    Setting the initial weights gives the initial encoder to the bit, LoRA's A included.

    Raises RuntimeError for other names or shapes.
    """
    moved = _moved(encoder, theta)
    versions = encoder.image_version, encoder.text_tower_version, encoder.text_version
    lora.load(encoder, theta)
    # Loading has told every cache; a tower that got the values it had gives what it gave.
    encoder.image_version = versions[0] + ("image" in moved)
    encoder.text_tower_version = versions[1] + ("text" in moved)
    encoder.text_version = versions[2] + bool(moved & {"text", "text_adapter"})


def live(encoder: DualEncoder) -> dict[str, Tensor]:
    """The encoder's tensors themselves under the names of `weights`, to be changed in place; then call `touch`.

    With LoRA these are the frozen matrices, which are the whole weights after `set_weights` and until training goes on.
    """
    return lora.live(encoder)


def _moved(encoder: DualEncoder, theta: Mapping[str, Tensor]) -> set[str]:
    """What these weights would change, of "image", "text" and the adapters; with LoRA, which they start anew, both towers."""
    if encoder.tuning == "lora":
        return {"image", "text"}
    differ = [n for n, t in live(encoder).items() if n in theta and not torch.equal(t, theta[n].to(t.device))]
    return {tower_of(name.removeprefix("clip.")) if name.startswith("clip.") else name.partition(".")[0] for name in differ}


def _chosen(encoder: DualEncoder, name: str, options: Any) -> Iterable[nn.Parameter]:
    """The parameters that a tuning trains; puts in the modules that it needs."""
    if isinstance(options, Whole):
        parts = {"full": ("image", "text"), "visual": ("image",), "text": ("text",)}[name]
        parts = (*parts, "scale") if options.logit_scale else parts
        return [p for parameter, p in encoder.clip.named_parameters() if tower_of(parameter) in parts]
    if isinstance(options, Partial):
        return _in_blocks(encoder, name, options)
    if isinstance(options, LowRank):
        return lora.inject(encoder, options.rank, options.roles, options.scale, options.towers)
    if isinstance(options, Bottleneck):
        return _adapters(encoder, options)
    return []


def _in_blocks(encoder: DualEncoder, name: str, options: Partial) -> list[nn.Parameter]:
    """The biases of the chosen blocks, or their query, key and value matrices."""
    found: list[nn.Parameter] = []
    for tower in TOWERS[options.towers]:
        mine: list[nn.Parameter] = []
        for block in blocks(encoder, tower, options.blocks):
            if name == "bitfit":
                mine += biases(block)
            else:
                read = {(m.path, m.tensor): None for role in "qkv" for m in matrices(block)[role]}
                mine += [getattr(encoder.clip.get_submodule(path), tensor) for path, tensor in read]
        if not mine:
            raise nothing_in(tower, encoder, "biases" if name == "bitfit" else "query, key and value matrices")
        found += mine
    return found


def _adapters(encoder: DualEncoder, options: Bottleneck) -> list[nn.Parameter]:
    width = encoder.feature_dim
    if options.reduction > width:
        raise UserError(f"tuning.reduction must be at most {width}, the width of {encoder.name}'s features.")
    for tower in TOWERS[options.towers]:
        adapter = Adapter(width, options.reduction, options.ratio).to(encoder.mean)
        setattr(encoder, f"{tower}_adapter", adapter.train(encoder.training))
    encoder.touch_text()
    return [p for adapter in (encoder.image_adapter, encoder.text_adapter) if adapter is not None for p in adapter.parameters()]
