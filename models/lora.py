"""LoRA: a low-rank change beside frozen matrices, put in, read, merged and restarted.

LoRA (Hu et al. 2021, 2106.09685) as IIMM's code sets it up (mit-ll/IIMM): W + scale * B A with A ~ N(0, 0.02), B = 0 and a
fixed scale; one pair for each of q and v. What differs from that code: it adds the change to the stored matrix again in every
forward pass, evaluation included; here the change is added out of place.

Which implementation stands where, and why:

- Linear layers that are called and whole (an MLP's; EVA-02's q_proj, v_proj): peft's, through `inject_adapter_in_model`.
- Matrices that q, k and v share (nn.MultiheadAttention's in_proj_weight, SigLIP's qkv) and nn.MultiheadAttention's output
  matrix: `RankUpdate`, a parametrisation of the tensor. peft has none that fits. Its lora.MultiheadAttention always changes
  the output matrix too, and adds that change twice (0.21.2, in the forward pass and in merging, so that loss and gradient
  disagree); it and `target_parameters` have one pair for the whole fused matrix, which neither leaves k's rows alone nor is
  one pair for each of q, k and v; and a wrapped output layer would never be called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.blocks import TOWERS, Matrix, blocks, matrices, missing_in_tower
from models.encoder import DualEncoder

STD = 0.02
ADAPTER = "default"


class RankUpdate(nn.Module):
    """The parametrisation W -> W + scale * B A, on all rows or on some thirds of them; the other rows stay W's to the bit.

    Args:
        weight: the matrix W [rows, columns].
        thirds: which thirds of the rows (0 query, 1 key, 2 value) have a pair each; None: one pair for all rows.

    A [pairs, rank, columns] and B [pairs, rows of a pair, rank] train; `start` is the A that training began with.
    """

    start: Tensor

    def __init__(self, weight: Tensor, thirds: tuple[int, ...] | None, rank: int, scale: float):
        super().__init__()
        self.thirds, self.scale = thirds, scale
        pairs, rows = (1, weight.shape[0]) if thirds is None else (len(thirds), weight.shape[0] // 3)
        self.A = nn.Parameter(weight.new_empty(pairs, rank, weight.shape[1]))
        self.B = nn.Parameter(weight.new_zeros(pairs, rows, rank))
        nn.init.normal_(self.A, std=STD)
        self.register_buffer("start", self.A.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        updates = self.scale * (self.B @ self.A)
        if self.thirds is None:
            return weight + updates[0]
        parts = list(weight.chunk(3))
        for third, update in zip(self.thirds, updates, strict=True):
            parts[third] = parts[third] + update
        return torch.cat(parts)


class Site(NamedTuple):
    """A matrix with LoRA in place.

    `name` is what the encoder's state dict calls it without LoRA, `key` what it calls the frozen matrix now, `own` how the
    names of LoRA's own tensors begin (they end in A, B or their `start`).
    """

    name: str
    key: str
    own: tuple[str, ...]
    base: Tensor
    parent: nn.Module
    tensor: str
    update: nn.Module

    def effective(self) -> Tensor:
        """The matrix with its change, in memory of its own."""
        with torch.no_grad():
            if isinstance(self.update, RankUpdate):
                return self.update(self.base)
            return self.base + self.update.get_delta_weight(ADAPTER)  # type: ignore[operator]


def inject(encoder: DualEncoder, rank: int, targets: Sequence[str], scale: float, towers: str = "both") -> list[nn.Parameter]:
    """Put LoRA into the residual blocks of the towers and return what trains; freezes nothing else.

    `targets` are roles of `models.blocks.matrices`: q, k, v, o, fc, proj. Draws A from torch's global generator.

    Raises:
        UserError: a tower without blocks, or without matrices of these roles.
    """
    clip, fused, whole = encoder.clip, dict[tuple[str, str], list[int | None]](), list[str]()
    for tower in TOWERS[towers]:
        roles = [matrices(block) for block in blocks(encoder, tower)]
        wanted = [matrix for found in roles for role in found if role in targets for matrix in found[role]]
        if not wanted:
            raise missing_in_tower(tower, encoder, f"matrices for LoRA on {', '.join(targets)}")
        for matrix in wanted:
            if _is_for_peft(matrix):
                whole.append(matrix.path)
            else:
                fused.setdefault((matrix.path, matrix.tensor), []).append(matrix.third)
    trained: list[nn.Parameter] = []
    for (path, tensor), rows in fused.items():
        module = clip.get_submodule(path)
        thirds = tuple(row for row in rows if row is not None) or None
        update = RankUpdate(getattr(module, tensor), thirds, rank, scale)
        parametrize.register_parametrization(module, tensor, update)
        trained += [update.A, update.B]
    return [*trained, *(_wrap_linears(clip, whole, rank, scale) if whole else ())]


def _is_for_peft(matrix: Matrix) -> bool:
    return matrix.called and matrix.third is None


def _wrap_linears(clip: nn.Module, paths: Sequence[str], rank: int, scale: float) -> list[nn.Parameter]:
    from peft import LoraConfig, inject_adapter_in_model

    # As an expression, which has to match the whole path: peft takes the end of a path for a match in a list of names.
    pattern = "|".join(map(re.escape, paths))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=pattern), clip, adapter_name=ADAPTER)
    # peft's note to itself: merging does not remove it, and the next LoRA would be told that there is one already.
    del clip.peft_config
    trained: list[nn.Parameter] = []
    for path in paths:
        layer: Any = clip.get_submodule(path)
        layer.scaling[ADAPTER] = scale
        first, second = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]
        nn.init.normal_(first.weight, std=STD)
        nn.init.zeros_(second.weight)
        first.register_buffer("start", first.weight.detach().clone())
        trained += [first.weight, second.weight]
    return trained


def sites(encoder: DualEncoder) -> list[Site]:
    """Every matrix that has LoRA, of either implementation."""
    found = []
    for path, module in encoder.named_modules():
        if isinstance(module, RankUpdate):
            parent_path, tensor = path.removesuffix(".0").split(".parametrizations.")
            parent = encoder.get_submodule(parent_path)
            chain = f"{parent_path}.parametrizations.{tensor}"
            base = encoder.get_parameter(f"{chain}.original")
            found.append(Site(f"{parent_path}.{tensor}", f"{chain}.original", (f"{path}.",), base, parent, tensor, module))
        elif {"base_layer", "lora_A"} <= set(module._modules):
            base = encoder.get_parameter(f"{path}.base_layer.weight")
            parent_path, _, child = path.rpartition(".")
            parent, own = encoder.get_submodule(parent_path), (f"{path}.lora_A.", f"{path}.lora_B.")
            found.append(Site(f"{path}.weight", f"{path}.base_layer.weight", own, base, parent, child, module))
    return found


def plain_names(encoder: DualEncoder, found: Sequence[Site]) -> dict[str, str | None]:
    """The encoder's state-dict names -> those of the same encoder without LoRA, None for LoRA's own tensors."""
    own = tuple(prefix for site in found for prefix in site.own)
    renamed = {site.key: site.name for site in found}
    plain: dict[str, str | None] = {}
    for key in encoder.state_dict():
        # A wrapped layer's bias.
        plain[key] = None if key.startswith(own) else renamed.get(key, key.replace(".base_layer.", "."))
    return plain


def weights(encoder: DualEncoder) -> dict[str, Tensor]:
    """A copy of the encoder's weights under the names that they have without LoRA, with LoRA's change added."""
    found = sites(encoder)
    state, changed = encoder.state_dict(), {site.name: site for site in found}
    theta = {plain: state[key] for key, plain in plain_names(encoder, found).items() if plain is not None}
    return {name: changed[name].effective() if name in changed else tensor.detach().clone() for name, tensor in theta.items()}


def live(encoder: DualEncoder) -> dict[str, Tensor]:
    """The tensors themselves under the names of `weights`: of a matrix with LoRA its frozen part."""
    state = encoder.state_dict()
    return {plain: state[key] for key, plain in plain_names(encoder, sites(encoder)).items() if plain is not None}


def load(encoder: DualEncoder, theta: Mapping[str, Tensor]) -> None:
    """Put weights of the names of `weights` into the frozen matrices and restart LoRA: A as at its start, B = 0.

    Raises RuntimeError for other names or shapes.
    """
    state = encoder.state_dict()
    keys = {plain: key for key, plain in plain_names(encoder, sites(encoder)).items() if plain is not None}
    full = {keys.get(name, name): tensor for name, tensor in theta.items()}
    for site in sites(encoder):
        for key in (k for k in state if k.startswith(site.own)):
            if key.endswith(".start"):
                full[key] = state[key]
            elif key.endswith((".A", f".lora_A.{ADAPTER}.weight")):
                full[key] = state[f"{key.rpartition('.')[0]}.start"]
            else:
                full[key] = torch.zeros_like(state[key])
    encoder.load_state_dict(full)


def merge(encoder: DualEncoder) -> None:
    """Add LoRA's change to its matrices and take LoRA out: the plain encoder, with the same features up to rounding."""
    for site in sites(encoder):
        with torch.no_grad():
            site.base.copy_(site.effective())
        if isinstance(site.update, RankUpdate):
            parametrize.remove_parametrizations(site.parent, site.tensor, leave_parametrized=False)
        else:
            setattr(site.parent, site.tensor, site.update.base_layer)
    encoder.touch()
