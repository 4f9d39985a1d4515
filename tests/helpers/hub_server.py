# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""A Hub on the loopback interface, speaking the HTTP protocol by which huggingface_hub writes and reads repositories.

    with HubServer() as hub:
        subprocess.run([...], env=hub.environment(tmp_path / "hf_home"))
        hub.files("someone/reader")

Models and data sets alike. Large files go to a storage of their own under another port, as to the real Hub's CDN: an
upload is taken only if its sha256 is the one announced, and a download is a redirect that carries the file's hash. A
commit appears whole or not at all. Everything is kept in memory. What is not spoken is Xet, the Hub's chunked
transfer: `environment` switches it off by huggingface_hub's own setting, so that files travel by git-lfs.
"""

import base64
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterable
from http.server import ThreadingHTTPServer
from pathlib import Path

from tests.helpers.hub_http import Handler, Reply, reply
from tests.helpers.hub_repository import Blob, HubError, Repository, card_errors, front_matter

TYPES = {"models": "model", "datasets": "dataset"}
PREFIXES = {"model": "", "dataset": "datasets/"}
TOKEN = "hf_loopback"
LARGE = re.compile(r".*\.(safetensors|parquet|arrow|bin|pt|pth|onnx|model|npz|zip|gz|mp4|png|task)")
LARGE_SIZE = 10 * 2**20

REPOSITORY = r"(?P<id>[^/]+/[^/]+)"
API = rf"/api/(?P<type>models|datasets)/{REPOSITORY}"
WEB = rf"/(?:(?P<type>datasets)/)?{REPOSITORY}"


class HubServer:
    """The Hub and its storage, each on a port of its own, from `with` to its end. One user alone may log in."""

    def __init__(self, user: str = "someone"):
        self.user = user
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}  # large files by their sha256
        self.requests: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self.faults: list[tuple[str, re.Pattern, int]] = []
        self._servers = [self._serve(handler) for handler in (_Hub, _Storage)]
        self.endpoint, self.storage = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def _serve(self, handler: type) -> ThreadingHTTPServer:
        return ThreadingHTTPServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": self}))

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def environment(self, home: str | os.PathLike, token: str | None = TOKEN) -> dict[str, str]:
        """This process's environment, but for everything that says where the Hub is and who asks."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
        kept |= {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        kept |= {"HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        return kept if token is None else {**kept, "HF_TOKEN": token}

    def fail(self, method: str, path: str, status: int) -> None:
        """From now on requests whose path matches are answered with that status."""
        self.faults.append((method, re.compile(path), status))

    def fault(self, method: str, path: str) -> int | None:
        return next((status for m, where, status in self.faults if m == method and where.fullmatch(path)), None)

    def repository(self, id: str, type: str = "model") -> Repository:
        """A repository, as it is now."""
        return self.repositories[type, id]

    def files(self, id: str, revision: str = "main", type: str = "model") -> dict[str, bytes]:
        """The files of a repository by their paths."""
        return {path: blob.content for path, blob in self.repository(id, type).commit(revision).files.items()}

    def add(self, id: str, folder: str | os.PathLike, type: str = "model", message: str = "Add a folder") -> str:
        """Commits the files of a folder, into a new repository if need be, without a request; gives the commit."""
        with self.lock:
            repository = self.repositories.setdefault((type, id), Repository(id, type))
            files = dict(repository.commit("main").files)
            for path in sorted(item for item in Path(folder).rglob("*") if item.is_file()):
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                files[name] = Blob(content, large=is_large(name, len(content), content[:512]))
            return repository.add_commit("main", files, message)


def is_large(path: str, size: int, sample: bytes) -> bool:
    """Whether a file is stored apart from git: by its name, its size, or because it is no text."""
    return LARGE.fullmatch(path) is not None or size > LARGE_SIZE or b"\0" in sample


class _Storage(Handler):
    """Where large files lie. Whoever holds an address may use it, as with addresses signed for one upload."""

    routes = [("PUT", r"/(?P<oid>[0-9a-f]{64})", "upload"), ("GET HEAD", r"/(?P<oid>[0-9a-f]{64})", "download")]

    def upload(self, oid: str) -> Reply:
        found = hashlib.sha256(self.body).hexdigest()
        if found != oid:
            raise HubError(400, f"the content's sha256 is {found}, not {oid}")
        self.hub.objects[oid] = self.body
        return 200, {"ETag": f'"{oid}"'}, b""

    def download(self, oid: str) -> Reply:
        if oid not in self.hub.objects:
            raise HubError(404, "no such object")
        return self.send_content(self.hub.objects[oid], ETag=f'"{oid}"')


class _Hub(Handler):
    routes = [
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/validate-yaml", "validate_yaml"),
        ("POST", r"/api/repos/create", "create"),
        ("GET", rf"{API}(?:/revision/(?P<revision>[^/]+))?", "info"),
        ("GET", rf"{API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", "tree"),
        ("POST", rf"{API}/branch/(?P<name>[^/]+)", "create_branch"),
        ("POST", rf"{API}/preupload/(?P<revision>[^/]+)", "preupload"),
        ("POST", rf"{API}/commit/(?P<revision>[^/]+)", "commit"),
        ("POST", rf"{WEB}\.git/info/lfs/objects/batch", "lfs_batch"),
        ("POST", rf"{WEB}\.git/info/lfs/objects/verify", "lfs_verify"),
        ("GET HEAD", rf"{WEB}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", "resolve"),
    ]

    def _user(self) -> str | None:
        """Who asks; `None` for nobody in particular."""
        header = self.headers.get("Authorization")
        if header not in (None, f"Bearer {TOKEN}"):
            raise HubError(401, "Invalid credentials in Authorization header")
        return header and self.hub.user

    def _known_user(self) -> str:
        if (user := self._user()) is None:
            raise HubError(401, "Invalid username or password.")
        return user

    def _repository(self, type: str | None, id: str, write: bool = False) -> Repository:
        user = self._known_user() if write else self._user()
        found = self.hub.repositories.get((TYPES[type or "models"], id))
        allowed = user == id.split("/")[0]
        # To strangers a private repository is none. The real Hub answers 401 to those it does not know.
        if found is None or (found.private and not allowed):
            raise HubError(401 if user is None else 404, "Repository not found", "RepoNotFound")
        if write and not allowed:
            raise HubError(403, f"{user} may not write to {id}")
        return found

    def whoami(self) -> Reply:
        user = self._known_user()
        return reply({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": {"type": "access_token"}})

    def validate_yaml(self) -> Reply:
        errors = card_errors(json.loads(self.body)["content"])
        return reply({"errors": [{"message": error} for error in errors], "warnings": []}, 400 if errors else 200)

    def create(self) -> Reply:
        user, asked = self._known_user(), json.loads(self.body)
        type, namespace = asked.get("type") or "model", asked.get("organization") or user
        if namespace != user:
            raise HubError(403, f"You don't have the rights to create a {type} under the namespace {namespace!r}")
        id = f"{namespace}/{asked['name']}"
        url = f"{self.hub.endpoint}/{PREFIXES[type]}{id}"
        with self.hub.lock:
            if (type, id) in self.hub.repositories:
                raise HubError(409, f"You already created this {type} repo", url=url)
            self.hub.repositories[type, id] = Repository(id, type, private=asked.get("visibility") == "private")
        return reply({"url": url, "name": id})

    def info(self, type: str, id: str, revision: str | None) -> Reply:
        repository = self._repository(type, id)
        commit = repository.commit(revision or "main")
        siblings = [blob.entry("sha256", "blobId", rfilename=path) for path, blob in commit.files.items()]
        card = commit.files.get("README.md")
        about = {"id": id, "author": id.split("/")[0], "sha": commit.id, "private": repository.private}
        about |= {"gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": [], "siblings": siblings}
        about |= {"lastModified": commit.date, "cardData": front_matter(card.content.decode()) if card else None}
        return reply(about)

    def tree(self, type: str, id: str, revision: str, path: str | None) -> Reply:
        commit = self._repository(type, id).commit(revision)
        recursive = self.query.get("recursive", ["false"])[0].lower() == "true"
        entries = commit.entries(path or "", recursive)
        if path and not entries:
            raise HubError(404, f"{path} does not exist on {revision!r}", "EntryNotFound")
        if self.query.get("expand", ["false"])[0].lower() == "true":
            more = {"lastCommit": commit.details(), "securityFileStatus": None}
            entries = [{**entry, **more} for entry in entries]
        return reply(entries)

    def create_branch(self, type: str, id: str, name: str) -> Reply:
        repository = self._repository(type, id, write=True)
        if name in repository.branches:
            raise HubError(409, f"Reference already exists: {name}")
        repository.branches[name] = repository.commit(json.loads(self.body or b"{}").get("startingPoint") or "main").id
        return reply({})

    def preupload(self, type: str, id: str, revision: str) -> Reply:
        there = self._repository(type, id, write=True).commit(revision).files
        answers = []
        for file in json.loads(self.body)["files"]:
            path, sample = file["path"], base64.b64decode(file["sample"])
            mode = "lfs" if is_large(path, file["size"], sample) else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in there:
                answer["oid"] = there[path].sha256 if there[path].large else there[path].id
            answers.append(answer)
        return reply({"files": answers})

    def lfs_batch(self, type: str | None, id: str) -> Reply:
        self._repository(type, id, write=True)
        verify = {"href": f"{self.hub.endpoint}{self.path.removesuffix('batch')}verify"}
        objects = []
        for item in json.loads(self.body)["objects"]:
            actions = {"upload": {"href": f"{self.hub.storage}/{item['oid']}"}, "verify": verify}
            known = {} if item["oid"] in self.hub.objects else {"actions": actions}
            objects.append({"oid": item["oid"], "size": item["size"], **known})
        return reply({"transfer": "basic", "objects": objects})

    def lfs_verify(self, type: str | None, id: str) -> Reply:
        self._repository(type, id, write=True)
        asked = json.loads(self.body)
        self._stored(asked["oid"], asked["size"])
        return reply({})

    def _stored(self, oid: str, size: int | None) -> bytes:
        if (content := self.hub.objects.get(oid)) is None or size not in (None, len(content)):
            raise HubError(400, f"the large file {oid} of {size} bytes was not uploaded")
        return content

    def commit(self, type: str, id: str, revision: str) -> Reply:
        lines = [json.loads(line) for line in self.body.splitlines()]
        header = lines[0]["value"]
        with self.hub.lock:
            repository = self._repository(type, id, write=True)
            if revision not in repository.branches:
                raise HubError(404, f"there is no branch {revision}", "RevisionNotFound")
            head = repository.commit(revision)
            if header.get("parentCommit") not in (None, head.id):
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = self._changed(head.files, lines[1:])
            oid = repository.add_commit(revision, files, header["summary"], header.get("description", ""))
        url = f"{self.hub.endpoint}/{PREFIXES[TYPES[type]]}{id}/commit/{oid}"
        return reply({"success": True, "commitOid": oid, "commitUrl": url})

    def _changed(self, files: dict[str, Blob], operations: Iterable[dict]) -> dict[str, Blob]:
        files = dict(files)
        for operation in operations:
            key, value = operation["key"], operation["value"]
            path = value["path"]
            if key == "file":
                files[path] = Blob(base64.b64decode(value["content"]), large=False)
            elif key == "lfsFile":
                files[path] = Blob(self._stored(value["oid"], value.get("size")), large=True)
            elif key == "deletedFile" and path in files:
                del files[path]
            else:
                raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        return files

    def resolve(self, type: str | None, id: str, revision: str, path: str) -> Reply:
        commit = self._repository(type, id).commit(revision)
        if (blob := commit.files.get(path)) is None:
            raise HubError(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": commit.id})
        if not blob.large:
            return self.send_content(blob.content, ETag=f'"{blob.id}"', X_Repo_Commit=commit.id)
        self.hub.objects.setdefault(blob.sha256, blob.content)
        linked = {"X_Linked_Etag": f'"{blob.sha256}"', "X_Linked_Size": str(len(blob.content))}
        address = f"{self.hub.storage}/{blob.sha256}"
        return reply({}, 302, Location=address, X_Repo_Commit=commit.id, ETag=f'"{blob.id}"', **linked)
