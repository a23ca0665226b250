"""The alpha search: choose by validation accuracy how far to go from some weights along task vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.data.domain import Domain
from benchmarks.data.progress import Progress
from metrics.cka import debiased_cka, linear_cka
from metrics.evaluate import is_correct, pixel_batches
from models import tuning
from models.classifier import PromptClassifier
from models.encoder import DualEncoder
from models.merging import Vector, place_all, weighted
from models.modes import evaluating
from models.padding import among_candidates

Point = tuple[float, ...]
Rule = Literal["mean", "bounded"]


class Question(NamedTuple):
    """The validation images of a task, classified among its own classes and those of its rivals (task labels)."""

    label: int
    rivals: tuple[int, ...] = ()

    @property
    def key(self) -> str:
        """Name in saved states."""
        return "-".join(str(label) for label in (self.label, *self.rivals))


class Comparison(NamedTuple):
    """AnswerCounter and features on one test set at some points of a path, compared with the first point.

    Attributes:
        correct: correct answers at each point.
        lost: images that are right at the first point and wrong at each point.
        cka: linear CKA of the image features at the first and the last point; None where it is undefined.
        cka_debiased: the same without the bias at few images (`metrics.cka.debiased_cka`).
    """

    correct: list[int]
    lost: list[int]
    cka: float | None
    cka_debiased: float | None


class Scores(NamedTuple):
    """Mean accuracies in percent of each point [P]; `supported` is None when there are no supported tasks."""

    patching: np.ndarray
    supported: np.ndarray | None


def choose(points: Sequence[Point], scores: Scores, rule: Rule, epsilon: float = 1.0, start: float | None = None) -> int:
    """Return the index of the point with the best score, and among equals of that with the smallest sum of alphas.

    For the rule "mean" the score is the mean of patching and supported accuracy, each a mean over its tasks (PAINT,
    2208.05592). For "bounded" it is patching accuracy, among the points that lose at most `epsilon` points of supported
    accuracy against `start`. If no point does, it is supported accuracy. Without supported tasks it is patching accuracy.

    Args:
        points: the points.
        scores: their accuracies.
        rule: "mean" or "bounded".
        epsilon: in points of accuracy.
        start: supported accuracy of the initial model, for "bounded".
    """
    best = scores.patching
    if scores.supported is not None:
        best = (scores.patching + scores.supported) / 2
        if rule == "bounded":
            assert start is not None, "a bound needs the initial model's accuracy"
            allowed = start - scores.supported <= epsilon + 1e-9
            best = np.where(allowed, scores.patching, -np.inf) if allowed.any() else scores.supported
    # Rounded, so that equal means of different counts tie.
    ranked = sorted(range(len(points)), key=lambda i: (-round(float(best[i]), 9), sum(points[i])))
    return ranked[0]


def refine(score: Callable[[Point], float], start: Point, limit: float, evaluations: int) -> None:
    """Search [0, limit]^K for the point with the largest score, with about `evaluations` points, starting at `start`.

    The search is COBYQA, a successor of Powell's methods in scipy. It keeps quadratic models in a trust region, stays inside
    the box and needs no gradient. It starts at the shared alpha, and its first radius (a fifth of the box) spans the steps of
    the accuracy. It was compared with scipy's other methods for such functions, on piecewise constant ones with 9 and 11 alphas
    and 50 evaluations: COBYLA was second, and Powell, Nelder-Mead and DIRECT gained less than 70 % as much. The search is
    deterministic. Alphas are rounded to hundredths.
    """
    from scipy.optimize import minimize

    def loss(x: np.ndarray) -> float:
        return -score(tuple(min(limit, max(0.0, round(float(alpha), 2))) for alpha in x))

    options = {"maxfev": evaluations, "initial_tr_radius": 0.2 * limit, "final_tr_radius": 0.01 * limit}
    minimize(loss, np.array(start), method="COBYQA", bounds=[(0.0, limit)] * len(start), options=options)


class Path:
    """Moves an encoder to theta_0 + sum_i alphas_i v_i in place. Only the tensors that a vector changes are written.

    Every move starts from theta_0, so that rounding does not add up. The weights are bit-exactly those of
    `models.merging.patched`. LoRA restarts from no change.
    """

    def __init__(self, encoder: DualEncoder, theta_0: Mapping[str, Tensor], vectors: Sequence[Vector]):
        self.encoder, self.theta_0, self.vectors = encoder, theta_0, list(vectors)
        self.at: Point | None = None
        self.moves_text, self.moves_images = tuning.trains_text(encoder), tuning.trains_images(encoder)
        tuning.set_weights(encoder, theta_0)
        live = tuning.live(encoder)
        changed = dict.fromkeys(name for vector in vectors for name in vector)
        # One entry for names that share their storage.
        self.slots = {(live[name].data_ptr(), live[name].shape): (name, live[name]) for name in changed}
        self._shared: dict[str, Tensor] = {}
        self._placed = False

    def move(self, alphas: Point) -> None:
        """Give the encoder the weights of these alphas."""
        if alphas == self.at:
            return
        self.at = alphas
        direction, alpha = self._direction(alphas)
        with torch.no_grad():
            zeros = [self.theta_0[name] for name, _ in self.slots.values()]
            steps = [direction[name].to(tensor.device) for name, tensor in self.slots.values()]
            place_all(zeros, steps, alpha, [tensor for _, tensor in self.slots.values()])
        if self.moves_images:
            self.encoder.touch_images()
        if self.moves_text:
            self.encoder.touch_text()

    def _direction(self, alphas: Point) -> tuple[Mapping[str, Tensor], float]:
        if len(set(alphas)) > 1:
            if not self._placed:
                # On the encoder's device, because a whole search combines them.
                self.vectors = [{n: d.to(self.theta_0[n].device) for n, d in vector.items()} for vector in self.vectors]
                self._placed = True
            return weighted(self.vectors, alphas)
        if not self._shared:
            # Kept on the encoder's device, because a whole search uses it.
            self._shared = {n: d.to(self.theta_0[n].device) for n, d in weighted(self.vectors, alphas)[0].items()}
        return self._shared, alphas[0]


class AnswerCounter:
    """Counts correct answers on one split of each domain, for many weights in one pass over the decoded images.

    `domains` are by task label, `split` is "val" for a search and "test" for a curve. `known` has the correct answers at a
    path's start, alpha = 0, by question. Heads are template ensembles, made once per run unless the text tower trains, and
    shared with a `classifier` of the same task labels if there is one. The predictions are those of `metrics.evaluate`.
    """

    def __init__(
        self,
        encoder: DualEncoder,
        domains: Mapping[int, Domain],
        split: Literal["val", "test"] = "val",
        progress: Progress = lambda done, total, what: None,
        batch_size: int = 256,
        duplicates: str = "own",
        classifier: PromptClassifier | None = None,
    ):
        self.encoder, self.domains, self.split, self.progress = encoder, domains, split, progress
        self.batch_size = batch_size
        self.known: dict[str, int] = {}
        self._classifier = PromptClassifier(encoder) if classifier is None else classifier.sharing_heads()
        self._classifier.training, self._classifier.duplicates = False, duplicates
        self._heads: dict[str, Tensor] = {}

    def size(self, question: Question) -> int:
        """Return the number of a question's images."""
        images: Any = getattr(self.domains[question.label], self.split)
        return 0 if images is None else len(images)

    def count(self, path: Path, points: Sequence[Point], questions: Sequence[Question]) -> np.ndarray:
        """Return the correct answers [P, Q] at the path's points.

        The encoder is left at one of the points, in the training mode that it had.
        """
        columns = []
        with evaluating(self.encoder), torch.inference_mode():
            for i, question in enumerate(questions):
                self.progress(i, len(questions), f"alpha: {self.domains[question.label].name}")
                columns.append(self._column(path, points, question))
        return np.array(columns, dtype=np.int64).reshape(len(questions), len(points)).T

    def compare(self, path: Path, points: Sequence[Point], question: Question) -> Comparison:
        """Compare the answers at some points of a path with those at the first one, and the features at both ends."""
        ends: dict[Point, list[Tensor]] = {points[0]: [], points[-1]: []}
        with evaluating(self.encoder), torch.inference_mode():
            right = self._right(path, points, question, ends)
        first, last = (
            torch.cat(ends[point]).double().numpy() if ends[point] else np.zeros((0, 0)) for point in (points[0], points[-1])
        )
        return Comparison(
            right.sum(dim=1).tolist(),
            (right[:1] & ~right).sum(dim=1).tolist(),
            _or_none(linear_cka, first, last),
            _or_none(debiased_cka, first, last),
        )

    def _column(self, path: Path, points: Sequence[Point], question: Question) -> list[int]:
        known = self.known.get(question.key)
        asked = [point for point in points if any(point) or known is None]
        counts = dict(zip(asked, self._right(path, asked, question).sum(dim=1).tolist(), strict=True))
        for point in points:
            if not any(point):
                self.known[question.key] = counts[point] = counts[point] if known is None else known
        return [counts[point] for point in points]

    def _right(
        self, path: Path, points: Sequence[Point], question: Question, features: Mapping[Point, list[Tensor]] | None = None
    ) -> Tensor:
        """Return whether each image is classified correctly at each point, bool [P, N].

        The lists of `features` get the image features [B, d] of each batch at their points.
        """
        heads = [self._head(path, point, question) for point in points]
        self._classifier.compete(question.label, question.rivals)
        groups = self._classifier.groups(question.label) if points else None
        images = getattr(self.domains[question.label], self.split)
        batches = pixel_batches(images, self.encoder.preprocess, self.batch_size) if points and images is not None else ()
        right = [torch.zeros(len(points), 0, dtype=torch.bool, device=self.encoder.device)]
        for pixels, labels in batches:
            pixels = self.encoder.normalise(pixels.to(self.encoder.device))
            labels, answers = labels.to(self.encoder.device), []
            for point, head in zip(points, heads, strict=True):
                path.move(point)
                encoded = self.encoder.encode_images(pixels)
                if features is not None and point in features:
                    features[point].append(encoded.float().cpu())
                logits = self._classifier.settled(self.encoder.logits(encoded, head), question.label)
                if groups is not None:
                    logits = among_candidates(logits, groups, groups[labels])
                answers.append(is_correct(logits, labels))
            right.append(torch.stack(answers))
        return torch.cat(right, dim=1)

    def _head(self, path: Path, point: Point, question: Question) -> Tensor:
        """Return the head's unit rows: the task's classes, then its rivals'."""
        if not path.moves_text and question.key in self._heads:
            return self._heads[question.key]
        for label in (question.label, *question.rivals):
            self._classifier.register_domain(label, self.domains[label])
        path.move(point)
        self._classifier.compete(question.label, question.rivals)
        head = self._classifier.head(question.label)
        if not path.moves_text:
            self._heads[question.key] = head
        return head


class Search:
    """The points evaluated so far along a path, and the choice among them. No point is evaluated twice.

    `start`, shared by the searches of a run, collects the initial model's correct answers on supported tasks. These are the
    answers at the run's first point of all zeros. For the rule "bounded" that point is evaluated even if it is not on the grid.
    """

    def __init__(
        self,
        validation: AnswerCounter,
        path: Path,
        patching: Sequence[Question],
        supported: Sequence[Question],
        rule: Rule = "mean",
        epsilon: float = 1.0,
        start: dict[str, int] | None = None,
    ):
        self.validation, self.path, self.rule, self.epsilon = validation, path, rule, epsilon
        self.patching, self.supported = list(patching), list(supported)
        self.questions = [*patching, *supported]
        self.start = {} if start is None else start
        self.counts: dict[Point, np.ndarray] = {}
        if rule == "bounded" and not all(question.key in self.start for question in supported):
            self.ask([(0.0,) * len(path.vectors)])

    def ask(self, points: Sequence[Point]) -> None:
        """Count these points' correct answers, in one pass over the images."""
        new = [point for point in dict.fromkeys(points) if point not in self.counts]
        if not new:
            return
        for point, row in zip(new, self.validation.count(self.path, new, self.questions), strict=True):
            self.counts[point] = row
            if not any(point):
                counts = self.correct(point)
                for question in self.supported:
                    self.start.setdefault(question.key, counts[question.key])

    def best(self) -> Point:
        """Return the best of the evaluated points (`choose`)."""
        points = list(self.counts)
        return points[choose(points, self.scores(points), self.rule, self.epsilon, self._initial())]

    def value(self, point: Point) -> float:
        """Return the score for an optimiser: the rule's, minus 10 for each point of accuracy lost beyond the bound."""
        self.ask([point])
        scores = self.scores([point])
        patching = float(scores.patching[0])
        if scores.supported is None:
            return patching
        supported, initial = float(scores.supported[0]), self._initial()
        if self.rule == "mean" or initial is None:
            return (patching + supported) / 2
        return patching - 10 * max(0.0, initial - supported - self.epsilon)

    def scores(self, points: Sequence[Point]) -> Scores:
        """Return the mean accuracies at evaluated points."""
        sizes = np.array([self.validation.size(question) for question in self.questions])
        percent = 100 * np.stack([self.counts[point] for point in points]) / sizes
        split = len(self.patching)
        return Scores(percent[:, :split].mean(axis=1), percent[:, split:].mean(axis=1) if self.supported else None)

    def correct(self, point: Point) -> dict[str, int]:
        """Return the correct answers at an evaluated point, by question."""
        return {question.key: int(count) for question, count in zip(self.questions, self.counts[point], strict=True)}

    def record(self) -> dict[str, list[Any]]:
        """Return all evaluated points and their mean accuracies in percent (`supported` is empty without supported tasks)."""
        points = list(self.counts)
        scores = self.scores(points)
        supported = [] if scores.supported is None else scores.supported.tolist()
        return {"points": [list(point) for point in points], "patching": scores.patching.tolist(), "supported": supported}

    def _initial(self) -> float | None:
        """Return the initial model's mean accuracy on the supported tasks, in percent, or None if it is not known."""
        if not self.supported or not all(question.key in self.start for question in self.supported):
            return None
        return float(np.mean([100 * self.start[q.key] / self.validation.size(q) for q in self.supported]))


def _or_none(similarity: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, last: np.ndarray) -> float | None:
    """Return a similarity of features, or None where it is undefined."""
    try:
        return similarity(first, last)
    except ValueError:
        return None
