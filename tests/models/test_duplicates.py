"""Classes that two competing tasks share, by the three rules."""

import pytest
import torch

from benchmarks.data.domain import Domain
from benchmarks.plan import DUPLICATES
from models.candidates import Candidates
from models.classifier import PromptClassifier
from models.duplicates import LOWEST, duplicates, first_of, merged

# An image of task 1 with classes a and b. Task 0 has a too, and task 2 has b and a.
COLUMNS = [(1, [0, 1]), (0, [0, 1]), (2, [0, 1, 2])]
KEYS = {0: ["a", "c"], 1: ["a", "b"], 2: ["b", "d", "a"]}


def test_pairs_of_columns_of_one_class():
    same = duplicates(COLUMNS, KEYS)
    pairs = {(int(own), int(other)): bool(earlier) for own, other, earlier in zip(*same, strict=True)}
    assert pairs == {(0, 2): True, (1, 4): False, (0, 6): False}
    assert len(duplicates(COLUMNS[:1], KEYS).own) == 0


def test_merged_classes_have_their_largest_logit():
    logits = torch.tensor([[1.0, 2.0, 5.0, 4.0, 0.0, 3.0, 9.0], [7.0, 2.0, 5.0, 4.0, 3.0, 0.0, 1.0]])
    result = merged(logits, duplicates(COLUMNS, KEYS))
    expected = [[9.0, 2.0, LOWEST, 4.0, LOWEST, 3.0, LOWEST], [7.0, 3.0, LOWEST, 4.0, LOWEST, 0.0, LOWEST]]
    assert result.tolist() == torch.tensor(expected).tolist()
    assert merged(logits, duplicates([(1, [0, 1]), (0, [1])], KEYS)) is not None


def test_the_first_of_tied_columns_wins():
    """Class a of task 1 has lost to task 0, and the classes of task 2 to it."""
    logits = torch.tensor([[5.0, 2.0, 5.0, 4.0, 2.0, 3.0, 5.0]])
    same = duplicates(COLUMNS, KEYS)
    for tied in (True, False):
        assert first_of(logits, same, tied).tolist() == torch.tensor([[LOWEST, 2.0, 5.0, 4.0, LOWEST, 3.0, LOWEST]]).tolist()


def test_scores_of_a_method_need_not_tie():
    """A method may know the task of a class: the larger score stays, and the others are those of lost ties."""
    logits = torch.tensor([[6.0, 2.0, 5.0, 4.0, 2.5, 3.0, 7.0]])
    result = first_of(logits, duplicates(COLUMNS, KEYS), tied=False)
    assert result.tolist() == logits.tolist()


@pytest.fixture
def classifier(encoder):
    names = {0: ("cat", "sky"), 1: ("Cat", "dog"), 2: ("dog", "fox")}
    result = PromptClassifier(encoder).eval()
    for task, classnames in names.items():
        template = "a picture of a {}." if task == 2 else "a {}."
        result.register_domain(task, Domain(f"d{task}", classnames, (template,), None, None, None))
    return result


@torch.no_grad()
def test_the_rules_on_prompts(classifier, encoder):
    features = torch.nn.functional.normalize(torch.randn(200, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    heads = [encoder.logits(features, classifier.text_features(task)) for task in range(3)]
    answers = {}
    for rule in DUPLICATES:
        classifier.duplicates = rule
        for task in range(3):
            classifier.compete(task, [other for other in range(3) if other != task])
            answers[rule, task] = classifier.classify(features, task).argmax(dim=1)
    everything = torch.cat(heads, dim=1)
    best = everything.argmax(dim=1)  # 0 cat, 1 sky, 2 Cat, 3 dog, 4 dog in another template, 5 fox
    # By name: answers 3 and 4 are right for the dog of task 1 and for that of task 2.
    dog = (best == 3) | (best == 4)
    assert ((answers["merge", 1] == 1) == dog).all() and ((answers["merge", 2] == 0) == dog).all() and dog.any()
    # By prompt, the two dogs differ.
    assert ((answers["own", 1] == 1) == (best == 3)).all() and ((answers["index", 1] == 1) == (best == 3)).all()
    assert ((answers["merge", 0] == 0) == ((best == 0) | (best == 2))).all()


@torch.no_grad()
def test_by_index_equal_prompts_belong_to_the_first_task(encoder):
    classifier = PromptClassifier(encoder).eval()
    for task, classnames in enumerate((("cat", "sky"), ("cat", "dog"))):
        classifier.register_domain(task, Domain(f"d{task}", classnames, ("a {}.",), None, None, None))
    features = classifier.text_features(0)[:1]  # an image of a cat, as far as the text tower knows
    right = {}
    for rule in DUPLICATES:
        classifier.duplicates = rule
        for task in (0, 1):
            classifier.compete(task, [1 - task])
            right[rule, task] = bool(classifier.classify(features, task).argmax() == 0)
    assert right == {
        ("own", 0): True, ("own", 1): True, ("merge", 0): True, ("merge", 1): True, ("index", 0): True, ("index", 1): False,
    }  # fmt: skip
    # A method that scores the task's own class higher is right by index too.
    classifier.duplicates, candidates = "index", Candidates([(0, ("cat", "sky")), (1, ("cat", "dog"))])
    assert candidates[2].name == "cat"
    scores = torch.tensor([[1.0, 0.0, 1.5, 0.0], [1.0, 0.0, 1.0, 0.0]])
    assert classifier.arrange(scores, 1, candidates).argmax(dim=1).tolist() == [0, 2]
    assert classifier.arrange(scores, 0, candidates).argmax(dim=1).tolist() == [2, 0]
