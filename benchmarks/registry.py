"""The benchmarks by name, and the editions. Imports neither torch nor Avalanche."""

from __future__ import annotations

from typing import Any

from models.registry import Registry

BENCHMARKS = Registry(
    "benchmark",
    {
        "mtil": "benchmarks.mtil:stream",
        "cil": "benchmarks.cil:stream",
        "stream": "benchmarks.stream:stream",
        "xtail": "benchmarks.xtail:stream",
        "mtil-fewshot-16": "benchmarks.xtail:few_shot",
        "odcl": "benchmarks.mtil:open_domain",
        "paint": "benchmarks.cases.paint:stream",
        "vqa": "benchmarks.cases.vqa:stream",
        "counting": "benchmarks.cases.counting:stream",
        "generalisation": "benchmarks.cases.generalisation:stream",
        "transfer-study": "benchmarks.cases.transfer:stream",
        "typographic": "benchmarks.cases.typographic:stream",
        "typographic-control": "benchmarks.cases.typographic:control",
    },
)
ABOUT = {
    "mtil": "task-incremental over domains: orders I, II or a list of names; eight domains (mini) or the paper's eleven (full)",
    "cil": "class-incremental: the classes of one dataset in steps (--dataset, --steps)",
    "stream": "any domains in sequence (--tasks A,B,C): built-in names, folders, CSV files, hub datasets",
    "xtail": "X-TAIL (RAIL, 2406.18868): 16 shots, one template, and the classes of all tasks compete; eight or ten domains",
    "mtil-fewshot-16": "few-shot MTIL (DIKI): 16 shots of eight domains; with 5 shots of eleven: mtil --shots 5",
    "odcl": "open-domain CIL (CoLeCLIP, 2403.10245): the domains of mtil, and the classes of all tasks so far compete",
    "paint": "PAINT's nine patching and five supported tasks (2208.05592): single, joint, sequential and parallel patching",
    "vqa": "visual question answering as multiple choice (PAINT): held-out wordings and pairs of color and shape",
    "counting": "PAINT's counting: patch on odd numbers of objects, test on even ones; drawn (mini) or CLEVR (full)",
    "generalisation": "A-CLIP's question (2402.09613): domains trained one by one, tested in two styles and elsewhere",
    "transfer-study": "patch one task, measure all others, also the other half of a domain's classes (PAINT's broad transfer)",
    "typographic": "PAINT's typographic attacks: wrong class names written over images (--dataset: the images under them)",
    "typographic-control": "the control of typographic: the same training images without words, tested on the same targets",
}
DEFAULT_STRATEGIES: dict[str, tuple[str, ...]] = {
    "paint": ("paint-single", "paint-joint", "paint-sequential", "paint-parallel"),
    "vqa": ("paint-single",),
    "counting": ("paint-single",),
    "generalisation": ("finetune", "bitfit", "attention", "lora", "adapter"),
    "transfer-study": ("paint-single",),
    "typographic": ("paint-single",),
    "typographic-control": ("paint-single",),
}
"""The strategies that `bench` runs without `--strategy`, one after the other. A benchmark without an entry runs zscl."""
EDITIONS = ("mini", "full", "own")


def usual_settings(benchmark: str) -> dict[str, Any]:
    """Return the settings that define a benchmark, by its name in records. Runs with others have a mark in tables."""
    usual: dict[str, dict[str, Any]] = {
        "xtail": {"protocol": "agnostic", "shots": 16, "duplicates": "index"},
        "mtil-fewshot-16": {"shots": 16},
        "odcl": {"protocol": "class", "duplicates": "merge"},
    }
    protocol = "class" if benchmark.startswith("cil-") else "task"
    return {"protocol": protocol, "duplicates": "own", "split": "test", **usual.get(benchmark, {})}
