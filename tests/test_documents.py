# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The documents name commands that exist, links that lead somewhere, messages that the code prints, and the layers.

Their commands for preparing corpora run as they stand, on small corpora of the same layout.
"""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from datasets import load_from_disk

import data.corpora
from data.prepare import main
from docs.commands import DOCUMENTS, Command, Refused, check, commands
from tests.helpers.corpora import fill, srt, textgrid, vtt
from tests.helpers.training import REPOSITORY, run_python


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_parses(document):
    refused = []
    for command in commands(document):
        try:
            check(command)
        except Refused as error:
            refused.append(f"{document}:{command.line}: {command.text}: {error}")
    assert not refused, "\n".join(refused)


@pytest.mark.parametrize(
    ("text", "language", "message"),
    [
        ("python -m data.prepare a.jsonl --outptu b", "bash", "--output"),
        ("python -m data.prepare a.jsonl --output b --halves 2", "bash", "--halves"),
        ("python -m data.prepared a.jsonl --output b", "bash", "there is no data.prepared"),
        ("python train.py --dataset corpus/", "bash", "there is no train.py"),
        ("accelerate launch train_hf.py --dataset corpus/ --lerning_rate 1", "bash", "--lerning_rate"),
        ("accelerate launch --config_file accelerate_configs/tpu.yaml train_hf.py", "bash", "there is no file accel"),
        ("accelerate launch train_hf.py --config configs/none.yaml", "bash", "none.yaml"),
        ("torchrun --nproc_per_node 2 train_hf.py --epochs 3", "bash", "--epochs"),
        ("lipread overlay clip.mp4", "bash", "--output"),
        ("make all", "bash", "No rule to make target"),
        ("lipred clip.mp4", "bash", "the program lipred"),
        ("python evaluate_hf.py runs/a corpus/test --beams 3", "inline", "--beams"),
        ("reader = pipeline(model=", "python", "was never closed"),
    ],
)
def test_mistakes_are_refused(text, language, message):
    with pytest.raises(Refused, match=re.escape(message)):
        check(Command("page.md", 1, language, text))


def anchors(page):
    """Returns the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", [*DOCUMENTS, "examples/read_and_train.ipynb"])
def test_links_lead_somewhere(document):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        page = (REPOSITORY / document).parent / target if target else REPOSITORY / document
        assert page.exists(), f"{document}: {target}"
        assert not anchor or anchor in anchors(page), f"{document}: {target}#{anchor}"
    for path in re.findall(r"`(\w+/[\w/]+\.(?:py|yaml))`", text):
        assert (REPOSITORY / path).exists(), f"{document}: {path}"


def test_the_tree_names_every_file_of_the_packages():
    tree = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Files")[2]
    for package in ("modeling_lipread", "lipread", "data"):
        for path in (REPOSITORY / package).rglob("*.py"):
            assert path.name.startswith("__") or re.search(rf" {path.name}\s", tree), path


def test_imports_run_one_way_and_without_a_circle():
    run_python("-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache")


def test_the_code_prints_the_messages_of_the_troubleshooting_page():
    sources = (path for name in ("modeling_lipread", "lipread", "data") for path in (REPOSITORY / name).rglob("*.py"))
    code = "".join(source.read_text(encoding="utf-8") for source in sources)
    printed = " ".join(re.sub(r"""(["'])\s+f?\1""", "", code).split())  # with the parts of a message joined
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = [heading for heading in re.findall(r"^### (.*)$", page, re.MULTILINE) if heading.startswith("`")]
    assert len(headings) > 8
    for quote in (first or second for first, second in re.findall(r"``(.+?)``(?!`)|`([^`]+)`", "\n".join(headings))):
        for fragment in filter(None, (part.strip(' "{}:,;.()') for part in quote.split("…"))):
            fragment = fragment.removeprefix('text": "", "reason": "')
            assert fragment in printed, f"no program prints {fragment!r}"


ALIGN = "0 1000 sil\n1000 4000 bin\n4000 7500 blue\n"
LRS = "Text:  THE TIDE COMES\nConf:  4\nRef: abc\n\nFRAME X Y W H\n000001 0.3 0.2 0.1 0.2\n\nWORD START END ASDSCORE\n"
LRS += "THE 0.00 0.08 7.1\nTIDE 0.08 0.2 8.0\nCOMES 0.2 0.3 7.7\n"
TIDE = [(0.0, 0.1, "the"), (0.1, 0.3, "tide")]

# Every folder that the documents name; a clip of each is enough to see its texts arrive.
CORPORA = {
    "corpora/grid": {
        "s1/bbaf2n.mpg": None,
        "s1/align/bbaf2n.align": ALIGN,
        "s2/lwiz9p.mpg": None,
        "s2/lwiz9p.align": ALIGN,
    },
    "corpora/tcd-timit": {
        **{f"volunteers/{id}/Clips/straightcam/sx1.mp4": None for id in ("01M", "02F")},
        **{f"volunteers/{id}/Clips/straightcam/sx1.txt": "0 5120 The tide comes in." for id in ("01M", "02F")},
        "volunteers/02F/Clips/straightcam/sx1.wrd": "0 1000 the\n1000 3000 tide\n3000 4000 comes\n4000 5000 in\n",
    },
    "corpora/lrs2": {
        "train.txt": "55/00001\n",
        "val.txt": "56/00001\n",
        **{f"main/{id}/00001.mp4": None for id in (55, 56)},
        **{f"main/{id}/00001.txt": "Text:  WE MET AT NOON\nConf:  3\n" for id in (55, 56)},
    },
    "corpora/lrs3": {
        f"{name}/00001.{suffix}": None if suffix == "mp4" else LRS
        for name in ("trainval/abc", "trainval/def", "test/ghi")
        for suffix in ("mp4", "txt")
    },
    "lectures": {
        "monday.mp4": None,
        "monday.srt": srt((0.0, 0.15, "Good morning."), (0.16, 0.3, "[music]")),
        "tuesday.mp4": None,
        "tuesday.en.vtt": vtt((0.0, 0.3, "<v Anna>Good day.")),
    },
    "interviews": {
        "a.mp4": None,
        "a.TextGrid": textgrid([("Anna", [(0.0, 0.3, "The tide.")]), ("words", TIDE)]),
        "b.mp4": None,
        "b.TextGrid": textgrid([("Anna", [(0.1, 0.3, "Tide.")]), ("words", TIDE)], "short"),
    },
    "clips": {"train/1.mp4": None, "train/1.txt": "Good morning.", "test/2.mov": None, "test/2.txt": "Good day."},
    "mylab": {
        "anna/001.mp4": None,
        "anna/sentences.csv": "video,sentence\n001.mp4,The tide comes in at seven.\n002.mp4,Gone.\n",
        "ben/001.mp4": None,
        "ben/sentences.csv": 'video,sentence\n001.mp4,"Good morning, everyone."\n,nothing\n',
    },
}

# By output: the texts of each split, the words with times in all, and the reasons of those that are skipped.
GONE = ["anna/002.mp4 is no file", "needs values in the columns"]
EXPECTED = {
    "prepared/grid": ({"train": ["bin blue"], "validation": ["bin blue"]}, 4, []),
    "prepared/tcd-timit": ({"train": ["The tide comes in."], "validation": ["The tide comes in."]}, 4, []),
    "prepared/lrs2": ({"train": ["we met at noon"], "validation": ["we met at noon"]}, 0, []),
    "prepared/lrs3": ({"trainval": ["the tide comes"] * 2, "test": ["the tide comes"]}, 9, []),
    "prepared/trainval": ({"train": ["THE TIDE COMES"], "validation": ["THE TIDE COMES"]}, 6, []),
    "prepared/lectures": ({"train": ["Good day."], "validation": ["Good morning."]}, 0, ["no speech ([music])"]),
    "prepared/interviews": ({"train": ["The tide."], "validation": ["Tide."]}, 3, []),
    "prepared/anna": ({"train": ["The tide."], "validation": ["Tide."]}, 3, []),
    "prepared/clips": ({"train": ["Good morning."], "test": ["Good day."]}, 0, []),
    "prepared/mylab": ({"train": ["The tide comes in at seven."], "validation": ["Good morning, everyone."]}, 0, GONE),
    "prepared/all": ({"train": ["The tide comes in at seven.", "Good morning, everyone."]}, 0, GONE),
}


def prepared():
    """Returns the arguments of the commands that prepare one of these corpora from a folder, by their output."""
    folders = {name.split("/")[0] for name in CORPORA}
    found = [command for document in ("docs/corpora.md", "CONTRIBUTING.md") for command in commands(document)]
    texts = [command.text for command in found if command.language == "bash" and "data.prepare" in command.text]
    lines = [shlex.split(text)[3:] for text in texts if not re.search("--(shard|engine)", text)]
    return {words[words.index("--output") + 1]: words for words in lines if words[0].split("/")[0] in folders}


COMMANDS = prepared()


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The example of CONTRIBUTING.md, put where it says it goes: into the package of formats."""
    document = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# data/corpora/mylab.py\n.*?)```", document, re.DOTALL)
    fill(tmp_path, {"more/mylab.py": code})
    monkeypatch.setattr(data.corpora, "__path__", [*data.corpora.__path__, str(tmp_path / "more")])
    yield
    sys.modules.pop("data.corpora.mylab", None)
    vars(data.corpora).pop("mylab", None)


def test_every_command_is_known():
    assert list(COMMANDS) == list(EXPECTED)


@pytest.mark.parametrize("output", COMMANDS)
def test_corpora_are_prepared_as_the_documents_say(output, tmp_path, portrait_video, monkeypatch, example):
    arguments, video = COMMANDS[output], portrait_video.read_bytes()
    sources = {name: files for name, files in CORPORA.items() if any(name in argument for argument in arguments)}
    for name, files in sources.items():
        fill(tmp_path / name, {path: video if content is None else content for path, content in files.items()})
    monkeypatch.chdir(tmp_path)
    main([*arguments, "--num_proc", "0"])  # in this process, which saves the start of one
    texts, words, reasons = EXPECTED[output]
    report = json.loads(Path(output, "report.json").read_text(encoding="utf-8"))
    assert report["warnings"] == []
    assert all(skip["reason"].startswith(said) for skip, said in zip(report["skipped"], reasons, strict=True))
    rows = load_from_disk(output)
    assert {split: rows[split]["text"][:] for split in rows} == texts
    assert sum(len(found) for split in rows for found in rows[split]["words"][:]) == words


def test_a_format_that_is_added_stands_in_the_help(example, capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "  mylab      MyLab: a sentences.csv in every speaker's folder" in capsys.readouterr().out
