"""Build open_clip's model classes from a checked configuration, after checking that the memory is sufficient."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models.encoder import DualEncoder
from models.loading import fit_weights
from models.loading.model_config import ModelConfig, invalid
from models.loading.read_weights import Weights
from models.registry import UserError, first_line, out_of_memory

TEXTS = ("a photo of a cat.", "two red boats on the sea")


def build(config: ModelConfig, weights: Weights | None, name: str, base: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Build the model with random weights, in float32, and return it with its complete preprocessing settings.

    The model is first built without data. Tensors that do not fit the weights file, and models larger than the memory, are
    refused before anything is allocated.

    Args:
        config: the checked configuration.
        weights: the weights that will be copied into the model; None: it keeps its random weights.
        name: the model's name, for messages.
        base: the name of weights that the weights may be put over (`fit_weights.match`).

    Raises:
        UserError: open_clip cannot build the settings, the weights do not fit, or the memory is too small.
    """
    from open_clip.transform import PreprocessCfg

    check_text_tower(config.text, name)
    _check_image_tower(config)
    hollow = _without_data(config, name)
    if hollow is not None:
        if weights is not None:
            fit_weights.match(hollow.state_dict(), fit_weights.unsaved(hollow), weights, name, base)
        _check_memory(hollow, name)
    clip = _construct(config, name)
    if weights is None:
        start_decoder(clip)
    visual: Any = clip.visual
    preprocess = {**asdict(PreprocessCfg()), **config.preprocess, "size": visual.image_size}
    return clip, preprocess


def start_decoder(clip: nn.Module) -> None:
    """Give the output matrix of CoCa's text decoder random weights. open_clip 3 leaves it as uninitialised memory."""
    decoder = getattr(clip, "text_decoder", None)
    if decoder is not None:
        nn.init.normal_(decoder.text_projection, std=decoder.text_projection.shape[0] ** -0.5)


def check(encoder: DualEncoder, config: ModelConfig) -> None:
    """Check that the encoder maps two images and two texts to different vectors of the same width.

    Raises:
        UserError: it does not, or it cannot encode. The message names the problem.
    """
    try:
        with torch.inference_mode():
            tokens = encoder.tokenize(TEXTS)
            size = _vocabulary(encoder)
            if size is not None and (largest := int(tokens.max())) >= size:
                raise invalid(
                    config.path, f"its tokenizer gives the id {largest}, but the model has {size} token embeddings (vocab_size)"
                )
            texts, images = encoder.encode_texts(tokens), encoder.encode_images(_pictures(encoder.image_size))
    except UserError:
        raise
    except Exception as error:  # an unknown configuration may fail in open_clip in any way
        if out_of_memory(error):
            raise no_memory(encoder.name) from error
        raise invalid(config.path, f"its model cannot encode ({type(error).__name__}: {first_line(error)})") from error
    if texts.shape != images.shape or texts.dim() != 2:
        shapes = f"{list(texts.shape)} for two texts and {list(images.shape)} for two images"
        raise invalid(config.path, f"its model returns features of the shape {shapes}")
    if torch.equal(texts[0], texts[1]) and not torch.equal(tokens[0], tokens[1]):
        raise invalid(config.path, "its model returns the same features for two different texts (pool_type, eos_id)")
    if torch.equal(images[0], images[1]):
        raise invalid(config.path, "its model returns the same features for two different images (pool_type)")


def check_text_tower(text_cfg: Mapping[str, Any], name: str) -> None:
    """Check a text tower of transformers: one that open_clip's models use, and whose configuration needs no code.

    Any other is refused, because transformers also takes a local folder of that name, and would ask on a terminal whether to
    run the code in it.

    Raises:
        UserError: the tower is not one of open_clip's, is a local folder, or cannot be downloaded.
    """
    import open_clip

    tower = text_cfg.get("hf_model_name")
    if not tower:
        return
    towers = (open_clip.get_model_config(known)["text_cfg"].get("hf_model_name") for known in open_clip.list_models())
    known_towers = sorted({known for known in towers if known})
    if tower not in known_towers:
        raise UserError(
            f"The model {name!r} asks for the text tower {tower!r} of transformers; only those of open_clip's models are "
            f"allowed: {', '.join(known_towers)}."
        )
    if Path(tower).exists():
        raise UserError(
            f"The text tower {tower!r} of {name!r} would be read from the folder of that name in the working directory. "
            "Work in another directory, or rename the folder."
        )
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(tower, trust_remote_code=False)
    except Exception as error:  # the hub's and transformers' classes, and those of their transports
        raise UserError(f"Cannot get the text tower {tower!r} of {name!r} from its hub: {first_line(error)}.") from error


def no_memory(name: str) -> UserError:
    """Return the error for a model that does not fit the memory."""
    return UserError(f"There is not enough memory for the model {name!r}.")


def _check_image_tower(config: ModelConfig) -> None:
    """Raise UserError for an image tower that timm does not have under this name."""
    tower = config.model["vision_cfg"].get("timm_model_name")
    if tower:
        import timm

        import models.loading.small_towers  # noqa: F401  (adds its towers to timm's names)

        if not timm.is_model(tower):
            raise invalid(config.path, f"timm has no model {tower!r} (model_cfg.vision_cfg.timm_model_name)")


def _construct(config: ModelConfig, name: str) -> nn.Module:
    """Build the class that open_clip's `create_model` uses for these settings."""
    from open_clip.coca_model import CoCa
    from open_clip.model import CLIP, CustomTextCLIP

    settings = copy.deepcopy(config.model)
    custom = settings.pop("custom_text", False) or bool(config.text.get("hf_model_name"))
    # Weights of single towers are never fetched.
    if settings["vision_cfg"].get("timm_model_name"):
        settings["vision_cfg"]["timm_model_pretrained"] = False
    if settings["text_cfg"].get("hf_model_name"):
        settings["text_cfg"]["hf_model_pretrained"] = False
    model_class = CoCa if "multimodal_cfg" in settings else CustomTextCLIP if custom else CLIP
    try:
        model: nn.Module = model_class(**settings)
        return model
    except Exception as error:  # open_clip asserts, divides and indexes by the settings
        if out_of_memory(error):
            raise no_memory(name) from error
        raise invalid(config.path, f"open_clip cannot build it ({type(error).__name__}: {first_line(error)})") from error


def _without_data(config: ModelConfig, name: str) -> nn.Module | None:
    """Build the model on torch's device "meta", which has only shapes; None for a tower that cannot be built there."""
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return _construct(config, name)
    except UserError as error:
        if isinstance(error.__cause__, (NotImplementedError, RuntimeError)) and "meta" in str(error.__cause__).lower():
            return None
        raise


def _check_memory(hollow: nn.Module, name: str) -> None:
    """Raise UserError for a model whose weights are larger than the machine's memory."""
    needed = sum(t.numel() * t.element_size() for t in (*hollow.parameters(), *hollow.buffers()))
    try:
        present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return
    if needed > present:
        raise UserError(
            f"The model {name!r} needs {needed / 1e9:,.0f} GB for its weights, but this machine has {present / 1e9:,.0f} GB. "
            "Check the sizes in its configuration."
        )


def _pictures(side: int) -> torch.Tensor:
    """Return a black image, and one that brightens from left to right."""
    ramp = torch.linspace(0, 255, side).to(torch.uint8).expand(1, 3, side, side)
    return torch.cat([torch.zeros_like(ramp), ramp])


def _vocabulary(encoder: DualEncoder) -> int | None:
    """Return the number of token embeddings of the text tower, or None if it is unknown."""
    tower = getattr(encoder.clip, "text", encoder.clip)
    embedding = getattr(tower, "token_embedding", None)
    if isinstance(embedding, nn.Embedding):
        return int(embedding.num_embeddings)
    size: int | None = getattr(tower, "vocab_size", None)
    return size or None
