"""Patches of models of several sizes, by hand."""

import math

import pytest

from harness.records.runs import Run
from harness.records.scale import applies, by_task, difference, of_run, over_seeds, sizes


def test_the_values_of_a_run_are_means_over_its_tasks(sizes_of):
    values = of_run(sizes_of.run("m", 9, 0, (20, 28, 40), (30, 34, 50), (80, 70, 60)))
    assert values[:7] == (0.5, 25, 45, 31, 80, 60, 70)
    # The patch gains 6 of 20 points, and the supported task keeps 70 of 80.
    assert (values.gain, values.supported_loss, values.supported_kept) == (6, 10, 87.5)
    assert values.gain_kept == pytest.approx(30)
    # 14 points below the fine-tuned model on the tasks, 10 below the unpatched one on the supported task.
    assert values.distance == 12 and values.relative_distance == pytest.approx((70 + 12.5) / 2)
    assert values[-5:] == pytest.approx((0.9, 0.85, 0.91, 0.86, 0.99))


def test_a_task_has_its_own_values_over_the_seeds(sizes_of):
    [size] = sizes([sizes_of.run("m", 9, s, (20, 30 + 4 * s, 40), (30, 34, 30), (80, 70, 60)) for s in (0, 1)])
    tasks = by_task(size)
    assert list(tasks) == ["a", "b"] and (tasks["a"].patched, tasks["a"].gain_kept) == (32, pytest.approx(60))
    # Fine-tuning gains nothing on b, so the share of its gain is undefined.
    assert tasks["b"].gain == 4 and math.isnan(tasks["b"].gain_kept) and math.isnan(tasks["b"].relative_distance)
    kept = over_seeds(size)["gain_kept"]
    # Both tasks together gain 10 by fine-tuning, the patches 7 and 9: 70 % and 90 % are kept. The t quantile is 12.706.
    assert (kept.mean, kept.n, kept.high) == (pytest.approx(80), 2, pytest.approx(80 + 12.706 * 10, abs=0.01))


def test_models_are_sorted_by_size_and_differences_paired_by_seed(sizes_of):
    models = sizes(sizes_of.three()[::-1])
    assert [(size.model, size.label, len(size.runs)) for size in models] == [
        ("small", "1.0 M", 2), ("middle", "4.0 M", 2), ("large", "16.0 M", 2)
    ]  # fmt: skip
    assert [run.identity["seed"] for run in models[0].runs] == [0, 1]
    apart = difference(models[0], models[-1])
    # 12 and 11.75 points apart with the small model, 7 and 6.75 with the large one.
    assert (apart["distance"].mean, apart["distance"].low, apart["distance"].n) == (pytest.approx(-5), pytest.approx(-5), 2)
    assert apart["relative_distance"].mean == pytest.approx(-10) and apart["cka"].mean == pytest.approx(0.1)
    assert apart["weight_cosine"].mean == pytest.approx(0.02)
    lone = models[-1]._replace(runs=models[-1].runs[1:])
    assert difference(models[0], lone)["distance"].n == 1


def test_only_models_that_can_be_compared_are_grouped(sizes_of):
    runs = sizes_of.three()
    other = sizes_of.run("models/other", 9, 0, (1, 2, 3), (1, 2, 3), (9, 8, 7), identity={"options": {"lr": 2.0}})
    words = sizes_of.run("models/words", 9, 0, (1, 2, 3), (1, 2, 3), (9, 8, 7), model_description={"tokens": "others"})
    shipped = sizes_of.run("tiny", 9, 0, (1, 2, 3), (1, 2, 3), (9, 8, 7))
    assert [size.model for size in sizes([other, words, shipped, *runs])] == ["small", "middle", "large"]
    assert sizes([]) == [] and [size.model for size in sizes([other])] == ["other"]


def test_records_without_both_ends_do_not_apply(sizes_of):
    good = sizes_of.run("m", 9, 0, (20, 28, 40), (30, 34, 50), (80, 70, 60))
    assert applies(good)

    def changed(**document):
        return Run(None, {**good.document, **document})

    assert not applies(changed(status="running")) and not applies(changed(parameters=None))
    assert not applies(changed(searches=good.document["searches"][:1]))
    assert not applies(changed(identity={**good.identity, "strategy": "paint-joint"}))
    assert not applies(changed(identity={**good.identity, "heldout": []}))
    short = [
        {**search, "curve": [{**row, "points": [[0.0], [0.5], [0.9]]} for row in search["curve"]]}
        for search in good.document["searches"]
    ]
    assert not applies(changed(searches=short))


def test_records_without_features_have_no_similarity(sizes_of):
    old = sizes_of.run("m", 9, 0, (20, 28, 40), (30, 34, 50), (80, 70, 60))
    for search in old.document["searches"]:
        del search["weight_cosine"]
        for row in search["curve"]:
            del row["cka"], row["cka_debiased"]
    values = of_run(old)
    assert values.distance == 12 and all(map(math.isnan, values[-5:]))
