"""Rows of mini_results.csv and batch_check.csv from records of known numbers."""

from pathlib import Path

import pytest

from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.records.runs import Run
from tools.result_rows import COLUMNS, batch_rows, batch_table, merged, result_rows, settings


def record(strategy, seed, average, benchmark="mtil", dependent=None, **asked):
    """Return the record of a finished run with an invented summary."""
    identity = outline(RunConfig(benchmark, strategy, seed=seed, **asked)).identity()
    summary = dict.fromkeys(("transfer", "last", "forgetting", "bwt", "retention"), 1.04)
    summary |= {"average": average, "cil_average": average, "cil_last": 2.0}
    document = {
        "identity": identity, "key": f"{strategy}{seed}{asked}", "summary": summary, "git_revision": "0123456789abcdef",
        "trainable_params": 12, "train_seconds": 3.4, "eval_seconds": 1.6,
    }  # fmt: skip
    if dependent is not None:
        passes = [
            {"batches": "single images", "images": 64, "changed": 1, "dependent": 0},
            {"batches": "one task per batch", "images": 2000, "changed": dependent + 3, "dependent": dependent},
        ]
        document["batch_check"] = {"images": 2000, "dependent": dependent, "passes": passes}
    return Run(Path("results") / document["key"], document)


def test_a_row_is_the_mean_over_seeds_with_the_command_that_repeats_it():
    [row] = result_rows([record("zscl", seed, average) for seed, average in ((1, 60.0), (0, 62.0), (2, 64.0))])
    assert row["average"] == "62.0" and row["average_std"] == "2.0" and row["transfer"] == "1.0" and row["transfer_std"] == ""
    assert row["command"] == "python cli.py bench mtil --strategy zscl --seed 0 1 2"
    assert (row["seeds"], row["options"], row["revision"], row["train_seconds"], row["eval_seconds"]) == (
        3,
        "",
        "0123456",
        3,
        2,
    )
    assert set(row) <= set(COLUMNS["mini_results"])


def test_protocols_and_benchmarks_have_rows_of_their_own():
    runs = [record("zscl", 0, 50.0), record("zscl", 0, 40.0, protocol="agnostic"), record("zscl", 0, 30.0, benchmark="cil")]
    by_name = {(row["benchmark"], row["options"]): row for row in result_rows(runs)}
    assert set(by_name) == {("mtil", ""), ("mtil", "protocol=agnostic"), ("cil-nature-5", "")}
    assert by_name["mtil", "protocol=agnostic"]["command"] == "python cli.py bench mtil --strategy zscl --protocol agnostic"
    cil = by_name["cil-nature-5", ""]
    assert cil["average"] == "30.0" and cil["last"] == "2.0" and "retention" not in cil
    assert cil["command"] == "python cli.py bench cil --strategy zscl"


def test_settings_other_than_the_defaults_are_found():
    assert settings(record("zscl", 0, 1.0, options={"l2": 0.5})) == {"l2": 0.5}
    assert settings(record("zscl", 1, 1.0, protocol="agnostic")) == {}
    with pytest.raises(SystemExit, match="not a run of the mini edition as it is now: measure_n"):
        settings(record("zscl", 0, 1.0, measure_n=5))


def test_batch_checks_are_summed_over_seeds():
    other = {"protocol": "agnostic", "options": {"batchwise": True}}
    runs = [record("diki", 0, 1.0, dependent=0, protocol="agnostic"), record("diki", 0, 1.0)]
    runs += [record("diki", seed, 1.0, dependent=100 * (seed + 1), **other) for seed in (0, 1)]
    made = batch_rows(runs)
    columns = ("options", "batches", "seeds", "images", "changed", "dependent")
    assert [tuple(row[name] for name in columns) for row in made] == [
        ("protocol=agnostic", "single images", 1, 64, 1, 0),
        ("protocol=agnostic", "one task per batch", 1, 2000, 3, 0),
        ("protocol=agnostic batchwise=True", "single images", 2, 128, 2, 0),
        ("protocol=agnostic batchwise=True", "one task per batch", 2, 4000, 306, 300),
    ]  # fmt: skip
    assert (made[3]["dependent_low"], made[3]["dependent_high"]) == (100, 200)
    expected = "python cli.py bench mtil --strategy diki --protocol agnostic --set batchwise=True --seed 0 1 --check-batch"
    assert made[3]["command"] == expected
    table = batch_table([{name: str(value) for name, value in row.items()} for row in made]).splitlines()
    assert table[-1] == "| `diki` `batchwise=True` | 2 | 0 of 128 | 300 of 4,000 |"


def test_a_new_row_takes_the_place_of_an_old_one_with_no_more_seeds():
    def row(strategy, options, seeds, average):
        return {"benchmark": "mtil", "strategy": strategy, "options": options, "seeds": seeds, "average": average}

    old = [row("a", "", "1", "1"), row("b", "", "1", "1"), row("c", "", "3", "1")]
    new = [row("a", "", 1, "2"), row("a", "x", 1, "2"), row("c", "", 2, "2")]
    assert merged("mini_results", old, new) == [new[0], old[1], old[2], new[1]]
