"""`export` of real runs: each kind of method, the model card, the upload, and mistakes that leave nothing behind."""

import errno
import json
import os
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from cli import main
from harness.commands.bench import configs, run_parser
from harness.config.resolve import resolve
from harness.export import head
from harness.export.card import bench_command
from harness.export.exportable import exportable
from harness.export.write import Request, export
from harness.records.files import read_json
from harness.saved import load_run
from models.registry import UserError

CASES = {
    "finetune probe": ({"tuning": "probe"}, "trained"),
    "ranpac agnostic": ({"protocol": "agnostic", "changes": {"width": 24}}, "text"),
    "coop": ({"changes": {"lr": 0.5}}, "context"),
}
REFUSED = {
    "moe-adapters": {"changes": {"experts": 3, "width": 4}},
    "rail": {"changes": {"kernel": "gaussian"}},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_exported_model_answers_as_the_run(case, finished, one_process, tmp_path):
    settings, kind = CASES[case]
    folder = finished(case.split()[0], **settings)
    result = export(Request(str(folder), "open_clip", str(tmp_path / "model")))
    assert result.different == [] and result.checked.images == sum(n for _, n in result.checked.correct.values()) > 60
    document = read_json(tmp_path / "model" / "head.json")
    assert document["tasks"][0]["rows"] == kind
    assert [(task["name"], task["learned"], task["held_out"]) for task in document["tasks"]] == [
        ("red", True, False),
        ("green", True, False),
        ("grey", False, True),
    ]
    assert document["tasks"][1]["class_names"] == ["green 0", "green 1", "green 2"]
    tensors = load_file(tmp_path / "model" / "head.safetensors")
    assert {"text.red", "text.green", "text.grey"} <= tensors.keys()
    assert torch.allclose(tensors["text.red"].norm(dim=1), torch.ones(2))
    if case == "ranpac agnostic":
        assert document["classifier"]["kind"] == "random ridge" and document["tasks"][1]["first"] == 2
        assert tensors["classifier.coefficients"].shape == (24, 5)


@pytest.mark.slow
def test_a_task_of_a_run_is_written_with_its_card_and_uploaded(finished, one_process, hub, tmp_path, monkeypatch):
    folder = finished("lora", keep="all", changes={"tuning.rank": 2})
    out = tmp_path / "new" / "model"
    request = Request(str(folder), "huggingface", str(out), after=1, push="me/my-model", command="python cli.py export ...")
    result = export(request)
    assert os.listdir(out.parent) == ["model"] and result.different == []
    text = (out / "README.md").read_text()
    assert text.startswith("---\n") and "pipeline_tag: zero-shot-image-classification" in text
    assert "after task 1 of 2 (red)" in text and "python cli.py export ..." in text and "--strategy lora" in text
    from huggingface_hub import ModelCard

    data = ModelCard(text).data
    assert data.datasets == ["red"] and data.library_name == "transformers" and len(data.eval_results) == 3
    assert set(hub.files("model", "me/my-model")) == {path.name for path in out.iterdir()}
    assert hub.answers.private == {("model", "me/my-model")} and result.address.startswith(hub.endpoint)
    # The recorded command asks for the same run.
    document = read_json(folder / "run.json")
    words = bench_command(document).split()[3:]
    [config] = configs(run_parser().parse_args(words))
    assert resolve(replace(config, out=str(folder.parent.parent))).key == document["key"]
    hub.faults.refused["commit"] = 403
    with pytest.raises(UserError, match=r"does not let you write to 'me/my-model'.*The export is in .*again"):
        export(request._replace(out=str(tmp_path / "again"), check_images=4))
    # Data that is not at hand, a full disk before and while it is written, and a place that is taken.
    monkeypatch.setattr("harness.export.write.resolve", lambda config: (_ for _ in ()).throw(UserError("No data here.")))
    export(request._replace(out=str(tmp_path / "blind"), push=None))
    assert "On 64 random images, because the test data was not at hand" in (tmp_path / "blind" / "README.md").read_text()
    before = sorted(os.listdir(tmp_path))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    request_full = request._replace(out=str(tmp_path / "full"), push=None)
    for owner, name, value in ((head, "write", full), (shutil, "disk_usage", lambda path: SimpleNamespace(free=0))):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, value)
            with pytest.raises(UserError, match="full cannot be written: no space is left on the disk"):
                export(request_full)
    with pytest.raises(UserError, match="model exists: give another folder as --out"):
        export(request)
    with pytest.raises(UserError, match="keeps no weights after task 7"):
        export(request._replace(out=str(tmp_path / "full"), after=7))
    with pytest.raises(UserError, match="'model' is not the name of a hub repository"):
        export(request._replace(out=str(tmp_path / "full"), push="model"))
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.slow
@pytest.mark.parametrize("method", REFUSED)
def test_what_cannot_be_exported_says_why(method, finished):
    saved = load_run(finished(method, **REFUSED[method]))
    words = {"moe-adapters": "chooses among them for each image", "rail": "stores the features of all training images"}
    with pytest.raises(UserError, match=words[method]):
        exportable(saved)


def test_mistakes_on_the_command_line(capsys, tmp_path):
    out = str(tmp_path / "model")
    assert main(["export", str(tmp_path), "--to", "opnclip", "--out", out]) == 2
    assert "Did you mean open_clip?" in capsys.readouterr().err
    assert main(["export", str(tmp_path), "--to", "onnx", "--out", out, "--check-images", "0"]) == 2
    assert main(["export", str(tmp_path / "none"), "--to", "onnx", "--out", out]) == 2
    assert "There is no run at" in capsys.readouterr().err and not (tmp_path / "model").exists()
    (tmp_path / "run.json").write_text(json.dumps({"status": "running"}))
    assert main(["export", str(tmp_path), "--to", "onnx", "--out", out]) == 2
