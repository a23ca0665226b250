"""`DualEncoder`: one interface to open_clip's models, with an image tower and a text tower."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from models import parallel
from models.adapter import Adapter, LinearAdapter
from models.added import in_tower
from models.faster import use_faster_layers
from models.graphs import TowerGraphs
from models.prompt_reader import PromptReader
from models.registry import UserError
from models.route import PLAIN, current_route, is_plain, route_key, routed, rows_of
from models.towers import check_parts, embedding_as
from models.transforms import Preprocess

CPU_ROWS = 32
"""Images per pass on a CPU without gradients. Their activations stay in its caches, which takes a third less time than 256 at
once for the tiny model (`tests/speed/rows.py`). The features are the same. With gradients nothing is gained."""
TEXT_ROWS = 4096
"""Texts per pass without gradients, so that the memory for a head of very many prompts is bounded."""


def _touch(encoder: DualEncoder, _: object) -> None:
    """Tell caches that a state dict was loaded. A module-level function, because a lambda cannot be pickled."""
    encoder.touch()


class DualEncoder(nn.Module):
    """An image tower and a text tower that map to unit vectors in a shared space of width d.

    Everything is float32, also under `precision` "bf16": autocast runs only the towers' matrix products in bfloat16.

    A model that is not from open_clip needs the same parts: `encode_image(pixels, normalize=False)` and
    `encode_text(tokens, normalize=False)`, which return [B, d], the parameter `logit_scale`, the image tower in the module
    `visual`, and the text tower in the module `text`, which has `output_dim` d.

    Args:
        clip: an open_clip model (CLIP; CustomTextCLIP: SigLIP, EVA-02; CoCa) with `encode_image`, `encode_text`,
            `logit_scale` and optionally `logit_bias`.
        tokenizer: callable, strings -> ids [B, context]. Shorter texts are padded at the end.
        image_size: side of the square input in pixels.
        mean: mean of each channel, for pixel values in 0..1.
        std: standard deviation of each channel, for pixel values in 0..1.
        name: the `name` that `models.load` was given.
        pretrained: the `pretrained` that `models.load` was given.
        preprocess: how images become the square input; None: `Preprocess(image_size)`.

    Attributes:
        cuts_texts: compute only the needed positions of the context (`encode_texts`).
        precision: "fp32", or "bf16" for autocast in the towers. Weights, features and logits stay float32.
        microbatch: rows per pass with gradients. The gradients are the same and need less memory, at the cost of one more
            forward pass. Layers that look at the whole batch, such as batch normalisation in training, see only the chunk.
        notes: sentences for the user about how the weights were read.
        graphs: replays training passes as CUDA graphs (`models.graphs`); None: every pass runs as usual.

    Raises:
        UserError: the model lacks one of these parts.
        ValueError: `preprocess` is for another image size.

    Examples:
        ```python
        import models

        encoder = models.load("tiny")
        images = encoder.encode_images(pixels)                                   # uint8 [B, 3, 48, 48] -> [B, 128]
        texts = encoder.encode_texts(encoder.tokenize(["a cat", "a dog"]))       # [2, 128]
        logits = encoder.logits(images, texts)                                   # [B, 2]
        ```
    """

    # open_clip's model classes have no common base class or Protocol.
    clip: Any
    mean: Tensor
    std: Tensor
    image_adapter: Adapter | LinearAdapter | None
    text_adapter: Adapter | None

    def __init__(
        self,
        clip: nn.Module,
        tokenizer: Callable[..., Tensor],
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
            raise ValueError(f"image_size is {image_size}, but the preprocessing gives {self.preprocess.size} pixels")
        check_parts(clip)
        use_faster_layers(clip)
        self.clip = clip
        self.notes: tuple[str, ...] = ()
        self.image_size = image_size
        self.name = name
        self.pretrained = pretrained
        self.image_version = 0
        self.image_tower_version = 0
        self.text_version = 0
        self.text_tower_version = 0
        self.cuts_texts = True
        self.precision: Literal["fp32", "bf16"] = "fp32"
        self.microbatch: int | None = None
        self.graphs: TowerGraphs | None = None
        # `models.tuning` chooses what trains and adds the adapters.
        self.tuning = "full"
        self.image_adapter = None
        self.text_adapter = None
        # Modules of tunings and methods in the towers (`models.added`).
        self.added = nn.ModuleDict()
        self.grown = nn.ModuleDict()
        self._tokenizer = tokenizer
        self.reader = PromptReader(tokenizer, name)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)
        # torch does not annotate this method.
        register_hook: Any = self.register_load_state_dict_post_hook
        register_hook(_touch)

    @property
    def device(self) -> torch.device:
        """The device of the encoder."""
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
        raise UserError(f"The text tower {type(tower).__name__} has no `output_dim`, which must be the width of its features.")

    @property
    def context_length(self) -> int:
        """Number of tokens of a text, including padding."""
        known = getattr(self._tokenizer, "context_length", None) or getattr(self.clip, "context_length", None)
        return int(known or self.tokenize(["a"]).shape[1])

    def tokenize(self, strings: Sequence[str]) -> Tensor:
        """Return token ids, int64 [B, context], on the encoder's device.

        Args:
            strings: the texts.
        """
        return self._tokenizer(list(strings)).to(self.device, torch.int64)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Convert uint8 pixels [B, 3, S, S] to the floating-point pixels that the image tower was trained on."""
        return (pixels.to(self.mean.dtype) / 255 - self.mean) / self.std

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Return unit image features.

        Args:
            pixels: uint8 [B, 3, S, S], which are normalised here, or floating point and already normalised.

        Returns:
            Features [B, d] of norm 1.
        """
        return self.finish_images(self.raw_images(pixels))

    def raw_images(self, pixels: Tensor) -> Tensor:
        """Return the image tower's output [B, d], before adapter and normalisation. Only a change of the tower changes it.

        Outputs [B, d] of an earlier call are returned as they are, so that a frozen tower's can take the place of its images.
        """
        if pixels.dim() == 2:
            return pixels
        if pixels.dtype == torch.uint8:
            pixels = self.normalise(pixels)
        rows = None if pixels.is_cuda else CPU_ROWS
        return self._pass("image", partial(self.clip.encode_image, normalize=False), pixels, rows, current_route())

    def finish_images(self, raw: Tensor) -> Tensor:
        """Return unit image features of `raw_images`, through the adapter if there is one."""
        if self.image_adapter is not None and not is_plain():
            self.image_adapter.wake()
            raw = self.image_adapter(raw)
        return F.normalize(raw, dim=-1)

    def encode_texts(self, tokens: Tensor, length: int | None = None, embeddings: Tensor | None = None) -> Tensor:
        """Return unit text features.

        A causal text tower pools a position that does not depend on padding, so the batch is cut to its longest text. The
        features are those of the full context at a fraction of the arithmetic. Towers that are not causal (SigLIP) or are
        pooled at the last position get the full context, as does every tower while `cuts_texts` is False.

        Args:
            tokens: token ids [B, context].
            length: result of an earlier `needed_length` for these tokens. Computing it makes a GPU wait.
            embeddings: token embeddings [B, context, D] in place of those of the ids, such as a learned context (CoOp). The
                ids still decide where the texts end.

        Returns:
            Features [B, d] of norm 1.

        Raises:
            UserError: with embeddings, if the text tower has no token embedding (a text tower of transformers).
        """
        return self.finish_texts(self.raw_texts(tokens, length, embeddings))

    def raw_texts(self, tokens: Tensor, length: int | None = None, embeddings: Tensor | None = None) -> Tensor:
        """Return the text tower's output [B, d], before adapter and normalisation. Only a change of the tower changes it."""
        length = self.needed_length(tokens) if length is None else length
        if length >= tokens.shape[1]:
            return self._raw_texts_plain(tokens, embeddings)
        return self._pass("text", self._encode_cut, tokens[:, :length], TEXT_ROWS, self.text_route(), embeddings)

    def text_route(self) -> Hashable:
        """Return the current route as far as text features depend on it; None if nothing was added to the text tower.

        Raises:
            TypeError: the route has one entry per image, and modules of the text tower would read it.
        """
        if any(True for _ in in_tower(self, "text")):
            return route_key()
        return PLAIN if is_plain() and self.text_adapter is not None else None

    @property
    def token_embedding(self) -> nn.Module:
        """The text tower's layer of token embeddings. Raises UserError for a tower without one."""
        layer = getattr(self._text_tower(), "token_embedding", None)
        if not isinstance(layer, nn.Module):
            raise UserError(f"The text tower of {self.name} has no layer `token_embedding` whose output could be replaced.")
        return layer

    def finish_texts(self, raw: Tensor) -> Tensor:
        """Return unit text features of `raw_texts`, through the adapter if there is one."""
        if self.text_adapter is not None and not is_plain():
            if self.text_adapter.wake():
                self.touch_text(tower=False)
            raw = self.text_adapter(raw)
        return F.normalize(raw, dim=-1)

    def encode_texts_plain(self, tokens: Tensor) -> Tensor:
        """Return the features of `encode_texts`, computed at the full context length. Tests compare the two."""
        return self.finish_texts(self._raw_texts_plain(tokens))

    def logits(self, image_features: Tensor, text_features: Tensor) -> Tensor:
        """Return exp(logit_scale) * image_features @ text_features.T, plus logit_bias if the model has one.

        Args:
            image_features: unit features [B, d].
            text_features: unit features [C, d].

        Returns:
            Logits [B, C].
        """
        logits: Tensor = self.clip.logit_scale.exp() * image_features @ text_features.T
        bias: Tensor | None = getattr(self.clip, "logit_bias", None)
        return logits if bias is None else logits + bias

    def touch(self) -> None:
        """Tell caches that any weight may have changed."""
        self.touch_images()
        self.touch_text()

    def touch_images(self, tower: bool = True) -> None:
        """Tell caches that the image tower's output may have changed. A change of the adapter after it does not count.

        Args:
            tower: False if only modules added to the tower may have changed, so that its output under `PLAIN` is still valid.
        """
        self.image_version += 1
        self.image_tower_version += tower

    def touch_text(self, tower: bool = True) -> None:
        """Tell caches that text features may have changed.

        Optimiser steps and merges call it, and so does loading a state dict. The counters are explicit, because tensor version
        counters miss fused optimisers and writes through `.data`.

        Args:
            tower: False if only the text adapter may have changed, so that the tower's output is still valid.
        """
        self.text_version += 1
        self.text_tower_version += tower

    def _raw_texts_plain(self, tokens: Tensor, embeddings: Tensor | None = None) -> Tensor:
        """Return the text tower's output at the full context length."""
        whole = partial(self.clip.encode_text, normalize=False)
        return self._pass("text", whole, tokens, TEXT_ROWS, self.text_route(), embeddings)

    def _pass(
        self,
        name: str,
        tower: Callable[[Tensor], Tensor],
        inputs: Tensor,
        rows: int | None,
        route: Any,
        embeddings: Tensor | None = None,
    ) -> Tensor:
        """Run a tower. With several processes, each computes a share of the rows."""
        if route is None and embeddings is None:
            alone = partial(self._run, tower)
            replayed = alone if self.graphs is None else partial(self.graphs.encode, self, name, alone)
            return parallel.split_rows(partial(self._in_chunks, replayed, rows), inputs)

        def run(index: Tensor) -> Tensor:
            # Set here and not around the pass: with `microbatch`, the backward pass runs a chunk again.
            given = nullcontext() if embeddings is None else embedding_as(self.token_embedding, embeddings[index])
            with routed(rows_of(route, index)), given:
                return tower(inputs[index])

        indices = torch.arange(len(inputs), device=inputs.device)
        return parallel.split_rows(partial(self._in_chunks, partial(self._run, run), rows), indices)

    def _in_chunks(self, run: Callable[[Tensor], Tensor], rows: int | None, inputs: Tensor) -> Tensor:
        """Run `rows` rows at a time, or with gradients `microbatch` rows.

        With gradients the activations of a chunk are computed again in the backward pass.
        """
        gradient = torch.is_grad_enabled()
        size = self.microbatch if gradient else rows
        if size is None or len(inputs) <= size:
            return run(inputs)
        return torch.cat(
            [checkpoint(run, chunk, use_reentrant=False) if gradient else run(chunk) for chunk in torch.split(inputs, size)]
        )

    def _run(self, tower: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """Run in `precision`. The output has the weights' type, so that similarities and losses are computed in it."""
        half = self.precision == "bf16"
        with parametrize.cached(), torch.autocast(inputs.device.type, torch.bfloat16) if half else nullcontext():
            return tower(inputs).to(self.mean.dtype)

    def _text_tower(self) -> Any:
        """Return the module that has the text tower's parts: CLIP itself, or the `text` of CustomTextCLIP and CoCa."""
        return getattr(self.clip, "text", self.clip)

    def needed_length(self, tokens: Tensor) -> int:
        """Return the number of positions of the context that the features of these texts depend on.

        Args:
            tokens: token ids [B, context].
        """
        tower, context = self._text_tower(), tokens.shape[1]
        if not self.cuts_texts or getattr(tower, "attn_mask", None) is None or not hasattr(tower, "token_embedding"):
            return context
        if getattr(tower, "cls_emb", None) is not None:
            # CoCa: the class token after the text does not attend to padding. open_clip's mask is off by one position, and
            # the weights were trained with it, so the first padding position after a text still counts.
            real = (tokens != tower.pad_id).any(dim=0)
            return min(context, int(real.nonzero().max()) + 2) if bool(real.any()) else context
        ends = self._ends(tokens)
        return context if ends is None else int(ends.max()) + 1

    def _ends(self, tokens: Tensor) -> Tensor | None:
        """Return the positions at which the texts are pooled [B]; None if pooling does not depend on the ids.

        It is the position of the largest id or of the first end-of-text id.
        """
        tower = self._text_tower()
        pooling: Any = getattr(tower, "pool_type", getattr(tower, "text_pool_type", None))
        end: Any = getattr(tower, "eos_id", getattr(tower, "text_eos_id", None))
        if pooling == "argmax":
            return tokens.argmax(dim=-1)
        return torch.eq(tokens, end).int().argmax(dim=-1) if pooling == "eos" else None

    def _encode_cut(self, tokens: Tensor) -> Tensor:
        """Run open_clip's text forward pass on only the first positions of the context. The causal mask is cut accordingly."""
        tower, length = self._text_tower(), tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        if getattr(tower, "cls_emb", None) is not None:
            x, mask = tower._embeds(tokens)
            # The cut moves the class token forward. Its position embedding is still that of the end of the context.
            last = (tower.cls_emb + tower.positional_embedding[-1]).to(dtype).expand(len(x), 1, -1)
            x = tower.transformer(torch.cat([x[:, :-1], last], dim=1), attn_mask=mask)
            x = tower.ln_final(x[:, -1])
        else:
            x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
            x = tower.ln_final(tower.transformer(x, attn_mask=tower.attn_mask[:length, :length]))
            x = x[torch.arange(len(x), device=x.device), self._ends(tokens)]
        projection = tower.text_projection
        if projection is None:
            features: Tensor = x
        else:
            features = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return features
