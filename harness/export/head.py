"""Class names, templates and classifiers of an exported model: head.json, head.safetensors, and the lines that read them.

    head.json           {"logit_scale", "logit_bias", "image_adapter", "text_adapter", "classifier", "preprocess", "tasks"}; a
                        task has "name", "class_names", "templates", "rows" ("text", "context" or "trained"), "learned"
                        (trained so far), "held_out", and with a classifier "first", its first column in it
    head.safetensors    text.TASK [C, d]        text features of the classes: the template ensemble
                        trained.TASK [C, d]     the rows of a trained head (`probe`), which replace them
                        context.TASK [C, d]     text features with a learned context (`coop`), which replace them
                        image_adapter.*, text_adapter.*     CLIP-Adapter (down, up, ratio) or a linear map (weight)
                        classifier.*            a closed-form classifier: means, or coefficients and their random projection

The score of an image with the unit feature f for a class with the row t is logit_scale * f t + logit_bias.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from harness.export.exportable import Exportable
from models.adapter import Adapter, LinearAdapter
from models.files import write_bytes

JSON, TENSORS = "head.json", "head.safetensors"

CHOICE = """\
tasks = [task for task in head["tasks"] if task["learned"]]  # the classes that compete; any tasks of head.json
"""
CHOICE_OF_ALL = """\
tasks = head["tasks"]  # the classes that compete; any tasks of head.json
"""
CLASSES = """\
names = [name for task in tasks for name in task["class_names"]]
rows = {cat}([tensors[f"{{task['rows']}}.{{task['name']}}"] for task in tasks])
"""
SCORE = """\
logits = head["logit_scale"] * features @ rows.T + head["logit_bias"]
"""
ANSWER = """\
logits = answer(logits, features, tasks)
"""
SHOW = """\
for probability, index in zip(*logits.softmax(dim=1)[0].topk(min(5, len(names)))):
    print(f"{probability:.1%} {names[index]}")
"""
NUMPY_SHOW = """\
probabilities = np.exp(logits[0] - logits[0].max()) / np.exp(logits[0] - logits[0].max()).sum()
for index in np.argsort(-probabilities)[:5]:
    print(f"{probabilities[index]:.1%} {names[index]}")
"""
ADAPTED = {
    "mlp": """\
def adapted(x, tower):  # CLIP-Adapter, before the features are made unit vectors
    down, up, ratio = (tensors[f"{tower}_adapter.{name}"] for name in ("down", "up", "ratio"))
    return ratio * ((x @ down.T).relu() @ up.T).relu() + (1 - ratio) * x
""",
    "linear": """\
def adapted(x, tower):  # a linear map, before the features are made unit vectors
    return x @ tensors[f"{tower}_adapter.weight"].T
""",
}
CLASSIFIER = """\
def answer(logits, features, tasks):  # the closed-form classifier of the learned classes
    share, rule = head["classifier"]["share"], head["classifier"]["rule"]
    learned = torch.tensor([task["learned"] for task in tasks for _ in task["class_names"]])
    if not learned.any():
        return logits
    columns = [task["first"] + i for task in tasks if task["learned"] for i in range(len(task["class_names"]))]
    mixed = (1 - share) * logits.softmax(dim=1)
    mixed[:, learned] += share * {scores}[:, columns]
    if learned.all() or rule == "always":
        return head["logit_scale"] * mixed
    taken = logits[:, learned].amax(dim=1) > logits[:, ~learned].amax(dim=1)
    mixed[:, ~learned] = mixed[:, learned].amin(dim=1, keepdim=True) - 1
    return torch.where(taken[:, None], head["logit_scale"] * mixed, logits)
"""
SCORES = {
    "means": '(features @ tensors["classifier.means"].T)',
    "ridge": '(features @ tensors["classifier.coefficients"])',
    "random ridge": '((features @ tensors["classifier.projection"]).relu() @ tensors["classifier.coefficients"])',
}


def write(model: Exportable, folder: Path) -> None:
    """Write head.json and head.safetensors."""
    write_bytes(folder / TENSORS, save({name: tensor.contiguous() for name, tensor in tensors(model).items()}))
    write_bytes(folder / JSON, (json.dumps(document(model), indent=1, ensure_ascii=False) + "\n").encode())


def document(model: Exportable) -> dict[str, Any]:
    """Return the content of head.json."""
    encoder, preprocess = model.encoder, model.encoder.preprocess
    bias: Tensor | None = getattr(encoder.clip, "logit_bias", None)
    classifier = None
    if model.classifier is not None:
        classifier = {"kind": model.classifier.kind, "share": model.classifier.share, "rule": model.classifier.rule}
    return {
        "logit_scale": float(encoder.clip.logit_scale.detach().exp()),
        "logit_bias": 0.0 if bias is None else float(bias.detach()),
        "image_adapter": adapter_kind(encoder.image_adapter),
        "text_adapter": adapter_kind(encoder.text_adapter),
        "classifier": classifier,
        "preprocess": {
            "size": preprocess.size,
            "mean": _colours(encoder.mean),
            "std": _colours(encoder.std),
            "interpolation": preprocess.interpolation,
            "resize_mode": preprocess.resize_mode,
            "fill_color": preprocess.fill,
        },
        "tasks": [
            {
                "name": head.name,
                "class_names": list(head.classnames),
                "templates": list(head.templates),
                "rows": head.kind,
                "learned": head.learned,
                "held_out": head.held_out,
                **({} if head.groups is None else {"questions": list(head.groups)}),
                **({} if head.first is None else {"first": head.first}),
            }
            for head in model.heads
        ],
    }


def tensors(model: Exportable) -> dict[str, Tensor]:
    """Return the content of head.safetensors."""
    stored = {f"text.{head.name}": head.text for head in model.heads}
    stored |= {f"{head.kind}.{head.name}": head.rows for head in model.heads if head.kind != "text"}
    for tower in ("image", "text"):
        adapter = getattr(model.encoder, f"{tower}_adapter")
        if isinstance(adapter, Adapter):
            layers: Any = adapter.mlp
            parts = {"down": layers[0].weight, "up": layers[2].weight, "ratio": adapter.ratio.clamp(0, adapter.target)}
        else:
            parts = {"weight": adapter.weight} if isinstance(adapter, LinearAdapter) else {}
        stored |= {f"{tower}_adapter.{name}": tensor for name, tensor in parts.items()}
    if model.classifier is not None:
        stored |= {f"classifier.{name}": tensor for name, tensor in model.classifier.tensors.items()}
    # Heads of a task and of a held-out domain may share memory.
    return {name: tensor.detach().float().clone() for name, tensor in stored.items()}


def adapter_kind(adapter: object) -> str | None:
    """Return the kind of an adapter in head.json: "mlp", "linear" or None."""
    return "mlp" if isinstance(adapter, Adapter) else "linear" if isinstance(adapter, LinearAdapter) else None


def functions(model: Exportable, adapters: bool = True) -> str:
    """Return the lines that define `adapted` and `answer`, as far as the model needs them.

    Args:
        model: the model.
        adapters: whether the target leaves the adapters to these lines.
    """
    kinds = {adapter_kind(model.encoder.image_adapter), adapter_kind(model.encoder.text_adapter)} - {None}
    parts = [ADAPTED[kind] for kind in sorted(filter(None, kinds))] if adapters else []
    if model.classifier is not None:
        parts.append(CLASSIFIER.replace("{scores}", SCORES[model.classifier.kind]))
    return "".join(f"\n\n{part}\n" for part in parts)


def raw(model: Exportable, tower: str, expression: str) -> str:
    """Return a Python expression of a tower's output, with the adapter after it if there is one."""
    adapter = getattr(model.encoder, f"{tower}_adapter")
    return expression if adapter is None else f'adapted({expression}, "{tower}")'


def choice(model: Exportable) -> str:
    """Return the line that sets `tasks`, whose classes compete."""
    return CHOICE if any(head.learned for head in model.heads) else CHOICE_OF_ALL


def classes(numpy: bool) -> str:
    """Return the lines that set `names` and `rows` from `tasks`."""
    return CLASSES.format(cat="np.concatenate" if numpy else "torch.cat")


def score(model: Exportable, numpy: bool) -> str:
    """Return the lines that set `logits` from `features` and `rows`."""
    if model.classifier is None:
        return SCORE
    if not numpy:
        return SCORE + ANSWER
    into = "logits, features = torch.from_numpy(logits), torch.from_numpy(features)\n"
    tensors_of_torch = "tensors = {name: torch.as_tensor(tensor) for name, tensor in tensors.items()}\n"
    return SCORE + into + tensors_of_torch + ANSWER.replace("tasks)", "tasks).numpy()")


def show(numpy: bool) -> str:
    """Return the lines that print the likeliest classes of the first image."""
    return NUMPY_SHOW if numpy else SHOW


def _colours(values: Tensor) -> list[float]:
    # Rounded, because a float32 mean of 0.27 is 0.27000001072883606.
    return [round(value, 7) for value in values.flatten().tolist()]
