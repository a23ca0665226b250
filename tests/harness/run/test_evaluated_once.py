"""An unchanged model is never evaluated twice. The tests count test images that pass through the image tower."""

from dataclasses import replace

import pytest

from harness.config.run_config import RunConfig
from harness.display.screen import Screen
from harness.run import loop as runner
from harness.run.loop import run
from models.encoder import DualEncoder

# Four test sets of 24 images: three tasks and a held-out domain.
ROW = 4 * 24


@pytest.fixture
def config(toy_benchmark, model_directory, tmp_path):
    options = {"iterations": 1, "batch_size": 8, "warmup": 0}
    settings = {"model": str(model_directory), "options": options, "measure_n": 10, "device": "cpu"}
    return RunConfig(toy_benchmark, "finetune", out=str(tmp_path / "results"), **settings)


@pytest.fixture
def evaluated(monkeypatch):
    """Return the numbers of images in the evaluations of all test sets, in order."""
    rows, passed = [], [0]
    forward, evaluate = DualEncoder.raw_images, runner._evaluate

    def raw_images(self, pixels):
        passed[0] += len(pixels)
        return forward(self, pixels)

    def counted(*args):
        before = passed[0]
        try:
            return evaluate(*args)
        finally:
            rows.append(passed[0] - before)

    monkeypatch.setattr(DualEncoder, "raw_images", raw_images)
    monkeypatch.setattr(runner, "_evaluate", counted)
    return rows


@pytest.mark.slow
def test_once_at_the_start_and_once_after_each_task(config, evaluated):
    run(config, Screen(quiet=True))
    assert evaluated == [ROW] * 4, "there is no further evaluation at the end"


@pytest.mark.slow
def test_without_training_there_is_one_evaluation(config, evaluated):
    run(replace(config, strategy="zero-shot"), Screen(quiet=True))
    assert evaluated == [ROW]


@pytest.mark.slow
@pytest.mark.parametrize("tuning", ["adapter", "text"])
def test_an_image_tower_that_does_not_train_sees_the_test_images_once(config, evaluated, tuning):
    run(replace(config, tuning=tuning), Screen(quiet=True))
    assert evaluated == [ROW, 0, 0, 0]


@pytest.mark.slow
def test_a_resumed_run_does_not_repeat_rows(config, evaluated, killed):
    quiet = Screen(quiet=True)
    killed(lambda: run(config, quiet), runner, "report_choices", 2)
    assert evaluated == [ROW] * 3, "killed after the evaluation that follows the second task, before it is recorded"
    evaluated.clear()
    run(config, quiet)
    assert evaluated == [ROW] * 2, "the lost one again, and the last"


@pytest.mark.slow
def test_a_finished_run_is_not_evaluated_again(config, evaluated):
    run(config, Screen(quiet=True))
    evaluated.clear()
    assert run(config, Screen(quiet=True)).skipped and evaluated == []
