"""The metric plugins are called and return the numbers of the pure functions."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import silhouette_score

from benchmarks.scenario import scenario
from metrics.embedding import embed, embed_images
from metrics.evaluate import Accuracy, evaluate
from metrics.iimm import iimm
from metrics.matrix import retention
from metrics.plugins import AccuracyMatrix, MeasuresBeforeTraining, ZeroShotRetention
from models.encoder import DualEncoder
from strategies.engine.strategy import Strategy

QUICK = Strategy.Options(iterations=8, lr=3e-3, batch_size=8, warmup=2)


@pytest.fixture
def run(encoder, toy_domain):
    """A strategy with all plugins, and its stream, after the zero-shot row."""
    domains = [toy_domain(n, c, seed=i) for i, (n, c) in enumerate((("a", 3), ("b", 5), ("h", 4)))]
    stream = scenario(domains[:2], domains[2:])
    accuracy, measure = AccuracyMatrix(), MeasuresBeforeTraining(sample=20, seed=1)
    stored = ZeroShotRetention(accuracy, ["a", "b"], ["h"])
    strategy = Strategy(encoder=encoder, options=QUICK, metrics=[accuracy, measure, stored], eval_batch_size=7)
    tests = [*stream.streams["test"], *stream.streams["heldout"]]
    strategy.prepare_run()
    measure.measure_initial(strategy, stream.train_stream)
    strategy.eval(tests)
    return strategy, stream, tests, accuracy, measure, stored


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


@pytest.mark.slow
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
        result = evaluate(strategy.classifier, experience.domain, batch_size=5)
        assert result == accuracy.rows[0][experience.origin_stream.name, experience.domain.name]
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


@pytest.mark.slow
def test_values_are_published_under_their_names(run):
    strategy, stream, tests, accuracy, _, stored = run
    strategy.train(stream.train_stream[0], eval_streams=[])
    published = strategy.eval(tests)
    assert published["Accuracy/test/a"] == accuracy.rows[1]["test", "a"].percent
    assert published["ZeroShotRetention"] == stored.rows[1][0] and published["ZeroShotRetention/n"] == stored.rows[1][1]
    names = ("iimm", "iimm_intra", "iimm_inter", "iimm_zero_shot", "silhouette", "correct_pair", "cka")
    assert {f"{name}/a" for name in names} <= set(published)
    assert published["measured_images/a"] == 20


def sample(experience, model):
    """Features, class texts and labels of the twenty images that are measured."""
    chosen = torch.randperm(48, generator=torch.Generator().manual_seed(1))[:20]
    with torch.no_grad():
        x = model.encode_images(experience.domain.train.images[chosen])
        t = model.encode_texts(model.tokenize(experience.domain.prompts(0)))
    return x.double(), t.double(), torch.tensor(experience.domain.train.targets)[chosen]


def alike(x, y):
    """Linear CKA through the N x N kernels, as it was first published."""
    centre = torch.eye(len(x), dtype=torch.float64) - 1 / len(x)
    k, m = (centre @ (z @ z.T) @ centre for z in (x, y))
    return float((k * m).sum() / (k.norm() * m.norm()))


@pytest.mark.slow
def test_measures_are_taken_before_each_experience_and_cka_after_it(run, toy_encoder):
    strategy, stream, _, _, measure, _ = run
    initial = toy_encoder()
    models = [toy_encoder()]
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        models.append(toy_encoder())
        models[-1].load_state_dict(strategy.encoder.state_dict())
    values = {(m.experience, m.measure): m.value for m in measure.values}
    before = ["iimm", "iimm_intra", "iimm_inter", "iimm_zero_shot", "silhouette", "correct_pair"]
    rows = [("before", name) for name in before] + [("after", "cka")]
    assert [(m.when, m.measure) for m in measure.values] == rows * 2
    assert [m.task for m in measure.values] == ["a"] * 7 + ["b"] * 7 and {m.n for m in measure.values} == {20}
    for number, experience in enumerate(stream.train_stream, start=1):
        x, t, y = sample(experience, models[number - 1])
        now, zero = iimm(x, t, y), iimm(*sample(experience, initial))
        expected = {
            "iimm": now.score, "iimm_intra": now.intra, "iimm_inter": now.inter, "iimm_zero_shot": zero.score,
            "silhouette": silhouette_score(x.numpy(), y.numpy(), metric="cosine"),
            "correct_pair": float((x * t[y]).sum(dim=1).mean()),
            "cka": alike(sample(experience, initial)[0], sample(experience, models[number])[0]),
        }  # fmt: skip
        assert {name: values[number, name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert values[1, "iimm"] == values[1, "iimm_zero_shot"] and values[2, "iimm"] != values[2, "iimm_zero_shot"]
    assert values[1, "cka"] < 1 - 1e-6
    assert measure.seconds > 0
    measure.reset()
    assert measure.values == [] and measure.seconds == 0


def test_tasks_that_start_from_the_initial_model_are_measured_on_it(encoder, toy_domain):
    stream = scenario([toy_domain("a", 3), toy_domain("b", 4, seed=1)], [])
    measure = MeasuresBeforeTraining(("iimm",), sample=20)
    strategy = Strategy(encoder=encoder, options=replace(QUICK, start="initial"), metrics=[measure])
    strategy.prepare_run()
    measure.measure_initial(strategy, stream.train_stream)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
    values = {(m.experience, m.measure): m.value for m in measure.values}
    assert values[2, "iimm"] == pytest.approx(values[2, "iimm_zero_shot"], abs=1e-9)


@pytest.mark.parametrize(
    ("names", "initial", "rows"),
    [
        (("silhouette",), False, ["silhouette"]),
        (("gbc", "cka"), True, ["gbc", "cka"]),
        (("cka",), True, ["cka"]),
        ((), False, []),
        (("iimm", "logme"), True, ["iimm", "iimm_zero_shot", "logme"]),
    ],
)
def test_what_is_not_asked_costs_no_pass(names, initial, rows, encoder, toy_domain, passes):
    stream = scenario([toy_domain("a", 3)], [])
    measure = MeasuresBeforeTraining(names, sample=20)
    strategy = Strategy(encoder=encoder, options=QUICK, metrics=[measure])
    strategy.prepare_run()
    measure.measure_initial(strategy, stream.train_stream)
    assert len(passes) == initial
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert [m.measure for m in measure.values] == rows
    needed = (bool(set(names) - {"cka"}) or initial) + ("cka" in names)
    assert len(passes) == needed, "the first experience starts from the initial model, whose images have passed"


@pytest.fixture
def passes(monkeypatch):
    """The sizes of the batches that pass through the image tower without gradients."""
    result, original = [], DualEncoder.raw_images

    def raw_images(self, pixels):
        if not torch.is_grad_enabled():
            result.append(len(pixels))
        return original(self, pixels)

    monkeypatch.setattr(DualEncoder, "raw_images", raw_images)
    return result


@pytest.mark.slow
@pytest.mark.parametrize(("tuning", "again"), [("full", [20] * 3), ("text", []), ("adapter", []), ("probe", [])])
def test_the_same_images_do_not_pass_twice_and_no_number_changes(tuning, again, toy_encoder, toy_domain, passes, monkeypatch):
    def values(keep):
        with monkeypatch.context() as patch:
            if not keep:
                from metrics import plugins

                patch.setattr(plugins, "embed", lambda *a: embed(*a[:3]))
                patch.setattr(plugins, "embed_images", lambda *a: embed_images(*a[:2]))
            stream = scenario([toy_domain("a", 3), toy_domain("b", 4, seed=1)], [])
            measure = MeasuresBeforeTraining(sample=20)
            torch.manual_seed(0)
            strategy = Strategy(encoder=toy_encoder(), options=QUICK, tuning_name=tuning, metrics=[measure])
            strategy.prepare_run()
            measure.measure_initial(strategy, stream.train_stream)
            assert passes == [20, 20]
            passes.clear()
            for experience in stream.train_stream:
                strategy.train(experience, eval_streams=[])
        return measure.values

    stored = values(True)
    assert passes == again
    passes.clear()
    assert values(False) == stored, "bit-exact"
    assert passes == [20] * 4
    last = {m.measure: m.value for m in stored if m.experience == 2}
    assert (last["iimm"] == last["iimm_zero_shot"]) == (tuning == "probe")
    assert (last["cka"] == pytest.approx(1, abs=1e-12)) == (tuning in ("text", "probe"))


def test_undefined_measures_are_nan(encoder, toy_domain):
    stream = scenario([toy_domain("a", 1)], [])
    measure = MeasuresBeforeTraining(sample=1)
    strategy = Strategy(encoder=encoder, options=QUICK, metrics=[measure])
    measure.measure_initial(strategy, stream.train_stream)
    strategy.train(stream.train_stream[0], eval_streams=[])
    values = {m.measure: m.value for m in measure.values}
    assert len(values) == 7 and [name for name, value in values.items() if value == value] == ["correct_pair"]


@pytest.mark.slow
def test_retention_rows(run):
    strategy, stream, tests, accuracy, _, stored = run
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        strategy.eval(tests)
    percent = lambda row, stream, names: [accuracy.rows[row][stream, n].percent for n in names]  # noqa: E731
    R = [percent(j, "test", "ab") for j in (1, 2)]
    held = [percent(j, "heldout", "h") for j in (1, 2)]
    expected = retention(R, percent(0, "test", "ab"), held, percent(0, "heldout", "h"))
    assert [stored.rows[j][0] for j in (1, 2)] == pytest.approx(expected.rows.tolist())
    assert [stored.rows[j][1] for j in (1, 2)] == expected.counts.tolist() == [2, 1]


@pytest.mark.slow
def test_retention_waits_for_the_whole_stream(run):
    strategy, stream, tests, _, _, stored = run
    strategy.train(stream.train_stream[0], eval_streams=[])
    strategy.eval(tests[:1])
    assert stored.rows == {}


def test_measuring_leaves_the_training_mode_alone(run):
    strategy, stream, _, _, measure, _ = run
    strategy.encoder.train()
    measure.measure_initial(strategy, stream.train_stream)
    assert strategy.encoder.training
