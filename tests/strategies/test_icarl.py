"""iCaRL: herding by hand, the memory's budget over tasks, and the distillation on it."""

import copy

import pytest
import torch
from torch.utils.data import Subset

from benchmarks.full.dataset_table import ENTRIES
from benchmarks.scenario import scenario
from harness.config.resolve import resolve
from harness.config.run_config import RunConfig
from reference_data.mtil import ORDER_I
from strategies.engine.strategy import Strategy
from strategies.icarl import ICaRL, herd, reduced, shrunk_indices
from strategies.zscl import distillation_loss

QUICK = {"iterations": 4, "lr": 3e-3, "batch_size": 8, "warmup": 1}


@pytest.fixture
def stream(toy_domain):
    return scenario([toy_domain("a", 3), toy_domain("b", 5, seed=1), toy_domain("c", 2, seed=2, train=9)])


def test_herding_by_hand():
    """The mean is 3. First the row nearest to 3, then the one that brings the mean of two nearest to 3, and so on."""
    rows = torch.tensor([[0.0], [1.0], [2.5], [4.5], [7.0]])
    assert float(rows.mean()) == 3
    # 2.5; then (2.5 + 4.5) / 2 = 3.5 beats (2.5 + 1) / 2 and (2.5 + 7) / 2; then (7 + 1) / 3 = 2.67, (7 + 7) / 3, (7 + 0) / 3.
    assert herd(rows, 3) == [2, 3, 1]
    assert herd(rows, 5) == [2, 3, 1, 4, 0] and herd(rows, 9) == herd(rows, 5) and herd(rows, 0) == []


def test_herding_by_trying_every_row():
    rows = torch.nn.functional.normalize(torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), dim=1)
    taken = []
    for k in range(1, 16):
        left = [i for i in range(40) if i not in taken]
        taken.append(min(left, key=lambda i: float((rows.mean(0) - rows[[*taken, i]].sum(0) / k).norm())))
    assert herd(rows, 15) == taken


def test_herding_takes_no_row_twice_and_ties_go_to_the_first():
    assert herd(torch.ones(4, 3), 4) == [0, 1, 2, 3]


def test_reduced_keeps_the_first():
    assert reduced({"a": [5, 3, 1], "b": [2]}, 2) == {"a": [5, 3], "b": [2]}


@pytest.mark.slow
def test_the_memory_keeps_its_budget_and_each_tasks_best(toy_encoder, stream, trained):
    sizes, first = [], []

    class Spy(ICaRL):
        def after_experience(self):
            super().after_experience()
            sizes.append({name: len(indices) for name, indices in self.memory.items()})
            first.append(self.memory["a"])
            domain = self.experience.domain
            with torch.no_grad():
                features = copy.deepcopy(self.encoder).eval().encode_images(domain.train.images)
            assert self.memory[domain.name] == herd(features, 20 - sum(sizes[-1].values()) + sizes[-1][domain.name])

    strategy = trained(Spy, toy_encoder(), stream.train_stream, memory=20)
    assert sizes == [{"a": 20}, {"a": 10, "b": 10}, {"a": 6, "b": 6, "c": 8}]
    assert first[1] == first[0][:10] and first[2] == first[0][:6]
    assert all(isinstance(i, int) for indices in strategy.state()["memory"].values() for i in indices)


def test_candidates_are_limited(toy_encoder, stream, trained):
    options = {"memory": 20, "candidates": 7}
    memories = [trained(ICaRL, toy_encoder(), stream.train_stream[:1], **options).memory["a"] for _ in range(2)]
    assert len(set(memories[0])) == 7 and max(memories[0]) > 7 and memories[0] == memories[1]


def test_shrunk_indices_are_those_of_an_array_that_loses_rows():
    rows = torch.randperm(50, generator=torch.Generator().manual_seed(0)).tolist()[:30]
    array, expected = list(range(50)), []
    for row in rows:
        expected.append(array.index(row))
        array.remove(row)
    assert shrunk_indices(rows) == expected and len(set(expected)) < 30


def test_the_released_rule_by_the_released_loop(toy_encoder, stream, trained):
    """The first task in file order; the others by a loop that shrinks the features and reads the whole list of images."""
    memories = []

    class Spy(ICaRL):
        def after_experience(self):
            super().after_experience()
            domain, count = self.experience.domain, len(self.experiences)
            memories.append({name: len(indices) for name, indices in self.memory.items()})
            if count == 1:
                assert self.memory["a"] == list(range(20))
                return
            assert self.memory["a"] == list(range(20 // count)) and min(len(domain.train), 30) == len(domain.train[:30][0])
            with torch.no_grad():
                features = copy.deepcopy(self.encoder).eval().encode_images(domain.train.images[:30]).double()
            mean, total, kept = features.mean(dim=0), 0, []
            for k in range(min(20 - 20 // count, len(features))):
                nearest = int((mean - (features + total) / (k + 1)).square().sum(dim=1).argmin())
                kept.append(nearest)
                total = total + features[nearest]
                features = torch.cat([features[:nearest], features[nearest + 1 :]])
            assert self.memory[domain.name] == kept

    strategy = trained(Spy, toy_encoder(), stream.train_stream, memory=20, memory_rule="released", candidates=30)
    # 20 - 20 // 2 and 20 - 20 // 3 new images; the last task has only nine.
    assert memories == [{"a": 20}, {"a": 10, "b": 10}, {"a": 6, "b": 6, "c": 9}]
    assert len(strategy.images) == 20, "the memory that the last task was trained on"


def released_sizes(sizes, memory=10_000, candidates=30_000):
    """Return the images of each task that the released rule keeps at the end, by the formula of its docstring."""
    kept = []
    for t, size in enumerate(sizes, 1):
        kept = [min(n, memory // t) for n in kept]
        kept.append(min(size, candidates, memory - memory // t if t > 1 else memory))
    return kept


def test_the_released_memory_in_order_1_of_the_paper():
    sizes = [ENTRIES[name].sizes["train"] for name in ORDER_I]
    after_food = released_sizes(sizes[: ORDER_I.index("Food") + 1])
    assert (sum(after_food), after_food[-1]) == (16_732, 8_572) and sum(released_sizes(sizes)) == 18_181


def test_memory_images_per_update(toy_encoder, stream, trained):
    counts = []

    class Spy(ICaRL):
        def companion_images(self):
            images = super().companion_images()
            counts.append(0 if images is None else len(images))
            return images

    trained(Spy, toy_encoder(), stream.train_stream[:2], memory=20, memory_batch=5)
    assert counts == [0] * 4 + [5] * 4


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["zero-shot", "previous"])
def test_the_loss_by_definition(toy_encoder, stream, teacher, trained):
    """Memory images against the current class names. The memory is empty in the first task."""
    steps = []

    class Spy(ICaRL):
        def before_run(self):
            self.first = copy.deepcopy(self.encoder).eval()
            super().before_run()

        def before_experience(self):
            self.slow = self.first if teacher == "zero-shot" else copy.deepcopy(self.encoder).eval()
            super().before_experience()

        def companion_images(self):
            images = super().companion_images()
            if images is not None:
                domains = {e.domain.name: e.domain for e in self.experiences}
                kept = [domains[n].train.images[i] for n, indices in self.memory.items() for i in indices]
                assert torch.equal(images, torch.stack(kept)[self.reference_index])
            self.pixels = images
            return images

        def compute_loss(self, batch):
            loss = super().compute_loss(batch)
            with torch.no_grad():
                expected = Strategy.compute_loss(self, batch)
                if self.pixels is not None:
                    texts = self.slow.encode_texts_plain(self.slow.tokenize(self.experience.domain.prompts(0)))
                    scale = self.encoder.clip.logit_scale.exp()
                    ours, theirs = (e.encode_images(self.pixels) @ texts.T for e in (self.encoder, self.slow))
                    ours, theirs = scale * ours, scale * theirs
                    expected = expected + distillation_loss(ours, theirs) + distillation_loss(ours.T, theirs.T)
            torch.testing.assert_close(loss.detach(), expected, rtol=1e-5, atol=1e-5)
            steps.append(0 if self.pixels is None else len(self.pixels))
            return loss

    trained(Spy, toy_encoder(), stream.train_stream, memory=20, teacher=teacher)
    assert steps == [0] * 4 + [8] * 8


@pytest.mark.slow
def test_weights_0_are_bit_exact_fine_tuning(toy_encoder, stream, trained, same):
    plain = trained(Strategy, toy_encoder(), stream.train_stream)
    found = trained(ICaRL, toy_encoder(), stream.train_stream, image_loss=0.0, text_loss=0.0, memory=20)
    assert same(plain.weights(), found.weights())


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["zero-shot", "previous"])
@pytest.mark.parametrize("rule", ["budget", "released"])
def test_a_resumed_run_continues_like_the_whole_one(toy_encoder, stream, teacher, rule, trained, same, go_on):
    first, second, third = stream.train_stream
    options = {"memory": 11, "teacher": teacher, "memory_rule": rule}
    whole = trained(ICaRL, toy_encoder(), [first, second], **options)
    saved, state = copy.deepcopy(whole.encoder.state_dict()), copy.deepcopy(whole.state())
    whole.train(third, eval_streams=[])
    resumed = ICaRL(encoder=toy_encoder(), options=ICaRL.Options(**QUICK, **options))
    go_on(resumed, saved, state, third)
    assert same(whole.encoder.state_dict(), resumed.encoder.state_dict()) and whole.memory == resumed.memory
    forgets = ICaRL(encoder=toy_encoder(), options=ICaRL.Options(**QUICK, **options))
    forgets.prepare_run()
    forgets.encoder.load_state_dict(saved)
    forgets.train(third, eval_streams=[])
    assert not same(whole.encoder.state_dict(), forgets.encoder.state_dict())


def test_a_memory_of_a_part_of_a_dataset(toy_encoder, toy_domain, trained):
    """Indices are into the training split as the run has it."""
    whole = toy_domain("a", 3)
    part = type(whole)(**{**vars(whole), "train": Subset(whole.train, range(40, 48))})
    parts = scenario([part, toy_domain("b", 2)])
    strategy = trained(ICaRL, toy_encoder(), parts.train_stream, memory=6)
    assert set(strategy.memory["a"]) < set(range(8)) and len(strategy.memory["a"]) == 3


def test_option_errors():
    with pytest.raises(ValueError, match="memory must be"):
        ICaRL.Options(memory=0)


def test_new_options_at_their_defaults_leave_the_key_alone():
    base = resolve(RunConfig(strategy="icarl"))
    named = {"memory_rule": "budget", "candidates": "30000", "memory_batch": "0"}
    assert resolve(RunConfig(strategy="icarl", options=named)).key == base.key
    assert not set(named) & set(base.identity()["options"]) and set(named) <= set(base.request["options"])
    changed = [
        resolve(RunConfig(strategy="icarl", options={"memory_rule": "released"})),
        resolve(RunConfig(strategy="icarl", options={"candidates": "9"})),
    ]
    assert len({base.key, *(run.key for run in changed)}) == 3 and changed[0].identity()["options"]["memory_rule"] == "released"
