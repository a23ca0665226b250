"""`PromptClassifier`: zero-shot heads made of class prompts, as an Avalanche multi-task module."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from avalanche.models import MultiTaskModule
from torch import Tensor, nn

from models.added import parameters_in
from models.candidates import Candidates
from models.duplicates import Duplicates, class_keys, duplicates, first_of, merged
from models.encoder import DualEncoder
from models.padding import PADDING, among_candidates
from models.prompt_reader import Prompted, check_prompts
from models.route import PLAIN, current_route
from models.towers import tower_of
from models.tuning import trains_text, trains_text_tower


class TaskExperience(Protocol):
    """The attributes of an experience that the classifier reads."""

    task_labels: list[int]
    domain: Prompted


class Prompts(NamedTuple):
    """The names, templates and questions that a head is made of (`benchmarks.data.domain.Domain`).

    It has no images, because Avalanche's LwF deep-copies the model after every task.
    """

    name: str
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    groups: tuple[int, ...] | None = None

    @classmethod
    def of(cls, domain: Prompted) -> Prompts:
        """Return the prompts of a domain."""
        return cls(domain.name, tuple(domain.classnames), tuple(domain.templates), getattr(domain, "groups", None))


class PromptClassifier(MultiTaskModule):
    """Logits of images over the class prompts of each image's task.

    Each task has one head: the text features of the task's class names. In training mode a head is the first template. In
    evaluation mode it is the template ensemble: each template's features are unit vectors, averaged and normalised again
    (ZSCL's released code). Heads carry gradients if gradients are enabled and the text tower trains. Otherwise they are cached
    until the text tower changes.

    Tuning "probe": a task's head becomes a parameter when the task is trained. It starts as the task's evaluation head, so that
    an untrained probe is zero-shot, and replaces the prompts in both modes. Its rows may have any length. Only the current
    task's head trains. Tasks that were never trained answer by their prompts.

    Tuning "adapter": the text tower is frozen, so its output for a task's prompts is computed once, and training passes it only
    through the adapter.

    Avalanche's plugins see this module as the model. `forward(x, task_labels)` with mixed labels scores each image against
    its task's prompts, `forward(x, None)` is a dict over the tasks trained so far, and `adaptation` registers an experience's
    domain.

    Args:
        encoder: the encoder. It is shared, not copied.

    Attributes:
        routed_template: the template of every task under a route (`models.route`), for methods that learn the words before the
            class name. None: the tasks' templates.

    Examples:
        ```python
        classifier = PromptClassifier(models.load("tiny")).eval()
        classifier.register_domain(0, domain)
        logits = classifier(pixels, 0)                          # uint8 [B, 3, 48, 48] -> [B, number of classes]
        ```
    """

    def __init__(self, encoder: DualEncoder):
        super().__init__()
        self.encoder = encoder
        self.max_class_label: int = 0
        self.prompts: dict[int, Prompts] = {}
        self.rivals: dict[int, tuple[int, ...]] = {}
        self.duplicates = "own"
        self._rival_rows: dict[tuple[int, int], list[int]] = {}
        self._same: dict[tuple[int, tuple[int, ...], str], Duplicates] = {}
        self._frozen: dict[tuple[int, bool, Hashable], tuple[tuple[int, int], Tensor]] = {}
        self._text_parameters: tuple[int, list[nn.Parameter]] = (-1, [])
        self._tokens: dict[tuple[int, int], tuple[Tensor, int]] = {}
        self._raw: dict[tuple[int, int, Hashable], tuple[int, Tensor]] = {}
        self._groups: dict[int, Tensor] = {}
        self._candidates: dict[tuple[int, ...], Candidates] = {}
        self.routed_template: str | None = None
        self.heads = nn.ParameterDict()

    def sharing_heads(self) -> PromptClassifier:
        """Return another classifier of the encoder with the same tasks and cached heads, and a separate mode and rivals."""
        other = PromptClassifier(self.encoder)
        other.prompts, other._frozen = self.prompts, self._frozen
        return other

    def register_domain(self, task_label: int, domain: Prompted) -> None:
        """Make a head for a task.

        Args:
            task_label: the task's label, from 0.
            domain: the domain, with name, class names and templates.

        Raises:
            ValueError: the label already has other class names or templates.
            UserError: two classes of the domain have the same prompt for the model (`models.prompt_reader`).
        """
        prompts = Prompts.of(domain)
        if task_label not in self.prompts:
            check_prompts(self.encoder.reader, [domain])
        known = self.prompts.setdefault(task_label, prompts)
        if known != prompts:
            raise ValueError(f"task {task_label} is already {known.name!r} and cannot become {domain.name!r}")
        self.max_class_label = max(self.max_class_label, len(prompts.classnames))

    def adaptation(self, experience: TaskExperience) -> None:
        """Register the experience's domain. The base class's version would need a class timeline."""
        for label in experience.task_labels:
            self.register_domain(label, experience.domain)
        if self.training:
            self.known_train_tasks_labels.update(experience.task_labels)
            if self.encoder.tuning == "probe":
                self._train_heads(experience.task_labels)

    def head_state(self) -> dict[str, Tensor]:
        """Return a copy of the probe's heads [C, d] by task label; empty under every other tuning."""
        return {label: head.detach().clone() for label, head in self.heads.items()}

    def load_head_state(self, state: Mapping[str, Tensor]) -> None:
        """Replace the heads by those of `head_state`. They are frozen until their task is trained."""
        heads = {label: head.detach().to(self.encoder.mean, copy=True) for label, head in state.items()}
        self.heads = nn.ParameterDict({label: nn.Parameter(head, requires_grad=False) for label, head in heads.items()})

    def classes(self, task_label: int) -> int:
        """Return the number of classes of a task."""
        return len(self.prompts[task_label].classnames)

    def groups(self, task_label: int) -> Tensor | None:
        """Return the question of each class [C] of a task, or None for a task whose classes all compete."""
        groups = self.prompts[task_label].groups
        if groups is None:
            return None
        known = self._groups.get(task_label)
        if known is None or known.device != self.encoder.device:
            # Not an inference tensor: training may use it later.
            with torch.inference_mode(False):
                known = self._groups[task_label] = torch.tensor(groups, device=self.encoder.device)
        return known

    def text_features(self, task_label: int, rows: Tensor | None = None) -> Tensor:
        """Return the task's head [C, d], or some of its rows.

        It is a probe's trained head, or unit rows: in training mode of the first template, in evaluation mode of the ensemble.
        """
        if str(task_label) in self.heads:
            trained_head: Tensor = self.heads[str(task_label)]
            return trained_head if rows is None else trained_head[rows]
        if torch.is_grad_enabled() and trains_text(self.encoder):
            return self._encode(task_label, self.training, rows)
        head = self._frozen_head(task_label, self.training)
        return head if rows is None else head[rows]

    def _frozen_head(self, task_label: int, training: bool) -> Tensor:
        """Return the head of `text_features` without gradients, computed once for each route and state of the text tower."""
        key, state = (task_label, training, self.encoder.text_route()), self._text_state()
        known, head = self._frozen.get(key, (None, None))
        if head is None or known != state or head.device != self.encoder.device:
            # Not an inference tensor even inside inference mode: training may use the head later.
            with torch.inference_mode(False), torch.no_grad():
                head = self._encode_frozen(task_label, training)
            self._frozen[key] = (state, head)
        return head

    def _text_state(self) -> tuple[int, int]:
        """Return the text tower's version and the number of in-place writes to its parameters.

        The writes cover a teacher that follows a model.
        """
        version = self.encoder.text_version
        if self._text_parameters[0] != version:
            named = self.encoder.clip.named_parameters()
            parameters = [p for name, p in named if tower_of(name) == "text"]
            self._text_parameters = version, [*parameters, *parameters_in(self.encoder, "text")]
        return version, sum(p._version for p in self._text_parameters[1])

    def compete(self, task_label: int, rivals: Iterable[int] = ()) -> None:
        """In evaluation mode, also score images of a task among the classes of other tasks.

        The task's classes come first in the logits, so labels do not change. `duplicates` (`benchmarks.plan.DUPLICATES`) says
        what a class of two tasks is. With "own" it is one class if their prompts are equal, that of the image's task. As two
        classes it would be a tie that rounding decides.

        Args:
            task_label: the task of the images.
            rivals: the other tasks; empty: only the task's classes.
        """
        self.rivals[task_label] = tuple(rivals)

    def head(self, task_label: int) -> Tensor:
        """Return the rows of all classes that an image of the task is scored among.

        These are the task's rows, followed in evaluation mode by those of its rivals.
        """
        rivals = () if self.training else self.rivals.get(task_label, ())
        task_rows = self.text_features(task_label)
        return torch.cat([task_rows, *(self._unshared(rival, task_label) for rival in rivals)]) if rivals else task_rows

    def classify(self, image_features: Tensor, task_labels: int | Tensor, labels: Tensor | None = None) -> Tensor:
        """Return logits of unit image features.

        Args:
            image_features: unit features [B, d].
            task_labels: one task, or a task per image [B].
            labels: the images' labels [B]. They are read only for tasks with questions (`Domain.groups`), and only to know the
                question of an image. If None, all classes of a task compete.

        Returns:
            Logits [B, C], where C is the largest number of classes of any image. Missing classes, and options of other
            questions than the image's, are padded with `PADDING`.
        """
        if isinstance(task_labels, int):
            groups = self.groups(task_labels)
            if groups is None or labels is None:
                return self.settled(self.encoder.logits(image_features, self.head(task_labels)), task_labels)
            return self._classify_options(image_features, task_labels, groups, groups[labels])
        tasks = torch.unique(task_labels).tolist()
        if len(tasks) == 1:
            return self.classify(image_features, tasks[0], labels)
        logits_by_task = {
            task: self.classify(image_features[rows], task, None if labels is None else labels[rows])
            for task in tasks
            for rows in [task_labels == task]
        }
        logits = image_features.new_full(
            (len(image_features), max(task_logits.shape[1] for task_logits in logits_by_task.values())), PADDING
        )
        for task, task_logits in logits_by_task.items():
            logits[task_labels == task, : task_logits.shape[1]] = task_logits
        return logits

    def _classify_options(self, image_features: Tensor, task_label: int, groups: Tensor, asked: Tensor) -> Tensor:
        """Return logits [B, C] among the options of each image's question. Only prompts of the batch's questions are used."""
        rows = torch.isin(groups, asked).nonzero().squeeze(1)
        logits = self.encoder.logits(image_features, self.text_features(task_label, rows))
        padded = logits.new_full((len(logits), len(groups)), PADDING)
        return padded.index_copy(1, rows, among_candidates(logits, groups[rows], asked))

    def forward(
        self, x: Tensor, task_labels: int | Tensor | None = None, labels: Tensor | None = None
    ) -> Tensor | dict[int, Tensor]:
        """Return logits of images.

        Args:
            x: pixels [B, 3, S, S].
            task_labels: one task, a task per image [B], or None for every task trained so far.
            labels: as in `classify`.

        Returns:
            Logits [B, C] as from `classify`, or for None a dict of logits by task.
        """
        if task_labels is None:
            return self.forward_all_tasks(x)
        return self.classify(self.encoder.encode_images(x), task_labels, labels)

    def forward_single_task(self, x: Tensor, task_label: int) -> Tensor:
        """Return logits [B, C_t] of images against one task's prompts."""
        return self.classify(self.encoder.encode_images(x), task_label)

    def forward_all_tasks(self, x: Tensor) -> dict[int, Tensor]:
        """Return logits of images against the prompts of every task trained so far, by task."""
        features = self.encoder.encode_images(x)
        return {task: self.classify(features, task) for task in sorted(self.known_train_tasks_labels)}

    def competing(self, task_label: int) -> tuple[int, ...]:
        """Return the tasks, in ascending order, whose classes an image of a task is scored among, with its task."""
        return tuple(sorted({task_label, *(() if self.training else self.rivals.get(task_label, ()))}))

    def candidates(self, tasks: tuple[int, ...]) -> Candidates:
        """Return the classes of several tasks in one order."""
        if tasks not in self._candidates:
            self._candidates[tasks] = Candidates((task, self.prompts[task].classnames) for task in tasks)
        return self._candidates[tasks]

    def arrange(self, scores: Tensor, task_label: int, candidates: Candidates) -> Tensor:
        """Return scores [B, len(candidates)] in the order of `head` for images of a task, with shared classes `settled`."""
        order = [candidates.columns(task).start + label for task, labels in self.columns(task_label) for label in labels]
        return self.settled(scores[:, torch.tensor(order, device=scores.device)], task_label, tied=False)

    def settled(self, logits: Tensor, task_label: int, tied: bool = True) -> Tensor:
        """Return logits [B, C] of images of a task, in which a class that other tasks have too counts by `duplicates`.

        Args:
            logits: in the order of `columns`.
            task_label: the task of the images.
            tied: the logits are those of prompts, so equal prompts have equal logits up to rounding.
        """
        if self.duplicates == "own" or len(columns := self.columns(task_label)) == 1:
            return logits
        key = task_label, tuple(task for task, _ in columns), self.duplicates
        if key not in self._same:
            keys = {task: class_keys(self.prompts[task], self.encoder.reader, self.duplicates) for task, _ in columns}
            self._same[key] = duplicates(columns, keys)
        same = Duplicates(*(part.to(logits.device) for part in self._same[key]))
        return merged(logits, same) if self.duplicates == "merge" else first_of(logits, same, tied)

    def columns(self, task_label: int) -> list[tuple[int, list[int]]]:
        """Return the columns of a task's logits in order: each competing task with the classes of it that have a column."""
        rivals = () if self.training else self.rivals.get(task_label, ())
        unshared = [(rival, self._unshared_rows(rival, task_label)) for rival in rivals]
        return [(task_label, list(range(self.classes(task_label)))), *unshared]

    def _unshared_rows(self, rival: int, task_label: int) -> list[int]:
        """Return the classes of a rival that have a column: by "own", those whose prompts the task does not have."""
        if self.duplicates != "own":
            return list(range(self.classes(rival)))
        if (rival, task_label) not in self._rival_rows:
            rival_prompts, task_prompts, reader = self.prompts[rival], self.prompts[task_label], self.encoder.reader
            shared = set(reader.keys(task_prompts)) if rival_prompts.templates == task_prompts.templates else set()
            self._rival_rows[rival, task_label] = [
                row for row, key in enumerate(reader.keys(rival_prompts)) if key not in shared
            ]
        return self._rival_rows[rival, task_label]

    def _unshared(self, rival: int, task_label: int) -> Tensor:
        """Return the rows of a rival's head for `_unshared_rows`."""
        rows, features = self._unshared_rows(rival, task_label), self.text_features(rival)
        return features if len(rows) == len(features) else features[rows]

    def _train_heads(self, task_labels: Iterable[int]) -> None:
        """Make a parameter of each task's head, if it is not one yet, and train only these heads."""
        for label in task_labels:
            if str(label) not in self.heads:
                head = self._frozen_head(label, False)
                self.heads[str(label)] = nn.Parameter(head.clone())
        for name, parameter in self.heads.items():
            parameter.requires_grad_(int(name) in task_labels)

    def _encode_prompts(self, key: tuple[int, int], rows: Tensor | None) -> Tensor:
        """Return unit features [C, d] of a task's tokens in one template, or of some rows.

        If an adapter follows a frozen tower, the tower's first output is reused.
        """
        encoder, (tokens, length) = self.encoder, self._tokens[key]
        if encoder.text_adapter is None or trains_text_tower(encoder):
            if torch.is_grad_enabled():  # every step reads them, and a transfer from unpinned memory waits for the device
                tokens, _ = self._tokens[key] = tokens.to(encoder.device), length
            tokens = tokens if rows is None else tokens[rows.to(tokens.device)]
            return encoder.encode_texts(tokens.to(encoder.device), length)
        version, raw = self._raw.get((*key, self.encoder.text_route()), (-1, None))
        if raw is None or version != encoder.text_tower_version or raw.device != encoder.device:
            with torch.inference_mode(False), torch.no_grad():
                raw = encoder.raw_texts(tokens.to(encoder.device), length)
            self._raw[(*key, self.encoder.text_route())] = (encoder.text_tower_version, raw)
        return encoder.finish_texts(raw if rows is None else raw[rows])

    def _encode_frozen(self, task_label: int, training: bool) -> Tensor:
        """Compute a head that is kept, in evaluation mode: otherwise one draw of a dropout would stay in it."""
        modes = {module: module.training for module in self.encoder.modules()}
        self.encoder.eval()
        try:
            return self._encode(task_label, training)
        finally:
            for module, training in modes.items():
                module.training = training

    def _encode(self, task_label: int, training: bool, rows: Tensor | None = None) -> Tensor:
        """Return the mean over templates of unit features, normalised again; in training the features of the first template."""
        prompts, features_by_template = self.prompts[task_label], []
        numbered = [*enumerate(prompts.templates[:1] if training else prompts.templates)]
        if self.routed_template is not None and current_route() not in (None, PLAIN):
            numbered = [(-1, self.routed_template)]
        for number, template in numbered:
            key = (task_label, number)
            if key not in self._tokens:
                tokens = self.encoder.reader.rows(template, prompts.classnames)
                self._tokens[key] = tokens, self.encoder.needed_length(tokens)
            features_by_template.append(self._encode_prompts(key, rows))
        return (
            features_by_template[0]
            if len(features_by_template) == 1
            else F.normalize(torch.stack(features_by_template).mean(dim=0), dim=-1)
        )
