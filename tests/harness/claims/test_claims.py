"""Verdicts from made-up records: each rule with evidence on both sides, missing runs, and recorded verdicts."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from harness.claims import iimm, judge, paint, zscl
from harness.claims.evidence import Evidence, groups_of, runs_of
from harness.commands.main import main
from harness.config.resolve import outline
from harness.config.run_config import RunConfig
from harness.display.claims_table import claims_text
from harness.records.runs import Run
from models.registry import UserError


def run(benchmark, strategy, seed, summary=None, changes=(), **document):
    identity = {
        "benchmark": benchmark, "edition": "mini", "order": "I", "model": "tiny", "pretrained": None, "strategy": strategy,
        "seed": seed, "options": dict.fromkeys(changes, 1), "tasks": ["a"], "heldout": ["h"], **document.pop("identity", {}),
    }  # fmt: skip
    return Run(
        None, {"status": "finished", "identity": identity, "summary": summary, "changes": dict.fromkeys(changes, 1), **document}
    )


def seeds(benchmark, strategy, metric, values, changes=()):
    return [run(benchmark, strategy, seed, {metric: value}, changes) for seed, value in enumerate(values)]


def claim(name):
    return next(each for each in judge.CLAIMS if each.name == name)


def decide(name, runs, study=None):
    return claim(name).verdict(Evidence(tuple(runs), study))


def patched(benchmark, seed, curves, targets=(), tasks=("a",), heldout=("h",), strategy="paint-single"):
    """One patch per task; `curves` maps a test set to correct answers of 100 before and after the patch."""
    searches = [
        {
            "task": task,
            "chosen": [0.5],
            "curve": [
                {"stream": "test" if name in tasks else "heldout", "task": name, "points": [[0.0], [0.5], [1.0]],
                 "correct": [before, after, 0], "n": 100}
                for name, (before, after) in curves.items()
            ],
        }
        for task in tasks
    ]  # fmt: skip
    identity = {"tasks": list(tasks), "heldout": [*heldout, *targets], "targets": list(targets)}
    return run(benchmark, strategy, seed, {}, identity=identity, searches=searches)


def test_forgetting_needs_an_interval_below_100():
    assert decide("zscl-1", seeds("mtil", "finetune", "retention", [70, 72, 74])).word == "holds"
    assert decide("zscl-1", seeds("mtil", "finetune", "retention", [80, 120])).word == "does not hold"
    verdict = decide("zscl-1", seeds("mtil", "finetune", "retention", [70]))
    assert verdict.word == "not run" and "mtil finetune (1 of 2 seeds)" in verdict.reason


def test_differences_are_paired_by_seed():
    """Large differences between seeds, and the same small lead in each."""
    ours, other = seeds("mtil", "zscl", "transfer", [50, 60, 70.1]), seeds("mtil", "finetune", "transfer", [48, 58, 68])
    verdict = decide("zscl-2", [*ours, *other])
    assert verdict.word == "holds" and "+2.0" in verdict.reason and "3 seeds" in verdict.reason
    assert decide("zscl-2", [*ours, *seeds("mtil", "finetune", "transfer", [48, 62, 68])]).word == "does not hold"


def test_changed_options_are_another_method():
    plain, without = seeds("mtil", "zscl", "average", [60, 61]), seeds("mtil", "zscl", "average", [55, 56], ["average_every"])
    assert decide("zscl-3", [*plain, *without]).word == "holds"
    assert decide("zscl-3", plain).word == "not run"
    assert [r.document["summary"]["average"] for r in Evidence((*plain, *without)).of("mtil", "zscl")] == [60, 61]


def test_options_given_with_the_benchmarks_own_values_are_no_changes():
    usual = outline(RunConfig("mtil", "zscl")).identity()["options"]
    document = {"options": usual, "tuning": "full"}
    same = [run("mtil", "zscl", seed, {"average": 60 + seed}, ["l2"], identity=document) for seed in (0, 1)]
    other = run("mtil", "zscl", 0, {"average": 10}, ["l2"], identity={**document, "options": {**usual, "l2": 5.0}})
    evidence = Evidence((*same, other))
    assert evidence.of("mtil", "zscl") == same and evidence.of("mtil", "zscl", "l2") == [other]


def test_a_lead_is_the_one_over_the_closest_rival():
    runs = [*seeds("mtil", "zscl", "average", [60, 61]), *seeds("mtil", "lwf", "average", [50, 51])]
    assert decide("zscl-5", [*runs, *seeds("mtil", "wise-ft", "average", [59, 60.1])]).word == "holds"
    verdict = decide("zscl-5", [*runs, *seeds("mtil", "wise-ft", "average", [59, 62])])
    assert verdict.word == "does not hold" and "wise-ft, its closest rival" in verdict.reason


def test_class_incremental_runs_are_found_by_their_command():
    runs = [*seeds("cil-nature-5", "zscl", "cil_average", [80, 81]), *seeds("cil-nature-5", "lwf", "cil_average", [60, 61])]
    assert decide("zscl-6", runs).word == "holds"


def test_a_patch_has_to_gain_and_to_keep():
    good = [patched("paint", seed, {"a": (20, 40), "h": (80, 80)}) for seed in (0, 1)]
    assert decide("paint-1", good).word == "holds"
    small = [patched("paint", seed, {"a": (20, 30), "h": (80, 80)}) for seed in (0, 1)]
    lossy = [patched("paint", seed, {"a": (20, 40), "h": (80, 78)}) for seed in (0, 1)]
    assert "0 of 1 tasks gain 15" in decide("paint-1", small).reason and decide("paint-1", small).word == "does not hold"
    assert "(worst 2.0)" in decide("paint-1", lossy).reason and decide("paint-1", lossy).word == "does not hold"


def test_joint_patching_counts_its_last_row():
    runs = [
        patched("paint", s, {"a": (20, 40 + s), "b": (50, 60), "h": (80, 80)}, tasks=("a", "b"), strategy="paint-joint")
        for s in (0, 1)
    ]
    verdict = decide("paint-2", runs)
    assert verdict.word == "holds" and verdict.reason.startswith("one model patched jointly on all tasks: +15.2")


@pytest.mark.parametrize("name", ["paint-5", "paint-6", "paint-7"])
def test_a_case_study_is_judged_by_its_targets(name):
    benchmark = {"paint-5": "counting", "paint-6": "typographic", "paint-7": "vqa"}[name]
    good = [patched(benchmark, s, {"a": (10, 90), "new": (10, 50 + s), "h": (80, 80)}, targets=("new",)) for s in (0, 1, 2)]
    verdict = decide(name, good)
    assert verdict.word == "holds" and "new +41.0" in verdict.reason
    none = [patched(benchmark, s, {"a": (10, 90), "new": (10, 9 + s), "h": (80, 80)}, targets=("new",)) for s in (0, 1, 2)]
    assert decide(name, none).word == "does not hold"
    cost = [patched(benchmark, s, {"a": (10, 90), "new": (10, 50), "h": (80, 70)}, targets=("new",)) for s in (0, 1, 2)]
    assert decide(name, cost).word == "does not hold"


@pytest.fixture(scope="module")
def included():
    """Verdicts by the included study, without runs."""
    return judge.judge([], recorded=False)


def test_iimm_is_judged_by_the_included_study(included):
    rows = {row.claim: row for row in included}
    assert rows["iimm-1"].verdict == "does not hold" and "of 5 tunings" in rows["iimm-1"].reason
    assert rows["iimm-3"].verdict == "does not hold" and rows["iimm-1"].source == "study"
    assert decide("iimm-1", []).word == "not run"
    verdict = decide("iimm-1", [], pd.DataFrame({"domain": ["a"]}))
    assert verdict.word == "not run" and "zero_shot" in verdict.reason


def test_families_are_judged_by_the_plan(included):
    [row] = [row for row in included if row.claim == "iimm-4"]
    assert (row.verdict, row.model, row.source) == ("does not hold", judge.SEVERAL, "study")
    assert "gain over the zero-shot error: 0 of 20 lines supported, with full fine-tuning 0 of 4 families" in row.reason
    rng = np.random.default_rng(0)
    x = rng.normal(size=12)
    outcomes = {name: 5 * x + rng.normal(size=12) for name in ("gain", "gain_over_error", "forgetting")}
    part = pd.DataFrame({"domain": [f"d{i}" for i in range(12)], "tuning": "full", "seed": 0, "iimm": x, **outcomes})
    four = pd.concat([part.assign(model=f"tiny{name}") for name in ("", "-siglip", "-coca", "-eva02")], ignore_index=True)
    assert decide("iimm-4", [], four).word == "holds"
    reverse = four.assign(forgetting=-four.forgetting)
    assert decide("iimm-4", [], reverse).word == "does not hold"
    three = pd.concat([four[four.model != "tiny-coca"], part.assign(model="tiny-cone")])
    assert decide("iimm-4", [], three) == ("not run", "studies of 4 families are needed, and there are 3")


def test_every_claim_has_a_command_a_rule_and_a_paper():
    names = [each.name for each in judge.CLAIMS]
    assert len(set(names)) == len(names) >= 15
    assert {each.paper for each in judge.CLAIMS} >= {zscl.PAPER, paint.PAPER, iimm.PAPER}
    for each in judge.CLAIMS:
        assert each.text.endswith(".") and each.rule and each.command, each.name


def test_editions_and_models_are_judged_separately():
    mini, full = run("mtil", "zscl", 0), run("mtil", "zscl", 0, identity={"edition": "full", "model": "ViT-B-16"})
    assert groups_of([mini, full]) == {("mini", "tiny"): (mini,), ("full", "ViT-B-16"): (full,)}
    assert runs_of(("mtil", "zscl"), seeds=1)(Evidence((mini,))) is None


def test_recorded_verdicts_fill_in(monkeypatch, tmp_path, included, toy_study):
    row = judge.Row("zscl-1", zscl.PAPER, "text", "holds", "because", "mini", "tiny", "results", "bench", "rule")
    path = tmp_path / "claims.csv"
    judge.table_of([row]).to_csv(path, index=False)
    monkeypatch.setattr(judge, "RECORDED", path)
    [first, *rest] = judge.judge([], str(toy_study))
    assert (first.verdict, first.source) == ("holds", "recorded") and rest[0].verdict == "not run"
    assert included[0].verdict == "not run"


def test_the_command(tmp_path, capsys, toy_study):
    assert main(["claims", "--study", str(toy_study), "--csv", str(tmp_path / "claims.csv")]) == 0
    with (tmp_path / "claims.csv").open() as file:
        assert [row["claim"] for row in csv.DictReader(file)] == [each.name for each in judge.CLAIMS]
    assert "python cli.py bench typographic --seed 0 1 2" in capsys.readouterr().out
    assert main(["claims", "nowhere"]) == 2
    with pytest.raises(UserError, match="no results"):
        judge.judge(["nowhere"])


def test_the_text_counts_verdicts(included):
    console = Console(file=io.StringIO(), width=120)
    console.print(claims_text(included))
    assert f"{len(judge.CLAIMS)} claims: 0 holds, " in console.file.getvalue()


def test_broad_transfer_needs_a_pair_that_is_helped():
    def runs(gained, gone):
        """Task "cars" is patched, and the answers on "signs" change. The domains "signs" and "plates" share a class."""
        for seed in (0, 1):
            each = patched(
                "transfer-study", seed, dict.fromkeys(("cars", "signs", "plates"), (50, 50)), tasks=("cars", "signs", "plates")
            )
            each.document["shared_classes"] = [["signs", "plates"]]
            for search in each.document["searches"]:
                for row in search["curve"]:
                    changes = (search["task"], row["task"]) == ("cars", "signs")
                    row["lost"] = [0, gone if changes else 0, 0]
                    row["correct"][1] += gained - gone if changes else 0
            yield each

    holds = decide("paint-4", [*runs(30, 2)])
    assert holds.word == "holds" and "1 of 4 pairs are helped, most cars on signs by +28.0, 0 are hurt" in holds.reason
    assert "between domains +7.0 [" in holds.reason and "halves" not in holds.reason
    hurts = decide("paint-4", [*runs(2, 30)])
    assert hurts.word == "does not hold" and "0 of 4 pairs are helped, 1 are hurt" in hurts.reason
    assert decide("paint-4", [*runs(30, 2)][:1]).word == "not run"
    old = patched("transfer-study", 0, {"a": (1, 2)})
    assert decide("paint-4", [old, patched("transfer-study", 1, {"a": (1, 3)})]).word == "cannot be judged"


def test_larger_models_need_a_smaller_distance_in_points_and_in_shares(sizes_of):
    verdict = decide("paint-3", sizes_of.three())
    assert verdict.word == "holds"
    assert "distance 11.9, 8.9, 6.9 (-5.0 [-5.0, -5.0]) points, relative 40.6, " in verdict.reason
    assert "models of 1.0 M, 4.0 M, 16.0 M parameters" in verdict.reason and "2 seeds" in verdict.reason
    assert "CKA 0.800, 0.850, 0.900 (+0.100 [+0.100, +0.100]), cosine of weights 0.9700, " in verdict.reason
    # The large model loses as much on the supported task as it is nearer on the tasks.
    assert decide("paint-3", sizes_of.three(large=(28, 38, 68))).word == "does not hold"


def test_a_larger_model_with_less_at_stake_is_not_patched_better(sizes_of):
    """Fine-tuning gains 1 point instead of 20: near in points, far in shares."""
    runs = [r for r in sizes_of.three() if r.identity["model"] != "models/large"]
    runs += [sizes_of.run("models/large", 16_000_000, s, (39, 39, 40), (49, 49, 50), (80, 78, 60)) for s in (0, 1)]
    verdict = decide("paint-3", runs)
    assert verdict.word == "does not hold" and "1.5 (-10.4 [" in verdict.reason and "51.2 (+10.6 [" in verdict.reason


def test_seeds_that_disagree_show_no_effect_of_size(sizes_of):
    runs = [r for r in sizes_of.three() if r.identity["model"] != "models/large"]
    runs += [
        sizes_of.run("models/large", 16_000_000, s, (20, 28, 40), (30, b, 50), (80, 78, 60)) for s, b in ((0, 48), (1, 10))
    ]
    assert decide("paint-3", runs).word == "does not hold"


def test_sizes_that_are_missing_or_twice(sizes_of):
    runs = sizes_of.three()
    few = decide("paint-3", runs[:-1])
    assert few.word == "not run" and "(2 with 2 seeds)" in few.reason and decide("paint-3", []).word == "not run"
    apart = [
        *runs[:-2],
        *(sizes_of.run("models/large", 16_000_000, s, (20, 28, 40), (30, 34, 50), (80, 78, 60)) for s in (7, 8)),
    ]
    assert "small and large share" in decide("paint-3", apart).reason
    twice = [sizes_of.run("models/second", 1_000_000, s, (20, 28, 40), (30, 34, 50), (80, 78, 60)) for s in (0, 1)]
    verdict = decide("paint-3", [*runs, *twice])
    assert verdict.word == "cannot be judged" and "second (1.0 M)" in verdict.reason
    # Fine-tuning gains nothing.
    none = [sizes_of.run(f"models/{n}", n, s, (20, 20, 20), (30, 30, 30), (80, 78, 60)) for n in (1, 2, 3) for s in (0, 1)]
    assert decide("paint-3", none).word == "cannot be judged"


def test_sizes_are_judged_over_models_and_other_claims_by_the_shipped_one(sizes_of, monkeypatch):
    shipped = [patched("paint", seed, {"a": (20, 40), "h": (80, 80)}) for seed in (0, 1)]
    monkeypatch.setattr(judge, "read", lambda roots: [*sizes_of.three(), *shipped])
    rows = {row.claim: row for row in judge.judge([], recorded=False)}
    assert (rows["paint-3"].verdict, rows["paint-3"].model, rows["paint-3"].edition) == ("holds", "several models", "mini")
    assert (rows["paint-1"].verdict, rows["paint-1"].model) == ("holds", "tiny")
