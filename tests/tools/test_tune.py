"""The mini edition's settings are the best candidates of its search."""

import pytest

from benchmarks import settings as benchmark_settings
from harness.records.files import read_csv
from tools import tune

SHARED = ("lr", "iterations", "batch_size")


@pytest.fixture(params=tune.SEARCHES)
def benchmark(request):
    return request.param


@pytest.fixture
def tried(benchmark):
    """Return candidates and scores by method."""
    rows = read_csv(tune.HERE / f"search_{benchmark}.csv")
    methods = ("finetune", *tune.SEARCHES[benchmark].methods)
    return {method: [row for row in rows if row["method"] == method] for method in methods}


def best(rows):
    return max(rows, key=lambda row: float(row["score"]))


def test_training_options_are_the_best_candidate(benchmark, tried):
    winner = best(tried["finetune"])
    options = {"iterations": int(winner["iterations"]), "batch_size": int(winner["batch_size"]), "lr": float(winner["lr"])}
    assert benchmark_settings.mini(benchmark)["finetune"] == tune.training_options(**options)


def test_each_method_has_its_best_value_and_the_shared_options(benchmark, tried):
    settings = benchmark_settings.mini(benchmark)
    for method, search in tune.SEARCHES[benchmark].methods.items():
        rows = tried[method]
        for name in search.names:
            assert [float(row[name]) for row in rows] == list(search.values) and len(search.values) <= 4
        shared = [name for name in SHARED if name not in search.names]
        winner = best(tried["finetune"])
        assert {tuple(row[name] for name in shared) for row in rows} == {tuple(winner[name] for name in shared)}
        value = float(best(rows)[search.names[0]])
        options = tune.method_options(method, search, settings["finetune"], value)
        assert settings[method] == {**options, **benchmark_settings.MINI.get(method, {})}


def test_every_candidate_was_tried(benchmark, tried):
    search = tune.SEARCHES[benchmark]
    candidates = {(lr, n, size) for lr in search.rates for n, size in search.budgets}
    assert {tuple(float(row[name]) for name in SHARED) for row in tried["finetune"]} == candidates
    assert len(tried["finetune"]) == len(candidates)
