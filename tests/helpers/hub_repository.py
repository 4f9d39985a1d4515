# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""What the loopback Hub of `hub_server.py` keeps: files, commits and branches, as git would name them; and what it
expects of a card."""

import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

import yaml


class HubError(Exception):
    """An answer that is an error; by its code huggingface_hub chooses the class of its exception."""

    def __init__(self, status: int, message: str, code: str = "", headers: dict | None = None, **details: Any):
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers, self.details = headers or {}, details


@dataclass(frozen=True)
class Blob:
    """A file: in git itself, or large and in the storage, with a pointer to it in git."""

    content: bytes
    large: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{self.sha256}", f"size {self.size}")
        return "".join(f"{line}\n" for line in lines).encode()

    @property
    def size(self) -> int:
        return len(self.content)

    @cached_property
    def id(self) -> str:
        """Git's name of the file, or of the pointer to it."""
        content = self.pointer if self.large else self.content
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def entry(self, hash_key: str, id_key: str, **more: str) -> dict[str, Any]:
        """As the Hub lists files, with a repository (`sha256`, `blobId`) or in a tree (`oid`, `oid`)."""
        lfs = {hash_key: self.sha256, "size": self.size, "pointerSize": len(self.pointer)}
        return {**more, id_key: self.id, "size": self.size} | ({"lfs": lfs} if self.large else {})


@dataclass(frozen=True)
class Commit:
    """A state of all files."""

    id: str
    parent: str | None
    files: dict[str, Blob]
    title: str
    message: str
    date: str

    def details(self) -> dict[str, Any]:
        """As the Hub lists commits."""
        return {"id": self.id, "title": self.title, "message": self.message, "date": self.date}

    def entries(self, folder: str, recursive: bool) -> list[dict[str, Any]]:
        """What lies in a folder (`""` is the root), or in it and in all folders inside it."""
        folder = folder.strip("/")
        found: dict[str, dict[str, Any]] = {}
        for path, blob in sorted(self.files.items()):
            if folder and not path.startswith(f"{folder}/"):
                continue
            depth, parts = len(PurePosixPath(folder).parts), PurePosixPath(path).parts
            for inner in range(depth + 1, len(parts)) if recursive else range(depth + 1, min(depth + 2, len(parts))):
                name = "/".join(parts[:inner])
                tree = hashlib.sha1(f"{self.id}/{name}".encode()).hexdigest()
                found.setdefault(name, {"type": "directory", "path": name, "oid": tree, "size": 0})
            if recursive or len(parts) == depth + 1:
                found[path] = blob.entry("oid", "oid", type="file", path=path)
        return list(found.values())


@dataclass
class Repository:
    """A repository with its first commit, as the Hub makes it."""

    id: str
    type: str
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    _commits: dict[str, Commit] = field(default_factory=dict)
    _counter: Any = field(default_factory=itertools.count)

    def __post_init__(self):
        attributes = Blob(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n", large=False)
        self.add_commit("main", {".gitattributes": attributes}, "initial commit")

    def commit(self, revision: str) -> Commit:
        """The commit that a branch or a commit's own name stands for."""
        name = re.sub(r"^refs/heads/", "", revision)
        commit = self._commits.get(self.branches.get(name) or name)
        if commit is None:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def history(self, revision: str = "main") -> list[Commit]:
        """The commits that led to a revision, the newest first."""
        found = [self.commit(revision)]
        while found[-1].parent:
            found.append(self._commits[found[-1].parent])
        return found

    def add_commit(self, branch: str, files: dict[str, Blob], title: str, message: str = "") -> str:
        """Puts a state of all files on a branch; gives the commit's name."""
        parent = self.branches.get(branch)
        tree = "".join(f"{path}\0{blob.id}\n" for path, blob in sorted(files.items()))
        content = f"{self.type}/{self.id} {next(self._counter)} {parent} {title}\n{tree}"
        id = hashlib.sha1(content.encode()).hexdigest()
        date = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self._commits[id] = Commit(id, parent, files, title, message, date)
        self.branches[branch] = id
        return id


def front_matter(content: str) -> Any:
    """The metadata at the head of a card; `None` if there is none."""
    match = re.match(r"\s*---\r?\n(.*?)\r?\n---", content, re.DOTALL)
    return None if match is None else json.loads(json.dumps(yaml.safe_load(match[1]), default=str))


def card_errors(content: str) -> list[str]:
    """What the Hub would not take in a card's metadata."""
    try:
        data = front_matter(content)
    except (yaml.YAMLError, ValueError) as error:
        return [f"no YAML: {error}"]
    if not isinstance(data, dict):
        return [] if data is None else ["the metadata must be a mapping"]
    errors = [
        f"{key!r} must be a string" for key in ("license", "pipeline_tag") if not isinstance(data.get(key, ""), str)
    ]
    for entry in data.get("model-index") or []:
        for result in entry.get("results", [{}]):
            dataset, metrics = result.get("dataset", {}), result.get("metrics", [])
            if not ("name" in entry and "type" in result.get("task", {}) and {"type", "name"} <= dataset.keys()):
                errors.append('"model-index" needs a name, and for each result task.type, dataset.type, dataset.name')
            if not metrics or any("type" not in metric or "value" not in metric for metric in metrics):
                errors.append('"model-index" needs metrics, each with a type and a value')
    return errors
