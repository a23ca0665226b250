"""The HTTP of a local hub: read requests, send answers and parts of files, and fail on demand."""

from __future__ import annotations

import io
import json
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from tools.local_hub.answers import UPLOAD, Answers, Refusal, Reply, Request
from tools.local_hub.faults import Fault, Faults

RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Owner(Protocol):
    """The parts of a server that its handlers use."""

    answers: Answers
    faults: Faults
    asked: list[tuple[str, str]]

    def log(self, line: str) -> None:
        """Show a line about a request."""


class Cut(Exception):
    """The connection ends here."""


def part_of(header: str | None, size: int) -> tuple[int, int] | None:
    """Return first byte and end of the part that a Range header asks for; None for the whole file.

    Raises:
        ValueError: the part is outside the file.
    """
    match = RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return None
    first, last = match.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= end:
        raise ValueError(f"bytes */{size}")
    return start, end


class Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection. A subclass sets `owner`."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two packets, and a client would wait 40 ms for the second.
    disable_nagle_algorithm = True
    owner: Owner

    def handle_any(self) -> None:
        """Answer one request."""
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.owner.asked.append((self.command, path))
        fault = self.owner.faults.next(path)
        try:
            parts = [unquote(part) for part in address.path.split("/") if part]
            body = self._body(parts[:1] == [UPLOAD] and self.command == "PUT", fault)
            if (status := self.owner.faults.status(path)) is not None:
                reply = Refusal(status, "refused on demand").reply
            elif fault == "busy":
                reply = Refusal(503, "Service Unavailable").reply
            else:
                query = parse_qs(address.query, keep_blank_values=True)
                reply = self.owner.answers.answer(Request(self.command, parts, query, self.headers, body))  # type: ignore[arg-type]
            self._send(reply, fault)
            self.owner.log(f"{self.command} {path} {reply.status}{f' ({fault})' if fault else ''}")
        except (Cut, ConnectionError):
            self.close_connection = True
            # Without it the client would wait for the rest until its timeout.
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            self.owner.log(f"{self.command} {path} connection cut")

    do_GET = do_HEAD = do_POST = do_PUT = handle_any

    def log_message(self, *_: object) -> None:
        """Write nothing: `Owner.log` shows requests."""

    def _body(self, to_file: bool, fault: Fault | None) -> bytes | Path:
        """Read the body of the request, into a file for an upload of data."""
        length = int(self.headers["Content-Length"] or 0)
        chunked = (self.headers["Transfer-Encoding"] or "").lower() == "chunked"
        if fault == "cut" and (length or chunked):
            self.rfile.read(length // 2)
            raise Cut
        source = self._chunks() if chunked else self.owner.faults.pieces(self.rfile, length)  # type: ignore[arg-type]
        if not to_file:
            return b"".join(source)
        place = self.owner.answers.repositories.objects / f"upload-{uuid.uuid4().hex}"
        with place.open("wb") as file:
            for piece in source:
                file.write(piece)
        return place

    def _chunks(self) -> Iterator[bytes]:
        """Yield the data of a body in chunks of HTTP."""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, reply: Reply, fault: Fault | None) -> None:
        """Send an answer: a file or a part of it, bytes, or JSON."""
        headers = {"Content-Type": "application/octet-stream", **reply.headers}
        status, content = reply.status, reply.content
        if isinstance(content, Path):
            size = content.stat().st_size
            headers["Accept-Ranges"] = "bytes"
            try:
                part = part_of(self.headers["Range"], size) if status == 200 else None
            except ValueError as error:
                headers["Content-Range"] = str(error)
                self._write(416, headers, io.BytesIO(), 0, fault)
                return
            start, end = part or (0, size)
            if part is not None:
                status, headers["Content-Range"] = 206, f"bytes {start}-{end - 1}/{size}"
            with content.open("rb") as file:
                file.seek(start)
                self._write(status, headers, file, end - start, fault)
            return
        if not isinstance(content, bytes):
            content = json.dumps(content).encode()
            headers = {**headers, "Content-Type": "application/json; charset=utf-8", **reply.headers}
        self._write(status, headers, io.BytesIO(content), len(content), fault)

    def _write(self, status: int, headers: dict[str, str], file: BinaryIO, size: int, fault: Fault | None) -> None:
        """Send status, headers and `size` bytes; only half of them for a connection that is cut."""
        sends = size if self.command != "HEAD" else 0
        if fault == "cut" and not sends:
            raise Cut
        self.send_response(status)
        for name, value in {"Content-Length": str(size), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in self.owner.faults.pieces(file, sends // 2 if fault == "cut" else sends):
            self.wfile.write(piece)
        if fault == "cut":
            raise Cut
