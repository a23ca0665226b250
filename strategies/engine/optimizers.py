"""The optimiser of a task, and its parameter groups by role."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from models.towers import tower_of
from strategies.engine.training_options import ROLES, TrainingOptions


def role_of(name: str) -> str:
    """Return the role of a parameter of a `PromptClassifier` by its name: a key of the option `lr_by_role`.

    "image" and "text" are the towers' own parameters, "scale" the logit scale and bias. "added" is everything else: LoRA's
    matrices, adapters, the heads of a probe, and modules that a tuning or a method adds.
    """
    inside = name.removeprefix("encoder.clip.")
    return "added" if inside == name or ".parametrizations." in name else tower_of(inside)


def parameter_groups(model: nn.Module, options: TrainingOptions) -> list[dict[str, Any]]:
    """Return the trainable parameters of a model as the groups of an optimiser.

    Without `lr_by_role` and `decays=matrices` it is one group. Otherwise there is a group for each role, and in it one for the
    parameters with weight decay and one for those without. Each has the rate lr * factor, and the factor as `lr_factor`.
    The image tower's come first, so train.csv has its rate.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not options.lr_by_role and options.decays == "all":
        return [{"params": list(trained.values())}]
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        decays = options.decays == "all" or parameter.dim() > 1
        groups.setdefault((role_of(name), decays), []).append(parameter)
    made = []
    for role, decays in sorted(groups, key=lambda key: ROLES.index(key[0])):
        parameters = groups[role, decays]
        factor = options.lr_by_role.get(role, 1.0)
        group = {"params": parameters, "lr": options.lr * factor, "lr_factor": factor}
        made.append(group if decays else {**group, "weight_decay": 0.0})
    return made


def make_optimizer(groups: list[dict[str, Any]], options: TrainingOptions, plain: bool = False) -> torch.optim.Optimizer:
    """Return a new optimiser over parameter groups.

    Args:
        groups: groups of parameters. One may be empty: a probe has no parameters before its first task.
        options: the optimiser and its settings.
        plain: update one tensor after another.
    """
    first = next((parameter for group in groups for parameter in group["params"]), None)
    # Fused: one kernel for all tensors on a GPU. Foreach: one kernel per operation.
    fused = not plain and first is not None and first.is_cuda
    kernels: dict[str, bool] = {"fused": True} if fused else {"foreach": not plain}
    if options.optimizer == "sgd":
        decay, momentum = options.weight_decay, options.momentum
        return torch.optim.SGD(groups, lr=options.lr, momentum=momentum, weight_decay=decay, **kernels)
    betas = options.beta1, options.beta2
    return torch.optim.AdamW(groups, lr=options.lr, betas=betas, weight_decay=options.weight_decay, **kernels)
