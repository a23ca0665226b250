"""`compare`: two methods on the same data and seeds, with intervals. Imports neither torch nor Avalanche."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.names import SEEN
from harness.display.console import complain
from harness.records.leaderboard import LESS_IS_BETTER, MARKS, TABLE, marked
from harness.records.runs import Run, check_copies, present, read
from harness.records.titles import METRIC_TITLES, ordered_names, stream_title
from metrics import by_task
from metrics.by_task import ByTask
from metrics.comparison import Comparison, paired
from models.registry import UserError, unknown

WHERE = (*TABLE, "model")
COLUMNS = (
    *(*WHERE, "a", "b", "metric", "mean_a", "mean_b", "difference", "low", "high"),
    *("wins", "ties", "losses", "seeds", "tasks", "verdict", "note", "setting", "settings_a", "settings_b"),
)
BLOCK = (*WHERE, "setting", "a", "settings_a", "b", "settings_b", "note")
"""What the rows of one printed table agree in."""
# What a method brings along; everything else of a run's identity is the data and the model that it starts from.
OWN = (
    *("strategy", "strategy_sha256", "options", "tuning", "tuning_options", "plugins", "reference", "reference_version"),
    *("files", "seed", "measure_n", "measures"),
)
MEANINGS = (
    "Difference: A - B, in points, with the 95 % interval of a bootstrap over tasks and seeds: what to expect of further seeds "
    "and of tasks like these. A better, B better: the interval leaves out 0; otherwise no difference is shown, which does not "
    "say that there is none. Several metrics are several looks at the same runs. A wins / ties / loses: (seed, task) pairs."
)
NAMES_SHOWN = 6


@dataclass(frozen=True)
class CompareConfig:
    """The two methods, each a strategy's name as records have it ("zscl", "zscl+ewc") or a folder of its runs; and the results
    in which names are looked up.
    """

    a: str
    b: str
    results: tuple[str, ...] = ("results",)


class Side(NamedTuple):
    """A method's finished runs and what it is called."""

    label: str
    runs: list[Run]


class Pair(NamedTuple):
    """Runs of A and of B on the same data, the same seed in the same place.

    `setting` names what else sets this pair apart from the others shown, `settings_a` and `settings_b` the options in which a
    method's runs differ. They are empty where nothing has to be told apart.
    """

    a: list[Run]
    b: list[Run]
    setting: str = ""
    settings_a: str = ""
    settings_b: str = ""

    @property
    def seeds(self) -> list[int]:
        return [run.identity["seed"] for run in self.a]


def compare(config: CompareConfig, say: Callable[[str], None] = complain) -> pd.DataFrame:
    """Return one row per metric, for each setting in which both methods have runs; columns `COLUMNS`.

    Runs are paired that agree in everything that is not the method's own: benchmark, edition, order, tasks, held-out domains,
    version of the data, protocol, limit, shots, model, weights and seed. Where a method has runs with several options there,
    each is compared with those of the other method that are set most alike (same tuning before anything else). `settings_a` and
    `settings_b` tell these runs apart, `note` names the remaining differences between A and B. Finished runs without a
    counterpart are listed on the screen.

    Raises UserError for unknown names, for damaged records, and where no run has a counterpart: what differs is named.
    """
    a, b = _sides(config)
    pairs, alone = _pairs(a, b)
    if not pairs:
        raise UserError(f"{a.label} and {b.label} have no runs to compare: {_apart(a, b)}.")
    for sentence in alone:
        say(f"not compared: {sentence}")
    rows = [row for pair in _told_apart(pairs) for row in _rows(pair, a.label, b.label)]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table.attrs["ordered"] = {run.identity["order"]: ordered_names(run.identity) for pair in pairs for run in pair.a}
    return table


def values(run: Run) -> dict[str, ByTask]:
    """The metrics of a run that are defined, by their names in its summary, task by task.

    Raises UserError when its accuracy.csv lacks cells.
    """
    rows, held = run.rows("test", run.tasks), run.rows("heldout", run.heldout)
    if np.isnan(rows).any() or np.isnan(held).any():
        raise UserError(f"{run.folder / 'accuracy.csv'} is damaged (not every task is there after every step).")
    R = rows[1:]
    found = {
        "transfer": by_task.transfer(R),
        "average": by_task.average(R),
        "last": by_task.last(R),
        "forgetting": by_task.forgetting(R),
        "bwt": by_task.backward_transfer(R),
        "retention": by_task.retention(R, rows[0], held[1:], held[0]),
    }
    if (len(R), "test", SEEN) in run.cells:
        images = run.document["samples"]["test"]
        incremental = {"cil_average": by_task.seen_average(R, images), "cil_last": by_task.seen_last(R, images)}
        found = {**incremental, **found}
    return {name: of for name, of in found.items() if of.weights.any()}


def _sides(config: CompareConfig) -> tuple[Side, Side]:
    names = (config.a, config.b)
    needed = not all(Path(name).exists() for name in names) or all(Path(root).exists() for root in config.results)
    runs = [run for run in read([*present(config.results)]) if run.finished] if needed else []
    a, b = (_runs_of(name, runs, config.results) for name in names)
    if both := {run.folder.resolve() for run in a} & {run.folder.resolve() for run in b}:
        raise UserError(f"A and B are both the run in {min(both)}: compare two methods, or name two folders.")
    check_copies([*a, *b])
    strategies = [of[0].identity["strategy"] for of in (a, b)]
    labels = names if strategies[0] == strategies[1] else strategies
    return Side(labels[0], a), Side(labels[1], b)


def _runs_of(name: str, runs: Sequence[Run], roots: Sequence[str]) -> list[Run]:
    """The runs of a strategy, or those in a folder, which must be of one strategy."""
    if found := [run for run in runs if run.identity["strategy"] == name]:
        return found
    if not Path(name).exists():
        where = f"strategy with finished runs in {', '.join(roots)}"
        raise unknown(where, name, {run.identity["strategy"] for run in runs})
    found = [run for run in read([Path(name)]) if run.finished]
    strategies = sorted({run.identity["strategy"] for run in found})
    if len(strategies) != 1:
        several = f"runs of {', '.join(strategies)}: name the folder of one method" if strategies else "no finished run"
        raise UserError(f"{name} holds {several}.")
    return found


def _pairs(a: Side, b: Side) -> tuple[list[Pair], list[str]]:
    """The pairs, and a sentence for each group of runs that have no counterpart."""
    pairs: list[Pair] = []
    variants = [_variants(side.runs) for side in (a, b)]
    for setting in dict.fromkeys([*variants[0], *variants[1]]):
        ours, theirs = (of.get(setting, []) for of in variants)
        for i, j in _alike(ours, theirs):
            seeds = sorted(ours[i].keys() & theirs[j].keys())
            pairs.append(Pair([ours[i][s] for s in seeds], [theirs[j][s] for s in seeds]))
    pairs.sort(key=lambda pair: [str(pair.a[0].identity[name]) for name in WHERE])
    matched = {run.folder for pair in pairs for run in (*pair.a, *pair.b)}
    alone = []
    for side, of, other in ((a, variants[0], b), (b, variants[1], a)):
        for variant in (variant for found in of.values() for variant in found):
            left = [run for run in variant.values() if run.folder not in matched]
            if left:
                seeds_said = ", ".join(str(run.identity["seed"]) for run in left)
                alone.append(
                    f"{side.label} on {_place(left[0])}, seed {seeds_said}: {other.label} has no such run"
                    + (f" ({said})" if (said := _nearest(left[0], other.runs)) else "")
                )
    return pairs, alone


def _variants(runs: Iterable[Run]) -> dict[str, list[dict[int, Run]]]:
    """By setting, the method's variants there: runs that agree in everything but the seed, by seed."""
    found: dict[str, dict[str, dict[int, Run]]] = {}
    for run in runs:
        setting = json.dumps(_setting(run), sort_keys=True)
        found.setdefault(setting, {}).setdefault(run.group, {})[run.identity["seed"]] = run
    return {setting: list(of.values()) for setting, of in found.items()}


def _alike(ours: Sequence[dict[int, Run]], theirs: Sequence[dict[int, Run]]) -> list[tuple[int, int]]:
    """Return which variants to compare.

    Each is compared with those of the other method that share a seed with it and differ from it in the fewest options.
    """
    cells = [(i, j) for i, x in enumerate(ours) for j, y in enumerate(theirs) if x.keys() & y.keys()]
    far = {(i, j): _distance(_any(ours[i]), _any(theirs[j])) for i, j in cells}
    nearest = [{cell[side]: min(far[c] for c in cells if c[side] == cell[side]) for cell in cells} for side in (0, 1)]
    return [(i, j) for i, j in cells if far[i, j] in (nearest[0][i], nearest[1][j])]


def _distance(a: Run, b: Run) -> tuple[bool, int]:
    differing = _differing(_options(a), _options(b))
    return "tuning" in differing, len(differing)


def _any(variant: dict[int, Run]) -> Run:
    return next(iter(variant.values()))


def _setting(run: Run) -> dict[str, Any]:
    return {name: value for name, value in run.identity.items() if name not in OWN}


def _options(run: Run) -> dict[str, Any]:
    """The method's settings under the names that `--set` has for them."""
    identity = run.identity
    tuning = {f"tuning.{name}": value for name, value in (identity.get("tuning_options") or {}).items()}
    return {"tuning": identity.get("tuning"), **identity["options"], **tuning}


def _own(run: Run) -> dict[str, Any]:
    """What the method brings along besides its name, as text by name."""
    identity = run.identity
    found = {**_options(run), "file": identity.get("strategy_sha256"), "plugins": identity.get("plugins") or None}
    for name in ("reference", "reference_version", "files", "measure_n", "measures"):
        found[name] = identity.get(name)
    return {name: _short(value) for name, value in found.items()}


def _told_apart(pairs: Sequence[Pair]) -> list[Pair]:
    """Fill in the settings in which pairs differ that would otherwise have the same heading."""
    sides = [[_own(pair.a[0]) for pair in pairs], [_own(pair.b[0]) for pair in pairs]]
    families = [_family(pair) for pair in pairs]
    places = [_place_of(pair.a[0]) for pair in pairs]
    settings = [_setting(pair.a[0]) for pair in pairs]
    made = []
    for i, pair in enumerate(pairs):
        alike = [j for j, family in enumerate(families) if family == families[i]]
        own = [_said(of[i], _names_apart([of[j] for j in alike])) for of in sides]
        same_place = [settings[j] for j, place in enumerate(places) if place == places[i]]
        more = [f"{name} {_short(settings[i].get(name))}" for name in _names_apart(same_place)]
        made.append(Pair(pair.a, pair.b, ", ".join([*places[i][1], *more]), *own))
    return made


def _family(pair: Pair) -> list[Any]:
    """Pairs of one family have the same options by default."""
    return [pair.a[0].identity[name] for name in ("benchmark", "edition", "model")]


def _place_of(run: Run) -> tuple[list[Any], list[str]]:
    """Of a block's heading what names the data and the model, and the marks that belong behind it."""
    identity = run.identity
    marks = marked(identity)
    weights = [f"weights {identity['pretrained']}"] if identity.get("pretrained") else []
    return [identity[name] for name in WHERE], weights + [MARKS[name].format(value) for name, value in marks.items() if value]


def _names_apart(values: Sequence[dict[str, Any]]) -> list[str]:
    """Names whose values are not the same in all of several dictionaries."""
    names = dict.fromkeys(name for each in values for name in each)
    return [name for name in names if any(each.get(name) != values[0].get(name) for each in values)]


def _said(values: dict[str, Any], names: Sequence[str]) -> str:
    """Values by name for a heading."""
    listed = [f"{name}={values[name]}" for name in names if name in values]
    return ", ".join([*listed[:NAMES_SHOWN], *([f"{len(listed) - NAMES_SHOWN} more"] if len(listed) > NAMES_SHOWN else [])])


def _differing(x: dict[str, Any], y: dict[str, Any]) -> list[str]:
    """Names that both have, with another value."""
    return [name for name in x if name in y and x[name] != y[name]]


def _rows(pair: Pair, a: str, b: str) -> list[dict[str, Any]]:
    of_a, of_b = ([values(run) for run in runs] for runs in (pair.a, pair.b))
    note, first = _note(pair), pair.a[0]
    rows = []
    for name in (name for name in METRIC_TITLES if all(name in of for of in (*of_a, *of_b))):
        found = _compared([of[name] for of in of_a], [of[name] for of in of_b], name)
        if found is not None:
            verdict = found.verdict(name not in LESS_IS_BETTER)
            where = {column: first.identity[column] for column in WHERE}
            texts = {"verdict": verdict, "note": note, **{n: getattr(pair, n) for n in ("setting", "settings_a", "settings_b")}}
            rows.append({**where, "a": a, "b": b, "metric": name, **found._asdict(), **texts})
    return rows


def _compared(a: list[ByTask], b: list[ByTask], name: str) -> Comparison | None:
    """None where no domain counts in all runs: in retention one with zero-shot accuracy 0 in a run is left out of all."""
    weights = np.array([of.weights for of in (*a, *b)])
    weight = weights.mean(axis=0) * (weights > 0).all(axis=0)
    if not weight.any():
        return None
    x, y = ([of.values for of in runs] for runs in (a, b))
    return paired(x, y, weight, name not in LESS_IS_BETTER)


def _note(pair: Pair) -> str:
    """Over what the intervals are, and what is set differently in A and B."""
    seeds, tasks, held = pair.seeds, len(pair.a[0].tasks), len(pair.a[0].heldout)
    over = f"{tasks} task{'s' * (tasks != 1)}" + f" ({held} more held out)" * bool(held)
    if len(seeds) > 1:
        said = f"seeds {', '.join(map(str, seeds))}: intervals over {over} and {len(seeds)} seeds"
    elif tasks > 1:
        said = f"one seed ({seeds[0]}): intervals are over {over} alone and say nothing of seeds"
    else:
        said = f"one seed ({seeds[0]}) and one task: no intervals"
    x, y = _options(pair.a[0]), _options(pair.b[0])
    names = _differing(x, y)
    listed = [f"{name} ({_short(x[name])} and {_short(y[name])})" for name in names[:NAMES_SHOWN]]
    if len(names) > NAMES_SHOWN:
        listed.append(f"{len(names) - NAMES_SHOWN} more")
    return said + (f"; set differently in A and B: {', '.join(listed)}" if listed else "")


def _apart(a: Side, b: Side) -> str:
    """Why no run of A has a counterpart: the least that any two differ in."""
    run = min(a.runs, key=lambda run: min(len(_unlike(run, other)) for other in b.runs))
    return f"the nearest are of {_place(run)} and {_nearest(run, b.runs)}"


def _nearest(run: Run, others: Sequence[Run]) -> str:
    """In what the most similar of the others differs, in words; empty where only its options do."""
    other = min(others, key=lambda other: len(_unlike(run, other)))
    x, y = run.identity, other.identity
    said = [f"{name} ({_short(x.get(name))} and {_short(y.get(name))})" for name in _unlike(run, other)]
    return f"differ in {', '.join(said)}" if said else ""


def _unlike(x: Run, y: Run) -> list[str]:
    """The settings, and the seed, in which two runs differ."""
    names = [*dict.fromkeys([*_setting(x), *_setting(y)]), "seed"]
    return [name for name in names if x.identity.get(name) != y.identity.get(name)]


def _place(run: Run) -> str:
    benchmark, edition, order = (run.identity[name] for name in TABLE)
    return stream_title(benchmark, edition, order, ordered_names(run.identity))


def _short(value: Any) -> str:
    """A value for a sentence."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return " ".join(map(str, value)) if len(value) <= 3 else f"{value[0]} ... {value[-1]}"
    return str(value)[:12] if isinstance(value, str) else f"{value}"
