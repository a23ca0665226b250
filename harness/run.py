"""`run`: one configuration from the zero-shot row to the summary, resumable after every experience."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.core import SupervisedPlugin
from filelock import FileLock, Timeout

import models
from benchmarks.streams import make
from harness import checkpoint, machine
from harness.config import Resolved, RunConfig, resolve
from harness.records import read_json
from harness.screen import Screen
from harness.state import RunState
from harness.summary import zero_shot_summary
from metrics.plugins import AccuracyMatrix, IIMMBeforeTraining, Measure, ZeroShotRetention
from models.registry import UserError
from models.transforms import evaluation_transform
from reference_data import Reference
from strategies.base import seed_everything


class RunResult(NamedTuple):
    """Where the record is, its summary, and whether it was there already."""

    folder: Path
    summary: dict[str, float]
    skipped: bool


class Meters(NamedTuple):
    """The metric plugins of a run; retention reads the accuracies, so it comes after them."""

    accuracy: AccuracyMatrix
    iimm: IIMMBeforeTraining
    retention: ZeroShotRetention


class _Watch(SupervisedPlugin):
    """Tells the screen about every step; knows nothing else."""

    def __init__(self, screen: Screen):
        super().__init__()
        self.screen = screen

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.stage("train", strategy.experience.domain.name, strategy.options.iterations)

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.advance("train", 1)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.stage("evaluate", strategy.experience.domain.name, len(strategy.experience.dataset))

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.advance("evaluate", len(strategy.mb_y))


def run(config: RunConfig, screen: Screen | None = None) -> RunResult:
    """Run one configuration, or continue or skip it when its folder says so.

    Raises UserError for mistakes in the configuration, before anything is trained or an old record is touched, and when
    another process is at work on the same run.
    """
    screen, resolved = screen or Screen(), resolve(config)
    existing = None if config.fresh else read_json(resolved.folder / "run.json")
    if existing and existing.get("status") == "finished":
        screen.say(f"finished already, nothing to do (--fresh repeats it): {resolved.folder}")
        return RunResult(resolved.folder, existing["summary"], True)
    device = machine.device_of(config.device)
    # For --pretrained random: a resumed run must start from the same weights.
    seed_everything(config.seed, 0)
    encoder = models.load(resolved.model, resolved.pretrained)
    resolved.folder.mkdir(parents=True, exist_ok=True)
    try:
        # The system releases it when the process dies, however it dies.
        with FileLock(resolved.folder / ".lock", timeout=0):
            return _run(resolved, encoder, device, screen)
    except Timeout as error:
        raise UserError(f"Another process is at work on {resolved.folder}.") from error
    finally:
        screen.end()


def _run(resolved: Resolved, encoder: Any, device: torch.device, screen: Screen) -> RunResult:
    config, state = resolved.config, RunState(resolved)
    if not config.fresh:
        state.load()
    _banner(screen, resolved, encoder)
    scenario = make(
        config.benchmark,
        config.edition,
        resolved.tasks,
        heldout=resolved.heldout,
        image_size=encoder.image_size,
        limit=config.limit,
        seed=config.seed,
        progress=screen.data,
    )
    accuracy = AccuracyMatrix()
    meters = Meters(
        accuracy,
        IIMMBeforeTraining(config.measure_n, config.seed),
        ZeroShotRetention(accuracy, resolved.tasks, resolved.heldout),
    )
    strategy = resolved.strategy_class(
        encoder=encoder,
        options=resolved.options,
        tuning_name=config.tuning,
        reference=_reference(encoder, screen) if resolved.strategy_class.needs_reference else None,
        seed=config.seed,
        device=device,
        metrics=meters,
        plugins=[_Watch(screen)],
    )
    state.document = _describe(resolved, encoder, strategy, device, scenario)
    if config.fresh:
        state.clear()
    try:
        _loop(state, strategy, scenario, meters, screen)
    except KeyboardInterrupt:
        state.write_document("interrupted")
        raise
    except Exception as error:
        state.write_document("failed", error=f"{type(error).__name__}: {error}")
        raise
    screen.end()
    summary, train, evaluate = state.document["summary"], state.timings["train"], state.timings["evaluate"]
    note = f"training {train:.0f} s, evaluation {evaluate:.0f} s, together {train + evaluate:.0f} s"
    screen.summary(summary, zero_shot_summary(state.rows, resolved.tasks), str(state.folder), note)
    return RunResult(state.folder, summary, False)


def _loop(state: RunState, strategy: Any, scenario: Any, meters: Meters, screen: Screen) -> None:
    """Row 0, then for each experience: measures, training, evaluation, checkpoint and record."""
    resolved, accuracy = state.resolved, meters.accuracy
    train, tests = scenario.streams["train"], [*scenario.streams["test"], *scenario.streams["heldout"]]
    images = sum(len(e.dataset) for e in tests)
    remaining = list(train)[max(0, state.done) :]
    to_train = len(remaining) if strategy.trains else 0
    rows_left = to_train + (state.done < 0)
    screen.begin(resolved.tasks, resolved.heldout, state.rows, to_train * resolved.options.iterations, rows_left * images)

    began = time.perf_counter()
    strategy.prepare_run()
    state.timings["train"] += time.perf_counter() - began
    meters.iimm.measure_initial(strategy, remaining)
    accuracy.rows.update(state.rows)
    if state.done >= 0:
        weights, saved = checkpoint.load_state(state.folder / "checkpoint", state.done, strategy.device)
        strategy.encoder.load_state_dict(weights)
        strategy.load(saved)
        strategy.trained = state.done
        screen.say(f"continuing after experience {state.done} of {len(train)}")
    else:
        _evaluate(state, strategy, tests, accuracy)
        screen.row(0, state.rows[0])
        state.save(0, strategy)

    for experience in remaining:
        number, name = experience.current_experience + 1, experience.domain.name
        strategy.train(experience, eval_streams=[])
        state.timings["train"] += strategy.seconds
        state.images_trained += strategy.images_seen
        if strategy.trains:
            _evaluate(state, strategy, tests, accuracy)
        else:
            state.rows[number] = accuracy.rows[number] = dict(state.rows[0])
            meters.retention.update(number)
        state.measures += meters.iimm.values
        state.measures.append(Measure("after", number, name, "retention", *meters.retention.rows[number]))
        meters.iimm.reset()
        state.losses += [{"after": number, **record} for record in strategy.history]
        screen.row(number, state.rows[number])
        state.save(number, strategy)
    state.write_document("finished")


def _evaluate(state: RunState, strategy: Any, tests: Sequence[Any], accuracy: AccuracyMatrix) -> None:
    began = time.perf_counter()
    strategy.eval(tests)
    state.timings["evaluate"] += time.perf_counter() - began
    state.rows[strategy.trained] = accuracy.rows[strategy.trained]


def _reference(encoder: Any, screen: Screen) -> Reference:
    from benchmarks.mini import reference

    images, transform = reference.images(progress=screen.data), evaluation_transform(encoder.image_size)
    return Reference(torch.stack([transform(image) for image in images]), reference.sentences())


def _describe(resolved: Resolved, encoder: Any, strategy: Any, device: torch.device, scenario: Any) -> dict[str, Any]:
    """The part of `run.json` that is known before the first step."""
    c = resolved.config
    request = {
        "benchmark": c.benchmark,
        "strategy": c.strategy,
        "edition": c.edition,
        "order": ",".join(resolved.tasks) if resolved.order_label.startswith("custom") else resolved.order_label,
        "model": resolved.model,
        "pretrained": resolved.pretrained,
        "tuning": c.tuning,
        "protocol": c.protocol,
        "seed": c.seed,
        "limit": c.limit,
        "heldout": list(resolved.heldout),
        "measure_n": c.measure_n,
        "options": resolved.identity()["options"],
    }
    return {
        "request": request,
        "key": resolved.key,
        "identity": resolved.identity(),
        "status": "running",
        "summary": None,
        "samples": {s: [len(e.dataset) for e in stream] for s, stream in scenario.streams.items()},
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "trainable_params": sum(p.numel() for p in strategy.trainable) if strategy.trains else 0,
        **machine.describe(device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _banner(screen: Screen, r: Resolved, encoder: Any) -> None:
    c = r.config
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    options = r.options
    lines = [
        f"{len(r.tasks)} tasks: {', '.join(r.tasks)}",
        f"held out: {', '.join(r.heldout) or 'none'}",
        f"model {r.model}{' / ' + r.pretrained if r.pretrained else ''} ({parameters:.1f} M parameters), tuning {c.tuning}",
    ]
    if r.strategy_class.trains:
        lines.append(f"{options.iterations} updates a task, batch {options.batch_size}, lr {options.lr:g}")
    if c.edition == "mini":
        lines.append(
            "mini edition: small domains and a tiny model, to try methods on; the papers' full edition (eleven datasets, "
            "ViT-B-16, a GPU) is not part of this version yet"
        )
    order = f"Order {r.order_label}" if r.order_label in ("I", "II") else f"{r.order_label} order"
    screen.banner(f"{c.benchmark}, {c.edition} edition, {order}: {r.strategy_slug}, seed {c.seed}", lines)
