"""The best class of each task is enough to score a row among any choice of tasks."""

import numpy as np
import pytest
import torch

from metrics.prediction_log import predictions
from metrics.prediction_scores import TaskScores, answers, competing, confidence_among

CLASSES = (2, 3, 2)


def test_which_tasks_compete():
    own = np.array([1, 2, 3])
    assert competing(own, 3, "task", 1).tolist() == np.eye(3, dtype=bool).tolist()
    assert competing(own, 3, "class", 1).tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    assert competing(own, 3, "class", 2).tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert competing(own, 3, "agnostic", 0).all()


@pytest.fixture
def saved():
    """Logits of 30 images by task, and what is kept of them; the third class of task 2 is a class of task 1."""
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(30) % 3
    by_task = [torch.randn(30, n, generator=generator) * 3 for n in CLASSES]
    label = torch.stack([torch.randint(0, CLASSES[t], (), generator=generator) for t in own.tolist()])
    rows = {"best": [], "score": [], "mass": []}
    for i, t in enumerate(own.tolist()):
        columns = [(t, list(range(CLASSES[t])))]
        columns += [(r, [c for c in range(CLASSES[r]) if (t, r, c) != (0, 1, 2)]) for r in range(3) if r != t]
        logits = torch.cat([by_task[r][i, classes] for r, classes in columns])
        kept = predictions(logits[None], columns, 3)
        top = logits.softmax(0).sort(descending=True)
        names = [(r + 1, c) for r, classes in columns for c in classes]
        taken = list(zip(kept["top_task"][0].tolist(), kept["top_class"][0].tolist(), strict=True))
        assert taken == [names[k] for k in top.indices[:5]] and torch.equal(kept["top_probability"][0], top.values[:5])
        assert kept["best"][0, 0] == by_task[t][i].argmax() == kept["best"][0, t + 1]
        for name in rows:
            rows[name].append(kept[name][0, 1:].numpy())
    arrays = {name: np.stack(values) for name, values in rows.items()}
    scores = TaskScores(own.numpy() + 1, label.numpy(), arrays["best"], *(arrays[n].astype(float) for n in ("score", "mass")))
    return by_task, scores


@pytest.mark.parametrize(("protocol", "after"), [("task", 1), ("class", 0), ("class", 2), ("agnostic", 1)])
def test_answers_are_those_of_the_whole_logits(saved, protocol, after):
    by_task, scores = saved
    result = answers(scores, competing(scores.own, 3, protocol, after))
    for i, own in enumerate(scores.own - 1):
        last = {"task": -1, "class": max(after - 1, own), "agnostic": 2}[protocol]
        tasks = [own, *(t for t in range(last + 1) if t != own)]
        logits = torch.cat([by_task[t][i, :2] if (own, t) == (0, 1) else by_task[t][i] for t in tasks])
        assert result.correct[i] == (int(logits.argmax()) == scores.label[i])
        assert result.confidence[i] == pytest.approx(float(logits.softmax(0).max()), rel=1e-5)


def test_confidence_among_the_learned_tasks(saved):
    by_task, scores = saved
    expected = [float(torch.cat([by_task[0][i], by_task[1][i]]).softmax(0).max()) for i in range(30)]
    kept = scores.own > 1
    assert confidence_among(scores, 2)[kept] == pytest.approx(np.array(expected)[kept], rel=1e-5)


def test_tasks_that_did_not_compete_are_refused():
    kept = predictions(torch.tensor([[1.0, 2.0]]), [(1, [0, 1])], 3)
    assert kept["best"].tolist() == [[1, -1, 1, -1]] and kept["top_class"].tolist() == [[1, 0]]
    best, score, mass = (kept[name].numpy()[:, 1:] for name in ("best", "score", "mass"))
    scores = TaskScores(np.array([2]), np.array([1]), best, score, mass)
    assert answers(scores, competing(scores.own, 3, "task", 1)).correct.tolist() == [True]
    with pytest.raises(ValueError, match="not saved"):
        answers(scores, competing(scores.own, 3, "agnostic", 1))
    assert np.isnan(confidence_among(scores, 1)).all()


def test_a_rival_without_other_classes_never_wins():
    kept = predictions(torch.tensor([[1.0, 2.0]]), [(0, [0, 1]), (1, [])], 2)
    best, score, mass = (kept[name].numpy()[:, 1:] for name in ("best", "score", "mass"))
    result = answers(TaskScores(np.array([1]), np.array([1]), best, score, mass), competing(np.array([1]), 2, "agnostic", 0))
    assert result.correct.tolist() == [True]
    assert result.confidence[0] == pytest.approx(np.exp(2) / (np.exp(1) + np.exp(2)))
