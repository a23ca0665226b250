"""Avalanche's plugins that hold a model near its earlier self, by its weights (EWC, SI, MAS) or by its outputs (LwF).

Each is Avalanche 0.6's class with its formulas, and with what goes wrong on a `PromptClassifier` put right; the docstrings say
what that is. Only parameters that train are held and stored. `state` and `load` carry a plugin over a kill.
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

from strategies.engine.batches import in_memory, training_loader

Named = dict[str, Tensor]


class EWC(EWCPlugin):
    """Elastic weight consolidation (Kirkpatrick et al. 2017, 1612.00796).

    Loss + ewc_lambda * sum_t sum_k F_t,k (theta_k - theta_t,k)^2 over the earlier tasks t; with mode "online" one term, at the
    last task's weights, with F <- decay_factor * F + F_new. Avalanche's conventions, not the paper's: no factor 1/2, and F is
    the mean over mini-batches of the squared gradient of the batch's mean loss, which for batches of B images is up to B times
    smaller than the mean over images.

    Put right: Avalanche takes the gradients in evaluation mode, where prompts are the template ensemble; the loss that was
    trained, and so its Fisher information, is about the strategy's training prompts. Cost: one more pass over the task's
    training images at its end; with "separate" two copies of all trainable weights per earlier task, also in checkpoints.
    """

    def __init__(self, ewc_lambda: float, mode: str = "separate", decay_factor: float | None = None):
        online = mode == "online"
        super().__init__(ewc_lambda, mode, 1.0 if online and decay_factor is None else decay_factor)

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        t = strategy.clock.train_exp_counter
        if not t:
            return
        parameters = _trainable(strategy.model)
        tasks = range(t) if self.mode == "separate" else (t - 1,)
        each = [_drift(parameters, _tensors(self.saved_params[i]), _tensors(self.importances[i])) for i in tasks]
        _add(strategy, "ewc", self.ewc_lambda * torch.stack(each).sum())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        t = strategy.clock.train_exp_counter
        found = importances(strategy, strategy.criterion, torch.square)
        self.update_importances(_param_data(found), t)
        self.saved_params[t] = _param_data(_copies(strategy.model))
        if t and not self.keep_importance_data:
            del self.saved_params[t - 1]

    def state(self) -> dict[str, Any]:
        """Fisher information and weights by number of the task."""
        both = {"importances": self.importances, "saved": self.saved_params}
        return {kind: {str(t): _tensors(data) for t, data in by_task.items()} for kind, by_task in both.items()}

    def load(self, state: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
        """Take back what `state` gave."""
        for mine, given in ((self.importances, state["importances"]), (self.saved_params, state["saved"])):
            mine.clear()
            mine.update({int(t): _param_data(_to(strategy, tensors)) for t, tensors in given.items()})


class SynapticIntelligence(SynapticIntelligencePlugin):
    """Synaptic intelligence (Zenke et al. 2017, 1703.04200; Avalanche follows 1806.08568).

    Loss + si_lambda / 2 * sum_k Omega_k (theta_k - theta*_k)^2, theta* the weights at the start of the task. Along a task's
    updates w_k = -sum_s g_k(s) (theta_k(s + 1) - theta_k(s)), g the gradient of the whole loss, penalties included (Avalanche's
    convention; the paper's is that of the task's loss alone). Omega_k is the sum over the earlier tasks of
    w_k / (Delta_k^2 + eps), Delta_k how far the path led, cut to [0, clip] (None: no limit).

    Put right: Avalanche 0.6 keeps views of the weights where it means copies, so that on a CPU every step has length 0 and SI
    never has any effect. It fails on a trainable parameter without gradient, which here counts as gradient 0. It leaves Omega
    negative where the loss rose along the path: a reward without bound for leaving theta*; it is cut at 0 (as in the paper's
    code). Delta is where the path ended, also when the method then replaces the weights (WiSE-FT, averages).
    """

    def __init__(self, si_lambda: float, eps: float, clip: float | None):
        super().__init__(si_lambda=si_lambda, eps=eps)
        self.clip = clip
        self.importance_sum: Named = {}
        self._start: Named = {}
        self._last: Named = {}
        self._path: Named = {}

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        # The path begins at the first update: a method may set weights in `before_experience`.
        self._start, self._last, self._path = {}, {}, {}
        self.importance: Named = {name: total.clamp(0, self.clip) for name, total in self.importance_sum.items()}

    def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        if not self._start:
            self._start, self._last = _copies(strategy.model), _copies(strategy.model)
            self._path = {name: torch.zeros_like(tensor) for name, tensor in self._start.items()}

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance:
            drift = _drift(_trainable(strategy.model), self._start, self.importance)
            _add(strategy, "si", self.si_lambda[0] / 2 * drift)

    @torch.no_grad()
    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        parameters = _trainable(strategy.model)
        moved = {name: p for name, p in parameters.items() if p.grad is not None}
        last, path = [self._last[name] for name in moved], [self._path[name] for name in moved]
        steps = torch._foreach_sub([p.detach() for p in moved.values()], last)
        gradients = [p.grad for p in moved.values() if p.grad is not None]
        torch._foreach_addcmul_(path, gradients, steps, value=-1)
        torch._foreach_copy_(list(self._last.values()), list(parameters.values()))

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        for name, path in self._path.items():
            new = path / ((self._last[name] - self._start[name]).square() + self.eps)
            self.importance_sum[name] = self.importance_sum[name] + new if name in self.importance_sum else new
        self._start, self._last, self._path = {}, {}, {}

    def state(self) -> dict[str, Any]:
        """The sum that Omega is cut from."""
        return {"importance_sum": dict(self.importance_sum)}

    def load(self, state: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
        """Take back what `state` gave."""
        self.importance_sum = _to(strategy, state["importance_sum"])


class MAS(MASPlugin):
    """Memory aware synapses (Aljundi et al. 2018, 1711.09601).

    Loss + lambda_reg * sum_k M_k (theta_k - theta*_k)^2, theta* the weights after the last task. M is the mean over
    mini-batches of |d/d theta mean_i |logits_i|^2|, for later tasks alpha * old + (1 - alpha) * new (FACIL's rule). No labels.
    The logits are those of the task's classes, times exp(logit scale): about 100 times the cosines, so M is large.

    Put right: Avalanche takes the gradients in training mode, where a batch norm's statistics would move after the weights
    that go into evaluation; layers are in evaluation mode here, with the training prompts. It waits for the device in every
    step. Cost: one more pass over the task's training images at its end.
    """

    importance: dict[str, ParamData] | None
    params: dict[str, ParamData] | None

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        if self.importance and self.params:
            drift = _drift(_trainable(strategy.model), _tensors(self.params), _tensors(self.importance))
            _add(strategy, "mas", self._lambda * drift)

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        found = importances(strategy, lambda: strategy.mb_output.square().sum(dim=1).mean(), torch.abs)
        if self.importance:
            old = _tensors(self.importance)
            found = {name: self.alpha * old[name] + (1 - self.alpha) * new for name, new in found.items()}
        self.importance, self.params = _param_data(found), _param_data(_copies(strategy.model))

    def state(self) -> dict[str, Any]:
        """Importances, and the weights that they are about."""
        return {"importance": _tensors(self.importance or {}), "params": _tensors(self.params or {})}

    def load(self, state: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
        """Take back what `state` gave."""
        self.importance, self.params = (_param_data(_to(strategy, state[kind])) or None for kind in ("importance", "params"))


class MultiHeadLwF(LwFPlugin):
    """Learning without forgetting (Li and Hoiem 2016, 1606.09282): outputs for all earlier tasks are kept.

    The strategy `strategies.lwf.LwF` is CLIP's variant of it, on the current task's class names.

    Loss + alpha * sum over the earlier tasks t of the batch's mean of KL(softmax(z'_t / T) || softmax(z_t / T)): z_t are the
    logits of task t's prompts by the model, z'_t by the model as it was after the last task, its text tower included; of each
    task those classes that its training images have. No factor T^2.

    Put right: layers of the teacher are in evaluation mode, and of the current task no logits are computed a second time. Cost:
    in each step the batch passes through teacher and student once more, and the prompts of all earlier tasks through the
    student's text tower if it trains.
    """

    def before_backward(self, strategy: Any, **kwargs: Any) -> None:
        teacher, images = self.lwf.prev_model, strategy.mb_x
        if teacher is None:
            return
        with torch.no_grad():
            features = teacher.encoder.encode_images(images)
            theirs = {t: teacher.classify(features, t) for t in self.lwf.prev_classes_by_task}
        features = strategy.encoder.encode_images(images)
        each = [
            self.lwf._distillation_loss(strategy.classifier.classify(features, t), theirs[t], sorted(classes))
            for t, classes in self.lwf.prev_classes_by_task.items()
        ]
        _add(strategy, "lwf", self.lwf.alpha * torch.stack(each).sum())

    def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        self._rest()

    def state(self) -> dict[str, Any]:
        """Classes by task. The teacher is the model itself, whose weights are saved anyway."""
        return {"classes": {str(t): sorted(classes) for t, classes in self.lwf.prev_classes_by_task.items()}}

    def load(self, state: Mapping[str, Any], strategy: Any, experiences: Sequence[Any]) -> None:
        """Take back what `state` gave; the strategy's model has the weights of the last task's end."""
        self.lwf.prev_classes_by_task.update({int(t): set(classes) for t, classes in state["classes"].items()})
        self.lwf.expcount = len(state["classes"])
        if state["classes"]:
            self.lwf.prev_model = copy.deepcopy(strategy.model)
            self._rest()

    def _rest(self) -> None:
        """The teacher never trains again: layers in evaluation mode, prompts those of training."""
        teacher = self.lwf.prev_model.requires_grad_(False)
        _training_prompts(teacher)
        # What heads it has may be of other weights, or of layers in another mode.
        teacher.encoder.touch_text()


def importances(strategy: Any, loss: Callable[[], Tensor], measure: Callable[[Tensor], Tensor]) -> Named:
    """Mean over mini-batches of `measure` (elementwise) of the gradient of `loss`, of each trainable parameter, by name.

    One pass over the current task's training images, transformed as in training, seeded by the run and the task. `loss` reads
    `strategy.mb_output`: logits by the strategy's own forward pass, without companion images, with layers in evaluation mode
    and the prompts of training. The model comes back in training mode, without gradients.
    """
    model, experience = strategy.model, strategy.experience
    parameters = _trainable(model)
    totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
    loader = training_loader(
        experience.dataset.train(),
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
            loss().backward()
            for name, p in parameters.items():
                if p.grad is not None:
                    totals[name] += measure(p.grad)
    model.zero_grad()
    model.train()
    return {name: total / len(loader) for name, total in totals.items()}


@contextmanager
def _without_companions(strategy: Any) -> Iterator[None]:
    strategy.companion_images = lambda: None
    try:
        yield
    finally:
        del strategy.companion_images


def _training_prompts(model: nn.Module) -> None:
    """Every layer in evaluation mode; the classifier's own flag alone, which chooses the prompts, says training."""
    model.eval()
    model.training = True


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _copies(model: nn.Module) -> Named:
    return {name: p.detach().clone() for name, p in _trainable(model).items()}


def _drift(parameters: Mapping[str, Tensor], anchor: Named, importance: Named) -> Tensor:
    """sum_k importance_k (theta_k - anchor_k)^2 over the parameters that have an importance: a scalar with gradient."""
    names = [name for name in parameters if name in importance]
    steps = torch._foreach_sub([parameters[name] for name in names], [anchor[name] for name in names])
    return torch.stack([(importance[name] * step.square()).sum() for name, step in zip(names, steps, strict=True)]).sum()


def _add(strategy: Any, name: str, penalty: Tensor) -> None:
    """To the loss, and to the record of the step."""
    strategy.log(**{name: penalty})
    strategy.loss = strategy.loss + penalty


def _tensors(data: Mapping[str, ParamData]) -> Named:
    return {name: value.data for name, value in data.items()}


def _param_data(tensors: Mapping[str, Tensor]) -> dict[str, ParamData]:
    return {name: ParamData(name, init_tensor=tensor, device=tensor.device) for name, tensor in tensors.items()}


def _to(strategy: Any, tensors: Mapping[str, Tensor]) -> Named:
    return {name: tensor.to(strategy.device) for name, tensor in tensors.items()}
