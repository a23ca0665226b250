"""The JSON documents of the hub's API: a repository, its tree, and one file."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tools.local_hub.repositories import Snapshot, Stored, pointer

Json = dict[str, Any]


def repository(
    kind: str, name: str, snapshot: Snapshot, claimed: Mapping[str, int], *, blobs: bool, private: bool, gated: bool
) -> Json:
    """Return the document of /api/models/NAME or /api/datasets/NAME.

    Args:
        kind: "model" or "dataset".
        name: OWNER/NAME.
        snapshot: its files.
        claimed: sizes by path to show in place of the real ones, or of files that do not exist.
        blobs: show sizes and hashes of the files.
        private: only its owner sees it.
        gated: files need the consent of the owner.
    """
    siblings = []
    for path, file in snapshot.files.items():
        entry: Json = {"rfilename": path}
        if blobs:
            entry |= {"size": claimed.get(path, file.size), "blobId": file.blob}
            if file.sha256 is not None:
                entry["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": len(pointer(file.sha256, file.size))}
        siblings.append(entry)
    siblings += [{"rfilename": path, "size": size} for path, size in claimed.items() if path not in snapshot.files]
    changed = date(snapshot.files.values())
    return {
        "_id": hashlib.sha1(f"{kind} {name}".encode()).hexdigest()[:24],
        "id": name,
        **({"modelId": name} if kind == "model" else {}),
        "author": name.partition("/")[0],
        "sha": snapshot.commit,
        "lastModified": changed,
        "createdAt": changed,
        "private": private,
        "gated": "manual" if gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
    }


def tree(snapshot: Snapshot, folder: str, *, recursive: bool, expand: bool) -> list[Json] | None:
    """Return the files and folders below a folder ("" for the root), or None for a folder that does not exist.

    Args:
        snapshot: the repository.
        folder: a path without slashes at its ends.
        recursive: also what is below the folders.
        expand: add the last commit of each entry.
    """
    prefix = f"{folder}/" if folder else ""
    inside = {path: file for path, file in snapshot.files.items() if path.startswith(prefix)}
    if not inside and folder:
        return None
    entries: dict[str, Json] = {}
    for path, stored in inside.items():
        words = path.removeprefix(prefix).split("/")
        for depth in range(1, len(words) if recursive else min(2, len(words))):
            parent = prefix + "/".join(words[:depth])
            entries.setdefault(parent, directory(snapshot, parent))
        if recursive or len(words) == 1:
            entries[path] = file(path, stored)
    if expand:
        for entry in entries.values():
            entry["lastCommit"] = {"id": snapshot.commit, "title": "Files", "date": date(snapshot.files.values())}
    return list(entries.values())


def paths(snapshot: Snapshot, wanted: list[str], *, expand: bool) -> list[Json]:
    """Return files and folders by their paths. Paths that the repository lacks are left out."""
    found = []
    for path in wanted:
        if path in snapshot.files:
            found.append(file(path, snapshot.files[path]))
        elif any(other.startswith(f"{path}/") for other in snapshot.files):
            found.append(directory(snapshot, path))
    if expand:
        for entry in found:
            entry["lastCommit"] = {"id": snapshot.commit, "title": "Files", "date": date(snapshot.files.values())}
    return found


def file(path: str, stored: Stored) -> Json:
    """Return a file's entry of a tree."""
    entry: Json = {"type": "file", "oid": stored.blob, "size": stored.size, "path": path}
    if stored.sha256 is not None:
        size = len(pointer(stored.sha256, stored.size))
        entry["lfs"] = {"oid": stored.sha256, "size": stored.size, "pointerSize": size}
    return entry


def directory(snapshot: Snapshot, path: str) -> Json:
    """Return a folder's entry of a tree."""
    return {"type": "directory", "oid": hashlib.sha1(f"{snapshot.commit} {path}".encode()).hexdigest(), "size": 0, "path": path}


def date(files: Any) -> str:
    """Return when the newest of these files changed, in UTC; the start of 2026 without files."""
    newest = max((Path(stored.path).stat().st_mtime for stored in files), default=1_767_225_600.0)
    return datetime.datetime.fromtimestamp(newest, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
