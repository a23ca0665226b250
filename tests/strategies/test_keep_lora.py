"""KeepLoRA: nothing changes at the start of a task, and nothing that is kept changes after it."""

import copy

import pytest
import torch
import torch.nn.functional as F

import models
from benchmarks.scenario import scenario
from models import tuning
from models.registry import UserError
from strategies.keep_lora import KeepLoRA

QUICK = {"iterations": 4, "epochs": 0, "batch_size": 20, "lr": 0.01, "rank": 3}


def stacked(strategy):
    return {site.name: strategy._weight(site.matrix).double().clone() for site in strategy.sites}


class Looking(KeepLoRA):
    """Keeps the logits of the first batch, those of a copy without updates, and what held at the start of the task."""

    def before_experience(self):
        self.before = copy.deepcopy(self.classifier)
        super().before_experience()
        self.kept, self.weights_before = {name: basis.clone() for name, basis in self.bases.items()}, stacked(self)

    def compute_loss(self, batch):
        if not self.history:
            with torch.no_grad():
                expected = self.before.classify(self.before.encoder.encode_images(batch.images), 0 + int(batch.task_labels[0]))
            self.first = self.mb_output.detach(), expected
        return super().compute_loss(batch)

    def task_state(self):
        return super().task_state()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["toy", "tiny-eva02"])
def test_kept_directions_do_not_change(family, toy_encoder, toy_domain):
    encoder = toy_encoder() if family == "toy" else models.load(family, "random")
    stream = scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1)], encoder=encoder)
    strategy = Looking(encoder=encoder, options=Looking.Options(**QUICK))
    initial = {name: tensor.clone() for name, tensor in tuning.weights(encoder).items()}
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        # Step 0: the logits are those of the model before the task, although B is not zero.
        ours, expected = strategy.first
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
        after, moved = stacked(strategy), 0.0
        for name, basis in strategy.kept.items():
            change = after[name] - strategy.weights_before[name]
            assert (change @ basis).abs().max() < 1e-6
            moved = max(moved, float(change.abs().max()))
            # The basis has grown, and what it had is still there.
            grown = strategy.bases[name]
            assert grown.shape[1] >= basis.shape[1] and torch.equal(grown[:, : basis.shape[1]], basis)
            assert torch.allclose(grown.T @ grown, torch.eye(grown.shape[1], dtype=torch.float64), atol=1e-9)
        assert moved > 1e-5
    changed = {
        name for name, tensor in tuning.weights(encoder).items() if name in initial and not torch.equal(initial[name], tensor)
    }
    assert changed and all(".attn." in name for name in changed)
    assert not any(site.update.active for site in strategy.sites)
    assert sum(p.numel() for p in strategy.trainable) == sum(3 * len(site.update.b) for site in strategy.sites)


def test_the_mean_gradient(toy_encoder, stream):
    """It is the gradient of the mean loss over the task's images in one batch, whatever the size of the batches."""
    strategy = Looking(encoder=toy_encoder(), options=Looking.Options(**{**QUICK, "iterations": 1, "batch_size": 7}))
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.model.train()
    strategy.experience = stream.train_stream[0]
    found = strategy._mean_gradients()
    images, labels = (torch.cat(parts) for parts in zip(*strategy._images(), strict=True))
    twin = copy.deepcopy(strategy.classifier)
    twin.encoder.requires_grad_(True)
    logits = twin.classify(twin.encoder.encode_images(images), 0)
    F.cross_entropy(logits, labels, label_smoothing=0.2).backward()
    for site, gradient in zip(strategy.sites, found, strict=True):
        grad = getattr(twin.encoder.clip.get_submodule(site.matrix.path), site.matrix.tensor).grad
        expected = grad if site.matrix.third is None else grad.chunk(3)[site.matrix.third]
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-3)


def test_a_rank_above_the_width(toy_encoder):
    strategy = KeepLoRA(encoder=toy_encoder(), options=KeepLoRA.Options(rank=4096))
    with pytest.raises(UserError, match=r"rank is 4096, and must be at most \d+"):
        strategy.prepare_run()


def test_few_images_are_spread_over_the_task(toy_encoder, stream):
    strategy = KeepLoRA(encoder=toy_encoder(), options=KeepLoRA.Options(**QUICK, images=3))
    strategy.experience = stream.train_stream[0]
    images = torch.cat([images for images, _ in strategy._images()])
    train = strategy.experience.domain.train
    assert len(images) == 3 and len(train) > 3
