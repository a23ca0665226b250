"""Merging against formulas written out value by value, and the merging methods in a stream."""

from dataclasses import replace

import pytest
import torch

from benchmarks.scenario import scenario
from models.merging import (
    add,
    aligned,
    by_depth,
    dare,
    magmax,
    model_stock,
    norm,
    opcm,
    patched,
    place,
    projected_out,
    scaled_to,
    task_vector,
    ties,
    weighted,
)
from models.registry import UserError
from strategies.engine.batches import mixed_seed
from strategies.merging import OPCM, Dare, Lines, MagMax, ModelStock, TaskArithmetic, Ties
from strategies.paint import PaintParallel

QUICK = {"iterations": 3, "lr": 1e-3, "batch_size": 8, "warmup": 1}
METHODS = [TaskArithmetic, Ties, Dare, ModelStock, Lines, MagMax, OPCM]


def vec(*values, name="w"):
    return {name: torch.tensor(values, dtype=torch.float64)}


def random_vectors(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (4, 5), "b": (7,)}
    return [{n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()} for _ in range(count)]


def test_a_task_vector_is_the_difference_of_what_changed():
    start = {"w": torch.tensor([1.0, 2.0]), "same": torch.ones(2), "steps": torch.tensor(3)}
    tuned = {"w": torch.tensor([1.5, 1.0]), "same": torch.ones(2), "steps": torch.tensor(9)}
    vector = task_vector(start, tuned)
    assert list(vector) == ["w"] and vector["w"].tolist() == [0.5, -1.0]
    moved = patched(start, [vector], [0.5])
    assert moved["w"].tolist() == [1.25, 1.5] and moved["steps"] == 3
    assert moved["same"].data_ptr() != start["same"].data_ptr(), "a copy"
    with pytest.raises(ValueError, match="differ in 1 names"):
        task_vector(start, {"w": tuned["w"], "same": tuned["same"]})


def test_patched_weights_by_formula():
    start, vectors = random_vectors(1)[0], random_vectors(3, seed=1)
    found = patched(start, vectors, [0.2, 0.0, 0.7])
    for name, tensor in start.items():
        torch.testing.assert_close(found[name], tensor + 0.2 * vectors[0][name] + 0.7 * vectors[2][name])
    same = patched(start, vectors, [0.3] * 3)
    arithmetic = patched(start, [add(vectors)], [0.3])
    assert all(torch.equal(same[n], arithmetic[n]) for n in start), "equal alphas are task arithmetic, bit-exactly"


def test_alpha_0_is_the_start_exactly():
    start = {"w": torch.tensor([1.0, -0.0, 1e-30])}
    vector = {"w": torch.tensor([float("inf"), float("nan"), 1e30])}
    found = patched(start, [vector], [0.0])["w"]
    assert torch.equal(found, start["w"]) and torch.signbit(found[1]), "0 * inf must not leak in"


def test_place_gives_the_same_bits_in_place():
    generator = torch.Generator().manual_seed(0)
    zero, direction = (torch.randn(1003, generator=generator) for _ in range(2))
    out = torch.full_like(zero, float("nan"))
    for alpha in (0.0, 0.05, 1 / 3, 1.0):
        assert torch.equal(place(zero, direction, alpha, out=out), place(zero, direction, alpha))
        products = [torch.tensor(alpha) * d for d in direction]
        assert torch.equal(out, torch.stack([p + z for p, z in zip(products, zero, strict=True)]))


def test_one_alpha_per_vector():
    with pytest.raises(ValueError, match="2 task vectors need as many alphas, got 1"):
        weighted([vec(1.0), vec(2.0)], [0.5])


def test_names_that_a_vector_lacks_are_zero():
    both = [vec(1.0, name="a"), vec(2.0, name="b")]
    assert {n: [t.tolist() for t in ts] for n, ts in aligned(both)} == {"a": [[1.0], [0.0]], "b": [[0.0], [2.0]]}
    assert {n: t.tolist() for n, t in add(both).items()} == {"a": [1.0], "b": [2.0]}


def test_ties_by_hand():
    first, second = vec(3.0, -2.0, 0.1, 4.0, 0.0), vec(1.0, 5.0, 0.2, -6.0, 0.0)
    # Without a trim: +3 +1 agree; -2 and 5: 5 wins; 0.1 and 0.2; 4 and -6: -6 wins; nothing.
    assert ties([first, second], keep=1.0)["w"].tolist() == pytest.approx([2.0, 5.0, 0.15, -6.0, 0.0])
    # int(0.4 * 5) = 2 values, and as in the released code one more: 4, 3, -2 and -6, 5, 1.
    assert ties([first, second], keep=0.4)["w"].tolist() == [2.0, 5.0, 0.0, -6.0, 0.0]


@pytest.mark.parametrize(("others", "winner"), [((5.0, 6.0), 2.0), ((-5.0, -6.0), -2.0)])
def test_ties_gives_a_draw_to_the_sign_that_most_values_have(others, winner):
    vectors = [vec(2.0, *others), vec(-2.0, *others)]
    assert ties(vectors, keep=1.0)["w"][0] == winner


def test_ties_trims_over_all_tensors_together():
    vectors = [{"big": torch.tensor([10.0, 9.0, 8.0]), "small": torch.tensor([1.0, 2.0, 3.0])}]
    merged = ties(vectors, keep=0.34)
    assert merged["big"].tolist() == [10.0, 9.0, 8.0] and merged["small"].tolist() == [0.0, 0.0, 0.0]


def test_dare_drops_and_rescales():
    vector = {"w": torch.arange(1.0, 10001.0), "v": torch.ones(3, 4)}
    kept = dare(vector, 0.9, torch.Generator().manual_seed(0))
    alive = kept["w"] != 0
    assert 0.08 < alive.float().mean() < 0.12
    torch.testing.assert_close(kept["w"][alive], vector["w"][alive] * 10)
    again = dare(vector, 0.9, torch.Generator().manual_seed(0))
    other = dare(vector, 0.9, torch.Generator().manual_seed(1))
    assert torch.equal(kept["w"], again["w"]) and not torch.equal(kept["w"], other["w"])
    whole = dare(vector, 0.0, torch.Generator().manual_seed(0))
    assert all(torch.equal(whole[n], vector[n]) for n in vector)


def test_magmax_by_hand():
    assert magmax([vec(1.0, -3.0, 2.0), vec(-2.0, 1.0, -2.0)])["w"].tolist() == [-2.0, -3.0, -2.0]
    vectors = random_vectors()
    for name, tensor in magmax(vectors).items():
        stack = torch.stack([v[name] for v in vectors])
        torch.testing.assert_close(tensor, stack.gather(0, stack.abs().argmax(0, keepdim=True))[0])


def test_model_stock_by_hand():
    # 45 degrees: c = 1 / sqrt(2), t = 2 c / (1 + c).
    c = 2**-0.5
    found = model_stock([vec(1.0, 0.0), vec(1.0, 1.0)])["w"]
    t = 2 * c / (1 + c)
    assert found.tolist() == pytest.approx([t * 1.0, t * 0.5])
    # Three vectors: the mean over pairs. Cosines 0, 0 and 1.
    found = model_stock([vec(2.0, 0.0), vec(0.0, 1.0), vec(0.0, 3.0)])["w"]
    t = 3 / 3 / (1 + 2 / 3)
    assert found.tolist() == pytest.approx([t * 2 / 3, t * 4 / 3])
    assert model_stock([vec(1.0, -2.0)])["w"].tolist() == [1.0, -2.0]
    assert model_stock([vec(1.0), vec(0.0)])["w"].tolist() == [0.0]


def test_a_part_along_the_earlier_change_by_hand():
    # The singular values of a diagonal matrix are its entries, with the axes as vectors: 4, 3, 2, 1 of a sum of 10.
    before, new = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0])), torch.arange(1.0, 17.0).reshape(4, 4)
    off_diagonal = new - torch.diag(new.diagonal())
    # Running sums: 4, 7, 9, 10.
    for share, rank in ((0.3, 0), (0.4, 1), (0.5, 1), (0.7, 2), (0.95, 3)):
        expected = off_diagonal.clone()
        expected[:rank, :rank] = 0
        torch.testing.assert_close(projected_out(before, new, share), expected)
    assert torch.equal(projected_out(torch.zeros(4, 4), new, 0.5), new), "nothing to keep apart from"


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 4)])
def test_a_projection_in_the_full_bases(shape):
    """The released code has square U and V. Here only the singular vectors of the smaller side are computed."""
    generator = torch.Generator().manual_seed(1)
    before, new = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    u, s, vh = torch.linalg.svd(before, full_matrices=True)
    inside = u.T @ new @ vh.T
    first = next(i for i in range(len(s)) if s[: i + 1].sum() / s.sum() > 0.6)
    for i in range(shape[0]):
        for j in range(shape[1]):
            if i == j or (i < first and j < first):
                inside[i, j] = 0
    torch.testing.assert_close(projected_out(before, new, 0.6), u @ inside @ vh)


def test_opcm_projects_the_matrices_of_blocks_and_adds_the_rest():
    generator = torch.Generator().manual_seed(2)
    block = "clip.visual.transformer.resblocks.0."
    shapes = {f"{block}mlp.c_fc.weight": (6, 4), f"{block}attn.in_proj_weight": (12, 4), f"{block}bias": (4,), "proj": (4, 3)}
    one, two = ({n: torch.randn(s, generator=generator, dtype=torch.float64) for n, s in shapes.items()} for _ in range(2))
    first = opcm({}, one, 0.5)
    assert all(torch.equal(first[n], one[n]) for n in one)
    found = opcm(first, two, 0.5)
    matrix, fused, bias, proj = shapes
    torch.testing.assert_close(found[matrix], one[matrix] + projected_out(one[matrix], two[matrix], 0.5))
    for rows in (slice(0, 4), slice(4, 8), slice(8, 12)):
        expected = one[fused][rows] + projected_out(one[fused][rows], two[fused][rows], 0.5)
        torch.testing.assert_close(found[fused][rows], expected)
    for name in (bias, proj):
        assert torch.equal(found[name], one[name] + two[name])
    alone = opcm(first, {"new": torch.ones(2)}, 0.5)
    assert torch.equal(alone[matrix], one[matrix]) and torch.equal(alone["new"], torch.ones(2))


def test_a_length_is_that_of_all_values_together():
    vector = {"a": torch.tensor([[3.0, 0.0]]), "b": torch.tensor([4.0])}
    assert norm(vector) == 5.0
    longer = scaled_to(vector, 10.0)
    assert longer["a"].tolist() == [[6.0, 0.0]] and longer["b"].tolist() == [8.0]
    assert scaled_to({"a": torch.zeros(2)}, 3.0)["a"].tolist() == [0.0, 0.0]


def test_depth_of_blocks():
    names = [f"clip.visual.transformer.resblocks.{i}.w" for i in range(3)]
    names += ["clip.visual.proj", "clip.transformer.resblocks.0.w", "clip.visual.trunk.blocks.1.w"]
    scaled = by_depth({name: torch.tensor([2.0]) for name in names})
    assert [t.item() for t in scaled.values()] == [0.0, 1.0, 2.0, 0.0, 2.0, 2.0]
    assert by_depth({}) == {}
    with pytest.raises(UserError, match="not in numbered blocks"):
        by_depth({"clip.visual.layer1.0.w": torch.ones(1)})


# In a stream


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 4, seed=1)], [toy_domain("h", 3, seed=2)])


@pytest.fixture
def vectors(toy_encoder, stream, trained):
    """The task vectors of both tasks, each from the initial weights."""
    strategy = trained(TaskArithmetic, toy_encoder(), stream.train_stream, alpha=1.0)
    return strategy.initial, strategy.vectors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "formula"),
    [
        (TaskArithmetic, lambda a, b: add([a, b])),
        (Ties, lambda a, b: ties([a, b], 0.2)),
        (ModelStock, lambda a, b: model_stock([a, b])),
        (Dare, lambda a, b: add([dare(v, 0.9, torch.Generator().manual_seed(mixed_seed(0, i))) for i, v in enumerate((a, b))])),
    ],
)
def test_a_row_merges_the_vectors_of_its_tasks(toy_encoder, stream, vectors, method, formula, trained, same):
    initial, pair = vectors
    strategy = trained(method, toy_encoder(), stream.train_stream, alpha=0.4)
    assert same(strategy.weights(), patched(initial, [formula(*pair)], [0.4]))


@pytest.mark.slow
def test_opcm_by_formula(toy_encoder, stream, vectors, trained, same):
    initial, (one, two) = vectors
    strategy = trained(OPCM, toy_encoder(), stream.train_stream)
    total = opcm(opcm({}, one, 0.5), two, 0.5)
    mean = (norm(one) + norm(two)) / 2
    assert same(strategy.weights(), patched(initial, [scaled_to(total, mean)], [1.0]))
    assert norm(task_vector(initial, strategy.weights())) == pytest.approx(mean, rel=1e-4)
    assert strategy.vectors == [] and not OPCM.selects(OPCM.Options())


@pytest.mark.slow
def test_lines_by_formula(toy_encoder, stream, vectors, trained):
    initial, pair = vectors
    found = trained(Lines, toy_encoder(), stream.train_stream, alpha=0.6).weights()
    for name, start in initial.items():
        block = int(name.split("resblocks.")[1][0]) if "visual" in name and "resblocks" in name else 0
        scale = 1 / 2 + 0.6 * block / 1
        change = sum(v.get(name, torch.zeros_like(start)) for v in pair)
        torch.testing.assert_close(found[name], start + scale * change, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_magmax_fine_tunes_in_sequence(toy_encoder, stream, trained, same):
    first, second = stream.train_stream
    strategy = trained(MagMax, toy_encoder(), [first, second], alpha=0.5)
    initial, (one, two) = strategy.initial, strategy.vectors

    class Plain(MagMax):
        """Fine-tuning in sequence from the vectors' own weights, nothing merged."""

        def start_weights(self):
            return None

        def after_experience(self):
            self.end = self.weights()

    plain = trained(Plain, toy_encoder(), [first])
    torch.testing.assert_close(one["clip.visual.proj"], plain.end["clip.visual.proj"] - initial["clip.visual.proj"])
    plain.set_weights(patched(initial, [one], [1.0]))
    plain.train(second, eval_streams=[])
    assert same(two, task_vector(initial, plain.end))
    assert same(strategy.weights(), patched(initial, [magmax([one, two])], [0.5]))


@pytest.mark.slow
def test_equal_alphas_in_parallel_are_task_arithmetic(toy_encoder, stream, trained, same):
    parallel = trained(PaintParallel, toy_encoder(), stream.train_stream, alpha=0.3)
    arithmetic = trained(TaskArithmetic, toy_encoder(), stream.train_stream, alpha=0.3)
    assert same(parallel.weights(), arithmetic.weights())


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_merging_searches_on_validation_and_survives_a_kill(toy_encoder, stream, method, same, go_on):
    first, second = stream.train_stream
    options = replace(method.Options(**QUICK), alpha=None, alphas=3)
    whole, resumed = (method(encoder=toy_encoder(), options=options, seed=4) for _ in range(2))
    whole.train(first, eval_streams=[])
    weights, state = {n: t.clone() for n, t in whole.encoder.state_dict().items()}, whole.state()
    whole.train(second, eval_streams=[])
    go_on(resumed, weights, state, second)
    assert same(whole.weights(), resumed.weights())
    assert whole.searches == resumed.searches
    assert len(whole.searches[1]["patching"]) == len(whole.searches[1]["supported"]) == 3


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Ties, {"keep": 0.0}, "keep must be greater than 0"),
        (Dare, {"drop": 1.0}, "drop must be less than 1"),
        (OPCM, {"subspace": 1.0}, "subspace must be less than 1"),
        (Ties, {"alpha": 1.6}, r"\[0, 1.5\]"),
    ],
)
def test_options_out_of_range(method, options, message):
    with pytest.raises(ValueError, match=message):
        method.Options(**options)
