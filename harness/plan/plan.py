"""Plan a run: count its work, measure this device for a few seconds, and compute disk, memory and hours."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from avalanche.benchmarks import CLScenario

from benchmarks.data.pixels import bytes_needed, is_cached
from harness.config.resolve import Resolved, resolve
from harness.config.run_config import RunConfig
from harness.display.console import PIPED_WIDTH, SafeConsole
from harness.display.plan_table import show_plan
from harness.display.screen import Screen
from harness.plan import hours, memory
from harness.plan.counted_run import Counted, count_run
from harness.plan.ledger import IMAGES, TEXTS, TRAINED_IMAGES, TRAINED_TEXTS, Ledger
from harness.plan.rates import measure_rates
from harness.plan.reference import stand_in_reference
from harness.plan.stand_ins import Unread, known_by_table, stand_in_scenario
from harness.plan.towers import counted_towers
from harness.run.build import MOST_WORKERS, build_scenario, load_encoder
from harness.run.describe import banner
from harness.run.environment import describe, device_of, set_precision
from models.encoder import DualEncoder
from models.processors import processors
from models.registry import UserError
from strategies.by_task import ByTask
from strategies.engine.batches import in_memory


@dataclasses.dataclass(frozen=True, repr=False)
class Plan:
    """The cost of a run.

    Attributes:
        title: the run in words.
        key: the key of the run.
        device: where the rates were measured.
        counts: work by name (`titles.COUNTS`).
        disk: bytes by name (`titles.DISK`).
        memory: bytes by name (`titles.MEMORY`).
        seconds: seconds by name (`titles.SECONDS`).
        rates: the measured seconds per unit.
        bound: what bounds the time, in one sentence.
        notes: sentences about what the numbers rest on.
    """

    title: str
    key: str
    device: str
    counts: dict[str, int]
    disk: dict[str, int]
    memory: dict[str, int]
    seconds: dict[str, float]
    rates: dict[str, float]
    bound: str
    notes: list[str]

    def document(self) -> dict[str, Any]:
        """Return the plan as JSON."""
        return dataclasses.asdict(self)

    def __repr__(self) -> str:
        console = SafeConsole(width=PIPED_WIDTH, color_system=None, force_terminal=False, force_jupyter=False)
        with console.capture() as text:
            show_plan(self.document(), Screen(console=console, live=False))
        return text.get().rstrip("\n")


class _Caches(NamedTuple):
    """Images to decode for the cache, its bytes, and the bytes that are there."""

    images: int
    size: int
    present: int


def make_plan(config: RunConfig, screen: Screen | None = None) -> Plan:
    """Count and measure a run without training it, and write nothing.

    Data that are missing are counted from the table of the papers' datasets, and random weights stand for weights that cannot
    be read.

    Raises:
        UserError: for mistakes in the configuration, and for data that are missing and not in the table.
    """
    screen = Screen(quiet=True) if screen is None else screen
    resolved, notes, missing = resolve(config), list[str](), list[str]()
    device = device_of(config.device)
    set_precision(config.precision, device)
    began = time.perf_counter()
    encoder = _encoder(resolved, notes).to(device)
    with known_by_table(missing):
        # Nothing is decoded for the cache here.
        plain = dataclasses.replace(resolved, config=dataclasses.replace(config, cache=False))
        real = build_scenario(plain, encoder, screen)
        ledger = Ledger()
        selects = resolved.strategy_class.selects(resolved.options) or config.split == "val"
        cached = () if not config.cache else ("test", "val") if selects else ("test",)
        sizes = [len(e.domain.classnames) for e in real.streams["train"]]
        tests = [*real.streams["test"], *real.streams["heldout"]]
        largest = max(range(len(tests)), key=lambda i: len(tests[i].dataset))
        stream = stand_in_scenario(real, encoder, ledger, cached, resolved.options, largest)
        reference = stand_in_reference(resolved, encoder, real, ledger)
    started = time.perf_counter() - began
    if missing:
        notes.append(f"counted from the table of the papers' datasets, because they are missing: {', '.join(missing)}")
    notes += reference.missing
    screen.say("counting the run, and measuring this device ...", style="dim")
    widest = max(range(len(sizes)), key=sizes.__getitem__)
    timed = {widest, min(range(len(sizes)), key=sizes.__getitem__), min(1, len(sizes) - 1)}
    memory.start(device)
    counted = count_run(resolved, encoder, stream, reference.data, ledger, device, sorted(timed), widest)
    with tempfile.TemporaryDirectory() as temporary, counted_towers(ledger):
        place = _existing(Path(config.out)) or Path(temporary)
        rates = measure_rates(counted.strategy, stream, real, counted.updates.steps, ledger, largest, place)
        with ledger.uncounted():
            held = memory.memory(counted, encoder, real)
    caches = _caches(resolved, real, encoder, cached, reference.decoded)
    if not rates.decode_measured and (caches.images or _files(real)):
        notes.append("decoding is not measured here: 263 images per second and core are assumed")
    counts = _counts(counted, real, caches)
    workers = min(MOST_WORKERS, processors()) if config.workers is None else config.workers
    seconds, bound = hours.seconds(counted, rates, counts, config.checkpoint_minutes, workers, started)
    if isinstance(counted.strategy, ByTask):
        notes.append("the images decide which of them pass the tower a second time in evaluation, so that number is a guess")
    title, _ = banner(resolved, encoder, counted.strategy, real)
    return Plan(
        title,
        resolved.key,
        str(describe(device)["device"]),
        counts,
        _disk(counted, config.keep, seconds["training"], config.checkpoint_minutes, caches),
        held,
        seconds,
        {name: float(value) for name, value in rates._asdict().items()},
        bound,
        notes + counted.strategy.notes,
    )


def _encoder(resolved: Resolved, notes: list[str]) -> DualEncoder:
    try:
        return load_encoder(resolved)
    except UserError as error:
        if resolved.pretrained in (None, "random"):
            raise
        try:
            encoder = load_encoder(dataclasses.replace(resolved, pretrained="random"))
        except UserError:
            raise error from None
        notes.append(f"the weights {resolved.pretrained} of {resolved.model} cannot be read here: random ones stand for them")
        return encoder


def _existing(folder: Path) -> Path | None:
    return next((each for each in (folder, *folder.absolute().parents) if each.is_dir()), None)


def _files(real: CLScenario) -> bool:
    return any(not in_memory(e.domain.train) for e in real.streams["train"] if e.domain.train is not None)


def _caches(resolved: Resolved, real: CLScenario, encoder: DualEncoder, cached: tuple[str, ...], reference: int) -> _Caches:
    """Return what the pixel cache will take for evaluation images and reference images."""
    images = size = present = 0
    count, size_of = len(real.streams["train"]), encoder.preprocess.size
    validates = resolved.config.split == "val"
    for i, experience in enumerate([*real.streams["test"], *real.streams["heldout"]]):
        domain = experience.domain
        steps = resolved.plan.benchmark.startswith("cil-") and i < count
        name = f"{resolved.plan.benchmark}-{domain.name}" if steps else domain.name
        for split in ("val",) if validates and cached else cached:
            data: Any = getattr(domain, split)
            if data is None or not len(data) or (in_memory(data) and tuple(data[0][0].shape[1:]) == (size_of, size_of)):
                continue
            needed = bytes_needed(len(data), encoder.preprocess)
            size += needed
            known = not _unread(data) and is_cached(data, encoder.preprocess, label=f"{name}-{split}")
            present += needed if known else 0
            images += 0 if known else len(data)
    if reference and resolved.config.cache:
        size, images = size + bytes_needed(reference, encoder.preprocess), images + reference
    return _Caches(images, size, present)


def _unread(data: Any) -> bool:
    """Return whether a dataset is known only by the table."""
    while hasattr(data, "dataset"):
        data = data.dataset
    return isinstance(data, Unread)


def _counts(counted: Counted, real: CLScenario, caches: _Caches) -> dict[str, int]:
    total, updates = counted.ledger.total, counted.updates
    tests = [*real.streams["test"], *real.streams["heldout"]]
    return {
        "tasks": len(real.streams["train"]),
        "updates": sum(updates.updates),
        "training_images": sum(updates.images),
        "trained_image_passes": total(TRAINED_IMAGES, "updates"),
        "update_image_passes": total(IMAGES, "updates"),
        "prepared_image_passes": total(IMAGES, "preparation"),
        "task_image_passes": total(IMAGES, "around"),
        "task_trained_image_passes": total(TRAINED_IMAGES, "around"),
        "measured_image_passes": total(IMAGES, "measures"),
        "rows": counted.rows,
        "test_images": sum(len(experience.dataset) for experience in tests),
        "evaluated_image_passes": total(IMAGES, "evaluation"),
        "timed_image_passes": total(IMAGES, "timing"),
        "trained_texts": total(TRAINED_TEXTS, "updates"),
        "texts": total(TEXTS, "preparation", "measures", "around", "updates", "timing") + total(TRAINED_TEXTS, "around"),
        "evaluated_texts": total(TEXTS, "evaluation"),
        "decoded_for_training": total("read train", "updates"),
        "decoded_for_tasks": total("read train", "around", "measures", "preparation") + total("read val", "around", "updates"),
        "decoded_for_cache": caches.images + total("read test"),
    }


def _disk(counted: Counted, keep: str, training: float, minutes: float, caches: _Caches) -> dict[str, int]:
    """Return bytes on disk. A run keeps two checkpoints between tasks, and two within a task that is long enough."""
    between, within = counted.checkpoints, [n + counted.weights for n in counted.updates.snapshot_bytes]
    pairs = [a + b for a, b in itertools.pairwise(between)] or between
    saved = minutes > 0 and bool(within) and training / len(within) > 60 * minutes / 10
    kept = sum(between[1:]) if keep == "all" else between[-1]
    running = max(sum(between[1:]), max(pairs)) if keep == "all" else max(pairs)
    return {
        "checkpoint": max(between),
        "within_task": max(within, default=0),
        "at_most": running + (2 * max(within) if saved else 0),
        "kept": kept,
        "cached_pixels": caches.size,
        "cached_already": caches.present,
    }
