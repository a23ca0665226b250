"""GIFT: each part of its loss by hand, the whole loss of a step against an independent one, and the choice of pairs."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from models.registry import UserError
from reference_data import Reference
from strategies.gift import GIFT, UNREACHED, alignment_targets, importance, pair_losses, weighted_distance

OPTIONS = GIFT.Options(iterations=3, lr=3e-3, batch_size=8, warmup=0, reference_batch=6, pairs=20)


@pytest.fixture
def pairs(reference):
    """Forty images with sentences of which some are equal."""
    return Reference(reference.images, [f"thing {i % 7}" for i in range(40)])


def test_equal_sentences_share_the_mass():
    third = 1 / 3
    expected = [[third, 0, third, third], [0, 1, 0, 0], [third, 0, third, third], [third, 0, third, third]]
    assert alignment_targets(torch.tensor([4, 1, 4, 4])).tolist() == [pytest.approx(row) for row in expected]


def test_losses_of_a_batch_by_hand():
    student = torch.tensor([[2.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[1.0, 0.0], [0.0, 4.0]], dtype=torch.float64)
    found = pair_losses(student, teacher, torch.eye(2), temperature=2.0, label_smoothing=0.2)

    def soft(row, temperature=1.0):
        total = sum(math.exp(value / temperature) for value in row)
        return [math.exp(value / temperature) / total for value in row]

    def distilled(students, teachers):
        rows = [
            -sum(t * math.log(s) for s, t in zip(soft(s_row, 2.0), soft(t_row, 2.0), strict=True))
            for s_row, t_row in zip(students, teachers, strict=True)
        ]
        return 4 * sum(rows) / len(rows)

    def aligned(students):
        # Smoothed by 0.2: the true pair has 0.9, the other one 0.1.
        rows = [-(0.9 * math.log(soft(row)[i]) + 0.1 * math.log(soft(row)[1 - i])) for i, row in enumerate(students)]
        return sum(rows) / len(rows)

    columns = [[2.0, 1.0], [0.0, 3.0]]
    assert float(found["image_loss"]) == pytest.approx(distilled(student.tolist(), teacher.tolist()), rel=1e-12)
    assert float(found["text_loss"]) == pytest.approx(distilled(columns, [[1.0, 0.0], [0.0, 4.0]]), rel=1e-12)
    assert float(found["image_alignment"]) == pytest.approx(aligned(student.tolist()), rel=1e-12)
    assert float(found["text_alignment"]) == pytest.approx(aligned(columns), rel=1e-12)


def test_importance_and_distance_by_hand():
    first, second, third = importance([torch.tensor([1.0, 3.0]), None, torch.zeros(2)])
    # Squares 1 and 9, mean 5.
    assert first.tolist() == pytest.approx([0.2, 1.8]) and second == UNREACHED and third.tolist() == [0.0, 0.0]
    parameters = [torch.tensor([2.0, 1.0], requires_grad=True), torch.tensor([5.0], requires_grad=True)]
    found = weighted_distance(parameters, [torch.tensor([1.0, 3.0]), torch.tensor([2.0])], [first, 0.5])
    assert found.item() == pytest.approx(0.2 * 1 + 1.8 * 4 + 0.5 * 9)
    found.backward()
    assert parameters[0].grad.tolist() == pytest.approx([2 * 0.2 * 1, 2 * 1.8 * -2])


class Checked(GIFT):
    """Compares the loss of every step with one that asks a copy of the model before the task, or of the initial model."""

    def before_run(self):
        super().before_run()
        self.first = copy.deepcopy(self.encoder).eval()

    def before_experience(self):
        zero_shot = self.options.teacher == "zero-shot"
        self.asked = self.first if zero_shot else copy.deepcopy(self.encoder).eval()
        super().before_experience()
        self.start = [p.detach().clone() for p in self.trainable]

    def losses_on_pairs(self, index):
        self.index = index
        return super().losses_on_pairs(index)

    def compute_loss(self, batch):
        found = super().compute_loss(batch)
        rows = self.rows[self.index]
        sentences, images = [self.reference.sentences[row] for row in rows], self.reference.images[rows]
        tokens, scale = self.encoder.tokenize(sentences), self.encoder.clip.logit_scale.exp()

        def logits(model):
            return scale * model.encode_images(images) @ model.encode_texts_plain(tokens).T

        ours = logits(self.encoder)
        with torch.no_grad():
            theirs = logits(self.asked)
        n, total, drift = len(rows), 0.0, 0.0
        targets = torch.tensor([[(a == b) / sentences.count(a) for b in sentences] for a in sentences])
        smooth = 0.8 * targets + 0.2 / n
        for s, t in ((ours, theirs), (ours.T, theirs.T)):
            total = total - 4 * ((t / 2).softmax(1) * (s / 2).log_softmax(1)).sum() / n
            total = total - 0.25 * (smooth * s.log_softmax(1)).sum() / n
        gradients = torch.autograd.grad(total, self.trainable, retain_graph=True, allow_unused=True)
        for p, a, g in zip(self.trainable, self.start, gradients, strict=True):
            weight = 1.0
            if self.options.consolidation == "adaptive":
                weight = 1e-6 if g is None else g**2 / (g**2).mean()
            drift = drift + (weight * (p - a) ** 2).sum()
        cross_entropy = self.cross_entropy(self.mb_output, batch.labels, batch.task_labels)
        torch.testing.assert_close(found, cross_entropy + total + self.options.l2 * drift, rtol=2e-4, atol=2e-4)
        self.moved = drift.item()
        return found


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"l2": 3.0}, {"l2": 3.0, "consolidation": "uniform"}, {"l2": 0.0, "teacher": "zero-shot"}])
def test_the_loss_of_every_step(toy_encoder, stream, pairs, options):
    strategy = Checked(encoder=toy_encoder(), options=replace(OPTIONS, **options), reference=pairs)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert strategy.moved > 0
    columns = {"cross_entropy", "image_loss", "text_loss", "image_alignment", "text_alignment"}
    assert columns | ({"l2"} if options["l2"] else set()) <= strategy.history[0].keys()
    assert strategy.history[0].get("l2", 0.0) == 0.0, "the first step starts at the anchor"


@pytest.mark.slow
def test_every_task_uses_other_pairs(toy_encoder, stream, pairs):
    chosen = []

    class Spy(GIFT):
        def before_experience(self):
            super().before_experience()
            chosen.append(self.rows.tolist())

    def train(reference, seed=0):
        chosen.clear()
        strategy = Spy(encoder=toy_encoder(), options=replace(OPTIONS, iterations=1), reference=reference, seed=seed)
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
        return [*chosen]

    first, second = train(pairs)
    assert len(set(first)) == len(set(second)) == 20 and set(first) != set(second)
    assert train(pairs) == [first, second] != train(pairs, seed=1)
    own = train(pairs._replace(rows={"a": range(30), "b": range(30, 40)}))
    assert len(own[0]) == 20 and set(own[0]) < set(range(30)) and set(own[1]) == set(range(30, 40))
    with pytest.raises(UserError, match="reference pairs for a, and none for the task 'b'"):
        train(pairs._replace(rows={"a": range(40)}))


def test_what_cannot_be_paired(toy_encoder, stream, reference):
    with pytest.raises(UserError, match="one sentence for each image, got 40 images and 30 sentences"):
        GIFT(encoder=toy_encoder(), options=OPTIONS, reference=reference).train(stream.train_stream[0], eval_streams=[])
    with pytest.raises(ValueError, match="GIFT needs reference pairs"):
        GIFT(encoder=toy_encoder(), options=OPTIONS).train(stream.train_stream[0], eval_streams=[])
    probe = GIFT(encoder=toy_encoder(), options=OPTIONS, reference=reference, tuning_name="probe")
    with pytest.raises(UserError, match="cannot be combined with --tuning probe"):
        probe.train(stream.train_stream[0], eval_streams=[])


def test_without_a_loss_on_pairs_no_pairs_are_needed():
    assert GIFT.uses_reference(OPTIONS) and GIFT.uses_reference(replace(OPTIONS, image_loss=0.0, text_loss=0.0))
    assert not GIFT.uses_reference(replace(OPTIONS, image_loss=0.0, text_loss=0.0, alignment=0.0))
