"""`PromptClassifier`: zero-shot heads made of class prompts, as an Avalanche multi-task module."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from avalanche.models import MultiTaskModule
from torch import Tensor

from models.encoder import DualEncoder
from models.tuning import trains_text

# Padding of mixed-task batches. Finite, so that it can be compared and copied; lower than any logit, so that it never wins
# an argmax. Losses never see it: `strategies.base` groups a batch by task and cuts each group to its own classes.
PADDING = torch.finfo(torch.float32).min


class PromptClassifier(MultiTaskModule):
    """Logits of images over the class prompts of each image's task.

    One head per task: the text features of the task's class names. In training mode a head is the first template encoded
    now, with gradient where the text tower trains; in evaluation mode it is the template ensemble (each template's
    features are unit vectors, averaged and normalised again: ZSCL, section 1), cached until the text tower changes.

    Avalanche's plugins see this module as the model: `forward(x, task_labels)` with mixed labels scores each image
    against its own task's prompts, `forward(x, None)` is a dict over tasks, `adaptation` registers an experience's domain.
    """

    def __init__(self, encoder: DualEncoder):
        super().__init__()
        self.encoder = encoder
        self.max_class_label: int = 0
        self.domains: dict[int, Any] = {}
        self._heads: dict[tuple[int, bool], tuple[int, Tensor]] = {}

    def register_domain(self, task_label: int, domain: Any) -> None:
        """Make a head for a task. A task label never changes its class names."""
        known = self.domains.get(task_label)
        if known is not None and known.classnames != domain.classnames:
            raise ValueError(f"task {task_label} is {known.name!r} already, cannot become {domain.name!r}")
        self.domains[task_label] = domain
        self.max_class_label = max(self.max_class_label, len(domain.classnames))

    def adaptation(self, experience: Any) -> None:
        """Register the experience's domain. Replaces the base version, which needs a class timeline."""
        for label in experience.task_labels:
            if label not in self.domains:
                self.register_domain(label, experience.domain)
        if self.training:
            self.known_train_tasks_labels.update(experience.task_labels)

    def text_features(self, task_label: int) -> Tensor:
        """The task's head, unit rows [C, d]: first template in training mode, ensemble in evaluation mode."""
        ensemble = not self.training
        if not ensemble and torch.is_grad_enabled() and trains_text(self.encoder):
            return self._encode(task_label, 0)
        version, head = self._heads.get((task_label, ensemble), (-1, None))
        if head is None or version != self.encoder.text_version or head.device != self.encoder.device:
            # Not an inference tensor even inside inference mode: training may use the head later.
            with torch.inference_mode(False), torch.no_grad():
                head = self._ensemble(task_label) if ensemble else self._encode(task_label, 0)
            self._heads[task_label, ensemble] = (self.encoder.text_version, head)
        return head

    def classify(self, image_features: Tensor, task_labels: int | Tensor) -> Tensor:
        """Logits [B, C] of unit image features [B, d]; C is the largest class count among the batch's tasks."""
        if isinstance(task_labels, int):
            return self.encoder.logits(image_features, self.text_features(task_labels))
        tasks = torch.unique(task_labels).tolist()
        if len(tasks) == 1:
            return self.classify(image_features, tasks[0])
        width = max(len(self.domains[t].classnames) for t in tasks)
        logits = image_features.new_full((len(image_features), width), PADDING)
        for task in tasks:
            mine = task_labels == task
            group = self.classify(image_features[mine], task)
            logits[mine, : group.shape[1]] = group
        return logits

    def forward(self, x: Tensor, task_labels: int | Tensor | None = None) -> Any:
        if task_labels is None:
            features = self.encoder.encode_images(x)
            return {task: self.classify(features, task) for task in self.domains}
        return self.classify(self.encoder.encode_images(x), task_labels)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """Logits [B, C_t] of images against one task's prompts."""
        return self.forward(x, task_label)

    def forward_all_tasks(self, x: Tensor) -> dict[int, Tensor]:
        """Logits of images against every known task's prompts."""
        return self.forward(x, None)

    def _encode(self, task_label: int, template: int) -> Tensor:
        return self.encoder.encode_texts(self.encoder.tokenize(self.domains[task_label].prompts(template)))

    def _ensemble(self, task_label: int) -> Tensor:
        templates = range(len(self.domains[task_label].templates))
        mean = torch.stack([self._encode(task_label, i) for i in templates]).mean(dim=0)
        return F.normalize(mean, dim=-1)
