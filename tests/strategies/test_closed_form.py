"""Closed-form methods: one regression on all tasks' images in any order, their formulas, and zero-shot's Transfer."""

import numpy as np
import pytest
import torch

from benchmarks.scenario import scenario
from metrics.plugins import AccuracyMatrix
from models.registry import UserError
from strategies import rail, ridge
from strategies.rail import RAIL
from strategies.ranpac import RanPAC
from strategies.simple_cil import SimpleCIL
from strategies.zero_shot import ZeroShot

METHODS = [
    (SimpleCIL, {}),
    (RanPAC, {"width": 40, "ridge": 2.0}),
    (RAIL, {"width": 40}),
    (RAIL, {"width": 0}),
    (RAIL, {"kernel": "gaussian"}),
]


@pytest.fixture
def domains(toy_domain):
    return [toy_domain("a", 3), toy_domain("b", 5, seed=1), toy_domain("c", 2, seed=2)]


@pytest.fixture
def learned(toy_encoder, domains):
    """A method that has learned the tasks in an order, in float64."""

    def learn(method, options, order=(0, 1, 2)):
        strategy = method(encoder=toy_encoder().double(), options=method.Options(**options))
        for experience in scenario([domains[i] for i in order], encoder=strategy.encoder).train_stream:
            strategy.train(experience, eval_streams=[])
        return strategy

    return learn


def all_images(strategy, domains):
    """Features of all tasks' images, and one-hot labels over the classes in the order of the domains."""
    taken = [strategy.task_features(domain=domain) for domain in domains]
    offsets = np.cumsum([0, *(len(domain.classnames) for domain in domains)])
    labels = np.concatenate([part.labels.numpy() + offset for part, offset in zip(taken, offsets, strict=False)])
    return np.concatenate([part.features.numpy() for part in taken]), np.eye(offsets[-1])[labels]


def by_class(strategy, columns, order, domains):
    """Columns in the order of the domains, from the order of learning."""
    sizes = [len(domains[i].classnames) for i in order]
    parts = dict(zip(order, columns.split(sizes, dim=-1), strict=True))
    return torch.cat([parts[i] for i in range(len(order))], dim=-1).numpy()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize(("method", "options"), METHODS[1:4])
def test_the_weights_are_those_of_one_ridge_on_all_tasks_images(method, options, order, learned, domains):
    strategy = learned(method, options, order)
    features, targets = all_images(strategy, domains)
    assert features.dtype == np.float64
    hidden = features if strategy.projection is None else np.maximum(features @ strategy.projection.numpy(), 0)
    wanted = np.linalg.solve(hidden.T @ hidden + strategy.options.ridge * np.eye(hidden.shape[1]), hidden.T @ targets)
    assert np.abs(by_class(strategy, strategy.coefficients, order, domains) - wanted).max() < 1e-6


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_dual_form_is_one_kernel_ridge_on_all_tasks_images(order, learned, domains):
    strategy = learned(RAIL, {"kernel": "gaussian", "gamma": 0.5}, order)
    features, targets = all_images(strategy, domains)
    new = features[::7] + 0.1

    def kernel(one):
        return np.exp(-0.5 * ((one[:, None] - features[None]) ** 2).sum(axis=2))

    wanted = kernel(new) @ np.linalg.solve(kernel(features) + 0.001 * np.eye(len(features)), targets)
    got = by_class(strategy, strategy.learned_scores(torch.tensor(new)), order, domains)
    assert np.abs(got - wanted).max() < 1e-6


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_means_are_those_of_all_images(order, learned, domains):
    strategy = learned(SimpleCIL, {}, order)
    features, targets = all_images(strategy, domains)
    wanted = targets.T @ features / targets.sum(axis=0)[:, None]
    assert np.abs(by_class(strategy, strategy.means.T, order, domains).T - wanted).max() < 1e-6
    scores = by_class(strategy, strategy.learned_scores(torch.tensor(features)), order, domains)
    cosines = features @ (wanted / np.linalg.norm(wanted, axis=1, keepdims=True)).T
    assert np.abs(scores - cosines).max() < 1e-6


@pytest.mark.parametrize("protocol", ["task", "class", "agnostic"])
@pytest.mark.parametrize(("method", "options"), METHODS)
def test_transfer_is_exactly_zero_shots(method, options, protocol, domains, toy_encoder):
    def rows(kind, **changes):
        accuracy = AccuracyMatrix()
        strategy = kind(encoder=toy_encoder(), options=kind.Options(**changes), metrics=[accuracy])
        stream = scenario(domains, encoder=strategy.encoder, protocol=protocol)
        strategy.eval(stream.streams["test"])
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
            strategy.eval(stream.streams["test"])
        return accuracy.rows

    zero, mine = rows(ZeroShot), rows(method, **options)
    for after in range(4):
        for i, domain in enumerate(domains):
            if i >= after:
                assert mine[after]["test", domain.name] == zero[after]["test", domain.name]
    last = [sum(cell.correct for cell in table[3].values()) for table in (zero, mine)]
    assert last[1] > last[0]


def test_the_rule_by_hand(encoder, domains, monkeypatch):
    """Two learned classes and two others. Zero-shot takes the first image for a learned class, the second one for another."""
    strategy = RAIL(encoder=encoder, options=RAIL.Options(width=0, share=0.75))
    strategy.learned, strategy.trained = {0: 2}, 1
    logits = torch.tensor([[2.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    regression = torch.tensor([[0.1, 0.6], [0.9, 0.9]])
    monkeypatch.setattr(RAIL.__mro__[3], "predict", lambda self, features, candidates: logits)
    monkeypatch.setattr(RAIL, "learned_scores", lambda self, features: regression)
    from models.candidates import Candidates

    candidates = Candidates([(0, ("x", "y")), (1, ("z", "w"))])
    scale, p = encoder.clip.logit_scale.exp(), torch.tensor([np.exp(2), 1, np.e, np.e]) / (np.exp(2) + 1 + 2 * np.e)
    with torch.no_grad():
        got = strategy.predict(torch.zeros(2, 3), candidates)
    assert torch.allclose(got[0, :2], (scale * (0.25 * p[:2] + 0.75 * regression[0])).float())
    assert (got[0, 2:] < got[0, :2].min()).all() and torch.equal(got[1], logits[1])
    strategy.options = RAIL.Options(width=0, share=0.75, rule="always")
    with torch.no_grad():
        got = strategy.predict(torch.zeros(2, 3), candidates)
    assert torch.allclose(got[0], (scale * (0.25 * p + torch.tensor([0.075, 0.45, 0, 0]))).float())
    # A class that is not learned ties with a learned one: it counts as not learned.
    strategy.options, logits[0] = RAIL.Options(width=0), torch.tensor([1.0, 0.0, 1.0, 0.0])
    with torch.no_grad():
        assert torch.equal(strategy.predict(torch.zeros(2, 3), candidates), logits)


def test_the_ridge_is_chosen_on_a_fifth_of_the_images(learned, domains):
    generator = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(50, 6, generator=generator), torch.randint(0, 3, (50,), generator=generator)
    order = torch.randperm(50, generator=generator)
    x, y, cut = inputs.double().numpy()[order], np.eye(3)[labels[order]], 40
    errors = []
    for value in ridge.CANDIDATES:
        weights = np.linalg.solve(x[:cut].T @ x[:cut] + value * np.eye(6), x[:cut].T @ y[:cut])
        errors.append(((x[cut:] @ weights - y[cut:]) ** 2).mean())
    assert ridge.best_ridge(inputs, labels, 3, order) == ridge.CANDIDATES[int(np.argmin(errors))]
    assert ridge.best_ridge(inputs[:1], labels[:1], 3, torch.arange(1)) == 1.0
    strategy = learned(RanPAC, {"width": 40})
    assert [search["task"] for search in strategy.searches] == ["a", "b", "c"]
    assert strategy.ridge == strategy.searches[-1]["ridge"] in ridge.CANDIDATES


@pytest.mark.parametrize(("method", "options"), METHODS)
def test_state(method, options, learned, toy_encoder):
    strategy = learned(method, options)
    again = method(encoder=toy_encoder().double(), options=method.Options(**options))
    again.prepare_run()
    again.load(again.state())  # nothing is learned yet
    again.load(strategy.state())
    features = torch.nn.functional.normalize(torch.randn(4, 32, dtype=torch.float64), dim=1)
    assert torch.equal(strategy.learned_scores(features), again.learned_scores(features)) and again.learned == strategy.learned


def test_the_dual_form_stores_a_limited_number_of_images(learned, monkeypatch):
    monkeypatch.setattr(rail, "MOST_STORED", 100)
    with pytest.raises(UserError, match=r"stores all training images, 144 after c, and can store 100\. Use fewer --shots"):
        learned(RAIL, {"kernel": "gaussian"})
