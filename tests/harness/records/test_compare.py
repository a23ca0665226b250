"""Comparisons of two methods: pairs, runs without a counterpart, errors."""

import io

import numpy as np
import pytest
from rich.console import Console

from harness.display.comparison_table import comparison_tables
from harness.records.compare import COLUMNS, MEANINGS, CompareConfig, compare
from metrics import matrix
from models.registry import UserError

TASKS, HELDOUT = ("a", "b", "c"), ("h",)
SIZES = {"a": 10, "b": 20, "c": 30}


@pytest.fixture
def record(tmp_path, honest):
    """Write a finished run whose accuracies depend on the level of its strategy, the seed, the task and the row."""

    def write(strategy, seed=0, level=0.0, status="finished", root="results", seen=False, drop=0.0, **changes):
        identity = {
            "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": list(TASKS), "heldout": list(HELDOUT),
            "strategy": strategy, "strategy_sha256": None, "options": {"lr": 1}, "model": "tiny", "pretrained": None,
            "tuning": "full", "tuning_options": {}, "protocol": "task", "data_version": "v1", "seed": seed, "limit": None,
            "shots": None, "measure_n": 10, **changes,
        }  # fmt: skip
        counts, names = {}, [*(("test", n) for n in identity["tasks"]), *(("heldout", n) for n in identity["heldout"])]
        for after in range(len(identity["tasks"]) + 1):
            for i, (stream, name) in enumerate(names):
                gain = (level + seed * 0.1 + i * 0.2) * (after > 0) - drop * (after == 3 and stream == "test")
                n = SIZES.get(name, 1000) * 1000
                counts[after, stream, name] = round((40 + 5 * i + after * (i - 1) + gain) * n / 100), n
            if seen and after:
                parts = [counts[after, "test", name] for name in identity["tasks"][:after]]
                counts[after, "test", "seen"] = tuple(map(sum, zip(*parts, strict=True)))
        samples = {"test": [SIZES[name] * 1000 for name in identity["tasks"]]}
        return honest(tmp_path / root, identity, counts, status=status, samples=samples)

    return write


@pytest.fixture
def compared(tmp_path):
    """Compare two methods, and return the table and the printed sentences."""

    def run(a, b, *results):
        said = []
        table = compare(CompareConfig(str(a), str(b), results or (str(tmp_path / "results"),)), said.append)
        return table, "\n".join(said)

    return run


def matrices(level, seed=0):
    rows = [[40 + 5 * i + after * (i - 1) + level + seed * 0.1 + i * 0.2 for i in range(4)] for after in (1, 2, 3)]
    R = np.array(rows)
    return R[:, :3], R[:, 3:]


def test_every_metric_of_one_seed(record, compared):
    record("zscl", level=6)
    record("finetune", level=1)
    record("finetune", seed=1, level=9, status="running")
    table, said = compared("zscl", "finetune")
    assert list(table.columns) == list(COLUMNS) and said == ""
    assert table.metric.tolist() == ["transfer", "average", "last", "forgetting", "bwt", "retention"]
    (R, held), (Q, held_q) = matrices(6), matrices(1)
    zero, held0 = [40, 45, 50], [55]
    expected = {
        "transfer": (matrix.transfer(R), matrix.transfer(Q)),
        "average": (matrix.average(R), matrix.average(Q)),
        "last": (matrix.last(R), matrix.last(Q)),
        "forgetting": (matrix.forgetting(R), matrix.forgetting(Q)),
        "bwt": (matrix.backward_transfer(R), matrix.backward_transfer(Q)),
        "retention": tuple(matrix.retention(r, zero, h, held0).summary for r, h in ((R, held), (Q, held_q))),
    }
    for row in table.itertuples():
        assert (row.mean_a, row.mean_b) == pytest.approx(expected[row.metric])
        assert row.difference == pytest.approx(row.mean_a - row.mean_b)
    by = table.set_index("metric")
    assert by.verdict["average"] == "A better" and by.wins["average"] == 3 and by.seeds["average"] == 1
    assert by.verdict["forgetting"] == "no difference shown" and by.ties["forgetting"] == 2
    assert by.tasks.to_dict() == {"transfer": 2, "average": 3, "last": 3, "forgetting": 2, "bwt": 2, "retention": 3}
    assert set(table.note) == {"one seed (0): intervals over 3 tasks (1 more held out), without the variation between seeds"}


def test_the_other_way_round_b_is_better(record, compared):
    record("zscl", level=6)
    record("finetune", level=1)
    by = compared("finetune", "zscl")[0].set_index("metric")
    assert by.verdict["last"] == "B better" and by.losses["last"] == 3 and by.high["last"] < 0


def test_less_forgetting_is_better(record, compared):
    record("zscl")
    record("finetune", drop=20.0)
    by = compared("zscl", "finetune")[0].set_index("metric")
    assert by.difference["forgetting"] == pytest.approx(-20) and by.wins["forgetting"] == 2
    assert by.verdict["forgetting"] == by.verdict["bwt"] == "A better"


def test_seeds_are_paired_and_unpaired_runs_are_reported(record, compared):
    for seed in (0, 1, 2):
        record("zscl", seed=seed, level=6)
    for seed in (2, 0, 5):
        record("finetune", seed=seed, level=1)
    table, said = compared("zscl", "finetune")
    row = table.set_index("metric").loc["average"]
    assert row.seeds == 2 and row.wins == 6 and row.difference == pytest.approx(5)
    assert row.note.startswith("seeds 0, 2: intervals over 3 tasks (1 more held out) and 2 seeds")
    assert "zscl on mtil, mini edition, Order I, seed 1: finetune has no matching run" in said
    assert "finetune on mtil, mini edition, Order I, seed 5: zscl has no matching run" in said


@pytest.mark.parametrize("own", [{"files": {"study": "0ab1"}}, {"measures": ["iimm"]}])
def test_a_methods_files_and_measures_do_not_separate_runs(record, compared, own):
    record("iimm-guided", level=6, **own)
    record("finetune", level=1)
    assert compared("iimm-guided", "finetune")[0].set_index("metric").verdict["average"] == "A better"


def test_settings_are_compared_one_by_one(record, compared):
    for strategy in ("zscl", "finetune"):
        record(strategy)
        record(strategy, order="II", tasks=["c", "b", "a"])
    record("zscl", edition="full")
    table, said = compared("zscl", "finetune")
    assert table.order.unique().tolist() == ["I", "II"] and set(table.edition) == {"mini"}
    assert (
        "zscl on mtil, full edition, Order I, seed 0: finetune has no matching run (differ in edition (full and mini))" in said
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data_version": "v2"}, r"data_version \(v1 and v2\)"),
        ({"limit": 5}, r"limit \(none and 5\)"),
        ({"seed": 7}, r"seed \(0 and 7\)"),
        ({"heldout": []}, r"heldout"),
        ({"protocol": "agnostic", "model": "ViT-B-16"}, r"model \(tiny and ViT-B-16\), protocol \(task and agnostic\)"),
    ],
)
def test_different_data_is_refused(record, compared, changes, said):
    record("zscl")
    record("finetune", **changes)
    with pytest.raises(UserError, match=f"zscl and finetune have no runs to compare: .* differ in {said}"):
        compared("zscl", "finetune")


def test_variants_are_compared_with_the_most_similar_ones(record, compared):
    for lr in (1, 2):
        record("zscl", level=lr, options={"lr": lr, "l2": 1})
        record("finetune", options={"lr": lr})
    record("zscl", level=9, tuning="lora", options={"lr": 1, "l2": 1})
    table = compared("zscl", "finetune")[0]
    average = table[table.metric == "average"]
    assert average.difference.tolist() == pytest.approx([1, 2, 9])
    assert ["differently" in note for note in average.note] == [False, False, True]
    assert average.note.iloc[2].endswith("set differently in A and B: tuning (lora and full)")


def printed(table, width=200):
    text = io.StringIO()
    for each in comparison_tables(table):
        Console(file=text, width=width).print(each)
    return [" ".join(line.split()) for line in text.getvalue().splitlines()]


def test_each_setting_has_its_own_heading(record, compared):
    """This includes methods without a common option, and several settings of only one method."""
    for decay in (0.9, 0.99):
        record("ema-teacher", level=10 * decay, options={"decay": decay, "lr": 1})
    record("zscl", options={"l2": 0.1, "lr": 1})
    table = compared("ema-teacher", "zscl")[0]
    assert table.groupby(["settings_a", "settings_b"]).size().to_dict() == {("decay=0.9", ""): 6, ("decay=0.99", ""): 6}
    heads = [line for line in printed(table) if line.startswith("A = ")]
    place = "mtil, mini edition, Order I, tiny"
    assert sorted(heads) == [f"A = ema-teacher (decay={decay}), B = zscl: {place}" for decay in (0.9, 0.99)]
    record("zscl", options={"l2": 0.2, "lr": 1}, strategy_sha256=None)
    heads = [line for line in printed(compared("zscl", "ema-teacher")[0]) if line.startswith("A = ")]
    assert len(set(heads)) == 4 and f"A = zscl (l2=0.2), B = ema-teacher (decay=0.99): {place}" in heads


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"limit": 5}, "tiny, at most 5 images per split"),
        ({"shots": 4}, "tiny, 4 shots"),
        ({"data_version": "v2"}, "tiny, data_version v2"),
        ({"protocol": "agnostic"}, "tiny, protocol agnostic"),
        ({"heldout": []}, "tiny, heldout"),
        ({"model": "ViT-B-16", "pretrained": "openai"}, "ViT-B-16, weights openai"),
        ({"weights_sha256": "abc"}, "tiny, weights_sha256 abc"),
        ({"edition": "full"}, "mtil, full edition, Order I, tiny"),
        ({"order": "II", "tasks": ["c", "b", "a"]}, "mtil, mini edition, Order II, tiny"),
        ({"benchmark": "stream"}, "stream, mini edition, Order I, tiny"),
    ],
)
def test_headings_name_differing_data_and_models(record, compared, changes, said):
    for strategy in ("zscl", "finetune"):
        record(strategy, level=strategy == "zscl")
        record(strategy, level=2 * (strategy == "zscl"), **changes)
    heads = [line for line in printed(compared("zscl", "finetune")[0]) if line.startswith("A = ")]
    assert len(set(heads)) == 2 and any(said in head for head in heads)


def test_a_method_whose_file_was_edited_is_two_settings(record, compared):
    for sha, plugins in (("a" * 64, {}), ("b" * 64, {"ewc": {"ewc_lambda": 1}})):
        record("mine", level=len(plugins), strategy_sha256=sha, plugins=plugins, measure_n=10 + len(plugins))
    record("zscl")
    table = compared("mine", "zscl")[0]
    assert set(table.settings_a) == {
        "file=aaaaaaaaaaaa, plugins=none, measure_n=10",
        "file=bbbbbbbbbbbb, plugins={'ewc': {'ewc_lambda': 1}}, measure_n=11",
    }


def test_runs_pair_with_the_nearest_that_share_a_seed(record, compared):
    record("zscl", seed=1, level=3, options={"lr": 1})
    record("finetune", seed=0, options={"lr": 1})
    record("finetune", seed=1, options={"lr": 2})
    table, said = compared("zscl", "finetune")
    assert set(table.note.str.extract(r"(A and B: .*)$")[0]) == {"A and B: lr (1 and 2)"}
    assert "finetune on mtil, mini edition, Order I, seed 0: zscl has no matching run" in said


def test_a_forged_table_is_not_used(record, compared):
    """Figures and comparisons use the accuracies of the counts."""
    folder = record("finetune")
    record("zscl", level=3)
    path = folder / "accuracy.csv"
    lines = [line.split(",") for line in path.read_text().splitlines()]
    lines[1:] = [[*line[:3], "99.0", *line[4:]] for line in lines[1:]]
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(UserError, match=r"accuracy\.csv contradicts itself: row 2 .* accuracy 99, but 4000 of 10000 is 40 %"):
        compared("zscl", "finetune")
    lines[1:] = [[*line[:4], str(99 * int(line[5]) // 100), line[5]] for line in lines[1:]]
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(UserError, match=r"run\.json contradicts itself: summary\.transfer is 4\d"):
        compared("zscl", "finetune")


def test_folders_of_one_strategy(record, compared, tmp_path):
    a = record("zscl", level=3, options={"lr": 1})
    b = record("zscl", options={"lr": 2})
    table, _ = compared(a, b / "run.json", str(tmp_path / "none"))
    assert set(table.a) == {str(a)} and table.note.str.endswith("A and B: lr (1 and 2)").all()
    with pytest.raises(UserError, match="are both the run in"):
        compared("zscl", a)
    with pytest.raises(UserError, match="are both the run in"):
        compared("zscl", "zscl")
    record("finetune")
    with pytest.raises(UserError, match="holds runs of finetune, zscl: name the folder of one"):
        compared(tmp_path / "results", a)
    with pytest.raises(UserError, match="holds no finished run"):
        compared(record("zscl", status="running", root="other"), a)


def test_options_select_the_runs_of_a_strategy(record, compared):
    record("zscl", level=3, options={"lr": 0.1, "rates": {"a": 1}})
    record("zscl", level=1, options={"lr": 0.2, "rates": {"a": 2}})
    record("zscl", options={"lr": 0.3, "rates": {"a": None}}, tuning="lora")
    record("finetune")
    table, _ = compared("zscl:lr=1e-1", "zscl:rates.a=2")
    assert set(table.a) == {"zscl:lr=1e-1"} and set(table.b) == {"zscl:rates.a=2"}
    assert table.set_index("metric").difference["last"] == pytest.approx(2)
    # Without options a name means all other runs of the strategy.
    table, _ = compared("zscl", "zscl:lr=0.1,tuning=full")
    assert table.set_index("metric").difference.loc["last"].tolist() == pytest.approx([-2, -3])
    table, _ = compared("zscl:rates.a=none", "finetune")
    assert set(table.a) == {"zscl:rates.a=none"} and set(table.b) == {"finetune"}
    with pytest.raises(UserError, match=r"Unknown option of zscl 'lrr'. Did you mean lr\?"):
        compared("zscl:lrr=1", "finetune")
    with pytest.raises(UserError, match=r"no finished run with lr=1. Values of its runs: 0.1, 0.2, 0.3\."):
        compared("zscl:lr=1", "finetune")
    with pytest.raises(UserError, match="select runs by an option"):
        compared("finetune:lr=1", "finetune")


def test_the_class_of_a_strategy_file_is_a_name(record, compared):
    record("my-method", level=3)
    record("zscl")
    assert set(compared("MyMethod", "zscl")[0].a) == {"my-method"}


def test_a_misspelt_name(record, compared, tmp_path):
    record("zscl")
    record("finetune")
    with pytest.raises(UserError, match=r"Unknown strategy with finished runs in .*results 'zsl'. Did you mean zscl\?"):
        compared("finetune", "zsl")
    with pytest.raises(UserError, match="There are no results at"):
        compared("finetune", "zscl", str(tmp_path / "none"))


def test_class_incremental_numbers_come_first(record, compared):
    record("zscl", level=2, benchmark="cil-x-3", protocol="class", seen=True)
    record("finetune", benchmark="cil-x-3", protocol="class", seen=True)
    table = compared("zscl", "finetune")[0]
    assert table.metric.tolist()[:3] == ["cil_average", "cil_last", "transfer"]
    R, _ = matrices(2)
    assert table.mean_a[1] == pytest.approx(R[-1] @ [10, 20, 30] / 60)
    record("joint", benchmark="cil-x-3", protocol="class")
    assert "cil_average" not in set(compared("zscl", "joint")[0].metric)


def test_missing_cells_are_damage(record, compared):
    record("zscl")
    path = record("finetune") / "accuracy.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]))
    with pytest.raises(UserError, match=r"accuracy\.csv contradicts itself: .* no accuracy after 3 of h"):
        compared("zscl", "finetune")


def test_the_screen_has_every_digit_and_an_explanation(record, compared):
    record("zscl", level=6)
    record("finetune", level=1)
    text = io.StringIO()
    for table in comparison_tables(compared("zscl", "finetune")[0]):
        Console(file=text, width=120).print(table)
    lines = [" ".join(line.split()) for line in text.getvalue().splitlines()]
    assert lines[0] == "A = zscl, B = finetune: mtil, mini edition, Order I, tiny" and lines[1].startswith("one seed (0)")
    assert lines[2] == "A B A - B 95 % interval A wins / ties / loses verdict"
    assert "Average 51.20 46.20 +5.00 +5.00 to +5.00 3 / 0 / 0 A better" in lines
    assert "does not prove that the methods are equal" in MEANINGS
