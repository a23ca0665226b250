"""A run that is taken up again: whether the record in its folder is its own, and what is different now. Imports no torch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from harness.config.resolve import Resolved
from harness.records.files import plain, read_json
from harness.records.run_check import Contradiction
from harness.records.run_json import STATUSES
from harness.records.runs import read_one
from models.loading.description import differences
from models.registry import UserError

# Of `harness.run.environment.describe`: what the last bits of a number can depend on.
MACHINE = ("device", "processes", "torch_threads", "python", "platform", "git_revision")
GO_ON = "without that file the run goes on from its last checkpoint, --fresh starts over"


def record(resolved: Resolved) -> dict[str, Any] | None:
    """The `run.json` in a run's folder, None where there is none.

    Raises UserError when it is damaged, or says of itself that it is of another run: somebody changed it or put it there.
    """
    path = resolved.folder / "run.json"
    try:
        found = read_json(path)
    except UserError as error:
        what, damaged, _ = str(error).partition("; --fresh")
        if not damaged:  # it could not be read at all
            raise
        raise UserError(f"{what}; {GO_ON}.") from error
    if found is None:
        return None
    identity, wanted = found.get("identity"), plain(resolved.identity())
    if not isinstance(identity, dict):
        raise UserError(f"{path} is not the record of a run: it has no identity; {GO_ON}.")
    differing = [name for name in (*wanted, *(identity.keys() - wanted)) if identity.get(name) != wanted.get(name)]
    if differing or found.get("key") != resolved.key:
        what = ", ".join(differing) or "key"
        raise UserError(f"{path} is not the record of this run: it has another {what} (was it changed by hand?); {GO_ON}.")
    status, summary = found.get("status"), found.get("summary")
    if status not in STATUSES or (status == "finished" and not isinstance(summary, dict)):
        raise UserError(f"{path} is not the record of a run: its status or summary is none; {GO_ON}.")
    if status == "finished":
        try:
            read_one(path)
        except Contradiction as error:
            raise UserError(f"{error.path} contradicts itself: {error.what}. --fresh repeats the run.") from error
    return found


def continued(document: dict[str, Any], before: Mapping[str, Any] | None, after: int, damage: str | None = None) -> list[str]:
    """Write into a new `run.json` that the run goes on after experience `after`; what has to be said on the screen.

    `continued` lists when it was, after which experience, and the warnings: another device, thread count, version or
    revision than before, so that the numbers may not be those of a run made in one go; a damaged checkpoint.
    """
    earlier = (before or {}).get("continued")
    document["continued"] = list(earlier) if isinstance(earlier, list) else []
    warnings = [] if damage is None else [damage]
    described, now = ((of or {}).get("model_description") for of in (before, document))
    if isinstance(described, dict) and isinstance(now, dict) and (other := differences(described, now)):
        warnings.append(f"the model computes something else than when the run began: {'; '.join(other)}")
    if before is not None and (changed := changes(before, document)):
        warnings.append(f"continued with other {', '.join(changed)}: the numbers may differ from those of a run made in one go")
    document["continued"].append(
        {"after": after, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "warnings": warnings}
    )
    return warnings


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of device, threads and versions is another than in an earlier record, as "device (cpu: x86_64, now cuda:0: ...)"."""
    theirs, ours = before.get("versions"), now["versions"]
    pairs = [(name.replace("_", " "), before.get(name), now[name]) for name in MACHINE]
    was, is_now = (of.get("request") for of in (before, now))
    if isinstance(was, dict) and isinstance(is_now, dict):
        pairs.append(("microbatch", was.get("microbatch") or "none", is_now.get("microbatch") or "none"))
    pairs += [(name, theirs.get(name) if isinstance(theirs, dict) else None, version) for name, version in ours.items()]
    return [f"{name} ({_short(was)}, now {_short(is_now)})" for name, was, is_now in pairs if was != is_now]


def _short(value: Any) -> str:
    """A revision's first digits; a machine's description in full."""
    text = "unknown" if value is None else str(value)
    return text[:12] + "+changes" * text.endswith("+changes") if len(text) >= 40 and text[:40].isalnum() else text
