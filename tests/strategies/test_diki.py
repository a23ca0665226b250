"""DIKI: prefixes that add nothing at first, a task per image, and its scale."""

import pytest
import torch

from benchmarks.scenario import scenario
from models.route import PLAIN, routed
from models.scaled import Share
from strategies.diki import DIKI
from strategies.task_choice import density_scale, gaussian, log_densities

QUICK = {"epochs": 0, "iterations": 4, "batch_size": 8, "lr": 1.0}

LAST_BIT = {"rtol": 1e-6, "atol": 1e-6}
"""Sums of other shapes may differ in their last bit, depending on the processor."""


@pytest.fixture
def options():
    return DIKI.Options(**QUICK)


def test_with_values_of_zero_the_output_is_clips(toy_encoder, stream, options):
    """Before the first update of each task, under the route of the task, in both towers."""
    compared = []

    class Compare(DIKI):
        def before_experience(self):
            super().before_experience()
            encoder, task = self.encoder, self.experience.current_experience
            pixels, tokens = self.experience.domain.train[0][0][None], encoder.tokenize(["a cat", "a dog"])
            with torch.no_grad():
                expected = plain.encode_images(pixels), plain.encode_texts(tokens)
                for route in (Share(task, 1.0), Share(torch.tensor([task]), torch.tensor([0.7])), PLAIN, None):
                    with routed(route):
                        torch.testing.assert_close(encoder.encode_images(pixels), expected[0], **LAST_BIT)
                with routed(Share(task, 0.5)):
                    torch.testing.assert_close(encoder.encode_texts(tokens), expected[1], **LAST_BIT)
            compared.append(task)

    # In training mode, as the strategy's encoder: in evaluation mode torch's attention rounds otherwise.
    plain, strategy = toy_encoder().train(), Compare(encoder=toy_encoder(), options=options)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    assert compared == [0, 1]


def test_only_the_current_tasks_prefixes_train(toy_encoder, stream, options, same):
    strategy, before = DIKI(encoder=toy_encoder(), options=options), toy_encoder().state_dict()
    first, second = stream.train_stream
    strategy.train(first, eval_streams=[])
    # Two blocks of two towers with keys and values of 2 heads, 8 prefixes and 16 numbers.
    assert sum(p.numel() for p in strategy.trainable) == 2 * 2 * 2 * 2 * 8 * 16
    of_first = {name: t.clone() for name, t in strategy.encoder.state_dict().items() if name.startswith("grown.0.")}
    assert any(t.any() for name, t in of_first.items() if name.endswith("values"))
    strategy.train(second, eval_streams=[])
    after = strategy.encoder.state_dict()
    assert same(of_first, {name: t for name, t in after.items() if name.startswith("grown.0.")})
    assert any(t.any() for name, t in after.items() if name.startswith("grown.1.") and name.endswith("values"))
    assert same({name: after[name] for name in before}, before)


def trained_on_two(toy_encoder, toy_domain, **changes):
    domains = [toy_domain("a", 3), toy_domain("b", 5, seed=1)]
    strategy, stream = DIKI(encoder=toy_encoder(), options=DIKI.Options(**{**QUICK, **changes})), scenario(domains)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    strategy.model.eval()
    return strategy, domains


def test_an_image_gets_the_task_of_its_largest_density(toy_encoder, toy_domain):
    strategy, domains = trained_on_two(toy_encoder, toy_domain)
    plain = toy_encoder()
    with torch.no_grad():
        features = [plain.encode_images(torch.stack([image for image, _ in d.train])) for d in domains]
    tasks = [gaussian(rows) for rows in features]
    images = torch.cat(features)
    densities = log_densities(images, tasks)
    choice = strategy.choose(images)
    assert choice.tasks.tolist() == densities.argmax(dim=1).tolist() == [0] * 48 + [1] * 48
    torch.testing.assert_close(choice.scales.double(), density_scale(densities.amax(dim=1), 32), rtol=0, atol=1e-3)


def test_a_prediction_does_not_depend_on_the_batch_unless_it_is_the_released_option(toy_encoder, toy_domain):
    """Two images of task 0 with one of task 1: the majority takes the third image's task from it."""
    for batchwise, same in ((False, True), (True, False)):
        strategy, domains = trained_on_two(toy_encoder, toy_domain, batchwise=batchwise, iterations=8)
        pixels = torch.stack([domains[0].test[0][0], domains[0].test[1][0], domains[1].test[0][0]])
        strategy.experience = scenario(domains).test_stream[0]
        strategy.is_training = False
        whole, single = (torch.cat([logits(strategy, rows) for rows in pixels.split(size)]) for size in (3, 1))
        assert torch.allclose(whole, single, atol=1e-5) == same


@torch.no_grad()
def logits(strategy, pixels):
    strategy.mbatch = [pixels, torch.zeros(len(pixels), dtype=torch.long), torch.zeros(len(pixels), dtype=torch.long)]
    strategy._unpack_minibatch()
    return strategy.forward()


def test_the_rate_ends_at_its_floor(toy_encoder):
    strategy = DIKI(encoder=toy_encoder(), options=DIKI.Options(epochs=0, iterations=11))
    rates = [strategy.learning_rate(step, 5.0, 11) for step in range(11)]
    assert rates[0] == 5 and rates[10] == 1e-3 and rates[5] == pytest.approx(2.5005)


def test_the_best_pass_is_that_of_the_prefixes(toy_encoder, stream):
    """Validation images are classified with the prefixes that train, not by plain CLIP, whose accuracy does not change."""
    options = DIKI.Options(**{**QUICK, "lr": 30.0, "iterations": 24}, best_pass=True)
    strategy = DIKI(encoder=toy_encoder(), options=options)
    strategy.train(stream.train_stream[0], eval_streams=[])
    passes = strategy.searches[0]["passes"]
    assert len(passes) == 4 and len({each["val"] for each in passes}) > 1
