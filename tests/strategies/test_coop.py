"""Learned contexts: they start as the words, are all that trains, and S-Prompts chooses them by the nearest centre."""

import pytest
import torch

from benchmarks.scenario import scenario
from models.registry import UserError
from models.route import routed
from models.scaled import Share
from strategies.coop import CONTEXT, CoOp
from strategies.s_prompts import SPrompts
from strategies.task_choice import k_means, nearest_task

QUICK = {"epochs": 0, "iterations": 4, "batch_size": 8, "lr": 0.5}
TEMPLATES = ("a photo of a {}.",)


@pytest.fixture
def domains(toy_domain):
    return [toy_domain("a", 3, templates=TEMPLATES), toy_domain("b", 5, seed=1, templates=TEMPLATES)]


def accuracies(strategy, stream):
    """The logits of all test images, by Avalanche's loop."""
    seen = []

    class Keep(type(strategy)):
        def predict(self, features, candidates):
            seen.append(super().predict(features, candidates))
            return seen[-1]

    strategy.__class__ = Keep
    strategy.eval(stream.test_stream)
    return torch.cat([scores.flatten() for scores in seen])


@pytest.mark.parametrize(("method", "changes"), [(CoOp, {}), (SPrompts, {"image_tokens": 0})])
def test_a_context_that_starts_as_the_words_is_zero_shot(method, changes, toy_encoder, domains):
    """With a learning rate of 0, after two tasks: a photo of a NAME. is the template of both."""
    stream = scenario(domains)
    strategy = method(encoder=toy_encoder(), options=method.Options(**{**QUICK, "lr": 0.0, **changes}))
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    plain = toy_encoder()
    with torch.no_grad():
        expected = [
            plain.logits(
                plain.encode_images(torch.stack([image for image, _ in d.test])),
                plain.encode_texts(plain.tokenize([f"a photo of a {name}." for name in d.classnames])),
            )
            for d in domains
        ]
    torch.testing.assert_close(accuracies(strategy, stream), torch.cat([e.flatten() for e in expected]), rtol=0, atol=1e-4)


def test_only_the_context_trains_and_it_serves_every_task(toy_encoder, domains, same):
    stream, before = scenario(domains), toy_encoder().state_dict()
    strategy = CoOp(encoder=toy_encoder(), options=CoOp.Options(**QUICK))
    contexts = []
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert [p.shape for p in strategy.trainable] == [(13, 32)]
        contexts.append(strategy.trainable[0].detach().clone())
    assert not torch.equal(contexts[0], contexts[1])
    after = strategy.encoder.state_dict()
    assert same({name: after[name] for name in before}, before)
    tokens = strategy.encoder.tokenize(["a photo of a b 0."])
    strategy.model.eval()
    with torch.no_grad(), routed(CONTEXT):
        text = strategy.encoder.encode_texts(tokens)
        torch.testing.assert_close(strategy.classifier.text_features(1)[:1], text, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(strategy.encoder.encode_texts(tokens), text, atol=1e-3)


def test_random_vectors_in_place_of_words(toy_encoder, stream):
    strategy = CoOp(encoder=toy_encoder(), options=CoOp.Options(**QUICK, random_tokens=3))
    strategy.train(stream.train_stream[0], eval_streams=[])
    # Bytes: "x x x ".
    assert strategy.trainable[0].shape == (6, 32)
    with pytest.raises(UserError, match="no words before the class name"):
        CoOp(encoder=toy_encoder(), options=CoOp.Options(**QUICK, context="")).train(stream.train_stream[0])


def test_each_image_gets_the_prompts_of_the_nearest_centre(toy_encoder, domains):
    stream = scenario(domains)
    strategy = SPrompts(encoder=toy_encoder(), options=SPrompts.Options(**QUICK, image_tokens=2, centres=2))
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    strategy.model.eval()
    with torch.no_grad():
        plain = toy_encoder()
        features = [plain.encode_images(torch.stack([image for image, _ in d.train])) for d in domains]
        tasks = [strategy.modules_of(t)["centres"].centres for t in (0, 1)]
        for rows, found in zip(features, tasks, strict=True):
            # The nearest centre of every image is the mean of the images that are nearest to it.
            nearest = torch.cdist(rows, found).argmin(dim=1)
            means = torch.stack([rows[nearest == k].mean(dim=0) for k in range(2)])
            torch.testing.assert_close(found, means, rtol=0, atol=1e-5)
        choice = strategy.choose(torch.cat(features))
        distances = [torch.cdist(torch.cat(features), found).amin(dim=1) for found in tasks]
        assert choice.tasks.tolist() == (distances[1] < distances[0]).long().tolist() and 0 < choice.tasks.sum() < 96
        assert choice.scales.unique().tolist() == [1.0]
        pixels = torch.stack([domains[0].test[0][0], domains[1].test[0][0]])
        with routed(Share(torch.tensor([0, 1]), torch.ones(2))):
            both = strategy.encoder.encode_images(pixels)
        for task in (0, 1):
            with routed(Share(task, 1.0)):
                torch.testing.assert_close(both[task : task + 1], strategy.encoder.encode_images(pixels[task : task + 1]))
        assert not torch.allclose(both, plain.encode_images(pixels), atol=1e-4)


def test_fewer_different_images_than_centres(toy_encoder, toy_domain):
    few = toy_domain("few", 2, train=2)
    strategy = SPrompts(encoder=toy_encoder(), options=SPrompts.Options(**QUICK, centres=5))
    strategy.train(scenario([few, toy_domain("b", 2, seed=1)]).train_stream[0], eval_streams=[])
    stored = strategy.modules_of(0)["centres"].centres
    assert len(stored) == 5 and len(torch.unique(stored, dim=0)) == 2
    assert nearest_task(stored, [stored]).tolist() == [0] * 5 and len(k_means(stored, 5, seed=0)) == 2
