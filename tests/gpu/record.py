"""Make the record of a GPU: `tests/gpu/run.sh`, or `python tests/gpu/record.py` where the project is installed.

Each section is a process with its own time limit. `record.json` and `record.md` in --out are replaced after each section, and
while one runs. A kill at any moment leaves a record that lists the finished sections and the missing ones. The exit status is 1
if a check failed, or a section ended with an error or ran out of time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

from record_table import markdown
from results import write_json

from harness.run.version import git_revision

ROOT = Path(__file__).resolve().parents[2]
WHEELS = ROOT / "gpu-wheels"
POLL_S = 1.0


class Section(NamedTuple):
    """A part of the record.

    Attributes:
        about: a sentence for the record.
        script: path of the script, relative to the repository.
        arguments: its arguments on a GPU.
        small: its arguments at a small size on a processor.
        limit_s: seconds after which it is stopped.

    A script also gets --json FILE. In its arguments, {limit} stands for a few seconds less than its limit, {early} for a time
    after which nothing long should begin, and {work} for a folder for its files.
    """

    about: str
    script: str
    arguments: tuple[str, ...]
    small: tuple[str, ...]
    limit_s: int


SECTIONS: dict[str, Section] = {
    "parity": Section(
        "Losses of every strategy on the device and on the processor, resume within a task, chunks of a batch, full memory.",
        "tests/gpu/parity.py",
        ("--limit-s", "{limit}"),
        ("--device", "cpu", "--strategies", "few", "--workers", "1", "--limit-s", "{limit}"),
        130,
    ),
    "speed": Section(
        "A ZSCL step of ViT-B/16: time, utilisation and memory, against the papers' way of the step and against the floor.",
        "tests/speed/gpu.py",
        ("--limit-s", "{early}"),
        ("--device", "cpu", "--limit-s", "{early}"),
        160,
    ),
    "loading": Section(
        "The share of training in which the device waits for images, on JPEG files of real sizes.",
        "tests/gpu/loading.py",
        ("--work", "{work}"),
        ("--work", "{work}", "--small"),
        105,
    ),
    "embedding": Section(
        "Features of images with ViT-B/16, and IIMM of a million features on the device.",
        "tests/gpu/embedding.py",
        (),
        ("--small",),
        35,
    ),
    "commands": Section(
        "One run from its record to an exported and a loaded model.",
        "tests/gpu/commands.py",
        ("--work", "{work}"),
        ("--work", "{work}"),
        45,
    ),
}
"""The sections in their order. Their limits are for a record of `LIMIT_S` seconds; with another one they are in proportion."""
LIMIT_S = 480

MACHINE = """
import json, platform, os, sys
from importlib import metadata
import torch
def version(name):
    try: return metadata.version(name)
    except metadata.PackageNotFoundError: return None
names = ("torch", "torchvision", "timm", "transformers", "open_clip_torch", "avalanche-lib", "numpy", "triton")
cuda = torch.cuda.is_available()
properties = torch.cuda.get_device_properties(0) if cuda else None
print(json.dumps({
    "device": properties.name if cuda else "cpu: " + (platform.processor() or platform.machine()), "cuda": cuda,
    "memory_gb": round(properties.total_memory / 1e9, 1) if cuda else None,
    "capability": ".".join(map(str, torch.cuda.get_device_capability(0))) if cuda else None,
    "cuda_version": torch.version.cuda, "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
    "platform": platform.platform(), "versions": {name: version(name) for name in names}}))
"""


def machine() -> dict[str, Any]:
    """Return device, driver, processors and versions, asked in a separate process, so that this one stays off the GPU."""
    asked = subprocess.run([sys.executable, "-c", MACHINE], capture_output=True, text=True, cwd=ROOT, check=False)
    if asked.returncode:
        raise SystemExit(f"torch cannot be imported by {sys.executable}: {asked.stderr.strip().splitlines()[-1:]}")
    facts: dict[str, Any] = json.loads(asked.stdout.strip().splitlines()[-1])
    driver = None
    if facts["cuda"]:
        with suppress(OSError, subprocess.SubprocessError):
            command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
            driver = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.split("\n")[0]
    return {"device": facts.pop("device"), "driver": driver, **facts}


def revision() -> str | None:
    """Return the revision of the project: from git, or else what `tools/carry.py` noted next to the wheels."""
    with suppress(OSError):
        return git_revision() or (WHEELS / "REVISION").read_text(encoding="utf-8").strip()
    return None


class Record:
    """The record, and its two files."""

    def __init__(
        self, out: Path, chosen: Sequence[str], facts: Mapping[str, Any], limit_s: int, small: bool, spent_s: float = 0
    ):
        # The start of torch, by which the machine was asked, counts too.
        self.out, self.began = out, time.monotonic() - spent_s
        self.document: dict[str, Any] = {
            "status": "running",
            "ok": None,
            "missing": list(chosen),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": 0.0,
            "limit_s": limit_s,
            "small": small,
            "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            "git_revision": revision(),
            "machine": dict(facts),
            "sections": {
                name: {
                    "status": "waiting" if name in chosen else "left out",
                    "about": section.about,
                    "seconds": None,
                    "limit_s": round(section.limit_s * limit_s / LIMIT_S),
                    "checks": [0, 0],
                }
                for name, section in SECTIONS.items()
            },
        }
        self.write()

    @property
    def left_s(self) -> float:
        """Seconds left until the limit of the whole record."""
        return float(self.document["limit_s"]) - (time.monotonic() - self.began)

    def update(self, name: str, **changes: Any) -> None:
        """Change the entry of a section, and write both files."""
        entry = self.document["sections"][name]
        entry.update(changes)
        rows = [row for table in (entry.get("tables") or {}).values() if isinstance(table, list) for row in table]
        oks = [row["ok"] for row in rows if isinstance(row, dict) and "ok" in row]
        entry["checks"] = [sum(map(bool, oks)), len(oks)]
        sections = self.document["sections"]
        self.document["missing"] = [
            n for n, s in sections.items() if s["status"] in ("waiting", "running", "out of time", "error")
        ]
        self.write()

    def finish(self) -> bool:
        """Write the end, and return whether everything that was asked for is done and passed its checks."""
        states = {section["status"] for section in self.document["sections"].values()}
        self.document.update(status="finished", ok=states <= {"done", "left out"})
        self.write()
        return bool(self.document["ok"])

    def write(self) -> None:
        """Replace both files."""
        self.document["seconds"] = round(time.monotonic() - self.began, 1)
        write_json(self.out / "record.json", self.document)
        part = self.out / "record.md.part"
        part.write_text(markdown(json.loads((self.out / "record.json").read_text(encoding="utf-8"))), encoding="utf-8")
        os.replace(part, self.out / "record.md")


def run_section(name: str, section: Section, record: Record, work: Path, small: bool) -> None:
    """Run a section in a new process group, copy its results into the record as they come, and stop it at its limit."""
    # A second for the record itself.
    limit = min(record.document["sections"][name]["limit_s"], record.left_s - 1)
    if limit < 5:
        record.update(name, status="out of time", tail="no time was left to start it")
        return
    words = section.small if small else section.arguments
    results, log = work / f"{name}.json", work / f"{name}.log"
    places = {"{limit}": _seconds(limit - 10), "{early}": _seconds(limit - 35), "{work}": str(work / name)}
    command = [sys.executable, str(ROOT / section.script), *(places.get(word, word) for word in words), "--json", str(results)]
    environment = {**os.environ, "PERENNIAL_CACHE": str(work / "cache")}
    if small:
        environment.setdefault("OMP_NUM_THREADS", "1")
    print(f"{name}: at most {limit:.0f} s", flush=True)
    began, seen, tables = time.monotonic(), 0.0, dict[str, Any]()
    record.update(name, status="running", command=shlex.join(["python", section.script, *words]))
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        with _ended(process):
            while process.poll() is None and time.monotonic() - began < limit:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL_S)
                if results.is_file() and (changed := results.stat().st_mtime) != seen:
                    seen, tables = changed, _read(results) or tables
                    record.update(name, seconds=round(time.monotonic() - began, 1), tables=tables)
            ended = process.poll()
    tables = _read(results) or tables
    failed = [row for table in tables.values() if isinstance(table, list) for row in table if row.get("ok") is False]
    status = "out of time" if ended is None else "failed" if failed else "done" if ended == 0 else "error"
    tail = without_folders(log.read_text(encoding="utf-8", errors="replace"), work)[-4000:]
    record.update(name, status=status, exit=ended, seconds=round(time.monotonic() - began, 1), tables=tables, tail=tail)
    checks = record.document["sections"][name]["checks"]
    print(f"{name}: {status}, {checks[0]} of {checks[1]} checks passed, {time.monotonic() - began:.0f} s", flush=True)


def without_folders(text: str, work: Path) -> str:
    """Return what a section printed without the folders of this machine, so that a record can be shown to others."""
    site = next((path for path in sys.path if Path(path, "avalanche").is_dir()), "")
    named = {str(ROOT): "PROJECT", str(work): "WORK", site: "SITE", sys.prefix: "PYTHON", sys.base_prefix: "PYTHON"}
    for folder in sorted(filter(None, named), key=len, reverse=True):
        text = text.replace(folder, named[folder])
    return text


def _seconds(value: float) -> str:
    return f"{max(1.0, value):.0f}"


def _read(path: Path) -> dict[str, Any]:
    """Return the tables of a section's file; none if it is not a whole JSON object yet."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {"value": value}


@contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process and its children when the block is left, also by an exception."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        if process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Run the sections and exit with 1 if any check failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("gpu-record"))
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument(
        "--limit-s", type=int, help=f"seconds for everything (default: {LIMIT_S}; at the small size twice that)"
    )
    parser.add_argument(
        "--small", action="store_true", help="a small size on the processor, which is the default without a GPU"
    )
    asked = parser.parse_args()
    if asked.small:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    began, facts = time.monotonic(), machine()
    small = not facts.pop("cuda")
    record = Record(asked.out, asked.sections, facts, asked.limit_s or LIMIT_S * (1 + small), small, time.monotonic() - began)
    with tempfile.TemporaryDirectory() as folder:
        for name in SECTIONS:
            if name in asked.sections:
                run_section(name, SECTIONS[name], record, Path(folder), small)
    ok = record.finish()
    print(f"record: {asked.out / 'record.md'}" + ("" if ok else "; not everything was done and passed"))
    raise SystemExit(0 if ok else 1)


if __name__ == "__main__":
    main()
