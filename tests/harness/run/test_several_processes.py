"""Several processes and one: the same gradients, the same record, one writer. Real processes over gloo.

Most of them are forks of a process that has imported everything (`tests/fakes/fork_server.py`). torchrun starts one group.
"""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
GRADIENTS = """
import sys, torch, torch.distributed as dist
from models import parallel
from models.encoder import DualEncoder
sys.path.insert(0, "tests")
import conftest
dist.init_process_group("gloo")
encoder = conftest.make_encoder().double()
pixels = torch.randint(0, 256, (7, 3, 48, 48), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
images = encoder.encode_images(pixels)
texts = encoder.encode_texts(encoder.tokenize(["a", "b c", "d e f"]))
one = encoder.encode_texts(encoder.tokenize(["alone"]))
loss = encoder.logits(images, texts).T.logsumexp(1).sum() + encoder.logits(images, one).logsumexp(0).sum()
loss.backward()
parallel.average_gradients(list(encoder.parameters()))
torch.save({"loss": loss.detach(), "features": images.detach(), "gradients": [p.grad for p in encoder.parameters()]},
           f"{sys.argv[1]}-{dist.get_world_size()}-{dist.get_rank()}.pt")
"""


def torchrun(processes, *arguments, folder, meanwhile=lambda process: None):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "PERENNIAL_CACHE": str(folder / "cache")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes) as process:
        try:
            meanwhile(process)
            out, err = process.communicate(timeout=300)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """Return a function that runs `cli.py` or a script in forked processes and returns the outputs of the first process."""
    command = [sys.executable, str(ROOT / "tests" / "fakes" / "fork_server.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    # Drawing the domains takes longer than a run. The processes of torchrun draw them at the same time, into another folder.
    cache = tmp_path_factory.mktemp("cache")
    with subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes) as server:
        assert server.stdout.readline() == "ready\n"

        def run(processes, *arguments, folder):
            job = {"processes": processes, "arguments": arguments, "output": str(folder)}
            job["environment"] = {"PERENNIAL_CACHE": str(cache)}
            print(json.dumps(job), file=server.stdin, flush=True)
            statuses = json.loads(server.stdout.readline())
            out, err = ((folder / name).read_text() for name in ("out-0", "err-0"))
            return subprocess.CompletedProcess(arguments, max(map(abs, statuses)), out, err)

        try:
            yield run
        finally:
            os.killpg(server.pid, signal.SIGKILL)


@pytest.mark.slow
def test_gradients_are_those_of_the_whole_batch(forked, tmp_path):
    """Two processes and seven images, in shares of four and three, and a single text, which both compute."""
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    for processes in (1, 2):
        done = forked(processes, str(script), str(tmp_path / "found"), folder=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
    whole, *both = (torch.load(tmp_path / f"found-{name}.pt", weights_only=True) for name in ("1-0", "2-0", "2-1"))
    for result in both:
        torch.testing.assert_close(result["loss"], whole["loss"], rtol=1e-12, atol=0)
        torch.testing.assert_close(result["features"], whole["features"], rtol=1e-12, atol=1e-14)
        for one, other in zip(result["gradients"], whole["gradients"], strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)


@pytest.fixture
def bench(forked, model_directory, tmp_path):
    def call(processes, name, *more, fails=False, start=forked, **around):
        arguments = ["cli.py", "bench", "stream", "--tasks", "digits,shapes", "--heldout", "buttons", "--strategy", "zscl"]
        arguments += ["--model", str(model_directory), "--limit", "24", "--out", str(tmp_path / name), "--device", "cpu"]
        arguments += ["--set", "iterations=6", "batch_size=7", "reference_batch=5", "warmup=2", "average_every=2", "lr=1e-4"]
        done = start(processes, *arguments, *more, folder=tmp_path, **around)
        assert (done.returncode != 0) == fails, done.stderr[-2000:]
        return done, sorted((tmp_path / name).glob("stream*/*"))

    return call


@pytest.mark.slow
def test_the_record_is_that_of_one_process(bench):
    """For each of two seeds in turn. The toy model is at chance level, the tiny one has accuracy to lose."""
    _, alone = bench(1, "alone", "--seed", "0", "1", "--model", "tiny")
    done, together = bench(2, "together", "--seed", "0", "1", "--model", "tiny")
    assert done.stdout.count("record: ") == 2, done.stdout
    assert len(alone) == len(together) == 2
    for one, two in zip(alone, together, strict=True):
        assert (one / "accuracy.csv").read_text() == (two / "accuracy.csv").read_text()
        torch.testing.assert_close(*(column(folder / "train.csv", "loss") for folder in (two, one)), rtol=1e-5, atol=0)
        # One image of each class has no silhouette.
        measures = (column(folder / "measures.csv", "value") for folder in (two, one))
        torch.testing.assert_close(*measures, rtol=1e-4, atol=1e-6, equal_nan=True)
        documents = [json.loads((folder / "run.json").read_text()) for folder in (one, two)]
        assert [d["processes"] for d in documents] == [1, 2] and documents[0]["key"] == documents[1]["key"]
        assert {d["status"] for d in documents} == {"finished"}


def column(file, name):
    with file.open(newline="") as opened:
        return torch.tensor([float(row[name] or 0) for row in csv.DictReader(opened)], dtype=torch.float64)


@pytest.mark.slow
def test_stopped_within_a_task(bench, tmp_path):
    """By SIGTERM, which torchrun passes on: all processes stop after the same update, and continue to the same files."""

    def stop(process):
        until = time.monotonic() + 120
        while not list((tmp_path / "stopped").glob("*/*/checkpoint/within/latest.json")):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.terminate()

    task = ("iterations=30", "--checkpoint-minutes", "0.00001")
    done, _ = bench(2, "stopped", *task, fails=True, start=torchrun, meanwhile=stop)
    assert done.stderr.count("perennial: terminated; the same command continues after update ") == 1, done.stderr
    again, [folder] = bench(2, "stopped", *task)
    assert again.stdout.count("continuing after update ") == 1, again.stdout
    _, [whole] = bench(2, "whole", *task)
    for file in ("accuracy.csv", "train.csv", "measures.csv"):
        assert (folder / file).read_bytes() == (whole / file).read_bytes()
    assert not (folder / "checkpoint" / "within").exists()


def test_more_processes_than_gpus(monkeypatch):
    from harness.run import process_group as running
    from models.registry import UserError

    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert running.processes() == 2 and not running.leads()
    with pytest.raises(UserError, match="process 1 on this machine, which has 1 GPUs"), running.group(torch.device("cuda")):
        pass
