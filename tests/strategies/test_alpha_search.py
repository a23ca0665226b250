"""The alpha search against one evaluation per alpha: exact, in one pass, by the rules."""

import numpy as np
import pytest
import torch

import strategies.alpha_search as alpha_module
from benchmarks.scenario import scenario
from metrics.evaluate import evaluate
from models import tuning
from models.classifier import PromptClassifier
from models.merging import patched, task_vector
from strategies.alpha_search import AnswerCounter, Path, Question, Scores, Search, choose, refine
from strategies.paint import PaintSequential

GRID = [(a / 4,) for a in range(5)]


@pytest.fixture
def domains(toy_domain):
    return {i: toy_domain(name, 3 + i, seed=i, val=40) for i, name in enumerate(("a", "b", "h"))}


def disturbed(theta, seed, size=3.0, part="visual."):
    """Other weights of the same names, different enough for other answers."""
    generator = torch.Generator().manual_seed(seed)
    return {
        n: t + size * t.std() * torch.randn(t.shape, generator=generator) if part in n and t.numel() > 1 else t.clone()
        for n, t in theta.items()
    }


def line(encoder, tuning_name="visual", part="visual.", count=1):
    tuning.apply(encoder, tuning_name)
    start = tuning.weights(encoder)
    vectors = [task_vector(start, disturbed(start, seed, part=part)) for seed in range(count)]
    return start, vectors


@pytest.fixture
def decoded(monkeypatch):
    """Count the decoded images of each dataset."""
    passes = []

    def spy(dataset, preprocess, batch_size=256):
        passes.append(len(dataset))
        yield from pixel_batches(dataset, preprocess, batch_size)

    pixel_batches = alpha_module.pixel_batches
    monkeypatch.setattr(alpha_module, "pixel_batches", spy)
    return passes


@pytest.mark.slow
@pytest.mark.parametrize(("tuning_name", "part"), [("visual", "visual."), ("full", "resblocks"), ("lora", "in_proj_weight")])
def test_counts_are_those_of_a_model_made_for_each_alpha(toy_encoder, domains, decoded, tuning_name, part):
    """The fast path against the slow one, which interpolates, loads and evaluates for each alpha and task."""
    encoder = toy_encoder()
    start, vectors = line(encoder, tuning_name, part)
    questions = [Question(0), Question(2)]
    counts = AnswerCounter(encoder, domains, batch_size=16).count(Path(encoder, start, vectors), GRID, questions)
    assert decoded == [40, 40], "one pass over the images of each task"
    slow = toy_encoder()
    for p, point in enumerate(GRID):
        slow.load_state_dict(patched(start, vectors, point))
        for q, question in enumerate(questions):
            expected = evaluate(PromptClassifier(slow), domains[question.label], "val", batch_size=16)
            assert counts[p, q] == expected.correct
    assert len(set(counts[:, 0].tolist())) > 1, "the alphas must matter for this to be a test"


def test_logits_are_the_same_bits(toy_encoder, domains):
    encoder, slow = toy_encoder(), toy_encoder()
    start, vectors = line(encoder, count=2)
    path = Path(encoder, start, vectors)
    images = domains[0].val.images
    with torch.no_grad():
        for point in [(0.35, 0.35), (0.2, 0.9), (1.0, 1.0), (0.0, 0.0), (0.05, 0.05)]:
            path.move(point)
            slow.load_state_dict(patched(start, vectors, point))
            assert torch.equal(encoder.encode_images(images), slow.encode_images(images)), point
            assert all(torch.equal(t, slow.state_dict()[n]) for n, t in encoder.state_dict().items())


def test_a_path_writes_only_what_a_vector_changes(toy_encoder):
    encoder = toy_encoder()
    start, [vector] = line(encoder)
    name = "clip.visual.proj"
    path = Path(encoder, start, [{name: vector[name]}])
    before = {n: t._version for n, t in encoder.named_parameters()}
    path.move((0.5,))
    assert {n for n, t in encoder.named_parameters() if t._version != before[n]} == {name}
    path.move((0.5,))
    assert path.at == (0.5,) and len(path.slots) == 1


def test_tensors_that_share_storage_are_moved_once(toy_encoder):
    encoder = toy_encoder()
    blocks = encoder.clip.visual.transformer.resblocks
    blocks[1].ln_1.weight = blocks[0].ln_1.weight
    start, [vector] = line(encoder)
    tied = [n for n in start if "visual" in n and n.endswith("ln_1.weight")]
    vector = {n: torch.ones(32) for n in tied}
    path = Path(encoder, start, [vector])
    assert len(tied) == 2 and len(path.slots) == 1
    path.move((0.5,))
    assert torch.equal(blocks[0].ln_1.weight, start[tied[0]] + 0.5)


def test_heads_are_made_once_while_the_text_tower_rests(toy_encoder, domains, monkeypatch):
    encoder = toy_encoder()
    start, vectors = line(encoder)
    calls = []
    encode = type(encoder).encode_texts
    monkeypatch.setattr(type(encoder), "encode_texts", lambda self, *given: calls.append(1) or encode(self, *given))
    validation = AnswerCounter(encoder, domains)
    for _ in range(2):
        validation.count(Path(encoder, start, vectors), GRID, [Question(0), Question(1)])
    assert len(calls) == 2 * 2, "two templates of two tasks, in a whole run"


def test_alpha_0_is_counted_once(toy_encoder, domains, decoded, monkeypatch):
    encoder = toy_encoder()
    start, vectors = line(encoder)
    validation = AnswerCounter(encoder, domains)
    path, zero = Path(encoder, start, vectors), [(0.0,)]
    first = validation.count(path, zero, [Question(2)])
    assert decoded == [40] and validation.known == {"2": int(first[0, 0])}
    assert (validation.count(path, zero, [Question(2)]) == first).all() and decoded == [40], "no image is decoded again"
    forwards = []
    passes = type(encoder).raw_images
    monkeypatch.setattr(type(encoder), "raw_images", lambda self, given: forwards.append(1) or passes(self, given))
    both = validation.count(path, GRID, [Question(2), Question(1)])
    assert both[0, 0] == first[0, 0] and len(forwards) == 4 + 5


def test_rivals_compete(toy_encoder, domains):
    encoder = toy_encoder()
    start, vectors = line(encoder)
    validation = AnswerCounter(encoder, domains)
    alone, rivalled = validation.count(Path(encoder, start, vectors), GRID[1:2], [Question(0), Question(0, (1, 2))])[0]
    classifier = PromptClassifier(encoder).eval()
    for label, domain in domains.items():
        classifier.register_domain(label, domain)
    classifier.compete(0, (1, 2))
    assert rivalled == evaluate(classifier, domains[0], "val", task_label=0).correct <= alone
    assert set(validation.known) == set(), "only alpha = 0 is kept"


def test_the_training_mode_is_left_as_it_was(toy_encoder, domains):
    encoder = toy_encoder().train()
    start, vectors = line(encoder)
    AnswerCounter(encoder, domains).count(Path(encoder, start, vectors), GRID, [Question(0)])
    assert encoder.training and encoder.clip.visual.training
    loss = encoder.encode_images(domains[0].val.images[:2]).sum()
    loss.backward()
    assert encoder.clip.visual.proj.grad is not None, "trains on after a search"


# The rules


def test_the_mean_rule():
    points = [(0.0,), (0.25,), (0.5,), (0.75,)]
    scores = Scores(np.array([50.0, 70.0, 74.0, 90.0]), np.array([80.0, 76.0, 72.0, 40.0]))
    # Means 65, 73, 73, 65: a tie goes to the smaller alpha.
    assert choose(points, scores, "mean") == 1
    assert choose(points[::-1], Scores(scores.patching[::-1], scores.supported[::-1]), "mean") == 2
    assert choose(points, Scores(scores.patching, None), "mean") == 3


def test_equal_means_tie_in_spite_of_rounding():
    scores = Scores(np.array([100 * (0.1 + 0.2), 30.0]), np.array([0.0, 0.0]))
    assert scores.patching[0] != 30.0 and choose([(0.5,), (0.1,)], scores, "mean") == 1


def test_the_bounded_rule():
    points = [(0.0,), (0.5,), (0.75,), (1.0,)]
    scores = Scores(np.array([50.0, 70.0, 80.0, 90.0]), np.array([80.0, 79.5, 79.0, 78.9]))
    assert choose(points, scores, "bounded", epsilon=1.0, start=80.0) == 2
    assert choose(points, scores, "bounded", epsilon=0.5, start=80.0) == 1
    assert choose(points, scores, "bounded", epsilon=5.0, start=80.0) == 3
    assert choose(points, scores, "bounded", epsilon=1.0, start=90.0) == 0, "none is allowed: the least loss"


def test_groups_weigh_the_same_whatever_their_size(toy_encoder, domains):
    """Means over the tasks of a group, not over images or over the tasks of both groups together."""
    encoder = toy_encoder()
    start, vectors = line(encoder)
    search = Search(AnswerCounter(encoder, domains), Path(encoder, start, vectors), [Question(0), Question(1)], [Question(2)])
    search.ask(GRID)
    for point in GRID:
        accuracy = [100 * search.counts[point][q] / 40 for q in range(3)]
        expected = ((accuracy[0] + accuracy[1]) / 2 + accuracy[2]) / 2
        assert search.value(point) == pytest.approx(expected)
    assert search.best() == max(GRID, key=lambda p: (round(search.value(p), 9), -p[0]))
    assert search.start == {"2": search.counts[0.0,][2]}


def test_the_bound_asks_for_the_initial_model_where_no_grid_does(toy_encoder, domains):
    encoder = toy_encoder()
    start, vectors = line(encoder)
    validation, path = AnswerCounter(encoder, domains), Path(encoder, start, vectors)
    search = Search(validation, path, [Question(0)], [Question(2)], "bounded", 0.0)
    search.ask([(1.0,)])
    assert set(search.counts) == {(0.0,), (1.0,)}
    loss = 100 * (search.start["2"] - search.counts[1.0,][1]) / 40
    assert search.value((1.0,)) == pytest.approx(100 * search.counts[1.0,][0] / 40 - 10 * max(0, loss))
    earlier = Search(validation, path, [Question(0)], [Question(2)], "bounded", 0.0, {"2": 40})
    assert not earlier.counts


def test_one_alpha_each_is_found_within_the_budget():
    """With steps of a tenth of a point and best alphas far apart: better than any shared one, and repeatable."""
    best = np.array([0.1, 0.9, 0.5, 0.7])

    def score(point):
        asked.append(point)
        return round(80 - 40 * float(np.mean((np.array(point) - best) ** 2)), 1)

    asked = []
    shared = max([(a / 20,) * 4 for a in range(21)], key=score)
    bar = score(shared)
    asked = []
    refine(score, shared, 1.0, 50)
    assert len(asked) <= 50 and all(0 <= a <= 1 for point in asked for a in point)
    assert max(score(p) for p in list(asked)) > max(bar, 79)
    once = list(asked)
    asked = []
    refine(score, shared, 1.0, 50)
    assert asked == once[: len(asked)]


def test_a_run_looks_at_so_many_validation_images_and_says_how_far_it_is(toy_encoder, toy_domain):
    told, stream = [], scenario([toy_domain("a", 3)], [toy_domain("h", 4, seed=2)])
    options = PaintSequential.Options(iterations=2, batch_size=8, alphas=3, validation_images=5)
    strategy = PaintSequential(encoder=toy_encoder(), options=options, progress=lambda *said: told.append(said))
    strategy.train(stream.train_stream[0], eval_streams=[])
    assert [strategy.validation.size(Question(label)) for label in (0, 1)] == [5, 5]
    assert told == [(0, 2, "alpha: a"), (1, 2, "alpha: h")]
