"""The settings of a run: one field each, from which flags, files, records, keys and columns are made.

A new setting is one field here, or in `benchmarks.plan.Ask` if it belongs to the benchmark, and the code that uses it. Imports
nothing heavy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.plan import Ask
from metrics.suite import RUN_DEFAULTS
from models.setting import setting

PRECISIONS = {
    "fp32": "float32 throughout",
    "tf32": "float32 whose matrix products have 10 bits of mantissa: NVIDIA GPUs from Ampere on",
    "bf16": "the towers in bfloat16 (autocast); weights, features and losses in float32",
}

COMPILE = {
    "auto": "graphs on an NVIDIA GPU, in one process and without --microbatch; otherwise off",
    "off": "torch's operations one by one",
    "blocks": "torch.compile of every attention block of the towers: fewer and faster kernels, other rounding",
    "graphs": "training passes of the towers replayed as CUDA graphs: the same kernels without the host's time (NVIDIA GPUs)",
    "both": "blocks and graphs",
}

KEEP = {"last": "the weights after the last task", "all": "the weights after every task"}


def _benchmarks() -> Iterable[str]:
    from benchmarks import BENCHMARKS

    return BENCHMARKS.names()


def _strategies() -> Iterable[str]:
    from strategies import STRATEGIES

    return STRATEGIES.names()


def _tunings() -> Iterable[str]:
    from models.tuning_options import REGISTRY

    return REGISTRY.names()


def _loggers() -> Iterable[str]:
    from harness.loggers import LOGGERS

    return LOGGERS.names()


def _plugins() -> Iterable[str]:
    from strategies.plugins.built_in import PLUGINS

    return PLUGINS


@dataclass(frozen=True)
class RunConfig(Ask):
    """One run as the user asks for it. None means the default of the benchmark or the strategy.

    `options` holds changes to the strategy's options, those of the tuning as "tuning.NAME" and those of a plugin as
    "PLUGIN.NAME".

    Example:
        run(RunConfig("mtil", "zscl", order="II", seed=1, options={"l2": 0.1}))
    """

    benchmark: str = setting(
        "mtil",
        "mtil, cil, stream or a case study (see `list benchmarks`)",
        group="data",
        flag="benchmark",
        nargs="?",
        choices=_benchmarks,
    )
    strategy: str = setting(
        "zscl",
        "method: a name from `list strategies`, or FILE.py:Class, which is run as code (default: zscl; case studies: several)",
        choices=_strategies,
        code=True,
    )
    _: dataclasses.KW_ONLY
    shots: int | None = setting(
        None,
        "few-shot: train on N images per class",
        group="data",
        metavar="N",
        least=1,
        identity=True,
        banner="{} training images per class",
        title="{:.0f} shots",
    )
    limit: int | None = setting(
        None,
        "use at most N images per split",
        group="data",
        metavar="N",
        least=2,
        identity=True,
        title="at most {:.0f} images per split",
    )
    model: str | None = setting(
        None,
        "model: tiny, an open_clip name, a directory or hf-hub:NAME (default: the edition's model)",
        group="model",
        identity=True,
    )
    pretrained: str | None = setting(
        None, "weights of the model: an open_clip tag, a file, or random", group="model", identity=True
    )
    tuning: str | None = setting(
        None,
        "parameters that train: a name from `list tunings`, or FILE.py:Class, which is run as code (default: the strategy's)",
        group="model",
        choices=_tunings,
        code=True,
        identity=True,
    )
    plugins: tuple[str, ...] = setting(
        (),
        "Avalanche plugins: names from `list plugins`, or FILE.py:Class, which is run as code",
        flag="--plugin",
        metavar="NAME",
        items="names",
        choices=_plugins,
        code=True,
        noun="plugin",
    )
    seed: int = setting(
        0,
        "seeds, with one run each: 0 1 2, or 0-4 (default: 0)",
        metavar="N",
        items="seeds",
        least=0,
        most=2**63 - 1,
        identity=True,
    )
    options: Mapping[str, Any] = setting(
        {},
        "options of the strategy (iterations, lr, ...), of the tuning (tuning.rank) or of a plugin (ewc.ewc_lambda)",
        flag="--set",
        metavar="KEY=VALUE",
    )
    precision: str = setting(
        "fp32",
        "precision: fp32 (default), tf32 (NVIDIA GPUs) or bf16 (for the towers; faster on GPUs)",
        choices=lambda: PRECISIONS,
        identity=True,
        usual="fp32",
    )
    compile: str = setting(
        "auto",
        "how the towers run: auto (default: graphs where possible), off, graphs (CUDA graphs; NVIDIA GPUs; the same numbers), "
        "blocks (torch.compile), both",
        choices=lambda: COMPILE,
        identity=True,
        usual="off",
        equals=("auto", "graphs"),
    )
    microbatch: int | None = setting(
        None, "train on N images at a time: the same gradients with less memory, slower", metavar="N", least=1
    )
    checkpoint_minutes: float = setting(
        5.0,
        "also save within a task, at most every M minutes (default: 5; 0: never)",
        metavar="M",
        least=0,
        recorded=False,
    )
    device: str = setting("auto", "device: auto (default), cpu, cuda or cuda:N", group="model", recorded=False)
    workers: int | None = setting(
        None,
        "processes that read training images from files (default: one per processor, at most 16)",
        metavar="N",
        least=0,
        recorded=False,
    )
    measure_n: int = setting(
        1000,
        "number of training images that are measured before training (default: 1000)",
        group="evaluation",
        metavar="N",
        least=2,
        identity=True,
    )
    measures: tuple[str, ...] | None = setting(
        None,
        "names from `list measures`, or all (default: the ones marked * in that list)",
        group="evaluation",
        metavar="NAME",
        items="names",
        identity=True,
        usual=list(RUN_DEFAULTS),
    )
    split: str = setting(
        "test",
        "images that are scored: test (default), or val, to choose options without a look at test images",
        group="evaluation",
        choices=lambda: ("test", "val"),
        identity=True,
        usual="test",
        banner="{} images are scored",
        title="scored on {} images",
    )
    val_limit: int | None = setting(
        None,
        "with --split val: score at most N images per task",
        group="evaluation",
        metavar="N",
        least=1,
        identity=True,
        usual=None,
    )
    save_predictions: bool = setting(
        False,
        "save the five likeliest classes of every test image, and what `rescore` needs, after every task (parquet)",
        group="evaluation",
        recorded=False,
    )
    check_batch: bool = setting(
        False,
        "also check, after the last task, whether any prediction depends on the other images of its batch",
        group="evaluation",
        recorded=False,
    )
    cache: bool = setting(
        True,
        "decode evaluation images in every run, without a cache",
        group="evaluation",
        flag="--no-cache",
        recorded=False,
    )
    keep: str = setting(
        "last",
        "tasks whose weights stay after the run: last (default) or all",
        group="output",
        choices=lambda: KEEP,
        recorded=False,
    )
    out: str = setting("results", "folder of the records (default: results)", group="output", metavar="DIR", recorded=False)
    log: tuple[str, ...] = setting(
        (),
        "also log to tensorboard, wandb, trackio, mlflow, csv, or FILE.py:Class, which is run as code (default: none)",
        group="output",
        metavar="NAME",
        items="names",
        choices=_loggers,
        code=True,
        noun="logger",
        recorded=False,
    )
    fresh: bool = setting(False, "start over, even if the run is finished", group="output", recorded=False)

    def ask(self) -> Ask:
        """Return the settings that belong to the benchmark."""
        return Ask(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Ask)})
