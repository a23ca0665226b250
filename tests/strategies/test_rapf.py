"""RAPF: fusion, samples and losses against independent formulas."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.modes import evaluating
from strategies.engine.strategy import Batch
from strategies.rapf import RAPF, fused, near_pairs, normals, pair_loss
from strategies.zero_shot import ZeroShot

QUICK = {"iterations": 4, "epochs": 0, "batch_size": 8, "lr": 0.01}


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("bias", [0.0, 0.6])
def test_the_fusion_by_formula(bias):
    old, new = drawn(5, 5), drawn(5, 5, seed=1)
    u, s, vt = np.linalg.svd(old.numpy())
    p, q = u.T @ new.numpy(), np.diag(s) @ vt
    share = np.minimum(np.abs(p - q) / np.abs(p - q).max() + bias, 1)
    assert np.allclose(fused(old, new, bias).numpy(), u @ (share * p + (1 - share) * q))


def test_ends_of_the_fusion():
    old, new = drawn(5, 5), drawn(5, 5, seed=1)
    assert torch.allclose(fused(old, new, 1.0), new) and torch.allclose(fused(old, old, 0.0), old)
    # A single entry that moved in the basis of the old weights is the one that moved most: it keeps its new value.
    left = torch.linalg.svd(old).U
    moved = old + left @ F.one_hot(torch.arange(5), 5).double().roll(1, 0)[:, :1] @ torch.eye(5, dtype=torch.float64)[2:3]
    assert torch.allclose(fused(old, moved, 0.0), moved)


def test_pairs_and_their_loss_by_hand():
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [-1.0, 0.0]])
    # |t_0 - t_2|^2 = 0.04 + 0.36 = 0.4, |t_1 - t_2|^2 = 0.64 + 0.16 = 0.8, and the others are farther.
    assert near_pairs(texts, 2, 0.7).tolist() == [[0, 2]] and near_pairs(texts, 2, 0.9).tolist() == [[0, 2], [1, 2]]
    assert near_pairs(texts, 0, 9.0).shape == (0, 2)
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    # Rows: 0.1 - 1 + 0.8 < 0, and 0.1 - 0.6 + (0.48 + 0.48) = 0.46.
    loss = pair_loss(features, texts[[0, 0]], texts[[2, 2]], 0.1)
    assert float(loss) == pytest.approx(0.46 / 2)


def test_normal_distributions():
    features, labels = drawn(30, 4), torch.tensor([0] * 20 + [1] * 9 + [2])
    means, factors = normals(features, labels, 4)
    for label in range(2):
        rows = features[labels == label].numpy()
        assert np.allclose(means[label], rows.mean(axis=0))
        assert np.allclose(factors[label] @ factors[label].T, np.cov(rows.T) + 1e-6 * np.eye(4))
    assert torch.equal(means[2], features[29]) and torch.allclose(factors[2], 1e-3 * torch.eye(4, dtype=torch.float64))
    assert not means[3].any()


@pytest.fixture
def logits(toy_encoder, stream):
    def evaluate(method):
        strategy, seen = method(encoder=toy_encoder()), []
        strategy.prepare_run()
        strategy.plugins.append(type("Keeps", (), {"after_eval_forward": lambda _, s, **k: seen.append(s.mb_output.clone())})())
        strategy.eval(stream.test_stream)
        return torch.cat([part[:, :3] for part in seen])

    return evaluate


def test_the_first_row_is_zero_shots(logits):
    # The last bit depends on the processor.
    torch.testing.assert_close(logits(RAPF), logits(ZeroShot), rtol=1e-6, atol=1e-6)


def test_the_map_alone_trains_and_is_fused(trained, encoder, stream, monkeypatch):
    before = {name: p.detach().clone() for name, p in encoder.clip.named_parameters()}
    strategy = trained(RAPF, encoder, stream.train_stream[:1])
    assert torch.equal(torch.stack([p for p in strategy.trainable]), strategy.map[None])
    first = strategy.map.detach().clone()
    assert not torch.equal(first, torch.eye(32)) and strategy.means.shape == (3, 32) and strategy.factors.shape == (3, 32, 32)
    seen = []
    monkeypatch.setattr("strategies.rapf.fused", lambda old, new, bias: (seen.append((old, new.clone(), bias)), old)[1])
    strategy.train(stream.train_stream[1], eval_streams=[])
    ((old, new, bias),) = seen
    assert torch.equal(old, first) and not torch.equal(new, first) and bias == 0.6 and torch.equal(strategy.map, first)
    assert strategy.means.shape == (8, 32)
    assert all(torch.equal(p, before[name]) for name, p in encoder.clip.named_parameters())
    # The distributions do not depend on the map.
    with torch.no_grad():
        raw = encoder.raw_images(torch.stack([stream.train_stream[1].dataset.eval()[i][0] for i in range(48)]))
    labels = torch.arange(48) % 5
    assert torch.allclose(strategy.means[4], F.normalize(raw, dim=1)[labels == 1].mean(dim=0), atol=1e-5)


def test_the_loss_by_formula(trained, encoder, stream, monkeypatch):
    strategy = trained(RAPF, encoder, stream.train_stream[:1], threshold=9.0, classes=2, samples=3, pairs=4, pair_samples=2)
    strategy.experience = stream.train_stream[1]
    strategy.model.train()
    strategy.before_experience()
    features = F.normalize(torch.randn(4, 32), dim=1)
    torch.manual_seed(4)
    strategy.batch_features = features
    batch = Batch(torch.zeros(4), torch.tensor([0, 4, 2, 1]), torch.ones(4, dtype=torch.int64))
    loss = strategy.compute_loss(batch)

    torch.manual_seed(4)
    chosen = torch.randperm(3)[:2]
    noise = torch.randn(2, 3, 32)
    pairs = strategy.near[torch.randperm(15)[:4]]
    pair_noise = torch.randn(4, 2, 32)
    with torch.no_grad():
        texts = torch.cat([encoder.encode_texts(encoder.tokenize(e.domain.prompts(0))) for e in stream.train_stream])

    def mapped(classes, draws):
        samples = [strategy.means[c] + strategy.factors[c] @ z for c, each in zip(classes, draws, strict=True) for z in each]
        return F.normalize(torch.stack([strategy.map @ g for g in samples]), dim=1)

    every = torch.cat([features, mapped(chosen, noise)])
    logits = encoder.clip.logit_scale.exp() * every @ texts.T
    labels = torch.tensor([3, 7, 5, 4, *[int(c) for c in chosen for _ in range(3)]])
    cosines = (mapped(pairs[:, 0], pair_noise) @ texts.T).tolist()
    hinges = [
        max(0.0, 0.1 - cosines[2 * i + k][a] + cosines[2 * i + k][b])
        for i, (a, b) in enumerate(pairs.tolist())
        for k in range(2)
    ]
    expected = F.cross_entropy(logits, labels) + sum(hinges) / 8
    assert loss.requires_grad and loss.item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.fixture
def run(trained, toy_encoder, stream, monkeypatch):
    """Both tasks, each followed by an evaluation: the strategy, and the images that passed the image tower in training."""

    def train(**changes):
        encoder, passed = toy_encoder(), []
        raw_images = encoder.raw_images

        def alone(pixels):
            """Image by image and in evaluation mode, so that the batch does not decide how features are rounded."""
            if pixels.dim() == 2:
                return pixels
            passed.append(len(pixels))
            with evaluating(encoder):
                return torch.cat([raw_images(image[None]) for image in pixels])

        monkeypatch.setattr(encoder, "raw_images", alone)
        options = RAPF.Options(**{**QUICK, "iterations": 9, **changes})
        strategy = RAPF(encoder=encoder, options=options, tuning_name="frozen")
        losses, seen = [], []
        for experience in stream.train_stream:
            passed.clear()
            strategy.train(experience, eval_streams=[])
            seen.append(sum(passed))
            losses += [record["loss"] for record in strategy.history]
            strategy.eval(stream.test_stream)
        passed.clear()
        strategy.eval(stream.test_stream)
        return strategy, losses, seen, sum(passed)

    return train


@pytest.mark.slow
def test_kept_features_give_the_numbers_of_the_images(run, monkeypatch):
    fast, losses, passed, later = run()
    assert passed == [48, 48] and later == 0, "each training image once per task, each test image once per run"
    # Augmented images are different in every pass, and so are features of a tower with dropout.
    assert run(augmentation="crop", iterations=1)[2] == [8 + 48] * 2 == run(exactness="plain", iterations=1)[2]
    monkeypatch.setattr("strategies.rapf.same_in_training", lambda encoder: False)
    slow, same, passed, _ = run()
    assert passed == [9 * 8 + 48] * 2 and same == losses and len(losses) == 18
    for name in ("map", "means", "factors"):
        assert torch.equal(getattr(fast, name), getattr(slow, name))


def test_a_random_start_is_seeded(trained, toy_encoder, stream):
    maps = [
        trained(RAPF, toy_encoder(), stream.train_stream[:1], initial="random", lr=0.0, seed=seed).map.detach()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(maps[0], maps[1]) and not torch.equal(maps[0], maps[2]) and float(maps[0].abs().max()) <= 32**-0.5
