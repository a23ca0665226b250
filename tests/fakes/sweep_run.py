"""Substitute for `bench` in tests of `sweep`: FOLDER STEPS SECONDS WHAT [--fresh]. It imports only the standard library.

It locks its folder as a run does, continues from its saved step, and leaves a record. WHAT is one of good; bad (fails in the
middle, with the error in its record); mistake (status 2, no record); dies (killed in the middle of its first attempt); trips
(killed before it has started over, the first time it has to).
"""

import csv
import fcntl
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

folder, steps, seconds, what = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
folder.mkdir(parents=True, exist_ok=True)
lock = (folder / ".lock").open("a")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    print(f"perennial: Another process is at work on {folder}.")
    sys.exit(2)
saved = folder / "saved"
if "--fresh" in sys.argv:
    if what == "trips" and not (folder / "tripped").exists():
        (folder / "tripped").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    saved.unlink(missing_ok=True)
    (folder / "run.json").unlink(missing_ok=True)
first = int(saved.read_text()) if saved.exists() else 0
began = time.time()


tasks = [f"task-{i}" for i in range(1, steps + 1)]
identity = {
    "benchmark": "mtil", "edition": "mini", "order": "I", "tasks": tasks, "heldout": [], "strategy": what, "options": {},
    "model": "tiny", "pretrained": None, "tuning": "full", "seed": 0,
}  # fmt: skip
# Every cell has an accuracy of 60 %.
SUMMARY = {"transfer": 60, "average": 60, "last": 60, "forgetting": 0, "bwt": 0, "retention": 100, "iimm_mean": None}


def record(status, after, error=None, summary=None):
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]
    document = {"status": status, "error": error, "summary": summary, "progress": {"after": after, "of": steps}}
    document |= {"identity": identity, "key": key, "trainable_params": 5}
    if status == "finished":
        with (folder / "accuracy.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["after", "stream", "task", "accuracy", "correct", "n"])
            table.writerows([after, "test", task, 60.0, 6, 10] for after in range(steps + 1) for task in tasks)
    temporary = folder / f"{os.getpid()}.tmp"
    temporary.write_text(json.dumps(document))
    temporary.rename(folder / "run.json")


def told(how):
    entry = {
        "pid": os.getpid(),
        "parent": os.getppid(),
        "first": first,
        "began": began,
        "ended": time.time(),
        "how": how,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "arguments": sys.argv[5:],
    }
    with (folder / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


if what == "mistake":
    told("mistake")
    print("perennial: Unknown option 'x'.")
    sys.exit(2)


def interrupted(*_):
    # Linux reports the death of a parent with several threads several times.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


signal.signal(signal.SIGINT, interrupted)
try:
    told("began")
    for step in range(first, steps):
        if step == steps // 2:
            if what == "bad":
                record("failed", step, "RuntimeError: it broke")
                told("failed")
                sys.exit(1)
            if what == "dies" and first == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(seconds)
        saved.write_text(str(step + 1))
        record("running", step + 1)
except KeyboardInterrupt:
    record("interrupted", int(saved.read_text()) if saved.exists() else 0)
    told("interrupted")
    print("perennial: interrupted.")
    sys.exit(130)
record("finished", steps, summary=SUMMARY)
told("finished")
