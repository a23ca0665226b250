"""SIGKILL at random moments: `python tests/robust/kills.py --kills 30`.

For each method, a stream is run once without kills. It is then run repeatedly in a process that is killed after a random time,
until all kills are used and one attempt ends. Afterwards accuracy.csv, train.csv, measures.csv and the summary must be
byte-identical to those of the undisturbed run. After every kill each file of the record must be readable. Tasks are saved
while they are trained, here every few hundredths of a second.

Attempts are forks of this process, which has imported everything and computed nothing. The exit status is 1 if anything
differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

TABLES = ("accuracy.csv", "train.csv", "measures.csv")


def attempt(config: Any, seconds: float | None) -> bool:
    """Run in a fork that is killed after some seconds, and return whether the run ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            import torch

            from harness.display.screen import Screen
            from harness.run.loop import run

            torch.set_num_threads(1)
            run(config, Screen(quiet=True))
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            if os.WIFSIGNALED(status):
                return False
            if os.WEXITSTATUS(status):
                raise SystemExit(f"an attempt failed by itself, status {os.WEXITSTATUS(status)}")
            return True
        if end is not None and time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.002)


def whole(folder: Path) -> list[str]:
    """Return the files of a record that cannot be read, with the errors."""
    from harness.records.files import read_csv, read_json
    from harness.run import checkpoint

    wrong = []
    for path in [*folder.glob("*.json"), *folder.glob("*.csv")]:
        if path.name.startswith("."):
            continue
        try:
            (read_json if path.suffix == ".json" else read_csv)(path)
        except Exception as error:
            wrong.append(f"{path.name}: {error}")
    for place in (folder / "checkpoint", folder / "checkpoint" / "within"):
        try:
            found = checkpoint.last_undamaged(place) if place.is_dir() else None
            if found is not None and found.warning:
                wrong.append(f"{place.name}: {found.warning}")
        except Exception as error:
            wrong.append(f"{place.name}: {error}")
    return wrong


def result(folder: Path) -> tuple[Any, ...]:
    document = json.loads((folder / "run.json").read_text())
    return (*((folder / name).read_bytes() for name in TABLES), document["status"], document["summary"])


def kills(config: Any, count: int, seed: int, say: Any = print) -> list[str]:
    """Kill the run `count` times, and return the differences from the undisturbed run in sentences."""
    generator, wrong = random.Random(seed), []
    out = Path(config.out)
    began = time.monotonic()
    attempt(replace(config, out=str(out / "undisturbed")), None)
    lasts = time.monotonic() - began
    [undisturbed] = (out / "undisturbed").glob("*/*/run.json")
    done, finished, round_ = 0, 0, 0
    moments: list[str] = []
    while done < count:
        round_ += 1
        at = replace(config, out=str(out / f"round-{round_}"))
        while True:
            seconds = generator.uniform(0, lasts) if done < count else None
            through = attempt(at, seconds)
            records = [path.parent for path in (out / f"round-{round_}").glob("*/*/.lock")]
            if records:
                wrong += [f"{config.strategy}, kill {done + 1}: {w}" for w in whole(records[0])]
            if through:
                break
            done += 1
            if records:
                latest, within = (records[0] / "checkpoint" / p / "latest.json" for p in ("", "within"))
                after = json.loads(latest.read_text())["after"] if latest.is_file() else "-"
                moments.append(f"{after}{'+' if within.is_file() else ''}")
            else:
                moments.append("start")
        finished += 1
        [record] = (out / f"round-{round_}").glob("*/*/run.json")
        if result(record.parent) != result(undisturbed.parent):
            wrong.append(f"{config.strategy}, round {round_}: the record is not that of the undisturbed run")
        shutil.rmtree(out / f"round-{round_}")
    say(
        f"{config.strategy}: {done} kills in {finished} runs of {lasts:.1f} s, {len(wrong)} differences; tasks saved "
        f"at each kill (+: and a part of the next): {', '.join(moments)}"
    )
    return wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--strategies", nargs="+", default=["zscl", "lora"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=60)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--model", default="tiny")
    a = parser.parse_args()
    # In the parent, so that the forks have them.
    import open_clip  # noqa: F401

    import harness.run.loop  # noqa: F401
    from harness.config.run_config import RunConfig

    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(a.strategies):
            share = a.kills // len(a.strategies) + (i < a.kills % len(a.strategies))
            config = RunConfig(
                "stream", name, tasks=("digits", "shapes", "letters"), heldout=("buttons",), limit=a.limit, measure_n=20,
                model=a.model,
                options={"iterations": a.iterations, "batch_size": 16, "warmup": 2}, device="cpu", checkpoint_minutes=0.0005,
                out=str(Path(folder) / name),
            )  # fmt: skip
            wrong += kills(config, share, a.seed + i)
    for sentence in wrong:
        print(sentence)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
