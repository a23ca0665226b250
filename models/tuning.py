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
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models import lora
from models.adapter import Adapter
from models.blocks import TOWERS, biases, blocks, matrices, missing_in_tower
from models.encoder import DualEncoder
from models.registry import UserError, unknown
from models.towers import tower_of
from models.tuning_options import Bottleneck, LowRank, Partial, Whole, options_of


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
            raise missing_in_tower(tower, encoder, "biases" if name == "bitfit" else "query, key and value matrices")
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
