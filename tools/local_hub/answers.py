"""Answer the requests of the hub's clients: the routes of the API, of downloads and of uploads, without sockets.

Written against the requests that huggingface_hub 1 and 2, `datasets`, open_clip and transformers make, and what they read in
the answers. Files are offered over plain HTTP: no answer has the headers of Xet.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote

from tools.local_hub import listings
from tools.local_hub.repositories import KINDS, NoRepository, NoRevision, Repositories, Snapshot, in_lfs, sha256_of

VERBS = ("revision", "tree", "paths-info", "refs", "preupload", "commit")
OWNER, GUEST = "hf_owner", "hf_guest"
"""Tokens: of a user who may do everything, and of one who may not write and is not accepted by any gated repository."""
UPLOAD, DATA = "lfs-upload", "lfs-data"
"""First parts of the addresses of files in LFS, which the real hub keeps on other machines."""


class Request(NamedTuple):
    """A request with its path in decoded parts. `body` is the path of a file for an upload of data, else bytes."""

    method: str
    parts: list[str]
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes | Path

    def flag(self, name: str) -> bool:
        """Return whether a parameter is true."""
        return self.query.get(name, ["false"])[-1].lower() in ("true", "1")

    def json(self) -> Any:
        """Return the body as JSON, or a form as a mapping of lists. Raises ValueError."""
        assert isinstance(self.body, bytes)
        if "form-urlencoded" in (self.headers.get("Content-Type") or ""):
            return parse_qs(self.body.decode(), keep_blank_values=True)
        return json.loads(self.body)


class Reply(NamedTuple):
    """An answer. `content` is the path of a file, bytes, or what is sent as JSON."""

    status: int
    content: Any = b""
    headers: Mapping[str, str] = {}


class Refusal(Exception):
    """A request that is refused, with the answer."""

    def __init__(self, status: int, message: str, code: str = "", **headers: str):
        super().__init__(message)
        extra = {"X-Error-Message": message, **({"X-Error-Code": code} if code else {}), **headers}
        self.reply = Reply(status, {"error": message}, extra)


class Commit(NamedTuple):
    """An upload that the hub took: kind and name of the repository, the commit's summary, and the paths that it wrote."""

    kind: str
    name: str
    summary: str
    paths: list[str]


def named(words: list[str]) -> tuple[str, str]:
    """Return kind and name of a repository from the parts of its address, [datasets/]NAME."""
    return ("dataset", "/".join(words[1:])) if words[0] == "datasets" else ("model", "/".join(words))


@dataclass
class Answers:
    """The state of a hub apart from its sockets.

    Attributes:
        repositories: the files.
        endpoint: the address of the server.
        private: repositories (kind, name) that only `OWNER` sees.
        gated: repositories (kind, name) whose files only `OWNER` gets.
        claimed: sizes by path that the listing of a repository (kind, name) shows, of files that it has or not. A hostile hub
            may claim anything.
        page: entries of a tree per answer.
        commits: the uploads so far.
    """

    repositories: Repositories
    endpoint: str = ""
    private: set[tuple[str, str]] = field(default_factory=set)
    gated: set[tuple[str, str]] = field(default_factory=set)
    claimed: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    page: int = 1000
    commits: list[Commit] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request."""
        try:
            user = self._user(request)
            match request.parts:
                case ["api", "whoami-v2"]:
                    return self._whoami(user)
                case ["api", "validate-yaml"]:
                    return Reply(200, {"errors": [], "warnings": []})
                case ["api", "repos", "create"]:
                    return self._create(request, user)
                case ["api", kinds, *rest] if kinds.removesuffix("s") in KINDS and rest:
                    return self._api(request, user, kinds.removesuffix("s"), rest)
                case [first, sha256, *rest] if first == UPLOAD:
                    return self._store(request, sha256)
                case [first, kind, commit, *rest] if first == DATA and "-" in rest:
                    cut = rest.index("-")
                    return self._data(kind, "/".join(rest[:cut]), commit, "/".join(rest[cut + 1 :]))
                case [*_, "info", "lfs", "objects", "batch"]:
                    return self._batch(request, user)
                case parts if "resolve" in parts:
                    return self._resolve(request, user)
            raise Refusal(404, "Sorry, we can't find the page you are looking for.")
        except Refusal as refusal:
            return refusal.reply
        except (ValueError, KeyError, TypeError) as error:
            return Refusal(400, f"Bad request: {error}").reply

    def url(self, kind: str, name: str) -> str:
        """Return the page of a repository."""
        return f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"

    def _user(self, request: Request) -> str | None:
        """Return the token of a request, None without one. An unknown one is refused."""
        token = (request.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        if token and token not in (OWNER, GUEST):
            raise Refusal(401, "Invalid credentials in Authorization header")
        return token or None

    def _whoami(self, user: str | None) -> Reply:
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        role = "write" if user == OWNER else "read"
        token = {"type": "access_token", "accessToken": {"displayName": "local", "role": role}}
        return Reply(200, {"type": "user", "name": user.removeprefix("hf_"), "orgs": [], "auth": token})

    def _writer(self, user: str | None) -> None:
        if user is None:
            raise Refusal(401, "Invalid username or password.")
        if user != OWNER:
            raise Refusal(403, "You don't have the rights to write to this repository.")

    def _snapshot(self, user: str | None, kind: str, name: str, revision: str = "main") -> Snapshot:
        """Return the files of a repository that the user sees, or refuse."""
        try:
            if (kind, name) in self.private and user != OWNER:
                raise NoRepository(name)
            return self.repositories.snapshot(kind, name, revision)
        except NoRepository as error:
            # Without a token the hub does not tell whether a repository is private or missing.
            raise Refusal(401 if user is None else 404, "Repository not found", "RepoNotFound") from error
        except NoRevision as error:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound") from error

    def _create(self, request: Request, user: str | None) -> Reply:
        self._writer(user)
        asked = request.json()
        kind, name = asked.get("type") or "model", f"{asked.get('organization') or 'owner'}/{asked['name']}"
        try:
            made = self.repositories.create(kind, name)
        except NoRepository as error:
            raise Refusal(400, f"{name!r} is not a name of a {kind} repository") from error
        if not made:
            return Reply(409, {"error": "You already created this repo", "url": self.url(kind, name)})
        if asked.get("private") or asked.get("visibility") == "private":
            self.private.add((kind, name))
        return Reply(200, {"url": self.url(kind, name), "name": name, "id": name})

    def _api(self, request: Request, user: str | None, kind: str, rest: list[str]) -> Reply:
        """Answer /api/models/NAME/... and /api/datasets/NAME/...; a few old models have a name without an owner."""
        length = 1 if len(rest) == 1 or rest[1] in VERBS else 2
        name, verb, arguments = "/".join(rest[:length]), rest[length : length + 1], rest[length + 1 :]
        revision = arguments[0] if arguments else "main"
        if verb == ["preupload"] or verb == ["commit"]:
            self._writer(user)
        snapshot = self._snapshot(user, kind, name, revision)
        expand = request.flag("expand")
        match verb:
            case [] | ["revision"]:
                key = kind, name
                state = {"private": key in self.private, "gated": key in self.gated}
                claimed = self.claimed.get(key, {})
                return Reply(200, listings.repository(kind, name, snapshot, claimed, blobs=request.flag("blobs"), **state))
            case ["tree"]:
                folder = "/".join(arguments[1:]).strip("/")
                entries = listings.tree(snapshot, folder, recursive=request.flag("recursive"), expand=expand)
                if entries is None:
                    raise Refusal(404, f"{folder} does not exist on {revision}", "EntryNotFound")
                return self._paged(request, entries)
            case ["paths-info"]:
                asked = request.json()
                flag = str(asked.get("expand", "false")).lower().strip("[]'")
                return Reply(200, listings.paths(snapshot, list(asked.get("paths", [])), expand=flag == "true"))
            case ["refs"]:
                main = {"name": "main", "ref": "refs/heads/main", "targetCommit": snapshot.commit}
                return Reply(200, {"branches": [main], "tags": [], "converts": [], "pullRequests": []})
            case ["preupload"]:
                return Reply(200, {"files": [self._mode(snapshot, file) for file in request.json()["files"]]})
            case ["commit"]:
                return self._commit(request, kind, name)
        raise Refusal(404, f"The local hub has no answer for {'/'.join(request.parts)}.")

    def _paged(self, request: Request, entries: list[listings.Json]) -> Reply:
        """Return a page of a listing, with the address of the next one in the header Link."""
        start, size = int(request.query.get("cursor", ["0"])[-1]), int(request.query.get("limit", [str(self.page)])[-1])
        headers = {}
        if start + size < len(entries):
            query = [(key, value) for key, values in request.query.items() if key != "cursor" for value in values]
            query.append(("cursor", str(start + size)))
            path = "/".join(quote(part, safe="") for part in request.parts)
            text = "&".join(f"{quote(key)}={quote(value)}" for key, value in query)
            headers["Link"] = f'<{self.endpoint}/{path}?{text}>; rel="next"'
        return Reply(200, entries[start : start + size], headers)

    @staticmethod
    def _mode(snapshot: Snapshot, asked: Mapping[str, Any]) -> listings.Json:
        path = asked["path"]
        known = snapshot.files.get(path)
        mode = "lfs" if in_lfs(path, asked["size"]) else "regular"
        # For a file in LFS the hub gives the SHA-256, so that the client leaves out a file that has not changed.
        oid = None if known is None else known.sha256 or known.blob
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _commit(self, request: Request, kind: str, name: str) -> Reply:
        """Take a commit: lines of JSON, first a header, then one line per file."""
        assert isinstance(request.body, bytes)
        lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
        added: dict[str, bytes | Path] = {}
        deleted: list[str] = []
        header: Mapping[str, Any] = {}
        now = self.repositories.snapshot(kind, name)
        for line in lines:
            value = line["value"]
            match line["key"]:
                case "header":
                    header = value
                case "file":
                    added[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    stored = self._held(value["oid"], now)
                    if stored is None:
                        raise Refusal(400, f"{value['path']}: the file {value['oid']} was not uploaded")
                    added[value["path"]] = stored
                case "deletedFile":
                    deleted.append(value["path"])
                case "deletedFolder":
                    deleted += [path for path in now.files if path.startswith(value["path"].rstrip("/") + "/")]
                case key:
                    raise Refusal(400, f"A commit of the local hub cannot have {key}.")
        try:
            made = self.repositories.commit(kind, name, added, deleted, header.get("parentCommit"))
        except NoRevision as error:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.") from error
        self.commits.append(Commit(kind, name, header.get("summary", ""), sorted(added)))
        return Reply(
            200, {"success": True, "commitUrl": f"{self.url(kind, name)}/commit/{made.commit}", "commitOid": made.commit}
        )

    def _held(self, sha256: str, snapshot: Snapshot) -> Path | None:
        """Return a file in LFS that was uploaded or is in the repository."""
        place = self.repositories.uploaded(sha256)
        if place.is_file():
            return place
        return next((file.path for file in snapshot.files.values() if file.sha256 == sha256), None)

    def _batch(self, request: Request, user: str | None) -> Reply:
        """Answer which files in LFS have to be uploaded, and where."""
        self._writer(user)
        kind, name = named(request.parts[: request.parts.index("info")])
        snapshot = self._snapshot(user, kind, name.removesuffix(".git"))
        objects = []
        for wanted in request.json()["objects"]:
            entry: listings.Json = {"oid": wanted["oid"], "size": wanted["size"]}
            if self._held(wanted["oid"], snapshot) is None:
                address = f"{self.endpoint}/{UPLOAD}/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": address}, "verify": {"href": f"{address}/verify"}}
            objects.append(entry)
        return Reply(200, {"transfer": "basic", "objects": objects}, {"Content-Type": "application/vnd.git-lfs+json"})

    def _store(self, request: Request, sha256: str) -> Reply:
        """Take the data of a file in LFS (PUT), or say whether it is complete (POST .../verify)."""
        place = self.repositories.uploaded(sha256)
        if request.method == "PUT":
            return self._put(request, place)
        if not place.is_file() or place.stat().st_size != request.json()["size"]:
            raise Refusal(404, f"The file {sha256} is not complete")
        return Reply(200, {})

    def _put(self, request: Request, place: Path) -> Reply:
        assert isinstance(request.body, Path)
        if sha256_of(request.body) != place.name:
            request.body.unlink()
            raise Refusal(400, f"The uploaded data are not those of {place.name}")
        request.body.replace(place)
        return Reply(200, b"", {"ETag": f'"{place.name}"'})

    def _resolve(self, request: Request, user: str | None) -> Reply:
        """Answer [datasets/]NAME/resolve/REVISION/PATH: the file, or for one in LFS the address of its data."""
        cut = request.parts.index("resolve")
        revision, path = *request.parts[cut + 1 : cut + 2], "/".join(request.parts[cut + 2 :])
        kind, name = named(request.parts[:cut])
        snapshot = self._snapshot(user, kind, name, str(revision))
        if (kind, name) in self.gated and user != OWNER:
            message = f"Access to {kind} {name} is restricted"
            if user is None:
                raise Refusal(401, f"{message}. You must have access to it and be authenticated to access it.", "GatedRepo")
            raise Refusal(403, f"{message} and you are not in the authorized list.", "GatedRepo")
        commit = {"X-Repo-Commit": snapshot.commit}
        file = snapshot.files.get(path)
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", **commit)
        if file.sha256 is None:
            return Reply(200, file.path, {"ETag": f'"{file.blob}"', **commit})
        address = f"{self.endpoint}/{DATA}/{kind}/{snapshot.commit}/{quote(name)}/-/{quote(path)}"
        linked = {"X-Linked-Size": str(file.size), "X-Linked-ETag": f'"{file.sha256}"', "ETag": f'"{file.blob}"'}
        return Reply(302, b"", {"Location": address, **linked, **commit})

    def _data(self, kind: str, name: str, commit: str, path: str) -> Reply:
        """Return the data of a file in LFS. The real hub signs these addresses; here the commit in it is proof enough."""
        file = self._snapshot(OWNER, kind, name, commit).files.get(path)
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound")
        return Reply(200, file.path, {"ETag": f'"{file.sha256}"', "X-Repo-Commit": commit})
