"""Prompt heads: ensembles, mixed tasks, caches."""

import copy

import pytest
import torch
import torch.nn.functional as F

from benchmarks.data.domain import Domain
from models.classifier import PromptClassifier


@pytest.fixture
def classifier(encoder, toy_domain):
    result = PromptClassifier(encoder)
    result.register_domain(0, toy_domain("cat", 2))
    result.register_domain(1, toy_domain("dog", 4, seed=1))
    return result.eval()


def images(n=6):
    return torch.randint(0, 256, (n, 3, 48, 48), generator=torch.Generator().manual_seed(n)).to(torch.uint8)


def test_evaluation_averages_unit_features_over_templates(classifier):
    encoder = classifier.encoder
    encode = lambda s: F.normalize(encoder.clip.encode_text(encoder.tokenize([s])), dim=1)[0]  # noqa: E731
    for c, name in enumerate(("dog 0", "dog 1", "dog 2", "dog 3")):
        mean = (encode(f"a photo of a {name}.") + encode(f"the {name}.")) / 2
        torch.testing.assert_close(classifier.text_features(1)[c], mean / mean.norm())


def test_training_uses_the_first_template_with_gradient(classifier):
    classifier.train()
    encoder = classifier.encoder
    head = classifier.text_features(0)
    expected = encoder.encode_texts(encoder.tokenize(["a photo of a cat 0.", "a photo of a cat 1."]))
    torch.testing.assert_close(head, expected)
    assert head.requires_grad


def test_mixed_tasks_score_each_image_against_its_own_prompts(classifier):
    x, tasks = images(), torch.tensor([0, 1, 0, 1, 1, 0])
    with torch.no_grad():
        logits = classifier(x, tasks)
        for task in (0, 1):
            own = classifier.forward_single_task(x[tasks == task], task)
            torch.testing.assert_close(logits[tasks == task][:, : own.shape[1]], own)
    assert logits.shape == (6, 4)
    assert (logits[tasks == 0].argmax(1) < 2).all(), "padding never wins"
    assert torch.isfinite(logits).all()


def test_no_task_labels_gives_all_heads(classifier):
    classifier.known_train_tasks_labels = {0, 1}
    classifier.register_domain(7, Domain("later", ["x"], ["{}"], None, None, None))
    with torch.no_grad():
        everything = classifier(images(), None)
        assert {t: tuple(v.shape) for t, v in everything.items()} == {0: (6, 2), 1: (6, 4)}
        torch.testing.assert_close(everything[1], classifier(images(), 1))


def test_heads_are_cached_until_the_text_tower_is_touched(classifier):
    with torch.no_grad():
        first = classifier.text_features(0)
        assert classifier.text_features(0) is first
        classifier.encoder.clip.text_projection.mul_(-1)
        classifier.encoder.touch_text()
        torch.testing.assert_close(classifier.text_features(0), -first)


@torch.no_grad()
def test_loading_a_state_dict_is_noticed_at_any_level(classifier, toy_encoder):
    before = classifier.text_features(0)
    other = PromptClassifier(toy_encoder(seed=9)).state_dict()
    classifier.load_state_dict(other)
    assert not torch.allclose(classifier.text_features(0), before)


def test_heads_carry_gradient_in_evaluation_mode_too(classifier):
    """Avalanche's EWC computes its importances in evaluation mode. Without gradients the text tower would not count."""
    classifier(images(), 0).logsumexp(1).sum().backward()
    assert classifier.encoder.clip.text_projection.grad.abs().sum() > 0


def test_a_copy_holds_no_graph(classifier):
    """Avalanche's LwF deep-copies the model, which fails on tensors that are not leaves."""
    classifier.train()
    classifier(images(), 0).sum().backward()
    classifier.eval()
    with torch.inference_mode():
        before = classifier(images(), 0)
    twin = copy.deepcopy(classifier)
    torch.testing.assert_close(twin(images(), 0), before)


def test_a_head_cached_in_inference_mode_can_be_trained_against(classifier):
    for parameter in classifier.encoder.clip.transformer.parameters():
        parameter.requires_grad_(False)
    for name, parameter in classifier.encoder.clip.named_parameters():
        parameter.requires_grad_(name.startswith("visual."))
    classifier.train()
    with torch.inference_mode():
        classifier(images(), 0)
    classifier(images(), 0).sum().backward()
    assert classifier.encoder.clip.visual.conv1.weight.grad.abs().sum() > 0


def test_a_task_keeps_its_domain(classifier, toy_domain):
    with pytest.raises(ValueError, match="cannot become 'bird'"):
        classifier.register_domain(0, toy_domain("bird", 2))
    with pytest.raises(ValueError, match="cannot become 'cat'"):
        classifier.register_domain(0, toy_domain("cat", 2, templates=("another {}",)))


def test_a_head_follows_weights_that_are_written_in_place(toy_encoder, toy_domain):
    """A teacher that is a running mean of the model: its heads change with it, without `touch`."""
    classifier = PromptClassifier(toy_encoder().requires_grad_(False)).eval()
    classifier.register_domain(0, toy_domain("a", 3))
    teacher = copy.deepcopy(classifier)
    before = teacher.text_features(0)
    assert teacher.text_features(0) is before
    with torch.no_grad():
        for parameter in teacher.encoder.parameters():
            parameter.mul_(1.1)
    after = teacher.text_features(0)
    assert not torch.equal(before, after) and torch.equal(classifier.text_features(0), before)
    teacher.encoder.touch_text()
    assert torch.equal(teacher.text_features(0), after)
