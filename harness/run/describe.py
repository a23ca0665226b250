"""What a run says of itself: the banner, and the part of `run.json` that is known before the first step."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.plan import PROTOCOLS
from harness.config.resolve import Resolved
from harness.config.run_config import RunConfig
from harness.config.settings import declared
from harness.records.titles import ordered_names, stream_title
from harness.run import environment
from models.loading.description import describe


def document(resolved: Resolved, encoder: Any, strategy: Any, device: torch.device, scenario: Any) -> dict[str, Any]:
    """The part of `run.json` that is known before the first step."""
    return {
        "request": resolved.request,
        "changes": dict(resolved.config.options),
        "key": resolved.key,
        "identity": resolved.identity(),
        "status": "running",
        "summary": None,
        "differences": scenario.differences,
        "reference": _reference(resolved, strategy),
        "samples": {s: [len(e.dataset) for e in stream] for s, stream in scenario.streams.items()},
        "model_description": describe(encoder),
        "model_notes": list(encoder.notes),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "trainable_params": sum(p.numel() for p in strategy.trainable) if strategy.trains else 0,
        **environment.describe(device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def banner(r: Resolved, encoder: Any, strategy: Any, scenario: Any) -> tuple[str, list[str]]:
    """Title and lines that say what is about to run, and where its data is not the paper's."""
    c, plan, options = r.config, r.plan, r.options
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    tasks = ", ".join(r.tasks) if len(r.tasks) <= 20 else f"{r.tasks[0]} to {r.tasks[-1]}"
    lines = [
        f"{len(r.tasks)} tasks: {tasks}",
        f"held out: {_heldout(r)}; protocol {plan.protocol}: {PROTOCOLS[plan.protocol]}",
        f"model {r.model}{' / ' + r.pretrained if r.pretrained else ''} ({parameters:.1f} M parameters), tuning {r.tuning}",
    ]
    lines += encoder.notes
    if strategy.trains:
        updates = sorted({strategy.budget(e) for e in scenario.streams["train"]})
        span = f"{updates[0]}" if len(updates) == 1 else f"{updates[0]} to {updates[-1]}"
        rates = "".join(f", {rate:g} for {task}" for task, rate in options.lr_by_task.items() if task in r.tasks)
        lines.append(f"{span} updates a task, batch {options.batch_size}, lr {options.lr:g}{rates}")
    for name, setting in declared(RunConfig).items():
        if setting.banner and getattr(c, name) is not None:
            lines.append(setting.banner.format(getattr(c, name)))
    if (used := _reference(r, strategy)) is not None:
        counts = [f"{of['n']:,} reference {what} ({of['name']})" for what, of in used.items() if of["n"]]
        counts += [f"reference {what}: {of['name']}" for what, of in used.items() if not of["n"]]
        lines.append(", ".join(counts))
    if plan.edition == "mini":
        lines.append(
            "mini edition: small domains and a tiny model, to try methods on; the papers' data and models: "
            f"bench {c.benchmark} --edition full --data-root DIR"
        )
    elif r.model == "tiny":
        lines.append(
            "the tiny model knows simple pictures of 48 x 48 pixels; for photographs: --model ViT-B-16 --pretrained openai"
        )
    stream = stream_title(plan.benchmark, plan.edition, r.order_label, ordered_names(r.identity()))
    title = f"{stream}: {r.strategy_slug}, seed {c.seed}"
    return title, lines


def _heldout(r: Resolved) -> str:
    """The held-out domains, and where they are the default what that means."""
    if not r.heldout:
        return "none"
    default = "" if r.config.heldout is not None else " (the default, for Retention; --heldout NAMES or none changes it)"
    return f"{', '.join(r.heldout)}{default}"


def short_warmup(r: Resolved, strategy: Any, scenario: Any) -> str | None:
    """A sentence on tasks that end before their warm-up does, so that a method seems to forget nothing; None without any.

    None for the full edition: its few updates a step (50 steps of CIFAR-100) are the paper's protocol.
    """
    if not strategy.trains or r.plan.edition == "full":
        return None
    updates, warmup = [strategy.budget(e) for e in scenario.streams["train"]], r.options.warmup
    short = [n for n in updates if n <= warmup]
    if not short:
        return None
    which = "every task gets" if len(short) == len(updates) else f"{len(short)} of {len(updates)} tasks get"
    most = max(short)
    return (
        f"{which} at most {most} updates, no more than the {warmup} of the warm-up, so the learning rate peaks at "
        f"{most}/{warmup} of lr and little is learned or forgotten; --set epochs=, iterations= or warmup= changes that"
    )


def _reference(r: Resolved, strategy: Any) -> dict[str, dict[str, Any]] | None:
    """What is distilled on: names, and how many there are of those that a run looks at."""
    if r.reference is None:
        return None
    images, sentences = r.reference
    return {
        "images": {"name": images, "n": len(strategy.reference.images)},
        "sentences": {"name": sentences, "n": len(strategy.reference.sentences)},
    }
