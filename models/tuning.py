"""Choose which parameters train.

`apply` freezes with `requires_grad`. Leaving parameters out of the optimiser is not enough: Avalanche puts them back in.

    tuning      trainable parameters                                         ViT-B-32
    full        both towers; the logit scale too with logit_scale=True       151,277,313 with it
    visual, text  one tower
    bitfit      every bias inside the residual blocks                        168,960
    attention   the query, key and value matrices of the blocks              30,670,848
    lora        a low-rank update of some of the blocks' matrices            61,440 x rank (q and v)
    adapter     a small MLP on each tower's embedding                        262,144 (reduction 4)
    probe       a linear head per trained task, no tensor of the encoder     512 x classes
    frozen      no tensor                                                    0

Source of bitfit to probe: IIMM's code (mit-ll/IIMM). Its bias and attention modes choose by pattern; these are the same
tensors. attention is also A-CLIP's (2402.09613), as far as can be known from that code, which is by the same authors. That
code tunes SigLIP, CoCa and EVA-02 in full only. Their sets are the corresponding tensors under other names (our choice).

`models.tuning_options` shows how a tuning from outside is written, and `models.places` where its modules may be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models import added, lora
from models.adapter import Adapter
from models.blocks import TOWERS, biases, blocks, matrices, missing_in_tower
from models.encoder import DualEncoder
from models.registry import UserError, unknown
from models.towers import tower_of
from models.tuning_options import Bottleneck, Heads, LowRank, Partial, TuningOptions, Whole, check_tuning, options_of

GROWN = "grown."
"""Prefix of the names of modules that a method adds for a task."""


def apply(encoder: DualEncoder, name: str | type[TuningOptions] = "full", **options: Any) -> list[nn.Parameter]:
    """Set `requires_grad` on every parameter of the encoder and return the trainable ones.

    LoRA from an earlier call is first merged into the weights. Parameters that features never use (CoCa's text decoder,
    `models.towers`) never train.

    Args:
        encoder: the encoder.
        name: one of `models.TUNINGS`: "full", "visual", "text", "bitfit", "attention", "lora", "adapter", "probe",
            "frozen", a registered name, or the class of a tuning.
        options: options of the tuning, fields of `models.tuning_options.options_of(name)`, or of the class.

    Returns:
        The trainable parameters in the model's order. "probe" returns none: its heads belong to the classifier (`trainable`).
        "frozen" returns none.

    Raises:
        UserError: the name or an option is unknown, a value is out of range, or a tower has nothing that the tuning selects.
        ValueError: the encoder already has adapters or other added modules, which cannot be merged into its weights.

    Examples:
        ```python
        encoder = models.load("tiny")
        parameters = models.tuning.apply(encoder, "lora", rank=8, targets="qv")
        optimiser = torch.optim.AdamW(parameters, lr=1e-4)
        ```
    """
    if isinstance(name, type):
        kind, name = name, name.__name__
        check_tuning(kind, name)
    else:
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
    if encoder.image_adapter is not None or encoder.text_adapter is not None or len(encoder.added) or len(encoder.grown):
        raise ValueError("the encoder already has adapters or added modules; load the model again to tune it in another way")
    lora.merge(encoder)
    trained_ids = {id(p) for p in _select(encoder, name, chosen)}
    for parameter in encoder.parameters():
        parameter.requires_grad_(id(parameter) in trained_ids)
    encoder.tuning = name
    return trainable(encoder)


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the trainable parameters of an encoder or of a `PromptClassifier`.

    A classifier has those of its encoder and, with "probe", the current task's head.
    """
    return [p for p in model.parameters() if p.requires_grad]


def trains_images(encoder: DualEncoder) -> bool:
    """Return whether `encoder.raw_images` may change: the image tower trains, LoRA included, or has added modules.

    Added modules count even if they are frozen, because their output depends on the route (`models.route`).
    """
    return trains_image_tower(encoder) or any(True for _ in added.in_tower(encoder, "image"))


def trains_image_tower(encoder: DualEncoder) -> bool:
    """Return whether any parameter of the image tower trains, LoRA included, without added modules.

    If not, `encoder.raw_images` does not change under the route `PLAIN`.
    """
    return _trains(encoder, "image")


def trains_text(encoder: DualEncoder) -> bool:
    """Return whether training changes text features: a parameter in the text tower or in the adapter after it trains."""
    adapter = encoder.text_adapter
    return trains_text_tower(encoder) or (adapter is not None and any(p.requires_grad for p in adapter.parameters()))


def trains_text_tower(encoder: DualEncoder) -> bool:
    """Return whether any parameter of the text tower trains, LoRA and added modules included.

    If not, `encoder.raw_texts` does not change.
    """
    return _trains(encoder, "text") or any(p.requires_grad for p in added.parameters_in(encoder, "text"))


def _trains(encoder: DualEncoder, tower: str) -> bool:
    """Return whether any parameter of a tower trains."""
    return any(p.requires_grad and tower_of(name) == tower for name, p in encoder.clip.named_parameters())


def weights(encoder: DualEncoder) -> dict[str, Tensor]:
    """Return a copy of the weights for arithmetic on them: name -> tensor.

    Names and shapes are the model's under every tuning. LoRA's updates are added to their matrices. Adapters and other modules
    of a tuning have separate names. A probe's heads and the modules that a method adds for a task are not included.
    """
    return {name: tensor for name, tensor in lora.weights(encoder).items() if not name.startswith(GROWN)}


def set_weights(encoder: DualEncoder, theta: Mapping[str, Tensor]) -> None:
    """Load weights with the names and shapes of `weights` into the encoder. LoRA restarts without an update.

    Loading the initial weights restores the initial encoder bit-exactly, including LoRA's A. Modules that a method adds for a
    task stay as they are.

    Raises:
        RuntimeError: names or shapes differ.
    """
    versions = encoder.image_version, encoder.text_tower_version, encoder.text_version
    if encoder.tuning == "lora":
        changed = {"image", "text"}
        grown = {name: tensor for name, tensor in encoder.state_dict().items() if name.startswith(GROWN)}
        lora.load(encoder, {**theta, **grown})
    else:
        present = live(encoder)
        _check_names(present, theta)
        different = [name for name, tensor in present.items() if not torch.equal(tensor, theta[name].to(tensor.device))]
        changed = set().union(*map(_parts_of, different))
        with torch.no_grad():
            # The others are not written, because caches of text features notice every write.
            for name in different:
                present[name].copy_(theta[name])
    # Only these parts have changed. Loading LoRA has counted all of them.
    encoder.image_version = versions[0] + ("image" in changed)
    encoder.text_tower_version = versions[1] + ("text" in changed)
    encoder.text_version = versions[2] + bool(changed & {"text", "text_adapter"})


def _check_names(present: Mapping[str, Tensor], theta: Mapping[str, Tensor]) -> None:
    """Raise RuntimeError if names or shapes differ."""
    problems = [f"missing: {name}" for name in present if name not in theta]
    problems += [f"unknown: {name}" for name in theta if name not in present]
    shapes = [(name, tensor.shape, theta[name].shape) for name, tensor in present.items() if name in theta]
    problems += [f"{name}: {list(given)}, expected {list(shape)}" for name, shape, given in shapes if given != shape]
    if problems:
        more = f", and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise RuntimeError(f"The weights do not fit the encoder: {'; '.join(problems[:5])}{more}")


def live(encoder: DualEncoder) -> dict[str, Tensor]:
    """Return the encoder's tensors themselves under the names of `weights`, to be changed in place. Call `touch` afterwards.

    With LoRA these are the frozen matrices. They are the whole weights after `set_weights`, until training continues.
    """
    return {name: tensor for name, tensor in lora.live(encoder).items() if not name.startswith(GROWN)}


def _parts_of(name: str) -> set[str]:
    """Return the parts that a tensor belongs to, by its name: "image", "text" and the adapters."""
    kind, _, rest = name.partition(".")
    tower = tower_of(rest) if kind == "clip" else added.tower_of_added(name) if kind == "added" else kind
    return {"image", "text"} if tower == "both" else {tower}


def _select(encoder: DualEncoder, name: str, options: TuningOptions) -> Iterable[nn.Parameter]:
    """Return the parameters that a tuning trains. Adds the modules that it needs."""
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
    return [] if isinstance(options, Heads) else options.select(encoder)


def _in_blocks(encoder: DualEncoder, name: str, options: Partial) -> list[nn.Parameter]:
    """Return the biases of the selected blocks, or their query, key and value matrices."""
    selected: list[nn.Parameter] = []
    for tower in TOWERS[options.towers]:
        of_tower: list[nn.Parameter] = []
        for block in blocks(encoder, tower, options.blocks, options.first_blocks):
            if name == "bitfit":
                of_tower += biases(block)
            else:
                tensors = {(m.path, m.tensor): None for role in "qkv" for m in matrices(block)[role]}
                of_tower += [getattr(encoder.clip.get_submodule(path), tensor) for path, tensor in tensors]
        if not of_tower:
            raise missing_in_tower(tower, encoder, "biases" if name == "bitfit" else "query, key and value matrices")
        selected += of_tower
    return selected


def _adapters(encoder: DualEncoder, options: Bottleneck) -> list[nn.Parameter]:
    """Add adapters to the encoder and return their parameters."""
    width = encoder.feature_dim
    if options.reduction > width:
        raise UserError(
            f"tuning.reduction is {options.reduction}, and must be at most {width}, the width of {encoder.name}'s features."
        )
    for tower in TOWERS[options.towers]:
        adapter = Adapter(width, options.reduction, options.ratio).to(encoder.mean)
        setattr(encoder, f"{tower}_adapter", adapter.train(encoder.training))
    encoder.touch_text()
    return [p for adapter in (encoder.image_adapter, encoder.text_adapter) if adapter is not None for p in adapter.parameters()]
