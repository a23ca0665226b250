"""The record of a GPU: its shape at every moment, its page, its packages, and the comparison of losses. No GPU is needed."""

import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

GPU = Path(__file__).parent
FACTS = {"device": "a card", "driver": "1.2", "cores": 2, "versions": {"torch": "9.9"}}


@pytest.fixture
def modules(monkeypatch):
    """The modules of the record, imported from their folder."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(GPU))
    import bare
    import parity
    import record
    import record_table
    import results
    import tiny_runs

    yield {m.__name__: m for m in (bare, parity, record, record_table, results, tiny_runs)}
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == GPU:
            del sys.modules[name]


@pytest.fixture
def record(modules):
    return modules["record"]


def section(record, tmp_path, script, limit_s=20):
    path = tmp_path / f"section-{len(script)}.py"
    path.write_text(f"import json, sys, time\nfrom pathlib import Path\nout = Path(sys.argv[-1])\n{script}\n")
    return record.Section("about", str(path), ("--limit", "{limit}"), (), limit_s)


def ran(record, tmp_path, monkeypatch, script, limit_s=20):
    """Return the document after a section with this script, read from its file."""
    monkeypatch.setattr(
        record, "SECTIONS", {"one": section(record, tmp_path, script, limit_s), "two": section(record, tmp_path, "")}
    )
    made = record.Record(tmp_path / "out", ["one", "two"], FACTS, 480, False)
    record.run_section("one", record.SECTIONS["one"], made, tmp_path, False)
    document = json.loads((tmp_path / "out" / "record.json").read_text())
    assert document["status"] == "running" and document["ok"] is None and document["sections"]["two"]["status"] == "waiting"
    return document


@pytest.mark.parametrize(
    ("script", "status", "checks", "missing"),
    [
        ("out.write_text(json.dumps({'checks': [{'check': 'a', 'ok': True}]}))", "done", [1, 1], ["two"]),
        ("out.write_text(json.dumps({'checks': [{'ok': True}, {'ok': False}]})); sys.exit(1)", "failed", [1, 2], ["two"]),
        ("raise ValueError('made-up failure')", "error", [0, 0], ["one", "two"]),
    ],
)
def test_a_section_ends(record, tmp_path, monkeypatch, script, status, checks, missing):
    document = ran(record, tmp_path, monkeypatch, script)
    one = document["sections"]["one"]
    assert (one["status"], one["checks"], document["missing"]) == (status, checks, missing)
    assert ("made-up failure" in one["tail"]) == (status == "error")
    assert not (tmp_path / "out" / "record.json.part").exists()


def test_what_a_section_wrote_before_its_limit_is_kept(record, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "POLL_S", 0.05)
    began = time.monotonic()
    script = "out.write_text(json.dumps({'figures': [{'figure': 'a', 'value': 1.5}]})); time.sleep(60)"
    document = ran(record, tmp_path, monkeypatch, script, limit_s=6)
    assert time.monotonic() - began < 30
    one = document["sections"]["one"]
    assert (
        one["status"] == "out of time" and one["tables"]["figures"][0]["value"] == 1.5 and document["missing"] == ["one", "two"]
    )


def test_the_whole_record_says_whether_all_is_well(record, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "SECTIONS", {name: section(record, tmp_path, "") for name in ("one", "two")})
    made = record.Record(tmp_path, ["one"], FACTS, 240, True)
    assert made.document["sections"]["two"]["status"] == "left out"
    # Limits are in proportion to the whole.
    assert made.document["sections"]["one"]["limit_s"] == 10
    made.update("one", status="done", tables={"checks": [{"check": "a", "ok": True}]})
    assert made.finish() and made.document["missing"] == []
    made.update("one", status="failed", tables={"checks": [{"check": "a", "ok": False}]})
    assert not made.finish()


def test_sections_fit_the_eight_minutes(record):
    assert sum(section.limit_s for section in record.SECTIONS.values()) < record.LIMIT_S == 480
    assert all((record.ROOT / section.script).is_file() for section in record.SECTIONS.values())


def test_the_page_shows_every_table(record, modules, tmp_path, monkeypatch):
    monkeypatch.setattr(record, "SECTIONS", {name: section(record, tmp_path, "") for name in ("one", "two")})
    made = record.Record(tmp_path, ["one", "two"], FACTS, 480, True)
    rows = [{"check": "a|b", "ok": True, "value": 1 / 3}, {"check": "c", "ok": False, "error": "two\nlines"}]
    made.update("one", status="failed", tables={"checks": rows, "rows": [{"x": 12345.6}], "device": "text"})
    page = (tmp_path / "record.md").read_text()
    assert "# Record of a card" in page and "only that the script runs" in page and "Missing: two." in page
    table = page[page.index("| check |") :].split("\n\n")[0].splitlines()
    assert table[:2] == ["| check | ok | value | error |", "| --- | ---: | ---: | --- |"]
    assert table[2:] == ["| a\\|b | yes | 0.3333 |  |", "| c | **no** |  | two lines |"]
    assert "| 12,346 |" in page and "| one | **a check failed** | 1 of 2 |" in page and "| two | not started | - |" in page


def test_results_are_whole_json(modules, tmp_path):
    results = modules["results"].Results(tmp_path / "a" / "r.json")
    results.check("first", True, seconds=1)
    results.figure("rate", float("nan"), "1/s", "measured")
    assert not results.check("second", False)
    assert results.failed == 1
    written = json.loads((tmp_path / "a" / "r.json").read_text())
    assert [row["ok"] for row in written["checks"]] == [True, False] and written["figures"][0]["value"] is None


def test_missing_packages_are_unpacked(modules, tmp_path):
    for name in ("nowhere_installed-1.0-py3-none-any.whl", "pytest-0.1-py3-none-any.whl"):
        with zipfile.ZipFile(tmp_path / name, "w") as wheel:
            wheel.writestr(f"{name.split('-')[0]}/__init__.py", "")
    provided = modules["bare"].provide(sorted(tmp_path.glob("*.whl")), tmp_path / "site", ("json", "not_there"))
    assert provided == ["nowhere_installed", "not_there (empty)"]
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["not_there", "nowhere_installed"]


def test_a_record_names_no_folder_of_the_machine(modules, tmp_path, monkeypatch):
    (tmp_path / "site" / "avalanche").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    text = f'File "{GPU.parents[1]}/cli.py" {tmp_path}/run/data {tmp_path}/site/avalanche {sys.prefix}/lib'
    expected = 'File "PROJECT/cli.py" WORK/data SITE/avalanche PYTHON/lib'
    assert modules["record"].without_folders(text, tmp_path / "run") == expected


def test_the_script_is_shell(tmp_path):
    script = GPU / "run.sh"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_losses_are_compared(modules):
    parity, runs = modules["parity"], modules["tiny_runs"]

    def trained(loss, accuracy):
        return runs.Trained({1: [2.0, loss], 2: [9.0]}, {"1 digits": accuracy}, 1.0)

    expected = trained(1.0, 50.0)
    assert parity.compared("lora", "fp32", expected, trained(1.00005, 90.0))["ok"]
    row = parity.compared("lora", "fp32", expected, trained(1.001, 50.0))
    assert not row["ok"] and row["loss_difference"] == pytest.approx(1e-3) and row["updates"] == 2
    assert parity.compared("lora", "bf16", expected, trained(1.001, 50.0))["ok"]
    assert not parity.compared("zscl", "fp32", expected, trained(1.0, 55.0))["ok"]
    assert parity.compared("zscl", "fp32", expected, "OSError: gone") == {
        "strategy": "zscl", "precision": "fp32", "ok": False, "error": "OSError: gone"
    }  # fmt: skip
    fewer = runs.Trained({1: [2.0]}, {}, 1.0)
    assert "1 updates, expected 2" in parity.compared("lora", "fp32", expected, fewer)["error"]


def test_every_run_is_compared_once(modules, capsys):
    parity, runs = modules["parity"], modules["tiny_runs"]
    results = modules["results"].Results(None)

    def solve(jobs, workers, until):
        """Do the jobs in reverse, and the last one not at all."""
        for job in reversed(jobs[1:]):
            yield job, {"ok": True} if job.check else runs.Trained({1: [1.0]}, {"1 digits": 50.0}, 1.0)

    assert parity.run(["lora", "finetune"], "cuda", 2, 0.0, results, solve) == 1
    compared = [(row["strategy"], row["precision"]) for row in results.tables["parity"]]
    # The processor's run of the strategy that starts first is the one left out.
    assert sorted(compared) == [("finetune", "bf16"), ("finetune", "fp32"), ("finetune", "fp32, graphs")]
    assert results.tables["checks"][-1]["missing"] == "lora cpu-fp32"


def test_a_bf16_run_beyond_its_limit_is_compared_with_the_processors(modules, capsys):
    parity, runs = modules["parity"], modules["tiny_runs"]
    losses = {("cpu", "fp32"): 1.0, ("cuda", "fp32"): 1.0, ("cuda", "bf16"): 1.05, ("cpu", "bf16"): 1.03}

    def solve(jobs, workers, until):
        # Also the jobs that are appended meanwhile.
        for job in jobs:
            yield job, {"ok": True} if job.check else runs.Trained({1: [losses[job.kind[:2]]]}, {"1 digits": 50.0}, 1.0)

    for processors, ok in ((1.02, True), (1.016, False)):
        losses["cpu", "bf16"] = processors
        results = modules["results"].Results(None)
        assert parity.run(["lora"], "cuda", 2, 0.0, results, solve) == (not ok)
        [*_, row] = results.tables["parity"]
        assert row["precision"] == "bf16" and row["ok"] is ok
        assert row["limit"] == pytest.approx(3 * (processors - 1)) and row["loss_difference"] == pytest.approx(0.05)
    losses["cuda", "bf16"] = 1.01
    results = modules["results"].Results(None)
    assert parity.run(["lora"], "cuda", 2, 0.0, results, solve) == 0
    assert len(results.tables["parity"]) == 3 and results.tables["checks"][-1]["of"] == 4 + 5


def test_random_numbers_come_from_the_processor(monkeypatch):
    import torch
    from torch import nn

    monkeypatch.syspath_prepend(str(GPU))
    from same_draws import SameDraws

    torch.manual_seed(0)
    noise, kept = torch.randn(2, 3), torch.rand(2, 3) >= 0.25
    torch.manual_seed(0)
    with SameDraws():
        assert torch.equal(torch.randn_like(torch.ones(2, 3, dtype=torch.bfloat16)), noise.bfloat16())
        dropped = nn.functional.dropout(torch.ones(2, 3), 0.25)
        assert torch.equal(nn.functional.dropout(dropped, 0.25, training=False), dropped)
    assert torch.equal(dropped, kept / 0.75)
