# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""`lipread publish` against a Hub on the loopback interface, and the way back: what was published is loaded again."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoModel

import modeling_lipread
from tests.helpers.publishing import name_base, read_clip, read_from_hub, write_clip
from tests.helpers.readers import write_language_model, write_reader
from tests.helpers.training import REPOSITORY

# A published folder holds every module of the package. It needs no `__init__.py`: that registers the classes with
# transformers, which finds them by the `auto_map` of the settings instead, and writes an empty one beside them.
CODE = {path.name for path in Path(modeling_lipread.__file__).parent.glob("*.py")} - {"__init__.py"}
SETTINGS = {f"{name}.json" for name in "config generation_config processor_config tokenizer tokenizer_config".split()}
FILES = CODE | SETTINGS | {"README.md", "model.safetensors", "face_landmarker.task"}
# Takes one command line after the other: importing torch anew for each would take seconds.
COMMANDS = """
import contextlib, io, json, sys
from lipread.cli import main
replies = sys.stdout
for line in sys.stdin:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(json.loads(line))
    print(json.dumps([status, out.getvalue(), err.getvalue()]), file=replies, flush=True)
"""


@pytest.fixture(scope="module")
def publish(hub, tmp_path_factory):
    """Publishes a reader, which must end with a status; returns what was printed. One process runs all commands."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    pipes |= {"cwd": REPOSITORY, "env": hub.environment(tmp_path_factory.mktemp("home"))}
    with subprocess.Popen([sys.executable, "-c", COMMANDS], **pipes) as process:

        def run(reader, repository, *arguments, status=0):
            command = ["publish", reader, "--repo_id", repository, *arguments]
            print(json.dumps([*map(str, command)]), file=process.stdin, flush=True)
            ended, out, err = json.loads(process.stdout.readline())
            assert ended == status, (out, err)
            return SimpleNamespace(out=out, err=err)

        yield run


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A language model, a reader on it, and one that holds it."""
    root = tmp_path_factory.mktemp("readers")
    base = write_language_model(root / "base")
    return base, write_reader(root / "reader", base), write_reader(root / "whole", base, include_base=True)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def elsewhere(hub, publish, folders, clip, tmp_path_factory):
    """Results of published readers by repository, in a process without our packages."""
    base, reader, whole = folders
    hub.add("someone/base", base)
    folder = tmp_path_factory.mktemp("elsewhere")
    named = name_base(shutil.copytree(reader, folder / "named"), hub.repository("someone/base").history()[0].id)
    publish(whole, "someone/whole")
    publish(named, "someone/reader")
    publish(reader, "someone/inside", "--include_base")
    publish(whole, "someone/branch", "--revision", "beams/v2")
    # The language model's repository gets another commit, and one reader names a commit that does not exist.
    hub.add("someone/base", write_language_model(folder / "other", seed=4), message="Other weights")
    publish(name_base(named, "0" * 40), "someone/wrong")
    repositories = "someone/whole someone/reader someone/inside someone/branch@beams/v2 someone/branch@nowhere"
    return read_from_hub(hub, folder, clip, *repositories.split(), "someone/wrong")


def test_a_published_reader_reads_the_same_without_our_packages(elsewhere, folders, clip):
    expected, whole = (read_clip(folder, clip) for folder in folders[1:])
    assert (whole["ids"], whole["scores"]) == (expected["ids"], expected["scores"])
    for name in ("whole", "reader", "inside", "branch@beams/v2"):
        read = elsewhere[f"someone/{name}"]
        assert read["ids"] == expected["ids"]
        assert read["scores"] == pytest.approx(expected["scores"], abs=1e-5)
        assert "models--someone--" in read["landmarker"]


def test_a_language_model_is_named_by_the_commit_that_was_trained_on(hub, elsewhere):
    first = hub.repository("someone/base").history()[1]
    assert first.title == "Add a folder"  # and not what came after it
    config = json.loads(hub.files("someone/reader")["config.json"])
    assert (config["base_model_name_or_path"], config["base_model_revision"]) == ("someone/base", first.id)
    assert published(hub, "someone/reader") == published(hub, "someone/inside") == FILES
    assert "saved without its language model 'someone/base' (revision 0000" in elsewhere["someone/wrong"]["error"]
    assert "nowhere is not a valid git identifier" in elsewhere["someone/branch@nowhere"]["error"]
    assert 'revision="beams/v2"' in hub.files("someone/branch", "beams/v2")["README.md"].decode()
    assert published(hub, "someone/branch", "beams/v2") == FILES
    assert published(hub, "someone/branch") == set()


def published(hub, id: str, revision: str = "main") -> set[str]:
    return set(hub.files(id, revision)) - {".gitattributes"}


def test_what_a_reader_needs_is_published_and_nothing_else(hub, publish, folders, tmp_path):
    run = shutil.copytree(folders[2], tmp_path / "run")
    for name in (
        "checkpoint-3/optimizer.pt checkpoint-3/model.safetensors runs/a/events.out.tfevents.1 notes.txt .env old.py "
        "training_args.bin trainer_state.json training_args.json eval_results.json optimizer.safetensors"
    ).split():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text("{}")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert publish(run, "someone/run").out.splitlines() == [
        f"{hub.endpoint}/someone/run",
        'processor = AutoProcessor.from_pretrained("someone/run", trust_remote_code=True)',
        'model = AutoModel.from_pretrained("someone/run", trust_remote_code=True)',
    ]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert published(hub, "someone/run") == FILES
    titles = [commit.title for commit in hub.repository("someone/run").history()]
    assert titles == ["Publish the reader", "initial commit"]
    assert not any(str(tmp_path).encode() in content for content in hub.files("someone/run").values())


def test_a_second_publication_is_one_commit_and_leaves_no_old_weights(hub, publish, folders, tmp_path):
    whole, repository, sharded = folders[2], "someone/twice", shutil.copytree(folders[2], tmp_path / "sharded")
    AutoModel.from_pretrained(sharded).save_pretrained(sharded, max_shard_size="200KB")
    (sharded / "model.safetensors").unlink()
    shards = {path.name for path in sharded.glob("model-*.safetensors")} | {"model.safetensors.index.json"}
    publish(sharded, repository)
    assert published(hub, repository) == (FILES - {"model.safetensors"}) | shards
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.txt").write_text("mine")
    hub.add(repository, tmp_path / "mine", message="By hand")
    publish(whole, repository)
    history = [commit.title for commit in hub.repository(repository).history()]
    assert history == ["Publish the reader", "By hand", "Publish the reader", "initial commit"]
    assert published(hub, repository) == FILES | {"photo.txt"}
    publish(whole, repository)
    assert len(hub.repository(repository).history()) == 4, "the same once more changes nothing"
    publish(whole, repository, "--license", "mit")
    assert b"license: mit" in hub.files(repository)["README.md"]


def test_an_upload_cut_off_leaves_the_repository_as_it_was(hub, publish, folders):
    whole, repository = folders[2], "someone/cut-off"
    for request in ("preupload", "commit"):
        hub.faults.append(("POST", f"/api/models/someone/cut-off/{request}/main", 500))
        done = publish(whole, repository, status=1)
        assert done.err.splitlines()[-1].startswith("lipread: ") and not done.out
        assert published(hub, repository) == set()
        hub.faults.clear()
    publish(whole, repository)
    assert published(hub, repository) == FILES
    before = hub.repository(repository).history()
    hub.faults.append(("POST", "/api/models/someone/cut-off/commit/main", 500))
    publish(whole, repository, "--license", "mit", status=1)
    hub.faults.clear()
    assert hub.repository(repository).history() == before


def test_a_dry_run_needs_no_hub_and_keeps_the_files(hub, publish, folders, tmp_path):
    requests = len(hub.requests)
    done = publish(folders[2], "someone/dry", "--dry_run", "--output", tmp_path / "staged")
    assert len(hub.requests) == requests
    staged = {path.name for path in (tmp_path / "staged").iterdir()}
    assert {line.split()[-1] for line in done.out.splitlines()} == staged == FILES
    done = publish(folders[2], "someone/x", "--dry_run", "--output", tmp_path / "staged", status=2)
    assert "exists; give a new folder" in done.err and [path.name for path in tmp_path.iterdir()] == ["staged"]


def test_private_stays_private(hub, publish, folders):
    whole = folders[2]
    for _ in range(2):
        publish(whole, "someone/secret", "--private")
        assert hub.repository("someone/secret").private
    publish(whole, "someone/open")
    before = hub.repository("someone/open").history()
    assert "is public" in publish(whole, "someone/open", "--private", "--license", "mit", status=1).err
    assert hub.repository("someone/open").history() == before


def point_elsewhere(run):
    shutil.move(run / "model.safetensors", run.parent / "elsewhere.safetensors")
    index = {"metadata": {}, "weight_map": {"a": "../elsewhere.safetensors"}}
    (run / "model.safetensors.index.json").write_text(json.dumps(index))


WEIGHTS, CONFIG = "model.safetensors", "config.json"
DAMAGES = {
    "there is no model.safetensors": lambda run: (run / WEIGHTS).unlink(),
    "never from a pickle such as pytorch_model.bin": lambda run: (run / WEIGHTS).rename(run / "pytorch_model.bin"),
    "model.safetensors: not a complete safetensors file": lambda run: (run / WEIGHTS).write_bytes(b"\0" * 100),
    "names .*elsewhere": point_elsewhere,
    "its processor cannot be loaded": lambda run: (run / "tokenizer.json").unlink(),
    "config file at .* is not a valid JSON file": lambda run: (run / CONFIG).write_text("{"),
    "holds a model of type 'llama'": lambda run: (run / CONFIG).write_text('{"model_type": "llama"}'),
    "model_type. key in its config.json": lambda run: (run / CONFIG).unlink(),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_what_is_not_whole_is_not_published(hub, publish, folders, tmp_path, reason):
    run = shutil.copytree(folders[2], tmp_path / "run")
    DAMAGES[reason](run)
    errors = publish(run, "someone/damaged", status=1).err
    assert errors.count("\n") == 1 and re.search(reason, errors), errors
    assert ("models", "someone/damaged") not in hub.repositories


@pytest.mark.parametrize(
    ("arguments", "status", "reason"),
    [
        ("someone/a/b", 2, "--repo_id someone/a/b: "),
        ("reader", 2, "you/reader"),
        ("another/reader", 1, "403"),
    ],
)
def test_bad_arguments_are_one_line(publish, folders, arguments, status, reason):
    errors = publish(folders[2], *arguments.split(), status=status).err.splitlines()
    (error,) = (line for line in errors if not line.startswith("lipread: note: "))
    assert reason in error


@pytest.mark.slow
def test_who_is_not_logged_in_is_told_so_before_anything_is_made(hub, folders, tmp_path):
    command = [sys.executable, "-m", "lipread.cli", "publish", folders[2], "--repo_id", "someone/x"]
    options = {"cwd": REPOSITORY, "capture_output": True, "text": True}
    done = subprocess.run(command, env=hub.environment(tmp_path, token=None), **options)
    assert done.returncode == 1 and ("models", "someone/x") not in hub.repositories
    assert done.stderr.startswith("lipread: ") and "hf auth login" in done.stderr and done.stderr.count("\n") == 1
