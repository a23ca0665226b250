"""The protocol of the paper: grids, stages of halving, the choice by validation, continued settings and cached features."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from benchmarks.scenario import scenario
from harness.study.best_pass import Search, Trial
from harness.study.evaluation import Heads, RawImages, of_kind, score, with_prompts
from harness.study.protocol import LARGE, TINY, Choice, Grid, check_changes, paper, rungs
from harness.study.study_config import technique
from harness.study.training_features import TrainOnFeatures
from metrics.evaluate import evaluate
from models import TUNINGS
from models.classifier import PromptClassifier
from models.registry import UserError
from strategies.engine.strategy import Strategy
from strategies.engine.training_features import same_in_training


def test_a_grid_is_all_combinations_in_ascending_order():
    grid = Grid((0.1, 1.0), (1e-4,), rank=(2, 8))
    assert grid.choices() == [Choice(0.1, 1e-4, 2), Choice(0.1, 1e-4, 8), Choice(1.0, 1e-4, 2), Choice(1.0, 1e-4, 8)]
    assert grid.choices()[1].tuning_options() == {"rank": 8}
    assert grid.fixed({"lr": 3.0, "epochs": 2}).choices() == [Choice(3.0, 1e-4, 2), Choice(3.0, 1e-4, 8)]


def test_ends_of_a_grid_are_named():
    grid = Grid((0.1, 1.0, 10.0), (1e-4,), reduction=(4, 8))
    assert grid.edges(Choice(1.0, 1e-4, None, 4)) == "reduction min"
    assert grid.edges(Choice(10.0, 1e-4, None, 8)) == "lr max, reduction max"
    assert Grid((0.1, 1.0, 10.0)).edges(Choice(1.0, 1e-4)) == ""


def test_the_grids_are_those_of_the_paper():
    assert set(LARGE) == set(TINY) == set(TUNINGS) - {"frozen"}
    assert LARGE["full"].lr == (1e-5, 1e-4, 1e-3, 1e-2) and LARGE["full"].weight_decay == (1e-5, 1e-4, 1e-3)
    assert LARGE["lora"].rank == (2, 4, 8, 16) and LARGE["adapter"].reduction == (4, 8, 16, 32)
    assert all(
        list(values) == sorted(values) for grid in (*LARGE.values(), *TINY.values()) for values in dataclasses.astuple(grid)
    )
    assert paper(tiny=False).budget("lora") is None and paper(tiny=True).budget("lora") < paper(tiny=True).budget("adapter")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((4, 100, None), [(4, 100)]),
        ((4, 25, 100), [(4, 25)]),
        # Three stages share 156 updates: 13 each, then 26 more for two, then 52 more for one.
        ((4, 150, 156), [(4, 13), (2, 39), (1, 91)]),
        ((5, 150, 160), [(5, 8), (3, 21), (2, 41), (1, 81)]),
        # Halves would get 6 updates in the first stage, thirds get 8.
        ((6, 150, 156), [(6, 8), (2, 34), (1, 86)]),
        ((4, 20, 78), [(4, 9), (1, 20)]),
        ((8, 100, 4), [(8, 1), (2, 2), (1, 3)]),
    ],
)
def test_stages_share_the_budget(arguments, expected):
    assert [tuple(stage) for stage in rungs(*arguments)] == expected


@pytest.mark.parametrize("name", ["iterations", "lr_by_task.red"])
def test_options_without_meaning_are_refused(name):
    with pytest.raises(UserError, match="--protocol paper"):
        check_changes({name: 3})


def small(tuning, grid, protocol=None, images=None, passes=3):
    protocol = protocol or dataclasses.replace(paper(tiny=True), grids={tuning: grid}, batch_size=16, passes=passes)
    return technique(tuning, {}, {}, (tuning,), protocol)._replace(images=images)


@pytest.fixture
def search(toy_encoder, toy_domain):
    """Return a function that makes a search on a toy domain of 40 images: 3 updates per pass of 16."""
    domain = toy_domain("red", 3, train=40, val=24)

    def make(tuning="full", grid=None, images=None, passes=3, encoder=None, prompts="one"):
        encoder = encoder or toy_encoder()
        how = small(tuning, grid or Grid((0.01, 0.1)), images=images, passes=passes)
        arguments = {"prompts": prompts, "seed": 3, "device": torch.device("cpu"), "raw": RawImages(encoder)}
        return Search(encoder, how, tuning, domain, **arguments)

    return make


def state(trial):
    return {name: tensor.clone() for name, tensor in trial.strategy.encoder.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["full", "adapter"])
def test_a_continued_setting_is_that_of_one_training(tuning, search, same):
    """Stopped in the middle of a pass and at its end, and the same as the engine's loop without any plugin."""
    choice = Choice(0.05, 1e-4)
    parts, whole = Trial(search(tuning), choice), Trial(search(tuning), choice)
    for updates in (2, 3, 7):
        parts.advance(updates)
    whole.advance(7)
    assert parts.updates == whole.updates == 7
    assert same(state(parts), state(whole)) and [r["loss"] for r in parts.strategy.history] == [
        r["loss"] for r in whole.strategy.history
    ]
    assert whole.best.updates in (3, 6, 7)


@pytest.mark.slow
def test_the_training_is_plain_sgd_with_one_prompt(search, toy_encoder, same):
    one = search("full", Grid((0.05,)))
    trial = one.run()
    options = Strategy.Options(
        optimizer="sgd", schedule="constant", epochs=3, batch_size=16, lr=0.05, weight_decay=1e-4, warmup=0,
        label_smoothing=0.0, augmentation="none",
    )  # fmt: skip
    plain = Strategy(encoder=toy_encoder(), options=options, tuning_options={"logit_scale": True}, seed=3)
    domain, scores, states = one.domain, [], []

    def after_step(step):
        if step % 3 == 2:
            with torch.inference_mode():
                plain.classifier.eval()
                logits = plain.classifier(domain.val.images, 0)
                plain.classifier.train()
            labels = torch.tensor(domain.val.targets)
            scores.append((int((logits.argmax(1) == labels).sum()), float(F.cross_entropy(logits, labels))))
            states.append({name: tensor.clone() for name, tensor in plain.encoder.state_dict().items()})

    plain.after_step = after_step
    plain.train(scenario([with_prompts(domain, "one")]).train_stream[0], eval_streams=[])
    first_best = max(range(3), key=lambda number: scores[number][0])
    assert trial.best.updates == 3 * (first_best + 1)
    assert (trial.best.score.correct, trial.best.score.loss) == (scores[first_best][0], pytest.approx(scores[first_best][1]))
    assert same(state(trial), states[first_best])
    assert one.chosen(trial) == {
        "lr": 0.05, "weight_decay": 1e-4, "best_pass": first_best + 1, "passes": 3, "tried": 1, "at_edge": "",
    }  # fmt: skip


@pytest.mark.slow
def test_halving_keeps_the_settings_with_the_best_validation(search):
    """A rate of 1e-9 learns nothing, and an absurd one diverges without ending the search."""
    reports = []
    made = search("full", Grid((1e-9, 0.02, 0.05, 1e19)), images=16 * 24, passes=8)
    made._report = lambda done, total: reports.append((done, total))
    winner = made.run()
    assert [tuple(stage) for stage in made.stages] == [(4, 3), (1, 15)]
    assert winner.choice.lr in (0.02, 0.05) and winner.updates == 15
    records = {record["lr"]: record for record in made.finished}
    assert len(made.finished) == 4 and made.finished[-1]["lr"] == winner.choice.lr
    assert records[1e-9]["updates"] == 3 and records[1e19]["diverged"] and records[1e19]["updates"] <= 3
    assert reports[-1][0] <= reports[-1][1] == 4 * 3 + 12
    assert made.chosen(winner)["tried"] == 4 and made.chosen(winner)["passes"] == 5


@pytest.mark.slow
def test_equal_accuracies_go_to_the_smaller_loss_then_to_the_first_setting(search):
    made = search("full", Grid((0.0, 1e-12)))
    winner = made.run()
    losses = {record["lr"]: record["val_loss"] for record in made.finished}
    # Neither changes the accuracy, nor the loss by a digit that is recorded.
    assert losses[0.0] == losses[1e-12] and winner.best.updates == 3
    trials = {record["lr"]: record["val_correct"] for record in made.finished}
    assert trials[0.0] == trials[1e-12]


@pytest.mark.slow
def test_nothing_finite_is_a_sentence(search):
    with pytest.raises(
        UserError, match=r"Every setting of full on red ended with a loss that is not finite\. Give smaller rates"
    ):
        search("full", Grid((1e20,)), passes=2).run()


@pytest.mark.slow
@pytest.mark.parametrize(("tuning", "grid"), [("adapter", Grid((0.5,), reduction=(4,))), ("probe", Grid((0.5,)))])
def test_cached_features_give_the_numbers_of_the_images(tuning, grid, search, same, monkeypatch):
    cached = search(tuning, grid)
    fast = cached.run()
    assert any(isinstance(plugin, TrainOnFeatures) for plugin in fast.strategy.plugins)
    monkeypatch.setattr("harness.study.best_pass.same_in_training", lambda encoder: False)
    slow = search(tuning, grid).run()
    assert not any(isinstance(plugin, TrainOnFeatures) for plugin in slow.strategy.plugins)
    assert same(state(fast), state(slow)) and same(fast.best.heads, slow.best.heads)
    assert [r["loss"] for r in fast.strategy.history] == [r["loss"] for r in slow.strategy.history]
    # Validation with the cached features against a pass over the images.
    correct = evaluate(fast.strategy.classifier, with_prompts(cached.domain, "one"), "val", task_label=0).correct
    assert correct == fast.best.score.correct


def test_layers_that_are_random_in_training_are_noticed(toy_encoder):
    encoder = toy_encoder()
    assert same_in_training(encoder)
    encoder.clip.visual.dropped = torch.nn.Dropout(0.1)
    assert not same_in_training(encoder)


def test_accuracies_of_both_kinds_of_prompts(encoder, toy_domain):
    domains = [toy_domain(name, 3, seed=seed, test=30) for seed, name in enumerate(("red", "blue"))]
    classifier, raw = PromptClassifier(encoder), RawImages(encoder)
    heads = Heads(classifier, domains, "one")
    counts = {"test": {domain.name: heads.counts(domain, "test") for domain in domains}}
    for kind in ("one", "ensemble"):
        expected = {d.name: [evaluate(PromptClassifier(encoder), with_prompts(d, kind)).correct, 30] for d in domains}
        assert of_kind(counts, kind)["test"] == expected
    assert heads.counts(domains[1], "test", raw) == counts["test"]["blue"]
    assert score(classifier, 1, domains[1], "test", raw).correct == counts["test"]["blue"]["one"][0]
    assert classifier.prompts[0].templates == ("a photo of a {}.",)
