"""The model of a finished run, loaded again, gives exactly the counts in its record."""

import csv
import json
import shutil

import pytest
import torch
from PIL import Image

from benchmarks import BENCHMARKS
from benchmarks.plan import Ask
from harness.records.files import file_sha256, read_json, write_json
from harness.saved import load_run
from models.registry import UserError

CASES = {
    "finetune probe": {"tuning": "probe"},
    "finetune adapter": {"tuning": "adapter"},
    "lora": {"changes": {"tuning.rank": 2, "tuning.scale": 0.7}},
    "zscl agnostic": {"protocol": "agnostic"},
    "paint-sequential": {"changes": {"alpha": 0.5}},
    "rail agnostic": {"changes": {"width": 24}, "protocol": "agnostic"},
    "rail class": {"changes": {"kernel": "gaussian"}, "protocol": "class"},
    "diki": {"changes": {"prefixes": 2, "lr": 0.5}},
    "moe-adapters": {"changes": {"experts": 3, "width": 4}},
    "s-prompts": {"changes": {"image_tokens": 2, "centres": 2}},
    "coop": {"changes": {"lr": 0.5}},
    "moram": {"changes": {"rank": 2, "most": 2}},
    "keep-lora": {"changes": {"rank": 2}},
    "rapf": {"changes": {"lr": 0.01}},
    "finetune replay": {"plugins": ("replay",)},
}
MINE = """
import torch
from strategies import Strategy

class Mine(Strategy):
    def before_run(self):
        super().before_run()
        self.shift = torch.zeros(())

    def after_experience(self):
        super().after_experience()
        self.shift = self.shift + 0.5

    def predict(self, features, candidates):
        return super().predict(features, candidates) + self.shift * torch.arange(len(candidates))

    def state(self):
        return {**super().state(), "shift": self.shift}

    def load(self, state):
        super().load(state)
        self.shift = state["shift"]
"""


def counts(folder, after):
    with open(folder / "accuracy.csv") as file:
        rows = [row for row in csv.DictReader(file) if int(row["after"]) == after]
    return {(row["stream"], row["task"]): (int(row["correct"]), int(row["n"])) for row in rows}


def evaluated(saved):
    return {place: tuple(cell) for place, cell in saved.evaluate().items()}


@pytest.fixture
def domains(toy_benchmark):
    """The domains of the toy benchmark by name."""
    built = BENCHMARKS.get(toy_benchmark)(Ask()).build(None, ("test",))
    return {domain.name: domain for domain in (*built.trained, *built.heldout)}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_loaded_model_gives_the_counts_of_the_record(case, finished, domains, monkeypatch):
    folder = finished(case.split()[0], **CASES[case])
    with monkeypatch.context() as patch:
        # The classes come from the checkpoint, so the benchmark is not needed.
        patch.delitem(BENCHMARKS._objects, "toy")
        saved = load_run(folder)
    assert saved.after == 2 and saved.tasks == ("red", "green") and not saved.encoder.training
    heads = saved.heads()
    assert [*heads] == ["red", "green", "grey"]
    assert all((heads[n].classnames, heads[n].templates) == (domains[n].classnames, domains[n].templates) for n in heads)
    wanted = counts(folder, 2)
    assert evaluated(saved) == wanted
    if saved.config.protocol == "task":
        for (_, task), (correct, n) in wanted.items():
            images, labels = zip(*[domains[task].test[i] for i in range(n)], strict=True)
            answers = saved.predict(torch.stack(images), [task])
            assert int((answers.argmax(dim=1) == torch.tensor(labels)).sum()) == correct, task
            assert torch.allclose(answers.sum(dim=1), torch.ones(n))


@pytest.mark.slow
def test_what_a_saved_run_answers(finished, domains, tmp_path):
    folder = finished()
    random = torch.random.get_rng_state()
    saved = load_run(folder.parent)
    assert torch.equal(torch.random.get_rng_state(), random)
    assert saved.folder == folder and saved.record["status"] == "finished" and saved.config.strategy == "finetune"
    image = Image.fromarray(domains["red"].test[0][0].permute(1, 2, 0).numpy())
    image.save(tmp_path / "a.png")
    classes = saved.classes()
    assert classes == [(task, name) for task in ("red", "green") for name in domains[task].classnames]
    by_path, by_image = saved.predict(str(tmp_path / "a.png")), saved.predict([image, image])
    assert by_path.shape == (1, len(classes)) and torch.allclose(by_path[0], by_image[0])
    [answers] = saved.top(tmp_path / "a.png", k=3)
    order = by_path[0].argsort(descending=True)[:3].tolist()
    assert [answer[:2] for answer in answers] == [classes[i] for i in order]
    assert [answer.probability for answer in answers] == pytest.approx(by_path[0][order].tolist())
    logits = saved.encoder.logits(
        saved.encoder.encode_images(domains["red"].test[0][0][None]),
        torch.cat([saved.text_features("red"), saved.text_features("green")]),
    )
    assert torch.allclose(logits.softmax(dim=1), by_path, atol=1e-6) and not saved.own_predict
    assert [name for name, _ in saved.classes(["grey"])] == ["grey"] * 5
    with pytest.raises(UserError, match=r"Unknown task of the run 'rde'\. Did you mean red"):
        saved.predict(image, ["rde"])
    (tmp_path / "b.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"Cannot read the image .*b\.png"):
        saved.predict(tmp_path / "b.png")
    with pytest.raises(UserError, match="There is no image to classify"):
        saved.predict([])
    with pytest.raises(UserError, match=r"must be uint8 \[3, H, W\], got torch.float32"):
        saved.predict(torch.zeros(1, 3, 4, 4))


@pytest.mark.slow
def test_every_task_that_was_kept(finished):
    folder = finished("ranpac", {"width": 24}, protocol="agnostic", keep="all")
    for after, learned in ((1, "red"), (2, "red green")):
        saved = load_run(folder / "run.json", after)
        assert evaluated(saved) == counts(folder, after)
        assert {task for task, _ in saved.classes()} == {*learned.split()}
        assert repr(saved).endswith(f"ranpac, after task {after} of 2)")


@pytest.mark.slow
def test_a_class_of_several_tasks_counts_once(finished, model_directory, toy_benchmark, domains, monkeypatch):
    folder = finished()
    path = folder / "checkpoint" / "after-2" / "strategy.json"
    state = json.loads(path.read_text())
    red, green = state["benchmark"]["tasks"]
    green["classnames"][2] = red["classnames"][1]
    path.write_text(json.dumps(state))
    digests = read_json(path.parent / "sha256.json")
    write_json(path.parent / "sha256.json", {**digests, path.name: file_sha256(path)})
    saved, image = load_run(folder), domains["red"].test[0][0]
    both = saved.predict(image)[0]
    assert both[4] == 0 and both.sum() == pytest.approx(1, abs=1e-6)
    alone = saved.predict(image, ["red"])[0]
    assert both[0] / both[1] == pytest.approx(float(alone[0] / alone[1]), rel=1e-4)
    assert len(saved.top(image, k=99)[0]) == 4


@pytest.mark.slow
def test_code_of_the_user_is_trusted_unchanged_and_complete(finished, tmp_path):
    code = tmp_path / "mine.py"
    code.write_text(MINE)
    folder = finished(f"{code}:Mine")
    with pytest.raises(
        UserError, match=r"needs the code .*mine\.py \(SHA-256 \w{64}\), which would be run\. Read it, then use"
    ):
        load_run(folder)
    saved = load_run(folder, trust_code=True)
    assert evaluated(saved) == counts(folder, 2) and saved.own_predict and saved.strategy.shift == 1
    code.write_text(MINE.replace("self.shift = torch", "self.other = self.reference.images\n        self.shift = torch"))
    with pytest.raises(UserError, match=r"The code .*mine\.py has changed since the run .* so its model cannot be rebuilt"):
        load_run(folder, trust_code=True)
    forgets = MINE.partition("    def state")[0]
    needs_more = MINE.replace("super().before_run()", "super().before_run(); assert not self.evaluates_only")
    for text, message in (
        (forgets, r"does not hold the whole state of Mine \(Mine\.shift\), so its model cannot be rebuilt"),
        (needs_more, r"Mine\.before_run fails outside of training \(AssertionError"),
    ):
        code.write_text(text)
        folder = finished(f"{code}:Mine")
        with pytest.raises(UserError, match=message):
            load_run(folder, trust_code=True).evaluate()
    code.unlink()
    with pytest.raises(UserError, match=r"needs the code .*mine\.py, which cannot be read"):
        load_run(folder, trust_code=True)


@pytest.mark.slow
def test_an_older_checkpoint_and_what_cannot_be_loaded(finished, tmp_path, monkeypatch):
    folder = finished()
    checkpoint = folder / "checkpoint" / "after-2"
    for after in (5, 1):
        with pytest.raises(UserError, match=rf"keeps no weights after task {after}\. Kept: 2\."):
            load_run(folder, after)
    state = json.loads((checkpoint / "strategy.json").read_text())
    del state["benchmark"]
    (checkpoint / "strategy.json").write_text(json.dumps(state))
    with pytest.raises(UserError, match=r"The checkpoint file .*strategy\.json is missing or damaged"):
        load_run(folder)
    digests = read_json(checkpoint / "sha256.json")
    write_json(checkpoint / "sha256.json", {**digests, "strategy.json": file_sha256(checkpoint / "strategy.json")})
    assert evaluated(load_run(folder)) == counts(folder, 2)
    monkeypatch.delitem(BENCHMARKS._objects, "toy")
    with pytest.raises(
        UserError, match="is from an earlier version and does not name its classes, and its benchmark cannot be"
    ):
        load_run(folder)
    shutil.rmtree(folder / "checkpoint")
    with pytest.raises(UserError, match=r"has no checkpoint\. Repeat it with --fresh"):
        load_run(folder)
    shutil.copytree(folder, folder.parent / "copy")
    with pytest.raises(UserError, match=r"holds 2 runs\. Name the folder of one of them"):
        load_run(folder.parent)
    document = read_json(folder / "run.json")
    write_json(folder / "run.json", {**document, "status": "interrupted", "progress": {"after": 1, "of": 2}, "summary": None})
    with pytest.raises(UserError, match=r"is not finished \(it is interrupted after 1 of 2 tasks\)"):
        load_run(folder)
    with pytest.raises(UserError, match="There is no run at 'nowhere'"):
        load_run("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"There is no run in .*: it holds no run\.json"):
        load_run(tmp_path / "empty")
