"""SIGTERM at random moments: `python tests/robust/terminations.py --signals 30`.

Each run is a whole `bench` command in a fork of this process, which has imported everything, so that Python's garbage
collector runs the callbacks of libraries. A signal arrives at a random moment of the run. Afterwards the status must be 143,
with one line on standard error, and the run must have ended within `--within` seconds of the signal. `--collect N` makes the
collector run every N allocations, so that more signals meet a callback. With `--real` each run is a separate process that
does its imports. The exit status is 1 if a run continues, prints more than one line on standard error, or leaves a temporary
file.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))


def command(out: Path, strategy: str) -> list[str]:
    return (
        f"bench stream --tasks digits,letters --strategy {strategy} --limit 30 --measure-n 10 --device cpu --quiet --out {out} "
        "--set iterations=6 batch_size=8 warmup=0"
    ).split()


def forked(words: list[str], said: Path) -> int:
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        import torch

        import cli

        torch.set_num_threads(1)
        sys.stderr = said.open("w")
        status = cli.main(words)
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def real(words: list[str], said: Path) -> int:
    with said.open("w") as file:
        return subprocess.Popen([sys.executable, str(ROOT / "cli.py"), *words], stderr=file, stdout=file).pid


def one(start, words: list[str], said: Path, after: float | None) -> tuple[int, float, bool]:
    """Start a run and signal it after some seconds. Return its status, the seconds until its end, and whether it was alive."""
    began = time.monotonic()
    child = start(words, said)
    sent: float | None = None
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        now = time.monotonic()
        if found:
            return os.waitstatus_to_exitcode(status), now - (sent or began), sent is not None
        if after is not None and sent is None and now - began >= after:
            os.kill(child, signal.SIGTERM)
            sent = now
        time.sleep(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--signals", type=int, default=30)
    parser.add_argument("--strategies", nargs="+", default=["zscl", "paint-sequential"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", type=float, default=10.0)
    parser.add_argument("--collect", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    a = parser.parse_args()
    start = real if a.real else forked
    if not a.real:
        import harness.run.loop  # noqa: F401  in the parent, so that the forks have it
    if a.collect:
        gc.set_threshold(a.collect, 2, 2)
    generator, wrong, slowest, reached = random.Random(a.seed), [], 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        out, said = Path(folder), Path(folder) / "said.txt"
        lasts = {}
        for strategy in a.strategies:
            status, lasts[strategy], _ = one(start, command(out / strategy, strategy), said, None)
            assert status == 0, said.read_text()
        for i in range(a.signals):
            strategy = a.strategies[i % len(a.strategies)]
            after = generator.uniform(0, lasts[strategy])
            status, took, signalled = one(start, command(out / str(i), strategy), said, after)
            lines = said.read_text().splitlines()
            if not signalled:
                continue
            reached += 1
            slowest = max(slowest, took)
            litter = [path for path in (out / str(i)).rglob(".*") if path.name != ".lock"]
            early = a.real and status == -signal.SIGTERM and not lines
            if not early and (status != 143 or len(lines) != 1 or "terminated" not in lines[0] or took > a.within or litter):
                wrong.append(f"signal {i + 1} after {after:.2f} s: status {status} {took:.1f} s later, {lines[-3:]}, {litter}")
    for sentence in wrong:
        print(sentence)
    spans = ", ".join(f"{strategy} {seconds:.1f} s" for strategy, seconds in lasts.items())
    print(f"{reached} signals in runs of {spans}: {len(wrong)} wrong; the slowest end {slowest:.1f} s after its signal")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
