"""Architectures and pretraining losses of the tiny models' families: CLIP, SigLIP, CoCa, EVA-02 and a CLIP with a cone.

All have the sizes of models/tiny: 48 x 48 pixels in patches of 8, an image tower of four blocks, a text tower of three, 128
wide, embeddings of 128. What differs is what differs between open_clip's `ViT-B-16`, `ViT-B-16-SigLIP`, `coca_ViT-B-32` and
`EVA02-B-16`, except SigLIP's tokenizer: all families share that of models/tiny.

A batch has one caption for each of its U subjects, so several images may share a caption. The losses count all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.loading import building
from models.loading.model_config import ModelConfig
from tools import vocabulary

MEAN, STD = 0.5, 0.27
LOGIT_SCALE_INIT = 20.0
CONE_SCALE = 100.0
"""Logit scale of the CLIP with a cone, the upper limit of CLIP's. It does not train (our choice)."""
SIGMOID_SCALE, SIGMOID_BIAS = 10.0, -10.0
"""Start of SigLIP's logit scale and bias (Zhai et al. 2303.15343; open_clip's training script)."""
HEAD = 32
"""Width of an attention head."""
POOLED = 32
"""Queries of CoCa's attention pooling: one for the image feature and 31 for the decoder (our choice)."""
DECODER_LAYERS = 2
CAPTION_WEIGHT = 2.0
"""Weight of the caption loss next to the contrastive loss (CoCa, Yu et al. 2205.01917; open_clip's default)."""
SMOOTHING = 0.05
PAD = 0


class Family(NamedTuple):
    """A family of tiny models.

    Attributes:
        model: folder of the pretrained model under models/.
        architecture: open_clip's `model_cfg`, given the number of tokens and the width.
        loss: the loss of (model, images [B, 3, 48, 48], tokens [U, L], subjects [B]).
        trains_scale: the logit scale trains.
        widths: the width may be chosen. timm's towers have one size.
    """

    model: str
    architecture: Callable[[int, int], dict[str, Any]]
    loss: Callable[[Any, Tensor, Tensor, Tensor], Tensor]
    trains_scale: bool = True
    widths: bool = False


def configuration(vocabulary_size: int, width: int = 128, family: str = "clip") -> dict[str, Any]:
    """Return the open_clip config of a family.

    Args:
        vocabulary_size: number of tokens.
        width: width of both towers and of the embeddings, a multiple of 32, the width of a head.
        family: a key of `FAMILIES`.
    """
    return {
        "model_cfg": FAMILIES[family].architecture(vocabulary_size, width),
        "preprocess_cfg": {"mean": [MEAN] * 3, "std": [STD] * 3, "interpolation": "bilinear"},
    }


def make_model(config: dict[str, Any]) -> Any:
    """Return the model of a config with random weights, in the class that `models.load` uses for it."""
    model: Any = building.build(ModelConfig(config["model_cfg"], {}, Path("open_clip_config.json")), None, "the tiny model")[0]
    if "init_logit_scale" not in config["model_cfg"]:
        with torch.no_grad():
            model.logit_scale.fill_(math.log(LOGIT_SCALE_INIT))
    return model


def softmax_loss(image_features: Tensor, text_features: Tensor, scale: Tensor, subjects: Tensor) -> Tensor:
    """Return a contrastive loss with several positives: images [B] against captions [U], one per subject, and the reverse.

    It is the mean of a cross-entropy over captions (label smoothing 0.05) and one over images, in which all images of a
    subject are equal positives.

    Args:
        image_features: unit features [B, d].
        text_features: unit features [U, d].
        scale: the logit scale, at most 100 (CLIP's limit).
        subjects: the caption of each image [B].
    """
    logits = scale.clamp(max=100) * image_features.float() @ text_features.float().T
    positives = F.one_hot(subjects, len(text_features)).float().T
    positives = positives / positives.sum(dim=1, keepdim=True)
    to_text = F.cross_entropy(logits, subjects, label_smoothing=SMOOTHING)
    to_image = -(positives * logits.T.log_softmax(dim=1)).sum(dim=1).mean()
    loss: Tensor = 0.5 * to_text + 0.5 * to_image
    return loss


def sigmoid_loss(image_features: Tensor, text_features: Tensor, scale: Tensor, bias: Tensor, subjects: Tensor) -> Tensor:
    """Return SigLIP's loss (Zhai et al. 2303.15343) of every image with every caption.

    -1 / B * sum_{i, u} log sigmoid(z_iu (scale * x_i . t_u + bias)), z_iu = 1 if caption u is of image i's subject, else -1.

    Args:
        image_features: unit features [B, d].
        text_features: unit features [U, d].
        scale: the logit scale.
        bias: the logit bias.
        subjects: the caption of each image [B].
    """
    logits = scale * image_features.float() @ text_features.float().T + bias
    signs = 2 * F.one_hot(subjects, len(text_features)).float() - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def caption_loss(logits: Tensor, captions: Tensor) -> Tensor:
    """Return the mean cross-entropy of the tokens of captions after the first, without padding.

    Args:
        logits: the decoder's output [B, L - 1, V]. Position i predicts token i + 1.
        captions: tokens [B, L].
    """
    return F.cross_entropy(logits.float().flatten(0, 1), captions[:, 1:].flatten(), ignore_index=PAD)


def clip_loss(model: Any, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
    """Return `softmax_loss` of a model for images [B, 3, 48, 48], captions [U, L] and the caption of each image [B]."""
    image_features = F.normalize(model.encode_image(images), dim=-1)
    text_features = F.normalize(model.encode_text(tokens), dim=-1)
    return softmax_loss(image_features, text_features, model.logit_scale.exp(), subjects)


def siglip_loss(model: Any, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
    """Return `sigmoid_loss` of a model for images [B, 3, 48, 48], captions [U, L] and the caption of each image [B]."""
    image_features = F.normalize(model.encode_image(images), dim=-1)
    text_features = F.normalize(model.encode_text(tokens), dim=-1)
    return sigmoid_loss(image_features, text_features, model.logit_scale.exp(), model.logit_bias, subjects)


def coca_loss(model: Any, images: Tensor, tokens: Tensor, subjects: Tensor) -> Tensor:
    """Return `softmax_loss` plus 2 x `caption_loss`: the decoder reads each image's caption and pooled image tokens.

    Arguments as in `clip_loss`. The text tower reads each caption once.
    """
    image_features, image_tokens = model.visual(images)
    text_features, text_tokens = model.text(tokens)
    image_features, text_features = F.normalize(image_features, dim=-1), F.normalize(text_features, dim=-1)
    contrastive = softmax_loss(image_features, text_features, model.logit_scale.exp(), subjects)
    logits = model.text_decoder(image_tokens, text_tokens[subjects, :-1])
    return contrastive + CAPTION_WEIGHT * caption_loss(logits, tokens[subjects])


def _clip(tokens: int, width: int) -> dict[str, Any]:
    return {
        "embed_dim": width,
        "vision_cfg": {"image_size": 48, "patch_size": 8, "width": width, "layers": 4, "head_width": HEAD},
        "text_cfg": {
            "context_length": vocabulary.CONTEXT,
            "vocab_size": tokens,
            "width": width,
            "heads": width // HEAD,
            "layers": 3,
        },
    }


def _cone(tokens: int, width: int) -> dict[str, Any]:
    return {**_clip(tokens, width), "init_logit_scale": math.log(CONE_SCALE)}


def _siglip(tokens: int, width: int) -> dict[str, Any]:
    clip = _clip(tokens, width)
    text = {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}}
    return {
        **clip,
        "init_logit_scale": math.log(SIGMOID_SCALE),
        "init_logit_bias": SIGMOID_BIAS,
        "custom_text": True,
        "vision_cfg": _timm("perennial_siglip_patch8_48", "map", "none"),
        "text_cfg": {**clip["text_cfg"], **text},
    }


def _coca(tokens: int, width: int) -> dict[str, Any]:
    clip = _clip(tokens, width)
    heads = width // HEAD
    pooling = {"attentional_pool": True, "attn_pooler_heads": heads, "attn_pooler_queries": POOLED, "output_tokens": True}
    return {
        **clip,
        "custom_text": True,
        "vision_cfg": {**clip["vision_cfg"], **pooling},
        "text_cfg": {**clip["text_cfg"], "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**clip["text_cfg"], "layers": DECODER_LAYERS, "attn_pooler_heads": heads},
    }


def _eva02(tokens: int, width: int) -> dict[str, Any]:
    tower = _timm("perennial_eva02_patch8_48", "token", None)
    return {**_clip(tokens, width), "custom_text": True, "vision_cfg": tower}


def _timm(name: str, pool: str, projection: str | None) -> dict[str, Any]:
    return {
        "image_size": 48,
        "timm_model_name": name,
        "timm_model_pretrained": False,
        "timm_pool": pool,
        "timm_proj": projection,
    }


FAMILIES = {
    "clip": Family("tiny", _clip, clip_loss, widths=True),
    "siglip": Family("tiny-siglip", _siglip, siglip_loss),
    "coca": Family("tiny-coca", _coca, coca_loss, widths=True),
    "eva02": Family("tiny-eva02", _eva02, clip_loss),
    "cone": Family("tiny-cone", _cone, clip_loss, trains_scale=False, widths=True),
}
