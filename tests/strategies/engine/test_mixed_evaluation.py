"""Test images of all tasks are classified in mixed batches when their task is unknown, with the same numbers as without."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.scenario import scenario
from metrics.plugins import AccuracyMatrix
from strategies.engine.avalanche_template import Template
from strategies.engine.mixed_evaluation import mixed_batches, separate_batches
from strategies.engine.strategy import Strategy


@pytest.fixture
def tests_of(toy_domain):
    """Test and held-out experiences of three tasks of different sizes, under a protocol."""

    def make(protocol):
        domains = [toy_domain(n, c, seed=i, test=t) for i, (n, c, t) in enumerate((("a", 3, 24), ("b", 5, 40), ("h", 4, 9)))]
        stream = scenario(domains[:2], domains[2:], protocol=protocol)
        return [*stream.streams["test"], *stream.streams["heldout"]]

    return make


def test_every_mixed_batch_has_images_of_every_set_in_proportion():
    batches = mixed_batches([40, 20, 10], 14)
    assert sorted(i for batch in batches for i in batch) == list(range(70)) and [len(b) for b in batches] == [14] * 5
    for batch in batches:
        counts = [sum(i < 40 for i in batch), sum(40 <= i < 60 for i in batch), sum(i >= 60 for i in batch)]
        assert all(abs(n - expected) <= 1 for n, expected in zip(counts, (8, 4, 2), strict=True))
    assert batches == mixed_batches([40, 20, 10], 14) and batches != mixed_batches([40, 20, 10], 14, seed=1)
    inside = [i for batch in batches for i in batch if i < 40]
    assert inside != sorted(inside)


def test_separate_batches_have_one_set_each():
    batches = separate_batches([5, 0, 4], 3)
    assert [len(batch) for batch in batches] == [3, 2, 3, 1]
    assert sorted(batches[0] + batches[1]) == [0, 1, 2, 3, 4] and sorted(batches[2] + batches[3]) == [5, 6, 7, 8]


@pytest.mark.parametrize("protocol", ["task", "class", "agnostic"])
def test_batches_tell_the_task_only_under_the_protocol_task(encoder, tests_of, protocol, monkeypatch):
    watched, class_logits = [], Strategy.class_logits
    # A method's override is refused where the task is unknown.
    monkeypatch.setattr(
        Template, "class_logits", lambda self, x: (watched.append(set(self.mb_task_id.tolist())), class_logits(self, x))[1]
    )
    Strategy(encoder=encoder, eval_batch_size=7).eval(tests_of(protocol))
    if protocol == "task":
        assert all(len(tasks) == 1 for tasks in watched)
    else:
        # 64 images of two tasks in batches of 7, then the held-out images.
        assert watched == [{0, 1}] * 10 + [{2}] * 2


@pytest.mark.parametrize(("protocol", "trained"), [("class", 0), ("class", 1), ("agnostic", 0)])
@pytest.mark.parametrize("tuning", ["full", "adapter"])
def test_mixed_batches_give_the_numbers_of_one_experience_at_a_time(encoder, tests_of, protocol, trained, tuning):
    tests, rows = tests_of(protocol), []
    accuracy = AccuracyMatrix()
    strategy = Strategy(encoder=encoder, tuning_name=tuning, metrics=[accuracy], eval_batch_size=7)
    strategy.trained = trained
    for _ in range(2):  # the second time with the kept features of a frozen image tower
        strategy.eval(tests)
        rows.append(dict(accuracy.rows[trained]))
    for experience in tests:
        strategy.eval([experience])
    assert rows == [dict(accuracy.rows[trained])] * 2
    assert not strategy._mixed and all(not rivals for rivals in strategy.classifier.rivals.values())


def test_plugins_get_the_logits_in_the_order_of_the_images(encoder, tests_of):
    strategy = Strategy(encoder=encoder, eval_batch_size=7)
    tests, taken = tests_of("agnostic"), []

    class Keeps(AccuracyMatrix):
        def after_eval_iteration(self, strategy):
            super().after_eval_iteration(strategy)
            taken.append((strategy.experience.domain.name, strategy.mb_output, strategy.mb_y))

    strategy = Strategy(encoder=encoder, metrics=[Keeps()], eval_batch_size=7)
    strategy.eval(tests)
    for experience, other in ((tests[0], tests[1]), (tests[1], tests[0])):
        domain = experience.domain
        logits = torch.cat([output for name, output, _ in taken if name == domain.name])
        with torch.no_grad():
            heads = []
            for each in (domain, other.domain):
                texts = [F.normalize(encoder.encode_texts(encoder.tokenize(each.prompts(i))), dim=-1) for i in range(2)]
                heads.append(F.normalize(torch.stack(texts).mean(0), dim=-1))
            expected = encoder.logits(encoder.encode_images(domain.test.images), torch.cat(heads))
        assert torch.allclose(logits, expected, atol=1e-4)


class Votes(Strategy):
    """Cheats: guesses each image's task from its first pixel, and answers with words of the batch's commonest guess."""

    def predict(self, features, candidates):
        majority = int((self.mb_x[:, 0, 0, 0] >= 128).double().mean() >= 0.5)
        words = [self.classifier.text_features(task).mean(dim=0) for task in (majority, 1 - majority)]
        return super().predict(F.normalize(words[0] - words[1], dim=0).expand(len(features), -1), candidates)


def of_own_task(outputs, experiences):
    """Return for each experience the share of images whose answer is a class of their task."""
    return [
        float((output.argmax(dim=1) < len(experience.domain.classnames)).double().mean())
        for output, experience in zip(outputs, experiences, strict=True)
    ]


def test_a_vote_of_the_batch_no_longer_finds_the_task(encoder, tests_of):
    tests = tests_of("agnostic")[:2]
    for task, experience in enumerate(tests):  # the guess is right for two of three images
        images = experience.domain.test.images
        images[:, 0, 0, 0] = torch.tensor([255 * (task if i % 3 else 1 - task) for i in range(len(images))])
    strategy, sizes = Votes(encoder=encoder), [24, 40]
    apart = strategy.logits_of(tests, separate_batches(sizes, 64))
    assert of_own_task(apart, tests) == [1, 1]
    strategy.eval(tests)
    mixed = strategy.logits_of(tests, mixed_batches(sizes, strategy.eval_mb_size))
    assert of_own_task(mixed, tests) == [0, 1]
