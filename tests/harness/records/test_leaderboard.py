"""The leaderboard is a pure function of the records."""

import io
import shutil

import numpy as np
import pytest
from rich.console import Console

from harness.display.leaderboard_table import print_leaderboard
from harness.records.files import write_table
from harness.records.leaderboard import COLUMNS, LATER, MARKS, METRICS, leaderboard
from models.registry import UserError

ALL = [*COLUMNS, *(f"{metric}_std" for metric in METRICS), *(m for m in MARKS if m not in LATER), "settings", *LATER]
"""The header of every leaderboard, whatever the runs."""


@pytest.fixture
def record(honest):
    """Write a run of one task whose final accuracy is `average`."""

    def write(root, strategy, seed, average, status="finished", **changes):
        identity = {
            "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": ["a"], "heldout": [], "strategy": strategy,
            "strategy_sha256": None, "options": {"lr": 1}, "model": "tiny", "pretrained": None, "tuning": "full", "seed": seed,
            "limit": None, "measure_n": 10, **changes,
        }  # fmt: skip
        names = [*(("test", n) for n in identity["tasks"]), *(("heldout", n) for n in identity["heldout"])]
        counts = {(after, *name): (round((average - 10 * (not after)) * 1e9), 10**11) for after in (0, 1) for name in names}
        costs = {"train_seconds": 10.0 * (seed + 1), "eval_seconds": 1.0, "images_per_second": None, "peak_memory_mb": 2.0}
        return honest(root, identity, counts, status=status, **costs)

    return write


def test_columns_and_empty(tmp_path):
    table = leaderboard([tmp_path / "none"])
    assert table.empty and list(table.columns) == ALL
    assert ",".join(COLUMNS) == (
        "benchmark,edition,order,model,pretrained,strategy,tuning,seeds,transfer,average,last,forgetting,bwt,retention,iimm_mean,"
        "trainable_params,train_seconds,eval_seconds,images_per_second,peak_memory_mb,source,run"
    )
    assert ",".join(ALL[len(COLUMNS) :]) == (
        "transfer_std,average_std,last_std,forgetting_std,bwt_std,retention_std,iimm_mean_std,"
        "protocol,shots,limit,data,heldout,data_version,settings,stored_per_task,test_ms_per_image,batch_dependent,reported,"
        "duplicates,split"
    )


def test_seeds_are_averaged_and_best_comes_first(tmp_path, record):
    for seed, average in ((0, 40.0), (1, 44.0)):
        record(tmp_path, "zscl", seed, average)
    record(tmp_path, "finetune", 0, 50.0)
    record(tmp_path, "finetune", 1, 99.0, status="running")
    table = leaderboard([tmp_path])
    assert table.strategy.tolist() == ["finetune", "zscl"] and table.seeds.tolist() == [1, 2]
    zscl = table.iloc[1]
    assert zscl.average == 42 and zscl.average_std == pytest.approx(2 * 2**0.5) and zscl.train_seconds == 15
    assert zscl.run.count(";") == 1 and zscl.source == "run"
    assert table.batch_dependent.tolist() == [None, None]
    assert list(table.columns) == ALL and np.isnan(table.iloc[0].average_std)


def test_editions_and_options_are_never_mixed(tmp_path, record):
    record(tmp_path, "zscl", 0, 40.0)
    record(tmp_path, "zscl", 1, 60.0, edition="full")
    record(tmp_path, "zscl", 1, 50.0, options={"lr": 2})
    table = leaderboard([tmp_path])
    assert table.seeds.tolist() == [1, 1, 1] and table.edition.tolist() == ["full", "mini", "mini"]


def test_a_run_named_twice_or_copied_counts_once(tmp_path, record):
    folder = record(tmp_path, "zscl", 0, 40.0)
    shutil.copytree(folder, tmp_path / "copy")
    assert leaderboard([tmp_path, folder, folder / "run.json"]).seeds.tolist() == [1]


def test_limited_runs_are_marked(tmp_path, record):
    record(tmp_path, "zscl", 0, 40.0)
    record(tmp_path, "finetune", 0, 90.0, limit=5)
    table = leaderboard([tmp_path])
    assert table.limit.fillna(0).tolist() == [5, 0] and table.strategy.tolist() == ["finetune", "zscl"]
    text = io.StringIO()
    print_leaderboard(table, Console(file=text, width=160))
    titles = [line.strip() for line in text.getvalue().splitlines() if line.startswith("mtil")]
    assert titles == ["mtil, mini edition, Order I, at most 5 images per split", "mtil, mini edition, Order I"]


def test_runs_with_other_rules_for_shared_classes_are_marked(tmp_path, record):
    record(tmp_path, "zscl", 0, 40.0, protocol="agnostic")
    record(tmp_path, "zscl", 0, 50.0, protocol="agnostic", duplicates="index")
    table = leaderboard([tmp_path])
    assert dict(zip(table.average, table.duplicates.fillna("-"), strict=True)) == {40.0: "-", 50.0: "index"}


def test_csv(tmp_path, record):
    record(tmp_path / "results", "zscl", 0, 40.123456789)
    write_table(leaderboard([tmp_path / "results"]), tmp_path / "board.csv")
    lines = (tmp_path / "board.csv").read_text().splitlines()
    assert lines[0] == ",".join(ALL) and "40.1235" in lines[1]
    with pytest.raises(UserError, match="Cannot write"):
        write_table(leaderboard([tmp_path]), "/dev/null/board.csv")


def test_published_rows_are_next_to_those_of_runs():
    table = leaderboard([], with_published=True)
    row = table[(table.order == "I") & (table.strategy == "zscl")].iloc[0]
    assert (row.transfer, row.average, row["last"]) == pytest.approx((68.14, 75.39, 83.62), abs=0.0051)
    assert set(table.edition) == {"full"}
    assert table.source.str.contains(r"^(?:ZSCL|MoE-Adapters|MoRAM|PROOF|LibContinual|ENGINE) \(").all()
    counts = table[table.source.str.contains(r"^(?:ZSCL|MoE-Adapters) \(")].benchmark.value_counts().to_dict()
    assert counts == {"mtil": 16, "cil-cifar100-10": 2, "cil-cifar100-20": 1, "cil-cifar100-50": 2} | {
        "cil-tinyimagenet-5": 1,
        "cil-tinyimagenet-10": 1,
        "cil-tinyimagenet-20": 1,
    }
    row = table[(table.benchmark == "cil-cifar100-10") & (table.strategy == "zscl")].iloc[0]
    assert row["last"] == 73.65 and np.isnan(row.average)
    zero = table[(table.order == "II") & (table.strategy == "zero-shot")].iloc[0]
    assert (zero.transfer, zero.average, zero["last"]) == pytest.approx((65.3, 65.3, 65.3), abs=0.051)
    assert zero.retention == 100 and zero.forgetting == 0


def test_published_rows_of_other_papers_have_source_protocol_and_what_was_reported():
    table = leaderboard([], with_published=True)
    tail = table[table.benchmark == "xtail"]
    assert tail.strategy.tolist() == ["moram", "codyra", "rail", "moe-adapters"] and tail.average.max() == 72.7
    # Runs of `bench xtail` have the same columns empty, so the rows are in one table.
    assert tail.protocol.isna().all() and tail.shots.isna().all() and set(tail.order) == {"default"}
    assert tail.settings.str.startswith("template: first template of each dataset").all()
    again = table[table.reported.notna()].set_index(["benchmark", "strategy"])
    assert len(again) == 9 and again.source.str.contains("re-run").all()
    row = again.loc[("cil-cifar100-10", "rapf")]
    assert (row.average, row["last"], row.reported) == (85.97, 78.85, "86.87 / 79.26")
    assert again.loc[("cil-cifar100-20", "moe-adapters")].reported == "83.72"
    # The same numbers as in the rows from MoE-Adapters' repository.
    own = table[table.source.str.startswith("MoE-Adapters")].set_index("benchmark").average
    for (benchmark, strategy), value in again.reported.items():
        assert strategy != "moe-adapters" or float(value) == own[benchmark]
    proof = table[table.strategy == "proof"]
    assert len(proof) == 18 and set(proof.pretrained) == {"laion400m_e32"} and set(proof.order) == {"seed-1993"}
    console = Console(file=io.StringIO(), width=250)
    print_leaderboard(table, console)
    assert "86.87 / 79.26" in console.file.getvalue() and "a third party's re-run" in console.file.getvalue()


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UserError, match=r"run\.json is not the record of a run"):
        leaderboard([tmp_path])


@pytest.mark.parametrize("width", [60, 80, 160])
def test_a_narrow_screen_loses_columns_not_digits(tmp_path, width, record):
    for seed in (0, 1):
        record(tmp_path, "zscl", seed, 40.0 + seed)
    text = io.StringIO()
    print_leaderboard(leaderboard([tmp_path]), Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    assert "zscl" in lines[2] and "40.5 ± 0.7" in lines[2] and "…" not in text.getvalue()
    assert ("source" in lines[1]) == (width == 160)


def test_rows_of_one_method_name_their_differences(tmp_path, record):
    """Options, held-out domains and data versions are not columns, but rows that differ in them are marked."""
    record(tmp_path, "zscl", 0, 40.0, options={"lr": 1, "l2": 0.5})
    record(tmp_path, "zscl", 1, 41.0, options={"lr": 1, "l2": 0.5})
    record(tmp_path, "zscl", 0, 42.0, options={"lr": 1, "l2": 0.1}, weights_sha256="x")
    record(tmp_path, "finetune", 0, 30.0)
    table = leaderboard([tmp_path])
    assert table.heldout.isna().all() and table.data_version.isna().all()
    assert table.settings.fillna("").tolist() == ["l2=0.1 weights_sha256=x", "l2=0.5", ""]
    record(tmp_path, "finetune", 0, 31.0, heldout=["b", "c"])
    table = leaderboard([tmp_path])
    assert table.heldout.tolist() == ["b, c", "none", "none", "none"] and table.data_version.isna().all()
    text = io.StringIO()
    print_leaderboard(table, Console(file=text, width=160))
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    title = "mtil, mini edition, Order I, held out: "
    assert lines[0] == title + "b, c" and lines[3] == title + "none"
    assert lines[5].endswith("l2=0.1 weights_sha256=x") and "settings" not in lines[1]
