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
from harness.records.files import file_sha256, read_json
from harness.records.run_check import REPEATED
from models.files import reason
from models.registry import UserError


def place(config: RunConfig, plan: StreamPlan) -> tuple[Path, Path]:
    """Return the folder and the log of a run whose key only its code can tell.

    They are those of a record of the same code and settings in the folder of the benchmark. Without one, the folder is a name
    that does not exist, and the log is that of the last attempt. Raises UserError for code that cannot be read.
    """
    out, parent = Path(config.out), stream_folder(plan)
    sha = _sha256(config.strategy) if is_file(config.strategy) else None
    name = config.strategy.rpartition(":")[2] if ":" in config.strategy else ""
    start = slug(name) if is_file(config.strategy) else config.strategy
    for path in sorted((out / parent).glob(f"{start}*/run.json")):
        record = _read(path)
        if record is not None and _is_of(record, config, plan, sha):
            folder = path.parent
            stem, _, key = folder.name.rpartition("-")
            return folder, out / "logs" / f"{parent}-{stem}-seed{config.seed}-{key}.log"
    logs = sorted((out / "logs").glob(f"{parent}-{start}*-seed{config.seed}-*.log"), key=lambda log: log.stat().st_mtime)
    unknown = hashlib.sha256(repr(config).encode()).hexdigest()[:10]
    nowhere = f"{start or 'strategy'}-seed{config.seed}-{unknown}"
    return out / parent / nowhere, logs[-1] if logs else out / "logs" / f"{parent}-{nowhere}.log"


def _is_of(record: Mapping[str, Any], config: RunConfig, plan: StreamPlan, sha: str | None) -> bool:
    identity, request = record.get("identity"), record.get("request")
    if not isinstance(identity, dict) or not isinstance(request, dict):
        return False
    settings = in_identity(filled_in(config, plan))
    asked = {**settings, "tasks": list(plan.names), "heldout": list(plan.heldout), "strategy_sha256": sha}
    # The default tuning of a user's strategy is known only to its code.
    names = [name for name in {**asked, **dict.fromkeys(REPEATED)} if name != "tuning" or config.tuning is not None]
    if any(identity.get(name) != asked.get(name) for name in names) or request.get("plugins") != list(config.plugins):
        return False
    options, changes = request.get("options"), record.get("changes")
    if not isinstance(options, dict):
        return False
    # What is not changed has the code's default, in the record and here.
    given = {name: str(value) for name, value in config.options.items()}
    same = all(name in options and _same(text, options[name]) for name, text in given.items())
    return same and (not isinstance(changes, dict) or changes.keys() <= given.keys())


def _same(text: str, value: Any) -> bool:
    try:
        return float(text) == float(value)
    except (TypeError, ValueError):
        return text.lower() == str(value).lower()


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except UserError:
        return None


def _sha256(reference: str) -> str:
    path = file_of(reference)
    try:
        return file_sha256(path)
    except OSError as error:
        raise UserError(f"Cannot read the strategy file {path}: {reason(error)}.") from error
