"""Patches of single tasks, tasks that start from the initial weights, and alpha curves on test images."""

import pytest
import torch

from benchmarks.scenario import scenario
from metrics.evaluate import evaluate
from metrics.plugins import MeasuresBeforeTraining
from models.classifier import PromptClassifier
from models.merging import patched, task_vector
from strategies.alpha_search import AnswerCounter, Path, Question
from strategies.engine.strategy import Strategy
from strategies.joint import Joint
from strategies.merging import TaskArithmetic
from strategies.paint import PaintSingle
from strategies.patching import Patching
from strategies.peft import LoRA

QUICK = {"iterations": 3, "lr": 1e-3, "batch_size": 8, "warmup": 1}


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 4, seed=1)], [toy_domain("h", 3, seed=2)])


@pytest.mark.slow
@pytest.mark.parametrize(("method", "tuning"), [(Strategy, None), (Strategy, "lora"), (LoRA, None), (Strategy, "adapter")])
def test_each_task_starts_from_the_initial_weights(toy_encoder, stream, trained, same, method, tuning):
    torch.manual_seed(0)  # LoRA's A and the adapters start at random
    strategy = method(encoder=toy_encoder(), options=method.Options(**QUICK, start="initial"), tuning_name=tuning, seed=0)
    first = {name: p.detach().clone() for name, p in strategy.encoder.named_parameters()}
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert any(not torch.equal(p, first[name]) for name, p in strategy.encoder.named_parameters())
    starts = {}

    def remember(*_):
        starts.update({name: p.detach().clone() for name, p in strategy.encoder.named_parameters()})

    strategy.before_experience = remember
    strategy.train(stream.train_stream[1], eval_streams=[])
    assert same(starts, first)


@pytest.mark.slow
@pytest.mark.parametrize("method", [PaintSingle, Joint, TaskArithmetic])
def test_measures_before_a_task_are_those_of_the_initial_model(toy_encoder, stream, method):
    measures = MeasuresBeforeTraining(("iimm",))
    alpha = {"alpha": 0.5} if issubclass(method, Patching) else {}
    strategy = method(encoder=toy_encoder(), options=method.Options(**QUICK, **alpha), metrics=[measures])
    strategy.prepare_run()
    measures.measure_initial(strategy, stream.train_stream)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    before = [m.value for m in measures.values if m.measure == "iimm"]
    initial = [m.value for m in measures.values if m.measure == "iimm_zero_shot"]
    assert len(before) == 2 and before == pytest.approx(initial, abs=1e-6)


@pytest.mark.slow
def test_a_row_is_the_patch_of_its_task_alone(toy_encoder, stream, trained):
    strategy = trained(PaintSingle, toy_encoder(), stream.train_stream, alpha=0.3)
    start = toy_encoder().state_dict()
    assert [search["chosen"] for search in strategy.searches] == [[0.3], [0.3]]
    moved = task_vector(start, strategy.weights())
    assert moved and all(name.startswith("clip.visual.") for name in moved)
    # Fine-tuned at the same place of the stream, which decides the order of the batches.
    tuned = trained(PaintSingle, toy_encoder(), stream.train_stream[1:], alpha=1.0).weights()
    for name, tensor in strategy.weights().items():
        expected = 0.7 * start[name] + 0.3 * tuned[name]
        torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_only_the_current_task_and_the_supported_ones_are_asked(toy_encoder, stream, trained):
    strategy = trained(PaintSingle, toy_encoder(), stream.train_stream, alphas=3)
    strategy.experience = stream.train_stream[1]
    patching, supported = strategy.questions()
    assert [question.label for question in patching] == [1] and [question.label for question in supported] == [2]
    # Accuracy of task b, not the mean of a and b.
    judge, search = PromptClassifier(toy_encoder()), strategy.searches[1]
    assert search["patching"][0] == evaluate(judge, stream.train_stream[1].domain, "val").percent


def right_images(encoder, domain):
    """Return whether each test image is classified correctly, one image at a time."""
    classifier = PromptClassifier(encoder)
    classifier.register_domain(0, domain)
    classifier.eval()
    with torch.inference_mode():
        return torch.tensor([int(classifier(image[None], 0).argmax()) == label for image, label in domain.test])


@pytest.mark.slow
def test_a_curve_is_the_accuracy_of_the_interpolated_weights(toy_encoder, stream, trained):
    strategy = trained(PaintSingle, toy_encoder(), [stream.train_stream[0]], alpha=0.3, alphas=3, curve=True)
    tuned = trained(PaintSingle, toy_encoder(), [stream.train_stream[0]], alpha=1.0)
    start, [record] = toy_encoder().state_dict(), strategy.searches
    vector, encoder = task_vector(start, tuned.weights()), toy_encoder()
    domains = {"a": stream.train_stream[0].domain, "b": stream.train_stream[1].domain}
    domains["h"] = stream.streams["heldout"][0].domain
    assert [(row["stream"], row["task"], row["n"]) for row in record["curve"]] == [
        ("test", "a", 24), ("test", "b", 24), ("heldout", "h", 24)
    ]  # fmt: skip
    for row in record["curve"]:
        # Another task of the stream has only the ends and the chosen point.
        assert row["points"] == ([[0.0], [0.3], [1.0]] if row["task"] == "b" else [[0.0], [0.3], [0.5], [1.0]])
        before = None
        for [alpha], correct, lost in zip(row["points"], row["correct"], row["lost"], strict=True):
            encoder.load_state_dict(patched(start, [vector], [alpha]))
            encoder.touch()
            assert evaluate(PromptClassifier(encoder), domains[row["task"]]).correct == correct, (row["task"], alpha)
            right = right_images(encoder, domains[row["task"]])
            before = right if before is None else before
            assert (before & ~right).sum() == lost, (row["task"], alpha)
    # Backwards, some images are lost.
    right = {}
    for alpha in (0.0, 1.0):
        encoder.load_state_dict(patched(start, [vector], [alpha]))
        encoder.touch()
        right[alpha] = right_images(encoder, domains["a"])
    path = Path(toy_encoder(), start, [vector])
    correct, lost, *_ = AnswerCounter(path.encoder, {0: domains["a"]}, "test").compare(path, [(1.0,), (0.0,)], Question(0))
    assert correct == [int(right[1.0].sum()), int(right[0.0].sum())] and lost == [0, int((right[1.0] & ~right[0.0]).sum())]
    assert lost[1] > 0
    # The curve changes neither the choice nor the weights.
    without = trained(PaintSingle, toy_encoder(), [stream.train_stream[0]], alpha=0.3, alphas=3)
    assert torch.equal(strategy.weights()["clip.visual.proj"], without.weights()["clip.visual.proj"])
    assert without.searches == [{key: value for key, value in record.items() if key not in ("curve", "weight_cosine")}]


@pytest.mark.slow
def test_a_curve_compares_the_fine_tuned_model_with_the_initial_one_whatever_alpha_is_chosen(toy_encoder, stream, trained):
    """CKA as in kernel space, and the cosine of the image tower's weights, the only ones that train."""
    records = {
        alpha: trained(PaintSingle, toy_encoder(), [stream.train_stream[0]], alpha=alpha, alphas=2, curve=True).searches[0]
        for alpha in (0.0, 1.0)
    }
    start, tuned = toy_encoder(), toy_encoder()
    weights = trained(PaintSingle, toy_encoder(), [stream.train_stream[0]], alpha=1.0).weights()
    tuned.load_state_dict(weights)
    for row, domain in zip(
        records[0.0]["curve"],
        [e.domain for e in (*stream.train_stream, stream.streams["heldout"][0])],
        strict=True,
    ):
        pixels = torch.stack([image for image, _ in domain.test])
        with torch.inference_mode():
            grams = [
                (x - x.mean(dim=0)) @ (x - x.mean(dim=0)).T for x in (m.encode_images(pixels).double() for m in (start, tuned))
            ]
        expected = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
        assert row["cka"] == pytest.approx(float(expected), abs=1e-5) and row["cka"] < 1 and row["cka_debiased"] < 1
    initial = start.state_dict()
    names = [name for name in weights if name.startswith("clip.visual.")]
    before, after = (torch.cat([state[name].double().flatten() for name in names]) for state in (initial, weights))
    expected = before @ after / (before.norm() * after.norm())
    assert records[0.0]["weight_cosine"] == pytest.approx(float(expected), abs=1e-9) and expected < 1
    for name in ("cka", "cka_debiased"):
        assert [row[name] for row in records[0.0]["curve"]] == [row[name] for row in records[1.0]["curve"]]
    assert records[0.0]["weight_cosine"] == records[1.0]["weight_cosine"]
