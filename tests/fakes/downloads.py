"""A local HTTP server, archives to offer on it, and fetching from it."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Server on 127.0.0.1: `files` by name, `cut` the bytes after which a connection breaks, `asked` the requests."""

    def __init__(self):
        self.files, self.cut, self.asked, self.tag = {}, {}, [], '"1"'
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                name, data = self.path[1:], owner.files.get(self.path[1:])
                owner.asked.append((name, self.headers["Range"]))
                if data is None:
                    self.send_error(404)
                    return
                start = 0
                if self.headers["Range"] and self.headers["If-Range"] == owner.tag:
                    start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
                if start and start >= len(data):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(data)}")
                    self.end_headers()
                    return
                self.send_response(206 if start else 200)
                if start:
                    self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
                self.send_header("Content-Length", str(len(data) - start))
                if owner.tag:
                    self.send_header("ETag", owner.tag)
                self.end_headers()
                self.wfile.write(data[start : owner.cut.get(name, len(data))])

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def url(self, name):
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def md5(data):
    return hashlib.md5(data).hexdigest()


def tar_of(folder, *names, mode="w:gz"):
    """Return the bytes of a tar file of these paths under a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as file:
        for name in names:
            file.add(folder / name, name)
    return buffer.getvalue()


def zip_of(folder, prefix=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for path in sorted(folder.rglob("*")):
            file.write(path, prefix + path.relative_to(folder).as_posix())
    return buffer.getvalue()


EUROSAT = ("EuroSAT", ("EuroSAT.zip", "eurosat", (), ("eurosat/2750",)))
"""What `offered` takes to offer EuroSAT as its authors do."""


def get(name, root, source="torchvision"):
    """Fetch a dataset. Return its state and what was shown."""
    from benchmarks.full.fetch import fetch

    lines = []
    return fetch(name, root, source, lambda *_: None, lines.append), lines
