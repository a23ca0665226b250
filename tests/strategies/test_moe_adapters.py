"""MoE-Adapters: experts that add nothing at first, freeze for good, and routers that are chosen per image."""

import pytest
import torch
from torch import nn

from benchmarks.scenario import scenario
from models.registry import UserError
from models.route import routed
from models.scaled import Share
from strategies.auto_encoders import AutoEncoder, auto_encoder, reconstruction_errors
from strategies.engine.batches import mixed_seed
from strategies.moe_adapters import MoEAdapters
from strategies.task_choice import gaussian, log_densities

QUICK = {"iterations": 4, "batch_size": 8, "lr": 0.02, "warmup": 0, "experts": 5, "width": 4}


def made(toy_encoder, **changes):
    return MoEAdapters(encoder=toy_encoder(), options=MoEAdapters.Options(**{**QUICK, **changes}))


def test_at_initialisation_the_output_is_clips(toy_encoder, stream):
    compared = []

    class Compare(MoEAdapters):
        def before_experience(self):
            super().before_experience()
            encoder, pixels = self.encoder, self.experience.domain.train[0][0][None]
            plain = toy_encoder().train()
            with torch.no_grad():
                for route in (Share(0, 1.0), Share(torch.tensor([0]), torch.ones(1)), None):
                    with routed(route):
                        assert torch.equal(encoder.encode_images(pixels), plain.encode_images(pixels))
                tokens = encoder.tokenize(["a cat"])
                with routed(Share(0, 1.0)):
                    assert torch.equal(encoder.encode_texts(tokens), plain.encode_texts(tokens))
            compared.append(len(self.banks))

    Compare(encoder=toy_encoder(), options=MoEAdapters.Options(**QUICK)).train(stream.train_stream[0], eval_streams=[])
    # Two blocks of two towers.
    assert compared == [4]


def test_frozen_experts_never_move_and_others_do(toy_encoder, toy_domain, same):
    strategy, before = made(toy_encoder), toy_encoder().state_dict()
    stream = scenario([toy_domain(name, 3, seed=seed) for seed, name in enumerate("abc")])
    frozen = []
    for number, experience in enumerate(stream.train_stream):
        state = {name: t.clone() for name, t in strategy.encoder.state_dict().items()}
        strategy.train(experience, eval_streams=[])
        for name, bank in strategy.banks.items():
            top = torch.sort(bank.counts, descending=True, stable=True).indices[:2].tolist()
            now = {e for e in range(5) if bank.frozen[e]}
            if number:
                was = frozen[-1][name]
                assert now == was | set(top)
                for e in was:
                    trained = {key: t for key, t in bank.experts[e].state_dict().items()}
                    [prefix] = {
                        key.rpartition(f".experts.{e}.down.weight")[0]
                        for key, t in strategy.encoder.named_parameters()
                        if t is bank.experts[e].down.weight
                    }
                    assert same(trained, {key: state[f"{prefix}.experts.{e}.{key}"] for key in trained})
            else:
                assert now == set(top)
            assert [all(p.requires_grad for p in expert.parameters()) for expert in bank.experts] == [
                e not in now for e in range(5)
            ]
        frozen.append({name: {e for e in range(5) if bank.frozen[e]} for name, bank in strategy.banks.items()})
    # After one task of random choices, some expert that was not frozen has learned something.
    assert any(expert.up.weight.any() for bank in strategy.banks.values() for expert in bank.experts)
    after = strategy.encoder.state_dict()
    assert same({name: after[name] for name in before}, before)


def test_the_experts_are_weighted_by_the_first_tokens_router(toy_encoder, stream):
    """One block by hand, with experts that double and treble their input."""
    strategy = made(toy_encoder, experts=2, scale=0.5)
    strategy.train(stream.train_stream[0], eval_streams=[])
    name, bank = next(iter(strategy.banks.items()))

    class Times(nn.Module):
        def __init__(self, factor):
            super().__init__()
            self.factor = factor

        def forward(self, x):
            return self.factor * x

    bank.experts = nn.ModuleList([Times(2.0), Times(3.0)])
    router = strategy.modules_of(0)[name].eval()
    x = torch.randn(3, 4, 32)
    scores = x[:, 0] @ router.scores
    weights = torch.exp(scores) / torch.exp(scores).sum(dim=1, keepdim=True)
    with torch.no_grad(), routed(Share(0, 1.0)):
        expected = 0.5 * (2 * weights[:, 0] + 3 * weights[:, 1])[:, None, None] * x
        torch.testing.assert_close(bank(x), expected)
    assert bank(x) is None


@pytest.mark.parametrize("task", ["gaussian", "ddas"])
def test_each_image_gets_its_task_or_none(task, toy_encoder, toy_domain):
    domains = [toy_domain("a", 3), toy_domain("b", 5, seed=1)]
    strategy, stream = made(toy_encoder, task=task, accept=0.5), scenario(domains)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    strategy.model.eval()
    plain = toy_encoder()
    with torch.no_grad():
        features = [plain.encode_images(torch.stack([image for image, _ in d.train])) for d in domains]
        # Training images, and directions opposite to theirs, which are unlike both tasks.
        asked = torch.cat([*features, -features[0][:6]])
        choice = strategy.choose(asked).tasks
        stored = [strategy.modules_of(t)["choice"] for t in (0, 1)]
        if task == "gaussian":
            scores = log_densities(asked, [gaussian(rows) for rows in features])
        else:
            parts = [AutoEncoder(s.down, s.down_bias, s.up, s.up_bias) for s in stored]
            scores = -reconstruction_errors(asked * 32**0.5, parts)
        # Half of the task's training images reach its limit, each scored by what is fitted on the other four parts.
        limits = []
        for t, rows in enumerate(features):
            part, parts_scores = torch.arange(48) % 5, torch.zeros(48, dtype=scores.dtype)
            for each in range(5):
                if task == "gaussian":
                    under = log_densities(rows[part == each], [gaussian(rows[part != each])])[:, 0]
                else:
                    inputs = rows * 32**0.5
                    fitted = auto_encoder(inputs[part != each], 16, mixed_seed(strategy.seed, t, 10))
                    under = -reconstruction_errors(inputs[part == each], [fitted])[:, 0]
                parts_scores[part == each] = under
            limits.append(torch.quantile(parts_scores, 0.5))
        limits = torch.stack(limits)
        best, task_of_best = scores.max(dim=1)
        assert choice.tolist() == task_of_best.where(best > limits[task_of_best], -1).tolist()
        assert set(choice.tolist()) == {-1, 0, 1}


def test_a_batch_has_one_task_with_the_released_option(toy_encoder, toy_domain):
    domains = [toy_domain("a", 3), toy_domain("b", 5, seed=1)]
    strategy, stream = made(toy_encoder, choose="batch", accept=1.0), scenario(domains)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    strategy.model.eval()
    with torch.no_grad():
        features = toy_encoder().encode_images(torch.stack([image for d in domains for image, _ in d.train][:50]))
    assert len(set(strategy.choose(features).tasks.tolist())) == 1


def test_the_oracle_needs_the_protocol_task(toy_encoder, toy_domain):
    domains = [toy_domain("a", 3), toy_domain("b", 5, seed=1)]
    with pytest.raises(UserError, match="needs the task of each test image, which --protocol agnostic withholds"):
        made(toy_encoder, task="oracle").train(scenario(domains, protocol="agnostic").train_stream[0], eval_streams=[])
    strategy, stream, seen = made(toy_encoder, task="oracle"), scenario(domains), []

    class Spy(MoEAdapters):
        def with_modules(self, features, choice):
            seen.append(choice.tasks.unique().tolist())
            return super().with_modules(features, choice)

    strategy.__class__ = Spy
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        seen.clear()
        strategy.eval(stream.test_stream)
    # The choice before the candidates are known, and that of each task.
    assert seen == [[-1], [0], [-1], [1]]


def test_the_balance_term_is_added(toy_encoder, stream):
    losses = {}
    for balance in (0.0, 1.0):
        strategy = made(toy_encoder, balance=balance, iterations=1)
        strategy.train(stream.train_stream[0], eval_streams=[])
        losses[balance] = strategy.history[0]
    # The first update: the same images and the same random choice of experts.
    assert losses[1.0]["cross_entropy"] == pytest.approx(losses[0.0]["loss"])
    assert losses[1.0]["balance"] > 0
    assert losses[1.0]["loss"] == pytest.approx(losses[1.0]["cross_entropy"] + losses[1.0]["balance"])
