"""A local server that speaks the hub's API: create a repository, list it, commit files and download them."""

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


def blob_id(data):
    """Return the name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """Server on 127.0.0.1.

    `repositories[kind, name]` holds the files of the last commit by path, `commits` kind, name, summary and paths of each
    commit, `asked` the method and path of each request. `refused` maps a part of a path to the status of the answer. `sizes`
    maps a file to the size that the listing shows.
    """

    TOKEN = "hf_of_the_test"

    def __init__(self):
        self.repositories, self.commits, self.asked, self.refused, self.sizes, self.private = {}, [], [], {}, {}, set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self, status, body=b"", **headers):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            def handle_any(self):
                address = urlsplit(self.path)
                path = unquote(address.path)
                length = int(self.headers["Content-Length"] or 0)
                body = self.rfile.read(length)
                owner.asked.append((self.command, path))
                for part, status in owner.refused.items():
                    if part in path:
                        return self.answer(status, {"error": "refused by the test"})
                if self.command == "POST" and self.headers["Authorization"] != f"Bearer {owner.TOKEN}":
                    return self.answer(401, {"error": "Invalid username or password."})
                words = path.strip("/").split("/")
                if path == "/api/repos/create":
                    return self.create(json.loads(body))
                if path == "/api/validate-yaml":
                    return self.answer(200, {"errors": [], "warnings": []})
                if words[0] == "api":
                    return self.api(words[1].removesuffix("s"), "/".join(words[2:4]), words[4:], body, parse_qs(address.query))
                kind = "dataset" if words[0] == "datasets" else "model"
                words = words[1:] if kind == "dataset" else words
                return self.file(kind, "/".join(words[:2]), "/".join(words[4:]))

            do_GET = do_HEAD = do_POST = handle_any

            def create(self, asked):
                kind, name = asked.get("type", "model"), f"{asked.get('organization')}/{asked['name']}"
                if (kind, name) in owner.repositories:
                    return self.answer(409, {"error": "exists", "url": owner.url(kind, name)})
                owner.repositories[kind, name] = {}
                if asked.get("private") or asked.get("visibility") == "private":
                    owner.private.add(name)
                return self.answer(200, {"url": owner.url(kind, name), "name": name})

            def api(self, kind, name, words, body, query):
                files = owner.repositories.get((kind, name))
                if files is None:
                    return self.answer(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
                if words[:1] == ["preupload"]:
                    asked = json.loads(body)["files"]
                    known = {path: blob_id(data) for path, data in files.items()}
                    modes = [
                        {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": known.get(f["path"])}
                        for f in asked
                    ]
                    return self.answer(200, {"files": modes})
                if words[:1] == ["commit"]:
                    return self.commit(kind, name, [json.loads(line) for line in body.splitlines()])
                if words[:1] == ["revision"] and words[1] not in ("main", owner.commit_of(files)):
                    return self.answer(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
                siblings = [{"rfilename": path, "size": owner.sizes.get(path, len(data))} for path, data in files.items()]
                return self.answer(200, {"id": name, "sha": owner.commit_of(files), "siblings": siblings})

            def commit(self, kind, name, lines):
                added = {
                    line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
                }
                assert all(line["key"] in ("header", "file") for line in lines)
                owner.repositories[kind, name] |= added
                owner.commits.append((kind, name, lines[0]["value"]["summary"], sorted(added)))
                commit = owner.commit_of(owner.repositories[kind, name])
                return self.answer(200, {"commitUrl": f"{owner.url(kind, name)}/commit/{commit}", "commitOid": commit})

            def file(self, kind, name, path):
                files = owner.repositories.get((kind, name), {})
                if path not in files:
                    return self.answer(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound")
                return self.answer(200, files[path], ETag=f'"{blob_id(files[path])}"', X_Repo_Commit=owner.commit_of(files))

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def url(self, kind, name):
        return f"{self.endpoint}/{'datasets/' if kind == 'dataset' else ''}{name}"

    @staticmethod
    def commit_of(files):
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
