"""`load`: open_clip models by name, directory or hub name, as a float32 `DualEncoder`."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from torch import nn

from models.encoder import DualEncoder
from models.loading import building, description, hub, model_config, read_weights, tokenizers
from models.loading.architectures import HUB, unknown_model
from models.loading.local_files import OPEN_CLIP_CONFIG, directory_of, no_weights, path_is, weights_file, weights_in
from models.loading.model_config import ModelConfig
from models.loading.read_weights import Weights
from models.loading.tokenizers import MERGES, Tokenizer
from models.paths import user_path
from models.prompt_reader import PromptReader
from models.registry import UserError, first_line, out_of_memory, unknown
from models.transforms import Preprocess

# Weights files of a hub repository, the preferred one first.
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


def load(name: str, pretrained: str | None = None) -> DualEncoder:
    """Load a dual encoder in float32, in evaluation mode, on the CPU.

    QuickGELU: OpenAI and some others trained with it, and the tensors do not show it. open_clip knows it for its tags. A file
    counts as OpenAI's if it has the entries that only OpenAI's release has: `input_resolution`, `context_length` and
    `vocab_size`, in TorchScript archives too. The `encoder.safetensors` of a run records the activation
    (`models.loading.description`) with the preprocessing, the tokenizer and the other settings that tensors do not show. The
    activation and the preprocessing are then taken from the file, and any other difference is refused. Other files have no
    record. For weights that were fine-tuned from OpenAI's, give the architecture as "ViT-B-16-quickgelu".

    Preprocessing: a tag, hub name or directory has its own. For a file without a record, or random weights, it is the
    preprocessing on which all of open_clip's tags of that architecture agree (SigLIP squashes images, for example), else
    open_clip's default (our choice).

    Args:
        name: "tiny" or another model that ships with the project (`list models`), a directory with an
            `open_clip_config.json` and weights, a hub name ("hf-hub:owner/model"), or an architecture that open_clip knows.
        pretrained: an open_clip tag, or the path of a weights file (safetensors, or written by `torch.save`; see
            `models.loading.read_weights`). Required for architectures and not allowed for other names. "random" gives random
            weights, drawn from torch's global generator, for any name. A directory or repository then needs no weights file.

    Returns:
        The encoder. Its `notes` tell what was taken from a weights file, left out of it or cannot be known.

    Raises:
        UserError: the name is unknown, the tag is missing or unknown, a directory has no configuration or weights, the
            configuration is not valid, the weights cannot be downloaded or read or do not fit, or the tokenizer is missing.

    Examples:
        ```python
        import models

        tiny = models.load("tiny")
        clip = models.load("ViT-B-16", "openai")
        fine_tuned = models.load("ViT-B-16", "results/.../checkpoint/after-11/encoder.safetensors")
        ```
    """
    if (directory := directory_of(name, pretrained)) is not None or name.startswith(HUB):
        if pretrained not in (None, "random"):
            raise UserError(
                f"The model {name!r} has its own weights: leave out --pretrained {pretrained}, or give --pretrained random."
            )
        return _from_configuration(name, directory, pretrained)
    return _from_architecture(name, pretrained)


def _from_configuration(name: str, directory: Path | None, pretrained: str | None) -> DualEncoder:
    """Return a model of a directory, or with None of a hub repository."""
    config, tokenizer = _configuration(name, directory)
    weights = None
    if pretrained != "random":
        stored = hub.file(name.removeprefix(HUB), HUB_WEIGHTS, "weights") if directory is None else weights_in(directory)
        if stored is None:
            raise no_weights(name)
        weights = read_weights.read(stored)
        if weights.openai and not config.model.get("quick_gelu"):
            problem = f"the weights in {stored} are OpenAI's, trained with QuickGELU, so model_cfg.quick_gelu must be true"
            raise model_config.invalid(config.path, problem)
    with hub.quiet():
        clip, preprocess = building.build(config, weights, name)
    left_out = [] if weights is None else read_weights.fit(clip, weights, name)
    encoder = _encoder(clip, tokenizer, preprocess, name, pretrained)
    building.check(encoder, config)
    if weights is not None:
        _check_description(encoder, weights)
        encoder.notes = _left_out(weights, left_out)
    return encoder


def _configuration(name: str, directory: Path | None) -> tuple[ModelConfig, Tokenizer]:
    """Return the checked configuration of a directory, or with None of a hub repository, and the tokenizer."""
    if directory is None:
        repository = name.removeprefix(HUB)
        config = model_config.read(hub.file(repository, [OPEN_CLIP_CONFIG], "configuration"))
        merges = hub.optional(repository, MERGES)
    else:
        config, merges = model_config.read(directory / OPEN_CLIP_CONFIG), directory / MERGES
    return config, tokenizers.build(config.text, name, directory, merges)


def _from_architecture(name: str, pretrained: str | None) -> DualEncoder:
    """Return a model that open_clip knows by name, with the weights of a tag or a file, or random ones."""
    import open_clip

    file = weights_file(name, pretrained)
    tag = None if pretrained == "random" or file else pretrained
    _check_architecture(open_clip, name, pretrained, tag)
    weights = None if file is None else read_weights.read(file)
    config = open_clip.get_model_config(name)
    arguments: dict[str, Any] = {"force_preprocess_cfg": _usual_preprocessing(open_clip, name)}
    if tag is not None:
        arguments = {"pretrained": tag, "force_quick_gelu": _tag_setting(open_clip, name, tag, "quick_gelu") is True}
    if weights is not None:
        recorded = model_config.check_preprocess(description.preprocessing(weights.description), weights.path)
        arguments["force_preprocess_cfg"] |= recorded
        arguments["force_quick_gelu"] = weights.openai or description.is_quick(weights.description)
    # Checked before the weights, which may be a long download.
    tokenizer = tokenizers.build(config["text_cfg"], name)
    building.check_text_tower(config["text_cfg"], name)
    try:
        with hub.quiet():
            clip = open_clip.create_model(
                name,
                precision="fp32",
                load_weights=tag is not None,
                require_pretrained=tag is not None,
                pretrained_text=False,
                **arguments,
            )
    except (OSError, RuntimeError, ValueError, AssertionError, MemoryError, pickle.UnpicklingError, SafetensorError) as error:
        # open_clip reports a failed download, a damaged file and a wrong configuration this way.
        if out_of_memory(error):
            raise building.no_memory(name) from error
        raise UserError(f"Cannot load the model {name!r}: {first_line(error)}.") from error
    if pretrained == "random":
        building.start_decoder(clip)
    left_out = [] if weights is None else read_weights.fit(clip, weights, name)
    encoder = _encoder(clip, tokenizer, clip.visual.preprocess_cfg, name, pretrained)
    if weights is not None:
        _check_description(encoder, weights)
        encoder.notes = (*_left_out(weights, left_out), *_activation(encoder, weights, config, open_clip))
    return encoder


def _encoder(clip: nn.Module, tokenizer: Tokenizer, config: dict[str, Any], name: str, pretrained: str | None) -> DualEncoder:
    """Return the encoder of a built model."""
    preprocess = Preprocess.from_open_clip(config)
    encoder = DualEncoder(
        clip,
        tokenizer,
        image_size=preprocess.size,
        mean=config["mean"],
        std=config["std"],
        name=name,
        pretrained=pretrained,
        preprocess=preprocess,
    )
    return encoder.eval()


def prompt_reader(name: str) -> PromptReader:
    """Return the prompt reader of a model, without loading its weights. `name` is as in `load`. Raises UserError."""
    directory = directory_of(name, "random")
    if directory is not None or name.startswith(HUB):
        return PromptReader(_configuration(name, directory)[1], name)
    import open_clip

    _check_name(open_clip, name)
    return PromptReader(tokenizers.build(open_clip.get_model_config(name)["text_cfg"], name), name)


def _check_description(encoder: DualEncoder, weights: Weights) -> None:
    """Raise UserError if the model computes something else than the model that the weights were trained in."""
    if weights.description is None:
        return
    if different := description.differences(weights.description, description.describe(encoder)):
        raise UserError(
            f"The weights in {weights.path} were trained in a model that differs from {encoder.name}: "
            f"{'; '.join(different)}. Give the model that the weights come from as --model."
        )


def _left_out(weights: Weights, names: list[str]) -> tuple[str, ...]:
    """Return the note about tensors of a file that the model does not have."""
    if not names:
        return ()
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return (f"{weights.path} also has {names[0]!r}{more}, which the model does not have; left out",)


def _activation(encoder: DualEncoder, weights: Weights, config: dict[str, Any], open_clip: ModuleType) -> tuple[str, ...]:
    """Return a note about QuickGELU: taken from the file, or unknown for a file that may come from OpenAI's weights."""
    name, quick = encoder.name, bool(config.get("quick_gelu"))
    if weights.openai or weights.description is not None:
        taken = description.is_quick(description.describe(encoder)) and not quick
        return (f"{weights.path} was trained with QuickGELU, so {name} computes with it",) if taken else ()
    tags = open_clip.list_pretrained_tags_by_model(name)
    if quick or not any(_tag_setting(open_clip, name, tag, "quick_gelu") for tag in tags):
        return ()
    return (
        f"{weights.path} does not record its activation, and GELU is used; weights that were fine-tuned from OpenAI's need "
        f"--model {name}-quickgelu",
    )


def _check_architecture(open_clip: ModuleType, name: str, pretrained: str | None, tag: str | None) -> None:
    """Check name and tag before anything is downloaded."""
    _check_name(open_clip, name)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        raise UserError(f"The model {name!r} needs --pretrained, one of: {', '.join([*tags, 'random'])}, or a weights file.")
    if tag is not None and tag not in tags:
        raise unknown(f"weights for {name}", tag, [*tags, "random"])


def _check_name(open_clip: ModuleType, name: str) -> None:
    """Raise UserError for a name that is not an architecture of open_clip."""
    architectures = open_clip.list_models()
    if name not in architectures and path_is(user_path(name), Path.is_file):
        raise UserError(f"--model {name} is a file: give the architecture as --model, and the file as --pretrained.")
    if name not in architectures:
        raise unknown_model(name, architectures)


def _tag_setting(open_clip: ModuleType, name: str, tag: str, key: str) -> Any:
    """Return a setting that open_clip records for a tag, or None."""
    return open_clip.pretrained.get_pretrained_cfg(name, tag).get(key)


def _usual_preprocessing(open_clip: ModuleType, name: str) -> dict[str, Any]:
    """Return the preprocessing settings on which all of an architecture's tags agree."""
    agreed = {}
    for key in ("mean", "std", "interpolation", "resize_mode"):
        values = {_tag_setting(open_clip, name, tag, key) for tag in open_clip.list_pretrained_tags_by_model(name)}
        if len(values) == 1 and None not in values:
            agreed[key] = values.pop()
    return agreed
