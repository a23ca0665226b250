"""LoRA: low-rank updates of frozen matrices, which are added, read, merged and restarted here.

LoRA (Hu et al. 2021, 2106.09685) as IIMM's code sets it up (mit-ll/IIMM): W + scale * B A with A ~ N(0, 0.02), B = 0 and a
fixed scale, with one pair for each of q and v. One difference to that code: it adds the update to the stored matrix again in
every forward pass, evaluation included. Here the update is added out of place.

Two implementations are used:

- Linear layers that are called and not fused (an MLP's; EVA-02's q_proj, v_proj): peft's, through
  `inject_adapter_in_model`.
- Matrices that q, k and v share (nn.MultiheadAttention's in_proj_weight, SigLIP's qkv) and nn.MultiheadAttention's output
  matrix: `RankUpdate`, a parametrisation of the tensor. None of peft's classes fits. Its lora.MultiheadAttention always
  changes the output matrix too, and adds that update twice (0.21.2, in the forward pass and in merging, so that loss and
  gradient disagree). It and `target_parameters` have one pair for the whole fused matrix, which neither leaves k's rows
  unchanged nor is one pair for each of q, k and v. And a wrapped output layer would never be called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from models.blocks import TOWERS, blocks, matrices, missing_in_tower
from models.encoder import DualEncoder

STD = 0.02
ADAPTER = "default"


class RankUpdate(nn.Module):
    """The parametrisation W -> W + scale * B A, on all rows or on some thirds of them. The other rows are bit-exact W.

    A [pairs, rank, columns] and B [pairs, rows of a pair, rank] train. `start` is the A that training began with.

    Args:
        weight: the matrix W [rows, columns].
        thirds: the thirds of the rows (0 query, 1 key, 2 value) that have a pair each; None: one pair for all rows.
        rank: the rank of B A.
        scale: the factor of B A.
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
        """Return the matrix with its update."""
        updates: Tensor = self.scale * (self.B @ self.A)
        if self.thirds is None:
            return weight + updates[0]
        chunks = list(weight.chunk(3))
        for third, update in zip(self.thirds, updates, strict=True):
            chunks[third] = chunks[third] + update
        return torch.cat(chunks)


class Site(NamedTuple):
    """A matrix with LoRA.

    Attributes:
        name: its name in the encoder's state dict without LoRA.
        key: the present name of the frozen matrix.
        prefixes: prefixes of the names of LoRA's tensors, which end in A, B or their `start`.
        base: the frozen matrix.
        parent: the module that has the matrix.
        tensor: the name of the matrix or layer in `parent`.
        update: the `RankUpdate`, or peft's layer.
    """

    name: str
    key: str
    prefixes: tuple[str, ...]
    base: Tensor
    parent: nn.Module
    tensor: str
    update: nn.Module

    def effective(self) -> Tensor:
        """Return the matrix with its update, as a new tensor."""
        with torch.no_grad():
            if isinstance(self.update, RankUpdate):
                matrix: Tensor = self.update(self.base)
            else:
                layer: Any = self.update
                matrix = self.base + layer.get_delta_weight(ADAPTER)
            return matrix


def inject(encoder: DualEncoder, rank: int, targets: Sequence[str], scale: float, towers: str = "both") -> list[nn.Parameter]:
    """Add LoRA to the residual blocks of the towers. Nothing else is frozen.

    A is drawn from torch's global generator.

    Args:
        encoder: the encoder.
        rank: the rank of each update.
        targets: roles of `models.blocks.matrices`: q, k, v, o, fc, proj.
        scale: the factor of each update.
        towers: "both", "image" or "text".

    Returns:
        The parameters that train.

    Raises:
        UserError: a tower has no blocks, or no matrices of these roles.
    """
    clip, fused, linear_paths = encoder.clip, dict[tuple[str, str], list[int | None]](), list[str]()
    for tower in TOWERS[towers]:
        matrices_by_role = [matrices(block) for block in blocks(encoder, tower)]
        targeted = [matrix for by_role in matrices_by_role for role in by_role if role in targets for matrix in by_role[role]]
        if not targeted:
            raise missing_in_tower(tower, encoder, f"matrices for LoRA on {', '.join(targets)}")
        for matrix in targeted:
            if matrix.called and matrix.third is None:
                linear_paths.append(matrix.path)
            else:
                fused.setdefault((matrix.path, matrix.tensor), []).append(matrix.third)
    trained: list[nn.Parameter] = []
    for (path, tensor), rows in fused.items():
        module = clip.get_submodule(path)
        thirds = tuple(row for row in rows if row is not None) or None
        update = RankUpdate(getattr(module, tensor), thirds, rank, scale)
        parametrize.register_parametrization(module, tensor, update)
        trained += [update.A, update.B]
    return [*trained, *(_wrap_linears(clip, linear_paths, rank, scale) if linear_paths else ())]


def _wrap_linears(clip: nn.Module, paths: Sequence[str], rank: int, scale: float) -> list[nn.Parameter]:
    """Wrap linear layers with peft's LoRA and return the parameters that train."""
    from peft import LoraConfig, inject_adapter_in_model

    # A regular expression has to match the whole path. In a list of names, peft also matches the end of a path.
    pattern = "|".join(map(re.escape, paths))
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=pattern), clip, adapter_name=ADAPTER)
    # Merging does not remove peft's configuration, and the next LoRA would be refused because of it.
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
    """Return every matrix that has LoRA, of either implementation."""
    matrices_with_lora = []
    for path, module in encoder.named_modules():
        if isinstance(module, RankUpdate):
            parent_path, tensor = path.removesuffix(".0").split(".parametrizations.")
            parent = encoder.get_submodule(parent_path)
            chain = f"{parent_path}.parametrizations.{tensor}"
            base = encoder.get_parameter(f"{chain}.original")
            matrices_with_lora.append(
                Site(f"{parent_path}.{tensor}", f"{chain}.original", (f"{path}.",), base, parent, tensor, module)
            )
        elif {"base_layer", "lora_A"} <= set(module._modules):
            base = encoder.get_parameter(f"{path}.base_layer.weight")
            parent_path, _, child = path.rpartition(".")
            parent, prefixes = encoder.get_submodule(parent_path), (f"{path}.lora_A.", f"{path}.lora_B.")
            matrices_with_lora.append(
                Site(f"{path}.weight", f"{path}.base_layer.weight", prefixes, base, parent, child, module)
            )
    return matrices_with_lora


def plain_names(encoder: DualEncoder, lora_sites: Sequence[Site]) -> dict[str, str | None]:
    """Map the encoder's state-dict names to those of the same encoder without LoRA; None for LoRA's tensors."""
    prefixes = tuple(prefix for site in lora_sites for prefix in site.prefixes)
    renamed = {site.key: site.name for site in lora_sites}
    plain: dict[str, str | None] = {}
    for key in encoder.state_dict():
        # The replacement is for a wrapped layer's bias.
        plain[key] = None if key.startswith(prefixes) else renamed.get(key, key.replace(".base_layer.", "."))
    return plain


def weights(encoder: DualEncoder) -> dict[str, Tensor]:
    """Return a copy of the encoder's weights under their names without LoRA, with LoRA's updates added."""
    lora_sites = sites(encoder)
    state, updated = encoder.state_dict(), {site.name: site for site in lora_sites}
    theta = {plain: state[key] for key, plain in plain_names(encoder, lora_sites).items() if plain is not None}
    return {name: updated[name].effective() if name in updated else tensor.detach().clone() for name, tensor in theta.items()}


def live(encoder: DualEncoder) -> dict[str, Tensor]:
    """Return the tensors themselves under the names of `weights`. For a matrix with LoRA this is the frozen matrix."""
    state = encoder.state_dict()
    return {plain: state[key] for key, plain in plain_names(encoder, sites(encoder)).items() if plain is not None}


def load(encoder: DualEncoder, theta: Mapping[str, Tensor]) -> None:
    """Load weights with the names of `weights` into the frozen matrices and restart LoRA: A as at its start, B = 0.

    Raises:
        RuntimeError: names or shapes differ.
    """
    state = encoder.state_dict()
    keys = {plain: key for key, plain in plain_names(encoder, sites(encoder)).items() if plain is not None}
    full = {keys.get(name, name): tensor for name, tensor in theta.items()}
    for site in sites(encoder):
        for key in (k for k in state if k.startswith(site.prefixes)):
            if key.endswith(".start"):
                full[key] = state[key]
            elif key.endswith((".A", f".lora_A.{ADAPTER}.weight")):
                full[key] = state[f"{key.rpartition('.')[0]}.start"]
            else:
                full[key] = torch.zeros_like(state[key])
    encoder.load_state_dict(full)


def merge(encoder: DualEncoder) -> None:
    """Add LoRA's updates to the matrices and remove LoRA. The features of the plain encoder are the same up to rounding."""
    for site in sites(encoder):
        with torch.no_grad():
            site.base.copy_(site.effective())
        if isinstance(site.update, RankUpdate):
            parametrize.remove_parametrizations(site.parent, site.tensor, leave_parametrized=False)
        else:
            setattr(site.parent, site.tensor, site.update.base_layer)
    encoder.touch()
