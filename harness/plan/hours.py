"""Seconds of a run, from its counts and the measured rates."""

from __future__ import annotations

from harness.plan.counted_run import Counted
from harness.plan.ledger import IMAGES, TEXTS, TRAINED_IMAGES, TRAINED_TEXTS, Ledger
from harness.plan.rates import Rates
from harness.plan.titles import SECONDS
from models.processors import processors


def seconds(
    counted: Counted, rates: Rates, counts: dict[str, int], minutes: float, workers: int, started: float
) -> tuple[dict[str, float], str]:
    """Return seconds by name (`SECONDS`), and what bounds them in one sentence.

    Training is the larger of its updates and the decoding of their images by `workers` processes, with the method's work before
    the first task and around each task. Evaluation is the passes of all rows, and for each image and each test set what a
    loader, Avalanche's callbacks and metrics take. Work outside the towers was timed in the counted run.

    Args:
        counted: the counted run.
        rates: the measured rates.
        counts: `Plan.counts`.
        minutes: `--checkpoint-minutes`.
        workers: processes that decode training images.
        started: seconds to load the model and to list the data.
    """
    ledger, updates = counted.ledger, counted.updates
    steps = sum(rates.update(work) * times for work, times in updates.kinds)
    decoding = counts["decoded_for_training"] * rates.decode / max(1, workers)
    waits = max(0.0, decoding - steps)
    around = sum(ledger.seconds[phase] + rates.passes(passes_of(ledger, phase)) for phase in ("preparation", "around"))
    # Searches and closed forms decode in threads, measures one image after another.
    threads = max(1, processors())
    around += (ledger.total("read train", "around", "preparation") + ledger.total("read val")) * rates.decode / threads
    measures = ledger.seconds["measures"] + rates.passes(passes_of(ledger, "measures"))
    measures += ledger.total("read train", "measures") * rates.decode
    sets = counted.rows * counted.test_sets
    evaluation = rates.passes(passes_of(ledger, "evaluation")) + rates.test_set * sets
    evaluation += rates.tested * counted.rows * counts["test_images"]
    training = steps + waits + around
    tasks = max(1, len(updates.updates))
    saves = _saves(training / tasks, minutes) if updates.snapshot_bytes else 0
    written = sum(counted.checkpoints) + saves * sum(n + counted.weights for n in updates.snapshot_bytes)
    parts = {
        "start": started,
        "decoding": counts["decoded_for_cache"] * rates.decode / threads,
        "training": training,
        "measures": measures,
        "evaluation": evaluation,
        "checkpoints": written * rates.written,
    }
    largest = max(parts, key=parts.__getitem__)
    bound = f"{SECONDS[largest]} takes {parts[largest] / max(1e-9, sum(parts.values())):.0%} of the time".replace("%", " %")
    if largest == "training":
        cause = f"decoding in {workers} processes" if waits else "computing updates"
        cause = cause if steps + waits >= around else "work before and after updates"
        bound += f", most of it {cause}"
    return {**parts, "total": sum(parts.values())}, bound


def passes_of(ledger: Ledger, phase: str) -> dict[str, float]:
    """Return the rows of towers in a phase, by kind."""
    return {kind: ledger.counts[phase, kind] for kind in (IMAGES, TEXTS, TRAINED_IMAGES, TRAINED_TEXTS)}


def _saves(seconds_of_task: float, minutes: float) -> int:
    """Return the saves within a task: one every `minutes`, and one at its end if a tenth of them has passed."""
    if not minutes:
        return 0
    return int(seconds_of_task // (60 * minutes)) + (seconds_of_task % (60 * minutes) > 6 * minutes)
