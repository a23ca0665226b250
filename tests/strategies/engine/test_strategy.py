"""The base strategy: its loop, loss and hooks, and the behaviour of Avalanche that it overrides."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from avalanche.core import SupervisedPlugin

from benchmarks.scenario import scenario
from models.registry import UserError
from strategies import STRATEGIES, Strategy
from strategies.engine.losses import NonFiniteLoss
from strategies.engine.schedule import learning_rate
from strategies.zero_shot import ZeroShot

QUICK = Strategy.Options(iterations=5, lr=1e-3, batch_size=8, warmup=2)


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)], [toy_domain("h", 4, seed=2)])


def weights(strategy):
    return {n: p.detach().clone() for n, p in strategy.encoder.named_parameters()}


def test_schedule():
    """The paper's schedule: 1,001 updates, 100 of warm-up, the last with rate 0."""
    rates = [learning_rate(t, 2.0, 1001, 100) for t in range(1001)]
    assert rates[0] == pytest.approx(2.0 / 100) and rates[99] == pytest.approx(2.0)
    assert rates[100] == pytest.approx(2.0) and rates[550] == pytest.approx(1.0)
    assert rates[1000] == 0
    for t in (101, 333, 999):
        assert rates[t] == pytest.approx(2.0 * 0.5 * (1 + math.cos(math.pi * (t - 100) / 900)))
    # A budget shorter than the warm-up never reaches the full rate.
    assert [learning_rate(t, 1.0, 3, 30) for t in range(3)] == pytest.approx([1 / 30, 2 / 30, 3 / 30])


@pytest.mark.slow
def test_training_learns_and_counts(encoder, stream):
    strategy = Strategy(encoder=encoder, options=replace(QUICK, iterations=30, lr=3e-3))
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert strategy.trained == 1 and len(strategy.history) == 30 and strategy.images_seen == 30 * 8
    assert strategy.history[-1]["loss"] < strategy.history[0]["loss"]
    assert strategy.history[-1]["lr"] == 0 and strategy.seconds > 0


def test_one_step_is_adamw_on_smoothed_cross_entropy(toy_encoder, stream):
    """One whole step against torch's functions, on the batch that the loop drew."""
    drawn = []

    class Spy(Strategy):
        def compute_loss(self, batch):
            drawn.append(batch)
            return super().compute_loss(batch)

    options = Strategy.Options(iterations=1, lr=0.01, batch_size=6, warmup=1, label_smoothing=0.2)
    strategy = Spy(encoder=toy_encoder(), options=options)
    strategy.train(stream.train_stream[0], eval_streams=[])

    plain = toy_encoder()
    plain.clip.logit_scale.requires_grad_(False)
    batch = drawn[0]
    prompts = plain.tokenize([f"a photo of a a {c}." for c in range(3)])
    pixels = (batch.images.float() / 255 - 0.5) / 0.27
    image = F.normalize(plain.clip.encode_image(pixels), dim=1)
    text = F.normalize(plain.clip.encode_text(prompts), dim=1)
    log_p = F.log_softmax(plain.clip.logit_scale.exp() * image @ text.T, dim=1)
    hard = -log_p[torch.arange(6), batch.labels].mean()
    loss = 0.8 * hard + 0.2 * (-log_p.mean(dim=1)).mean()
    assert strategy.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, betas=(0.9, 0.999), weight_decay=0.0)
    loss.backward()
    optimizer.step()
    for name, parameter in plain.named_parameters():
        # Adam's first step is lr * sign(gradient): compare where the gradient is not rounding noise.
        mine = dict(strategy.encoder.named_parameters())[name]
        if parameter.grad is None:
            torch.testing.assert_close(mine, parameter)
            continue
        solid = parameter.grad.abs() > 1e-5
        torch.testing.assert_close(mine[solid], parameter[solid], rtol=1e-3, atol=1e-5)


def test_sgd_at_a_constant_rate_is_a_plain_loop_of_torch(toy_encoder, stream):
    """Every update in float64, with momentum, and weight decay on all trained tensors, the logit scale included."""
    drawn = []

    class Spy(Strategy):
        def compute_loss(self, batch):
            drawn.append(batch)
            return super().compute_loss(batch)

    sgd = {"optimizer": "sgd", "schedule": "constant", "momentum": 0.8, "weight_decay": 0.01}
    options = Strategy.Options(iterations=4, lr=0.05, batch_size=6, warmup=0, label_smoothing=0.0, **sgd)
    strategy = Spy(encoder=toy_encoder().double(), options=options, tuning_options={"logit_scale": True})
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert [record["lr"] for record in strategy.history] == [0.05] * 4

    plain = toy_encoder().double()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.8, weight_decay=0.01, foreach=False)
    for batch in drawn:
        image = F.normalize(plain.clip.encode_image((batch.images.double() / 255 - 0.5) / 0.27), dim=1)
        text = F.normalize(plain.clip.encode_text(plain.tokenize([f"a photo of a a {c}." for c in range(3)])), dim=1)
        optimizer.zero_grad()
        F.cross_entropy(plain.clip.logit_scale.exp() * image @ text.T, batch.labels).backward()
        optimizer.step()
    before = toy_encoder().double().state_dict()
    for name, parameter in plain.named_parameters():
        # The toy's constants of normalisation are float32, so its pixels agree to 1e-8.
        torch.testing.assert_close(dict(strategy.encoder.named_parameters())[name], parameter, rtol=1e-6, atol=1e-8)
    assert not torch.equal(strategy.encoder.clip.logit_scale, before["clip.logit_scale"])


def test_mixed_tasks_are_averaged_over_images_without_padding(encoder, stream):
    strategy = Strategy(encoder=encoder, options=QUICK)
    for experience in stream.train_stream:
        strategy.classifier.adaptation(experience)
    logits = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    tasks, labels = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([2, 4, 0, 1, 3])
    padded = logits.clone()
    padded[tasks == 0, 3:] = torch.finfo(torch.float32).min
    each = [
        F.cross_entropy(logits[i : i + 1, : 3 if tasks[i] == 0 else 5], labels[i : i + 1], label_smoothing=0.2)
        for i in range(5)
    ]
    torch.testing.assert_close(strategy.cross_entropy(padded, labels, tasks), torch.stack(each).mean())


def test_frozen_parameters_stay_out_of_the_optimiser(toy_encoder, stream):
    """Avalanche's version adds every parameter again."""
    strategy = Strategy(encoder=toy_encoder(), options=QUICK, tuning_name="visual")
    before = weights(strategy)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        held = {id(p) for group in strategy.optimizer.param_groups for p in group["params"]}
        assert held == {id(p) for p in strategy.trainable}
    changed = {n for n, p in weights(strategy).items() if not torch.equal(p, before[n])}
    assert changed and all(n.startswith("clip.visual.") for n in changed)


def test_the_logit_scale_stays(encoder, stream):
    strategy = Strategy(encoder=encoder, options=QUICK)
    before = encoder.clip.logit_scale.item()
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert encoder.clip.logit_scale.item() == before


def test_each_task_gets_a_new_optimiser(encoder, stream):
    strategy = Strategy(encoder=encoder, options=QUICK)
    strategy.train(stream.train_stream[0], eval_streams=[])
    first = strategy.optimizer
    strategy.train(stream.train_stream[1], eval_streams=[])
    assert strategy.optimizer is not first


def test_hooks_in_order(encoder, stream):
    calls = []

    class Hooks(Strategy):
        @dataclass(frozen=True)
        class Options(Strategy.Options):
            weight: float = 1.0

        def before_run(self):
            calls.append(f"run {self.options.weight}")

        def before_experience(self):
            calls.append(f"before {self.experience.domain.name}")

        def compute_loss(self, batch):
            assert batch.images.dtype == torch.uint8 and self.mb_output.shape == (
                8,
                len(self.experience.domain.classnames),
            )
            calls.append("loss")
            return super().compute_loss(batch)

        def after_step(self, step):
            calls.append(f"step {step}")

        def after_experience(self):
            calls.append("after")

    strategy = Hooks(encoder=encoder, options=Hooks.Options(iterations=2, batch_size=8, weight=3.0))
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    one = ["loss", "step 0", "loss", "step 1", "after"]
    assert calls == ["run 3.0", "before a", *one, "before b", *one]


def test_avalanche_plugins_are_called_in_the_documented_order(encoder, stream):
    calls = []

    class Plugin(SupervisedPlugin):
        pass

    order = [
        "before_training",
        "before_train_dataset_adaptation",
        "after_train_dataset_adaptation",
        "before_training_exp",
        "before_training_epoch",
        "before_training_iteration",
        "before_forward",
        "after_forward",
        "before_backward",
        "after_backward",
        "before_update",
        "after_update",
        "after_training_iteration",
        "after_training_epoch",
        "after_training_exp",
        "after_training",
    ]
    for name in order:
        setattr(Plugin, name, lambda self, strategy, _name=name, **kwargs: calls.append(_name))
    strategy = Strategy(encoder=encoder, options=replace(QUICK, iterations=1), plugins=[Plugin()])
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert calls == order


def test_a_plugin_may_add_to_the_loss(toy_encoder, stream):
    class Push(SupervisedPlugin):
        def before_backward(self, strategy, **kwargs):
            strategy.loss += 100 * strategy.encoder.clip.visual.proj.square().sum()

    plain = Strategy(encoder=toy_encoder(), options=QUICK)
    pushed = Strategy(encoder=toy_encoder(), options=QUICK, plugins=[Push()])
    for strategy in (plain, pushed):
        strategy.train(stream.train_stream[0], eval_streams=[])
    assert pushed.encoder.clip.visual.proj.norm() < plain.encoder.clip.visual.proj.norm()
    assert pushed.history[0]["loss"] > plain.history[0]["loss"] + 1


@pytest.mark.slow
def test_an_experience_draws_the_same_whatever_came_before(toy_encoder, stream):
    """So a resumed run equals an uninterrupted one."""
    whole = Strategy(encoder=toy_encoder(), options=QUICK, seed=4)
    for experience in stream.train_stream:
        whole.train(experience, eval_streams=[])
        if experience.current_experience == 0:
            middle = {n: t.clone() for n, t in whole.encoder.state_dict().items()}
    resumed = Strategy(encoder=toy_encoder(), options=QUICK, seed=4)
    torch.rand(17)
    resumed.encoder.load_state_dict(middle)
    resumed.train(stream.train_stream[1], eval_streams=[])
    for name, tensor in whole.encoder.state_dict().items():
        assert torch.equal(tensor, resumed.encoder.state_dict()[name]), name


def test_seeds_differ(toy_encoder, stream):
    losses = []
    for seed in (0, 1):
        strategy = Strategy(encoder=toy_encoder(), options=QUICK, seed=seed)
        strategy.train(stream.train_stream[0], eval_streams=[])
        losses.append(strategy.history[0]["loss"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training(encoder, stream, value):
    class Diverges(Strategy):
        def compute_loss(self, batch):
            self.count = getattr(self, "count", 0) + 1
            return super().compute_loss(batch) * (value if self.count == 3 else 1)

    strategy = Diverges(encoder=encoder, options=QUICK)
    with pytest.raises(NonFiniteLoss, match=f"loss of 'a' became {value} at iteration 3"):
        strategy.train(stream.train_stream[0], eval_streams=[])


def test_a_plugin_may_stop_the_training(encoder, stream):
    class Stop(SupervisedPlugin):
        def after_training_iteration(self, strategy, **kwargs):
            if strategy.clock.train_exp_iterations == 1:
                strategy.stop_training()

    strategy = Strategy(encoder=encoder, options=replace(QUICK, iterations=10), plugins=[Stop()])
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert len(strategy.history) == 2 and all(r["loss"] > 0 for r in strategy.history)


def test_zero_shot_trains_nothing(encoder, stream):
    strategy = ZeroShot(encoder=encoder, options=QUICK)
    before = weights(strategy)
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert all(torch.equal(p, before[n]) for n, p in weights(strategy).items())
    assert strategy.trained == 1 and strategy.history == []


def test_logged_terms_are_in_the_history(encoder, stream):
    class Logs(Strategy):
        def compute_loss(self, batch):
            loss = super().compute_loss(batch)
            self.log(twice=2 * loss)
            return loss

    strategy = Logs(encoder=encoder, options=QUICK)
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert all(r["twice"] == pytest.approx(2 * r["loss"]) for r in strategy.history)


def test_registering_a_name():
    with pytest.raises(UserError, match="already taken"):
        STRATEGIES.register("zscl")(Strategy)


def test_all_built_in_names_resolve():
    for name in STRATEGIES.names():
        assert issubclass(STRATEGIES.get(name), Strategy)


@pytest.mark.parametrize("name", ["lwf", "icarl", "wise-ft", "zscl", "paint-sequential", "paint-parallel", "joint", "magmax"])
def test_methods_that_cannot_be_combined_with_a_probe(name, toy_encoder, stream, reference):
    method = STRATEGIES.get(name)
    strategy = method(encoder=toy_encoder(), tuning_name="probe", reference=reference)
    with pytest.raises(UserError, match=rf"^{method.__name__} cannot be combined with --tuning probe: "):
        strategy.train(stream.train_stream[0], eval_streams=[])


@pytest.mark.parametrize("name", ["finetune", "l2", "bitfit"])
def test_methods_that_can_be_combined_with_a_probe(name, toy_encoder, stream):
    method = STRATEGIES.get(name)
    strategy = method(encoder=toy_encoder(), options=method.Options(iterations=2), tuning_name="probe")
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert [tuple(p.shape) for p in strategy.trainable] == [(3, 32)]


def test_before_run_finds_the_same_for_every_caller(toy_encoder, stream):
    """From the command line there is no experience yet; from `train` there must be none either."""
    seen = []

    class Spy(Strategy):
        def before_run(self):
            seen.append((self.experience, self.encoder.training, self.classifier.training))

    for early in (True, False):
        strategy = Spy(encoder=toy_encoder(), options=QUICK)
        if early:
            strategy.prepare_run()
        strategy.train(stream.train_stream[0], eval_streams=[])
    assert seen == [(None, False, False)] * 2


@pytest.mark.parametrize("name", ["finetune", "paint-sequential", "lwf", "ties"])
def test_companion_images_share_the_pass_of_every_method(name, toy_encoder, stream):
    method, asked = STRATEGIES.get(name), []

    class Spy(method):
        def companion_images(self):
            asked.append(1)
            return stream.train_stream[0].domain.test.images[:3]

        def compute_loss(self, batch):
            assert self.companion_features.shape == (3, 32) and len(self.mb_output) == len(batch.labels)
            return Strategy.compute_loss(self, batch)

    options = Spy.Options(iterations=2, batch_size=8, **({"alpha": 1.0} if "alpha" in Spy.Options.__dataclass_fields__ else {}))
    Spy(encoder=toy_encoder(), options=options).train(stream.train_stream[0], eval_streams=[])
    assert len(asked) == 2


def test_terms_of_a_step(toy_encoder, stream):
    class Mine(Strategy):
        def compute_loss(self, batch):
            self.log(weight=0.5, mean=self.mb_output.mean())
            return super().compute_loss(batch)

    strategy = Mine(encoder=toy_encoder(), options=QUICK)
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert strategy.history[0]["weight"] == 0.5 and isinstance(strategy.history[0]["mean"], float)
    with pytest.raises(ValueError, match=r"^after, loss is a column of every record"):
        strategy.log(loss=1.0, after=2.0)


def test_facts_that_the_harness_reads_before_the_data():
    paint, stock, zscl, lwf = (STRATEGIES.get(n) for n in ("paint-sequential", "model-stock", "zscl", "lwf"))
    assert paint.selects(paint.Options()) and not paint.selects(paint.Options(alpha=0.5))
    assert not stock.selects(stock.Options()) and stock.selects(stock.Options(alpha=None)) and not Strategy.selects(QUICK)
    options = zscl.Options(reference_batch=32)
    assert zscl.reference_count(options, [10, 20]) == 20 * 32
    assert zscl.reference_count(replace(options, reference_reshuffle=True), [10, 20]) == 30 * 32
    assert lwf.reference_count(lwf.Options(), [10, 20]) == 30 * 64
    assert Strategy.reference_count(QUICK, [10]) is None


@pytest.mark.parametrize("options", [{}, {"towers": "text"}])
def test_distillation_needs_something_that_images_pass_through(toy_encoder, stream, reference, options):
    name = "bitfit" if options else "text"
    strategy = STRATEGIES.get("zscl")(encoder=toy_encoder(), tuning_name=name, tuning_options=options, reference=reference)
    with pytest.raises(UserError, match=r"^ZSCL distils image features, but this tuning trains no image-tower parameters"):
        strategy.train(stream.train_stream[0], eval_streams=[])
