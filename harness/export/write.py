"""Export a run: write a folder next to its place, check it in a fresh process, move it to its place, upload it."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from benchmarks.scenario import assemble
from harness.config.resolve import resolve
from harness.display.screen import Screen
from harness.export import EXPORTERS, head, lora_adapter
from harness.export.card import Source, card
from harness.export.check import Batch, Checked, FreshProcess, check, random_batches
from harness.export.exportable import exportable
from harness.export.exporters import Exporter
from harness.records.run_check import read_accuracy
from harness.saved import SavedRun, load_run
from metrics.evaluate import pixel_batches
from models.files import reason, write_bytes
from models.paths import user_path
from models.registry import UserError


class Request(NamedTuple):
    """An export as the user asks for it.

    Attributes:
        run: the folder of the run.
        to: the target, a name of `harness.export.EXPORTERS`.
        out: the folder to make.
        after: the number of the task after which the model is taken; None: the last one.
        adapter: write LoRA as an adapter of peft.
        push: name of a hub repository to upload to, or None.
        check_images: check on at most this number of test images per task; None: on all.
        data_root: the folder of the datasets; None: the one of the run.
        trust_code: run the code of a user's files that the record names.
        command: the command, for the model card.
    """

    run: str
    to: str
    out: str
    after: int | None = None
    adapter: bool = False
    push: str | None = None
    check_images: int | None = None
    data_root: str | None = None
    trust_code: bool = False
    command: str = ""


class Exported(NamedTuple):
    """The folder of an export, the result of its check, and the address of its upload.

    Attributes:
        different: tasks whose number of correct answers is not the recorded one.
    """

    folder: Path
    checked: Checked
    different: list[str]
    address: str | None


def export(request: Request, screen: Screen | None = None) -> Exported:
    """Export the model of a run.

    The folder appears only if the model in it, loaded in a fresh process without this project, gives the answers of the run's
    model.

    Args:
        request: what to export.
        screen: where progress is shown.

    Raises:
        UserError: the run is not finished or was not kept after this task, the target cannot hold the model, the folder exists,
            the disk is full, the check fails, or the hub refuses the upload. Nothing is left half-written.

    Example:
        ```python
        from harness.export.write import Request, export

        export(Request("results/mtil-mini-I/zscl-52556192e1", to="open_clip", out="model"))
        ```
    """
    screen = screen or Screen(quiet=True)
    exporter_class: type[Exporter] = EXPORTERS.get(request.to)
    out = user_path(request.out).absolute()
    _check_place(out)
    if request.push is not None:
        from harness.hub.repository import check_name

        check_name(request.push)
    saved = load_run(request.run, request.after, trust_code=request.trust_code)
    exporter = exporter_class(exportable(saved), request.adapter)
    if request.adapter:
        lora_adapter.check(saved.encoder, exporter)
    exporter.check()
    name = re.sub(r"[^\w.-]+", "-", request.push.partition("/")[2] if request.push else out.name)
    with _written_beside(out) as folder:
        _check_space(exporter, folder)
        screen.say(f"writing the model after task {saved.after} of {len(saved.tasks)} ...", style="dim")
        exporter.write(folder)
        head.write(exporter.model, folder)
        tests, why_not = _tests(saved, request)
        screen.say("checking it in a fresh process ...", style="dim")
        with FreshProcess() as fresh:
            batches = random_batches(saved) if why_not else _batches(saved, tests, request.check_images)
            checked = check(exporter, folder, saved, batches, fresh)
        sources = {test.name: Source(test.licence, True) for test in tests}
        write_bytes(folder / "README.md", card(exporter, saved, checked, sources, folder, name, request.command).encode())
    if why_not:
        screen.say(f"warning: the test data is not at hand, so random images were compared: {why_not}", style="yellow")
    cells = read_accuracy(saved.folder / "accuracy.csv", saved.tasks, saved.heldout)
    recorded = {task: (cell.correct, cell.n) for (after, _, task), cell in cells.items() if after == saved.after}
    # With all test images, if the run has scored them.
    same = [task for task, (_, n) in checked.correct.items() if saved.config.split == "test" and n == recorded[task][1]]
    different = [task for task in same if checked.correct[task][0] != recorded[task][0]]
    return Exported(out, checked, different, None if request.push is None else _push(out, request.push))


def _check_place(out: Path) -> None:
    """Raise UserError for a folder that exists and is not empty."""
    if out.is_dir() and not out.is_symlink() and not any(out.iterdir()):
        return
    if os.path.lexists(out):
        raise UserError(f"{out} exists: give another folder as --out, or remove it.")


@contextmanager
def _written_beside(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to a place, and rename it to the place after the block. After an error, delete it.

    Raises:
        UserError: the disk does not accept the files.
    """
    folder = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        yield folder
        # On Windows, a folder is not renamed to an existing one.
        if out.is_dir():
            out.rmdir()
        folder.rename(out)
    except SafetensorError as error:
        # safetensors reports the system's error only as text.
        number = re.search(r"os error (\d+)|code: (\d+)", str(error))
        code = int(number[1] or number[2]) if number else errno.EIO
        raise _no_place(out, OSError(code, os.strerror(code))) from error
    except OSError as error:
        raise _no_place(out, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_place(out: Path, error: OSError) -> UserError:
    return UserError(f"{out} cannot be written: {reason(error)}. Nothing was written.")


def _check_space(exporter: Exporter, folder: Path) -> None:
    """Raise OSError if the disk has less space than the weights need."""
    needed = sum(tensor.numel() * tensor.element_size() for tensor in exporter.model.weights.values())
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


class _Test(NamedTuple):
    """Test images of a task or held-out domain, and the licence of its data."""

    name: str
    images: Any
    licence: str


def _tests(saved: SavedRun, request: Request) -> tuple[list[_Test], str]:
    """Return the test images of the run's tasks and held-out domains, or the reason why they are not at hand."""
    config = saved.config if request.data_root is None else dataclasses.replace(saved.config, data_root=request.data_root)
    try:
        resolved = resolve(config)
        if resolved.data_version != saved.record["identity"].get("data_version"):
            return [], "the data has changed since the run"
        scenario = assemble(
            resolved.plan,
            encoder=saved.encoder,
            limit=config.limit,
            shots=config.shots,
            seed=config.seed,
            cache=config.cache,
            select=resolved.strategy_class.selects(resolved.options),
            splits=("test",),
        )
    except UserError as error:
        return [], str(error)
    experiences = [*scenario.streams["test"], *scenario.streams["heldout"]]
    return [_Test(e.domain.name, e.domain.test, e.domain.licence) for e in experiences], ""


def _batches(saved: SavedRun, tests: list[_Test], most: int | None) -> Iterator[Batch]:
    """Yield the test images, of each task at most `most`, evenly over the test set."""
    for test in tests:
        images = test.images
        if most is not None and most < len(images):
            images = torch.utils.data.Subset(images, torch.linspace(0, len(images) - 1, most).long().tolist())
        for pixels, labels in pixel_batches(images, saved.encoder.preprocess):
            yield Batch(test.name, pixels, labels)


def _push(folder: Path, repository: str) -> str:
    """Upload a folder to a hub. Raises UserError. The folder stays."""
    from harness.hub.repository import upload

    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    try:
        return upload(repository, files, "Export of Perennial", kind="model", private=True)
    except UserError as error:
        raise UserError(f"{error} The export is in {folder}.") from error
