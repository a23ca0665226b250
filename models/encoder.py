"""`DualEncoder`: one interface over open_clip's models, image tower and text tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DualEncoder(nn.Module):
    """An image tower and a text tower that share a space of unit vectors.

    Args:
        clip: an open_clip model (CLIP, CustomTextCLIP, CoCa) with `encode_image`, `encode_text`, `logit_scale`.
        tokenizer: callable, strings -> int64 [B, context]; shorter texts are padded with 0 at the end.
        image_size: side of the square input in pixels.
        mean, std: per-channel normalisation of pixel values in 0..1.
        name: what `models.load` was asked for, for records.
    """

    clip: Any
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        clip: nn.Module,
        tokenizer,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        name: str = "",
    ):
        super().__init__()
        self.clip = clip
        self.image_size = image_size
        self.name = name
        self.text_version = 0
        self._tokenizer = tokenizer
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(lambda module, keys: module.touch_text())

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def tokenize(self, strings: Sequence[str]) -> Tensor:
        """Token ids, int64 [B, context], on the encoder's device."""
        return self._tokenizer(list(strings)).to(self.device)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] -> the float pixels that the image tower was trained on."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Unit-norm image features [B, d].

        `pixels` is uint8 [B, 3, S, S] (normalised here), or floating and already normalised.
        """
        if pixels.dtype == torch.uint8:
            pixels = self.normalise(pixels)
        return F.normalize(self.clip.encode_image(pixels), dim=-1)

    def encode_texts(self, tokens: Tensor) -> Tensor:
        """Unit-norm text features [B, d] of token ids [B, context].

        A causal text tower pooled at the end-of-text token never looks past it, so the batch is cut to its longest text:
        the features are those of the full context at a fraction of the arithmetic. Other towers get the full context.
        """
        if not self._causal_text():
            return F.normalize(self.clip.encode_text(tokens), dim=-1)
        return F.normalize(self._encode_causal(tokens[:, : self._longest(tokens)]), dim=-1)

    def encode_texts_plain(self, tokens: Tensor) -> Tensor:
        """The same features computed at the full context length: the slow path that `encode_texts` is checked against."""
        return F.normalize(self.clip.encode_text(tokens), dim=-1)

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """exp(logit_scale) * image_features @ text_features.T (+ logit_bias where the model has one): [B, C]."""
        logits = self.clip.logit_scale.exp() * image_features @ text_features.T
        bias = getattr(self.clip, "logit_bias", None)
        return logits if bias is None else logits + bias

    def touch_text(self) -> None:
        """Tell caches that the text tower may have changed. Optimiser steps and merges call it; loading a state dict does it.

        An explicit counter, because tensor version counters miss fused optimisers and writes through `.data`.
        """
        self.text_version += 1

    def _causal_text(self) -> bool:
        """Whether the text tower is open_clip's plain causal transformer, pooled at the end-of-text token."""
        clip = self.clip
        return (
            getattr(clip, "text_pool_type", None) == "argmax"
            and getattr(clip, "attn_mask", None) is not None
            and hasattr(clip, "token_embedding")
        )

    @staticmethod
    def _longest(tokens: Tensor) -> int:
        """Length of the longest text including its end-of-text token, which is the largest id in each row."""
        return int(tokens.argmax(dim=-1).max()) + 1

    def _encode_causal(self, tokens: Tensor) -> Tensor:
        """open_clip's text forward with the positional embedding and the causal mask cut to the tokens given."""
        clip, length = self.clip, tokens.shape[1]
        dtype = clip.transformer.get_cast_dtype()
        x = clip.token_embedding(tokens).to(dtype) + clip.positional_embedding[:length].to(dtype)
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)
        x = x[torch.arange(len(x), device=x.device), tokens.argmax(dim=-1)]
        projection = clip.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection
