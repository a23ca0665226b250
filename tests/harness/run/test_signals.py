"""No signal is lost: an exception that a callback of the garbage collector or an `except:` drops is raised again."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest

import cli
from harness.run import signals
from harness.run.signals import Stopped, check, handled, importing, stop

ROOT = Path(__file__).parents[3]


class Thing:
    """An object that can be referred to weakly."""


def send():
    os.kill(os.getpid(), signal.SIGTERM)
    # The handler runs here, as in any Python code.
    return sum(range(100))


def swallowed():
    with contextlib.suppress(BaseException):
        send()


def in_a_callback_of_the_collector():
    def callback(phase, info):
        gc.callbacks.remove(callback)
        send()

    gc.callbacks.append(callback)
    gc.collect()


def in_a_callback_of_a_weak_reference():
    thing = Thing()
    reference = weakref.ref(thing, lambda _: send())
    del thing
    return reference


def in_a_destructor():
    class Last:
        def __del__(self):
            send()

    Last()


LOST = [in_a_callback_of_the_collector, in_a_callback_of_a_weak_reference, in_a_destructor]


@pytest.mark.slow
@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_forgotten_exception_is_raised_again(lost, number, capfd):
    """Code without a safe point is stopped soon and prints nothing."""

    def work():
        lost()
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.001)

    with pytest.raises(Stopped) as caught, handled(stop):
        work()
    assert caught.value.status == 143 and caught.value.word == "terminated"
    assert capfd.readouterr() == ("", "")


def test_twice_forgotten():
    again = []

    def callback(phase, info):
        # Too soon: the repeated exception is raised in here too.
        again.append(phase)
        if len(again) == 1:
            send()
        elif len(again) == 2:
            time.sleep(5 * signals.AGAIN)

    def collect():
        while len(again) < 10_000:
            gc.collect(0)
            sum(range(10_000))

    gc.callbacks.append(callback)
    try:
        with pytest.raises(Stopped), handled(stop):
            collect()
    finally:
        gc.callbacks.remove(callback)


def test_a_dropped_exception_is_raised_at_the_next_safe_point():
    reached = []

    def work():
        swallowed()
        reached.append("on")
        check()
        reached.append("past the safe point")

    with pytest.raises(Stopped), handled(stop):
        work()
    assert reached == ["on"]
    check()


def test_a_dropped_exception_is_raised_at_the_end():
    def half():
        swallowed()
        raise ImportError("half of a library")

    with pytest.raises(Stopped), handled(stop):
        swallowed()
    with pytest.raises(Stopped), handled(stop):
        half()
    with handled(stop):
        check()


def test_an_exception_caught_on_purpose_is_answered():
    with handled(stop):
        with pytest.raises(Stopped):
            send()
        signals.answered()
        check()


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in signals.SIGNALS], sys.unraisablehook
    with handled(stop), importing(), handled(stop):
        pass
    assert before == ([signal.getsignal(number) for number in signals.SIGNALS], sys.unraisablehook)


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_during_imports_ends_the_process(number, status, word, tmp_path):
    (tmp_path / "heavy.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {number})\n    sum(range(1000))\nexcept:\n    pass\nprint('went on')\n"
    )
    head = "from harness.run.signals import importing, handled, stop"
    code = f"{head}\nwith handled(stop), importing():\n    import heavy\nprint('on')"
    paths = os.pathsep.join((str(ROOT), str(tmp_path)))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths})
    assert (done.returncode, done.stdout, done.stderr) == (status, "", f"perennial: {word}.\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_any_command(number, monkeypatch, capsys):
    monkeypatch.setattr("harness.commands.list.run", lambda arguments: os.kill(os.getpid(), number) or time.sleep(5))
    word = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}[number]
    assert cli.main(["list"]) == 128 + number
    assert capsys.readouterr().err == f"perennial: {word}.\n"


@pytest.mark.slow
def test_a_signal_that_is_always_forgotten_ends_the_process():
    code = (
        "import gc, os, signal\nfrom harness.run import signals\nsignals.GIVE_UP = 0.3\n"
        "def callback(phase, info):\n    if phase == 'start':\n        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    for _ in range(3000): pass\n"
        "def work():\n    gc.callbacks.append(callback)\n    while True: gc.collect()\n"
        "signals.SAME = 0.0\nwith signals.handled(signals.stop): work()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.returncode, done.stderr) == (143, "perennial: terminated.\n")
