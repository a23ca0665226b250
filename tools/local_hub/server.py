"""Run a local hub in a thread of this process."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path

from tools.local_hub.answers import GUEST, OWNER, Answers, Commit
from tools.local_hub.faults import Faults
from tools.local_hub.handler import Handler
from tools.local_hub.repositories import Repositories


class Hub:
    """A hub on 127.0.0.1. It answers until `close`, also as a context manager.

    Attributes:
        endpoint: the value of HF_ENDPOINT.
        answers: its state: private and gated repositories, uploads.
        faults: its failures.
        asked: method and path of each request.

    Args:
        root: the folder of the repositories.
        port: the port; 0: a free one.
        faults: failures from the start.
        shown: write a line per request to standard error.
    """

    TOKEN, GUEST = OWNER, GUEST

    def __init__(self, root: str | Path, port: int = 0, faults: Faults | None = None, shown: bool = False):
        self.answers = Answers(Repositories(Path(root).resolve()))
        self.faults = faults or Faults()
        self.asked: list[tuple[str, str]] = []
        self.shown = shown
        handler = type("HubHandler", (Handler,), {"owner": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._server.daemon_threads = True
        self.endpoint = self.answers.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def environment(self, cache: str | Path, token: str | None = None) -> dict[str, str]:
        """Return environment variables for client programs: this hub, an empty cache, and no Xet.

        Args:
            cache: the folder that takes the place of ~/.cache/huggingface.
            token: the user; None: not logged in.
        """
        settings = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        return {**settings, "no_proxy": "127.0.0.1", "HF_HUB_OFFLINE": "0", **({"HF_TOKEN": token} if token else {})}

    def put(self, kind: str, name: str, files: Mapping[str, bytes | Path], deleted: Iterable[str] = ()) -> str:
        """Write files into a repository, which is created if it is missing. Returns the commit."""
        self.answers.repositories.create(kind, name)
        return self.answers.repositories.commit(kind, name, files, deleted).commit

    def files(self, kind: str, name: str) -> dict[str, bytes]:
        """Return the files of a repository. Raises NoRepository."""
        return {path: file.path.read_bytes() for path, file in self.answers.repositories.snapshot(kind, name).files.items()}

    def commit_of(self, kind: str, name: str) -> str:
        """Return the newest commit of a repository. Raises NoRepository."""
        return self.answers.repositories.snapshot(kind, name).commit

    @property
    def commits(self) -> list[Commit]:
        """Uploads so far."""
        return self.answers.commits

    def log(self, line: str) -> None:
        """Show a line about a request."""
        if self.shown:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Hub:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.close()
