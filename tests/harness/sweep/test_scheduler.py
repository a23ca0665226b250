"""The scheduler of a sweep on this machine, with a script instead of `bench`."""

import io
import os
import runpy
import shlex
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from harness.display.screen import Screen
from harness.run.locks import at_work, locked
from harness.sweep import scheduler as loop
from harness.sweep.grid import command_of
from harness.sweep.local_backend import Local, thread_limit
from harness.sweep.run_status import Status, status_of
from harness.sweep.scheduler import Ending, Interrupted, run_missing
from harness.sweep.sweep_screen import SweepScreen, final_status, how_to_continue
from models.registry import UserError

FAKES = runpy.run_path(str(Path(__file__).parents[2] / "fakes" / "sweeps.py"))
FAKE, QUICK, command, attempts = FAKES["FAKE"], 0.02, FAKES["command"], FAKES["attempts"]


@pytest.fixture
def make(tmp_path):
    return partial(FAKES["make"], tmp_path, seconds=QUICK)


@pytest.fixture
def sweep():
    """Run a grid, and return the states of the outcomes and the printed text."""

    def work(runs, jobs=1, devices=(), live=False, **more):
        text = io.StringIO()
        screen = SweepScreen(Screen(console=Console(file=text, width=150, force_terminal=live or None)), live=live)
        outcomes = run_missing(runs, Local(jobs, devices, command), screen, pause=0.02, **more)
        screen.summary(outcomes, "results", more.get("fresh", False))
        return [outcome.state for outcome in outcomes], text.getvalue()

    return work


def test_everything_missing_is_run_once(make, sweep):
    runs = make("good", "good")
    states, shown = sweep(runs)
    assert states == ["finished", "finished"]
    assert [[e["how"] for e in attempts(run)] for run in runs] == [["began", "finished"]] * 2
    assert "finished good, order I, seed 1 in" in shown and "Transfer 60.0, Average 60.0, Last 60.0" in shown
    assert runs[0].log.read_text().startswith("$ ") and str(FAKE) in runs[0].log.read_text()
    states, shown = sweep(runs)
    assert states == ["finished", "finished"] and "2 finished already, 0 to do" in shown
    assert len(attempts(runs[0])) == 2, "not started again"


class Some:
    """A source of runs that stops the second one when its first step is saved."""

    def __init__(self, runs):
        self.left, self.most = list(runs), 0

    def next_run(self):
        return self.left.pop(0) if self.left else None

    def look(self, outcomes):
        self.most = max(self.most, sum(outcome.state == "running" for outcome in outcomes))
        for outcome in outcomes[1:2]:
            outcome.stop = outcome.stop or len(attempts(outcome.run)) > 0


def test_a_source_adds_runs_and_stops_one(make, sweep, tmp_path):
    first, second, third = make("good", "good", "good")
    slow = second._replace(arguments=("4", "60", "good"))
    source = Some([first, slow, third])
    states, _ = sweep([], source=source)
    assert states == ["finished", "stopped", "finished"] and source.most == 1
    assert [e["how"] for e in attempts(slow)] == ["began", "interrupted"], "asked to save, and not started again"
    states, _ = sweep([], source=Some([first]))
    assert states == ["finished"] and len(attempts(first)) == 2, "a finished run is not started"


@pytest.mark.slow
def test_a_failure_is_reported_and_stops_nothing_else(make, sweep):
    good, bad, mistake, last = runs = make("good", "bad", "mistake", "good")
    states, shown = sweep(runs, retries=1)
    assert states == ["finished", "failed", "failed", "finished"]
    assert "failed bad, order I, seed 1: RuntimeError: it broke" in shown
    assert "failed mistake, order I, seed 2: Unknown option 'x'." in shown
    assert shown.count(f"log: {bad.log}") == shown.count(f"log: {mistake.log}") == 1
    assert "4 runs: 2 finished, 2 failed (2 of them now)" in shown
    assert [e["how"] for e in attempts(bad)] == ["began", "failed"] * 2, "tried again once"
    assert [e["how"] for e in attempts(mistake)] == ["mistake"], "a mistake is not tried again"
    assert status_of(last).state == status_of(good).state == "finished"


@pytest.mark.parametrize("retries", [0, 1])
def test_a_killed_process_is_started_again_and_continues(make, sweep, retries):
    (run,) = make("dies")
    states, shown = sweep([run], retries=retries)
    assert "killed by SIGKILL" in shown
    if retries:
        assert states == ["finished"] and [e["first"] for e in attempts(run)] == [0, 2, 2], "continued from the second step"
    else:
        assert states == ["failed"] and status_of(run).state == "interrupted"


@pytest.mark.slow
def test_fresh_starts_over_once(make, sweep):
    runs = make("good", "dies")
    sweep(runs)
    states, _ = sweep(runs, fresh=True)
    assert states == ["finished", "finished"]
    for run in runs:
        starts = [(e["first"], e["arguments"]) for e in attempts(run) if e["how"] == "began"]
        # The run killed in the middle continues from there, though its first attempt started over.
        assert starts[-1 if run.strategy == "good" else -2] == (0, ["--fresh"])
        if run.strategy == "dies":
            assert starts[-1] == (2, [])


def test_old_results_never_pass_for_new_ones(make, sweep):
    """An attempt that ends before it has started over is followed by one that starts over."""
    (run,) = make("trips")
    sweep([run])
    states, shown = sweep([run], fresh=True)
    assert states == ["finished"] and "killed by SIGKILL" in shown
    assert [e["first"] for e in attempts(run) if e["how"] == "began"] == [0, 0]


@pytest.mark.slow
def test_an_interrupted_fresh_sweep_says_what_was_not_started_over(make, sweep):
    begun, old, half = runs = make("good", "good", "good", seconds=0.2)
    sweep(runs[:2])
    interrupt_when(lambda: (half.folder / "saved").exists())
    with pytest.raises(Interrupted):
        sweep([half])
    interrupt_when(lambda: status_of(begun).done == 1)
    with pytest.raises(Interrupted) as stop:
        sweep(runs, fresh=True)
    outcomes = stop.value.outcomes
    found = [(status.state, status.done, status.note) for status in map(final_status, outcomes)]
    assert found[0][0] == "interrupted" and found[1:] == [
        ("not started over", 4, "finished before"),
        ("not started over", status_of(half).done, "interrupted before"),
    ]
    assert how_to_continue(outcomes, True).startswith("2 of 3 runs were not started over. ")
    assert how_to_continue(outcomes[:2], True).startswith("1 of 2 runs was not started over. ")
    assert how_to_continue(outcomes[:1], True) == "the same command without --fresh continues"
    assert how_to_continue(outcomes, False) == "the same command continues"
    # As the message says, the started run continues and the others are unchanged.
    assert sweep(runs)[0] == ["finished"] * 3
    assert attempts(begun)[-1]["first"] > 0 and attempts(half)[-1]["first"] > 0 and len(attempts(old)) == 2
    assert sweep(runs, fresh=True)[0] == ["finished"] * 3
    assert [attempts(run)[-1]["first"] for run in runs] == [0, 0, 0]


def test_two_at_a_time_overlap_and_share_the_processors(make, sweep, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runs = make("good", "good", "good", seconds=0.1)
    sweep(runs, jobs=2)
    spans = [next(e for e in attempts(run) if e["how"] == "finished") for run in runs]
    together = [sum(a["began"] < b["ended"] and b["began"] < a["ended"] for b in spans) for a in spans]
    assert max(together) >= 2
    moments = sorted(e["began"] for e in spans)
    assert all(sum(e["began"] <= m < e["ended"] for e in spans) <= 2 for m in moments), "at most two at a time"
    assert {e["threads"] for e in spans} == {thread_limit(2)["OMP_NUM_THREADS"]}
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_limit(2) == {} and thread_limit(1) == {}


@pytest.mark.slow
def test_runs_are_distributed_over_devices(make, sweep):
    runs = make("good", "good", "good", "good", seconds=0.1)
    sweep(runs, jobs=None, devices=("cuda:0", "cuda:1"))
    dealt = [attempts(run)[0]["arguments"] for run in runs]
    assert sorted(dealt) == [["--device", "cuda:0"]] * 2 + [["--device", "cuda:1"]] * 2
    assert dealt[0] != dealt[1]


def test_a_run_of_another_process_is_skipped(make, sweep):
    mine, theirs = make("good", "good")
    with locked(theirs.folder):
        states, shown = sweep([mine, theirs])
    assert states == ["finished", "elsewhere"] and "another process is at work on it" in shown
    assert attempts(theirs) == []


@pytest.mark.parametrize("seconds", [0.0, 0.4])
def test_two_sweeps_over_one_grid(make, seconds):
    """Another sweep starts the run between the look of this sweep and the lock of its process."""
    (run,) = make("good", seconds=seconds)
    other = []

    def both(run, fresh, device):
        words = command(run, fresh, None)
        other.append(subprocess.Popen(words, stdout=subprocess.DEVNULL))
        wait_for(lambda: (run.folder / "attempts.jsonl").exists())
        if not seconds:
            other[0].wait()
            return [sys.executable, "-S", "-c", "import sys; print('perennial: Another process is at work.'); sys.exit(2)"]
        return words

    (outcome,) = run_missing([run], Local(1, (), both), SweepScreen(Screen(quiet=True)), pause=0.02)
    expected = ("elsewhere", "another process is at work on it") if seconds else ("finished", status_of(run).note)
    assert (outcome.state, outcome.note) == expected and not outcome.here
    assert other[0].wait() == 0 and [e["how"] for e in attempts(run)] == ["began", "finished"]


def test_a_second_attempt_waits_for_the_first_process(make, sweep, monkeypatch):
    """A process may outlive its lost worker for a moment. The run then waits for the lock."""
    (run,) = make("dies")
    holder, again = [], SweepScreen.retrying

    def hold(self, outcome):
        lock = locked(outcome.run.folder)
        lock.__enter__()
        holder.append(lock)
        threading.Timer(0.5, lambda: lock.__exit__(None, None, None)).start()
        again(self, outcome)

    monkeypatch.setattr(SweepScreen, "retrying", hold)
    assert sweep([run])[0] == ["finished"] and len(holder) == 1


@pytest.mark.slow
def test_what_to_do_about_what_failed(make, sweep):
    damaged, bad = make("mistake", "bad")
    again = "continues the failed runs from their last checkpoint"
    damaged.folder.mkdir()
    (damaged.folder / "run.json").write_text("{")
    states, shown = sweep([damaged])
    words = shlex.join(command_of(damaged, fresh=True))
    assert states == ["failed"] and f"to start mistake, order I, seed 0 over:\n{words}\n" in shown and again not in shown
    assert words.endswith(" --fresh")
    assert f"\nthe same command {again}" in sweep([damaged, bad])[1]
    assert f"\nthe same command without --fresh {again}" in sweep([bad], fresh=True)[1]
    (old,) = make("good")
    sweep([old])
    old.log.unlink()
    old.log.mkdir()
    shown = sweep([old], fresh=True)[1]
    assert "\n1 run failed before starting over: --fresh tries again, without it the old results stay" in shown
    assert again not in shown


def test_a_run_that_cannot_be_started_stops_nothing_else(make, sweep):
    blocked, _ = runs = make("good", "good")
    blocked.log.mkdir(parents=True)
    states, shown = sweep(runs, retries=1)
    assert states == ["failed", "finished"] and attempts(blocked) == []
    assert shown.count("it cannot be started (the log is not a file: ") == 3, "tried again, failed, and in the table"


def test_nothing_starts_if_no_log_can_be_written(make, sweep, tmp_path):
    (tmp_path / "logs").write_text("a file")
    (run,) = make("good")
    with pytest.raises(UserError, match=r"Cannot write to .*logs: .*logs is a file, not a folder; --out"):
        sweep([run])
    assert attempts(run) == []


def test_a_mistake_of_the_sweep_itself_lets_every_process_save(make, sweep, monkeypatch):
    (run,) = make("good", seconds=0.3)

    def broken(self, outcomes):
        if (run.folder / "saved").exists():
            raise RuntimeError("of the screen")

    monkeypatch.setattr(SweepScreen, "update", broken)
    with pytest.raises(RuntimeError, match="of the screen"):
        sweep([run])
    assert [e["how"] for e in attempts(run)] == ["began", "interrupted"] and not at_work(run.folder)


def test_a_run_without_a_record_is_not_a_success(make, monkeypatch):
    monkeypatch.setattr(loop, "APPEARS", 0.1)
    (run,) = make("good")
    backend = Local(1, (), lambda run, fresh, device: [sys.executable, "-S", "-c", "pass"])
    screen = SweepScreen(Screen(quiet=True))
    (outcome,) = run_missing([run], backend, screen, pause=0.02)
    assert outcome.state == "failed" and "no finished record" in outcome.note and outcome.attempts == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_lets_every_process_save(make, sweep, number):
    runs = make("good", "good", "good", seconds=0.3)
    threading.Timer(0.8, lambda: os.kill(os.getpid(), number)).start()
    with pytest.raises(Interrupted) as stop:
        sweep(runs, jobs=2)
    assert [outcome.state for outcome in stop.value.outcomes] == ["interrupted", "interrupted", "waiting"]
    assert stop.value.left == []
    for run in runs[:2]:
        assert status_of(run).state == "interrupted" and [e["how"] for e in attempts(run)] == ["began", "interrupted"]
        assert not at_work(run.folder), "no process is left"
    assert sweep(runs, jobs=3)[0] == ["finished"] * 3
    assert attempts(runs[0])[-1]["first"] > 0, "it continued"


def test_children_end_with_a_sweep_that_is_killed(make, tmp_path):
    (run,) = make("good", seconds=0.5)
    code = (
        "import sys; from harness.sweep import child_process as child; from pathlib import Path\n"
        "child.run(sys.argv[2:], sys.argv[1], str(Path.cwd()), {})"
    )
    words = [sys.executable, "-c", code, str(run.log), *command(run, False, None)]
    parent = subprocess.Popen(words, cwd=FAKE.parents[2])
    wait_for(lambda: (run.folder / "saved").exists())
    parent.kill()
    parent.wait()
    wait_for(lambda: not at_work(run.folder))
    assert [e["how"] for e in attempts(run)] == ["began", "interrupted"] and status_of(run).state == "interrupted"


def test_a_live_table(make, sweep):
    states, shown = sweep(make("good", "bad", seconds=0.6), live=True, retries=0)
    assert states == ["finished", "failed"]
    assert "1 of 4" in shown and "1 running, 1 waiting" in shown and "RuntimeError: it broke" in shown


def test_reasons(make):
    (run,) = make("good")
    nothing = Status("missing")
    assert loop.failure_reason(run, Ending(-9), nothing) == "killed by SIGKILL"
    assert loop.failure_reason(run, Ending(-99), nothing) == "killed by signal 99"
    assert loop.failure_reason(run, Ending(1), Status("failed", note="E: x")) == "E: x"
    assert loop.failure_reason(run, Ending(1), nothing) == "exit status 1"
    assert loop.failure_reason(run, Ending(None, "its worker was lost"), nothing) == "its worker was lost"


def interrupt_when(condition):
    def watch():
        wait_for(condition)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=watch).start()


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)
