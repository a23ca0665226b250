"""A method that reads its batch is caught, and one that does not is not suspected."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.scenario import scenario
from strategies.engine.batch_check import check_batches, other_batches
from strategies.engine.strategy import Strategy


@pytest.fixture
def tests_of(toy_domain):
    def make(protocol):
        domains = [toy_domain(name, 3, seed=i) for i, name in enumerate("abh")]
        stream = scenario(domains[:2], domains[2:], protocol=protocol)
        return [*stream.streams["test"], *stream.streams["heldout"]]

    return make


class CentresBatch(Strategy):
    """Subtracts the mean of the batch, as normalisation by the statistics of test batches does."""

    def predict(self, features, candidates):
        return super().predict(F.normalize(features - features.mean(dim=0) + 1e-3, dim=1), candidates)


class Votes(Strategy):
    """Cheats: guesses each image's task from its first pixel, and answers with words of the batch's commonest guess."""

    def predict(self, features, candidates):
        majority = int((self.mb_x[:, 0, 0, 0] >= 128).double().mean() >= 0.5)
        words = [self.classifier.text_features(task).mean(dim=0) for task in (majority, 1 - majority)]
        return super().predict(F.normalize(words[0] - words[1], dim=0).expand(len(features), -1), candidates)


@pytest.mark.parametrize("protocol", ["task", "agnostic"])
@pytest.mark.parametrize("tuning", ["full", "adapter"])
def test_a_method_that_looks_at_one_image_at_a_time_passes(encoder, tests_of, protocol, tuning):
    strategy = Strategy(encoder=encoder, tuning_name=tuning, eval_batch_size=16)
    result = check_batches(strategy, tests_of(protocol))
    assert result["images"] == 72 and result["dependent"] == 0
    images = {each["batches"]: each["images"] for each in result["passes"]}
    apart = {} if protocol == "task" else {"one task per batch": 48}
    assert images == {"other sizes and order": 72, **apart, "single images": 72}


@pytest.mark.parametrize("protocol", ["task", "class"])
def test_a_method_that_reads_its_batch_is_caught(encoder, tests_of, protocol):
    result = check_batches(CentresBatch(encoder=encoder, eval_batch_size=16), tests_of(protocol))
    assert result["dependent"] == max(each["dependent"] for each in result["passes"]) > 0


def test_a_vote_of_the_batch_is_caught(encoder, tests_of):
    tests = tests_of("agnostic")
    for task, experience in enumerate(tests[:2]):  # the guess is right for two of three images
        images = experience.domain.test.images
        images[:, 0, 0, 0] = torch.tensor([255 * (task if i % 3 else 1 - task) for i in range(len(images))])
    strategy = Votes(encoder=encoder, eval_batch_size=48)
    changed = {each["batches"]: each["dependent"] for each in check_batches(strategy, tests[:2])["passes"]}
    # In mixed batches every image is given to one task. In batches of one task half of them change to the other.
    assert changed["one task per batch"] == 24


def test_other_batches_have_the_same_images():
    kinds = dict(other_batches([100, 3], 50))
    for kind, batches in kinds.items():
        images = sorted(i for batch in batches for i in batch)
        assert images == ([*range(64), 100, 101, 102] if kind == "single images" else list(range(103)))
    assert [len(batch) for batch in kinds["one task per batch"]] == [50, 50, 3]
    assert max(map(len, kinds["other sizes and order"])) == 18
