"""Avalanche's plugins on our strategies: each value by hand and each effect on the weights."""

import runpy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from avalanche.core import SupervisedPlugin
from avalanche.training.plugins import EWCPlugin, LwFPlugin, MASPlugin, ReplayPlugin, SynapticIntelligencePlugin
from avalanche.training.utils import ParamData

from benchmarks.scenario import scenario
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.paint import PaintSequential
from strategies.plugins import built_in as plugins
from strategies.plugins.replay import replay_loader
from strategies.wise_ft import WiSEFT
from strategies.zscl import ZSCL

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "plugins.py"))
QUICK, make, named, build, train = (FAKES[name] for name in ("QUICK", "make", "named", "build", "train"))


WEIGHT = {"ewc": "ewc_lambda", "si": "si_lambda", "mas": "lambda_reg", "lwf": "alpha"}


@pytest.fixture
def stream(toy_domain):
    sizes = (("a", 3), ("b", 5), ("c", 4))
    return scenario([toy_domain(name, classes, seed=i, train=14) for i, (name, classes) in enumerate(sizes)])


class Tape(Strategy):
    """Keeps each batch, and the weights before each update and after the last one."""

    def before_run(self):
        super().before_run()
        self.passed, self.batches, self.thetas = [], [], []

    def forward(self):
        self.passed.append((self.mb_x, self.mb_y, self.mb_task_id))
        return super().forward()

    def compute_loss(self, batch):
        self.batches.append(batch)
        self.thetas.append(named(self))
        loss = super().compute_loss(batch)
        self.log(plain=loss)
        return loss

    def after_experience(self):
        super().after_experience()
        self.thetas.append(named(self))


def with_weights(toy_encoder, theta):
    """Return a double-precision encoder, trainable except for its scale, with the weights of a model's parameters."""
    encoder = toy_encoder().double().train()
    encoder.load_state_dict({name.removeprefix("encoder."): tensor for name, tensor in theta.items()}, strict=False)
    encoder.clip.logit_scale.requires_grad_(False)
    return encoder


def logits_by_hand(encoder, images, domain, templates=1):
    pixels = (images.double() / 255 - 0.5) / 0.27
    heads = [F.normalize(encoder.clip.encode_text(encoder.tokenize(domain.prompts(i))), dim=1) for i in range(templates)]
    head = heads[0] if templates == 1 else F.normalize(torch.stack(heads).mean(0), dim=1)
    return encoder.clip.logit_scale.exp() * F.normalize(encoder.clip.encode_image(pixels), dim=1) @ head.T


def smoothed(logits, labels, smoothing=0.2):
    log_p = F.log_softmax(logits, dim=1)
    hard = log_p[torch.arange(len(labels)), labels]
    return -((1 - smoothing) * hard + smoothing * log_p.mean(dim=1)).mean()


def gradients(encoder, loss):
    parameters = {f"encoder.{name}": p for name, p in encoder.named_parameters() if p.requires_grad}
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def close(found, wanted, rtol=1e-7):
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        # Relative to the tensor's largest value: cancellation leaves small ones with fewer digits.
        torch.testing.assert_close(found[name], tensor, rtol=rtol, atol=rtol * float(tensor.abs().max()), msg=name)


def quadratic(importance, theta, anchor):
    return sum(float((importance[name] * (theta[name] - anchor[name]) ** 2).sum()) for name in importance)


def data(of):
    return {name: value.data for name, value in of.items()}


# Effects


@pytest.mark.slow
@pytest.mark.parametrize("name", plugins.PLUGINS)
def test_each_plugin_changes_what_is_trained_from_the_second_task_on(toy_encoder, stream, name, same):
    plain, changed = build(Strategy, toy_encoder(), []), build(Strategy, toy_encoder(), [make(name)])
    for number, experience in enumerate(stream.train_stream):
        train(plain, [experience])
        train(changed, [experience])
        assert same(named(plain), named(changed)) is (number == 0)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "weight"), WEIGHT.items())
def test_a_weight_of_nothing_is_fine_tuning_to_the_bit(toy_encoder, stream, name, weight, same):
    plain = train(build(Strategy, toy_encoder(), []), stream.train_stream)
    found = train(build(Strategy, toy_encoder(), [make(name, **{weight: 0.0})]), stream.train_stream)
    assert same(named(plain), named(found))
    assert all(record[name] == 0 for record in found.history)


def test_they_are_avalanches_own():
    classes = {
        "ewc": EWCPlugin,
        "si": SynapticIntelligencePlugin,
        "mas": MASPlugin,
        "replay": ReplayPlugin,
        "lwf": LwFPlugin,
    }
    assert list(classes) == list(plugins.PLUGINS) and all(isinstance(plugins.make(n), c) for n, c in classes.items())


# EWC and MAS


def importance_by_hand(toy_encoder, theta, batches, domain, loss, power, templates=1):
    encoder, total = with_weights(toy_encoder, theta), {}
    for images, labels, _ in batches:
        for name, gradient in gradients(encoder, loss(logits_by_hand(encoder, images, domain, templates), labels)).items():
            total[name] = total.get(name, 0) + gradient.abs() ** power / len(batches)
    return total


@pytest.mark.slow
def test_fisher_information_and_penalty_by_hand(toy_encoder, stream, same):
    plugin = make("ewc")
    strategy = build(Tape, toy_encoder().double(), [plugin])
    fishers, anchors = [], []
    for number, experience in enumerate(stream.train_stream):
        strategy.passed.clear() if number else None
        strategy.thetas = []
        train(strategy, [experience])
        asked = strategy.passed[QUICK["iterations"] :]
        assert torch.cat([labels for _, labels, _ in asked]).tolist() == experience.domain.train.targets
        for theta, record in zip(strategy.thetas, strategy.history, strict=False):
            penalty = 50.0 * sum(quadratic(f, theta, a) for f, a in zip(fishers, anchors, strict=True))
            if number:
                assert record["ewc"] == pytest.approx(penalty, rel=1e-9)
                assert record["loss"] == pytest.approx(record["plain"] + penalty, rel=1e-9)
        assert number == 0 or strategy.history[-1]["ewc"] > 0
        anchors.append(strategy.thetas[-1])
        by_hand = importance_by_hand(toy_encoder, anchors[-1], asked, experience.domain, smoothed, 2)
        fishers.append(data(plugin.importances[number]))
        close(fishers[-1], by_hand)
        assert same(data(plugin.saved_params[number]), anchors[-1])


@pytest.mark.slow
def test_online_fisher_information(toy_encoder, stream):
    separate, online = make("ewc", ewc_lambda=0.0), make("ewc", ewc_lambda=0.0, mode="online", decay_factor=0.5)
    for plugin in (separate, online):
        train(build(Strategy, toy_encoder().double(), [plugin]), stream.train_stream)
    f0, f1, f2 = (data(separate.importances[t]) for t in range(3))
    assert list(online.importances) == list(online.saved_params) == [2]
    close(data(online.importances[2]), {name: 0.25 * f0[name] + 0.5 * f1[name] + f2[name] for name in f0})


@pytest.mark.slow
def test_importance_is_asked_with_the_prompts_that_the_strategy_trains(toy_encoder, stream, reference):
    """At a rate of 0 no update changes anything. ZSCL's reference images take no part. PAINT trains against ensembles."""
    experience, found = stream.train_stream[0], {}
    asked, companions = [], []

    class Counted(ZSCL):
        def companion_images(self):
            companions.append(super().companion_images())
            return companions[-1]

    class Patched(PaintSequential):
        def forward(self):
            asked.append((self.mb_x, self.mb_y, self.mb_task_id))
            return super().forward()

    for method, options in ((Strategy, {}), (Counted, {"reference_batch": 4}), (Patched, {"alpha": 1.0})):
        plugin = make("ewc")
        given = method.Options(**{**QUICK, "lr": 0.0, "iterations": 1, "label_smoothing": 0.2, **options})
        encoder = toy_encoder().double()
        train(method(encoder=encoder, options=given, plugins=[plugin], reference=reference, tuning_name="visual"), [experience])
        found[method] = data(plugin.importances[0])
        assert all(name.startswith("encoder.clip.visual.") for name in found[method])
    close(found[Counted], found[Strategy])
    assert len(companions) == 1, "those of the update"
    theta = {f"encoder.{name}": p for name, p in toy_encoder().double().state_dict().items()}
    ensemble = importance_by_hand(toy_encoder, theta, asked[1:], experience.domain, smoothed, 2, templates=2)
    close(found[Patched], {name: ensemble[name] for name in found[Patched]})


@pytest.mark.slow
def test_mas_by_hand(toy_encoder, stream):
    plugin = make("mas")
    strategy = build(Tape, toy_encoder().double(), [plugin])
    wanted = anchor = None
    for experience in stream.train_stream:
        if wanted:
            strategy.passed, strategy.thetas = [], []
        train(strategy, [experience])
        for theta, record in zip(strategy.thetas, strategy.history, strict=False):
            if wanted:
                assert record["mas"] == pytest.approx(5.0 * quadratic(wanted, theta, anchor), rel=1e-6, abs=1e-12)
                assert record["loss"] == pytest.approx(record["plain"] + record["mas"], rel=1e-9)
        anchor, asked = strategy.thetas[-1], strategy.passed[QUICK["iterations"] :]
        squares = lambda logits, labels: (logits**2).sum() / len(labels)  # noqa: E731
        new = importance_by_hand(toy_encoder, anchor, asked, experience.domain, squares, 1)
        wanted = {name: 0.25 * wanted[name] + 0.75 * new[name] for name in new} if wanted else new
        close(data(plugin.importance), wanted)


# SI


class Watch(SupervisedPlugin):
    """Gradient and step of every update."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def before_update(self, strategy, **kwargs):
        grads = {name: p.grad.clone() for name, p in strategy.model.named_parameters() if p.grad is not None}
        self.steps.append((grads, named(strategy)))

    def after_update(self, strategy, **kwargs):
        self.steps[-1] += (named(strategy),)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "options"), [(Tape, {}), (WiSEFT, {"alpha": 0.25})])
def test_the_path_integral_by_hand(toy_encoder, stream, method, options):
    plugin, watch = make("si", clip=0.5), Watch()
    strategy = build(method, toy_encoder().double(), [plugin, watch], **options)
    total = {}
    for experience in stream.train_stream:
        watch.steps.clear()
        train(strategy, [experience])
        start, end = watch.steps[0][1], watch.steps[-1][2]
        omega = {name: sums.clamp(0, 0.5) for name, sums in total.items()}
        for (_, theta, _), record in zip(watch.steps, strategy.history, strict=True):
            if total:
                assert record["si"] == pytest.approx(25.0 * quadratic(omega, theta, start), rel=1e-9, abs=1e-15)
        for name in start:
            path = -sum(grads[name] * (after[name] - before[name]) for grads, before, after in watch.steps)
            total[name] = total.get(name, 0) + path / ((end[name] - start[name]) ** 2 + 1e-7)
        close(plugin.importance_sum, total)
    assert strategy.history[-1]["si"] > 0


def test_a_loss_that_rose_along_the_path_is_no_reward_for_leaving():
    plugin = make("si", clip=2.0)
    plugin.importance_sum = {"w": torch.tensor([-3.0, 0.5, 7.0])}
    plugin.before_training_exp(None)
    assert plugin.importance["w"].tolist() == [0.0, 0.5, 2.0]


def test_a_parameter_without_gradient_counts_for_nothing(toy_encoder, stream):
    plugin, encoder = make("si"), toy_encoder()
    strategy = build(Strategy, encoder, [plugin])
    encoder.unused = torch.nn.Parameter(torch.ones(2))
    train(strategy, stream.train_stream)
    assert torch.equal(plugin.importance_sum["encoder.unused"], torch.zeros(2))


def test_avalanches_own_path_has_no_length_on_a_cpu():
    """Avalanche's SI is replaced because it keeps the weights in place of copies."""
    layer = torch.nn.Linear(3, 2)
    kept = {"old_theta": {name: ParamData(name, p.flatten().shape) for name, p in layer.named_parameters()}}
    SynapticIntelligencePlugin.pre_update(layer, kept, set())
    with torch.no_grad():
        layer.weight.add_(1)
    assert torch.equal(kept["old_theta"]["weight"].data, layer.weight.detach().flatten())


# LwF


@pytest.mark.slow
def test_lwf_by_hand(toy_encoder, stream):
    """Old tasks' logits on the new images, the teacher's with its own text tower."""
    strategy = build(Tape, toy_encoder().double(), [make("lwf")])
    teacher = None
    for number, experience in enumerate(stream.train_stream):
        if number:
            strategy.batches, strategy.thetas = [], []
        train(strategy, [experience])
        for theta, batch, record in zip(strategy.thetas, strategy.batches, strategy.history, strict=False):
            if number:
                wanted = 0.0
                for domain in experience.stream_domains[:number]:
                    with torch.no_grad():
                        old = logits_by_hand(with_weights(toy_encoder, teacher), batch.images, domain) / 2
                        new = logits_by_hand(with_weights(toy_encoder, theta), batch.images, domain) / 2
                    p = old.softmax(1)
                    wanted += 3.0 * float((p * (old.log_softmax(1) - new.log_softmax(1))).sum(1).mean())
                assert record["lwf"] == pytest.approx(wanted, rel=1e-7, abs=1e-12)
                assert record["loss"] == pytest.approx(record["plain"] + wanted, rel=1e-7)
        assert number == 0 or strategy.history[-1]["lwf"] > 1e-3
        assert not torch.equal(
            strategy.thetas[0]["encoder.clip.text_projection"], strategy.thetas[-1]["encoder.clip.text_projection"]
        )
        teacher = strategy.thetas[-1]


# Replay


@pytest.mark.slow
def test_replayed_images_are_scored_among_their_own_tasks_classes(toy_encoder, stream):
    plugin = make("replay", batch_size_mem=6)
    strategy = build(Tape, toy_encoder().double(), [plugin])
    for number, experience in enumerate(stream.train_stream):
        if number:
            strategy.batches, strategy.thetas = [], []
        memory = {t: list(indices) for t, indices in plugin.storage_policy.indices.items()}
        train(strategy, [experience])
        for theta, batch, record in zip(strategy.thetas, strategy.batches, strategy.history, strict=False):
            new = int((batch.task_labels == number).sum())
            old = [(t, y) for t, y in zip(batch.task_labels.tolist(), batch.labels.tolist(), strict=True) if t != number]
            # A pass over 14 images ends with a batch of 6, one over 10 in memory with one of 4.
            assert new in (8, 6) and len(old) in ((6, 4) if number else (0,))
            kept = {(t, stream.train_stream[t].domain.train.targets[i]) for t, indices in memory.items() for i in indices}
            assert set(old) <= kept
            encoder, losses = with_weights(toy_encoder, theta), []
            for image, label, task in zip(*batch, strict=True):
                with torch.no_grad():
                    logits = logits_by_hand(encoder, image[None], experience.stream_domains[task])
                losses.append(smoothed(logits, label[None]))
            assert record["loss"] == pytest.approx(float(torch.stack(losses).mean()), rel=1e-9)


@pytest.mark.slow
def test_the_memory_is_shared_and_seeded(toy_encoder, stream):
    """Only by the run's seed, whatever else draws from the global generator."""

    class Draws(SupervisedPlugin):
        def after_training_exp(self, strategy, **kwargs):
            torch.manual_seed(len(kept))

    kept = []
    for seed in (0, 0, 1):
        plugin = make("replay", mem_size=11)
        strategy, memory = build(Strategy, toy_encoder(), [Draws(), plugin], seed=seed, iterations=1), plugin.storage_policy
        sizes, before = [], {}
        for experience in stream.train_stream:
            train(strategy, [experience])
            sizes.append([len(indices) for indices in memory.indices.values()])
            assert all(memory.indices[t] == indices[: len(memory.indices[t])] for t, indices in before.items())
            assert all(len(set(indices)) == len(indices) for indices in memory.indices.values())
            before = dict(memory.indices)
        assert sizes == [[11], [6, 5], [4, 4, 3]] and len(memory.buffer) == 11
        assert [item[2] for item in memory.buffer] == [0] * 4 + [1] * 4 + [2] * 3
        kept.append(before)
    assert kept[0] == kept[1] != kept[2]


@pytest.mark.slow
def test_balanced_memory_batches(toy_encoder, stream):
    strategy = build(Tape, toy_encoder(), [make("replay", batch_size_mem=3, task_balanced_dataloader=True)])
    train(strategy, stream.train_stream)
    assert {tuple(torch.bincount(b.task_labels)[:2].tolist()) for b in strategy.batches[-3:]} <= {(2, 1), (1, 1)}
    short = build(Strategy, toy_encoder(), [make("replay", batch_size_mem=1, task_balanced_dataloader=True)])
    with pytest.raises(UserError, match="batch_size_mem must be at least 2"):
        train(short, stream.train_stream)


@pytest.mark.slow
def test_replayed_batches_do_not_depend_on_processes_or_global_generators(stream):
    sets = [experience.dataset.train() for experience in stream.train_stream[:2]]
    each = []
    for workers in (0, 2):
        torch.manual_seed(workers)
        loader = replay_loader(sets, [8, 3], workers=workers, seeds=(1, 2), collate=sets[0].collate_fn, pin=False)
        each.append([*loader, *loader])
    assert len(each[0]) == 4
    numbers = [draw for batch in loader.batch_sampler for _, draw in batch]
    assert len(set(numbers)) == len(numbers), "no two images are augmented by the same draw"
    for one, other in zip(*each, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
