"""The fresh process of a check: run the lines of a README, and return what they compute. Started as a script by `check`.

It imports numpy and what these lines import, and nothing of this project.

Requests come on the standard input and replies go to the standard output: one line of JSON, whose "arrays" lists type and shape
of the arrays that follow as bytes.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
import warnings
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

OURS = ("benchmarks", "cli", "harness", "metrics", "models", "perennial", "reference_data", "strategies")


def send(stream: IO[bytes], document: Mapping[str, Any], arrays: Sequence[NDArray[Any]] = ()) -> None:
    """Write a document and arrays."""
    arrays = [np.ascontiguousarray(array) for array in arrays]
    document = {**document, "arrays": [[array.dtype.str, array.shape] for array in arrays]}
    stream.write(json.dumps(document).encode() + b"\n" + b"".join(array.tobytes() for array in arrays))
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], list[NDArray[Any]]] | None:
    """Return the next document and its arrays, or None at the end."""
    if not (line := stream.readline()):
        return None
    document = json.loads(line)
    arrays = []
    for kind, shape in document.pop("arrays"):
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        arrays.append(np.frombuffer(stream.read(size), kind).reshape(shape))
    return document, arrays


class Model:
    """An exported model in the names that the lines of its README define."""

    def __init__(self, code: Mapping[str, Any], folder: str):
        self.code = code
        self.names: dict[str, Any] = {}
        self.run(code["load"].replace('folder = "."', f"folder = {folder!r}"))

    def run(self, lines: str) -> None:
        """Run lines of Python."""
        exec(compile(lines, "README.md", "exec"), self.names)

    def array(self, name: str) -> NDArray[Any]:
        """Return what the lines have set."""
        return np.asarray(self.names[name])

    def set_image(self, image: NDArray[Any]) -> None:
        """Set `image`, as an array of the library of the lines."""
        if not self.code["numpy"]:
            import torch

            self.names["image"] = torch.from_numpy(image)
        else:
            self.names["image"] = image

    def logits(self, pixels: NDArray[Any], choices: Sequence[Sequence[str]]) -> list[NDArray[Any]]:
        """Return the logits of uint8 pixels [B, 3, S, S] among the classes of each choice of tasks."""
        values = self.names["head"]["preprocess"]
        mean, std = (np.array(values[name], np.float32)[:, None, None] for name in ("mean", "std"))
        self.set_image((pixels.astype(np.float32) / np.float32(255) - mean) / std)
        self.run(self.code["encode"])
        tasks, logits_by_choice = self.names["head"]["tasks"], []
        for choice in choices:
            self.names["tasks"] = [task for task in tasks if task["name"] in choice]
            self.run(self.code["classes"] + self.code["score"])
            logits_by_choice.append(self.array("logits"))
        return logits_by_choice

    def text_rows(self, names: Sequence[str]) -> list[NDArray[Any]]:
        """Return the text features of tasks, by the lines for new classes."""
        self.run(self.code["texts"])
        tasks = {task["name"]: task for task in self.names["head"]["tasks"]}
        rows_of = self.names["text_rows"]
        return [np.asarray(rows_of(tasks[name]["class_names"], tasks[name]["templates"])) for name in names]

    def photo(self, path: str) -> tuple[NDArray[Any], str]:
        """Return the pixels of a photo and what the README's lines print about it."""
        self.run(self.code["photo"].replace('"photo.jpg"', repr(path)))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.run(self.code["encode"] + self.code["choice"] + self.code["classes"] + self.code["score"] + self.code["show"])
        return self.array("image"), printed.getvalue()


def weights(path: str) -> dict[str, list[Any]]:
    """Return a digest of the tensors of a safetensors file by name."""
    import hashlib

    from safetensors.numpy import load_file

    return {name: [list(a.shape), hashlib.sha256(a.tobytes()).hexdigest()] for name, a in load_file(path).items()}


def check_alone(root: str) -> None:
    """Raise ImportError if a module of this project was imported."""
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if name.partition(".")[0] in OURS and path.startswith(root + os.sep) and "site-packages" not in path:
            raise ImportError(f"the exported model needs the module {name} of this project")


def main() -> None:
    """Answer requests until the input ends."""
    root, stream = sys.argv[1], os.fdopen(os.dup(1), "wb")
    # What libraries print must not get among the replies.
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    model: Any = None
    while (request := receive(sys.stdin.buffer)) is not None:
        document, arrays = request
        reply: dict[str, Any] = {}
        returned: list[NDArray[Any]] = []
        try:
            if document["do"] == "load":
                model = Model(document["code"], document["folder"])
            elif document["do"] == "weights":
                reply = {"weights": weights(document["path"])}
            elif document["do"] == "logits":
                returned = model.logits(arrays[0], document["choices"])
            elif document["do"] == "texts":
                returned = model.text_rows(document["tasks"])
            elif document["do"] == "photo":
                image, printed = model.photo(document["path"])
                reply, returned = {"printed": printed}, [image]
            check_alone(root)
        except Exception as error:
            traceback.print_exc()
            reply, returned = {"error": f"{type(error).__name__}: {error}"}, []
        send(stream, reply, returned)


if __name__ == "__main__":
    main()
