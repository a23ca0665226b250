"""`run`: one configuration from the zero-shot row to the summary, resumable after every experience."""

from __future__ import annotations

import platform
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.core import SupervisedPlugin

import models
from benchmarks.streams import make
from harness import checkpoint
from harness.config import Resolved, RunConfig, resolve
from harness.records import (
    ACCURACY_COLUMNS,
    MEASURE_COLUMNS,
    TRAIN_COLUMNS,
    read_csv,
    read_json,
    write_csv,
    write_json,
)
from harness.screen import Screen
from harness.summary import summarise, zero_shot_summary
from metrics.evaluate import Accuracy
from metrics.plugins import AccuracyMatrix, IIMMBeforeTraining, Measure, Row, ZeroShotRetention
from models.registry import UserError
from models.transforms import evaluation_transform
from reference_data import Reference
from strategies.base import seed_everything

VERSIONS = ("torch", "torchvision", "avalanche-lib", "open_clip_torch", "numpy")


class RunResult(NamedTuple):
    """Where the record is, its summary, and whether it was there already."""

    folder: Path
    summary: dict[str, float]
    skipped: bool


class _Watch(SupervisedPlugin):
    """Tells the screen about every step; knows nothing else."""

    def __init__(self, screen: Screen):
        super().__init__()
        self.screen = screen

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.advance("train", 1)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.stage("evaluate", strategy.experience.domain.name, len(strategy.experience.dataset))

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.screen.advance("evaluate", len(strategy.mb_y))


class Run:
    """The state of one run between experiences: what is in its folder, as objects."""

    def __init__(self, resolved: Resolved, screen: Screen):
        self.resolved = resolved
        self.screen = screen
        self.folder = resolved.folder
        self.rows: dict[int, Row] = {}
        self.measures: list[Measure] = []
        self.losses: list[dict[str, Any]] = []
        self.timings: dict[str, float] = {"train": 0.0, "evaluate": 0.0}
        self.images_trained = 0
        self.done = -1
        self.document: dict[str, Any] = {}

    def load(self) -> None:
        """Take up what a killed run left: rows up to its last checkpoint. Nothing there: start from nothing."""
        latest = checkpoint.latest(self.folder / "checkpoint")
        if latest is None:
            return
        done = int(latest["after"])
        for r in read_csv(self.folder / "accuracy.csv"):
            if int(r["after"]) <= done:
                cell = Accuracy(int(r["correct"]), int(r["n"]))
                self.rows.setdefault(int(r["after"]), {})[r["stream"], r["task"]] = cell
        for m in read_csv(self.folder / "measures.csv"):
            if int(m["experience"]) <= done:
                value = float(m["value"]) if m["value"] else float("nan")
                self.measures.append(Measure(m["when"], int(m["experience"]), m["task"], m["measure"], value, int(m["n"])))
        self.losses = [dict(r) for r in read_csv(self.folder / "train.csv") if int(r["after"]) <= done]
        if sorted(self.rows) != list(range(done + 1)):
            raise ValueError(f"{self.folder / 'accuracy.csv'} does not hold rows 0 to {done}; --fresh starts over")
        self.timings = latest["timings"]
        self.images_trained = latest["images_trained"]
        self.done = done

    def save(self, after: int, strategy: Any) -> None:
        """Write everything up to experience `after`; it counts from the moment `latest.json` is replaced."""
        weights = dict(strategy.encoder.state_dict())
        checkpoint.save_state(self.folder / "checkpoint", after, weights, strategy.state())
        write_csv(
            self.folder / "accuracy.csv",
            ACCURACY_COLUMNS,
            [
                {"after": a, "stream": s, "task": t, "accuracy": c.percent, "correct": c.correct, "n": c.n}
                for a in sorted(self.rows)
                for (s, t), c in self.rows[a].items()
            ],
        )
        write_csv(self.folder / "measures.csv", MEASURE_COLUMNS, [m._asdict() for m in self.measures])
        write_csv(self.folder / "train.csv", TRAIN_COLUMNS, self.losses)
        checkpoint.commit(self.folder / "checkpoint", after, timings=self.timings, images_trained=self.images_trained)
        self.done = after
        self.write_document("running")

    def write_document(self, status: str, error: str | None = None) -> None:
        """`run.json`: the configuration, the machine, how far the run is, and its summary once it is finished."""
        r = self.resolved
        finished = status == "finished"
        self.document.update(
            status=status,
            error=error,
            summary=summarise(self.rows, r.tasks, r.heldout, self.measures) if finished else None,
            progress={"after": self.done, "of": len(r.tasks)},
            train_seconds=round(self.timings["train"], 3),
            eval_seconds=round(self.timings["evaluate"], 3),
            images_per_second=round(self.images_trained / self.timings["train"], 1) if self.timings["train"] else None,
            peak_memory_mb=_peak_memory_mb(),
        )
        write_json(self.folder / "run.json", self.document)


def run(config: RunConfig, screen: Screen | None = None) -> RunResult:
    """Run one configuration, or continue or skip it when its folder says so.

    Raises UserError for mistakes in the configuration, before anything is trained.
    """
    screen = screen or Screen()
    try:
        return _run(resolve(config), screen)
    finally:
        screen.end()


def _run(resolved: Resolved, screen: Screen) -> RunResult:
    config = resolved.config
    state = Run(resolved, screen)
    existing = read_json(state.folder / "run.json")
    if existing and existing.get("status") == "finished" and not config.fresh:
        screen.say(f"finished already, nothing to do (--fresh repeats it): {state.folder}")
        return RunResult(state.folder, existing["summary"], True)
    if config.fresh:
        _clear(state.folder)
    state.load()
    device = _device(config.device)
    # For --pretrained random: a resumed run must start from the same weights.
    seed_everything(config.seed, 0)
    encoder = models.load(resolved.model, resolved.pretrained)
    _banner(screen, state, encoder)
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
    reference = _reference(config, encoder, screen) if resolved.strategy_class.needs_reference else None  # type: ignore[attr-defined]
    accuracy = AccuracyMatrix()
    kept = ZeroShotRetention(accuracy, resolved.tasks, resolved.heldout)
    iimm = IIMMBeforeTraining(config.measure_n, config.seed)
    strategy = resolved.strategy_class(
        encoder=encoder,
        options=resolved.options,
        tuning_name=config.tuning,
        reference=reference,
        seed=config.seed,
        device=device,
        metrics=[accuracy, iimm, kept],
        plugins=[_Watch(screen)],
    )
    state.document = _describe(resolved, encoder, strategy, device, scenario)
    try:
        _loop(state, strategy, scenario, accuracy, iimm, kept)
    except KeyboardInterrupt:
        state.write_document("interrupted")
        raise
    except Exception as error:
        state.write_document("failed", error=f"{type(error).__name__}: {error}")
        raise
    screen.end()
    summary = state.document["summary"]
    seconds = state.timings["train"] + state.timings["evaluate"]
    note = f"training {state.timings['train']:.0f} s, evaluation {state.timings['evaluate']:.0f} s, together {seconds:.0f} s"
    screen.summary(summary, zero_shot_summary(state.rows, resolved.tasks), str(state.folder), note)
    return RunResult(state.folder, summary, False)


def _loop(
    state: Run, strategy: Any, scenario: Any, accuracy: AccuracyMatrix, iimm: IIMMBeforeTraining, kept: ZeroShotRetention
) -> None:
    """Row 0, then for each experience: measures, training, evaluation, checkpoint and record."""
    screen, resolved = state.screen, state.resolved
    train, tests = scenario.streams["train"], [*scenario.streams["test"], *scenario.streams["heldout"]]
    images = sum(len(e.dataset) for e in tests)
    rows_left = (len(train) - max(0, state.done)) * strategy.trains + (state.done < 0)
    steps_left = (len(train) - max(0, state.done)) * resolved.options.iterations * strategy.trains
    screen.begin(resolved.tasks, resolved.heldout, state.rows, steps_left, rows_left * images)

    strategy.start()
    iimm.measure_initial(strategy, train)
    accuracy.rows.update(state.rows)
    if state.done >= 0:
        weights, saved = checkpoint.load_state(state.folder / "checkpoint", state.done)
        strategy.encoder.load_weights(weights)
        strategy.load(saved)
        strategy.trained = state.done
        screen.say(f"continuing after experience {state.done} of {len(train)}")
    else:
        _evaluate(state, strategy, tests, accuracy)
        screen.row(0, state.rows[0])
        state.save(0, strategy)

    for experience in list(train)[state.done :]:
        number, name = experience.current_experience + 1, experience.domain.name
        screen.stage("train", name, resolved.options.iterations if strategy.trains else 0)
        strategy.train(experience, eval_streams=[])
        state.timings["train"] += strategy.seconds
        state.images_trained += strategy.images_seen
        if strategy.trains:
            _evaluate(state, strategy, tests, accuracy)
        else:
            state.rows[number] = accuracy.rows[number] = dict(state.rows[0])
            kept.update(number)
        state.measures += iimm.values
        state.measures.append(Measure("after", number, name, "retention", *kept.rows[number]))
        iimm.reset()
        state.losses += [{"after": number, **record} for record in strategy.history]
        screen.row(number, state.rows[number])
        state.save(number, strategy)
    state.write_document("finished")


def _evaluate(state: Run, strategy: Any, tests: Sequence[Any], accuracy: AccuracyMatrix) -> None:
    began = time.perf_counter()
    strategy.eval(tests)
    state.timings["evaluate"] += time.perf_counter() - began
    state.rows[strategy.trained] = accuracy.rows[strategy.trained]


def _reference(config: RunConfig, encoder: Any, screen: Screen) -> Reference:
    from reference_data import mini

    images, transform = mini.images(progress=screen.data), evaluation_transform(encoder.image_size)
    return Reference(torch.stack([transform(image) for image in images]), mini.sentences())


def _describe(resolved: Resolved, encoder: Any, strategy: Any, device: torch.device, scenario: Any) -> dict[str, Any]:
    """The part of `run.json` that is known before the first step."""
    c = resolved.config
    request = {
        "benchmark": c.benchmark,
        "strategy": c.strategy,
        "edition": c.edition,
        "order": resolved.order_label if resolved.order_label != "custom" else ",".join(resolved.tasks),
        "model": resolved.model,
        "pretrained": resolved.pretrained,
        "tuning": c.tuning,
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
        "device": _device_name(device),
        "torch_threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: version(name) for name in VERSIONS},
        "git_revision": _git_revision(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _banner(screen: Screen, state: Run, encoder: Any) -> None:
    r, c = state.resolved, state.resolved.config
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    options = r.options
    lines = [
        f"{len(r.tasks)} tasks: {', '.join(r.tasks)}",
        f"held out: {', '.join(r.heldout) or 'none'}",
        f"model {r.model}{' / ' + r.pretrained if r.pretrained else ''} ({parameters:.1f} M parameters), tuning {c.tuning}",
    ]
    if r.strategy_class.trains:  # type: ignore[attr-defined]
        lines.append(f"{options.iterations} updates a task, batch {options.batch_size}, lr {options.lr:g}")
    if c.edition == "mini":
        lines.append(
            "mini edition: small domains and a tiny model, to try methods on; the papers' full edition (eleven datasets, "
            "ViT-B-16, a GPU) is not part of this version yet"
        )
    order = f"Order {r.order_label}" if r.order_label in ("I", "II") else f"{r.order_label} order"
    screen.banner(f"{c.benchmark}, {c.edition} edition, {order}: {r.strategy_slug}, seed {c.seed}", lines)


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"Unknown device {name!r}: use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError("There is no CUDA device here: leave out --device, or use --device cpu.")
    return device


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}: {torch.cuda.get_device_name(device)}"
    return f"cpu: {platform.processor() or platform.machine()}"


def _peak_memory_mb() -> float:
    """Peak of the process in MB; on a GPU the peak of what torch allocated there."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 1e6, 1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Kilobytes on Linux, bytes on macOS.
    return round(peak / (1e6 if platform.system() == "Darwin" else 1e3), 1)


def _git_revision() -> str | None:
    root = Path(__file__).parent.parent
    try:
        found = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _clear(folder: Path) -> None:
    """Forget a run: only the files that a run writes."""
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    for name in ("run.json", "accuracy.csv", "measures.csv", "train.csv"):
        (folder / name).unlink(missing_ok=True)
