"""Domains with questions: an image is classified only among the options of its question, in training and in evaluation."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.data.domain import Domain, chance, limited
from benchmarks.data.shots import shots
from benchmarks.scenario import scenario
from metrics.evaluate import evaluate, evaluate_features
from metrics.plugins import AccuracyMatrix
from models.classifier import PromptClassifier
from models.padding import PADDING, among_candidates
from models.prompt_reader import check_prompts
from models.registry import UserError
from strategies.alpha_search import AnswerCounter, Path, Question
from strategies.engine.losses import PromptCrossEntropy
from strategies.engine.strategy import Strategy
from strategies.icarl import ICaRL
from strategies.joint import Joint
from strategies.lwf import LwF
from strategies.paint import PaintSingle
from strategies.plugins.built_in import make
from strategies.zscl import ZSCL

QUICK = {"iterations": 2, "lr": 1e-3, "batch_size": 16, "warmup": 1, "label_smoothing": 0.2}
GROUPS = (0, 0, 0, 1, 1)


@pytest.fixture
def asking(toy_domain):
    """Five classes: three options of one question, two of another."""
    return replace(toy_domain("q", 5), groups=GROUPS)


@pytest.fixture
def head(toy_encoder, asking):
    classifier = PromptClassifier(toy_encoder()).eval()
    classifier.register_domain(0, asking)
    return classifier


def test_groups_are_one_per_class(toy_domain):
    with pytest.raises(ValueError, match="2 groups for 3 classes"):
        replace(toy_domain("q", 3), groups=(0, 1))


def test_only_options_of_the_question_compete():
    logits, groups = torch.tensor([[1.0, 5.0, 9.0], [1.0, 5.0, 9.0]]), torch.tensor([0, 0, 1])
    among = among_candidates(logits, groups, torch.tensor([0, 1]))
    assert among.tolist() == [[1.0, 5.0, PADDING], [PADDING, PADDING, 9.0]]


def test_logits_of_options(head, asking):
    features = torch.nn.functional.normalize(torch.randn(4, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    labels = torch.tensor([0, 4, 2, 3])
    everything = head.classify(features, 0)
    assert everything.shape == (4, 5) and (everything > PADDING).all()
    logits = head.classify(features, 0, labels)
    for row, label in zip(logits, labels.tolist(), strict=True):
        assert [bool(value > PADDING) for value in row] == [group == GROUPS[label] for group in GROUPS]
    shown = logits > PADDING
    torch.testing.assert_close(logits[shown], everything[shown])
    # Mixed with a task whose classes all compete.
    head.register_domain(1, replace(asking, name="plain", groups=None))
    mixed = head.classify(features, torch.tensor([0, 1, 0, 1]), labels)
    torch.testing.assert_close(mixed[0], logits[0])
    torch.testing.assert_close(mixed[1], everything[1])


def test_the_loss_is_over_the_options(toy_encoder, asking):
    """Cross-entropy with smoothing over the options of each image's question, written out."""
    stream = scenario([asking])
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK), seed=0)
    seen = []

    def compute_loss(batch):
        loss = Strategy.compute_loss(strategy, batch)
        seen.append((strategy.mb_output.detach(), batch.labels, loss.detach()))
        return loss

    strategy.compute_loss = compute_loss
    strategy.train(stream.train_stream[0], eval_streams=[])
    for logits, labels, loss in seen:
        losses = []
        for row, label in zip(logits, labels.tolist(), strict=True):
            options = [i for i, group in enumerate(GROUPS) if group == GROUPS[label]]
            log_p = row[options].log_softmax(dim=0)
            losses.append(-(0.8 * log_p[options.index(label)] + 0.2 * log_p.mean()))
        torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_only_the_prompts_of_the_batch_are_encoded_with_gradient(toy_encoder, asking, monkeypatch):
    encoder = toy_encoder()
    classifier = PromptClassifier(encoder)
    classifier.register_domain(0, asking)
    with torch.inference_mode():
        assert not classifier.groups(0).is_inference()  # an evaluation may come before training
    encoded = []
    encode = encoder.encode_texts
    monkeypatch.setattr(
        encoder, "encode_texts", lambda tokens, length=None: encoded.append(len(tokens)) or encode(tokens, length)
    )
    logits = classifier.classify(torch.ones(2, 32), 0, torch.tensor([3, 4]))
    assert encoded == [2]
    PromptCrossEntropy()(logits, torch.tensor([3, 4])).backward()
    assert encoder.clip.text_projection.grad.abs().sum() > 0


def by_hand(encoder, domain, split):
    """Count correct answers image by image."""
    classifier = PromptClassifier(encoder).eval()
    classifier.register_domain(0, domain)
    correct = 0
    with torch.no_grad():
        rows = classifier.text_features(0)
        for image, label in getattr(domain, split):
            options = [i for i, group in enumerate(domain.groups) if group == domain.groups[label]]
            scores = encoder.encode_images(image[None])[0] @ rows[options].T
            correct += options[int(scores.argmax())] == label
    return correct


@pytest.mark.slow
def test_every_evaluation_is_among_the_options(toy_encoder, asking):
    encoder = toy_encoder()
    expected = {split: by_hand(encoder, asking, split) for split in ("val", "test")}
    assert expected["test"] != evaluate(PromptClassifier(encoder), replace(asking, groups=None)).correct
    assert evaluate(PromptClassifier(encoder), asking).correct == expected["test"]
    images = torch.stack([image for image, _ in asking.test])
    features = evaluate_features(
        PromptClassifier(encoder), asking, encoder.encode_images(images), torch.tensor(asking.test.targets)
    )
    assert features.correct == expected["test"]
    matrix = AccuracyMatrix()
    strategy = Strategy(encoder=encoder, metrics=[matrix])
    strategy.eval(scenario([asking], encoder=encoder).test_stream)
    assert matrix.rows[0]["test", "q"].correct == expected["test"]
    theta = strategy.weights()
    path = Path(encoder, theta, [{"clip.visual.proj": torch.zeros_like(theta["clip.visual.proj"])}])
    assert AnswerCounter(encoder, {0: asking}).count(path, [(0.0,), (1.0,)], [Question(0)]).tolist() == [[expected["val"]]] * 2


@pytest.mark.slow
@pytest.mark.parametrize("method", [Strategy, PaintSingle, Joint, LwF, ICaRL, ZSCL])
def test_methods_train_on_questions(toy_encoder, toy_domain, asking, reference, trained, method):
    stream = scenario([asking, toy_domain("b", 3, seed=1)], [replace(asking, name="h")])
    strategy = trained(method, toy_encoder(), stream.train_stream, reference)
    assert all(torch.isfinite(torch.tensor(strategy.losses))) and len(strategy.losses) >= 4
    assert all(torch.isfinite(tensor).all() for tensor in strategy.weights().values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ewc", "si", "mas", "replay", "lwf"])
def test_plugins_on_questions(toy_encoder, toy_domain, asking, name):
    stream = scenario([asking, toy_domain("b", 3, seed=1)])
    strategy = Strategy(encoder=toy_encoder(), options=Strategy.Options(**QUICK), plugins=[make(name)], seed=0)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert all(torch.isfinite(torch.tensor([row["loss"] for row in strategy.history])))


@pytest.mark.slow
@pytest.mark.parametrize("tuning_name", ["adapter", "lora", "probe", "text"])
def test_tunings_train_on_questions(toy_encoder, asking, trained, tuning_name):
    stream = scenario([asking])
    strategy = trained(Strategy, toy_encoder(), stream.train_stream, tuning_name=tuning_name, iterations=12)
    assert strategy.losses[-1] < strategy.losses[0]


def test_other_protocols_are_refused(asking):
    with pytest.raises(UserError, match="--protocol task"):
        scenario([asking], protocol="agnostic")


def test_shots_are_refused(asking):
    with pytest.raises(UserError, match="options of questions"):
        shots(asking, 1)


def test_options_of_different_questions_may_share_a_prompt(toy_encoder):
    reader = toy_encoder().reader

    def names(groups):
        return Domain("q", ("a", "b", "A", "b"), ("{}",), None, None, None, groups=groups)

    assert check_prompts(reader, [names((0, 0, 1, 1))]) == []
    with pytest.raises(UserError, match="'b' and 'b'"):
        check_prompts(reader, [names((0, 1, 2, 1))])


def test_chance_is_the_mean_over_images(asking):
    labels = Counter(GROUPS[label] for label in asking.test.targets)
    assert chance(asking) == pytest.approx(100 * (labels[0] / 3 + labels[1] / 2) / len(asking.test))
    assert chance(replace(asking, groups=None)) == 20


def test_fewer_images_have_fewer_questions(toy_encoder, toy_domain):
    # Eight classes in four questions: with one image per split at most three questions are left.
    domain = replace(toy_domain("q", 8), groups=(0, 0, 1, 1, 2, 2, 3, 3))
    small = limited(domain, 1)
    assert 2 <= len(small.classnames) <= 6 and not small.warnings
    assert len(small.groups) == len(small.classnames) and set(Counter(small.groups).values()) == {2}
    for split in ("train", "val", "test"):
        image, label = getattr(small, split)[0]
        [old] = [old for other, old in getattr(domain, split) if torch.equal(image, other)]
        assert small.classnames[label] == domain.classnames[old]
