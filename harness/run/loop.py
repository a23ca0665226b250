"""`run`: one configuration from the zero-shot row to the summary, resumable after every experience."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.core import SupervisedPlugin

import models
from benchmarks.data.progress import Progress
from benchmarks.full import Missing
from benchmarks.names import SEEN
from benchmarks.scenario import assemble
from harness.config.resolve import Resolved, resolve
from harness.config.run_config import RunConfig
from harness.config.user_file import exited
from harness.config.user_plugins import make_plugin
from harness.display.data_summary import print_data_summary
from harness.display.end_of_run import end_of_run
from harness.display.screen import Screen
from harness.records.summary import zero_shot_summary
from harness.run import checkpoint, resume
from harness.run import environment as machine
from harness.run import leftover_files as litter
from harness.run import process_group as parallel
from harness.run.describe import banner, document, short_warmup
from harness.run.locks import locked
from harness.run.mid_task_checkpoints import Pauses
from harness.run.signals import check
from harness.run.start_over import load_weights, not_saved, start_over
from harness.run.state import RunState, check_no_link
from metrics.evaluate import Accuracy
from metrics.plugins import AccuracyMatrix, Measure, MeasuresBeforeTraining, Row, ZeroShotRetention
from models.registry import UserError
from strategies.engine.batches import in_memory, without_traceback
from strategies.engine.mid_task import refusal
from strategies.engine.schedule import budget, seed_everything
from strategies.engine.unsaved_state import OwnState, StartOver
from strategies.plugins import built_in as plugin_module


class RunResult(NamedTuple):
    """Where the record is, its summary, and whether it was there already."""

    folder: Path
    summary: dict[str, float]
    skipped: bool


class Meters(NamedTuple):
    """The metric plugins of a run; retention reads the accuracies, so it comes after them."""

    accuracy: AccuracyMatrix
    measures: MeasuresBeforeTraining
    retention: ZeroShotRetention


class _Watch(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """Tells the screen about every step, and stops there where a signal's exception was lost (`harness.run.signals`)."""

    def __init__(self, screen: Screen):
        super().__init__()
        self.screen = screen

    def before_training_epoch(self, strategy: Any, **kwargs: Any) -> None:
        check()
        self.screen.stage("train", strategy.experience.domain.name, strategy.budget(strategy.experience))

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        check()
        self.screen.advance("train", 1)

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        check()
        self.screen.stage("evaluate", strategy.experience.domain.name, len(strategy.experience.dataset))

    def after_eval_iteration(self, strategy: Any, **kwargs: Any) -> None:
        check()
        self.screen.advance("evaluate", len(strategy.mb_y))


def _stoppable(progress: Progress) -> Progress:
    """Return the progress report with a stop before each call where a signal's exception was lost."""

    def report(done: int, total: int, what: str) -> None:
        check()
        progress(done, total, what)

    return report


class _Readers(SupervisedPlugin, supports_distributed=True):  # type: ignore[call-arg]
    """In evaluation, processes read the images that are not in memory: those that no cache could be kept of."""

    def before_eval_exp(self, strategy: Any, **kwargs: Any) -> None:
        if strategy.workers and not in_memory(strategy.experience.domain.test):
            strategy.make_eval_dataloader(num_workers=strategy.workers)


def run(config: RunConfig, screen: Screen | None = None) -> RunResult:
    """Run one configuration, or continue or skip it when its folder says so.

    Raises UserError for mistakes in the configuration, before anything is trained or an old record is touched, and when
    another process is at work on the same run.
    """
    if screen is None or not parallel.leads():
        screen = Screen(quiet=not parallel.leads())
    resolved = resolve(config)
    if config.fresh:
        check_no_link(resolved.folder)
    if (finished := _finished(resolved, screen)) is not None:
        _tidy(resolved.folder)
        return finished
    resolved.plan.check()
    if resolved.reference is not None:
        from benchmarks import reference_lookup as reference_files

        reference_files.check(*resolved.reference, config.data_root)
    if parallel.processes() > 1 and config.plugins:
        raise UserError(
            f"--plugin {' '.join(config.plugins)} makes passes of its own and runs in one process: leave torchrun out."
        )
    device = machine.device_of(config.device)
    machine.compute_in(config.precision, device)
    # For --pretrained random: a resumed run must start from the same weights.
    seed_everything(config.seed, 0)
    encoder = models.load(resolved.model, resolved.pretrained)
    encoder.precision = "bf16" if config.precision == "bf16" else "fp32"
    encoder.microbatch = config.microbatch
    try:
        scenario = _scenario(resolved, encoder, screen)
        with locked(resolved.folder) if parallel.leads() else nullcontext(), parallel.group(device) as own:
            # Another process may have been quicker, while the data was prepared here.
            if (finished := _finished(resolved, screen)) is not None:
                return finished
            try:
                return _run(resolved, encoder, scenario, own, screen)
            except StartOver as error:
                again = start_over(resolved, error, screen)
        return run(again, screen)
    finally:
        screen.end()


def _finished(resolved: Resolved, screen: Screen) -> RunResult | None:
    """The result of a run that has come to its end before; None for one that is to be made."""
    existing = None if resolved.config.fresh else resume.record(resolved)
    if existing is None or existing["status"] != "finished":
        return None
    screen.say(f"finished already, nothing to do (--fresh repeats it): {resolved.folder}")
    return RunResult(resolved.folder, existing["summary"], True)


def _tidy(folder: Path) -> None:
    """Remove what a killed process left in the folder of a finished run, unless another process is at work on it."""
    if parallel.leads() and litter.find(folder):
        with suppress(UserError), locked(folder):
            litter.remove(folder)


def _run(resolved: Resolved, encoder: Any, scenario: Any, device: torch.device, screen: Screen) -> RunResult:
    config, state = resolved.config, RunState(resolved)
    if parallel.leads():
        state.tidy()
    if not config.fresh:
        state.load()
    accuracy = AccuracyMatrix()
    meters = Meters(
        accuracy,
        MeasuresBeforeTraining(resolved.measures, config.measure_n, config.seed),
        ZeroShotRetention(accuracy, resolved.tasks, resolved.heldout),
    )
    plugins = {name: make_plugin(name, options) for name, options in resolved.plugins.items()}
    strategy = resolved.strategy_class(
        encoder=encoder,
        options=resolved.options,
        tuning_name=resolved.tuning,
        tuning_options=dataclasses.asdict(resolved.tuning_options),
        reference=_reference(resolved, encoder, scenario, screen),
        seed=config.seed,
        device=device,
        metrics=meters,
        plugins=[_Watch(screen), _Readers(), *plugins.values()],
        workers=_workers(config),
        progress=_stoppable(screen.aside),
    )
    strategy.own_state = OwnState(strategy, plugins)
    screen.banner(*banner(resolved, encoder, strategy, scenario))
    domains = [e.domain for name in ("test", "heldout") for e in scenario.streams[name]]
    print_data_summary(domains, screen.say, screen.show, encoder.reader, len(resolved.tasks), scenario.warnings)
    for difference in scenario.differences:
        screen.say(f"warning: {difference}", style="yellow")
    if scenario.differences:
        screen.say("warning: this is not the paper's data, so the results do not compare with its tables", style="yellow")
    if (short := short_warmup(resolved, strategy, scenario)) is not None:
        screen.say(f"warning: {short}", style="yellow")
    state.document = document(resolved, encoder, strategy, device, scenario)
    if config.fresh and parallel.leads():
        for path in state.clear():
            screen.say(f"warning: --fresh left {path}: it is not a file of this run", style="yellow")
    elif state.done >= 0:
        for warning in resume.continued(state.document, resume.record(resolved), state.done, state.damage):
            screen.say(f"warning: {warning}", style="yellow")
    pauses = Pauses(state.folder, config.checkpoint_minutes, lambda: dict(encoder.state_dict()), resolved.key)
    try:
        with pauses.listening():
            _loop(state, strategy, plugins, scenario, meters, screen, pauses)
    except KeyboardInterrupt:
        with suppress(OSError):
            state.write_document("interrupted")
        raise
    except (Exception, SystemExit) as error:
        said: Exception = exited(error) if isinstance(error, SystemExit) else error
        said = without_traceback(said) if isinstance(said, UserError) else said
        # A disk that takes nothing more must not hide what went wrong.
        with suppress(OSError):
            state.write_document("failed", error=f"{type(said).__name__}: {said}")
        if said is not error:
            raise said from None
        raise
    screen.end()
    summary, train, evaluate = state.document["summary"], state.timings["train"], state.timings["evaluate"]
    note = f"training {train:.0f} s, evaluation {evaluate:.0f} s, together {train + evaluate:.0f} s"
    # A model that never changes has no row 0 to repeat where the classes that compete depend on the tasks so far.
    zero = None if resolved.plan.protocol == "class" else zero_shot_summary(state.rows, resolved.tasks)
    screen.summary(summary, zero, str(state.folder), *end_of_run(note, state.rows, resolved, state.document))
    return RunResult(state.folder, summary, False)


def _loop(
    state: RunState,
    strategy: Any,
    plugins: Mapping[str, Any],
    scenario: Any,
    meters: Meters,
    screen: Screen,
    pauses: Pauses,
) -> None:
    """Row 0, then for each experience: measures, training, evaluation, checkpoint and record."""
    resolved, accuracy = state.resolved, meters.accuracy
    train, tests = scenario.streams["train"], [*scenario.streams["test"], *scenario.streams["heldout"]]
    images = sum(len(e.dataset) for e in tests)
    remaining = list(train)[max(0, state.done) :]
    # Without training a row repeats row 0, unless which classes compete depends on how many tasks there have been.
    evaluates = strategy.trains or resolved.plan.protocol == "class"
    updates = sum(strategy.budget(e) for e in remaining) if strategy.trains else 0
    rows_left = len(remaining) * evaluates + (state.done < 0)
    screen.begin(resolved.tasks, resolved.heldout, state.rows, updates, rows_left * images)

    began = time.perf_counter()
    strategy.prepare_run()
    state.timings["train"] += time.perf_counter() - began
    meters.measures.measure_initial(strategy, remaining)
    accuracy.rows.update(state.rows)
    goes_on = state.done >= 0
    if goes_on:
        weights, saved = checkpoint.load_state(state.folder / "checkpoint", state.done, strategy.device)
        load_weights(strategy, weights)
        strategy.classifier.load_head_state(saved["heads"])
        strategy.load(saved["method"])
        for name, plugin in plugins.items():
            plugin_module.load_state(plugin, saved["plugins"][name], strategy, list(train)[: state.done])
        strategy.own_state.compare(saved.get("attributes", {}))
        strategy.trained = state.done
        _report(state, strategy, screen)
        screen.say(f"continuing after experience {state.done} of {len(train)}")
    else:
        _evaluate(state, strategy, tests, accuracy)
        screen.row(0, state.rows[0])
        state.save(0, strategy, plugins)

    saves = refusal(strategy, list(plugins)) is None
    if saves:
        strategy.between_steps = pauses
        strategy.middle = _middle(pauses, state, strategy, screen) if goes_on else None

    for experience in remaining:
        number, name = experience.current_experience + 1, experience.domain.name
        if strategy.trains or len(experience.dataset):
            with pauses.task(number - 1, name, saves=saves):
                strategy.train(experience, eval_streams=[])
        strategy.trained = number
        if strategy.trains:
            state.trainable = sum(p.numel() for p in strategy.trainable)
            # Measuring the trained model is no part of what training it costs.
            state.timings["train"] += strategy.seconds - meters.measures.seconds
        state.images_trained += strategy.images_seen
        if evaluates:
            _evaluate(state, strategy, tests, accuracy)
        else:
            state.rows[number] = accuracy.rows[number] = dict(state.rows[0])
            meters.retention.update(number)
        _report(state, strategy, screen)
        state.measures += meters.measures.values
        state.measures.append(Measure("after", number, name, "retention", *meters.retention.rows[number]))
        meters.measures.reset()
        state.losses += [{"after": number, **record} for record in strategy.history]
        screen.row(number, state.rows[number])
        state.save(number, strategy, plugins)
        if number == 1 and (warning := not_saved(strategy.own_state)) is not None:
            screen.say(f"warning: {warning}", style="yellow")
        if saves:
            pauses.clear()
    state.write_document("finished")
    if parallel.leads():
        checkpoint.prune(state.folder / "checkpoint")
        litter.remove(state.folder)


def _middle(pauses: Pauses, state: RunState, strategy: Any, screen: Screen) -> Any:
    """The next task where it was interrupted, or None: then it starts at its beginning."""
    try:
        found = pauses.middle(state.done, strategy.device)
    except UserError as error:
        screen.say(f"warning: {error} The task starts at its beginning.", style="yellow")
        return None
    if found is None:
        return None
    if found.warning is not None:
        screen.say(f"warning: {found.warning}", style="yellow")
    screen.say(f"continuing after update {found.snapshot['step']} of the next task")
    return found.weights, found.snapshot


def _report(state: RunState, strategy: Any, screen: Screen) -> None:
    """What a method wants said and recorded of itself: `notes`, sentences; `searches`, what it chose by validation."""
    said = state.document.setdefault("notes", [])
    for note in getattr(strategy, "notes", ()):
        if note not in said:
            said.append(note)
            screen.say(f"note: {note}", style="yellow")
    if hasattr(strategy, "searches"):
        state.document["searches"] = list(strategy.searches)


def _evaluate(state: RunState, strategy: Any, tests: Sequence[Any], accuracy: AccuracyMatrix) -> None:
    began = time.perf_counter()
    strategy.eval(tests)
    state.timings["evaluate"] += time.perf_counter() - began
    row = state.rows[strategy.trained] = accuracy.rows[strategy.trained]
    if state.resolved.plan.protocol == "class" and strategy.trained:
        row["test", SEEN] = seen(row, state.resolved.tasks[: strategy.trained])


def seen(row: Row, tasks: Sequence[str]) -> Accuracy:
    """Accuracy over all test images of these tasks together; in the class-incremental protocol, of all classes so far."""
    cells = [row["test", task] for task in tasks]
    return Accuracy(sum(cell.correct for cell in cells), sum(cell.n for cell in cells))


def _scenario(resolved: Resolved, encoder: Any, screen: Screen) -> Any:
    c, strategy_class = resolved.config, resolved.strategy_class

    def build(splits: Sequence[str] = ("train", "val", "test")) -> Any:
        return assemble(
            resolved.plan,
            encoder=encoder,
            limit=c.limit,
            shots=c.shots,
            seed=c.seed,
            cache=c.cache,
            select=strategy_class.selects(resolved.options),
            splits=splits,
            progress=_stoppable(screen.data),
        )

    if strategy_class.trains:
        return build()
    try:
        return build()
    except Missing:
        scenario = build(("test",))
        screen.say("no training data found: the measures before training are left out", style="dim")
        return scenario


def _workers(config: RunConfig) -> int:
    """Processes that read training images from files: as asked, or as many as there are processors, at most eight."""
    return min(8, os.cpu_count() or 1) if config.workers is None else config.workers


def _reference(resolved: Resolved, encoder: Any, scenario: Any, screen: Screen) -> Any:
    """What the strategy distils on: no more reference images than it says that it looks at."""
    if resolved.reference is None:
        return None
    from benchmarks import reference

    options = resolved.options
    updates = [budget(options, len(e.dataset)) for e in scenario.streams["train"]]
    return reference.load(
        *resolved.reference,
        encoder.preprocess,
        data_root=resolved.config.data_root,
        count=resolved.strategy_class.reference_count(options, updates),
        paths=resolved.reference_paths,
        cache=resolved.config.cache,
        progress=_stoppable(screen.data),
    )
