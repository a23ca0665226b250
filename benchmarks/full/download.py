"""Downloads one file: continued where the server allows it, checked, and under its own name only when it is whole."""

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
"""Seconds without a byte."""
MARGIN = 256 * 2**20
"""Bytes that stay free on the disk."""
HEADERS = {"User-Agent": "perennial"}


class _NothingLeft(Exception):
    """The part is as long as the server's file, or longer; its text is "bytes */LENGTH"."""


class Unreachable(UserError):
    """The server does not exist, does not answer or does not have the file: another source may."""


class Broken(UserError):
    """The connection broke in the middle; what arrived is kept."""


class Offline(UserError):
    """There is no network: no source will work."""


class Damaged(UserError):
    """The file is not the one that was expected."""


def download(urls: tuple[str, ...], path: Path, md5: str | None, progress: Progress, room: float = 1.0) -> None:
    """Download a file from the first of its mirrors that has it; `progress(bytes, total, what)`, total 0 if not known.

    What arrives lies in PATH.part, and PATH.tag says of which version of the file. A broken download goes on from there, if
    the server says that its file is still the same one; otherwise it starts again. `room`: how many times the file's size
    must be free besides, for unpacking it.

    Raises Unreachable, Broken, Offline, Damaged (wrong checksum; the file is deleted), and UserError for a full disk.
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
        if resumed:  # the pieces may be of two versions: once more, from the start
            _get(url, path, progress, room)
            if digest(_part(path)) == md5:
                break
            _forget(path)
        if number == len(urls) - 1:
            raise Damaged(
                f"{path.name} from {url} is damaged or another version: its MD5 checksum is not {md5}. It was deleted."
            )
    os.replace(_part(path), path)
    _tag(path).unlink(missing_ok=True)


def digest(path: Path) -> str:
    """The MD5 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def offline() -> bool:
    """Whether not even the Hugging Face hub's name can be looked up, and no proxy does that for us."""
    if urllib.request.getproxies():
        return False
    host = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co").hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        return True
    return False


def check_room(folder: Path, need: float, what: str) -> None:
    """Raises UserError when less than that many bytes are free on the folder's disk, some left over."""
    free = shutil.disk_usage(folder).free
    if free < need + MARGIN:
        raise UserError(f"{what} needs about {readable(need)} on the disk of {folder}, where {readable(free)} are free.")


def readable(size: float) -> str:
    """ "1.2 GB", "34.0 MB", "800 bytes"."""
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
    """Fetch what is lacking of PATH.part; whether it was continued. Without a tag there is no telling what the part is of."""
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
            raise Unreachable(f"{url} sends another piece of the file than was asked for.")
        start = start if resumed else 0
        length = response.headers["Content-Length"]
        total = start + int(length) if length else 0
        check_room(path.parent, total - start + room * total, path.name)
        what = f"downloading {path.name}" + (f" ({readable(total)})" if total else "")
        if not resumed:
            _forget(path)
            tag = response.headers["ETag"] or response.headers["Last-Modified"] or ""
            if tag and not tag.startswith("W/"):  # a weak tag does not promise the same bytes
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
            f"The download of {url} broke off at {readable(done)} of {readable(total)}; the same command continues it."
        )
    return resumed


def _open(url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and "Range" in headers:
            raise _NothingLeft(error.headers["Content-Range"] or "") from error
        raise Unreachable(f"{url} answers {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, socket.gaierror) and offline():
            raise Offline(
                f"There is no network: neither {urlsplit(url).hostname} nor the Hugging Face hub is found."
            ) from error
        raise Unreachable(f"{url} cannot be reached: {reason}.") from error


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise Broken(f"The download of {url} broke off ({why}); the same command continues it.") from error
        if not chunk:
            return
        yield chunk


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"Cannot write {_part(path)}: {reason(error)}.") from error
