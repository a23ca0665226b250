"""The metric plugins fire, and give the numbers of the pure functions."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.streams import scenario
from metrics.evaluate import Accuracy, evaluate
from metrics.iimm import iimm
from metrics.matrix import retention
from metrics.plugins import AccuracyMatrix, IIMMBeforeTraining, ZeroShotRetention
from strategies.base import Strategy

QUICK = Strategy.Options(iterations=8, lr=3e-3, batch_size=8, warmup=2)


@pytest.fixture
def run(encoder, toy_domain):
    """A strategy with all plugins, and its stream, after the zero-shot row."""
    domains = [toy_domain(n, c, seed=i) for i, (n, c) in enumerate((("a", 3), ("b", 5), ("h", 4)))]
    stream = scenario(domains[:2], domains[2:])
    accuracy, measure = AccuracyMatrix(), IIMMBeforeTraining(sample=20, seed=1)
    kept = ZeroShotRetention(accuracy, ["a", "b"], ["h"])
    strategy = Strategy(encoder=encoder, options=QUICK, metrics=[accuracy, measure, kept], eval_batch_size=7)
    tests = [*stream.streams["test"], *stream.streams["heldout"]]
    strategy.prepare_run()
    measure.measure_initial(strategy, stream.train_stream)
    strategy.eval(tests)
    return strategy, stream, tests, accuracy, measure, kept


def by_hand(encoder, domain, dataset):
    """Accuracy within the task's classes with the template ensemble, one image at a time."""
    heads = []
    for name in domain.classnames:
        features = [
            F.normalize(encoder.clip.encode_text(encoder.tokenize([t.format(name)])), dim=1)[0] for t in domain.templates
        ]
        heads.append(F.normalize(torch.stack(features).mean(0), dim=0))
    correct = 0
    for image, label in dataset:
        feature = encoder.clip.encode_image(((image.float() / 255 - 0.5) / 0.27)[None])[0]
        correct += int(torch.stack([h @ feature for h in heads]).argmax()) == label
    return Accuracy(correct, len(dataset))


@torch.no_grad()
def test_accuracy_matrix(run):
    strategy, stream, tests, accuracy, _, _ = run
    with torch.enable_grad():
        strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.eval(tests)
    assert list(accuracy.rows) == [0, 1]
    assert list(accuracy.rows[1]) == [("test", "a"), ("test", "b"), ("heldout", "h")]
    strategy.encoder.eval()
    for experience in tests:
        key = (experience.origin_stream.name, experience.domain.name)
        assert accuracy.rows[1][key] == by_hand(strategy.encoder, experience.domain, experience.domain.test)
    assert accuracy.rows[0] != accuracy.rows[1]


def test_evaluate_gives_the_same_as_the_loop(run):
    strategy, stream, _, accuracy, _, _ = run
    for experience in (*stream.streams["test"], *stream.streams["heldout"]):
        found = evaluate(strategy.classifier, experience.domain, batch_size=5)
        assert found == accuracy.rows[0][experience.origin_stream.name, experience.domain.name]
    for mode in (True, False):
        strategy.classifier.train(mode)
        evaluate(strategy.classifier, experience.domain)
        assert strategy.classifier.training is mode
    with pytest.raises(ValueError, match="no ood split"):
        evaluate(strategy.classifier, experience.domain, "ood")


def test_asking_teaches_the_classifier_no_task(run, toy_domain):
    """A domain that was only evaluated must not take the label of the next experience."""
    strategy = run[0]
    before = dict(strategy.classifier.prompts)
    other = toy_domain("other", 2, seed=8)
    assert evaluate(strategy.classifier, other) == by_hand(strategy.encoder.eval(), other, other.test)
    assert strategy.classifier.prompts == before


def test_values_are_published_under_their_names(run):
    strategy, stream, tests, accuracy, _, kept = run
    strategy.train(stream.train_stream[0], eval_streams=[])
    published = strategy.eval(tests)
    assert published["Accuracy/test/a"] == accuracy.rows[1]["test", "a"].percent
    assert published["ZeroShotRetention"] == kept.rows[1][0] and published["ZeroShotRetention/n"] == kept.rows[1][1]
    assert {"iimm/a", "iimm_intra/a", "iimm_inter/a", "iimm_zero_shot/a"} <= set(published)
    assert published["iimm_n/a"] == 20


def test_iimm_is_taken_before_each_experience_on_the_current_and_the_initial_model(run, toy_encoder):
    strategy, stream, _, _, measure, _ = run
    initial = toy_encoder()
    models = [toy_encoder()]
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        models.append(toy_encoder())
        models[-1].load_state_dict(strategy.encoder.state_dict())
    values = {(m.experience, m.measure): m.value for m in measure.values}
    assert [m.task for m in measure.values] == ["a"] * 4 + ["b"] * 4
    assert {m.when for m in measure.values} == {"before"} and {m.n for m in measure.values} == {20}
    for number, experience in enumerate(stream.train_stream, start=1):
        chosen = torch.randperm(48, generator=torch.Generator().manual_seed(1))[:20]
        images = experience.domain.train.images[chosen]
        labels = torch.tensor(experience.domain.train.targets)[chosen]
        for model, name in ((models[number - 1], "iimm"), (initial, "iimm_zero_shot")):
            with torch.no_grad():
                texts = model.encode_texts(model.tokenize(experience.domain.prompts(0)))
                expected = iimm(model.encode_images(images), texts, labels)
            assert values[number, name] == pytest.approx(expected.score, abs=1e-6)
            if name == "iimm":
                assert values[number, "iimm_intra"] == pytest.approx(expected.intra, abs=1e-6)
                assert values[number, "iimm_inter"] == pytest.approx(expected.inter, abs=1e-6)
    assert values[1, "iimm"] == values[1, "iimm_zero_shot"] and values[2, "iimm"] != values[2, "iimm_zero_shot"]


def test_retention_rows(run):
    strategy, stream, tests, accuracy, _, kept = run
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(tests)
    percent = lambda row, stream, names: [accuracy.rows[row][stream, n].percent for n in names]  # noqa: E731
    R = [percent(j, "test", "ab") for j in (1, 2)]
    held = [percent(j, "heldout", "h") for j in (1, 2)]
    expected = retention(R, percent(0, "test", "ab"), held, percent(0, "heldout", "h"))
    assert [kept.rows[j][0] for j in (1, 2)] == pytest.approx(expected.rows.tolist())
    assert [kept.rows[j][1] for j in (1, 2)] == expected.counts.tolist() == [2, 1]


def test_retention_waits_for_the_whole_stream(run):
    strategy, stream, tests, _, _, kept = run
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.eval(tests[:1])
    assert kept.rows == {}


def test_measuring_leaves_the_training_mode_alone(run):
    strategy, stream, _, _, measure, _ = run
    strategy.encoder.train()
    measure.measure_initial(strategy, stream.train_stream)
    assert strategy.encoder.training
