"""`DualEncoder`: one interface over open_clip's models, image tower and text tower."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from models import parallel
from models.adapter import Adapter
from models.attention import streamline
from models.prompt_reader import PromptReader
from models.registry import UserError
from models.towers import check_parts
from models.transforms import Preprocess

CPU_ROWS = 32
"""Images at a time on a CPU where there is no gradient: their activations stay in its caches, which takes a third off the time
of 256 at once for the tiny model (`tests/speed/rows.py`). The features are the same. With a gradient nothing is gained."""


def _touch(encoder: DualEncoder, keys: Any) -> None:
    """Tell caches that a state dict was loaded. A function of the module, because a lambda cannot be pickled."""
    encoder.touch()


class DualEncoder(nn.Module):
    """An image tower and a text tower that share a space of unit vectors.

    How they compute: `cuts_texts` (see `encode_texts`); `precision` "bf16" runs the towers' matrix products in it (autocast;
    weights, features and logits stay what they are); `microbatch`, how many rows pass at once where there is a gradient: the
    same gradients from less memory, for the price of one more forward pass (activations are computed again). Layers that
    look at a batch as a whole, batch normalisation in training, then see the chunk.

    Args:
        clip: an open_clip model (CLIP; CustomTextCLIP: SigLIP, EVA-02; CoCa) with `encode_image`, `encode_text`,
            `logit_scale` and perhaps `logit_bias`.
        tokenizer: callable, strings -> ids [B, context]; shorter texts are padded at the end.
        image_size: side of the square input in pixels.
        mean, std: per-channel normalisation of pixel values in 0..1.
        name, pretrained: what `models.load` was asked for.
        preprocess: how images become that square; None: `Preprocess(image_size)`.

    A model that is not open_clip's needs the same parts: `encode_image(pixels, normalize=False)` and
    `encode_text(tokens, normalize=False)`, which return [B, d]; the parameter `logit_scale`; the image tower in the module
    `visual`, and the text tower in the module `text`, which has `output_dim` d.

    `notes` are sentences for the user about how the weights were read.

    Raises:
        UserError: the model does not have these parts.
        ValueError: `preprocess` is for another image size.
    """

    clip: Any
    mean: Tensor
    std: Tensor
    image_adapter: Adapter | None
    text_adapter: Adapter | None

    def __init__(
        self,
        clip: nn.Module,
        tokenizer,
        image_size: int,
        mean: Sequence[float],
        std: Sequence[float],
        name: str = "",
        pretrained: str | None = None,
        preprocess: Preprocess | None = None,
    ):
        super().__init__()
        self.preprocess = Preprocess(image_size) if preprocess is None else preprocess
        if self.preprocess.size != image_size:
            raise ValueError(f"images of {image_size} pixels, but preprocessing to {self.preprocess.size}")
        check_parts(clip)
        streamline(clip)
        self.clip = clip
        self.notes: tuple[str, ...] = ()
        self.image_size = image_size
        self.name = name
        self.pretrained = pretrained
        self.image_version = 0
        self.text_version = 0
        self.text_tower_version = 0
        self.cuts_texts = True
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.microbatch: int | None = None
        # `models.tuning` says what trains here, and puts the adapters in.
        self.tuning = "full"
        self.image_adapter = None
        self.text_adapter = None
        self._tokenizer = tokenizer
        self.reader = PromptReader(tokenizer, name)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        self.register_load_state_dict_post_hook(_touch)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    @property
    def feature_dim(self) -> int:
        """Width d of the shared space."""
        tower = self._text_tower()
        projection = getattr(tower, "text_projection", None)
        if isinstance(projection, nn.Linear):
            return int(projection.out_features)
        if projection is not None:
            return int(projection.shape[-1])
        if hasattr(tower, "output_dim"):
            return int(tower.output_dim)
        if hasattr(tower, "ln_final"):
            return int(tower.ln_final.weight.shape[0])
        raise UserError(f"The text tower {type(tower).__name__} needs `output_dim`, the width of its features.")

    @property
    def context_length(self) -> int:
        """Tokens of a text, padding included."""
        known = getattr(self._tokenizer, "context_length", None) or getattr(self.clip, "context_length", None)
        return int(known or self.tokenize(["a"]).shape[1])

    def tokenize(self, strings: Sequence[str]) -> Tensor:
        """Token ids, int64 [B, context], on the encoder's device."""
        return self._tokenizer(list(strings)).to(self.device, torch.int64)

    def normalise(self, pixels: Tensor) -> Tensor:
        """uint8 [B, 3, S, S] -> the float pixels that the image tower was trained on."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Unit-norm image features [B, d].

        `pixels` is uint8 [B, 3, S, S] (normalised here), or floating and already normalised.
        """
        return self.finish_images(self.raw_images(pixels))

    def raw_images(self, pixels: Tensor) -> Tensor:
        """What the image tower gives [B, d], before adapter and normalisation: it changes with the tower alone."""
        if pixels.dtype == torch.uint8:
            pixels = self.normalise(pixels)
        rows = None if pixels.is_cuda else CPU_ROWS
        return self._pass(partial(self.clip.encode_image, normalize=False), pixels, rows)

    def finish_images(self, raw: Tensor) -> Tensor:
        """Unit-norm image features of `raw_images`: through the adapter, if there is one."""
        if self.image_adapter is not None:
            self.image_adapter.wake()
            raw = self.image_adapter(raw)
        return F.normalize(raw, dim=-1)

    def encode_texts(self, tokens: Tensor, length: int | None = None) -> Tensor:
        """Unit-norm text features [B, d] of token ids [B, context].

        What is pooled in a causal text tower never looks at padding, so the batch is cut to its longest text: the features
        are those of the full context at a fraction of the arithmetic. Towers that are not causal (SigLIP) or are pooled at
        the last position get the full context, as every tower does while `cuts_texts` is False. `length`: what
        `needed_length` says of the tokens, where it was asked before; to ask a GPU waits for it.
        """
        return self.finish_texts(self.raw_texts(tokens, length))

    def raw_texts(self, tokens: Tensor, length: int | None = None) -> Tensor:
        """What the text tower gives [B, d], before adapter and normalisation: it changes with the tower alone."""
        length = self.needed_length(tokens) if length is None else length
        if length >= tokens.shape[1]:
            return self._raw_texts_plain(tokens)
        return self._pass(self._encode_cut, tokens[:, :length])

    def finish_texts(self, raw: Tensor) -> Tensor:
        """Unit-norm text features of `raw_texts`: through the adapter, if there is one."""
        if self.text_adapter is not None:
            if self.text_adapter.wake():
                self.touch_text(tower=False)
            raw = self.text_adapter(raw)
        return F.normalize(raw, dim=-1)

    def encode_texts_plain(self, tokens: Tensor) -> Tensor:
        """The same features computed at the full context length: the slow path that `encode_texts` is checked against."""
        return self.finish_texts(self._raw_texts_plain(tokens))

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """exp(logit_scale) * image_features @ text_features.T (+ logit_bias where the model has one): [B, C]."""
        logits = self.clip.logit_scale.exp() * image_features @ text_features.T
        bias = getattr(self.clip, "logit_bias", None)
        return logits if bias is None else logits + bias

    def touch(self) -> None:
        """Tell caches that any weight may have changed."""
        self.touch_images()
        self.touch_text()

    def touch_images(self) -> None:
        """Tell caches that what the image tower gives may have changed; the adapter behind it does not count."""
        self.image_version += 1

    def touch_text(self, tower: bool = True) -> None:
        """Tell caches that text features may have changed. Optimiser steps and merges call it; loading a state dict does it.

        `tower=False` says that only the text adapter may have changed: what the tower gives is still what it was.
        Explicit counters, because tensor version counters miss fused optimisers and writes through `.data`.
        """
        self.text_version += 1
        self.text_tower_version += tower

    def _raw_texts_plain(self, tokens: Tensor) -> Tensor:
        return self._pass(partial(self.clip.encode_text, normalize=False), tokens)

    def _pass(self, tower: Callable[[Tensor], Tensor], given: Tensor, rows: int | None = None) -> Tensor:
        """Through a tower; where there are several processes, each computes a share of the rows."""
        return parallel.split_rows(partial(self._in_chunks, partial(self._run, tower), rows), given)

    def _in_chunks(self, run: Callable[[Tensor], Tensor], rows: int | None, given: Tensor) -> Tensor:
        """`rows` at a time; with gradient `microbatch` rows, whose activations are computed again for it."""
        gradient = torch.is_grad_enabled()
        size = self.microbatch if gradient else rows
        if size is None or len(given) <= size:
            return run(given)
        return torch.cat([checkpoint(run, p, use_reentrant=False) if gradient else run(p) for p in given.split(size)])

    def _run(self, tower: Callable[[Tensor], Tensor], given: Tensor) -> Tensor:
        """In `precision`; what comes out has the weights' type, so that similarities and losses are computed in it."""
        half = self.precision == "bf16"
        with parametrize.cached(), torch.autocast(given.device.type, torch.bfloat16) if half else nullcontext():
            return tower(given).to(self.mean.dtype)

    def _text_tower(self) -> Any:
        """The module that holds the text tower's parts: CLIP itself, or the `text` of CustomTextCLIP and CoCa."""
        return getattr(self.clip, "text", self.clip)

    def needed_length(self, tokens: Tensor) -> int:
        """How many of the context's positions `encode_texts` computes: those that the features of these texts depend on."""
        tower, context = self._text_tower(), tokens.shape[1]
        if not self.cuts_texts or getattr(tower, "attn_mask", None) is None or not hasattr(tower, "token_embedding"):
            return context
        if getattr(tower, "cls_emb", None) is not None:
            # CoCa: the class token behind the text attends to no padding, but open_clip's mask stands one position off
            # (weights were trained with it), so the first padding position after a text still counts.
            real = (tokens != tower.pad_id).any(dim=0)
            return min(context, int(real.nonzero().max()) + 2) if bool(real.any()) else context
        ends = self._ends(tokens)
        return context if ends is None else int(ends.max()) + 1

    def _ends(self, tokens: Tensor) -> Tensor | None:
        """Where each text is pooled [B]: at its largest id or its first end-of-text id; None for other poolings."""
        tower = self._text_tower()
        pooling: Any = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
        end: Any = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
        if pooling == "argmax":
            return tokens.argmax(dim=-1)
        return torch.eq(tokens, end).int().argmax(dim=-1) if pooling == "eos" else None

    def _encode_cut(self, tokens: Tensor) -> Tensor:
        """open_clip's text forward on the first positions of the context only; the causal mask is cut alike."""
        tower, length = self._text_tower(), tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        if getattr(tower, "cls_emb", None) is not None:
            x, mask = tower._embeds(tokens)
            # The class token moved forward with the cut; its position embedding stays that of the end of the context.
            last = (tower.cls_emb + tower.positional_embedding[-1]).to(dtype).expand(len(x), 1, -1)
            x = tower.transformer(torch.cat([x[:, :-1], last], dim=1), attn_mask=mask)
            x = tower.ln_final(x[:, -1])
        else:
            x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
            x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
            x = x[torch.arange(len(x), device=x.device), self._ends(tokens)]
        projection = tower.text_projection
        if projection is None:
            return x
        return projection(x) if isinstance(projection, nn.Linear) else x @ projection
