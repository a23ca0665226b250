"""`load`: open_clip models by name, directory or hub name, as a float32 `DualEncoder`."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors import SafetensorError
from torch import nn

from models.encoder import DualEncoder
from models.loading import (
    building,
    declared,
    description,
    fit_weights,
    hub,
    model_config,
    read_weights,
    tokenizers,
    transformers_models,
)
from models.loading.architectures import HUB, unknown_model
from models.loading.fit_weights import Matched
from models.loading.local_files import (
    OPEN_CLIP_CONFIG,
    TRANSFORMERS_CONFIG,
    base_tag,
    directory_of,
    no_weights,
    path_is,
    weights_file,
    weights_in,
)
from models.loading.model_config import ModelConfig
from models.loading.read_weights import Weights
from models.loading.tokenizers import MERGES, SETTINGS, VOCABULARIES, Tokenizer
from models.paths import user_path
from models.prompt_reader import PromptReader
from models.registry import UserError, first_line, out_of_memory, unknown
from models.transforms import Preprocess

# Weights files of a hub repository, the preferred one first.
HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Files of a hub repository with a model of transformers.
TRANSFORMERS = ("model.safetensors", "preprocessor_config.json", "processor_config.json", *SETTINGS, *VOCABULARIES)


def load(name: str, pretrained: str | None = None) -> DualEncoder:
    """Load a dual encoder in float32, in evaluation mode, on the CPU.

    QuickGELU: OpenAI and some others trained with it, and the tensors do not show it. open_clip knows it for its tags. For a
    file it is taken from what the file or the files around it declare (`models.loading.declared.activation`), and a note
    tells if the model's own setting is another one or nothing declares it. For weights without a declaration that were
    fine-tuned from OpenAI's, give the architecture as "ViT-B-16-quickgelu".

    The `encoder.safetensors` of a run records the activation, the preprocessing, the tokenizer and the other settings that
    tensors do not show (`models.loading.description`). The activation and the preprocessing are then taken from the file, and
    any other difference is refused.

    Preprocessing: a tag, hub name or directory has its own. For a file without a record, or random weights, it is the
    preprocessing on which all of open_clip's tags of that architecture agree (SigLIP squashes images, for example), else
    open_clip's default (our choice).

    Args:
        name: "tiny" or another model that ships with the project (`list models`), a directory with weights and an
            `open_clip_config.json` or the `config.json` of transformers' CLIP or SigLIP, a hub name ("hf-hub:owner/model")
            of such a repository, or an architecture that open_clip knows.
        pretrained: an open_clip tag, or the path of a weights file (safetensors, or written by `torch.save`; see
            `models.loading.read_weights`). Required for architectures. For other names a file takes the place of the model's
            own weights, and tags are not allowed. A file with only an image tower (wise-ft, task_vectors) needs the weights of
            the text tower: the model's own, or "TAG+FILE". "random" gives random weights, drawn from torch's global
            generator, for any name. A directory or repository then needs no weights file.

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
    directory = directory_of(name, pretrained)
    if directory is None and name.startswith(HUB):
        directory = _transformers_repository(name)
    if directory is not None or name.startswith(HUB):
        file = weights_file(name, pretrained)
        if pretrained not in (None, "random") and (file is None or base_tag(pretrained) is not None):
            raise UserError(
                f"The model {name!r} has its own weights: leave out --pretrained {pretrained}, or give a weights file, or "
                "--pretrained random."
            )
        return _from_configuration(name, directory, pretrained, file)
    return _from_architecture(name, pretrained)


def _from_configuration(name: str, directory: Path | None, pretrained: str | None, file: Path | None) -> DualEncoder:
    """Return a model of a directory, or with None of a hub repository, with its own weights or those of a file."""
    config, tokenizer = _configuration(name, directory)
    own = None if pretrained == "random" else _own_weights(name, directory, needed=file is None)
    source = file or own
    weights = None if source is None else read_weights.read(source)
    notes: tuple[str, ...] = ()
    quick = config.model.get("quick_gelu") is True
    if weights is not None and file is None and weights.openai and not quick:
        problem = f"the weights in {source} are OpenAI's, trained with QuickGELU, so model_cfg.quick_gelu must be true"
        raise model_config.invalid(config.path, problem)
    if weights is not None:
        notes = declared.check_whole(weights)
        if file is not None:
            config.model["quick_gelu"] = quick or _is_quick(weights)
            recorded = model_config.check_preprocess(description.preprocessing(weights.description), weights.path)
            config.preprocess.update(recorded)
    base = name if file is not None and own is not None else None
    with hub.quiet():
        clip, preprocess = building.build(config, weights, name, base)
    matched = None if weights is None else fit_weights.fit(clip, weights, name, base)
    if weights is not None and matched is not None and matched.kept and own is not None:
        fit_weights.fit(clip, read_weights.read(own), name)
        fit_weights.fit(clip, weights, name, base)
    encoder = _encoder(clip, tokenizer, preprocess, name, pretrained)
    building.check(encoder, config)
    if weights is not None and matched is not None:
        _check_description(encoder, weights, matched)
        encoder.notes = (*notes, *matched.notes, *_activation(encoder, weights, quick, ()))
    return encoder


def _own_weights(name: str, directory: Path | None, needed: bool) -> Path | None:
    """Return the weights file of a directory, or with None of a hub repository. It is not downloaded if it is not needed."""
    if directory is None:
        return hub.file(name.removeprefix(HUB), HUB_WEIGHTS, "weights") if needed else None
    stored = weights_in(directory)
    if stored is None and needed:
        raise no_weights(name)
    return stored


def _configuration(name: str, directory: Path | None) -> tuple[ModelConfig, Tokenizer]:
    """Return the checked configuration of a directory, or with None of a hub repository, and the tokenizer."""
    if directory is None:
        repository = name.removeprefix(HUB)
        config = model_config.read(hub.file(repository, [OPEN_CLIP_CONFIG], "configuration"))
        merges = hub.optional(repository, MERGES)
    elif (directory / OPEN_CLIP_CONFIG).is_file():
        config, merges = model_config.read(directory / OPEN_CLIP_CONFIG), directory / MERGES
    else:
        config, merges = transformers_models.read(directory), None
    return config, tokenizers.build(config.text, name, directory, merges)


def _transformers_repository(name: str) -> Path | None:
    """Return the downloaded folder of a hub repository with a model of transformers; None for one of open_clip."""
    repository = name.removeprefix(HUB)
    config = hub.file(repository, [OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG], "configuration")
    return None if config.name == OPEN_CLIP_CONFIG else hub.folder(repository, TRANSFORMERS, "model")


def _from_architecture(name: str, pretrained: str | None) -> DualEncoder:
    """Return a model that open_clip knows by name, with the weights of a tag or a file, or random ones."""
    import open_clip

    file = weights_file(name, pretrained)
    tag = base_tag(pretrained) if file else None if pretrained == "random" else pretrained
    _check_architecture(open_clip, name, pretrained, tag)
    weights = None if file is None else read_weights.read(file)
    notes = () if weights is None else declared.check_whole(weights)
    config = open_clip.get_model_config(name)
    arguments: dict[str, Any] = {"force_preprocess_cfg": _usual_preprocessing(open_clip, name)}
    if tag is not None:
        arguments = {"pretrained": tag, "force_quick_gelu": _tag_setting(open_clip, name, tag, "quick_gelu") is True}
    if weights is not None:
        recorded = model_config.check_preprocess(description.preprocessing(weights.description), weights.path)
        arguments["force_preprocess_cfg"] = arguments.get("force_preprocess_cfg", {}) | recorded
        arguments["force_quick_gelu"] = arguments.get("force_quick_gelu", False) or _is_quick(weights)
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
    matched = None if weights is None else fit_weights.fit(clip, weights, name, tag)
    encoder = _encoder(clip, tokenizer, clip.visual.preprocess_cfg, name, pretrained)
    if weights is not None and matched is not None:
        _check_description(encoder, weights, matched)
        tags = () if tag is not None else open_clip.list_pretrained_tags_by_model(name)
        quick_tags = [tag for tag in tags if _tag_setting(open_clip, name, tag, "quick_gelu")]
        quick = bool(config.get("quick_gelu")) or (tag is not None and _tag_setting(open_clip, name, tag, "quick_gelu") is True)
        encoder.notes = (*notes, *matched.notes, *_activation(encoder, weights, quick, quick_tags))
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


def architecture(name: str) -> dict[str, Any] | None:
    """Return `model_cfg` of a model in open_clip's form; None for a name that `load` does not know. Raises UserError."""
    directory = directory_of(name, "random")
    if directory is None and name.startswith(HUB):
        directory = _transformers_repository(name)
    if directory is not None or name.startswith(HUB):
        return _configuration(name, directory)[0].model
    import open_clip

    known: dict[str, Any] | None = open_clip.get_model_config(name)
    return known


def _check_description(encoder: DualEncoder, weights: Weights, matched: Matched) -> None:
    """Raise UserError if the model computes something else than the model that the weights were trained in."""
    if weights.description is None:
        return
    # The note about interpolated embeddings reports another image size.
    recorded = {key: value for key, value in weights.description.items() if key != "image_size" or not matched.resized}
    if different := description.differences(recorded, description.describe(encoder)):
        raise UserError(
            f"The weights in {weights.path} were trained in a model that differs from {encoder.name}: "
            f"{'; '.join(different)}. Give the model that the weights come from as --model."
        )


def _is_quick(weights: Weights) -> bool:
    """Return whether a file or the files around it declare QuickGELU."""
    known = declared.activation(weights)
    return known is not None and known.quick


def _activation(encoder: DualEncoder, weights: Weights, quick: bool, quick_tags: Sequence[str]) -> tuple[str, ...]:
    """Return a note about QuickGELU: taken from the file, in conflict with it, or unknown.

    Args:
        encoder: the loaded model.
        weights: the file.
        quick: the model computes QuickGELU by its own setting.
        quick_tags: tags of the architecture that were trained with QuickGELU, from which the file may come.
    """
    name, known = encoder.name, declared.activation(weights)
    computed = description.is_quick(description.describe(encoder))
    if known is None:
        unknown_source = not computed and bool(quick_tags)
        return (
            (
                f"{weights.path} does not record its activation, and GELU is used; weights that were fine-tuned from OpenAI's "
                f"need --model {name}-quickgelu",
            )
            if unknown_source
            else ()
        )
    if known.quick and computed and not quick:
        return (f"{weights.path} was trained with QuickGELU, so {name} computes with it",)
    if known.quick != computed:
        declares, computes = ("QuickGELU", "GELU") if known.quick else ("GELU", "QuickGELU")
        return (
            f"QuickGELU mismatch: {weights.path} was trained with {declares} ({known.source}), and {name} computes {computes}, "
            "so its features differ from those of the training",
        )
    return ()


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
