"""Resume a run: check that the record in its folder is the run's, and report what differs now. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.config.resolve import Resolved
from harness.records.files import plain
from harness.records.run_check import Contradiction
from harness.records.run_json import STATUSES, read_run
from harness.records.runs import read_one
from harness.run.run_files import RECORD
from models.loading.description import differences
from models.registry import UserError

# Of `harness.run.environment.describe`: what the last bits of a number can depend on.
MACHINE = ("device", "processes", "torch_threads", "python", "platform", "git_revision")
NEXT_STEP = "without that file the run continues from its last checkpoint, and --fresh starts over"


def recorded_document(resolved: Resolved) -> dict[str, Any] | None:
    """Return the `run.json` in the folder of a run, or None if there is no file.

    Raises UserError if it is damaged or belongs to another run, because it was changed or put there by hand.
    """
    path = resolved.folder / RECORD
    try:
        document = read_run(path)
    except UserError as error:
        problem, damaged, _ = str(error).partition("; --fresh")
        if not damaged and "is not the record of a run" not in problem:  # the file cannot be read
            raise
        raise UserError(f"{problem.removesuffix('.')}; {NEXT_STEP}.") from error
    if document is None:
        return None
    identity, expected = document["identity"], plain(resolved.identity())
    differing = [name for name in (*expected, *(identity.keys() - expected)) if identity.get(name) != expected.get(name)]
    if differing or document["key"] != resolved.key:
        names = ", ".join(differing) or "key"
        raise UserError(f"{path} is not the record of this run: it has another {names} (was it changed by hand?); {NEXT_STEP}.")
    if document["status"] not in STATUSES or (document["status"] == "finished" and document.get("summary") is None):
        raise UserError(f"{path} is not the record of a run: its status or summary is not valid; {NEXT_STEP}.")
    if document["status"] == "finished":
        try:
            read_one(path)
        except Contradiction as error:
            raise UserError(f"{error.path} contradicts itself: {error.problem}. --fresh repeats the run.") from error
    return document


def note_continuation(
    document: dict[str, Any], before: Mapping[str, Any] | None, after: int, damage: str | None = None
) -> list[str]:
    """Record in a new `run.json` that the run continues after experience `after`, and return the warnings about it.

    The list `continued` of the document holds time, experience and warnings of each continuation. A warning names a damaged
    checkpoint, or another device, thread count, version or revision than before, with which the numbers may differ from those
    of a run made in one go.

    Args:
        document: the new document, which is changed.
        before: the document that the interrupted run has left, if any.
        after: the last finished experience.
        damage: a warning about a damaged checkpoint.
    """
    earlier = (before or {}).get("continued")
    document["continued"] = list(earlier) if isinstance(earlier, list) else []
    warnings = [] if damage is None else [damage]
    model_before, model_now = ((values or {}).get("model_description") for values in (before, document))
    if isinstance(model_before, dict) and isinstance(model_now, dict) and (changed := differences(model_before, model_now)):
        warnings.append(f"the model computes something else than when the run began: {'; '.join(changed)}")
    if before is not None and (changed := changes(before, document)):
        warnings.append(f"continued with other {', '.join(changed)}: the numbers may differ from those of a run made in one go")
    document["continued"].append(
        {"after": after, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "warnings": warnings}
    )
    return warnings


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return changes of device, threads and versions since an earlier record: "device (cpu: x86_64, now cuda:0: ...)"."""
    pairs = [(name.replace("_", " "), before.get(name), now[name]) for name in MACHINE]
    request_before, request_now = before.get("request"), now.get("request")
    if isinstance(request_before, dict) and isinstance(request_now, dict):
        pairs.append(("microbatch", request_before.get("microbatch") or "none", request_now.get("microbatch") or "none"))
    versions = before.get("versions")
    pairs += [(name, versions.get(name) if isinstance(versions, dict) else None, new) for name, new in now["versions"].items()]
    return [f"{name} ({_short(old)}, now {_short(new)})" for name, old, new in pairs if old != new]


def _short(value: Any) -> str:
    """Return the first digits of a revision, any other value in full."""
    text = "unknown" if value is None else str(value)
    return text[:12] + "+changes" * text.endswith("+changes") if len(text) >= 40 and text[:40].isalnum() else text
