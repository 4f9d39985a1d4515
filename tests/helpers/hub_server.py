# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A Hub on the loopback interface, speaking the HTTP protocol by which huggingface_hub writes and reads repositories.

    with HubServer() as hub:
        subprocess.run([...], env=hub.environment(tmp_path / "hf_home"))
        hub.files("someone/reader")

Models and data sets alike, in memory. A commit appears whole or not at all. All files travel in the requests
themselves; the real Hub sends large ones to a storage of their own, by git-lfs or Xet, which `environment` disables.
"""

import base64
import hashlib
import json
import logging
import os
import re
import secrets
import subprocess
import threading
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, NoReturn
from urllib.parse import unquote

from werkzeug import Request, Response
from werkzeug.exceptions import abort
from werkzeug.serving import make_server

TOKEN = "hf_loopback"


class Commit(NamedTuple):
    """A state of all files."""

    id: str
    files: dict[str, bytes]
    title: str


class Repository:
    """A repository with its first commit, as the Hub makes it; `branches` hold commits, the newest first."""

    def __init__(self, id: str, private: bool = False):
        self.id, self.private, self.branches = id, private, {"main": []}
        self.add_commit("main", {".gitattributes": b"*.safetensors filter=lfs\n"}, "initial commit")

    def commit(self, revision: str = "main") -> Commit:
        """The commit that a branch or a commit's own name stands for."""
        if branch := self.branches.get(revision.removeprefix("refs/heads/")):
            return branch[0]
        found = (commit for branch in self.branches.values() for commit in branch if commit.id == revision)
        return next(found, None) or refuse(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self) -> list[Commit]:
        """The commits of the main branch, the newest first."""
        return list(self.branches["main"])

    def add_commit(self, branch: str, files: dict[str, bytes], title: str) -> Commit:
        """Puts a state of all files on a branch."""
        self.branches[branch].insert(0, Commit(secrets.token_hex(20), files, title))
        return self.branches[branch][0]


def reply(content: Any, status: int = 200, **headers: str) -> Response:
    """A JSON answer; underscores in the names of headers stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(json.dumps(content), status, named, content_type="application/json")


def refuse(status: int, message: str, code: str = "", **details: str) -> NoReturn:
    """Answers with an error; by its code huggingface_hub chooses the class of its exception."""
    abort(reply({"error": message, **details}, status, X_Error_Message=message, X_Error_Code=code))


def git_id(content: bytes) -> str:
    """The name of a file in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class HubServer:
    """The Hub, from `with` to its end. One user alone may log in."""

    def __init__(self, user: str = "someone"):
        self.user = user
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.faults: list[tuple[str, str, int]] = []  # methods, patterns of paths, and how they fail
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = make_server("127.0.0.1", 0, Request.application(self.answer), threaded=True)
        self.endpoint = f"http://127.0.0.1:{self._server.port}"

    def __enter__(self) -> "HubServer":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()

    def environment(self, home: str | os.PathLike, token: str | None = TOKEN) -> dict[str, str]:
        """This process's environment, but for everything that says where the Hub is and who asks."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        kept |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        kept |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        return kept if token is None else {**kept, "HF_TOKEN": token}

    def run(self, home: Path, *command: object, **options: Any) -> str:
        """Runs a program that uses the Hub and is logged in, and returns its standard output."""
        options = {"env": self.environment(home), "capture_output": True, "text": True, "timeout": 300, **options}
        done = subprocess.run([*map(str, command)], **options)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout

    def repository(self, id: str, type: str = "model") -> Repository:
        """A repository, as it is now."""
        return self.repositories[f"{type}s", id]

    def files(self, id: str, revision: str = "main", type: str = "model") -> dict[str, bytes]:
        """The files of a repository by their paths."""
        return self.repository(id, type).commit(revision).files

    def add(self, id: str, folder: Path, type: str = "model", message: str = "Add a folder") -> None:
        """Commits the files of a folder, into a new repository if need be, without a request."""
        repository = self.repositories.setdefault((f"{type}s", id), Repository(id))
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        added = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        repository.add_commit("main", repository.commit().files | added, message)

    def answer(self, request: Request) -> Response:
        """Finds the method for a request, which takes the groups of the path's pattern."""
        path = request.environ["RAW_URI"].partition("?")[0]
        self.requests.append(path)
        for method, pattern, status in self.faults:
            if request.method == method and re.fullmatch(pattern, path):
                refuse(status, "the server was told to fail")
        for methods, pattern, answer in ROUTES:
            if request.method in methods.split() and (match := re.fullmatch(pattern, path)):
                return answer(self, request, *(group and unquote(group) for group in match.groups()))
        refuse(404, f"there is no {request.method} {path} here")

    def _user(self, request: Request, must: bool = False) -> str | None:
        """Who asks; `None` for nobody in particular."""
        header = request.headers.get("Authorization")
        if header not in (None, f"Bearer {TOKEN}") or (must and header is None):
            refuse(401, "Invalid credentials in Authorization header")
        return header and self.user

    def _repository(self, request: Request, type: str | None, id: str, write: bool = False) -> Repository:
        user, found = self._user(request, must=write), self.repositories.get((type or "models", id))
        allowed = user == id.split("/")[0]
        # To strangers a private repository is none. The real Hub answers 401 to those it does not know.
        if found is None or (found.private and not allowed):
            refuse(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if write and not allowed:
            refuse(403, f"{user} may not write to {id}")
        return found

    def whoami(self, request: Request) -> Response:
        return reply({"type": "user", "name": self._user(request, must=True), "orgs": []})

    def create(self, request: Request) -> Response:
        user, asked = self._user(request, must=True), request.json
        type, namespace = f"{asked.get('type') or 'model'}s", asked.get("organization") or user
        if namespace != user:
            refuse(403, f"You don't have the rights to create a repository under the namespace {namespace!r}")
        id = f"{namespace}/{asked['name']}"
        url = f"{self.endpoint}/{'datasets/' * (type == 'datasets')}{id}"
        if (type, id) in self.repositories:
            refuse(409, "You already created this repo", url=url)
        self.repositories[type, id] = Repository(id, private=asked.get("visibility") == "private")
        return reply({"url": url, "name": id})

    def info(self, request: Request, type: str, id: str, revision: str | None) -> Response:
        repository = self._repository(request, type, id)
        commit, siblings = repository.commit(revision or "main"), []
        for path, content in commit.files.items():
            lfs = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
            large = {"lfs": lfs} if path.endswith(".safetensors") else {}
            siblings.append({"rfilename": path, "blobId": git_id(content), "size": len(content), **large})
        about = {"id": id, "sha": commit.id, "private": repository.private, "siblings": siblings}
        return reply(about | {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []})

    def tree(self, request: Request, type: str, id: str, revision: str, path: str | None) -> Response:
        folder, files = f"{path}/" if path else "", self._repository(request, type, id).commit(revision).files
        parents = {str(parent) for name in files for parent in PurePosixPath(name).parents[:-1]}
        found = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in sorted(parents)]
        for name, content in files.items():
            found.append({"type": "file", "path": name, "oid": git_id(content), "size": len(content)})
        found = [entry for entry in found if entry["path"].startswith(folder)]
        if request.args.get("recursive", "").lower() != "true":
            found = [entry for entry in found if "/" not in entry["path"].removeprefix(folder)]
        return reply(found) if found else refuse(404, f"{path} does not exist on {revision!r}", "EntryNotFound")

    def create_branch(self, request: Request, type: str, id: str, name: str) -> Response:
        repository = self._repository(request, type, id, write=True)
        if name in repository.branches:
            refuse(409, f"Reference already exists: {name}")
        repository.branches[name] = repository.history()
        return reply({})

    def preupload(self, request: Request, type: str, id: str, revision: str) -> Response:
        """The client leaves out files that are there already, which have the name in git that is answered."""
        there, answers = self._repository(request, type, id, write=True).commit(revision).files, []
        for file in request.json["files"]:
            known = {"oid": git_id(there[file["path"]])} if file["path"] in there else {}
            answers.append({"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, **known})
        return reply({"files": answers})

    def commit(self, request: Request, type: str, id: str, revision: str) -> Response:
        header, *operations = [json.loads(line) for line in request.data.splitlines()]
        repository = self._repository(request, type, id, write=True)
        head = repository.commit(revision)
        if header["value"].get("parentCommit") not in (None, head.id):
            refuse(412, "A commit has happened since. Please refresh and try again.")
        files = dict(head.files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "deletedFile":
                del files[value["path"]]
            else:
                files[value["path"]] = base64.b64decode(value["content"])
        commit = repository.add_commit(revision, files, header["value"]["summary"])
        url = f"{self.endpoint}/{'datasets/' * (type == 'datasets')}{id}/commit/{commit.id}"
        return reply({"success": True, "commitOid": commit.id, "commitUrl": url})

    def resolve(self, request: Request, type: str | None, id: str, revision: str, path: str) -> Response:
        """A file, or the range of it that was asked for."""
        commit = self._repository(request, type, id).commit(revision)
        if (content := commit.files.get(path)) is None:
            abort(reply({}, 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit.id))
        headers = {"ETag": f'"{git_id(content)}"', "X-Repo-Commit": commit.id}
        return Response(content, headers=headers).make_conditional(request, True, len(content))


ID = r"([^/]+/[^/]+)"
API = rf"/api/(models|datasets)/{ID}"
ROUTES = [
    ("GET", r"/api/whoami-v2", HubServer.whoami),
    ("POST", r"/api/validate-yaml", lambda hub, request: reply({"errors": [], "warnings": []})),
    ("POST", r"/api/repos/create", HubServer.create),
    ("GET", rf"{API}(?:/revision/([^/]+))?", HubServer.info),
    ("GET", rf"{API}/tree/([^/]+)(?:/(.*))?", HubServer.tree),
    ("POST", rf"{API}/branch/([^/]+)", HubServer.create_branch),
    ("POST", rf"{API}/preupload/([^/]+)", HubServer.preupload),
    ("POST", rf"{API}/commit/([^/]+)", HubServer.commit),
    ("GET HEAD", rf"/(?:(datasets)/)?{ID}/resolve/([^/]+)/(.+)", HubServer.resolve),
]
