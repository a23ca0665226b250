"""Linear probes: heads that start from prompts, one task's head at a time, and saved heads."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from models import tuning
from models.classifier import PromptClassifier


@pytest.fixture
def domains(toy_domain):
    return [toy_domain("cat", 2), toy_domain("dog", 4, seed=1), toy_domain("bird", 3, seed=2)]


@pytest.fixture
def classifier(encoder, domains):
    assert tuning.apply(encoder, "probe") == []
    assert not tuning.trains_text(encoder)
    result = PromptClassifier(encoder)
    for label, domain in enumerate(domains):
        result.register_domain(label, domain)
    return result


@pytest.fixture
def adapt(domains):
    def adapt(classifier, label, training=True):
        classifier.train(training)
        classifier.adaptation(SimpleNamespace(task_labels=[label], domain=domains[label]))

    return adapt


def images(n=6):
    return torch.randint(0, 256, (n, 3, 48, 48), generator=torch.Generator().manual_seed(n)).to(torch.uint8)


def test_an_untrained_probe_is_zero_shot(classifier, adapt):
    classifier.eval()
    with torch.no_grad():
        before = [classifier(images(), label) for label in range(3)]
        assert classifier.head_state() == {}
        adapt(classifier, 1)
        classifier.eval()
        for label in range(3):
            torch.testing.assert_close(classifier(images(), label), before[label])


def test_logits_and_gradient_by_hand(classifier, adapt):
    adapt(classifier, 1)
    encoder = classifier.encoder
    with torch.no_grad():
        head = 3 * torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
        classifier.heads["1"].copy_(head)
        x = F.normalize(encoder.clip.encode_image((images().float() / 255 - 0.5) / 0.27), dim=1)
    scale = encoder.clip.logit_scale.exp().item()
    for training in (True, False):
        classifier.train(training)
        torch.testing.assert_close(classifier(images(), 1).detach(), scale * x @ head.T)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    F.cross_entropy(classifier(images(), 1), labels).backward()
    error = (scale * x @ head.T).softmax(dim=1) - F.one_hot(labels, 4)
    torch.testing.assert_close(classifier.heads["1"].grad, scale * error.T @ x / 6, rtol=1e-4, atol=1e-5)
    assert all(p.grad is None for p in encoder.parameters())


def test_the_current_tasks_head_alone_trains(classifier, adapt):
    assert tuning.trainable(classifier) == []
    for label, classes in ((0, 2), (2, 3)):
        adapt(classifier, label)
        (head,) = tuning.trainable(classifier)
        assert head is classifier.heads[str(label)] and head.shape == (classes, 32)
    adapt(classifier, 0)
    assert [p is classifier.heads["0"] for p in tuning.trainable(classifier)] == [True]
    assert set(classifier.heads) == {"0", "2"} and tuning.trainable(classifier.encoder) == []


def test_evaluation_makes_no_head_and_training_one_again_keeps_it(classifier, adapt):
    adapt(classifier, 0, training=False)
    assert classifier.head_state() == {}
    adapt(classifier, 0)
    with torch.no_grad():
        classifier.heads["0"].mul_(2)
    stored = classifier.heads["0"].detach().clone()
    adapt(classifier, 1)
    adapt(classifier, 0)
    assert torch.equal(classifier.heads["0"], stored)


def test_rivals_answer_with_their_trained_heads(classifier, adapt):
    adapt(classifier, 0)
    with torch.no_grad():
        classifier.heads["0"].mul_(2)
    classifier.eval()
    classifier.compete(1, [0])
    with torch.no_grad():
        head = classifier.head(1)
        assert torch.equal(head[4:], classifier.heads["0"]) and torch.equal(head[:4], classifier.text_features(1))


def test_heads_survive_a_checkpoint(classifier, adapt, encoder, domains):
    for label in (0, 1):
        adapt(classifier, label)
        with torch.no_grad():
            classifier.heads[str(label)].add_(label + 1.0)
    saved = classifier.head_state()
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == {"0": (2, 32), "1": (4, 32)}
    assert not any(tensor.requires_grad for tensor in saved.values())
    other = PromptClassifier(encoder)
    for label, domain in enumerate(domains):
        other.register_domain(label, domain)
    other.load_head_state(saved)
    assert tuning.trainable(other) == []
    classifier.eval()
    other.eval()
    with torch.no_grad():
        for label in range(3):
            torch.testing.assert_close(other(images(), label), classifier(images(), label))
        # Saved and loaded heads are copies.
        saved["0"].zero_()
        assert other.heads["0"].abs().sum() > 0 and classifier.heads["0"].abs().sum() > 0
    adapt(other, 1)
    assert torch.equal(other.heads["1"], classifier.heads["1"]) and len(tuning.trainable(other)) == 1


def test_a_copy_is_a_teacher_of_its_own(classifier, adapt):
    """Avalanche's LwF deep-copies the model."""
    adapt(classifier, 0)
    classifier(images(), 0).sum().backward()
    twin = copy.deepcopy(classifier)
    with torch.no_grad():
        before = twin(images(), 0)
        classifier.heads["0"].mul_(2)
        assert torch.equal(twin(images(), 0), before) and not torch.allclose(classifier(images(), 0), before)


def test_other_tunings_have_no_heads(toy_encoder, domains, adapt):
    for name in ("full", "lora", "adapter"):
        encoder = toy_encoder()
        tuning.apply(encoder, name)
        classifier = PromptClassifier(encoder)
        adapt(classifier, 0)
        assert classifier.head_state() == {} and not any(n.startswith("heads") for n in classifier.state_dict())
        assert tuning.trainable(classifier) == tuning.trainable(encoder)
