"""Avalanche's plugins that hold a model near its earlier weights (EWC, SI, MAS) or outputs (LwF).

Each is Avalanche 0.6's class with its formulas, with fixes for `PromptClassifier` that its docstring lists. Only trainable
parameters are held and stored. `state` and `load` carry a plugin over a kill.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from avalanche.training.plugins import EWCPlugin, LwFPlugin, MASPlugin, SynapticIntelligencePlugin
from avalanche.training.utils import ParamData
from torch import Tensor, nn

from benchmarks.scenario import DomainExperience
from models.padding import PADDING
from strategies.engine.batches import in_memory, training_images, training_loader
from strategies.engine.strategy import Strategy

Named = dict[str, Tensor]


class EWC(EWCPlugin):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, 1612.00796).

    Loss + ewc_lambda * sum_t sum_k F_t,k (theta_k - theta_t,k)^2 over the earlier tasks t; with mode "online" one term, at the
    last task's weights, with F <- decay_factor * F + F_new. Avalanche's conventions, not the paper's: no factor 1/2, and F is
    the mean over mini-batches of the squared gradient of the batch's mean loss, which for batches of B images is up to B times
    smaller than the mean over images.

    Fixed here: Avalanche takes the gradients in evaluation mode, in which prompts are the template ensemble. The loss that was
    trained, and so its Fisher information, has the strategy's training prompts.

    Cost: one more pass over the task's training images at its end. With "separate", two copies of all trainable weights per
    earlier task, also in checkpoints.
    """

    def __init__(self, ewc_lambda: float, mode: str = "separate", decay_factor: float | None = None):
        online = mode == "online"
        super().__init__(ewc_lambda, mode, 1.0 if online and decay_factor is None else decay_factor)

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        t = strategy.clock.train_exp_counter
        if not t:
            return
        parameters = _trainable(strategy.model)
        tasks = range(t) if self.mode == "separate" else (t - 1,)
        each = [_drift(parameters, _tensors(self.saved_params[i]), _tensors(self.importances[i])) for i in tasks]
        _add(strategy, "ewc", self.ewc_lambda * torch.stack(each).sum())

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Compute the Fisher information and keep the weights."""
        t = strategy.clock.train_exp_counter
        fisher = importances(strategy, strategy.criterion, torch.square)
        self.update_importances(_param_data(fisher), t)
        self.saved_params[t] = _param_data(_copies(strategy.model))
        if t and not self.keep_importance_data:
            del self.saved_params[t - 1]

    def state(self) -> dict[str, Any]:
        """Return Fisher information and weights by number of the task."""
        kinds = {"importances": self.importances, "saved": self.saved_params}
        return {kind: {str(t): _tensors(data) for t, data in by_task.items()} for kind, by_task in kinds.items()}

    def load(self, state: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
        """Restore what `state` returned."""
        for current, saved in ((self.importances, state["importances"]), (self.saved_params, state["saved"])):
            current.clear()
            current.update({int(t): _param_data(_to(strategy, tensors)) for t, tensors in saved.items()})


class SynapticIntelligence(SynapticIntelligencePlugin):
    """Synaptic intelligence (Zenke et al. 2017, 1703.04200; Avalanche follows 1806.08568).

    Loss + si_lambda / 2 * sum_k Omega_k (theta_k - theta*_k)^2, theta* the weights at the start of the task. Along a task's
    updates w_k = -sum_s g_k(s) (theta_k(s + 1) - theta_k(s)), g the gradient of the whole loss, penalties included (Avalanche's
    convention; the paper's is that of the task's loss only). Omega_k is the sum over the earlier tasks of
    w_k / (Delta_k^2 + eps), cut to [0, clip] (None: no limit). Delta_k is the length of the path from start to end.

    Fixed here: Avalanche 0.6 keeps views of the weights in place of copies, so that on a CPU every step has length 0 and SI has
    no effect. It fails on a trainable parameter without gradient, which here counts as gradient 0. It leaves Omega negative
    where the loss rose along the path, which rewards leaving theta* without bound. Here Omega is cut at 0, as in the paper's
    code. Delta is taken at the end of the path, also when the method then replaces the weights (WiSE-FT, averages).
    """

    def __init__(self, si_lambda: float, eps: float, clip: float | None):
        super().__init__(si_lambda=si_lambda, eps=eps)
        self.clip = clip
        self.importance_sum: Named = {}
        self._start: Named = {}
        self._last: Named = {}
        self._path: Named = {}

    def before_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Cut the importances, and forget the last task's path."""
        # The path starts at the first update, because a method may set weights in `before_experience`.
        self._start, self._last, self._path = {}, {}, {}
        self.importance: Named = {name: total.clamp(0, self.clip) for name, total in self.importance_sum.items()}

    def before_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        """Start the path at the first update."""
        if not self._start:
            self._start, self._last = _copies(strategy.model), _copies(strategy.model)
            self._path = {name: torch.zeros_like(tensor) for name, tensor in self._start.items()}

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        if self.importance:
            drift = _drift(_trainable(strategy.model), self._start, self.importance)
            _add(strategy, "si", self.si_lambda[0] / 2 * drift)

    @torch.no_grad()
    def after_training_iteration(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the step to the path."""
        parameters = _trainable(strategy.model)
        moved = {name: p for name, p in parameters.items() if p.grad is not None}
        last, path = [self._last[name] for name in moved], [self._path[name] for name in moved]
        steps = torch._foreach_sub([p.detach() for p in moved.values()], last)
        gradients = [p.grad for p in moved.values() if p.grad is not None]
        torch._foreach_addcmul_(path, gradients, steps, value=-1)
        torch._foreach_copy_(list(self._last.values()), list(parameters.values()))

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the path's importances to the sum."""
        for name, path in self._path.items():
            new = path / ((self._last[name] - self._start[name]).square() + self.eps)
            self.importance_sum[name] = self.importance_sum[name] + new if name in self.importance_sum else new
        self._start, self._last, self._path = {}, {}, {}

    def state(self) -> dict[str, Any]:
        """Return the sum that Omega is cut from."""
        return {"importance_sum": dict(self.importance_sum)}

    def load(self, state: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
        """Restore what `state` returned."""
        self.importance_sum = _to(strategy, state["importance_sum"])


class MAS(MASPlugin):
    """Memory aware synapses (Aljundi et al. 2018, 1711.09601).

    Loss + lambda_reg * sum_k M_k (theta_k - theta*_k)^2, theta* the weights after the last task. M is the mean over
    mini-batches of |d/d theta mean_i |logits_i|^2|, for later tasks alpha * old + (1 - alpha) * new (FACIL's rule). No labels.
    The logits are those of the task's classes, times exp(logit scale): about 100 times the cosines, so M is large. In a task
    with questions they are those of the image's options.

    Fixed here: Avalanche takes the gradients in training mode, in which the statistics of batch norms would change after the
    weights that are evaluated. Here layers are in evaluation mode, with the training prompts. Avalanche also waits for the
    device in every step.

    Cost: one more pass over the task's training images at its end.
    """

    importance: dict[str, ParamData] | None
    params: dict[str, ParamData] | None

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the penalty to the loss."""
        if self.importance and self.params:
            drift = _drift(_trainable(strategy.model), _tensors(self.params), _tensors(self.importance))
            _add(strategy, "mas", self._lambda * drift)

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Compute the importances and keep the weights."""

        def squares() -> Tensor:
            logits = strategy.mb_output
            return logits.masked_fill(logits == PADDING, 0).square().sum(dim=1).mean()

        importance = importances(strategy, squares, torch.abs)
        if self.importance:
            old = _tensors(self.importance)
            importance = {name: self.alpha * old[name] + (1 - self.alpha) * new for name, new in importance.items()}
        self.importance, self.params = _param_data(importance), _param_data(_copies(strategy.model))

    def state(self) -> dict[str, Any]:
        """Return the importances and the weights at which they were computed."""
        return {"importance": _tensors(self.importance or {}), "params": _tensors(self.params or {})}

    def load(self, state: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
        """Restore what `state` returned."""
        self.importance, self.params = (_param_data(_to(strategy, state[kind])) or None for kind in ("importance", "params"))


class MultiHeadLwF(LwFPlugin):
    """Learning without forgetting (Li and Hoiem 2016, 1606.09282): keep the outputs for all earlier tasks.

    The strategy `strategies.lwf.LwF` is the variant for CLIP, on the current task's class names.

    Loss + alpha * sum over the earlier tasks t of the batch's mean of KL(softmax(z'_t / T) || softmax(z_t / T)). z_t are the
    logits of task t's prompts by the model, z'_t by the model after the last task, its text tower included. Only classes that
    the training images of task t have are compared. There is no factor T^2.

    Fixed here: the teacher's layers are in evaluation mode, and the current task's logits are not computed a second time.

    Cost: in each step the batch passes through teacher and student once more, and the prompts of all earlier tasks through the
    student's text tower if it trains.
    """

    def before_backward(self, strategy: Strategy, **kwargs: Any) -> None:
        """Add the distillation to the loss."""
        teacher, images = self.lwf.prev_model, strategy.mb_x
        if teacher is None:
            return
        with torch.no_grad():
            features = teacher.encoder.encode_images(images)
            teacher_logits = {t: teacher.classify(features, t) for t in self.lwf.prev_classes_by_task}
        features = strategy.encoder.encode_images(images)
        losses = [
            self.lwf._distillation_loss(strategy.classifier.classify(features, t), teacher_logits[t], sorted(classes))
            for t, classes in self.lwf.prev_classes_by_task.items()
        ]
        _add(strategy, "lwf", self.lwf.alpha * torch.stack(losses).sum())

    def after_training_exp(self, strategy: Strategy, **kwargs: Any) -> None:
        """Copy the model as the next task's teacher."""
        super().after_training_exp(strategy, **kwargs)
        self._freeze_teacher()

    def state(self) -> dict[str, Any]:
        """Return the classes by task. The teacher is the model, whose weights are saved anyway."""
        return {"classes": {str(t): sorted(classes) for t, classes in self.lwf.prev_classes_by_task.items()}}

    def load(self, state: Mapping[str, Any], strategy: Strategy, experiences: Sequence[DomainExperience]) -> None:
        """Restore what `state` returned. The strategy's model has the weights of the end of the last task."""
        self.lwf.prev_classes_by_task.update({int(t): set(classes) for t, classes in state["classes"].items()})
        self.lwf.expcount = len(state["classes"])
        if state["classes"]:
            self.lwf.prev_model = copy.deepcopy(strategy.model)
            self._freeze_teacher()

    def _freeze_teacher(self) -> None:
        """Freeze the teacher, with layers in evaluation mode and training prompts."""
        teacher = self.lwf.prev_model.requires_grad_(False)
        _training_prompts(teacher)
        # Its cached heads may come from other weights, or from layers in another mode.
        teacher.encoder.touch_text()


def importances(strategy: Strategy, loss: Callable[[], Tensor], measure: Callable[[Tensor], Tensor]) -> Named:
    """Return the mean over mini-batches of a measure of the gradient of each trainable parameter, by name.

    This is one pass over the current task's training images, transformed as in training, seeded by the run and the task. On
    return the model is in training mode, without gradients.

    Args:
        strategy: its forward pass computes the logits, without companion images, with layers in evaluation mode and with the
            training prompts.
        loss: reads `strategy.mb_output` and returns a scalar.
        measure: elementwise function of a gradient.
    """
    model, experience = strategy.model, strategy.experience
    parameters = _trainable(model)
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    loader = training_loader(
        training_images(experience, strategy.options),
        strategy.train_mb_size,
        shuffle=False,
        workers=0 if in_memory(experience.domain.train) else strategy.workers,
        seeds=(strategy.seed, experience.current_experience, 5),
        pin=strategy.device.type == "cuda",
    )
    _training_prompts(model)
    with _without_companions(strategy):
        for i, batch in enumerate(loader):
            strategy.progress(i, len(loader), f"importances {experience.domain.name}")
            strategy.mbatch = batch
            strategy._unpack_minibatch()
            model.zero_grad()
            strategy.mb_output = strategy.forward()
            torch.autograd.backward(loss())
            for name, p in parameters.items():
                if p.grad is not None:
                    totals[name] += measure(p.grad)
    model.zero_grad()
    model.train()
    return {name: total / len(loader) for name, total in totals.items()}


@contextmanager
def _without_companions(strategy: Strategy) -> Iterator[None]:
    strategy.companion_images = lambda: None  # type: ignore[method-assign]  # for the pass only
    try:
        yield
    finally:
        del strategy.companion_images


def _training_prompts(model: nn.Module) -> None:
    """Set every layer to evaluation mode, and only the classifier's flag, which chooses the prompts, to training."""
    model.eval()
    model.training = True


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _copies(model: nn.Module) -> Named:
    return {name: p.detach().clone() for name, p in _trainable(model).items()}


def _drift(parameters: Mapping[str, Tensor], anchor: Named, importance: Named) -> Tensor:
    """Return sum_k importance_k (theta_k - anchor_k)^2 over the parameters that have an importance."""
    names = [name for name in parameters if name in importance]
    steps = torch._foreach_sub([parameters[name] for name in names], [anchor[name] for name in names])
    return torch.stack([(importance[name] * step.square()).sum() for name, step in zip(names, steps, strict=True)]).sum()


def _add(strategy: Strategy, name: str, penalty: Tensor) -> None:
    """Add a penalty to the loss and to the record of the step."""
    strategy.log(**{name: penalty})
    strategy.loss = strategy.loss + penalty


def _tensors(data: Mapping[str, ParamData]) -> Named:
    return {name: value.data for name, value in data.items()}


def _param_data(tensors: Mapping[str, Tensor]) -> dict[str, ParamData]:
    return {name: ParamData(name, init_tensor=tensor, device=tensor.device) for name, tensor in tensors.items()}


def _to(strategy: Strategy, tensors: Mapping[str, Tensor]) -> Named:
    return {name: tensor.to(strategy.device) for name, tensor in tensors.items()}
