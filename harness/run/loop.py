"""Run one configuration, from the zero-shot row to the summary. A run can be resumed after every experience."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from avalanche.benchmarks import CLScenario

from benchmarks import pair_lookup, reference_lookup
from benchmarks.names import SEEN
from harness.config.resolve import Resolved, resolve
from harness.config.run_config import RunConfig
from harness.config.user_plugins import make_plugin
from harness.display.screen import Screen
from harness.loggers import Logger
from harness.loggers.live_updates import LiveUpdates
from harness.loggers.run_log import RunLog
from harness.run import batch_check, checkpoint, costs, process_group, resume, run_files
from harness.run.announce import announce, report_choices, show_summary
from harness.run.build import build_scenario, build_strategy, load_encoder, load_reference
from harness.run.environment import check_compile, device_of, set_precision
from harness.run.heads import Heads
from harness.run.locks import locked
from harness.run.loggers_of_run import log_finished, logger_classes, make_log
from harness.run.mid_task_checkpoints import MidTaskCheckpoints
from harness.run.start_over import start_over, unsaved_warning
from harness.run.state import RunState, check_no_link
from metrics.evaluate import Accuracy
from metrics.plugins import AccuracyMatrix, MeasuresBeforeTraining, Row, ZeroShotRetention
from metrics.prediction_log import PredictionLog
from metrics.suite import Measure
from models.encoder import DualEncoder
from models.registry import UserError
from strategies.engine.mid_task import refusal
from strategies.engine.strategy import Strategy
from strategies.engine.unsaved_state import StartOver


class RunResult(NamedTuple):
    """The folder of a run, its summary, and whether it was finished before and skipped."""

    folder: Path
    summary: dict[str, float]
    skipped: bool


class Meters(NamedTuple):
    """The metric plugins of a run. Retention reads the accuracies, so it comes after them."""

    accuracy: AccuracyMatrix
    measures: MeasuresBeforeTraining
    retention: ZeroShotRetention


def run(config: RunConfig, screen: Screen | None = None) -> RunResult:
    """Run one configuration; continue an interrupted run and skip a finished one.

    Example:
        result = run(RunConfig("mtil", strategy="zscl", seed=1))
        print(result.summary["average"], result.folder)

    Args:
        config: the run as asked for.
        screen: where progress is shown.

    Raises:
        UserError: for mistakes in the configuration, before anything is trained or an old record is touched, and if another
            process is at work on the same run.
    """
    if screen is None or not process_group.leads():
        screen = Screen(quiet=not process_group.leads())
    resolved = resolve(config)
    loggers = logger_classes(resolved)
    if config.fresh:
        check_no_link(resolved.folder)
    if (finished := _finished(resolved, screen)) is not None:
        _remove_unneeded(resolved.folder)
        if loggers and (document := resume.recorded_document(resolved)) is not None:
            log_finished(resolved, loggers, document, screen)
        return finished
    resolved.plan.check()
    if resolved.reference is not None and resolved.reads_reference:
        lookup = pair_lookup if resolved.strategy_class.needs_pairs else reference_lookup
        lookup.check(*resolved.reference, config.data_root)
    if process_group.processes() > 1 and config.plugins:
        raise UserError(
            f"--plugin {' '.join(config.plugins)} makes separate passes over the data and runs in one process only: start "
            "without torchrun."
        )
    device = device_of(config.device)
    set_precision(config.precision, device)
    check_compile(config, device)
    encoder = load_encoder(resolved)
    try:
        scenario = build_scenario(resolved, encoder, screen)
        with (
            locked(resolved.folder) if process_group.leads() else nullcontext(),
            process_group.group(device) as process_device,
        ):
            # Another process may have finished the run while the data was prepared here.
            if (finished := _finished(resolved, screen)) is not None:
                return finished
            try:
                return _run(resolved, encoder, scenario, process_device, loggers, screen)
            except StartOver as error:
                next_config = start_over(resolved, error, screen)
        return run(next_config, screen)
    finally:
        screen.end()


def _finished(resolved: Resolved, screen: Screen) -> RunResult | None:
    """Return the result of a finished run, or None if there is something to do."""
    document = None if resolved.config.fresh else resume.recorded_document(resolved)
    if document is None or document["status"] != "finished":
        return None
    if resolved.config.check_batch and batch_check.missing(document, resolved.folder):
        return None
    if resolved.config.save_predictions and not (resolved.folder / run_files.PREDICTIONS).is_dir():
        screen.say("warning: predictions are saved while a run evaluates, and this run has finished without", style="yellow")
    if resolved.config.keep == "all" and len(kept := checkpoint.kept(resolved.folder / run_files.CHECKPOINTS)) < len(
        resolved.tasks
    ):
        tasks = f"task {', '.join(map(str, kept))}" if kept else "no task"
        screen.say(
            f"warning: this run has finished and kept the weights after {tasks} of {len(resolved.tasks)}; --fresh --keep all "
            "repeats it and keeps those of every task",
            style="yellow",
        )
    screen.say(f"finished already, nothing to do (--fresh repeats it): {resolved.folder}")
    return RunResult(resolved.folder, document["summary"], True)


def _remove_unneeded(folder: Path) -> None:
    """Remove what a killed process left in the folder of a finished run, unless another process is at work on it."""
    if process_group.leads() and run_files.find_unneeded(folder):
        with suppress(UserError), locked(folder):
            run_files.remove(run_files.find_unneeded(folder))


def _run(
    resolved: Resolved,
    encoder: DualEncoder,
    scenario: CLScenario,
    device: torch.device,
    loggers: Mapping[str, type[Logger]],
    screen: Screen,
) -> RunResult:
    """Prepare a run in its locked folder, train, and show the summary."""
    config, state = resolved.config, RunState(resolved)
    if process_group.leads():
        run_files.remove(run_files.find_unfinished(state.folder))
    if not config.fresh:
        state.load()
    accuracy = AccuracyMatrix()
    accuracy.rows = state.rows
    meters = Meters(
        accuracy,
        MeasuresBeforeTraining(resolved.measures, config.measure_n, config.seed),
        ZeroShotRetention(accuracy, resolved.tasks, resolved.retained),
    )
    plugins = {name: make_plugin(name, options) for name, options in resolved.plugins.items()}
    reference = load_reference(resolved, encoder, scenario, screen)
    state.predictions = PredictionLog() if config.save_predictions else None
    state.heads = Heads.of(scenario)
    metrics = meters if state.predictions is None else [*meters, state.predictions]
    strategy = build_strategy(resolved, encoder, reference, metrics, plugins, device, screen)
    if (recorded := None if config.fresh else resume.recorded_document(resolved)) and recorded["status"] == "finished":
        batch_check.add_to_finished(state, recorded, strategy, plugins, scenario.streams, screen)
        return RunResult(state.folder, recorded["summary"], True)
    announce(state, encoder, strategy, scenario, device, screen)
    if config.fresh and process_group.leads():
        for path in state.clear():
            screen.say(f"warning: --fresh left {path}, which is not a file of this run", style="yellow")
    elif state.done >= 0:
        for warning in resume.note_continuation(state.document, resume.recorded_document(resolved), state.done, state.damage):
            screen.say(f"warning: {warning}", style="yellow")
    mid_task = MidTaskCheckpoints(state.folder, config.checkpoint_minutes, lambda: dict(encoder.state_dict()), resolved.key)
    with state.recording_failures(), mid_task.answering_signals(), make_log(loggers, state, screen) as log:
        if log:
            strategy.plugins.append(LiveUpdates(log, len(state.losses)))
        _loop(state, strategy, plugins, scenario, meters, mid_task, log, screen)
    show_summary(state, screen)
    return RunResult(state.folder, state.document["summary"], False)


def _loop(
    state: RunState,
    strategy: Strategy,
    plugins: Mapping[str, Any],
    scenario: CLScenario,
    meters: Meters,
    mid_task: MidTaskCheckpoints,
    log: RunLog,
    screen: Screen,
) -> None:
    """Evaluate row 0, then for each experience: measure, train, evaluate, record and save a checkpoint."""
    train, tests = list(scenario.streams["train"]), [*scenario.streams["test"], *scenario.streams["heldout"]]
    remaining = train[max(0, state.done) :]
    # If nothing is learned, a row repeats row 0, unless the classes that compete depend on the number of tasks.
    evaluates = strategy.learns or state.competes
    updates = sum(strategy.budget(experience) for experience in remaining) if strategy.trains else 0
    rows = len(remaining) * evaluates + (state.done < 0)
    images = sum(len(experience.dataset) for experience in tests)
    screen.begin(state.resolved.tasks, state.resolved.heldout, state.rows, updates, rows * images)

    began = time.perf_counter()
    strategy.prepare_run()
    state.timings["train"] += time.perf_counter() - began
    stored_at_first = costs.stored_bytes(strategy, plugins)
    meters.measures.measure_initial(strategy, remaining)
    resumable = refusal(strategy, list(plugins)) is None
    if resumable:
        strategy.between_steps = mid_task
    if state.done >= 0:
        state.restore(strategy, plugins, train[: state.done])
        report_choices(state.document, strategy, screen)
        screen.say(f"continuing after experience {state.done} of {len(train)}")
        strategy.middle = _interrupted_task(mid_task, state.done, strategy, screen) if resumable else None
    else:
        _evaluate(state, strategy, tests)
        screen.row(0, state.rows[0])
        state.save(0, strategy, plugins)
    log.updates(state.losses)
    log.rows(state.rows, state.measures)

    for experience in remaining:
        after, task = experience.current_experience + 1, experience.domain.name
        if strategy.learns or len(experience.dataset):
            # The measures before and after training are taken by `meters` in callbacks.
            with mid_task.training(after - 1, task, resumable):
                strategy.train(experience, eval_streams=[])
        strategy.trained = after
        state.add_training(after, strategy, meters.measures.seconds)
        if evaluates:
            _evaluate(state, strategy, tests)
        else:
            state.rows[after] = dict(state.rows[0])
            meters.retention.update(after)
        report_choices(state.document, strategy, screen)
        state.measures += [*meters.measures.values, Measure("after", after, task, "retention", *meters.retention.rows[after])]
        meters.measures.reset()
        screen.row(after, state.rows[after])
        state.save(after, strategy, plugins)
        log.updates(state.losses)
        log.rows(state.rows, state.measures)
        if after == 1 and strategy.own_state is not None and (warning := unsaved_warning(strategy.own_state)) is not None:
            screen.say(f"warning: {warning}", style="yellow")
        if resumable:
            mid_task.clear()

    stored = costs.stored_bytes(strategy, plugins) - stored_at_first
    state.document["stored_per_task"] = stored / len(train)
    state.document["test_ms_per_image"] = costs.milliseconds_per_image(strategy, tests)
    if state.resolved.config.check_batch:
        state.document["batch_check"] = batch_check.check(strategy, tests, screen)
    state.write_document("finished")
    log.finish(state.document["summary"])
    if process_group.leads():
        checkpoint.prune(state.folder / run_files.CHECKPOINTS)
        run_files.remove(run_files.find_unneeded(state.folder))


def _evaluate(state: RunState, strategy: Strategy, tests: Sequence[Any]) -> None:
    """Fill a row of the accuracy matrix: every test set, and in the class-incremental protocol all classes so far."""
    began = time.perf_counter()
    strategy.eval(tests)
    state.timings["evaluate"] += time.perf_counter() - began
    row = state.rows[strategy.trained]
    if state.competes and strategy.trained:
        row["test", SEEN] = pooled(row, state.resolved.tasks[: strategy.trained])


def pooled(row: Row, tasks: Sequence[str]) -> Accuracy:
    """Return the accuracy over all test images of several tasks together."""
    cells = [row["test", task] for task in tasks]
    return Accuracy(sum(cell.correct for cell in cells), sum(cell.n for cell in cells))


def _interrupted_task(
    mid_task: MidTaskCheckpoints, done: int, strategy: Strategy, screen: Screen
) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
    """Return the weights and the snapshot to continue the next task from, or None if it starts at its beginning."""
    try:
        task = mid_task.load(done, strategy.device)
    except UserError as error:
        screen.say(f"warning: {error} The task starts at its beginning.", style="yellow")
        return None
    if task is None:
        return None
    if task.warning is not None:
        screen.say(f"warning: {task.warning}", style="yellow")
    screen.say(f"continuing after update {task.snapshot['step']} of the next task")
    return task.weights, task.snapshot
