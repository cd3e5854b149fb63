"""A hub of models on this machine, which speaks what `glmctl pull` and `glmctl push` use."""

import base64
import hashlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

Stop = Callable[[Sequence[str], str, int, signal.Signals], tuple[int, str]]
TOKEN = "hf_letmein"
LFS = (".safetensors", ".bin", ".model")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    files: dict[str, bytes]
    license: str | None = "mit"
    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=lambda: {"main": "a" * 40})


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}  # sent as LFS, by sha256
        self.requests: list[tuple[str, str, Message]] = []
        self.cards: list[str] = []
        self.commits: list[dict[str, str]] = []
        self.stop_after: int | None = None  # bytes of the next large file
        self.refuses_large_files = False
        self.blob_id: str | None = None  # in the place of the digests of all files
        self.own_etag: str | None = None  # of large files, in the place of their digest
        self.second_answer: bytes | None = None  # of a large file, from the second time on
        self.stopped = threading.Event()
        self.may_hang_up = threading.Event()
        self.may_hang_up.set()

    def add(self, name: str, files: dict[str, bytes], **settings) -> Repo:
        self.repos[name] = Repo(dict(files), **settings)
        return self.repos[name]

    def count(self, method: str, part: str) -> int:
        return sum(how == method and part in path for how, path, _ in self.requests)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_) -> None:
        pass

    def reply(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply_json(self, values, status: int = 200, **headers: str) -> None:
        self.reply(status, json.dumps(values).encode(), Content_Type="application/json", **headers)

    def refuse(self, status: int, code: str, message: str) -> None:
        self.reply_json({"error": message}, status, X_Error_Code=code, X_Error_Message=message)

    def handle_one(self) -> None:
        path = self.path.partition("?")[0]
        self.server.requests.append((self.command, self.path, self.headers))
        size = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(size)
        is_known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        parts = path.strip("/").split("/")
        if parts[0] == "cdn":
            self.send_large(self.server.stored[parts[1]])
            if self.server.second_answer is not None:
                self.server.stored[parts[1]] = self.server.second_answer
        elif self.command in ("POST", "PUT"):
            if not is_known and parts[0] != "lfs":
                self.reply_json({"error": "Invalid username or password."}, 401)
            else:
                self.accept(path, parts)
        else:
            self.serve(parts, is_known)

    do_GET = do_HEAD = do_POST = do_PUT = handle_one  # noqa: N815

    def serve(self, parts: list[str], is_known: bool) -> None:
        is_api = parts[0] == "api"
        name = "/".join(parts[2:4] if is_api else parts[:2])
        repo = self.server.repos.get(name)
        if repo is None or (repo.private and not is_known):
            self.refuse(404 if is_known else 401, "RepoNotFound", "Repository not found")
            return
        revision = parts[5] if is_api and len(parts) > 5 else parts[3] if not is_api else "main"
        commit = repo.branches.get(revision, revision)
        if commit not in repo.branches.values():
            self.refuse(404, "RevisionNotFound", "Invalid rev id")
        elif is_api and "tree" in parts:
            self.reply_json([self.entry(file, content) for file, content in repo.files.items()])
        elif is_api:
            self.reply_json(self.info(name, repo, commit))
        elif repo.gated and not is_known:
            self.refuse(401, "GatedRepo", "Access to model is restricted")
        else:
            self.resolve(repo.files["/".join(parts[4:])], parts[-1], commit)

    def info(self, name: str, repo: Repo, commit: str) -> dict:
        siblings = []
        for file, content in repo.files.items():
            entry = {"rfilename": file, "size": len(content), "blobId": git_sha1(content)}
            if self.server.blob_id is not None:
                entry["blobId"] = self.server.blob_id
            elif file.endswith(LFS):
                entry["lfs"] = {"sha256": sha256(content), "size": len(content), "pointerSize": 1}
            siblings.append(entry)
        card = {} if repo.license is None else {"cardData": {"license": repo.license}}
        return {"id": name, "sha": commit, "private": repo.private, "siblings": siblings, **card}

    def entry(self, file: str, content: bytes) -> dict:
        entry = {"type": "file", "path": file, "size": len(content), "oid": git_sha1(content)}
        if file.endswith(LFS):
            entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 1}
        return entry

    def resolve(self, content: bytes, file: str, commit: str) -> None:
        if not file.endswith(LFS):
            self.reply(200, content, ETag=f'"{git_sha1(content)}"', X_Repo_Commit=commit)
            return
        self.server.stored.setdefault(sha256(content), content)
        self.reply(
            302,
            Location=f"http://localhost:{self.server.server_port}/cdn/{sha256(content)}",
            X_Repo_Commit=commit,
            X_Linked_ETag=f'"{self.server.own_etag or sha256(content)}"',
            X_Linked_Size=str(len(content)),
        )

    def send_large(self, content: bytes) -> None:
        start = int(self.headers.get("Range", "bytes=0-")[6:].split("-")[0])
        rest = content[start:]
        headers = {"Content_Length": str(len(rest))}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        stop, self.server.stop_after = self.server.stop_after, None
        self.reply(206 if start else 200, rest[:stop], **headers)
        if stop is not None:
            self.wfile.flush()
            self.server.stopped.set()
            self.server.may_hang_up.wait(30)
            self.close_connection = True

    def accept(self, path: str, parts: list[str]) -> None:
        if parts[0] == "lfs":
            if len(parts) == 2:
                self.server.stored[parts[1]] = self.body
            self.reply(403 if self.server.refuses_large_files else 200)
            return
        values = self.body
        if path.endswith("/info/lfs/objects/batch"):
            objects = [self.action(it) for it in json.loads(values)["objects"]]
            self.reply_json({"transfer": "basic", "objects": objects})
        elif path == "/api/repos/create":
            wanted = json.loads(values)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            status = 409 if name in self.server.repos else 200
            if status == 200:
                self.server.add(name, {}, private=private)
            self.reply_json({"url": f"{self.server.url}/{name}", "name": name}, status)
        elif path == "/api/validate-yaml":
            self.server.cards.append(json.loads(values)["content"])
            self.reply_json({"errors": [], "warnings": []})
        else:
            self.change("/".join(parts[2:4]), parts[4], parts[5], values)

    def action(self, wanted: dict) -> dict:
        url = f"{self.server.url}/lfs/{wanted['oid']}"
        actions = {"upload": {"href": url}, "verify": {"href": f"{url}/verify"}}
        is_here = wanted["oid"] in self.server.stored
        return wanted if is_here else {**wanted, "actions": actions}

    def change(self, name: str, what: str, branch: str, values: bytes) -> None:
        repo = self.server.repos[name]
        if what == "branch":
            repo.branches[branch] = repo.branches["main"]
            self.reply_json({})
        elif what == "preupload":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(LFS) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(values)["files"]
            ]
            self.reply_json({"files": modes})
        else:
            for line in values.decode().splitlines():
                record = json.loads(line)
                value = record["value"]
                if record["key"] == "header":
                    self.server.commits.append({"branch": branch, "summary": value["summary"]})
                elif record["key"] == "file":
                    repo.files[value["path"]] = base64.b64decode(value["content"])
                else:
                    repo.files[value["path"]] = self.server.stored[value["oid"]]
            repo.branches[branch] = "b" * 40
            url = f"{self.server.url}/{name}/commit/{'b' * 40}"
            self.reply_json({"commitOid": "b" * 40, "commitUrl": url, "success": True})


@pytest.fixture
def hub() -> Iterator[Server]:
    """A hub that listens until the test ends."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.may_hang_up.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def linked(hub: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The hub, for commands that run in this process: the library read the environment long ago."""
    from huggingface_hub import constants

    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "*")
    for variable in ("HF_TOKEN", "GLMCTL_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return hub


@pytest.fixture
def hub_env(hub: Server, tmp_path: Path) -> dict[str, str]:
    """The environment of a command that knows this hub only; a mirror is named the same way."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "",
        "GLMCTL_OFFLINE": "",
        "HF_TOKEN": "",
        "NO_PROXY": "*",
    }


@pytest.fixture
def stopped(tmp_path: Path) -> Stop:
    """Start a training and signal it once it has logged so many steps: its code, and what it said.

    It may have ended before, so that nothing is left to stop.
    """

    def stop(args: Sequence[str], run: str, step: int, number: signal.Signals) -> tuple[int, str]:
        command = [Path(sys.executable).with_name("glmctl"), *args, "--run-dir", run]
        log = tmp_path / run / "metrics.jsonl"
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            while process.poll() is None and (
                not log.exists() or log.read_bytes().count(b"\n") < step
            ):
                time.sleep(0.002)
            process.send_signal(number)
            _, said = process.communicate(timeout=60)
        return process.returncode, said

    return stop
