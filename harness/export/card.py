"""The model card of an export: README.md with front matter in the hub's format."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.config.run_config import RunConfig
from harness.config.settings import declared, flag_of
from harness.export import head
from harness.export.check import TOLERANCE, Checked
from harness.export.exporters import Code, Exporter
from harness.records.run_check import read_accuracy
from models.loading.architectures import HUB
from models.loading.local_files import SHIPPED
from models.setting import value_types

if TYPE_CHECKING:
    from harness.saved import SavedRun

MODEL_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
FILES = {
    "open_clip_config.json": "architecture and preprocessing, as open_clip reads them",
    "open_clip_model.safetensors": "weights of both towers, LoRA included",
    "architecture.json": "arguments of open_clip's model class",
    "model.safetensors": "weights of both towers, LoRA included",
    "config.json": "architecture, as transformers reads it",
    "preprocessor_config.json": "preprocessing of images",
    "image.onnx": "image tower: `pixels` [B, 3, S, S], normalised, to unit `features` [B, d]",
    "image.onnx.data": "its weights",
    "text.onnx": "text tower: token `ids` [B, context] to unit `features` [B, d]",
    "text.onnx.data": "its weights",
    "tokenizer.json": "tokenizer",
    "tokenizer_config.json": "settings of the tokenizer",
    "adapter_config.json": "settings of the LoRA adapter",
    "adapter_model.safetensors": "the LoRA adapter",
    "base": "the model without the adapter. Leave it out if you have it elsewhere",
    "head.json": "class names, templates, logit scale and bias, preprocessing",
    "head.safetensors": "text features of the classes `text.TASK` [C, d], trained rows, adapters and classifiers",
}


class Source(NamedTuple):
    """Data of a task: its licence ("" if unknown) and whether it was read for the check."""

    licence: str
    read: bool


def card(
    exporter: Exporter, saved: SavedRun, checked: Checked, sources: Mapping[str, Source], folder: Path, name: str, command: str
) -> str:
    """Return the text of README.md.

    Args:
        exporter: the exporter.
        saved: the run's model.
        checked: the result of the check.
        sources: licences of the data by task.
        folder: the written folder.
        name: the name of the model, for the title and the model index.
        command: the command that made the export.
    """
    code = exporter.code()
    parts = [
        f"# {name}",
        _introduction(saved, code),
        "## Classify a photo" if code else "",
        usage(exporter, code),
        _new_classes(exporter, code),
        "## Files",
        _files(folder),
        "## Accuracy",
        _accuracy(saved, checked),
        "## Check",
        _check(checked),
        "## Made by",
        f"```bash\n{bench_command(saved.record)}\n{command}\n```",
        _versions(saved.record),
        "## Licence",
        _licence(saved, sources),
    ]
    return f"---\n{_front_matter(exporter, saved, name)}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n"


def usage(exporter: Exporter, code: Code | None) -> str:
    """Return the lines that classify a photo, as a block of Markdown."""
    if code is None:
        return (
            "Only Perennial can build this architecture: `models.load(MODEL, pretrained=FILE)`. The tensors have open_clip's "
            "names."
        )
    model, numpy = exporter.model, code.numpy
    lines = [code.load, code.photo, head.choice(model) + head.classes(numpy), code.encode, head.score(model, numpy)]
    lines.append(head.show(numpy))
    return "```python\n" + "\n".join(part.strip("\n") + "\n" for part in lines) + "```"


def bench_command(document: Mapping[str, Any]) -> str:
    """Return the command that repeats a run."""
    request, words = document["request"], ["python", "cli.py", "bench", document["request"]["benchmark"]]
    defaults = {field.name: field.default for field in dataclasses.fields(RunConfig)}
    for name, setting in declared(RunConfig).items():
        value = request.get(name)
        usual: tuple[Any, ...] = (None, [], {}, setting.usual, defaults.get(name))
        if not setting.recorded or name in ("benchmark", "options") or value in usual:
            continue
        flag, kinds = flag_of(name, setting), value_types(type(value))
        if bool in kinds:
            words += [flag] if value else []
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    changes = [f"{name}={value}" for name, value in document.get("changes", {}).items()]
    return shlex.join([*words, *(["--set", *changes] if changes else [])])


def base_model(config: RunConfig) -> str | None:
    """Return the name of the base model: a hub repository, or a model's name; None for a path."""
    model, pretrained = str(config.model), config.pretrained
    if model.startswith(HUB):
        return model.removeprefix(HUB)
    if model not in SHIPPED and pretrained not in (None, "random"):
        import open_clip

        repository = open_clip.get_pretrained_cfg(model, pretrained).get("hf_hub") if pretrained else None
        if repository:
            return str(repository).rstrip("/")
    return model if MODEL_NAME.fullmatch(model) else None


def _front_matter(exporter: Exporter, saved: SavedRun, name: str) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    tasks = [*saved.tasks[: saved.after]] if saved.after else []
    results = [
        EvalResult(
            task_type="zero-shot-image-classification",
            dataset_type=task,
            dataset_name=task,
            metric_type="accuracy",
            metric_name=f"accuracy, protocol {saved.config.protocol}",
            metric_value=round(saved.run.cells[saved.after, stream, task], 4),
        )
        for stream, names in (("test", saved.tasks), ("heldout", saved.heldout))
        for task in names
        if (saved.after, stream, task) in saved.run.cells
    ]
    data = ModelCardData(
        base_model=base_model(saved.config),
        datasets=tasks or None,
        license="other",
        license_name="of-the-base-model-and-the-data",
        license_link="README.md",
        library_name="peft" if exporter.adapter else exporter.library,
        pipeline_tag="zero-shot-image-classification",
        tags=["clip", "continual-learning", "perennial", str(saved.config.strategy).partition(":")[2] or saved.config.strategy],
        metrics=["accuracy"],
        eval_results=results or None,
        model_name=name,
    )
    return str(data.to_yaml())


def _introduction(saved: SavedRun, code: Code | None) -> str:
    config = saved.config
    model = f"{config.model}{f' ({config.pretrained})' if config.pretrained else ''}"
    if not saved.after:
        return f"The model {model} before training, with the classes of {', '.join(saved.tasks)}."
    learned = saved.tasks[: saved.after]
    return (
        f"The model {model} after task {saved.after} of {len(saved.tasks)} ({learned[-1]}), trained with the method "
        f"`{config.strategy}`, tuning `{config.tuning}`, on {', '.join(learned)}."
    )


def _new_classes(exporter: Exporter, code: Code | None) -> str:
    if code is None or not code.texts:
        return ""
    only = {
        "trained": " The heads of trained tasks are trained rows, which no text gives.",
        "context": " The classes of head.json have text features with a learned context, which these lines do not use.",
    }
    kinds = [kind for kind in only if any(each.kind == kind for each in exporter.model.heads)]
    return (
        "### New classes\n\nText features of other classes, to use as `rows` and `names`:"
        + "".join(only[kind] for kind in kinds)
        + f'\n\n```python\n{code.texts}\n\nnames = ["cat", "dog"]\nrows = text_rows(names, ["a photo of a {{}}."])\n```'
    )


def _files(folder: Path) -> str:
    present = [name for name in FILES if (folder / name).exists()]
    return "\n".join(["| file | content |", "| --- | --- |", *(f"| `{name}` | {FILES[name]} |" for name in present)])


def _accuracy(saved: SavedRun, checked: Checked) -> str:
    cells = read_accuracy(saved.folder / "accuracy.csv", saved.tasks, saved.heldout)
    rows = []
    for stream, names in (("test", saved.tasks), ("heldout", saved.heldout)):
        for number, task in enumerate(names):
            if (cell := cells.get((saved.after, stream, task))) is None:
                continue
            right, n = checked.correct.get(task, (0, 0))
            kind = "held out" if stream == "heldout" else "learned" if number < saved.after else "not learned"
            exported = f"{right} of {n}" if n else "not measured"
            rows.append(f"| {task} | {kind} | {cell.percent:.2f} % | {cell.correct} of {cell.n} | {exported} |")
    recorded = "as the run recorded it" + ("" if saved.config.split == "test" else " on validation images")
    return "\n".join(
        [
            f"After task {saved.after}, protocol `{saved.config.protocol}`: {recorded}, and with these files.",
            "",
            "| task | | accuracy of the run | correct, run | correct, export |",
            "| --- | --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def _check(checked: Checked) -> str:
    if checked.logits is None:
        return (
            "Loaded again in a fresh process with only safetensors: every tensor is bit-exact. No logits were compared, "
            "because only Perennial can build the architecture."
        )
    images = f"{checked.images:,} test images"
    if checked.random:
        images = f"{checked.images} random images, because the test data was not at hand"
    sentences = [
        f"Loaded again in a fresh process without Perennial. On {images}: the same answers, and logits of up to "
        f"{checked.largest:.1f} that differ by at most {checked.logits:.1g} (allowed: {TOLERANCE:g} of the largest)."
    ]
    if checked.texts is not None:
        sentences.append(f"With text features that are encoded again, logits differ by at most {checked.texts:.1g}.")
    if checked.photo is not None:
        sentences.append(f"Normalised pixels of photos differ by at most {checked.photo:.1g}.")
    return " ".join(sentences)


def _versions(document: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document.get("versions", {}).items())
    revision = document.get("git_revision")
    return f"Perennial{f', revision {revision}' if revision else ''}; {versions}; {document.get('device', 'unknown device')}."


def _licence(saved: SavedRun, sources: Mapping[str, Source]) -> str:
    base = base_model(saved.config)
    rights = "Apache-2.0" if saved.config.model in SHIPPED else "see its own model card"
    lines = [
        "Perennial gives no licence to trained weights. What you may do with them depends on the base model and the data:",
        "",
        f"- base model {base or 'of a local directory'}: {rights}",
    ]
    for task in saved.tasks[: saved.after]:
        source = sources.get(task, Source("", False))
        lines.append(f"- data {task}: {source.licence or 'see its source'}")
    return "\n".join(lines)
