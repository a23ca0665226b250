"""Places in the towers for modules of a tuning or a method, on CLIP, SigLIP, CoCa and EVA-02 towers.

    place                     input of the module              its output is
    beside_mlp                state after attention [B, L, D]  added to the block's output [B, L, D]
    in_attention              queries [B, H, L, D / H]         added to the attention's result before its output matrix
    around_linear             input x of y = W x [B, L, in]    added to y [B, L, out]
    image_tokens              first block's input [B, L, D]    tokens [P, D] or [B, P, D] after the class token
    token_embeddings          token ids, embeddings [B, L, D]  the embeddings to use instead

A module may return None, which adds nothing. It reads the route of the call with `models.route.current_route`. Under the route
`PLAIN` it is not called. Modules are added with forward hooks, so the names of the encoder's own tensors do not change. Each
function includes the module in the encoder (`encoder.added`) under a name that begins with its place.

B is the batch, L the length, D the width, H the number of heads. `models.blocks` finds blocks and matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.added import add
from models.attention import SelfAttention
from models.blocks import Block, Matrix, blocks, missing_in_tower
from models.encoder import DualEncoder
from models.registry import UserError
from models.route import is_plain
from models.towers import tower_of


class Shape(NamedTuple):
    """The sizes of a block: its width D, the number of heads H of its attention, and the width of a head."""

    width: int
    heads: int
    head_width: int


def shape(block: Block) -> Shape:
    """Return the sizes of a block, to make modules for it."""
    attention: Any = block.module.attn
    rows, width = _output_layer(attention).weight.shape
    return Shape(rows, attention.num_heads, width // attention.num_heads)


def matrix_shape(encoder: DualEncoder, matrix: Matrix) -> tuple[int, int]:
    """Return the outputs and inputs (rows and columns) of a matrix of `models.blocks.matrices`."""
    rows, columns = getattr(encoder.clip.get_submodule(matrix.path), matrix.tensor).shape
    return rows if matrix.third is None else rows // 3, columns


def beside_mlp(encoder: DualEncoder, block: Block, module: nn.Module) -> None:
    """Add a module parallel to a block's MLP: output = block(x) + module(state after attention).

    The state is not normalised. The block's layer scale does not apply to the module.

    Args:
        encoder: the encoder.
        block: a block of `models.blocks.blocks`.
        module: maps [B, L, D] to [B, L, D].

    Raises:
        UserError: the block is not batch-first.
    """
    from timm.models.eva import EvaBlockPostNorm

    _check_batch_first(encoder, block)
    layers: Any = block.module
    # The MLP reads the state through a layer norm, except in blocks that normalise the MLP's output.
    first: Any = layers.mlp if isinstance(layers, EvaBlockPostNorm) else getattr(layers, "ln_2", getattr(layers, "norm2", None))
    hook = _BesideMLP(module)
    first.register_forward_pre_hook(hook.keep)
    layers.register_forward_hook(hook)
    add(encoder, _tower(block.tower), _name("mlp", block.path), module)


def in_attention(encoder: DualEncoder, block: Block, module: nn.Module) -> None:
    """Add a branch to a block's attention: output = W_o (attention + module(queries)) + bias.

    Key and value prefixes with a separate softmax are such a branch: softmax(q K^T / sqrt(D / H)) V. The queries are those of
    the block's attention, before a rotary embedding.

    Args:
        encoder: the encoder.
        block: a block of `models.blocks.blocks`.
        module: maps [B, H, L, D / H] to the same shape.

    Raises:
        UserError: the block is not batch-first.
    """
    _check_batch_first(encoder, block)
    attention: Any = block.module.attn
    attention.register_forward_hook(_InAttention(module))
    add(encoder, _tower(block.tower), _name("attention", block.path), module)


def around_linear(encoder: DualEncoder, matrix: Matrix, module: nn.Module) -> None:
    """Add a module to a linear layer, with the layer's input at hand: y = W x + bias + module(x).

    Args:
        encoder: the encoder.
        matrix: a matrix of `models.blocks.matrices`. For one third of a fused matrix, the module adds to that third of y.
        module: maps [B, L, in] to [B, L, out] (`matrix_shape`).

    Raises:
        UserError: the attention is of a class that does not show the input of this matrix.
    """
    _around(encoder, matrix, _Addition(module))
    role = matrix.tensor if matrix.third is None else f"{matrix.tensor}-{'qkv'[matrix.third]}"
    add(encoder, _tower(tower_of(matrix.path)), _name("linear", f"{matrix.path}.{role}"), module)


def image_tokens(encoder: DualEncoder, module: nn.Module) -> None:
    """Add prompt tokens to the input of the image tower's first block. They are removed after its last block.

    They are inserted after the class token, have no position, and are not rotated by a rotary embedding.

    Args:
        encoder: the encoder.
        module: maps the first block's input [B, L, D] to tokens [P, D], the same for all images, or [B, P, D].

    Raises:
        UserError: the image tower has no blocks, or they are not batch-first.
    """
    tower_blocks = blocks(encoder, "image")
    trunk = getattr(encoder.clip.visual, "trunk", encoder.clip.visual)
    hook = _ImageTokens(module, getattr(trunk, "num_prefix_tokens", int(hasattr(trunk, "class_embedding"))))
    _check_batch_first(encoder, tower_blocks[0])
    first, last = tower_blocks[0].module, tower_blocks[-1].module
    first.register_forward_pre_hook(hook.insert)
    for block in tower_blocks:
        block.module.register_forward_pre_hook(hook.extend_rope, with_kwargs=True)
    last.register_forward_hook(hook.remove)
    add(encoder, "image", "tokens", module)


def token_embeddings(encoder: DualEncoder, module: nn.Module) -> None:
    """Change the token embeddings of the text tower before positions are added to them.

    The token ids still decide where the text ends. For embeddings of a single call, use `encode_texts(embeddings=...)`.

    Args:
        encoder: the encoder.
        module: maps token ids [B, L] and their embeddings [B, L, D] to embeddings [B, L, D].

    Raises:
        UserError: the text tower has no token embedding (a text tower of transformers).
    """
    encoder.token_embedding.register_forward_hook(_TokenEmbeddings(module))
    add(encoder, "text", "embeddings", module)


@contextmanager
def watching(encoder: DualEncoder, matrices: Sequence[Matrix], see: Callable[[int, Tensor], None]) -> Iterator[None]:
    """Call `see(index, input)` for each of these matrices with the input [B, L, in] of every pass within the block.

    Raises UserError as `around_linear` does.
    """
    removes: list[Callable[[], None]] = []
    try:
        for index, matrix in enumerate(matrices):
            removes.append(_around(encoder, matrix, _Watch(index, see)))
        yield
    finally:
        for remove in removes:
            remove()


class _Addition:
    """Calls a module, except under the route `PLAIN`. An object and not a function, so that deep copies call the copy."""

    def __init__(self, module: nn.Module):
        self.module = module

    def __call__(self, *inputs: Any) -> Tensor | None:
        added: Tensor | None = None if is_plain() else self.module(*inputs)
        return added


class _Watch:
    def __init__(self, index: int, see: Callable[[int, Tensor], None]):
        self.index, self.see = index, see

    def __call__(self, x: Tensor) -> None:
        self.see(self.index, x)


class _BesideMLP(_Addition):
    state: Tensor | None = None

    def keep(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.state = inputs[0]

    def __call__(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        state, self.state = self.state, None
        return _plus(output, super().__call__(state))


class _InAttention(_Addition):
    def __call__(self, attention: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> Any:
        if is_plain() or (added := self.module(_queries(attention, inputs[0]))) is None:
            return output
        change = F.linear(added.transpose(1, 2).flatten(2), _output_layer(attention).weight)
        return (output[0] + change, *output[1:]) if isinstance(output, tuple) else output + change


class _AfterLinear:
    """Adds to the output of a linear layer that is called, or to one third of it."""

    def __init__(self, call: Callable[[Tensor], Tensor | None], third: int | None):
        self.call, self.third = call, third

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = self.call(inputs[0])
        if added is None or self.third is None:
            return _plus(output, added)
        chunks = list(output.chunk(3, dim=-1))
        chunks[self.third] = chunks[self.third] + added
        return torch.cat(chunks, dim=-1)


class _ImageTokens(_Addition):
    def __init__(self, module: nn.Module, class_tokens: int):
        super().__init__(module)
        self.position, self.count = class_tokens, 0

    def insert(self, block: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, tokens = inputs[0], self(inputs[0])
        self.count = 0 if tokens is None else tokens.shape[-2]
        if tokens is None:
            return inputs
        tokens = tokens.to(x.dtype).expand(len(x), -1, -1)
        return (torch.cat([x[:, : self.position], tokens, x[:, self.position :]], dim=1), *inputs[1:])

    def extend_rope(self, block: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rope = options.get("rope")
        if self.count and rope is not None:
            # Sine 0 and cosine 1: no rotation.
            still = rope.new_zeros(*rope.shape[:-2], self.count, rope.shape[-1])
            still[..., rope.shape[-1] // 2 :] = 1
            options = {**options, "rope": torch.cat([still, rope], dim=-2)}
        return inputs, options

    def remove(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        start, end = self.position, self.position + self.count
        return torch.cat([output[:, :start], output[:, end:]], dim=1) if self.count else output


class _TokenEmbeddings(_Addition):
    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        changed = super().__call__(inputs[0], output)
        return output if changed is None else changed


def _around(encoder: DualEncoder, matrix: Matrix, call: Callable[[Tensor], Tensor | None]) -> Callable[[], None]:
    """Add what `call` returns for a matrix's input to its output. Returns a function that ends this."""
    from timm.models.eva import EvaAttention

    clip: Any = encoder.clip
    layer = clip.get_submodule(matrix.path)
    attention = clip.get_submodule(matrix.path.rpartition(".")[0])
    # EVA's attention with one fused matrix reads its weight and does not call the layer.
    unread = isinstance(attention, EvaAttention) and layer is attention.qkv and not attention.qkv_bias_separate
    if matrix.called and not (unread and attention.q_bias is not None):
        handle = layer.register_forward_hook(_AfterLinear(call, matrix.third))
        return lambda: handle.remove()
    attention = layer if isinstance(layer, nn.MultiheadAttention) else attention
    if not isinstance(attention, SelfAttention) or not attention.batch_first:
        raise missing_in_tower(tower_of(matrix.path), encoder, f"input at hand of the matrix {matrix.path}.{matrix.tensor}")
    role, before = "o" if matrix.third is None else "qkv"[matrix.third], attention.additions
    attention.additions = (*before, (role, call))

    def remove() -> None:
        attention.additions = tuple(each for each in attention.additions if each[1] is not call)

    return remove


def _queries(attention: Any, x: Tensor) -> Tensor:
    """Return the queries [B, H, L, D / H] of an attention's input [B, L, D], before a rotary embedding."""
    if getattr(attention, "q_proj", None) is not None:
        q = attention.q_proj(x)
    else:
        fused = getattr(attention, "in_proj_weight", None)
        weight, bias = (fused, attention.in_proj_bias) if fused is not None else (attention.qkv.weight, attention.qkv.bias)
        separate = getattr(attention, "q_bias", None)
        q = F.linear(x, weight.chunk(3)[0], separate if bias is None else bias.chunk(3)[0])
    q = q.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
    normalised: Tensor = attention.q_norm(q) if isinstance(getattr(attention, "q_norm", None), nn.Module) else q
    return normalised


def _output_layer(attention: Any) -> Any:
    """Return the linear layer after an attention's heads."""
    return attention.out_proj if hasattr(attention, "out_proj") else attention.proj


def _plus(output: Tensor, added: Tensor | None) -> Tensor:
    return output if added is None else output + added


def _check_batch_first(encoder: DualEncoder, block: Block) -> None:
    if not getattr(block.module.attn, "batch_first", True):
        raise UserError(
            f"The {block.tower} tower of {encoder.name} has sequences first and batches second, so modules cannot be placed in "
            "it. Load the model with batch_first=True."
        )


def _name(place: str, path: str) -> str:
    return f"{place}-{path.replace('.', '-')}"


def _tower(tower: str) -> Any:
    return tower
