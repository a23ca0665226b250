"""Start commands as groups of processes without the seconds of importing: each process is a fork of this one.

Reads one JSON document per line, {"processes": N, "arguments": [...], "environment": {...}, "output": FOLDER}. The
arguments are `cli.py` or the path of a script, and its arguments. Starts N forks with the variables that torchrun sets, waits
for them, and writes one line, the list of their exit statuses. Outputs of each process are FOLDER/out-RANK and FOLDER/err-RANK.
This process computes nothing, so its forks may use threads.
"""

import importlib
import json
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

for name in (
    "cli",
    "harness.run.loop",
    "harness.study.measure",
    "strategies.zscl",
    "models.parallel",
    "avalanche.training",
    "open_clip",
):
    importlib.import_module(name)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def child(job, rank, port):
    """Run the job as process `rank` and return its exit status."""
    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(Path(job["output"]) / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
    os.environ |= job["environment"]
    size = str(job["processes"])
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "forks"}
    program, *arguments = job["arguments"]
    try:
        if program == "cli.py":
            return sys.modules["cli"].main(arguments)
        sys.argv = [program, *arguments]
        runpy.run_path(program, run_name="__main__")
        return 0
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 1


def main():
    print("ready", flush=True)
    for line in sys.stdin:
        job, port, children = json.loads(line), free_port(), []
        for rank in range(job["processes"]):
            process = os.fork()
            if process == 0:
                status = child(job, rank, port)
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
            children.append(process)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in children]), flush=True)


if __name__ == "__main__":
    main()
