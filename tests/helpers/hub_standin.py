"""A stand-in of the Hugging Face hub on loopback: as much of its HTTP interface as models need."""

import base64
import hashlib
import json
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

COMMIT = "c" * 40
DROP = 0
"""In place of a status: close the connection without an answer."""


class Hub:
    """Repositories in memory, and faults to answer with.

    `faults` maps a part of the path or the body to the status that such a request gets, or to
    `DROP`.
    """

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: dict[str, int] = {}
        self.downloads: list[str] = []
        self.tokens: set[str | None] = set()
        self.url = ""

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers."""
        if method == "POST" and path == "/api/repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            self.repos.setdefault(repo, {})
            return _json({"url": f"{self.url}/{repo}"})
        if method == "POST" and path == "/api/validate-yaml":
            return _json({"errors": [], "warnings": []})
        if path.startswith("/blobs/"):
            self.blobs[path.removeprefix("/blobs/")] = body
            return _json({})
        if match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            return _json({"transfer": "basic", "objects": self._slots(json.loads(body))})
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(\w+)/(.+)", path):
            repo, what, _ = match.groups()
            if repo in self.repos:
                return self._api(repo, what, body)
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path):
            repo, name = match.groups()
            if name not in self.repos.get(repo, {name: b""}):
                return 404, b"{}", {"X-Error-Code": "EntryNotFound"}
            if repo in self.repos:
                if method == "GET":
                    self.downloads.append(f"{repo}/{name}")
                content = self.repos[repo][name]
                etag = hashlib.sha1(content).hexdigest()
                return 200, content, {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
        return 404, b"{}", {"X-Error-Code": "RepoNotFound"}

    def _slots(self, asked: Any) -> list[dict[str, Any]]:
        return [
            {**wanted, "actions": {"upload": {"href": f"{self.url}/blobs/{wanted['oid']}"}}}
            for wanted in asked["objects"]
        ]

    def _api(self, repo: str, what: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        files = self.repos[repo]
        if what == "preupload":
            names = [file["path"] for file in json.loads(body)["files"]]
            return _json({"files": [_upload_mode(name) for name in names]})
        if what == "commit":
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    files[value["path"]] = self.blobs[value["oid"]]
            url = f"{self.url}/{repo}/commit/{COMMIT}"
            return _json({"success": True, "commitOid": COMMIT, "commitUrl": url})
        if what == "tree":
            sizes = [(name, len(content)) for name, content in files.items()]
            return _json(
                [{"type": "file", "oid": "0" * 40, "size": s, "path": n} for n, s in sizes]
            )
        assert what == "revision", what
        return _json({"id": repo, "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]})


def _json(value: Any) -> tuple[int, bytes, dict[str, str]]:
    return 200, json.dumps(value).encode(), {"Content-Type": "application/json"}


def _upload_mode(name: str) -> dict[str, Any]:
    mode = "lfs" if name.endswith(".safetensors") else "regular"
    return {"path": name, "uploadMode": mode, "shouldIgnore": False}


def hub_environment(hub: Hub, home: Path) -> dict[str, str]:
    """That of a user of this hub; xet, the hub's newer storage, has servers of its own."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_secret",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def serve() -> Iterator[Hub]:
    """The stand-in at `hub.url`, until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if path.startswith("/api/"):
                hub.tokens.add(self.headers.get("Authorization"))
            for part, status in hub.faults.items():
                if part in path or part.encode() in body:
                    if status == DROP:
                        self.connection.shutdown(socket.SHUT_RDWR)
                        self.close_connection = True
                    else:
                        self.reply(status, b"", {})
                    return
            self.reply(*hub.answer(self.command, path, body))

        def reply(self, status: int, content: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_HEAD = do_POST = do_PUT = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
