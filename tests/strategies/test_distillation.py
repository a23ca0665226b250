"""Distillation's losses by definition, and each cached teacher against a model that is asked in each step."""

import copy
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from benchmarks.scenario import scenario
from reference_data import Reference
from strategies import distillation, teacher_outputs
from strategies.distillation import distillation_loss, image_image_loss
from strategies.engine.strategy import Batch
from strategies.lwf import LwF
from strategies.negatives import Negatives
from strategies.reference_sources import NoiseImages, random_sentences
from strategies.zscl import ZSCL

QUICK = {"iterations": 4, "lr": 3e-3, "batch_size": 8, "warmup": 1}
PLAIN = {**QUICK, "l2": 0.0, "average_every": 0, "reference_batch": 8}


@pytest.fixture
def run(trained):
    return partial(trained, seed=3)


def state_of(encoder):
    return {name: tensor.detach().clone() for name, tensor in encoder.state_dict().items()}


def test_image_image_loss_by_definition():
    """Row by row over the other images: at -1e4 an image's similarity to itself has no share."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    total = 0.0
    for i in range(4):
        others = [j for j in range(4) if j != i]
        t = [math.exp(teacher[i, j] / 2) for j in others]
        s = [math.exp(student[i, j] / 2) for j in others]
        total -= sum(a / sum(t) * math.log(b / sum(s)) for a, b in zip(t, s, strict=True))
    # What the diagonal adds is 0 * 1e4 / 2: exactly nothing.
    assert float(image_image_loss(student, teacher)) == pytest.approx(4 * total / 4, rel=1e-12)


def test_an_images_similarity_to_itself_gets_no_gradient():
    student = torch.randn(3, 3, requires_grad=True)
    image_image_loss(student, torch.randn(3, 3)).backward()
    assert student.grad.diagonal().abs().max() == 0 and student.grad.abs().max() > 0


def test_random_sentences(encoder):
    tokens = random_sentences(encoder, seed=4)
    assert tokens.shape == (1000, 32) and tokens.dtype == torch.int64
    assert set(tokens[:, 0].tolist()) == {298} and set(tokens[:, 11].tolist()) == {299}, "start and end, as of a real text"
    assert tokens[:, 12:].abs().sum() == 0
    drawn = tokens[:, 1:11]
    assert drawn.min() == 0 and drawn.max() == 299 and abs(drawn.float().mean() - 149.5) < 3
    assert torch.equal(tokens, random_sentences(encoder, seed=4)) and not torch.equal(tokens, random_sentences(encoder, seed=5))
    long = random_sentences(encoder, seed=4, count=3, length=100)
    assert long.shape == (3, 32) and set(long[:, -1].tolist()) == {299}, "no longer than the context"


def test_random_sentences_need_a_vocabulary(encoder):
    del encoder.clip.vocab_size
    with pytest.raises(ValueError, match="attribute vocab_size"):
        random_sentences(encoder, seed=0)


def test_noise_depends_only_on_seed_and_index():
    images = NoiseImages(6, seed=1)
    both = images[torch.tensor([7, 64_063])]
    assert both.dtype == torch.uint8 and both.shape == (2, 3, 6, 6) and len(images) == 64_064
    assert torch.equal(images[torch.tensor([64_063])][0], both[1]) and not torch.equal(both[0], both[1])
    assert not torch.equal(NoiseImages(6, seed=2)[torch.tensor([7])][0], both[0])


class Fast(ZSCL):
    def task_tokens(self, word):
        return super().task_tokens(word)[:24]


class Slow(Fast):
    """A teacher that is a model and is asked in each step. Reference images pass through the student separately."""

    def before_run(self):
        self.first = copy.deepcopy(self.encoder).eval()
        super().before_run()

    def before_experience(self):
        previous = copy.deepcopy(self.encoder).eval()
        super().before_experience()
        self.slow = {"zero-shot": self.first, "previous": previous}.get(self.options.teacher)
        if self.slow is None:
            self.slow = copy.deepcopy(previous)
            first, alpha = self.first.state_dict(), self.options.teacher_alpha
            mixed = {n: (1 - alpha) * first[n] + alpha * t for n, t in previous.state_dict().items()}
            self.slow.load_state_dict(mixed)
        word = self.options.reference_sentences
        tokens = self.encoder.tokenize(self.reference.sentences)
        if word == "classnames":
            tokens = self.encoder.tokenize([f"a photo of a {c}." for c in self.experience.domain.classnames])
        self.slow_tokens = self.task_tokens("random") if word == "random" else tokens

    def companion_images(self):
        self.pixels = super().companion_images()
        return None

    def compute_loss(self, batch):
        o, scale = self.options, self.encoder.clip.logit_scale.exp()
        pixels = batch.images if self.pixels is None else self.pixels
        with torch.no_grad():
            texts, theirs = self.slow.encode_texts_plain(self.slow_tokens), self.slow.encode_images(pixels)
        ours = self.encoder.encode_images(pixels)
        loss = self.cross_entropy(self.mb_output, batch.labels, batch.task_labels)
        half = 0.5 if o.weight_adjust else 1.0
        z_s, z_t = scale * ours @ texts.T, scale * theirs @ texts.T
        loss = loss + half * o.image_loss * distillation_loss(z_s, z_t, 2.0)
        loss = loss + half * o.text_loss * distillation_loss(z_s.T, z_t.T, 2.0)
        loss = loss + o.feature_mse * ((ours - theirs) ** 2).mean()
        v_s, v_t = scale * ours @ ours.T, scale * theirs @ theirs.T
        v_s, v_t = (v - torch.diag(v.diag() + 1e4) for v in (v_s, v_t))
        return loss + half * o.image_image * distillation_loss(v_s, v_t, 2.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "images", "sentences"),
    [
        ("zero-shot", "default", "default"),
        ("zero-shot", "current", "classnames"),
        ("zero-shot", "batch", "default"),
        ("zero-shot", "default", "random"),
        ("previous", "default", "default"),
        ("previous", "current", "random"),
        ("previous", "batch", "classnames"),
        ("wise", "default", "classnames"),
        ("wise", "noise", "default"),
        ("wise", "batch", "random"),
    ],
)
def test_cached_teachers_give_the_losses_of_a_kept_one(toy_encoder, stream, reference, teacher, images, sentences, run):
    options = {
        **PLAIN, "teacher": teacher, "teacher_alpha": 0.7, "reference_images": images, "reference_sentences": sentences,
        "image_loss": 0.8, "text_loss": 1.3, "feature_mse": 2.0, "image_image": 0.6, "weight_adjust": teacher == "previous",
    }  # fmt: skip
    fast, slow = (run(m, toy_encoder().double(), stream.train_stream, reference, **options) for m in (Fast, Slow))
    assert len(fast.losses) == 8 and fast.losses == pytest.approx(slow.losses, rel=1e-6)
    # Adam's first step is as large whatever the gradient, so rounding shows later: the first loss of a task is exact.
    assert fast.losses[0] == pytest.approx(slow.losses[0], rel=1e-12)
    assert {"image_loss", "text_loss", "feature_mse", "image_image"} < set(fast.history[0])


def test_reference_images_of_the_task_have_the_evaluation_transform(toy_encoder, stream, run):
    seen = []

    class Spy(LwF):
        def companion_images(self):
            images = super().companion_images()
            seen.append((self.experience.domain, self.reference_index, images))
            return images

    run(Spy, toy_encoder(), stream.train_stream, **QUICK)
    for domain, index, images in seen:
        assert torch.equal(images, domain.train.images[index])
    assert [domain.name for domain, *_ in seen] == ["a"] * 4 + ["b"] * 4


@pytest.mark.slow
def test_a_moving_teacher_embeds_only_the_images_of_the_task(toy_encoder, stream, reference, run, monkeypatch):
    asked = []

    def embed_images(encoder, images, index, progress):
        asked.append(len(index))
        return teacher_outputs.embed_images(encoder, images, index, progress)

    monkeypatch.setattr(distillation, "embed_images", embed_images)
    run(ZSCL, toy_encoder(), stream.train_stream, reference, **{**PLAIN, "teacher": "previous"})
    assert asked == [32, 32], "4 steps of 8 of the 40 images"
    asked.clear()
    run(ZSCL, toy_encoder(), stream.train_stream, reference, **PLAIN)
    assert asked == [40], "the fixed teacher: all images, once per run"


@pytest.mark.slow
@pytest.mark.parametrize("tuning_name", ["full", "lora"])
@pytest.mark.parametrize("teacher", ["zero-shot", "wise"])
def test_the_student_is_restored_after_the_teacher(toy_encoder, stream, teacher, tuning_name, run, same):
    """Bit-exactly, LoRA's matrices included, and the teacher has the right weights."""
    checked = []

    class Spy(LwF):
        def before_experience(self):
            before = state_of(self.encoder)
            effective = self.weights()
            super().before_experience()
            assert same(before, state_of(self.encoder))
            alpha = 0.0 if teacher == "zero-shot" else 0.7
            for name, tensor in self.teacher_weights.items():
                torch.testing.assert_close(tensor, (1 - alpha) * self.initial[name] + alpha * effective[name])
            checked.append(not same(self.teacher_weights, effective))

        def task_tokens(self, word):
            self.teacher_weights = self.weights()
            return super().task_tokens(word)

    options = {**QUICK, "teacher": teacher, "teacher_alpha": 0.7, "lr": 1e-2}
    run(Spy, toy_encoder(), stream.train_stream, tuning_name=tuning_name, **options)
    assert checked[1] and (teacher == "wise" or not checked[0]), "they differ from the second task on"


class Against(ZSCL):
    """Negatives by the definition: texts tokenised here and encoded with the classes."""

    def compute_loss(self, batch):
        loss, names = super().compute_loss(batch), self.experience.domain.classnames
        texts = [f"a photo of a {c}." for c in names] + self.expected()
        features = F.normalize(self.encoder.clip.encode_text(self.encoder.tokenize(texts)), dim=1)
        images = F.normalize(self.encoder.clip.encode_image(self.encoder.normalise(batch.images)), dim=1)
        logits = self.encoder.clip.logit_scale.exp() * images @ features.T
        wanted = F.cross_entropy(logits, batch.labels, label_smoothing=0.2)
        torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
        return loss

    def expected(self):
        if self.options.negatives == "captions":
            return self.reference.sentences
        return [f"a photo of a a {c}." for c in range(3)] if self.experience.domain.name == "b" else []


@pytest.mark.slow
@pytest.mark.parametrize("tuning_name", ["full", "visual"])
@pytest.mark.parametrize("negatives", ["captions", "previous"])
def test_negatives_by_definition(toy_encoder, stream, reference, negatives, tuning_name, run):
    """All 30 sentences compete, because there are at most 100."""
    options = {**PLAIN, "image_loss": 0.0, "text_loss": 0.0, "negatives": negatives, "iterations": 2}
    # With the same tuning, and up to the last bits: a frozen text tower encodes prompts without gradients, in other kernels.
    # The rounding of a matrix product also depends on the memory address of the data.
    plain = run(ZSCL, toy_encoder(), stream.train_stream, tuning_name=tuning_name, **{**options, "negatives": "none"})
    found = run(Against, toy_encoder(), stream.train_stream, reference, tuning_name=tuning_name, **options)
    unchanged = found.losses[0] == pytest.approx(plain.losses[0], rel=1e-6)
    assert unchanged == (negatives == "previous"), "the first task has no earlier ones"
    assert found.losses[2] > plain.losses[2]


def test_negatives_are_drawn_in_each_step_and_seeded(encoder):
    tokens = encoder.tokenize([f"text {i}" for i in range(250)])
    features = encoder.encode_texts(tokens)

    def rows(seed):
        negatives = Negatives(encoder, tokens, seed, 100)
        return [tuple((f @ features.T).argmax(dim=1).tolist()) for f in (negatives.features(), negatives.features())]

    first, second = rows(0)
    assert len(set(first)) == len(set(second)) == 100 and set(first) != set(second)
    assert rows(0) == [first, second] != rows(1)


def test_negatives_carry_gradient_to_the_text_tower_where_it_trains(encoder, monkeypatch):
    tokens = encoder.tokenize(["one", "two"])
    assert Negatives(encoder, tokens, 0).features().requires_grad
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    frozen = Negatives(encoder, tokens, 0)
    expected = encoder.encode_texts(tokens)
    monkeypatch.setattr(encoder, "raw_texts", None)
    torch.testing.assert_close(frozen.features(), expected)
    assert not frozen.features().requires_grad, "through the tower once, and not again"


def test_class_names_that_two_tasks_share_are_not_negatives(toy_encoder, toy_domain, run):
    twins = scenario([toy_domain("a", 3), toy_domain("a", 4)])
    seen = []

    class Spy(ZSCL):
        def before_experience(self):
            super().before_experience()
            seen.append(self.negatives)

    options = {**PLAIN, "image_loss": 0.0, "text_loss": 0.0, "negatives": "previous", "iterations": 1}
    run(Spy, toy_encoder(), twins.train_stream, **options)
    assert seen == [None, None]


@pytest.mark.slow
def test_missing_reference_data_is_named(toy_encoder, stream, run):
    first, images = [stream.train_stream[0]], torch.zeros(4, 3, 48, 48, dtype=torch.uint8)
    for given, options, word in (
        (None, {}, "ZSCL needs reference images"),
        (Reference(images, []), {}, "ZSCL needs reference sentences"),
        (Reference(images[:0], ["x"]), {"reference_sentences": "random"}, "ZSCL needs reference images"),
        (Reference(images, []), {"negatives": "captions", "reference_sentences": "random"}, "negatives=captions needs"),
    ):
        with pytest.raises(ValueError, match=word):
            run(ZSCL, toy_encoder(), first, given, **{**PLAIN, **options})
    run(ZSCL, toy_encoder(), first, **{**PLAIN, "reference_images": "current", "reference_sentences": "random"})


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        ({"image_loss": -1.0}, "image_loss"),
        ({"feature_mse": math.nan}, "feature_mse"),
        ({"temperature": 0.0}, "temperature"),
        ({"teacher_alpha": 1.5}, "teacher_alpha"),
    ],
)
def test_option_errors(bad, word):
    with pytest.raises(ValueError, match=word):
        LwF.Options(**bad)


def test_earlier_names_are_not_negatives_of_an_earlier_tasks_images(toy_encoder, stream, trained):
    """With replay a batch has images of both tasks. The class of the first task's images is among the previous names."""
    strategy = trained(LwF, toy_encoder(), [stream.train_stream[0]], negatives="previous")
    strategy.experience = stream.train_stream[1]
    strategy.classifier.adaptation(strategy.experience)
    strategy.classifier.train()
    strategy.before_experience()
    images = torch.stack([stream.train_stream[i].domain.train[0][0] for i in (0, 0, 1)])
    labels, tasks = torch.tensor([0, 2, 4]), torch.tensor([0, 0, 1])
    strategy.mbatch, strategy.is_training = [images, labels, tasks], True
    strategy.mb_output = strategy.forward()
    features = strategy.encoder.encode_images(images)
    old, new = (strategy.classifier.text_features(t) for t in (0, 1))
    logits = [strategy.encoder.logits(f[None], t) for f, t in zip(features, (old, old, torch.cat([new, old])), strict=True)]
    losses = [F.cross_entropy(row, label[None], label_smoothing=0.2) for row, label in zip(logits, labels, strict=True)]
    found = strategy.classification_loss(Batch(images, labels, tasks))
    torch.testing.assert_close(found, torch.stack(losses).mean(), rtol=1e-5, atol=1e-6)
