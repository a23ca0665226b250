"""Repositories of a local hub: ROOT/models/OWNER/NAME and ROOT/datasets/OWNER/NAME, folders with plain files.

A commit is named by its content, so a folder that is edited by hand has a new commit. Uploads keep the files that they replace
in ROOT/.hub, and commits made before an upload can be downloaded as long as the server runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

KINDS = ("model", "dataset")
LARGE = 10 * 2**20
"""Bytes from which the hub stores a file with Git LFS whatever its name is."""
LARGE_NAMES = frozenset({
    *(".7z", ".arrow", ".bin", ".bz2", ".ckpt", ".ftz", ".gz", ".h5", ".jpeg", ".jpg", ".mlmodel", ".model", ".msgpack"),
    *(".npy", ".npz", ".onnx", ".ot", ".parquet", ".pb", ".pickle", ".pkl", ".png", ".pt", ".pth", ".rar"),
    *(".safetensors", ".tar", ".tflite", ".tgz", ".wasm", ".webp", ".xz", ".zip", ".zst"),
})  # fmt: skip
"""Endings that the hub's default .gitattributes gives to Git LFS."""
PRIVATE_FOLDER = ".hub"


class NoRepository(LookupError):
    """The hub has no repository of this name."""


class NoRevision(LookupError):
    """The repository lacks this branch or commit."""


class Stored(NamedTuple):
    """One file of a repository.

    Attributes:
        path: the file on this disk.
        size: bytes.
        blob: the name that git gives to the file, or to its LFS pointer.
        sha256: the SHA-256 of a file in LFS, None for a file in git.
    """

    path: Path
    size: int
    blob: str
    sha256: str | None


class Snapshot(NamedTuple):
    """A commit (40 hexadecimal digits) and its files by their path in the repository."""

    commit: str
    files: Mapping[str, Stored]


def in_lfs(path: str, size: int) -> bool:
    """Return whether the hub stores a file with Git LFS. An empty file is never stored so."""
    return size > 0 and (size >= LARGE or PurePosixPath(path).suffix.lower() in LARGE_NAMES)


def pointer(sha256: str, size: int) -> bytes:
    """Return the file that git holds in place of one in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def git_blob(content: bytes) -> str:
    """Return the name that git gives to a file: SHA-1 of "blob", its length, a zero byte and its content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def commit_of(files: Mapping[str, Stored]) -> str:
    """Return the commit of these files: the SHA-1 of their paths and blobs."""
    return hashlib.sha1("".join(f"{path}\0{file.blob}\n" for path, file in sorted(files.items())).encode()).hexdigest()


class Repositories:
    """The repositories below a folder. Methods may be called by several threads.

    Args:
        root: the folder. It is created if it is missing.
    """

    def __init__(self, root: Path):
        self.root = root
        self.objects = root / PRIVATE_FOLDER / "objects"
        for folder in (self.objects, *(root / f"{kind}s" for kind in KINDS)):
            folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._hashes: dict[tuple[int, int, int, bool], tuple[str, str | None]] = {}
        self._past: dict[tuple[str, str], dict[str, Snapshot]] = {}

    def folder(self, kind: str, name: str) -> Path:
        """Return the folder of a repository. Raises NoRepository for a name that cannot be one."""
        words = name.split("/")
        if kind not in KINDS or len(words) > 2 or any(word.startswith(".") or not word or "\\" in word for word in words):
            raise NoRepository(name)
        return self.root / f"{kind}s" / name

    def names(self) -> list[tuple[str, str]]:
        """Return kind and name of all repositories."""
        pairs = []
        for kind in KINDS:
            base = self.root / f"{kind}s"
            pairs += [(kind, path.relative_to(base).as_posix()) for path in sorted(base.glob("*/*")) if path.is_dir()]
        return pairs

    def snapshot(self, kind: str, name: str, revision: str = "main") -> Snapshot:
        """Return the files of a revision: "main", or a commit. Raises NoRepository or NoRevision."""
        folder = self.folder(kind, name)
        with self._lock:
            if not folder.is_dir():
                raise NoRepository(name)
            files = {}
            for path in sorted(folder.rglob("*")):
                if path.is_file():
                    inside = path.relative_to(folder).as_posix()
                    files[inside] = self._stored(path, inside)
            now = Snapshot(commit_of(files), files)
            past = self._past.get((kind, name), {})
        if revision in ("main", "refs/heads/main", now.commit):
            return now
        if revision in past:
            return past[revision]
        raise NoRevision(revision)

    def create(self, kind: str, name: str) -> bool:
        """Make an empty repository. Returns False if it exists."""
        folder = self.folder(kind, name)
        with self._lock:
            if folder.is_dir():
                return False
            folder.mkdir(parents=True)
            return True

    def uploaded(self, sha256: str) -> Path:
        """Return the place of an uploaded file in LFS. Raises ValueError for a text that is not a SHA-256."""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise ValueError(f"{sha256!r} is not a SHA-256")
        return self.objects / sha256

    def commit(
        self, kind: str, name: str, added: Mapping[str, bytes | Path], deleted: Iterable[str] = (), parent: str | None = None
    ) -> Snapshot:
        """Add, replace and delete files, and return the new commit.

        Args:
            kind: "model" or "dataset".
            name: OWNER/NAME.
            added: the bytes of files, or files of `uploaded`, by their path in the repository.
            deleted: paths of files.
            parent: the commit that the change was made for; another one now is an error.

        Raises:
            NoRepository: the repository does not exist.
            NoRevision: `parent` is not the newest commit.
            ValueError: a path leaves the repository.
        """
        folder = self.folder(kind, name)
        with self._lock:
            before = self.snapshot(kind, name)
            if parent is not None and parent != before.commit:
                raise NoRevision(parent)
            for path in added:
                parts = PurePosixPath(path).parts
                if not parts or path.startswith("/") or ".." in parts or ".git" in parts:
                    raise ValueError(f"{path!r} is not a path in a repository")
            changed = {path for path in (*added, *deleted) if path in before.files}
            self._keep(kind, name, before, changed)
            for path in changed - added.keys():
                (folder / path).unlink()
            for path, content in added.items():
                self._write(folder / path, content)
            return self.snapshot(kind, name)

    def _write(self, target: Path, content: bytes | Path) -> None:
        """Write a file through a temporary one, so that a download never sees a part of it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.objects / f"new-{uuid.uuid4().hex}"
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            shutil.copy(content, temporary)
        os.replace(temporary, target)

    def _keep(self, kind: str, name: str, snapshot: Snapshot, changed: Iterable[str]) -> None:
        """Keep a commit, with links to the files that are about to change."""
        files = dict(snapshot.files)
        for path in changed:
            kept = self.objects / f"blob-{files[path].blob}"
            if not kept.exists():
                os.link(files[path].path, kept)
            files[path] = files[path]._replace(path=kept)
        past = self._past.setdefault((kind, name), {})
        for commit, earlier in past.items():
            moved = {p: files[p] for p, file in earlier.files.items() if p in changed and file.path == snapshot.files[p].path}
            past[commit] = earlier._replace(files={**earlier.files, **moved})
        past[snapshot.commit] = snapshot._replace(files=files)

    def _stored(self, path: Path, inside: str) -> Stored:
        """Return a file with its names in git and LFS. They are computed again if its size or time has changed."""
        status = path.stat()
        large = in_lfs(inside, status.st_size)
        key = status.st_ino, status.st_size, status.st_mtime_ns, large
        if key not in self._hashes:
            if large:
                sha256 = sha256_of(path)
                self._hashes[key] = git_blob(pointer(sha256, status.st_size)), sha256
            else:
                self._hashes[key] = git_blob(path.read_bytes()), None
        blob, digest = self._hashes[key]
        return Stored(path, status.st_size, blob, digest)
