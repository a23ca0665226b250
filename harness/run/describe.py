"""Describe a run: its banner, a warning about short tasks, and the part of `run.json` known before the first step."""

from __future__ import annotations

import time
from typing import Any

import torch
from avalanche.benchmarks import CLScenario

from benchmarks.data.domain import chance
from benchmarks.data.overlap import shared_classes
from benchmarks.plan import PROTOCOLS
from harness.config.resolve import Resolved
from harness.config.run_config import RunConfig
from harness.config.settings import declared
from harness.records.titles import ordered_names, stream_title
from harness.run import environment
from models.encoder import DualEncoder
from models.loading.description import describe
from models.loading.local_files import SHIPPED
from strategies.engine.strategy import Strategy

MOST_TASKS = 20
"""Tasks that a banner names."""


def document(
    resolved: Resolved, encoder: DualEncoder, strategy: Strategy, device: torch.device, scenario: CLScenario
) -> dict[str, Any]:
    """Return the part of `run.json` that is known before the first step."""
    tested = [experience.domain for name in ("test", "heldout") for experience in scenario.streams[name]]
    asking = any(domain.groups is not None for domain in tested)
    return {
        "request": resolved.request,
        "changes": dict(resolved.config.options),
        "key": resolved.key,
        "identity": resolved.identity(),
        "status": "running",
        "summary": None,
        "differences": scenario.differences,
        "reference": _reference(resolved, strategy),
        "shared_classes": shared_classes(tested),
        # In other streams it is 100 / classes.
        **({"random_accuracy": {domain.name: chance(domain) for domain in tested}} if asking else {}),
        "samples": {name: [len(e.dataset) for e in stream] for name, stream in scenario.streams.items()},
        "model_description": describe(encoder),
        "model_notes": list(encoder.notes),
        "parameters": sum(p.numel() for p in encoder.parameters()),
        "trainable_params": sum(p.numel() for p in strategy.trainable) if strategy.trains else 0,
        **environment.describe(device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def banner(resolved: Resolved, encoder: DualEncoder, strategy: Strategy, scenario: CLScenario) -> tuple[str, list[str]]:
    """Return the title of a run, and lines about its tasks, model, training and data."""
    config, plan, options, tasks = resolved.config, resolved.plan, resolved.options, resolved.tasks
    names = ", ".join(tasks) if len(tasks) <= MOST_TASKS else f"{tasks[0]} to {tasks[-1]}"
    model = f"{resolved.model} / {resolved.pretrained}" if resolved.pretrained else resolved.model
    parameters = sum(p.numel() for p in encoder.parameters()) / 1e6
    lines = [
        f"{len(tasks)} tasks: {names}",
        f"held out: {_heldout(resolved)}; protocol {plan.protocol}: {PROTOCOLS[plan.protocol]}",
        f"model {model} ({parameters:.1f} M parameters), tuning {resolved.tuning}",
        *encoder.notes,
    ]
    if strategy.trains:
        updates = sorted({strategy.budget(experience) for experience in scenario.streams["train"]})
        span = f"{updates[0]}" if len(updates) == 1 else f"{updates[0]} to {updates[-1]}"
        rates = "".join(f", {rate:g} for {task}" for task, rate in options.lr_by_task.items() if task in tasks)
        changed = "".join(
            f"{value}, " for value, usual in ((options.optimizer, "adamw"), (options.schedule, "cosine")) if value != usual
        )
        lines.append(f"{span} updates per task, {changed}batch {options.batch_size}, lr {options.lr:g}{rates}")
    for name, setting in declared(RunConfig).items():
        if setting.banner and resolved.request[name] not in (None, setting.usual):
            lines.append(setting.banner.format(resolved.request[name]))
    if (reference := _reference(resolved, strategy)) is not None:
        counts = [f"{data['n']:,} reference {kind} ({data['name']})" for kind, data in reference.items() if data["n"]]
        counts += [f"reference {kind}: {data['name']}" for kind, data in reference.items() if not data["n"]]
        lines.append(", ".join(counts))
    if plan.edition == "mini":
        lines.append(
            "mini edition: small domains and a tiny model for trying out methods. With the papers' data and models: "
            f"bench {config.benchmark} --edition full --data-root DIR"
        )
    elif resolved.model in SHIPPED:
        lines.append(
            "the tiny model was trained on simple pictures of 48 x 48 pixels. For photographs: --model ViT-B-16 "
            "--pretrained openai"
        )
    stream = stream_title(plan.benchmark, plan.edition, resolved.order_label, ordered_names(resolved.identity()))
    return f"{stream}: {resolved.strategy_slug}, seed {config.seed}", lines


def short_warmup(resolved: Resolved, strategy: Strategy, scenario: CLScenario) -> str | None:
    """Return a warning about tasks that end before their warm-up, with which a method seems to forget nothing; or None.

    In the full edition there is no warning: few updates per step (50 steps of CIFAR-100) are the paper's protocol.
    """
    if not strategy.trains or resolved.plan.edition == "full":
        return None
    updates, warmup = [strategy.budget(e) for e in scenario.streams["train"]], resolved.options.warmup
    short = [n for n in updates if n <= warmup]
    if not short:
        return None
    which = "every task gets" if len(short) == len(updates) else f"{len(short)} of {len(updates)} tasks get"
    most = max(short)
    return (
        f"{which} at most {most} updates, and the warm-up takes {warmup}, so the learning rate peaks at {most}/{warmup} of lr "
        "and little is learned or forgotten; --set epochs=, iterations= or warmup= changes that"
    )


def _heldout(resolved: Resolved) -> str:
    """Return the names of the held-out domains, with an explanation of the default."""
    if not resolved.heldout:
        return "none"
    explanation = " (the default, for Retention; --heldout NAMES changes it, --heldout without names removes it)"
    return ", ".join(resolved.heldout) + (explanation if resolved.config.heldout is None else "")


def _reference(resolved: Resolved, strategy: Strategy) -> dict[str, dict[str, Any]] | None:
    """Return names and numbers of the reference images and sentences that a run uses, or None."""
    if resolved.reference is None or strategy.reference is None:
        return None
    images, sentences = resolved.reference
    return {
        "images": {"name": images, "n": len(strategy.reference.images)},
        "sentences": {"name": sentences, "n": len(strategy.reference.sentences)},
    }
