"""`PromptClassifier`: zero-shot heads made of class prompts, as an Avalanche multi-task module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from avalanche.models import MultiTaskModule
from torch import Tensor, nn

from models.encoder import DualEncoder
from models.prompt_reader import check_prompts
from models.towers import tower_of
from models.tuning import trains_text, trains_text_tower

# Padding of mixed-task batches. Finite, so that it can be compared and copied; lower than any logit, so that it never wins
# an argmax. Losses never see it: `strategies.engine.strategy` groups a batch by task and cuts each group to its own classes.
PADDING = torch.finfo(torch.float32).min


class Prompts(NamedTuple):
    """What a head is made of. No images: Avalanche's LwF deep-copies the model after every task."""

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]


class PromptClassifier(MultiTaskModule):
    """Logits of images over the class prompts of each image's task.

    One head per task: the text features of the task's class names. In training mode a head is the first template; in
    evaluation mode it is the template ensemble (each template's features are unit vectors, averaged and normalised again:
    ZSCL's released code). Heads carry gradient whenever gradients are enabled and the text tower trains; otherwise they are
    cached until the text tower changes.

    Under the tuning "probe" a task's head becomes a parameter when the task is trained: it starts as the task's evaluation
    head (so that an untrained probe is zero-shot) and takes the place of the prompts in both modes, its rows of any length.
    One task's head trains at a time, the others are frozen; tasks that were never trained answer by their prompts.

    Under the tuning "adapter" the text tower is frozen, so what it gives for a task's prompts is computed once, and training
    takes them through the adapter only.

    Avalanche's plugins see this module as the model: `forward(x, task_labels)` with mixed labels scores each image
    against its own task's prompts, `forward(x, None)` is a dict over the tasks trained so far, `adaptation` registers an
    experience's domain.
    """

    def __init__(self, encoder: DualEncoder):
        super().__init__()
        self.encoder = encoder
        self.max_class_label: int = 0
        self.prompts: dict[int, Prompts] = {}
        self.rivals: dict[int, tuple[int, ...]] = {}
        self._rival_rows: dict[tuple[int, int], list[int]] = {}
        self._frozen: dict[tuple[int, bool], tuple[tuple[int, int], Tensor]] = {}
        self._text_parameters: tuple[int, list[nn.Parameter]] = (-1, [])
        self._tokens: dict[tuple[int, int], tuple[Tensor, int]] = {}
        self._raw: dict[tuple[int, int], tuple[int, Tensor]] = {}
        self.heads = nn.ParameterDict()

    def register_domain(self, task_label: int, domain: Any) -> None:
        """Make a head for a task.

        Raises:
            ValueError: the label has other class names or templates already: a head is for one domain.
            UserError: two classes of the domain are one prompt to the model (`models.prompt_reader`).
        """
        prompts = Prompts(domain.name, tuple(domain.classnames), tuple(domain.templates))
        if task_label not in self.prompts:
            check_prompts(self.encoder.reader, [domain])
        known = self.prompts.setdefault(task_label, prompts)
        if known != prompts:
            raise ValueError(f"task {task_label} is {known.name!r} already, cannot become {domain.name!r}")
        self.max_class_label = max(self.max_class_label, len(prompts.classnames))

    def adaptation(self, experience: Any) -> None:
        """Register the experience's domain. Replaces the base version, which needs a class timeline."""
        for label in experience.task_labels:
            self.register_domain(label, experience.domain)
        if self.training:
            self.known_train_tasks_labels.update(experience.task_labels)
            if self.encoder.tuning == "probe":
                self._train_heads(experience.task_labels)

    def head_state(self) -> dict[str, Tensor]:
        """A copy of the probe's heads [C, d] by task label; empty under every other tuning."""
        return {label: head.detach().clone() for label, head in self.heads.items()}

    def load_head_state(self, state: Mapping[str, Tensor]) -> None:
        """Take heads from `head_state` in place of those that there are; they are frozen until their task is trained."""
        heads = {label: head.detach().to(self.encoder.mean, copy=True) for label, head in state.items()}
        self.heads = nn.ParameterDict({label: nn.Parameter(head, requires_grad=False) for label, head in heads.items()})

    def classes(self, task_label: int) -> int:
        """Number of classes of a task."""
        return len(self.prompts[task_label].classnames)

    def text_features(self, task_label: int) -> Tensor:
        """The task's head [C, d]: a probe's trained one, else unit rows, in training mode of the first template, in evaluation
        mode of the ensemble.
        """
        if str(task_label) in self.heads:
            return self.heads[str(task_label)]
        if torch.is_grad_enabled() and trains_text(self.encoder):
            return self._encode(task_label, self.training)
        return self._frozen_head(task_label, self.training)

    def _frozen_head(self, task_label: int, training: bool) -> Tensor:
        """The head of `text_features` without gradients, made once for each state of the text tower."""
        key, state = (task_label, training), self._text_state()
        known, head = self._frozen.get(key, (None, None))
        if head is None or known != state or head.device != self.encoder.device:
            # Not an inference tensor even inside inference mode: training may use the head later.
            with torch.inference_mode(False), torch.no_grad():
                head = self._encode_frozen(task_label, training)
            self._frozen[key] = (state, head)
        return head

    def _text_state(self) -> tuple[int, int]:
        """The text tower's version, and how often its parameters were written in place (a teacher that follows a model)."""
        version = self.encoder.text_version
        if self._text_parameters[0] != version:
            named = self.encoder.clip.named_parameters()
            self._text_parameters = version, [p for name, p in named if tower_of(name) == "text"]
        return version, sum(p._version for p in self._text_parameters[1])

    def compete(self, task_label: int, rivals: Iterable[int] = ()) -> None:
        """In evaluation mode, score images of a task among the classes of these tasks too; none: among its own alone.

        The task's own classes come first in the logits, so labels stay what they are. A class whose prompts two tasks share is
        one class, the task's own: twice, it would be a tie that rounding decides.
        """
        self.rivals[task_label] = tuple(rivals)

    def head(self, task_label: int) -> Tensor:
        """All classes that an image of the task is scored among: its own, in evaluation mode then its rivals'."""
        rivals = () if self.training else self.rivals.get(task_label, ())
        own = self.text_features(task_label)
        return torch.cat([own, *(self._unshared(rival, task_label) for rival in rivals)]) if rivals else own

    def classify(self, image_features: Tensor, task_labels: int | Tensor) -> Tensor:
        """Logits [B, C] of unit image features [B, d]; C is the largest number of classes that any of the images has."""
        if isinstance(task_labels, int):
            return self.encoder.logits(image_features, self.head(task_labels))
        tasks = torch.unique(task_labels).tolist()
        if len(tasks) == 1:
            return self.classify(image_features, tasks[0])
        parts = {task: self.classify(image_features[task_labels == task], task) for task in tasks}
        logits = image_features.new_full((len(image_features), max(part.shape[1] for part in parts.values())), PADDING)
        for task, part in parts.items():
            logits[task_labels == task, : part.shape[1]] = part
        return logits

    def forward(self, x: Tensor, task_labels: int | Tensor | None = None) -> Any:
        features = self.encoder.encode_images(x)
        if task_labels is None:
            return {task: self.classify(features, task) for task in sorted(self.known_train_tasks_labels)}
        return self.classify(features, task_labels)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """Logits [B, C_t] of images against one task's prompts."""
        return self.forward(x, task_label)

    def forward_all_tasks(self, x: Tensor) -> dict[int, Tensor]:
        """Logits of images against the prompts of every task trained so far."""
        return self.forward(x, None)

    def _unshared(self, rival: int, task_label: int) -> Tensor:
        """The rows of a rival's head whose prompts, as the model reads them, are not those of one of the task's own classes."""
        if (rival, task_label) not in self._rival_rows:
            theirs, own, reader = self.prompts[rival], self.prompts[task_label], self.encoder.reader
            shared = set(reader.keys(own)) if theirs.templates == own.templates else set()
            self._rival_rows[rival, task_label] = [row for row, key in enumerate(reader.keys(theirs)) if key not in shared]
        rows, features = self._rival_rows[rival, task_label], self.text_features(rival)
        return features if len(rows) == len(features) else features[rows]

    def _train_heads(self, task_labels: Iterable[int]) -> None:
        """Make a parameter of each task's head, if it is not one yet, and let these heads train and no others."""
        for label in task_labels:
            if str(label) not in self.heads:
                head = self._frozen_head(label, False)
                self.heads[str(label)] = nn.Parameter(head.clone())
        for name, parameter in self.heads.items():
            parameter.requires_grad_(int(name) in task_labels)

    def _encode_prompts(self, key: tuple[int, int]) -> Tensor:
        """Unit features [C, d] of a task's tokens in one template; behind a frozen tower from what it gave the first time."""
        encoder, (tokens, length) = self.encoder, self._tokens[key]
        if encoder.text_adapter is None or trains_text_tower(encoder):
            return encoder.encode_texts(tokens.to(encoder.device), length)
        version, raw = self._raw.get(key, (-1, None))
        if raw is None or version != encoder.text_tower_version or raw.device != encoder.device:
            with torch.inference_mode(False), torch.no_grad():
                raw = encoder.raw_texts(tokens.to(encoder.device), length)
            self._raw[key] = (encoder.text_tower_version, raw)
        return encoder.finish_texts(raw)

    def _encode_frozen(self, task_label: int, training: bool) -> Tensor:
        """A head that is kept: made with the encoder's layers in evaluation mode, or one draw of a dropout would stay in it."""
        modes = {module: module.training for module in self.encoder.modules()}
        self.encoder.eval()
        try:
            return self._encode(task_label, training)
        finally:
            for module, training in modes.items():
                module.training = training

    def _encode(self, task_label: int, training: bool) -> Tensor:
        """Mean over templates of unit features, normalised again (a single template's features as they are).

        In training the first template alone.
        """
        prompts, each = self.prompts[task_label], []
        for template in range(1 if training else len(prompts.templates)):
            key = (task_label, template)
            if key not in self._tokens:
                tokens = self.encoder.reader.rows(prompts.templates[template], prompts.classnames)
                self._tokens[key] = tokens, self.encoder.needed_length(tokens)
            each.append(self._encode_prompts(key))
        return each[0] if len(each) == 1 else F.normalize(torch.stack(each).mean(dim=0), dim=-1)
