"""Find the runs of a user's code in their records, without running the code. Imports neither torch nor Avalanche."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.plan import StreamPlan
from harness.config.resolve import filled_in, slug, stream_folder
from harness.config.run_config import RunConfig
from harness.config.settings import in_identity
from harness.config.user_file import file_of, is_file
from harness.records.files import file_sha256
from harness.records.run_check import REPEATED
from harness.records.run_json import read_run
from harness.run.run_files import RECORD
from models.files import reason
from models.registry import UserError


def recorded_place(config: RunConfig, plan: StreamPlan) -> tuple[Path, Path]:
    """Return the folder and the log of a run whose key only its code can tell.

    They are those of a record of the same code and settings in the folder of the benchmark. Without such a record, the folder
    is a path that does not exist, and the log is that of the last attempt. Raises UserError for code that cannot be read.
    """
    out, parent = Path(config.out), stream_folder(plan)
    sha256 = _sha256(config.strategy) if is_file(config.strategy) else None
    name = config.strategy.rpartition(":")[2] if ":" in config.strategy else ""
    start = slug(name) if is_file(config.strategy) else config.strategy
    for path in sorted((out / parent).glob(f"{start}*/{RECORD}")):
        document = _read(path)
        if document is not None and _matches(document, config, plan, sha256):
            folder = path.parent
            stem, _, key = folder.name.rpartition("-")
            return folder, out / "logs" / f"{parent}-{stem}-seed{config.seed}-{key}.log"
    logs = sorted((out / "logs").glob(f"{parent}-{start}*-seed{config.seed}-*.log"), key=lambda log: log.stat().st_mtime)
    digest = hashlib.sha256(repr(config).encode()).hexdigest()[:10]
    missing = f"{start or 'strategy'}-seed{config.seed}-{digest}"
    return out / parent / missing, logs[-1] if logs else out / "logs" / f"{parent}-{missing}.log"


def _matches(document: Mapping[str, Any], config: RunConfig, plan: StreamPlan, sha256: str | None) -> bool:
    """Return whether a record is of this code and these settings."""
    identity, request = document["identity"], document.get("request")
    if not isinstance(request, dict):
        return False
    settings = in_identity(filled_in(config, plan))
    expected = {**settings, "tasks": list(plan.names), "heldout": list(plan.heldout), "strategy_sha256": sha256}
    # Only the code of a user's strategy knows its default tuning.
    names = [name for name in {**expected, **dict.fromkeys(REPEATED)} if name != "tuning" or config.tuning is not None]
    if config.tuning is not None and is_file(config.tuning):
        names, expected["tuning_sha256"] = [*set(names) - {"tuning"}, "tuning_sha256"], _sha256(config.tuning)
    if any(identity.get(name) != expected.get(name) for name in names) or request.get("plugins") != list(config.plugins):
        return False
    options, changes = request.get("options"), document.get("changes")
    if not isinstance(options, dict):
        return False
    # An option that is not changed has the default of the code, in the record and here.
    changed = {name: str(value) for name, value in config.options.items()}
    equal = all(name in options and _equal(text, options[name]) for name, text in changed.items())
    return equal and (not isinstance(changes, dict) or changes.keys() <= changed.keys())


def _equal(text: str, value: Any) -> bool:
    """Return whether a text of `--set` is the recorded value."""
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return text.lower() == str(value).lower()


def _read(path: Path) -> dict[str, Any] | None:
    """Return the document of a run, or None if it is missing or damaged."""
    try:
        return read_run(path)
    except UserError:
        return None


def _sha256(reference: str) -> str:
    """Return the SHA-256 of a file of code. Raises UserError if it cannot be read."""
    path = file_of(reference)
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read the file {path}: {reason(error)}.") from error
