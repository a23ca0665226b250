"""Compare two methods on the same data and seeds, with intervals. Imports neither torch nor Avalanche."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.names import SEEN
from harness.display.console import complain
from harness.records.leaderboard import LESS_IS_BETTER, MARKS, TABLE, marked
from harness.records.named_runs import Side, find_sides, options_of
from harness.records.runs import Run
from harness.records.titles import METRIC_TITLES, ordered_names, stream_title
from metrics import by_task
from metrics.by_task import ByTask
from metrics.comparison import Comparison, paired
from models.registry import UserError

PLACE = (*TABLE, "model")
COLUMNS = (
    *(*PLACE, "a", "b", "metric", "mean_a", "mean_b", "difference", "low", "high"),
    *("wins", "ties", "losses", "seeds", "tasks", "verdict", "note", "setting", "settings_a", "settings_b"),
)
BLOCK = (*PLACE, "setting", "a", "settings_a", "b", "settings_b", "note")
"""Columns in which the rows of one printed table agree."""
# Parts of a run's identity that belong to the method. The others are the data and the initial model.
OF_THE_METHOD = (
    *("strategy", "strategy_sha256", "options", "tuning", "tuning_options", "plugins", "reference", "reference_version"),
    *("files", "seed", "measure_n", "measures"),
)
MEANINGS = (
    "Difference: A - B, in points, with the 95 % interval of a bootstrap over tasks and seeds: the range to expect from "
    "further seeds and similar tasks. A better, B better: the interval excludes 0. Otherwise no difference is shown, which "
    "does not prove that the methods are equal. The metrics describe the same runs and are not independent. "
    "A wins / ties / loses: (seed, task) pairs."
)
NAMES_SHOWN = 6


@dataclass(frozen=True)
class CompareConfig:
    """Two methods to compare.

    Each is the name of a strategy as records have it ("zscl", "zscl+ewc"), the class of a strategy file, or a folder of its
    runs. Options may follow a name and select its runs: "zscl:l2=0.5" or "zscl:l2=0.5,lr=1e-4". Names are looked up in
    `results`.
    """

    a: str
    b: str
    results: tuple[str, ...] = ("results",)


class Pair(NamedTuple):
    """Runs of A and of B on the same data, with equal seeds at equal positions.

    `setting` distinguishes this pair from the other pairs shown. `settings_a` and `settings_b` name the options in which runs
    of one method differ. They are empty if there is nothing to distinguish.
    """

    a: list[Run]
    b: list[Run]
    setting: str = ""
    settings_a: str = ""
    settings_b: str = ""

    @property
    def seeds(self) -> list[int]:
        """The seeds of both methods."""
        return [run.identity["seed"] for run in self.a]


Variant = dict[int, Run]
"""Runs of a method by seed that agree in everything else."""


def compare(config: CompareConfig, say: Callable[[str], None] = complain) -> pd.DataFrame:
    """Compare two methods metric by metric, in each setting in which both have runs.

    Runs form a pair if they agree in everything that does not belong to the method: benchmark, edition, order, tasks, held-out
    domains, version of the data, protocol, limit, shots, model, weights and seed. If a method has runs with several options
    there, each is compared with the most similar runs of the other method (an equal tuning counts most). `settings_a` and
    `settings_b` distinguish such runs, and `note` names the remaining differences between A and B.

    Example:
        table = compare(CompareConfig("zscl", "finetune"))
        table = compare(CompareConfig("zscl:l2=0.5", "zscl"))

    Args:
        config: the two methods.
        say: called with a sentence for each group of finished runs without a counterpart.

    Returns:
        One row per metric and setting, with the columns `COLUMNS`.

    Raises:
        UserError: for unknown names and options, for damaged records, and if no run has a counterpart. The message names the
            differences.
    """
    a, b = find_sides(config.a, config.b, config.results)
    pairs, unpaired = _pairs(a, b)
    if not pairs:
        raise UserError(f"{a.label} and {b.label} have no runs to compare: {_nearest_runs(a, b)}.")
    for sentence in unpaired:
        say(f"not compared: {sentence}")
    rows = [row for pair in _with_settings(pairs) for row in _rows(pair, a.label, b.label)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["ordered"] = {run.identity["order"]: ordered_names(run.identity) for pair in pairs for run in pair.a}
    return table


def values(run: Run) -> dict[str, ByTask]:
    """Return the defined metrics of a run task by task, under their names in the summary.

    Raises UserError if its accuracy.csv lacks cells.
    """
    rows, heldout = run.rows("test", run.tasks), run.rows("heldout", run.retained)
    if np.isnan(rows).any() or np.isnan(heldout).any():
        raise UserError(f"{run.folder / 'accuracy.csv'} is damaged (not every task is there after every step).")
    R = rows[1:]
    metrics = {
        "transfer": by_task.transfer(R),
        "average": by_task.average(R),
        "last": by_task.last(R),
        "forgetting": by_task.forgetting(R),
        "bwt": by_task.backward_transfer(R),
        "retention": by_task.retention(R, rows[0], heldout[1:], heldout[0]),
    }
    if (len(R), "test", SEEN) in run.cells:
        images = run.document["samples"]["test"]
        incremental = {"cil_average": by_task.seen_average(R, images), "cil_last": by_task.seen_last(R, images)}
        metrics = {**incremental, **metrics}
    return {name: metric for name, metric in metrics.items() if metric.weights.any()}


def _pairs(a: Side, b: Side) -> tuple[list[Pair], list[str]]:
    """Return the pairs, and a sentence for each group of runs without a counterpart."""
    variants_a, variants_b = _variants(a.runs), _variants(b.runs)
    pairs: list[Pair] = []
    for setting in dict.fromkeys([*variants_a, *variants_b]):
        of_a, of_b = variants_a.get(setting, []), variants_b.get(setting, [])
        for i, j in _most_similar(of_a, of_b):
            seeds = sorted(of_a[i].keys() & of_b[j].keys())
            pairs.append(Pair([of_a[i][seed] for seed in seeds], [of_b[j][seed] for seed in seeds]))
    pairs.sort(key=lambda pair: [str(pair.a[0].identity[name]) for name in PLACE])
    paired_folders = {run.folder for pair in pairs for run in (*pair.a, *pair.b)}
    unpaired = []
    for side, variants, other in ((a, variants_a, b), (b, variants_b, a)):
        for variant in (variant for in_setting in variants.values() for variant in in_setting):
            left = [run for run in variant.values() if run.folder not in paired_folders]
            if left:
                seeds_text = ", ".join(str(run.identity["seed"]) for run in left)
                difference = _nearest(left[0], other.runs)
                unpaired.append(
                    f"{side.label} on {_stream(left[0])}, seed {seeds_text}: {other.label} has no matching run"
                    + (f" ({difference})" if difference else "")
                )
    return pairs, unpaired


def _variants(runs: Iterable[Run]) -> dict[str, list[Variant]]:
    """Return the variants of a method by setting."""
    variants: dict[str, dict[str, Variant]] = {}
    for run in runs:
        setting = json.dumps(_setting(run), sort_keys=True)
        variants.setdefault(setting, {}).setdefault(run.group, {})[run.identity["seed"]] = run
    return {setting: list(by_group.values()) for setting, by_group in variants.items()}


def _most_similar(a: Sequence[Variant], b: Sequence[Variant]) -> list[tuple[int, int]]:
    """Return which variants to compare, as indices into `a` and `b`.

    Each variant is compared with those of the other method that share a seed with it and differ from it in the fewest options.
    """
    candidates = [(i, j) for i, x in enumerate(a) for j, y in enumerate(b) if x.keys() & y.keys()]
    distance = {(i, j): _distance(_any_run(a[i]), _any_run(b[j])) for i, j in candidates}
    nearest = [
        {pair[side]: min(distance[c] for c in candidates if c[side] == pair[side]) for pair in candidates} for side in (0, 1)
    ]
    return [(i, j) for i, j in candidates if distance[i, j] in (nearest[0][i], nearest[1][j])]


def _distance(a: Run, b: Run) -> tuple[bool, int]:
    """Return whether the tunings of two runs differ, and in how many options the runs differ."""
    differing = _differing(options_of(a), options_of(b))
    return "tuning" in differing, len(differing)


def _any_run(variant: Variant) -> Run:
    return next(iter(variant.values()))


def _setting(run: Run) -> dict[str, Any]:
    """Return the part of the identity that does not belong to the method."""
    return {name: value for name, value in run.identity.items() if name not in OF_THE_METHOD}


def _method_settings(run: Run) -> dict[str, str]:
    """Return everything in the identity that belongs to the method, except for its name, as text."""
    identity = run.identity
    settings = {**options_of(run), "file": identity.get("strategy_sha256"), "plugins": identity.get("plugins") or None}
    for name in ("reference", "reference_version", "files", "measure_n", "measures"):
        settings[name] = identity.get(name)
    return {name: _short(value) for name, value in settings.items()}


def _with_settings(pairs: Sequence[Pair]) -> list[Pair]:
    """Fill in the settings of pairs that would otherwise have the same heading."""
    settings_of = [[_method_settings(pair.a[0]) for pair in pairs], [_method_settings(pair.b[0]) for pair in pairs]]
    # Pairs with the same defaults.
    families = [[pair.a[0].identity[name] for name in ("benchmark", "edition", "model")] for pair in pairs]
    places = [_place(pair.a[0]) for pair in pairs]
    settings = [_setting(pair.a[0]) for pair in pairs]
    completed = []
    for i, pair in enumerate(pairs):
        family = [j for j, other in enumerate(families) if other == families[i]]
        of_a, of_b = (_listed(side[i], _names_that_differ([side[j] for j in family])) for side in settings_of)
        same_place = [settings[j] for j, place in enumerate(places) if place == places[i]]
        more = [f"{name} {_short(settings[i].get(name))}" for name in _names_that_differ(same_place)]
        completed.append(Pair(pair.a, pair.b, ", ".join([*places[i][1], *more]), of_a, of_b))
    return completed


def _place(run: Run) -> tuple[list[Any], list[str]]:
    """Return the values of `PLACE`, and the marks that follow them in a heading."""
    identity = run.identity
    weights = [f"weights {identity['pretrained']}"] if identity.get("pretrained") else []
    marks = [MARKS[name].format(value) for name, value in marked(identity).items() if value]
    return [identity[name] for name in PLACE], weights + marks


def _names_that_differ(dictionaries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names whose values are not equal in all dictionaries."""
    names = dict.fromkeys(name for dictionary in dictionaries for name in dictionary)
    return [name for name in names if any(d.get(name) != dictionaries[0].get(name) for d in dictionaries)]


def _listed(settings: Mapping[str, str], names: Sequence[str]) -> str:
    """Return some settings for a heading."""
    listed = [f"{name}={settings[name]}" for name in names if name in settings]
    return ", ".join([*listed[:NAMES_SHOWN], *([f"{len(listed) - NAMES_SHOWN} more"] if len(listed) > NAMES_SHOWN else [])])


def _differing(x: Mapping[str, Any], y: Mapping[str, Any]) -> list[str]:
    """Return the names that both dictionaries have with different values."""
    return [name for name in x if name in y and x[name] != y[name]]


def _rows(pair: Pair, a: str, b: str) -> list[dict[str, Any]]:
    """Return the rows of a pair, one per metric that all its runs have."""
    values_a, values_b = ([values(run) for run in runs] for runs in (pair.a, pair.b))
    place = {column: pair.a[0].identity[column] for column in PLACE}
    texts = {"note": _note(pair), "setting": pair.setting, "settings_a": pair.settings_a, "settings_b": pair.settings_b}
    rows = []
    for name in (name for name in METRIC_TITLES if all(name in by_metric for by_metric in (*values_a, *values_b))):
        comparison = _compared([v[name] for v in values_a], [v[name] for v in values_b], name)
        if comparison is not None:
            verdict = comparison.verdict(name not in LESS_IS_BETTER)
            rows.append({**place, "a": a, "b": b, "metric": name, **comparison._asdict(), "verdict": verdict, **texts})
    return rows


def _compared(a: list[ByTask], b: list[ByTask], name: str) -> Comparison | None:
    """Compare a metric; None if no domain counts in all runs.

    A domain with zero-shot accuracy 0 in one run does not count for retention in any run.
    """
    weights = np.array([metric.weights for metric in (*a, *b)])
    weight = weights.mean(axis=0) * (weights > 0).all(axis=0)
    if not weight.any():
        return None
    x, y = ([metric.values for metric in runs] for runs in (a, b))
    return paired(x, y, weight, name not in LESS_IS_BETTER)


def _note(pair: Pair) -> str:
    """Return what the intervals cover, and which settings of A and B differ."""
    seeds, tasks, heldout = pair.seeds, len(pair.a[0].tasks), len(pair.a[0].heldout)
    tasks_text = f"{tasks} task{'s' * (tasks != 1)}" + f" ({heldout} more held out)" * bool(heldout)
    if len(seeds) > 1:
        note = f"seeds {', '.join(map(str, seeds))}: intervals over {tasks_text} and {len(seeds)} seeds"
    elif tasks > 1:
        note = f"one seed ({seeds[0]}): intervals over {tasks_text}, without the variation between seeds"
    else:
        note = f"one seed ({seeds[0]}) and one task: no intervals"
        if heldout > 1:
            note += f", except for Retention (over {heldout} held-out domains)"
    x, y = options_of(pair.a[0]), options_of(pair.b[0])
    names = _differing(x, y)
    listed = [f"{name} ({_short(x[name])} and {_short(y[name])})" for name in names[:NAMES_SHOWN]]
    if len(names) > NAMES_SHOWN:
        listed.append(f"{len(names) - NAMES_SHOWN} more")
    return note + (f"; set differently in A and B: {', '.join(listed)}" if listed else "")


def _nearest_runs(a: Side, b: Side) -> str:
    """Return the smallest difference between any run of A and any run of B, in words."""
    run = min(a.runs, key=lambda run: min(len(_differing_settings(run, other)) for other in b.runs))
    return f"the nearest are of {_stream(run)} and {_nearest(run, b.runs)}"


def _nearest(run: Run, others: Sequence[Run]) -> str:
    """Return how a run differs from the most similar one of others, in words; empty if only options differ."""
    other = min(others, key=lambda other: len(_differing_settings(run, other)))
    x, y = run.identity, other.identity
    differences = [f"{name} ({_short(x.get(name))} and {_short(y.get(name))})" for name in _differing_settings(run, other)]
    return f"differ in {', '.join(differences)}" if differences else ""


def _differing_settings(x: Run, y: Run) -> list[str]:
    """Return the settings in which two runs differ, including the seed."""
    names = [*dict.fromkeys([*_setting(x), *_setting(y)]), "seed"]
    return [name for name in names if x.identity.get(name) != y.identity.get(name)]


def _stream(run: Run) -> str:
    """Return the title of the stream of a run."""
    benchmark, edition, order = (run.identity[name] for name in TABLE)
    return stream_title(benchmark, edition, order, ordered_names(run.identity))


def _short(value: Any) -> str:
    """Return a value for a sentence."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) if len(value) <= 3 else f"{value[0]} ... {value[-1]}"
    return str(value)[:12] if isinstance(value, str) else f"{value}"
