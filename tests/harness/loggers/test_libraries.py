"""Each logger through its library: a run that is interrupted and continued, read back with the library's own reader."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from harness.loggers import LoggedRun
from harness.loggers.run_log import RunLog
from harness.records.summary import Percent

ROOT = Path(__file__).parents[3]
RUN = """
import sys
from pathlib import Path
from harness.loggers import LoggedRun, logger_class
from harness.loggers.run_log import RunLog
from types import SimpleNamespace
from harness.records.summary import Percent

def interrupted_and_continued(names, out):
    said = []
    records = [{"after": 1, "iteration": i, "loss": 1 / i, "lr": 0.1, "drift": float(i)} for i in range(1, 5)]
    rows = {0: {("test", "a b"): Percent(25.0), ("heldout", "h"): Percent(50.0)}}
    config = {"strategy": "zscl", "options": {"lr": 0.1, "names": ["x"]}}
    folder = Path(out) / "toy-mini-I" / "zscl-1" / "log"
    run = LoggedRun("", False, 0, "zscl-seed0", "zscl", "toy-mini-I", folder, Path(out), config)
    def log():
        kinds = {name: logger_class(name) for name in names}
        return RunLog(kinds, run, ["a b"], ["h"], lambda line, style=None: said.append(line))
    with log() as first:
        first.rows(rows, [])
        first.updates(records[:2])
    rows[1] = {("test", "a b"): Percent(75.0), ("heldout", "h"): Percent(25.0)}
    with log() as second:
        second.updates(records)
        second.rows(rows, [SimpleNamespace(experience=1, measure="iimm", value=0.5)])
        second.finish({"average": 75.0, "bwt": float("nan")})
    return said, run.folder
"""
exec(RUN, RUN_NAMES := {})
interrupted_and_continued = RUN_NAMES["interrupted_and_continued"]
LOSSES = [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]


def test_csv(tmp_path):
    said, folder = interrupted_and_continued(["csv"], tmp_path)
    assert not any("warning" in line for line in said)
    rows = list(csv.DictReader((folder / "csv" / "scalars.csv").read_text().splitlines()))
    values = {(row["axis"], int(row["step"]), row["name"]): float(row["value"]) for row in rows}
    assert len(values) == len(rows) == 4 * 3 + 2 + 3
    assert [values["update", i, "train/loss"] for i in range(1, 5)] == [loss for _, loss in LOSSES]
    assert (
        values["task", 1, "accuracy/a b"] == 75
        and values["task", 1, "measure/iimm"] == 0.5
        and values["task", 0, "heldout/h"] == 50
    )
    assert json.loads((folder / "csv" / "summary.json").read_text()) == {"average": 75.0}
    assert json.loads((folder / "csv" / "config.json").read_text())["options"]["lr"] == 0.1
    one, other = (np.asarray(Image.open(folder / "csv" / f"matrix-after-{after}.png")) for after in (0, 1))
    assert one.shape == other.shape and (one != other).any()


@pytest.mark.slow
def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    said, folder = interrupted_and_continued(["tensorboard"], tmp_path)
    assert said == [f"log: tensorboard (tensorboard --logdir {tmp_path})"] * 2
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(i, pytest.approx(loss)) for i, loss in LOSSES]
    assert [(e.step, e.value) for e in events.Scalars("accuracy/a b")] == [(0, 25), (1, 75)]
    assert [(e.step, e.value) for e in events.Scalars("heldout/h")] == [(0, 50), (1, 25)]
    assert [e.value for e in events.Scalars("measure/iimm")] == [0.5] and [
        e.value for e in events.Scalars("summary/average")
    ] == [75]
    assert [e.step for e in events.Images("matrix")] == [0, 1]
    assert '"lr": 0.1' in events.Tensors("configuration/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "hparams" in events.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name


READ = """
import json, os, sys
from pathlib import Path
out = Path(sys.argv[1])
said, folder = interrupted_and_continued(["wandb", "mlflow"], out)
assert not any("warning" in line for line in said), said

from wandb.proto import wandb_internal_pb2
history, ids, finals, images = [], set(), {}, []

def stored(path):
    # LevelDB's log format, in blocks of 32 KiB, after 7 bytes.
    data, place, whole = path.read_bytes(), 7, b""
    while len(data) - place >= 7:
        if (left := 32768 - place % 32768) < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""

for path in sorted(folder.glob("wandb/wandb/offline-run-*/*.wandb")):
    images += path.parent.glob("files/media/images/*.png")
    for data in stored(path):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.HasField("run"):
            ids.add((record.run.run_id, record.run.project, record.run.run_group, record.run.display_name))
        if record.HasField("history"):
            history.append({item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item})
        if record.HasField("summary"):
            finals |= {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.summary.update}

from mlflow.tracking import MlflowClient
client = MlflowClient(f"sqlite:///{out / 'mlflow.db'}")
experiment = client.get_experiment_by_name("toy-mini-I")
(run,) = client.search_runs([experiment.experiment_id])
metric = lambda name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
print(json.dumps({
    "ids": sorted(ids), "history": history, "summary": finals.get("summary/average"), "images": len(images),
    "mlflow": [run.info.status, run.info.run_name, run.data.params["options.lr"], metric("train/loss"), metric("accuracy/a b"),
               metric("summary/average"), [f.path for f in client.list_artifacts(run.info.run_id, "matrix")]],
    "telemetry": os.environ["MLFLOW_DISABLE_TELEMETRY"], "torch": "torch" in sys.modules, "said": said,
}))
"""


@pytest.mark.slow
def test_wandb_and_mlflow_in_a_process_without_a_network(tmp_path):
    (tmp_path / "tmp").mkdir()
    proxies = {
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "WANDB_CACHE_DIR": str(tmp_path / "cache"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "MLFLOW"))}
    environment = {**kept, **proxies, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN + READ, str(tmp_path / "results")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert not list((tmp_path / "tmp").iterdir()) and not (tmp_path / "mlruns").exists()
    ((identity, *rest),) = read["ids"]
    assert len(identity) == 12 and rest == ["toy-mini-I", "zscl", "zscl-seed0"]
    assert [(row["update"], row["train/loss"]) for row in read["history"] if "update" in row] == [
        (i, loss) for i, loss in LOSSES
    ]
    tasks = [row for row in read["history"] if "task" in row]
    assert [(row["task"], row["accuracy/a b"]) for row in tasks] == [(0, 25), (1, 75)] and tasks[1]["measure/iimm"] == 0.5
    assert read["images"] == 2 and read["summary"] == 75
    status, name, rate, losses, accuracies, average, pictures = read["mlflow"]
    assert (status, name, rate) == ("FINISHED", "zscl-seed0", "0.1")
    assert [tuple(pair) for pair in losses] == LOSSES and accuracies == [[0, 25], [1, 75]] and average == [[0, 75]]
    assert pictures == ["matrix/after-000.png", "matrix/after-001.png"]
    assert any("wandb sync" in line for line in read["said"]) and read["telemetry"] == "true" and not read["torch"]


class TrackioRun:
    """The methods of `trackio.Run` that are called, with their signatures in trackio 0.43."""

    def __init__(self):
        self.logged, self.finished = [], False

    def log(self, metrics: dict, step: int | None = None):
        self.logged.append((step, metrics))

    def finish(self):
        self.finished = True


def trackio_double(calls):
    """Return a module with the functions of trackio 0.43 that are called, which a test against trackio itself was run with."""
    module, runs = ModuleType("trackio"), {}

    def init(
        project, name=None, group=None, space_id=None, server_url=None, dataset_id=None, bucket_id=None, config=None,
        resume="never", settings=None, private=None, embed=True, auto_log_gpu=None, gpu_log_interval=10.0, auto_log_cpu=None,
    ):  # fmt: skip
        print("* Trackio project initialized")
        calls.append({"project": project, "name": name, "group": group, "config": config, "resume": resume})
        assert (resume == "allow") == (name in runs) and not (embed or auto_log_gpu or auto_log_cpu)
        return runs.setdefault(name, TrackioRun())

    module.init, module.Image, module.runs = init, lambda value, caption=None: ("image", value.shape), runs
    module.__spec__ = type(sys.__spec__)("trackio", None)
    return module


def test_trackio(tmp_path, monkeypatch, capsys):
    calls = []
    double = trackio_double(calls)
    monkeypatch.setitem(sys.modules, "trackio", double)
    said, _ = interrupted_and_continued(["trackio"], tmp_path)
    assert said == ['log: trackio (trackio show --project "toy-mini-I")'] * 2 and capsys.readouterr().out == ""
    assert [call["resume"] for call in calls] == ["never", "allow"] and calls[0]["name"] == calls[1]["name"]
    ((name, run),) = double.runs.items()
    assert name.startswith("zscl-seed0-") and run.finished
    assert [(step, row["train/loss"]) for step, row in run.logged if "train/loss" in row] == LOSSES
    tasks = [(step, row) for step, row in run.logged if "task" in row]
    assert [(step, row["task"], row["accuracy/a b"]) for step, row in tasks] == [(0, 0, 25), (4, 1, 75)]
    assert tasks[0][1]["matrix"][0] == "image" and run.logged[-1] == (4, {"summary/average": 75})


def test_a_log_without_loggers_writes_nothing(tmp_path):
    run = LoggedRun("", False, 0, "n", "s", "p", tmp_path / "log", tmp_path, {})
    with RunLog({}, run, ["a"], [], print) as log:
        log.updates([{"loss": 1.0}])
        log.rows({0: {("test", "a"): Percent(50.0)}}, [])
        log.finish({})
    assert not list(tmp_path.iterdir()) and not log
