"""Time from process start to an answer, and to the first update of a run: `python tests/speed/startup.py [--strategy zscl]`.

First the commands that must answer at once, each in a separate process. The floor is an interpreter that does nothing, for
`leaderboard` one that imports pandas. Then one run of the mini edition up to its first update, by phases. The floor of the
imports is torch and open_clip without Avalanche. The floor of the measures and of the zero-shot row is the bare forward of as
many images. Decoded and drawn images are cached: the first round fills the caches and is not counted. The tables show medians.
Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

COMMANDS = (("--help",), ("list",), ("leaderboard",))
# Where the child says when it had finished what.
MARK = "MARK"


def answer(command: list[str], folder: str) -> float:
    """Seconds that a process takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began


def phases(folder: str, strategy: str) -> dict[str, float]:
    """Seconds of each phase of a new run, in order."""
    command = [sys.executable, __file__, "--child", folder, "--strategy", strategy]
    began = time.time()
    told = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout
    found: dict[str, float] = {}
    for line in told.splitlines():
        if line.startswith(MARK):
            _, at, name = line.split(maxsplit=2)
            found[name] = found.get(name, 0.0) + float(at) - began
            began = float(at)
    return found


def child(folder: str, strategy: str) -> None:
    """A run that reports its phases and ends with its first update."""

    def mark(name: str) -> None:
        print(MARK, repr(time.time()), name, flush=True)

    def told(owner, name, before, after) -> None:
        original = getattr(owner, name)

        def call(*args, **kwargs):
            mark(before)
            try:
                return original(*args, **kwargs)
            finally:
                mark(after)

        setattr(owner, name, call)

    import cli
    from harness.config.resolve import check_names
    from harness.config.run_config import RunConfig

    check_names(RunConfig("mtil", strategy)).check()
    mark("interpreter, command line, configuration")
    import torch  # noqa: F401

    mark("import torch")
    import avalanche  # noqa: F401

    mark("import Avalanche (torchvision with it)")
    import open_clip  # noqa: F401

    mark("import open_clip")
    from harness.run import loop as run
    from harness.run.progress_plugins import ScreenProgress
    from strategies import Strategy

    mark("import Perennial")
    between = "between"
    told(run, "load_encoder", between, "model")
    told(run, "build_scenario", between, "data")
    told(run, "load_reference", between, "reference data")
    told(Strategy, "prepare_run", between, "teacher")
    told(run.MeasuresBeforeTraining, "measure_initial", between, "measures, initial model")
    told(run, "_evaluate", between, "zero-shot row")
    told(run.RunState, "save", between, "record, checkpoint")
    told(run.MeasuresBeforeTraining, "before_training_exp", between, "measures, current model")

    class Updated(BaseException):
        pass

    def stop(*args, **kwargs):
        mark("first step")
        raise Updated

    ScreenProgress.after_training_iteration = stop
    try:
        cli.main(["bench", "mtil", "--strategy", strategy, "--out", folder, "--fresh", "--quiet"])
    except Updated:
        return
    sys.exit("The run ended before its first update.")


def forwards() -> dict[str, float]:
    """Seconds of bare forwards of the images of two phases."""
    import torch

    import models
    from benchmarks import make
    from harness.config.run_config import RunConfig

    scenario, encoder = make("mtil", "mini"), models.load("tiny")
    tests = [*scenario.streams["test"], *scenario.streams["heldout"]]
    wanted = RunConfig("mtil").measure_n
    counts = {
        "measures, initial model": sum(min(wanted, len(e.domain.train)) for e in scenario.streams["train"]),
        "zero-shot row": sum(len(e.dataset) for e in tests),
    }
    size = encoder.image_size
    pixels = torch.randint(0, 256, (256, 3, size, size), dtype=torch.uint8)
    times = []
    with torch.inference_mode():
        for _ in range(7):
            began = time.perf_counter()
            encoder.encode_images(pixels)
            times.append(time.perf_counter() - began)
    return {name: n * statistics.median(times) / len(pixels) for name, n in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--strategy", default="zscl")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", metavar="FOLDER", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.child:
        child(a.child, a.strategy)
        return
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        report(folder, a.rounds, a.strategy)


def report(folder: str, rounds: int, strategy: str) -> None:
    from rich.console import Console
    from rich.table import Table

    def median(code: list[str]) -> float:
        return statistics.median([answer(code, folder) for _ in range(rounds + 1)][1:])

    console, nothing, pandas = Console(), median(["-c", "pass"]), median(["-c", "import pandas"])
    table = Table(title="commands")
    for header in ("command", "seconds", "floor"):
        table.add_column(header, justify="left" if header == "command" else "right")
    for command in COMMANDS:
        floor = pandas if command == ("leaderboard",) else nothing
        table.add_row(" ".join(command), f"{median([str(ROOT / 'cli.py'), *command]):.2f}", f"{floor:.2f}")
    console.print(table)

    found = [phases(folder, strategy) for _ in range(rounds + 1)][1:]
    libraries = median(["-c", "import torch, torchvision, open_clip"])
    floors = {"interpreter, command line, configuration": nothing, **forwards()}
    table = Table(title=f"bench mtil --strategy {strategy} up to its first update, {os.cpu_count()} processors")
    for header in ("phase", "seconds", "floor"):
        table.add_column(header, justify="left" if header == "phase" else "right")
    seconds = {name: statistics.median(f[name] for f in found) for name in found[0]}
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}", f"{floors[name]:.2f}" if name in floors else "")
    imports = sum(value for name, value in seconds.items() if name.startswith("import "))
    table.add_section()
    table.add_row("all imports", f"{imports:.2f}", f"{libraries:.2f}")
    table.add_row("all", f"{statistics.median(sum(f.values()) for f in found):.2f}", "")
    console.print(table)


if __name__ == "__main__":
    main()
