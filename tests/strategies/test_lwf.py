"""LwF and LwF-VR: their teacher is the previous model and is fixed during a task."""

import copy
from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import scenario
from strategies.engine.strategy import Strategy
from strategies.lwf import LwF, LwFVR
from strategies.zscl import distillation_loss

QUICK = {"iterations": 4, "lr": 3e-3, "batch_size": 8, "warmup": 1}


@pytest.mark.slow
@pytest.mark.parametrize("tuning_name", ["full", "lora"])
@pytest.mark.parametrize("images", ["batch", "current"])
def test_the_teacher_is_the_previous_model_and_never_moves(toy_encoder, stream, images, tuning_name, same):
    moved = []

    class Spy(LwF):
        def before_experience(self):
            self.previous = copy.deepcopy(self.encoder).eval()
            super().before_experience()

        def reference_features(self, asked, batch):
            student, teacher = super().reference_features(asked, batch)
            pixels = batch.images if images == "batch" else self.images[self.reference_index]
            with torch.no_grad():
                expected = self.previous.encode_images(pixels)
            torch.testing.assert_close(teacher, expected, rtol=1e-5, atol=1e-6)
            assert not teacher.requires_grad and student.requires_grad
            moved.append(float((student - expected).detach().abs().max()))
            prompts = self.previous.tokenize([f"a photo of a {c}." for c in self.experience.domain.classnames])
            torch.testing.assert_close(self.teacher.texts(), self.previous.encode_texts(prompts).detach())
            return student, teacher

        def after_experience(self):
            super().after_experience()
            if images == "batch":
                assert same(self.teacher.model.state_dict(), self.previous.state_dict())
                mine = {t.data_ptr() for t in self.encoder.state_dict().values()}
                assert not mine & {t.data_ptr() for t in self.teacher.model.state_dict().values()}
            assert not same(self.encoder.state_dict(), self.previous.state_dict())

    options = LwF.Options(**{**QUICK, "lr": 1e-2}, reference_images=images)
    strategy = Spy(encoder=toy_encoder(), options=options, tuning_name=tuning_name)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    assert moved[0] < 1e-6 and moved[3] > 1e-3, "at the start of a task the student is the teacher, then no longer"
    assert moved[4] < 1e-6 and moved[7] > 1e-3


@pytest.mark.slow
def test_distillation_holds_the_student_back(toy_encoder, stream, trained):
    """A teacher that changes with the student could not do this: its loss has no gradient where both agree."""

    class Drift(LwF):
        def before_experience(self):
            self.previous = copy.deepcopy(self.encoder).eval()
            super().before_experience()

        def after_experience(self):
            super().after_experience()
            images = self.experience.domain.train.images
            texts = self.teacher.texts()
            with torch.no_grad():
                ours, theirs = (e.encode_images(images) @ texts.T * 10 for e in (self.encoder, self.previous))
            self.drift = float(distillation_loss(ours, theirs) - distillation_loss(theirs, theirs))

    options = {"iterations": 20, "reference_images": "batch"}
    drifts = [
        trained(Drift, toy_encoder(), stream.train_stream[:1], image_loss=weight, text_loss=weight, **options).drift
        for weight in (0.01, 3.0)
    ]
    assert drifts[1] < 0.7 * drifts[0]


@pytest.mark.slow
def test_the_loss_by_definition_on_the_batch(toy_encoder, stream, trained):
    class Spy(LwF):
        def before_experience(self):
            self.previous = copy.deepcopy(self.encoder).eval()
            super().before_experience()

        def compute_loss(self, batch):
            loss = super().compute_loss(batch)
            with torch.no_grad():
                prompts = self.previous.tokenize(self.experience.domain.prompts(0))
                texts, theirs = self.previous.encode_texts_plain(prompts), self.previous.encode_images(batch.images)
                scale = self.encoder.clip.logit_scale.exp()
                ours = self.encoder.encode_images(batch.images)
                z_s, z_t = scale * ours @ texts.T, scale * theirs @ texts.T
                terms = 0.7 * distillation_loss(z_s, z_t, 3.0) + 1.1 * distillation_loss(z_s.T, z_t.T, 3.0)
                torch.testing.assert_close(loss.detach(), Strategy.compute_loss(self, batch) + terms, rtol=1e-5, atol=1e-6)
            return loss

    options = {"reference_images": "batch", "image_loss": 0.7, "text_loss": 1.1, "temperature": 3.0}
    strategy = trained(Spy, toy_encoder(), stream.train_stream, **options)
    assert len(strategy.history) == 4


@pytest.mark.slow
def test_weights_0_are_bit_exact_fine_tuning(toy_encoder, stream, trained, same):
    plain = trained(Strategy, toy_encoder(), stream.train_stream)
    found = trained(LwF, toy_encoder(), stream.train_stream, image_loss=0.0, text_loss=0.0)
    assert same(plain.weights(), found.weights())


@pytest.mark.slow
def test_vr_has_other_random_sentences_in_each_task_and_embeds_them_once(toy_encoder, stream, trained, same):
    drawn = []

    class Spy(LwFVR):
        def task_tokens(self, word):
            assert word == "random"
            drawn.append(super().task_tokens(word))
            return drawn[-1]

    strategy = trained(Spy, toy_encoder(), stream.train_stream)
    again = trained(Spy, toy_encoder(), stream.train_stream)
    assert len(drawn) == 4 and drawn[0].shape == (1000, 32) and not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2]) and torch.equal(drawn[1], drawn[3])
    assert strategy.teacher.texts().shape == (1000, 32) and same(strategy.weights(), again.weights())


@pytest.mark.slow
@pytest.mark.parametrize(("method", "images"), [(LwF, "batch"), (LwF, "current"), (LwFVR, "current")])
def test_a_resumed_run_continues_like_the_whole_one(toy_encoder, stream, method, images, trained, same, go_on):
    first, second = stream.train_stream
    whole = trained(method, toy_encoder(), [first], reference_images=images)
    saved, state = copy.deepcopy(whole.encoder.state_dict()), whole.state()
    whole.train(second, eval_streams=[])
    resumed = method(encoder=toy_encoder(), options=method.Options(**QUICK, reference_images=images))
    go_on(resumed, saved, state, second)
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict())


class OneByOne(torch.utils.data.Dataset):
    """Images that are not all in memory, each with a different class, so that a label identifies the image."""

    def __init__(self, images):
        self.images, self.targets = images, list(range(len(images)))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], index


def test_current_images_are_not_those_of_the_batch(toy_encoder, toy_domain):
    """Also if the batches depend only on the seed and the experience, as the reference images do."""
    domain = toy_domain("a", 16, train=16, test=16)
    domain = replace(domain, train=OneByOne(domain.train.images))
    drawn = []

    class Spy(LwF):
        def compute_loss(self, batch):
            drawn.append((batch.labels.tolist(), self.reference_index.tolist()))
            return super().compute_loss(batch)

    strategy = Spy(encoder=toy_encoder(), options=LwF.Options(**{**QUICK, "iterations": 2}))
    strategy.train(scenario([domain]).train_stream[0], eval_streams=[])
    for batch, looked_at in drawn:
        assert len(set(batch)) == len(set(looked_at)) == 8 and batch != looked_at
    for which in (0, 1):
        assert sorted(drawn[0][which] + drawn[1][which]) == list(range(16)), "a pass over all of them"
