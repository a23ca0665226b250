"""ZSCL against its formulas, and its fast paths against the plain computation."""

import copy
from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import scenario
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.zscl import ZSCL, ZSCLStar, distillation_loss

OPTIONS = ZSCL.Options(
    iterations=6, lr=3e-3, batch_size=8, warmup=2, l2=0.5, average_every=2, reference_batch=8, temperature=2.0
)


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)])


def soft_cross_entropy(student, teacher, temperature):
    """Row by row, from the definition."""
    total = 0.0
    for s, t in zip(student.tolist(), teacher.tolist(), strict=True):
        t_exp = [2.718281828459045 ** (v / temperature) for v in t]
        s_exp = [2.718281828459045 ** (v / temperature) for v in s]
        p, q = [v / sum(t_exp) for v in t_exp], [v / sum(s_exp) for v in s_exp]
        total -= sum(a * torch.tensor(b).log().item() for a, b in zip(p, q, strict=True))
    return temperature**2 * total / len(student)


def test_distillation_loss_by_definition():
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    for temperature in (1.0, 2.0, 5.0):
        found = distillation_loss(student, teacher, temperature)
        assert float(found) == pytest.approx(soft_cross_entropy(student, teacher, temperature), rel=1e-6)


def test_distillation_sends_no_gradient_to_the_teacher():
    student, teacher = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    distillation_loss(student, teacher).backward()
    assert teacher.grad is None and student.grad.abs().sum() > 0


def test_distillation_is_least_at_the_teacher():
    teacher = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    student = teacher.clone().requires_grad_()
    distillation_loss(student, teacher).backward()
    torch.testing.assert_close(student.grad, torch.zeros_like(teacher), atol=1e-6, rtol=0)


class Plain(ZSCL):
    """ZSCL computed plainly.

    The teacher is a model that is asked in each step, every text has the full context, and the reference images pass through
    the student separately.
    """

    def before_run(self):
        super().before_run()
        self.model_of_teacher = copy.deepcopy(self.encoder).eval()

    def companion_images(self):
        self.pixels = super().companion_images()
        return None

    def compute_loss(self, batch):
        o, encoder = self.options, self.encoder
        with torch.no_grad():
            texts = self.model_of_teacher.encode_texts_plain(self.encoder.tokenize(self.reference.sentences))
            theirs = self.model_of_teacher.encode_images(self.pixels)
        scale = encoder.clip.logit_scale.exp()
        student = scale * encoder.encode_images(self.pixels) @ texts.T
        teacher = scale * theirs @ texts.T
        prompts = encoder.encode_texts_plain(encoder.tokenize(self.experience.domain.prompts(0)))
        loss = self.cross_entropy(scale * encoder.encode_images(batch.images) @ prompts.T, batch.labels, batch.task_labels)
        loss = loss + o.image_loss * distillation_loss(student, teacher, o.temperature)
        loss = loss + o.text_loss * distillation_loss(student.T, teacher.T, o.temperature)
        drift = sum(((p - a) ** 2).sum() for p, a in zip(self.trainable, self.anchor, strict=True))
        return loss + o.l2 * drift


@pytest.mark.slow
def test_fast_paths_give_the_plain_losses_and_weights(toy_encoder, stream, reference):
    """Cached teacher, truncated prompts, one student pass: the same losses over two tasks of 20 steps."""
    options = replace(OPTIONS, iterations=20, average_every=5)
    runs = []
    for method in (ZSCL, Plain):
        strategy = method(encoder=toy_encoder().double(), options=options, reference=reference)
        losses = []
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
            losses += [r["loss"] for r in strategy.history]
        runs.append(losses)
    assert len(runs[0]) == 40
    # Adam divides by the gradient's size, so rounding of tiny gradients grows from step to step.
    assert runs[0][0] == pytest.approx(runs[1][0], rel=1e-12)
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


@pytest.mark.slow
def test_the_teacher_is_the_initial_model_in_every_task(toy_encoder, stream, reference):
    initial = toy_encoder()
    strategy = ZSCL(encoder=toy_encoder(), options=OPTIONS, reference=reference)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    with torch.no_grad():
        found = strategy.teacher.images(torch.arange(40), reference.images)
        torch.testing.assert_close(found, initial.encode_images(reference.images))
        texts = initial.encode_texts_plain(initial.tokenize(reference.sentences))
    torch.testing.assert_close(strategy.teacher.texts(), texts)


def test_class_names_of_all_tasks_so_far_as_sentences(toy_encoder, stream, reference):
    """The initial model's features of the names, each task's in its first template."""
    options = replace(OPTIONS, iterations=1, reference_sentences="seen-classnames")
    strategy, initial = ZSCL(encoder=toy_encoder(), options=options, reference=reference), toy_encoder()
    names = [[f"a photo of a a {i}." for i in range(3)], [f"a photo of a b {i}." for i in range(5)]]
    for experience, expected in zip(stream.train_stream, (names[0], names[0] + names[1]), strict=True):
        strategy.train(experience, eval_streams=[])
        with torch.no_grad():
            torch.testing.assert_close(strategy.teacher.texts(), initial.encode_texts_plain(initial.tokenize(expected)))


def test_distillation_reaches_the_image_tower_only(encoder, stream, reference):
    options = replace(OPTIONS, l2=0.0, iterations=1)

    class DistilOnly(ZSCL):
        def compute_loss(self, batch):
            return super().compute_loss(batch) - Strategy.compute_loss(self, batch)

        def after_step(self, step):
            self.gradients = {n: p.grad for n, p in self.encoder.clip.named_parameters()}

    strategy = DistilOnly(encoder=encoder, options=options, reference=reference)
    with torch.no_grad():  # away from the teacher, where the gradient would vanish
        strategy.prepare_run()
        encoder.clip.visual.proj.add_(0.1 * torch.randn(32, 32, generator=torch.Generator().manual_seed(0)))
    strategy.train(stream.train_stream[0], eval_streams=[])
    # The text tower's gradient is that of a loss minus itself.
    text = [g for n, g in strategy.gradients.items() if g is not None and not n.startswith("visual.")]
    assert max(float(g.abs().max()) for g in text) < 1e-6
    assert float(strategy.gradients["visual.proj"].abs().max()) > 1e-3


def test_weight_ensemble_is_the_mean_of_start_and_snapshots(toy_encoder, stream, reference):
    class Spy(ZSCL):
        def before_experience(self):
            super().before_experience()
            self.points = [{n: p.detach().clone() for n, p in self.encoder.named_parameters()}]

        def after_step(self, step):
            super().after_step(step)
            if step % 2 == 0:
                self.points.append({n: p.detach().clone() for n, p in self.encoder.named_parameters()})

    strategy = Spy(encoder=toy_encoder(), options=OPTIONS, reference=reference)
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert len(strategy.points) == 4, "the start and the weights after updates 0, 2 and 4"
    for name, parameter in strategy.encoder.named_parameters():
        mean = torch.stack([point[name] for point in strategy.points]).mean(0)
        torch.testing.assert_close(parameter.detach(), mean, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_l2_is_anchored_at_the_start_of_the_task(toy_encoder, stream, reference):
    strategy = ZSCL(encoder=toy_encoder(), options=OPTIONS, reference=reference)
    strategy.train(stream.train_stream[0], eval_streams=[])
    after_first = [p.detach().clone() for p in strategy.trainable]
    strategy.train(stream.train_stream[1], eval_streams=[])
    for anchor, expected in zip(strategy.anchor, after_first, strict=True):
        assert torch.equal(anchor, expected)
    assert strategy.history[0]["l2"] == 0
    assert strategy.history[-1]["l2"] > 0


def watched(seen):
    """Return ZSCL that appends the indices of the reference images of each update to a list."""

    class Watched(ZSCL):
        def companion_images(self):
            images = super().companion_images()
            seen.append(self.reference_index.tolist())
            return images

    return Watched


@pytest.mark.slow
def test_reference_batches_are_the_same_in_every_task(toy_encoder, stream, reference):
    seen = []
    strategy = watched(seen)(encoder=toy_encoder(), options=OPTIONS, reference=reference)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    assert seen[:6] == seen[6:]
    assert sorted(i for batch in seen[:5] for i in batch) == list(range(40)), "one epoch sees every image once"
    assert sorted(seen[5]) != sorted(seen[0]), "then another shuffle"


@pytest.mark.slow
def test_with_a_reshuffle_each_task_uses_other_images_and_a_resumed_run_the_same(toy_encoder, stream, reference):
    def orders(experiences, seed=0):
        seen = []
        options = replace(OPTIONS, iterations=5, reference_reshuffle=True)
        strategy = watched(seen)(encoder=toy_encoder(), options=options, reference=reference, seed=seed)
        for experience in experiences:
            strategy.train(experience, eval_streams=[])
        return seen

    first, second = stream.train_stream
    both = orders([first, second])
    assert both[:5] != both[5:] and sorted(i for batch in both[5:] for i in batch) == list(range(40))
    assert orders([second]) == both[5:], "as after a kill"
    assert orders([first], seed=1) != both[:5] == orders([first])


def test_terms_are_recorded(encoder, stream, reference):
    strategy = ZSCL(encoder=encoder, options=OPTIONS, reference=reference)
    strategy.train(stream.train_stream[0], eval_streams=[])
    for record in strategy.history:
        total = record["cross_entropy"] + record["image_loss"] + record["text_loss"] + 0.5 * record["l2"]
        assert record["loss"] == pytest.approx(total, rel=1e-5)


def test_without_reference_data(encoder, stream):
    with pytest.raises(ValueError, match="reference images"):
        ZSCL(encoder=encoder, options=OPTIONS).train(stream.train_stream[0], eval_streams=[])


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"reference_batch": 0}, "reference_batch"),
        ({"average_every": -1}, "average_every"),
        ({"l2": -1.0}, "l2"),
        ({"average_pull": 1.1}, "average_pull"),
        ({"merge_alpha": float("nan")}, "merge_alpha"),
        ({"moving_average": "start", "average_every": 0}, "moving_average needs"),
    ],
)
def test_option_errors(bad, word):
    with pytest.raises(ValueError, match=word):
        ZSCL.Options(**bad)


@pytest.mark.slow
@pytest.mark.parametrize("tuning_name", ["full", "lora"])
def test_with_every_weight_0_and_no_average_it_is_bit_exact_fine_tuning(
    toy_encoder, stream, reference, tuning_name, trained, same
):
    shared = {"iterations": 5, "lr": 3e-3, "batch_size": 8, "warmup": 1}
    off = {"image_loss": 0.0, "text_loss": 0.0, "l2": 0.0, "average_every": 0}
    start = toy_encoder()
    torch.manual_seed(0)
    plain = trained(Strategy, copy.deepcopy(start), stream.train_stream, tuning_name=tuning_name, **shared)
    torch.manual_seed(0)
    found = trained(ZSCL, copy.deepcopy(start), stream.train_stream, reference, tuning_name, **shared, **off)
    assert same(plain.encoder.state_dict(), found.encoder.state_dict())
    assert [r["loss"] for r in plain.history] == [r["loss"] for r in found.history]
    assert not same(plain.weights(), Strategy(encoder=start).weights())


class Points(ZSCL):
    """Keeps the weights at the start and after each update, before the method changes them."""

    def before_experience(self):
        super().before_experience()
        self.points = [self.weights()]

    def after_step(self, step):
        self.points.append(self.weights())
        super().after_step(step)


def test_under_lora_the_ensemble_is_the_mean_of_the_effective_weights(toy_encoder, stream, reference, trained):
    strategy = trained(Points, toy_encoder(), stream.train_stream[:1], reference, "lora", OPTIONS, lr=1e-2)
    taken = [strategy.points[i] for i in (0, 1, 3, 5)]
    name = "clip.visual.transformer.resblocks.0.attn.in_proj_weight"
    assert len({float(point[name].double().norm()) for point in taken}) == 4
    for name, tensor in strategy.weights().items():
        torch.testing.assert_close(tensor, torch.stack([point[name] for point in taken]).mean(0), rtol=1e-5, atol=1e-6)


def test_pulled_average_by_formula(toy_encoder, stream, reference, trained):
    strategy = trained(Points, toy_encoder(), stream.train_stream[:1], reference, options=OPTIONS, average_pull=0.9)
    start, found = strategy.points[0], strategy.weights()
    for name in ("clip.visual.proj", "clip.token_embedding.weight"):
        average = start[name].double()
        for n, i in enumerate((1, 3, 5), 1):
            average = 0.9 * (n * average + strategy.points[i][name]) / (n + 1) + 0.1 * start[name]
        torch.testing.assert_close(found[name], average.float(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("anchor", ["start", "previous", "zero-shot"])
def test_moving_average_by_formula(toy_encoder, stream, reference, anchor, trained, same):
    """Pulled after updates 0, 2 and 4 of the second task. The model is not averaged."""
    initial, pulled = toy_encoder().state_dict(), {}

    class Spy(Points):
        def after_step(self, step):
            super().after_step(step)
            pulled[step] = self.weights()

    changes = {"moving_average": anchor, "moving_decay": 0.9}
    strategy = trained(Spy, toy_encoder(), stream.train_stream, reference, options=OPTIONS, **changes)
    name = "clip.visual.proj"
    moving = initial[name] if anchor == "zero-shot" else strategy.points[0][name]
    for step in range(6):
        before = strategy.points[step + 1][name]
        expected = before if step % 2 else 0.9 * before + 0.1 * moving
        torch.testing.assert_close(pulled[step][name], expected, rtol=1e-5, atol=1e-7)
        if anchor == "previous" and step % 2 == 0:
            moving = before
    assert same(strategy.weights(), pulled[5])


@pytest.mark.slow
@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("anchor", ["previous", "zero-shot"])
def test_merge_at_the_end_of_a_task_by_formula(toy_encoder, stream, reference, anchor, every, trained):
    initial, ends = toy_encoder().state_dict(), []

    class Spy(Points):
        def set_weights(self, theta):
            ends.append(theta)
            super().set_weights(theta)

    changes = {"merge": anchor, "merge_alpha": 0.7, "average_every": every}
    strategy = trained(Spy, toy_encoder(), stream.train_stream, reference, options=OPTIONS, **changes)
    name = "clip.visual.proj"
    end = strategy.points[-1][name] if every == 0 else torch.stack([strategy.points[i][name] for i in (0, 1, 3, 5)]).mean(0)
    start = strategy.points[0][name] if anchor == "previous" else initial[name]
    torch.testing.assert_close(strategy.weights()[name], 0.7 * end + 0.3 * start, rtol=1e-5, atol=1e-7)
    assert len(ends) == (4 if every else 2)


@pytest.mark.slow
def test_zscl_star_is_zscl_without_l2(toy_encoder, stream, reference, trained, same):
    assert ZSCLStar.Options() == ZSCLStar.Options(**{**vars(ZSCL.Options()), "l2": 0.0})
    shared = {"iterations": 3, "lr": 3e-3, "batch_size": 8, "average_every": 2, "reference_batch": 8}
    star = trained(ZSCLStar, toy_encoder(), stream.train_stream, reference, **shared)
    zscl = trained(ZSCL, toy_encoder(), stream.train_stream, reference, l2=0.0, **shared)
    assert same(star.weights(), zscl.weights()) and "l2" not in star.history[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": "wise", "reference_images": "noise", "reference_sentences": "random", "merge": "zero-shot"},
        {"reference_images": "current", "moving_average": "zero-shot", "negatives": "captions"},
        {"teacher": "previous", "reference_images": "batch", "average_pull": 0.9, "negatives": "previous"},
    ],
)
def test_a_resumed_run_goes_on_as_the_whole_one(toy_encoder, stream, reference, changes, trained, same):
    first, second = stream.train_stream
    options = replace(OPTIONS, iterations=3, **changes)
    whole = trained(ZSCL, toy_encoder(), [first], reference, options=options)
    saved, state = copy.deepcopy(whole.encoder.state_dict()), copy.deepcopy(whole.state())
    whole.train(second, eval_streams=[])
    resumed = ZSCL(encoder=toy_encoder(), options=options, reference=reference)
    resumed.prepare_run()
    resumed.encoder.load_state_dict(saved)
    resumed.load(state)
    resumed.trained = 1
    resumed.train(second, eval_streams=[])
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict())
    assert [r["loss"] for r in whole.history] == [r["loss"] for r in resumed.history]


@pytest.mark.parametrize("config", [{"benchmark": "mtil"}, {"benchmark": "cil"}, {"benchmark": "mtil", "edition": "full"}])
def test_a_benchmarks_settings_of_zscl_hold_for_zscl_star_but_for_l2(config):
    zscl, star = (vars(resolve(RunConfig(strategy=name, **config)).options) for name in ("zscl", "zscl-star"))
    assert star == {**zscl, "l2": 0.0}


def test_moving_averages_are_not_for_lora(toy_encoder, stream, reference):
    options = ZSCL.Options(moving_average="start")
    strategy = ZSCL(encoder=toy_encoder(), options=options, tuning_name="lora", reference=reference)
    with pytest.raises(UserError, match=r"^moving_average cannot be combined with --tuning lora"):
        strategy.train(stream.train_stream[0], eval_streams=[])
