"""Write the results of a search: a settings file for `bench --config`, the table of trials, and a figure."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import MaxNLocator, NullFormatter

from harness.config.run_config import RunConfig
from harness.config.settings import declared
from harness.report.figure import Figure, Numbers
from harness.report.figure_style import COLOURS, INK, OTHERS, legend, panels, short
from harness.tune.score import Metric
from harness.tune.space import Dimension
from harness.tune.trial_study import FINISHED, STOPPED, Entry
from models.files import write_bytes

SETTINGS = "settings.toml"
SLUG = "trials"
OWN = ("benchmark", "strategy", "options", "seed", "split", "val_limit")
"""Settings that the settings file has in every case, or never."""
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def write_settings(path: Path, config: RunConfig, lines: Iterable[str]) -> None:
    """Write the settings of a run as TOML: what differs from the defaults, without its seed and the split that it scores.

    Args:
        path: the file.
        config: the run.
        lines: comments for the top of the file.
    """
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    defaults = RunConfig()
    recorded = [name for name, setting in declared(RunConfig).items() if setting.recorded and name not in OWN]
    others = {name: fields[name] for name in recorded if fields[name] != getattr(defaults, name)}
    text = [f"# {' '.join(line.split())}" for line in lines]
    text += [f"{name} = {toml(value)}" for name, value in {"benchmark": config.benchmark, "strategy": config.strategy}.items()]
    text += [f"{name} = {toml(value)}" for name, value in others.items() if value is not None]
    text += ["", "[options]", *(f"{_key(name)} = {toml(value)}" for name, value in config.options.items())]
    write_bytes(path, ("\n".join(text) + "\n").encode())


def toml(value: Any) -> str:
    """Return a value as TOML. A text that is a number or a switch becomes one."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower()
    if isinstance(value, str) and NUMBER.fullmatch(value):
        number = float(value)
        return str(int(value)) if re.fullmatch(r"[+-]?\d+", value) else repr(number) if math.isfinite(number) else f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    # A text of JSON is a text of TOML.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _key(name: str) -> str:
    return name if BARE_KEY.fullmatch(name) else json.dumps(name, ensure_ascii=False)


def trials_figure(entries: Sequence[Entry], space: Sequence[Dimension], metric: Metric, title: str) -> Figure | None:
    """Return the figure of a search, whose data is the table of trials; None before the first score.

    The first panel has the score of each trial and the best one so far. Each further panel has the scores over one option.
    """
    columns = ("trial", "state", "score", "tasks", "seconds", *(dimension.name for dimension in space), "note")
    rows = [
        (e.number, e.state, "" if e.score is None else repr(e.score), e.tasks, round(e.seconds, 1),
         *(e.values[dimension.name] for dimension in space), e.note)
        for e in entries
    ]  # fmt: skip
    scored = [entry for entry in entries if entry.score is not None and entry.state in (FINISHED, STOPPED)]
    finished = [entry for entry in scored if entry.state == FINISHED]
    if not finished:
        return None
    best = max(finished, key=lambda entry: metric.sign * (entry.score or 0.0))

    def draw() -> Drawing:
        figure, axes = panels(["trials", *(dimension.name for dimension in space)], sharex=False)
        handles: dict[str, Any] = {}
        for axis, dimension in zip(axes, [None, *space], strict=True):
            places = _positions(axis, dimension, scored)
            for state, colour, marker in ((FINISHED, COLOURS[0], "o"), (STOPPED, OTHERS, "x")):
                points = [(places[entry.number], entry.score or 0.0) for entry in scored if entry.state == state]
                if points:
                    x, y = zip(*points, strict=True)
                    handles[state] = axis.scatter(x, y, color=colour, marker=marker, s=14, zorder=2)
            x, y = (places[best.number],), (best.score or 0.0,)
            handles["best"] = axis.scatter(x, y, facecolor="none", edgecolor=INK, marker="o", s=50, zorder=3)
        so_far, value = [], -math.inf
        for entry in finished:
            value = max(value, metric.sign * (entry.score or 0.0))
            so_far.append((entry.number, metric.sign * value))
        numbers, scores = zip(*so_far, strict=True)
        [handles["best so far"]] = axes[0].plot(numbers, scores, color=INK, linewidth=0.9, drawstyle="steps-post")
        figure.supylabel(f"{metric.name} on validation images", fontsize=9)
        legend(figure, list(handles.values()), list(handles))
        return figure

    stopped = len(scored) - len(finished)
    counts = f"{len(finished)} finished trials" + (f" and {stopped} stopped ones" if stopped else "")
    caption = f"Scores of {counts}. A stopped trial has its score after the tasks that it was trained on."
    options = ", ".join(f"{name} {value}" for name, value in best.values.items())
    description = f"Best: {metric.name} {best.score:.2f} with {options}."
    return Figure(SLUG, title, caption, description, Numbers(columns, rows), draw)


def _positions(axis: Axes, dimension: Dimension | None, entries: Sequence[Entry]) -> Mapping[int, float]:
    """Return the horizontal place of each trial, and set the scale of the axis."""
    if dimension is None:
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        return {entry.number: float(entry.number) for entry in entries}
    if dimension.values:
        axis.set_xticks(range(len(dimension.values)), [short(value, 12) for value in dimension.values])
        return {entry.number: float(dimension.values.index(entry.values[dimension.name])) for entry in entries}
    if dimension.log:
        axis.set_xscale("log")
        low, high = math.ceil(math.log10(dimension.low)), math.floor(math.log10(dimension.high))
        powers = [10.0**power for power in range(low, high + 1, max(1, (high - low + 2) // 3))]
        ticks = powers if len(powers) > 1 else [dimension.low, dimension.high]
        # The labels of a logarithmic axis are formulas, which the style switches off.
        axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.xaxis.set_minor_formatter(NullFormatter())
        margin = (dimension.high / dimension.low) ** 0.05
        axis.set_xlim(dimension.low / margin, dimension.high * margin)
    return {entry.number: float(entry.values[dimension.name]) for entry in entries}
