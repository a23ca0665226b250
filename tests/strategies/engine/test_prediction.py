"""The hook `predict`: one order of candidates, the same logits as without it, and no way to the task of a test image."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import DomainExperience, scenario
from models.candidates import Candidate, Candidates
from models.padding import PADDING
from models.registry import UserError
from strategies import Strategy
from strategies.engine import prediction


class Passes(Strategy):
    """Predicts as the base class does, and keeps what it is asked."""

    trains = False

    def predict(self, features, candidates):
        self.asked = [*getattr(self, "asked", []), candidates]
        return super().predict(features, candidates)


@pytest.fixture
def domains(toy_domain):
    """Three tasks, of which the last shares a class with the first, and a held-out domain."""
    shared = replace(toy_domain("c", 4, seed=3), classnames=("c 0", "a 1", "c 2", "c 3"))
    return [toy_domain("a", 3), toy_domain("b", 5, seed=1), shared], [toy_domain("h", 2, seed=2)]


@pytest.fixture
def logits(toy_encoder, kept_logits):
    """The logits of every test batch after a number of tasks."""

    def evaluate(method, streams, trained=1):
        plugin = kept_logits()
        strategy = method(encoder=toy_encoder(), plugins=[plugin], eval_batch_size=10)
        strategy.trained = trained
        strategy.eval([*streams.streams["test"], *streams.streams["heldout"]])
        return strategy, plugin.seen

    return evaluate


def test_candidates():
    candidates = Candidates([(0, ("x", "y")), (3, ("z",))])
    assert list(candidates) == [Candidate(0, 0, "x"), Candidate(0, 1, "y"), Candidate(3, 0, "z")] and len(candidates) == 3
    assert candidates.tasks == (0, 3) and candidates.columns(3) == slice(2, 3) and candidates[1:] == list(candidates)[1:]
    with pytest.raises(KeyError):
        candidates.columns(1)


@pytest.mark.parametrize("protocol", ["task", "class", "agnostic"])
def test_the_base_class_predicts_as_without_the_hook(protocol, domains, logits):
    streams = scenario(*domains, protocol=protocol)
    _, plain = logits(Strategy, streams)
    strategy, predicted = logits(Passes, streams)
    assert len(plain) == len(predicted) > 4
    for one, other in zip(plain, predicted, strict=True):
        assert one.shape == other.shape and torch.allclose(one, other, atol=1e-5)
    asked = {candidates.tasks for candidates in strategy.asked}
    later = {(0, 1), (0, 1, 2)}
    assert asked == {"task": {(0,), (1,), (2,), (3,)}, "class": {(0,), *later, (3,)}, "agnostic": {(0, 1, 2), (3,)}}[protocol]
    if protocol == "agnostic":
        names = [*domains[0][0].classnames, *domains[0][1].classnames, *domains[0][2].classnames]
        assert [candidate.name for candidate in strategy.asked[0]] == names


def test_a_batch_of_several_tasks(domains, toy_encoder):
    """Each image gets the logits that it gets in a batch of its task."""
    streams = scenario(*domains, protocol="class")
    strategy = Passes(encoder=toy_encoder())
    strategy.model.eval()
    for experience in streams.streams["test"]:
        strategy.classifier.register_domain(experience.task_label, experience.domain)
        strategy.classifier.compete(experience.task_label, experience.rivals(1))
    items = [experience.dataset.eval()[i] for i in range(2) for experience in streams.streams["test"]]
    images, labels, tasks = (torch.stack([torch.as_tensor(item[k]) for item in items]) for k in range(3))
    strategy.mbatch, strategy.is_training = [images, labels, tasks], False
    with torch.no_grad():
        got, features = strategy.forward(), strategy.encoder.encode_images(images)
        expected = strategy.classifier.classify(features, tasks)
    assert got.shape == expected.shape == (6, 11) and torch.allclose(got, expected, atol=1e-5)
    assert got[0, 3:].tolist() == [PADDING] * 8


def test_questions_keep_their_options(toy_domain, logits):
    asking = replace(toy_domain("q", 4), groups=(0, 0, 1, 1))
    _, plain = logits(Strategy, scenario([asking]))
    _, predicted = logits(Passes, scenario([asking]))
    assert torch.allclose(torch.cat(plain), torch.cat(predicted), atol=1e-5)
    assert (torch.cat(predicted) == PADDING).sum(dim=1).tolist() == [2] * 24


class Truth:
    """Holds the present batch outside of the strategy."""

    batch = None


@pytest.fixture
def truth(monkeypatch):
    original = prediction.withheld

    def withheld(strategy):
        Truth.batch = strategy.mbatch
        return original(strategy)

    monkeypatch.setattr(prediction, "withheld", withheld)


def reached(root, known, depth=4):
    """Return the objects of `known`, and experiences, that are reached from an object through attributes and containers."""
    found, seen, front = [], set(), [root]
    for _ in range(depth):
        following = []
        for thing in front:
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if any(thing is each for each in known) or isinstance(thing, DomainExperience):
                found.append(thing)
            elif isinstance(thing, dict):
                following += [*thing.keys(), *thing.values()]
            elif isinstance(thing, (list, tuple, set)):
                following += thing
            elif hasattr(thing, "__dict__") and not isinstance(thing, type):
                following += vars(thing).values()
        front = following
    return found


class Tries(Strategy):
    trains = False
    found = ()

    def test_features(self):
        self.look()
        return super().test_features()

    def predict(self, features, candidates):
        self.look()
        assert self.mb_x.shape[0] == len(features)
        # Private counters of the pass through the frozen tower.
        type(self).found += tuple(reached(self, Truth.batch[1:], depth=6))
        return super().predict(features, candidates)

    def look(self):
        for name in ("mb_y", "mb_task_id"):
            with pytest.raises(UserError, match="labels and tasks of test images are withheld"):
                getattr(self, name)
        with pytest.raises(UserError, match="withheld"):
            self.mbatch[-1]
        assert self.experience is None and self.classifier.rivals == {} and not self.plugins and self.evaluator is None


@pytest.mark.parametrize("protocol", ["class", "agnostic"])
def test_a_method_that_tries_does_not_reach_the_task(protocol, domains, toy_encoder, truth, kept_logits):
    streams = scenario(*domains, protocol=protocol)
    strategy = Tries(encoder=toy_encoder(), plugins=[kept_logits()], eval_batch_size=10)
    strategy.eval([*streams.streams["test"], *streams.streams["heldout"]])
    assert Truth.batch is not None and Tries.found == ()
    # Afterwards everything is in its place, and the search does find it.
    assert strategy.plugins and strategy.evaluator is not None
    strategy.mbatch = Truth.batch
    assert len(reached(strategy, Truth.batch[1:])) >= 2


def test_scores_of_another_shape_are_refused(stream, logits):
    class Cuts(Strategy):
        def predict(self, features, candidates):
            return super().predict(features, candidates)[:, 1:]

    class Says(Strategy):
        def predict(self, features, candidates):
            return candidates[0]

    with pytest.raises(
        UserError, match=r"Cuts.predict must return a tensor of shape \(10, 3\).*got a tensor of shape \(10, 2\)"
    ):
        logits(Cuts, stream)
    with pytest.raises(UserError, match="got Candidate"):
        logits(Says, stream)


def test_a_users_class_that_can_read_the_task_is_refused_where_it_is_unknown(domains, logits):
    class Reads(Strategy):
        def class_logits(self, features):
            return super().class_logits(features)

    class Predicts(Reads):
        def predict(self, features, candidates):
            return super().predict(features, candidates)

    with pytest.raises(UserError, match=r"Reads overrides class_logits.*override predict"):
        logits(Reads, scenario(*domains, protocol="agnostic"))
    assert logits(Reads, scenario(*domains))[1] and logits(Predicts, scenario(*domains, protocol="agnostic"))[1]
