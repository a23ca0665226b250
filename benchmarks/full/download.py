"""Download one file: resumed if the server allows it, verified, and renamed to its final name when it is complete."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.data.progress import Progress
from models.files import reason
from models.registry import UserError

CHUNK = 2**20
TIMEOUT = 60.0
"""Seconds without data."""
MARGIN = 256 * 2**20
"""Bytes that stay free on the disk."""
HEADERS = {"User-Agent": "perennial"}


class _NothingLeft(Exception):
    """The partial file is at least as long as the server's file. The error's text is "bytes */LENGTH"."""


class Unreachable(UserError):
    """The server cannot be reached or does not have the file. Another source may have it."""


class Broken(UserError):
    """The connection was lost during the download. The partial file is kept."""


class Offline(UserError):
    """There is no network, so no source can work."""


class Damaged(UserError):
    """The file is damaged or not the expected one."""


def download(urls: tuple[str, ...], path: Path, md5: str | None, progress: Progress, room: float = 1.0) -> None:
    """Download a file from the first of its mirrors that has it.

    The data is written to PATH.part, and the version of the file (its ETag) to PATH.tag. A later call resumes the download if
    the server still has that version. Otherwise it starts again.

    Args:
        urls: mirrors of the file.
        path: the file to write. An existing file is left as it is.
        md5: the checksum, or None.
        progress: called as progress(bytes, total, what). The total is 0 if it is unknown.
        room: free space needed in addition, as a multiple of the file's size, for unpacking.

    Raises:
        Unreachable: no mirror has the file.
        Broken: the connection was lost.
        Offline: there is no network.
        Damaged: the checksum is wrong. The file is deleted.
        UserError: the disk is full.
    """
    if path.exists():
        return
    for number, url in enumerate(urls):
        try:
            resumed = _get(url, path, progress, room)
        except Unreachable:
            if number == len(urls) - 1:
                raise
            continue
        if md5 is None or digest(_part(path)) == md5:
            break
        _forget(path)
        if resumed:  # the parts may be of two versions
            _get(url, path, progress, room)
            if digest(_part(path)) == md5:
                break
            _forget(path)
        if number == len(urls) - 1:
            raise Damaged(
                f"{path.name} from {url} is damaged or another version: its MD5 checksum is not {md5}. The file was deleted."
            )
    os.replace(_part(path), path)
    _tag(path).unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Return the MD5 checksum of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def offline() -> bool:
    """Return whether the name of the Hugging Face hub cannot be resolved. With a proxy, which resolves names, return False."""
    if urllib.request.getproxies():
        return False
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return True
    return False


def check_room(folder: Path, need: float, what: str) -> None:
    """Raise UserError if the folder's disk does not have `need` bytes free, plus `MARGIN`."""
    free = shutil.disk_usage(folder).free
    if free < need + MARGIN:
        raise UserError(f"{what} needs about {readable(need)}, but the disk of {folder} has {readable(free)} free.")


def readable(size: float) -> str:
    """Return a size for people: "1.2 GB", "34.0 MB", "800 bytes"."""
    if size < 1e5:
        return f"{size:,.0f} bytes"
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _tag(path: Path) -> Path:
    return path.with_name(f"{path.name}.tag")


def _forget(path: Path) -> None:
    _part(path).unlink(missing_ok=True)
    _tag(path).unlink(missing_ok=True)


def _get(url: str, path: Path, progress: Progress, room: float) -> bool:
    """Complete PATH.part and return whether the download was resumed. Without a tag the file's version is unknown."""
    start = _part(path).stat().st_size if _part(path).exists() else 0
    tag = _tag(path).read_text() if _tag(path).exists() else ""
    headers = {**HEADERS, "Range": f"bytes={start}-", "If-Range": tag} if start and tag else HEADERS
    try:
        opened = _open(url, headers)
    except _NothingLeft as error:
        if str(error) == f"bytes */{start}":  # killed after the last byte
            return True
        _forget(path)
        opened = _open(url, HEADERS)
    with opened as response:
        resumed = response.status == 206 and (response.headers["Content-Range"] or "").startswith(f"bytes {start}-")
        if response.status == 206 and not resumed:
            raise Unreachable(f"{url} sends another part of the file than requested.")
        start = start if resumed else 0
        length = response.headers["Content-Length"]
        total = start + int(length) if length else 0
        check_room(path.parent, total - start + room * total, path.name)
        what = f"downloading {path.name}" + (f" ({readable(total)})" if total else "")
        if not resumed:
            _forget(path)
            tag = response.headers["ETag"] or response.headers["Last-Modified"] or ""
            if tag and not tag.startswith("W/"):  # weak tags do not guarantee equal bytes
                _tag(path).write_text(tag)
        done = start
        with _writing(path), _part(path).open("ab" if resumed else "wb") as file:
            progress(done, total, what)
            for chunk in _chunks(response, url):
                file.write(chunk)
                done += len(chunk)
                progress(done, total, what)
    if total and done != total:
        raise Broken(
            f"The download of {url} stopped at {readable(done)} of {readable(total)}. Run the same command again to resume it."
        )
    return resumed


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=TIMEOUT
        )
        return response
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            raise _NothingLeft(error.headers["Content-Range"] or "") from error
        raise Unreachable(f"{url} returned {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, socket.gaierror) and offline():
            raise Offline(
                f"There is no network: the names of {urlsplit(url).hostname} and of the Hugging Face hub cannot be resolved."
            ) from error
        raise Unreachable(f"{url} cannot be reached: {cause}.") from error


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Broken(f"The download of {url} stopped ({why}). Run the same command again to resume it.") from error
        if not chunk:
            return
        yield chunk


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot write {_part(path)}: {reason(error)}.") from error
