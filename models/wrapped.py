"""`wrap`: a `DualEncoder` made of any module with two encode methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.encoder import DualEncoder
from models.registry import UserError, first_line, unknown
from models.transforms import INTERPOLATIONS, RESIZE_MODES, Preprocess

TEXTS = ("a photo of a cat.", "two red boats on the sea, with a long sentence after them")
# Attributes of `WrappedModel` by tower; `models.towers` assigns parameters to towers by these names.
PARTS = {"image": "visual", "text": "text", "unused": "text_decoder"}
SCALES = ("logit_scale", "logit_bias")


class Unit(NamedTuple):
    """A submodule, parameter or buffer: the module that owns it, its name there, its name in the tower, and the tower."""

    owner: nn.Module
    attribute: str
    name: str
    tower: str


class Parts(nn.Module):
    """The submodules and tensors of a tower, one level deep, so that none of their names is taken for one of open_clip's."""


class Tower(nn.Module):
    """A tower of a wrapped module. `output_dim` is the width of the features."""

    def __init__(self, width: int):
        super().__init__()
        self.output_dim = width
        self.parts = Parts()


class WrappedModel(nn.Module):
    """A user's module in the form of open_clip's models: image tower in `visual`, text tower in `text`, logit scale.

    The towers hold the module's own submodules and parameters, not copies. The module is kept outside the registered
    submodules, so every tensor has one name.

    Args:
        module: the user's module.
        methods: the names of its two encode methods, images first.
        units: its parts by tower.
        width: the width of the features.
        scale: logarithm of the factor of cosine similarities.
        bias: the number added to them, or None.
    """

    visual: Tower
    text: Tower

    def __init__(
        self,
        module: nn.Module,
        methods: tuple[str, str],
        units: Sequence[Unit],
        width: int,
        scale: nn.Parameter,
        bias: nn.Parameter | None,
    ):
        super().__init__()
        # Not through nn.Module, which would register the module twice.
        object.__setattr__(self, "module", module)
        self._methods = methods
        self._units = tuple(units)
        for attribute in PARTS.values():
            self.add_module(attribute, Tower(width))
        for unit in units:
            parts = self._parts(unit)
            if unit.attribute in unit.owner._modules:
                parts.add_module(unit.name, getattr(unit.owner, unit.attribute))
            elif unit.attribute in unit.owner._parameters:
                parts.register_parameter(unit.name, getattr(unit.owner, unit.attribute))
            else:
                persistent = unit.attribute not in unit.owner._non_persistent_buffers_set
                parts.register_buffer(unit.name, getattr(unit.owner, unit.attribute), persistent)
        self.logit_scale = scale
        self.register_parameter("logit_bias", bias)

    def encode_image(self, pixels: Tensor, normalize: bool = False) -> Tensor:
        """Return image features [B, d] of normalised pixels [B, 3, S, S]."""
        return self._encode(self._methods[0], pixels, normalize)

    def encode_text(self, tokens: Tensor, normalize: bool = False) -> Tensor:
        """Return text features [B, d] of token ids [B, context]."""
        return self._encode(self._methods[1], tokens, normalize)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode, also of the user's module."""
        super().train(mode)
        for owner in {id(unit.owner): unit.owner for unit in self._units}.values():
            owner.training = mode
        return self

    def _encode(self, method: str, inputs: Tensor, normalize: bool) -> Tensor:
        features: Tensor = getattr(self.__dict__["module"], method)(inputs)
        return F.normalize(features, dim=-1) if normalize else features

    def _parts(self, unit: Unit) -> Parts:
        tower: Tower = getattr(self, PARTS[unit.tower])
        return tower.parts

    def _apply(self, *arguments: Any, **options: Any) -> Self:
        """Move or convert the tensors. torch replaces buffers then, so the user's module gets the new ones too."""
        super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]  # torch does not annotate it
        for unit in self._units:
            parts = self._parts(unit)
            if unit.name in parts._buffers:
                unit.owner._buffers[unit.attribute] = parts._buffers[unit.name]
            elif unit.name in parts._parameters:
                unit.owner._parameters[unit.attribute] = parts._parameters[unit.name]
        return self


def wrap(
    module: nn.Module,
    *,
    tokenizer: Callable[..., Tensor],
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    encode_image: str = "encode_image",
    encode_text: str = "encode_text",
    scale: float | None = None,
    resize_mode: str = "shortest",
    interpolation: str = "bicubic",
    name: str | None = None,
) -> DualEncoder:
    """Return a dual encoder made of a module of any architecture with two encode methods.

    Every strategy, measure and evaluation takes it. Which parameters belong to which tower is found by a backward pass of each
    encode method; the towers must not share parameters. The tunings `full`, `visual`, `text`, `adapter`, `probe` and `frozen`
    work for any module, the others (`bitfit`, `attention`, `lora`) if its towers have blocks of open_clip's or timm's classes.

    The module is not copied: training the encoder trains it. It is converted to float32 and set to evaluation mode.

    Args:
        module: the module.
        tokenizer: callable, list of strings -> ids, integer [B, context], each text padded to the same context.
        image_size: side of the square images that the module takes, in pixels.
        mean: mean of each channel, for pixel values in 0..1.
        std: standard deviation of each channel, for pixel values in 0..1.
        encode_image: name of the method from normalised pixels [B, 3, S, S] to features [B, d]. They need not have norm 1.
        encode_text: name of the method from token ids [B, context] to features [B, d].
        scale: factor of cosine similarities in logits; None: exp of the module's parameter `logit_scale`. A parameter
            `logit_bias` of the module is added to the logits.
        resize_mode: "shortest", "squash" or "longest", as in `models.transforms.Preprocess`.
        interpolation: "bicubic" or "bilinear".
        name: the name in messages; None: that of the module's class.

    Raises:
        UserError: a method is missing, fails, or returns something else than features; the towers share a parameter; the
            tokenizer does not pad to one context; a value is out of its range.

    Example:
        ```python
        encoder = models.wrap(my_model, tokenizer=my_tokenizer, image_size=224, mean=[0.5] * 3, std=[0.5] * 3, scale=100)
        strategy = Strategy(encoder=encoder, options=Strategy.Options(iterations=100))
        ```
    """
    name = name or type(module).__name__
    _check_values(image_size, mean, std, resize_mode, interpolation)
    module.float().eval()
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    tokens = _tokens(tokenizer, name).to(device)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2, 3, image_size, image_size, generator=generator).to(device)
    images = _features(module, encode_image, pixels, name)
    texts = _features(module, encode_text, tokens, name)
    if images.shape != texts.shape:
        raise UserError(
            f"{name} gives image features of the width {images.shape[1]} and text features of the width {texts.shape[1]}; both "
            "must have the same width."
        )
    units = _units(module, _uses(module, {"image": images, "text": texts}, name))
    bias: Any = getattr(module, "logit_bias", None)
    clip = WrappedModel(
        module,
        (encode_image, encode_text),
        list(units),
        images.shape[1],
        _scale(module, scale, name),
        bias if bias is None or isinstance(bias, nn.Parameter) else nn.Parameter(torch.as_tensor(float(bias))),
    )
    preprocess = Preprocess(image_size, resize_mode, interpolation)
    return DualEncoder(clip, tokenizer, image_size, mean, std, name, preprocess=preprocess).to(device).eval()


def _check_values(image_size: int, mean: Sequence[float], std: Sequence[float], resize_mode: str, interpolation: str) -> None:
    """Raise UserError for a setting of the images that is out of its range."""
    if type(image_size) is not int or image_size < 1:
        raise UserError(f"image_size is {image_size!r}, and must be the side of the images in whole pixels, such as 224.")
    for label, values, least in (("mean", mean, -math.inf), ("std", std, 0.0)):
        if len(values) != 3 or not all(math.isfinite(value) and value > least for value in values):
            raise UserError(f"{label} is {list(values)!r}, and must be three numbers{' above 0' if label == 'std' else ''}.")
    if resize_mode not in RESIZE_MODES:
        raise unknown("resize_mode", resize_mode, RESIZE_MODES)
    if interpolation not in INTERPOLATIONS:
        raise unknown("interpolation", interpolation, INTERPOLATIONS)


def _tokens(tokenizer: Callable[..., Tensor], name: str) -> Tensor:
    """Return the ids of two texts of different lengths. Raises UserError if they are not rows of one context."""
    try:
        tokens, short = tokenizer(list(TEXTS)), tokenizer(list(TEXTS[:1]))
    except Exception as error:  # a user's tokenizer may fail in any way
        raise UserError(f"The tokenizer of {name} fails on a list of texts: {_cause(error)}.") from error
    whole = isinstance(tokens, Tensor) and tokens.dim() == 2 and not tokens.is_floating_point()
    if not whole or not isinstance(short, Tensor) or short.shape[1:] != tokens.shape[1:]:
        raise UserError(
            f"The tokenizer of {name} must return ids as an integer tensor [texts, context] with the same context for all "
            "texts. For one of transformers: lambda texts: tokenizer(texts, padding='max_length', max_length=77, "
            "truncation=True, return_tensors='pt').input_ids."
        )
    return tokens.to(torch.int64)


def _features(module: nn.Module, method: str, inputs: Tensor, name: str) -> Tensor:
    """Return the features of two inputs, with their graph. Raises UserError if the method does not give features."""
    if not callable(getattr(module, method, None)):
        raise UserError(f"{name} has no method {method!r}; name its encode methods with encode_image= and encode_text=.")
    try:
        with torch.enable_grad():
            features = getattr(module, method)(inputs)
    except Exception as error:  # a user's module may fail in any way
        raise UserError(f"{name}.{method} fails on inputs of the shape {list(inputs.shape)}: {_cause(error)}.") from error
    if not isinstance(features, Tensor) or features.dim() != 2 or len(features) != 2 or not features.is_floating_point():
        shown = f"a tensor {list(features.shape)}" if isinstance(features, Tensor) else f"a {type(features).__name__}"
        raise UserError(f"{name}.{method} returns {shown} for two inputs, and must return features [2, d].")
    if not features.requires_grad:
        raise UserError(f"{name}.{method} computes without gradients (torch.no_grad, detach), so it cannot be trained.")
    return features


def _uses(module: nn.Module, features: Mapping[str, Tensor], name: str) -> dict[int, str]:
    """Return the tower that uses each parameter, by the parameter's id. Raises UserError for shared or tied parameters."""
    named = list(module.named_parameters(remove_duplicate=False))
    first: dict[int, str] = {}
    for path, parameter in named:
        if id(parameter) in first:
            raise UserError(f"{name} has one parameter under two names, {first[id(parameter)]!r} and {path!r}: untie them.")
        first[id(parameter)] = path
    parameters = [parameter for _, parameter in named]
    uses: dict[int, str] = {}
    for tower, values in features.items():
        gradients = torch.autograd.grad(values.pow(2).sum(), parameters, allow_unused=True)
        for (path, parameter), gradient in zip(named, gradients, strict=True):
            if gradient is not None and uses.setdefault(id(parameter), tower) != tower:
                raise UserError(
                    f"The parameter {path!r} of {name} is used by both encode methods, and a dual encoder's towers share none."
                )
    return uses


def _units(module: nn.Module, uses: Mapping[int, str], path: str = "") -> Iterator[Unit]:
    """Yield the largest parts of a module that belong to one tower each. Parts without parameters count as text."""
    for attribute, parameter in module._parameters.items():
        if parameter is not None and (path or attribute not in SCALES):
            yield Unit(module, attribute, f"{path}{attribute}", uses.get(id(parameter), "unused"))
    for attribute, buffer in module._buffers.items():
        if buffer is not None and (path or attribute not in SCALES):
            yield Unit(module, attribute, f"{path}{attribute}", "text")
    for attribute, child in module._modules.items():
        if child is None:
            continue
        parameters = list(child.parameters())
        towers = {uses[id(p)] for p in parameters if id(p) in uses}
        if len(towers) > 1:
            yield from _units(child, uses, f"{path}{attribute}__")
        else:
            yield Unit(module, attribute, f"{path}{attribute}", next(iter(towers), "unused" if parameters else "text"))


def _scale(module: nn.Module, scale: float | None, name: str) -> nn.Parameter:
    """Return the logarithm of the factor of similarities as a parameter: the module's own, or a new one."""
    own: Any = getattr(module, "logit_scale", None)
    if scale is None and own is None:
        raise UserError(f"{name} has no parameter logit_scale: give the factor of its similarities, such as scale=100.")
    if scale is None:
        return own if isinstance(own, nn.Parameter) else nn.Parameter(torch.as_tensor(float(own)))
    if not math.isfinite(scale) or scale <= 0:
        raise UserError(f"scale is {scale}, and must be above 0, such as 100.")
    return nn.Parameter(torch.tensor(math.log(scale)))


def _cause(error: Exception) -> str:
    """Return the class and the first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"
