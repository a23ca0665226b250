"""The mini edition's settings are what its search found best."""

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
    """Candidates and scores by method."""
    rows = read_csv(tune.HERE / f"search_{benchmark}.csv")
    return {method: [row for row in rows if row["method"] == method] for method in ("finetune", *tune.SEARCHES[benchmark].own)}


def best(rows):
    return max(rows, key=lambda row: float(row["score"]))


def test_training_options_are_the_best_candidate(benchmark, tried):
    winner = best(tried["finetune"])
    found = {"iterations": int(winner["iterations"]), "batch_size": int(winner["batch_size"]), "lr": float(winner["lr"])}
    assert benchmark_settings.mini(benchmark)["finetune"] == tune.training_options(**found)


def test_each_method_has_its_best_number_and_the_shared_options(benchmark, tried):
    settings = benchmark_settings.mini(benchmark)
    for method, own in tune.SEARCHES[benchmark].own.items():
        rows = tried[method]
        for name in own.names:
            assert [float(row[name]) for row in rows] == list(own.values) and len(own.values) <= 4
        shared = [name for name in SHARED if name not in own.names]
        winner = best(tried["finetune"])
        assert {tuple(row[name] for name in shared) for row in rows} == {tuple(winner[name] for name in shared)}
        number = float(best(rows)[own.names[0]])
        found = tune.own_options(method, own, settings["finetune"], number)
        assert settings[method] == {**found, **benchmark_settings.MINI.get(method, {})}


def test_every_candidate_was_tried(benchmark, tried):
    search = tune.SEARCHES[benchmark]
    candidates = {(lr, n, size) for lr in search.rates for n, size in search.budgets}
    assert {tuple(float(row[name]) for name in SHARED) for row in tried["finetune"]} == candidates
    assert len(tried["finetune"]) == len(candidates)
