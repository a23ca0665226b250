"""The claims of PAINT's abstract (2208.05592)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harness.claims.claim import Claim, Verdict, verdict
from harness.claims.evidence import Evidence, points, runs_of
from harness.records.patches import Patch
from harness.records.runs import Run
from harness.records.scale import difference, over_seeds, sizes
from harness.records.transfer import effects, mean_effect, whole_domains
from metrics.means import Mean, mean

PAPER = "PAINT (2208.05592)"
LEAST_GAIN = 15.0
"""Points that every patching task gains in the abstract."""
MOST_LOSS = 1.0
"""Points that ImageNet, the supported task, may lose in the abstract."""
FEWEST_SIZES = 3
"""Sizes of models that the paper compares."""


def change(patch: Patch, stream: str, names: tuple[str, ...]) -> float:
    """Return the mean change in points, patched minus before, on some test sets."""
    return float(np.mean([curve.patched.percent - curve.before.percent for curve in patch.of(stream, names)]))


def patches_single_tasks(evidence: Evidence) -> Verdict:
    """Judge by the gains of the patched tasks, and the loss on supported tasks, means over seeds."""
    gains: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    for run, patched in evidence.patches("paint"):
        for patch in patched:
            gains.setdefault(patch.task, []).append(change(patch, "test", (patch.task,)))
            losses.setdefault(patch.task, []).append(-change(patch, "heldout", run.retained))
    gain = {task: float(np.mean(values)) for task, values in gains.items()}
    loss = {task: float(np.mean(values)) for task, values in losses.items()}
    enough, within = sum(g >= LEAST_GAIN for g in gain.values()), sum(x <= MOST_LOSS for x in loss.values())
    both = sum(gain[task] >= LEAST_GAIN and loss[task] <= MOST_LOSS for task in gain)
    reason = (
        f"{enough} of {len(gain)} tasks gain {LEAST_GAIN:g} points or more ({min(gain.values()):+.1f} to "
        f"{max(gain.values()):+.1f}), supported tasks lose at most {MOST_LOSS:g} point in {within} of {len(loss)} patches "
        f"(worst {max(loss.values()):.1f}), both hold in {both}"
    )
    return verdict(both == len(gain), reason)


def patches_several_tasks(evidence: Evidence) -> Verdict:
    """Judge by the last row of joint patching."""
    gains, losses = [], []
    for run, patched in evidence.patches("paint", "paint-joint"):
        gains.append(change(patched[-1], "test", run.tasks))
        losses.append(-change(patched[-1], "heldout", run.retained))
    gain, loss = mean(gains), mean(losses)
    reason = f"one model patched jointly on all tasks: {points(gain)} on them, {-loss.mean:+.1f} on supported tasks"
    return verdict(gain.low > 0 and loss.mean <= MOST_LOSS, reason)


def larger_models_are_missing(evidence: Evidence) -> str | None:
    """Return a sentence unless there are models of three sizes, and two seeds that the smallest and the largest share."""
    models = [size for size in sizes(evidence.runs) if len(size.runs) > 1]
    count = len({size.parameters for size in models})
    if count < FEWEST_SIZES:
        return f"runs are missing: paint-single with models of three sizes that were pretrained alike ({count} with 2 seeds)"
    if difference(models[0], models[-1])["distance"].n < 2:
        return f"runs are missing: two seeds that {models[0].model} and {models[-1].model} share"
    return None


def larger_models_are_patched_better(evidence: Evidence) -> Verdict:
    """Judge by the distance of the patched models to the better of both ends, the largest model against the smallest."""
    models = [size for size in sizes(evidence.runs) if len(size.runs) > 1]
    counts = [size.parameters for size in models]
    if len(set(counts)) < len(counts):
        named = ", ".join(f"{size.model} ({size.label})" for size in models)
        return Verdict("cannot be judged", f"two models have the same size: {named}; give the results of one of them")
    means, apart = [over_seeds(size) for size in models], difference(models[0], models[-1])
    if not (apart["relative_distance"].n > 1):
        return Verdict("cannot be judged", "fine-tuning does not gain in two seeds, so the share of its gain is undefined")

    def listed(name: str, digits: int) -> str:
        """Return the means of a value by size, and the difference of the ends."""
        change = f"{apart[name].mean:+z.{digits}f} [{apart[name].low:+z.{digits}f}, {apart[name].high:+z.{digits}f}]"
        return f"{', '.join(f'{each[name].mean:.{digits}f}' for each in means)} ({change})"

    reason = (
        f"models of {', '.join(size.label for size in models)} parameters, in brackets largest minus smallest, "
        f"{apart['distance'].n} seeds: distance {listed('distance', 1)} points, relative {listed('relative_distance', 1)} %; "
        f"kept {listed('gain_kept', 1)} % of the gain and {listed('supported_kept', 1)} % of supported accuracy"
    )
    if apart["cka"].n > 1 and apart["weight_cosine"].n > 1:
        reason += f"; fine-tuned and unpatched: CKA {listed('cka', 3)}, cosine of weights {listed('weight_cosine', 4)}"
    return verdict(apart["distance"].high < 0 and apart["relative_distance"].high < 0, reason)


def transfers_broadly(evidence: Evidence) -> Verdict:
    """Judge by the pairs of tasks without a common class in which a patch on one raises the accuracy on the other."""
    runs = evidence.of("transfer-study", "paint-single")
    every, whole = effects(runs), whole_domains(runs[0])
    if not every:
        return Verdict("cannot be judged", "the records do not count the images that a patch loses")
    helped = sorted((e for e in every if e.verdict == "helps"), key=lambda e: -e.change)
    hurt = sum(e.verdict == "hurts" for e in every)
    best = f", most {helped[0].patched_task} on {helped[0].test} by {helped[0].change:+.1f}" if helped else ""
    means = [
        f"{title} {value.change:+.1f} [{value.low:+.1f}, {value.high:+.1f}] points on average"
        for title, pairs in (
            ("between domains", [e for e in every if e.patched_task in whole and e.test in whole]),
            ("between the halves of a domain", [e for e in every if e.halves]),
        )
        if pairs
        for value in [mean_effect(runs, [(e.patched_task, e.test) for e in pairs])]
    ]
    reason = f"{len(helped)} of {len(every)} pairs are helped{best}, {hurt} are hurt; {'; '.join(means)}"
    return verdict(bool(helped), reason)


def effect(benchmark: str) -> tuple[Callable[[Evidence], Verdict], Callable[[Evidence], str | None]]:
    """Return the judge of a case study by the change on its targets and on supported tasks, and what it needs."""

    def judge(evidence: Evidence) -> Verdict:
        runs = evidence.patches(benchmark)
        on_targets = mean([change(patched[-1], "heldout", run.targets) for run, patched in runs])
        kept = mean([change(patched[-1], "heldout", run.retained) for run, patched in runs])
        each = "; ".join(f"{name} {points(_on(name, runs))}" for name in runs[0][0].targets)
        reason = f"targets {points(on_targets)} ({each}); supported tasks {points(kept)}"
        return verdict(on_targets.low > 0 and kept.mean >= -MOST_LOSS, reason)

    return judge, runs_of((benchmark, "paint-single"))


def _on(name: str, runs: list[tuple[Run, list[Patch]]]) -> Mean:
    return mean([change(patched[-1], "heldout", (name,)) for _, patched in runs])


_EFFECT = (
    f"the 95 % interval over seeds of the mean change on the targets is above 0, and supported tasks lose at most "
    f"{MOST_LOSS:g} point"
)

CLAIMS = (
    Claim(
        "paint-1",
        PAPER,
        "Patching raises the accuracy of single tasks by 15 to 60 points and costs ImageNet at most one point.",
        "bench paint --strategy paint-single --seed 0 1 2",
        f"every task gains {LEAST_GAIN:g} points or more, and the supported tasks lose at most {MOST_LOSS:g} point on average",
        patches_single_tasks,
        runs_of(("paint", "paint-single")),
    ),
    Claim(
        "paint-2",
        PAPER,
        "A single model can be patched on several tasks.",
        "bench paint --strategy paint-joint --seed 0 1 2",
        f"the 95 % interval over seeds of the mean gain is above 0, and supported tasks lose at most {MOST_LOSS:g} point",
        patches_several_tasks,
        runs_of(("paint", "paint-joint")),
    ),
    Claim(
        "paint-3",
        PAPER,
        "Larger models are patched better.",
        "bench paint --strategy paint-single --model DIR --seed 0 1 2, for models of three sizes that were pretrained alike",
        "the distance of the patched models to the fine-tuned model on the patched task and to the unpatched one on supported "
        "tasks, half of the weight each, is smaller for the largest model than for the smallest: the 95 % interval over seeds "
        "of the difference, paired by seed, means over tasks, is below 0 in points and also in percent of both ends",
        larger_models_are_patched_better,
        larger_models_are_missing,
        compares_models=True,
    ),
    Claim(
        "paint-4",
        PAPER,
        "Patching on one task can raise the accuracy on other tasks, also on tasks without a common class.",
        "bench transfer-study --seed 0 1 2",
        "some pair of tasks without a common class is helped at a false discovery rate of 5 % over all pairs",
        transfers_broadly,
        runs_of(("transfer-study", "paint-single")),
    ),
    Claim(
        "paint-5",
        PAPER,
        "Patching helps a model to count: numbers of objects that were not in training are recognised better.",
        "bench counting --seed 0 1 2",
        _EFFECT,
        *effect("counting"),
    ),
    Claim(
        "paint-6",
        PAPER,
        "Patching makes a model robust to typographic attacks, also with classes and typefaces that were not in training.",
        "bench typographic --seed 0 1 2",
        _EFFECT,
        *effect("typographic"),
    ),
    Claim(
        "paint-7",
        PAPER,
        "Patching on multiple-choice questions carries over to new ones (in the paper, not in its abstract).",
        "bench vqa --seed 0 1 2",
        _EFFECT,
        *effect("vqa"),
    ),
)
