"""PAINT's three strategies: identities, formulas, batches and saved state."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from benchmarks.data.dataset import TensorImages
from benchmarks.scenario import scenario
from harness.run import checkpoint
from metrics.evaluate import evaluate
from models.classifier import PromptClassifier
from models.merging import patched, task_vector
from strategies.engine.joint_batches import joint_loader
from strategies.engine.strategy import Strategy
from strategies.paint import PaintJoint, PaintParallel, PaintSequential, Patching

QUICK = {"iterations": 4, "lr": 1e-3, "batch_size": 8, "warmup": 1, "alphas": 5}
METHODS = [PaintSequential, PaintJoint, PaintParallel]


@pytest.fixture
def stream(toy_domain):
    trained = [toy_domain("a", 3), toy_domain("b", 4, seed=1), toy_domain("c", 3, seed=3)]
    return scenario(trained, [toy_domain("h", 3, seed=2)])


def make(method, encoder, **options):
    return method(encoder=encoder, options=method.Options(**{**QUICK, **options}))


class Tuned(Patching):
    """PAINT's fine-tuning without a search."""


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.35, 1.0, None])
def test_with_one_task_the_three_are_one(toy_encoder, stream, alpha, trained, same):
    first = [stream.train_stream[0]]
    runs = [trained(method, toy_encoder(), first, alpha=alpha) for method in METHODS]
    assert same(runs[0].weights(), runs[1].weights()) and same(runs[0].weights(), runs[2].weights())
    assert runs[0].searches == runs[1].searches == runs[2].searches
    vector = trained(PaintParallel, toy_encoder(), first, alpha=alpha, search="vector")
    assert same(runs[0].weights(), vector.weights()), "one alpha each is one alpha for one"
    start = toy_encoder().state_dict()
    if alpha == 0:
        assert same(runs[0].weights(), start)
    if alpha is not None:
        tuned = trained(Tuned, toy_encoder(), first).weights()
        for name, tensor in runs[0].weights().items():
            expected = (1 - alpha) * start[name] + alpha * tuned[name]
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_only_the_image_tower_moves(toy_encoder, stream, trained):
    start = toy_encoder().state_dict()
    for method in METHODS:
        moved = task_vector(start, trained(method, toy_encoder(), stream.train_stream, alpha=0.5).weights())
        assert moved and all(name.startswith("clip.visual.") for name in moved)


def test_training_uses_the_ensemble_head(toy_encoder, stream, trained):
    """One update: the loss is the cross-entropy under the head of all templates, without smoothing."""

    class Spy(Tuned):
        def compute_loss(self, batch):
            self.batch, self.logits = batch, self.mb_output.detach().clone()
            assert self.classifier.training and self.encoder.training
            return super().compute_loss(batch)

    strategy = trained(Spy, toy_encoder(), [stream.train_stream[0]], iterations=1)
    plain = toy_encoder()
    judge = PromptClassifier(plain).eval()
    judge.register_domain(0, stream.train_stream[0].domain)
    with torch.no_grad():
        expected = judge(strategy.batch.images, 0)
    torch.testing.assert_close(strategy.logits, expected)
    loss = torch.nn.functional.cross_entropy(expected, strategy.batch.labels)
    assert strategy.history[0]["loss"] == pytest.approx(loss.item(), rel=1e-5)


def test_gradients_are_clipped(toy_encoder, stream, trained):
    norms = []

    class Spy(Tuned):
        def compute_loss(self, batch):
            return 1e3 * super().compute_loss(batch)

        def after_step(self, step):
            norms.append(torch.stack([p.grad.norm() for p in self.trainable]).norm().item())

    trained(Spy, toy_encoder(), [stream.train_stream[0]])
    assert max(norms) <= 1.0 + 1e-5
    trained(Spy, toy_encoder(), [stream.train_stream[0]], clip=0.0)
    assert norms[4] > 10


@pytest.mark.slow
def test_sequential_by_formula(toy_encoder, stream):
    """theta_t = (1 - a) theta_{t-1} + a phi_t, where phi_t is plain fine-tuning from theta_{t-1}."""
    strategy, alone = make(PaintSequential, toy_encoder(), alpha=0.3), make(Tuned, toy_encoder())
    for experience in stream.train_stream:
        before = strategy.weights()
        strategy.train(experience, eval_streams=[])
        alone.set_weights(before)
        alone.train(experience, eval_streams=[])
        phi = alone.weights()
        for name, tensor in strategy.weights().items():
            torch.testing.assert_close(tensor, 0.7 * before[name] + 0.3 * phi[name], rtol=1e-5, atol=1e-7)
    assert [s["chosen"] for s in strategy.searches] == [[0.3]] * 3


@pytest.mark.slow
def test_parallel_by_formula(toy_encoder, stream, trained):
    """Every task starts from the initial weights. Row j is these weights plus alpha times the sum of the first j vectors."""
    start, vectors = toy_encoder().state_dict(), []
    strategy = make(PaintParallel, toy_encoder(), alpha=0.3)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        alone = trained(Tuned, toy_encoder(), [experience]).weights()
        vectors.append({n: alone[n] - start[n] for n in start})
        for name, tensor in strategy.weights().items():
            expected = start[name] + 0.3 * sum(v[name] for v in vectors)
            torch.testing.assert_close(tensor, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_search_takes_the_best_point_of_the_grid(toy_encoder, stream, trained):
    """Against evaluating a model made for each alpha, on validation images of both groups."""
    first = stream.train_stream[0]
    strategy = trained(PaintSequential, toy_encoder(), [first], iterations=20, lr=3e-3)
    [search] = strategy.searches
    start, slow = toy_encoder().state_dict(), toy_encoder()
    tuned = trained(Tuned, toy_encoder(), [first], iterations=20, lr=3e-3).weights()
    values = []
    for [alpha] in search["points"]:
        slow.load_state_dict(patched(start, [task_vector(start, tuned)], [alpha]))
        domains = (first.domain, first.heldout_domains[0])
        values.append([evaluate(PromptClassifier(slow), domain, "val").percent for domain in domains])
    assert search["points"] == [[0.0], [0.25], [0.5], [0.75], [1.0]]
    assert [search["patching"], search["supported"]] == [list(column) for column in zip(*values, strict=True)]
    means = [sum(value) / 2 for value in values]
    assert search["chosen"] == search["points"][means.index(max(means))]
    assert max(means) > means[0] and strategy.notes == []


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_start_is_evaluated_once_per_run(toy_encoder, stream, method, monkeypatch, trained):
    """On supported tasks: all points but alpha = 0, which is evaluated only in the first row."""
    import strategies.alpha_search as alpha_module

    asked = Counter()

    def spy(logits, labels):
        asked[tuple(labels.tolist())] += 1
        return is_correct(logits, labels)

    is_correct = alpha_module.is_correct
    monkeypatch.setattr(alpha_module, "is_correct", spy)
    trained(method, toy_encoder(), stream.train_stream)
    supported = tuple(stream.train_stream[0].heldout_domains[0].val.targets)
    # Tasks a and c have the same labels as the held-out one: rows 1 to 3 ask for a, row 3 for c.
    assert supported == tuple(stream.train_stream[0].domain.val.targets)
    assert asked[supported] == (5 + 4 + 4) + (5 + 4 + 4) + 5
    assert asked[tuple(stream.train_stream[1].domain.val.targets)] == 5 + 4


@pytest.mark.slow
def test_the_bound_holds_against_the_initial_model(toy_encoder, stream, trained):
    strategy = trained(PaintSequential, toy_encoder(), stream.train_stream, rule="bounded", epsilon=0.0, iterations=20, lr=3e-3)
    initial = strategy.searches[0]["supported"][0]
    for search in strategy.searches:
        at = search["points"].index(search["chosen"])
        assert search["supported"][at] >= initial
        allowed = [p for p, s in zip(search["patching"], search["supported"], strict=True) if s >= initial]
        assert search["patching"][at] == max(allowed)


@pytest.mark.slow
def test_a_vector_search_is_no_worse_than_the_shared_one(toy_encoder, stream, trained, same):
    options = {"iterations": 20, "lr": 3e-3}
    shared = trained(PaintParallel, toy_encoder(), stream.train_stream, **options)
    vector = trained(PaintParallel, toy_encoder(), stream.train_stream, search="vector", evaluations=12, **options)

    def best(strategy):
        search = strategy.searches[-1]
        at = search["points"].index(search["chosen"])
        return (search["patching"][at] + search["supported"][at]) / 2

    assert best(vector) >= best(shared)
    assert 5 < len(vector.searches[-1]["points"]) <= 5 + 12
    chosen = vector.searches[-1]["chosen"]
    assert same(vector.weights(), patched(vector.initial, vector.vectors, chosen))


@pytest.mark.slow
def test_without_supported_tasks_the_run_reports_it(toy_encoder, toy_domain, trained):
    alone = scenario([toy_domain("a", 3), toy_domain("b", 4, seed=1)])
    strategy = trained(PaintSequential, toy_encoder(), alone.train_stream)
    assert len(strategy.notes) == 1 and "by the trained tasks only" in strategy.notes[0]
    search = strategy.searches[0]
    assert search["supported"] == []
    assert search["patching"][search["points"].index(search["chosen"])] == max(search["patching"])
    assert trained(PaintSequential, toy_encoder(), alone.train_stream, alpha=0.5).notes == []


def test_without_validation_images(toy_encoder, toy_domain, trained):
    bare = scenario([replace(toy_domain("a", 3), val=None)])
    with pytest.raises(ValueError, match="validation images of 'a'"):
        trained(PaintSequential, toy_encoder(), bare.train_stream)
    trained(PaintSequential, toy_encoder(), bare.train_stream, alpha=0.5)


@pytest.mark.slow
def test_test_images_are_never_looked_at(toy_encoder, toy_domain, trained):
    class Forbidden(TensorImages):
        def __getitem__(self, index):
            raise AssertionError("a test image was read")

    def without(domain):
        return replace(domain, test=Forbidden(domain.test.images, domain.test.targets))

    domains = [without(toy_domain(name, 3, seed=i)) for i, name in enumerate("abh")]
    guarded = scenario(domains[:2], domains[2:])
    for method in METHODS:
        trained(method, toy_encoder(), guarded.train_stream)


@pytest.mark.slow
@pytest.mark.parametrize("method", [*METHODS, "vector"])
def test_kill_and_resume(toy_encoder, stream, method, tmp_path, same, go_on):
    """Through the files of a checkpoint: the same weights, searches and state."""
    options = {"rule": "bounded"}
    if method == "vector":
        method, options = PaintParallel, {"search": "vector", "evaluations": 6}
    *before, last = stream.train_stream
    whole = make(method, toy_encoder(), **options)
    for experience in before:
        # As the harness does: a resumed run has evaluated nothing yet.
        whole.eval(stream.test_stream)
        whole.train(experience, eval_streams=[])
    whole.eval(stream.test_stream)
    checkpoint.save_state(tmp_path, 2, dict(whole.encoder.state_dict()), whole.state())
    whole.train(last, eval_streams=[])

    resumed = make(method, toy_encoder(), **options)
    weights, state = checkpoint.load_state(tmp_path, 2)
    go_on(resumed, weights, state, last)
    assert same(resumed.weights(), whole.weights())
    assert resumed.searches == whole.searches and resumed.history == whole.history
    assert resumed.state().keys() == whole.state().keys() and resumed.start == whole.start
    assert resumed.validation_splits().known == whole.validation_splits().known


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("tuning_name", ["full", "lora"])
def test_other_tunings(toy_encoder, stream, method, tuning_name, same):
    options = method.Options(**QUICK, alpha=0.0)
    torch.manual_seed(0)
    strategy = method(encoder=toy_encoder(), options=options, tuning_name=tuning_name)
    for experience in stream.train_stream:
        strategy.train(experience, eval_streams=[])
        assert same(strategy.weights(), toy_encoder().state_dict()), "alpha = 0 is the start"
    torch.manual_seed(0)
    searched = method(encoder=toy_encoder(), options=replace(options, alpha=None), tuning_name=tuning_name)
    searched.train(stream.train_stream[0], eval_streams=[])
    [search] = searched.searches
    left = evaluate(searched.classifier, stream.train_stream[0].domain, "val", task_label=0)
    assert left.percent == search["patching"][search["points"].index(search["chosen"])]


@pytest.mark.slow
def test_joint_budget(toy_encoder, stream):
    for way, expected in (("task", [4, 4, 4]), ("sum", [4, 8, 12])):
        strategy = make(PaintJoint, toy_encoder(), joint_budget=way, alpha=0.5)
        assert [strategy.budget(e) for e in stream.train_stream] == expected, "before the run, as the progress bar asks"
        lengths = []
        for experience in stream.train_stream:
            strategy.train(experience, eval_streams=[])
            lengths.append(len(strategy.history))
        assert lengths == expected


@pytest.mark.slow
def test_joint_trains_all_tasks_so_far_in_turn(toy_encoder, stream, trained):
    seen = []

    class Spy(PaintJoint):
        def compute_loss(self, batch):
            seen.append(sorted(set(batch.task_labels.tolist())))
            assert self.mb_output.shape[1] == self.classifier.classes(seen[-1][0])
            return super().compute_loss(batch)

    trained(Spy, toy_encoder(), stream.train_stream, joint_budget="task", alpha=0.5)
    assert seen == [[0]] * 4 + [[0], [1], [0], [1]] + [[0], [1], [2], [0]]


@pytest.mark.slow
def test_a_row_of_joint_forgets_the_rows_before(toy_encoder, stream, same):
    """Row 2 from the initial weights: the same after a first row with another alpha."""
    second = []
    for alpha in (0.0, 1.0):
        strategy = make(PaintJoint, toy_encoder(), alpha=alpha)
        strategy.train(stream.train_stream[0], eval_streams=[])
        strategy.options = replace(strategy.options, alpha=0.5)
        strategy.train(stream.train_stream[1], eval_streams=[])
        second.append(strategy.weights())
    assert same(*second)


def batches(experiences, count, seeds=(0, 1), workers=0):
    from strategies.engine.batches import endless

    loader = endless(joint_loader(experiences, 16, workers=workers, seeds=seeds))
    return [next(loader) for _ in range(count)]


def test_joint_batches_see_every_image_once_a_pass(toy_domain):
    small, large = toy_domain("small", 3, train=10), toy_domain("large", 3, seed=1, train=40)
    experiences = scenario([small, large]).train_stream
    drawn = batches(list(experiences), 12)
    assert [set(tasks.tolist()) for _, _, tasks in drawn] == [{0}, {1}] * 6
    assert [len(images) for images, *_ in drawn] == [10, 16, 10, 16, 10, 8] * 2
    assert drawn[0][0].dtype == torch.uint8 and drawn[0][0].shape[1:] == (3, 48, 48)
    labels = Counter(label for _, these, tasks in drawn[:6] for label in these.tolist() if tasks[0] == 1)
    assert labels == Counter(large.train.targets)
    shuffles = [drawn[i][1].tolist() for i in (0, 2, 4)]
    assert len({tuple(s) for s in shuffles}) > 1 and all(Counter(s) == Counter(small.train.targets) for s in shuffles)


def test_joint_batches_depend_only_on_the_seeds(toy_domain):
    experiences = list(scenario([toy_domain("a", 3), toy_domain("b", 3, seed=1)]).train_stream)
    first = batches(experiences, 5)
    torch.rand(7)
    state = torch.get_rng_state()
    again, other = batches(experiences, 5), batches(experiences, 5, seeds=(0, 2))
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn from the global generator"
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(first, other, strict=True))


class Files(torch.utils.data.Dataset):
    """Images that look like they are not in memory."""

    def __init__(self, images):
        self.inner, self.targets = images, images.targets

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, index):
        return self.inner[index]


def test_joint_batches_do_not_depend_on_the_workers(toy_domain):
    domains = [toy_domain(name, 3, seed=i, train=20) for i, name in enumerate("ab")]
    experiences = list(scenario([replace(d, train=Files(d.train)) for d in domains]).train_stream)
    alone, helped = batches(experiences, 5), batches(experiences, 5, workers=1)
    assert all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in zip(alone, helped, strict=True))


def test_joint_batches_without_images(toy_domain):
    empty = replace(toy_domain("none", 3), train=None)
    with pytest.raises(ValueError, match="training split is empty"):
        batches(list(scenario([toy_domain("a", 3), empty]).train_stream), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 1.5}, r"alpha must be in \[0, 1\]"),
        ({"alpha": -0.1}, "alpha must be at least 0"),
        ({"alphas": 1}, "alphas must be at least 2"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number"),
        ({"evaluations": 0}, "evaluations must be at least 1"),
        ({"iterations": 0}, "iterations must be at least 1"),
        ({"validation_images": 0}, "validation_images must be at least 1, got 0"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        PaintParallel.Options(**options)


def test_plain_evaluation_is_untouched(toy_encoder, stream, trained):
    """The ensemble flag of training does not leak into the modules' modes."""
    strategy = trained(PaintSequential, toy_encoder(), [stream.train_stream[0]], alpha=0.5)
    base = Strategy(encoder=toy_encoder(), options=Strategy.Options(iterations=1), tuning_name="visual")
    base.set_weights(strategy.weights())
    images = stream.train_stream[0].domain.test.images
    for each in (strategy, base):
        each.classifier.register_domain(0, stream.train_stream[0].domain)
        each.model.eval()
    with torch.no_grad():
        assert torch.equal(strategy.classifier(images, 0), base.classifier(images, 0))
