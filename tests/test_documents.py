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
from docs.commands import DOCUMENTS, Command, Refused, check, commands, shell
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


def test_bash_splits_a_block_into_commands():
    code = "# first\npython a.py \\\n    --b 'c d' > out   # note\n\nfor x in 1 '2 3'; do\n    srun lipread $x\ndone\n"
    found = [(1, ["python", "a.py", "--b", "c d"]), (5, ["lipread", "1"]), (5, ["lipread", "2", "3"])]
    assert list(shell(code)) == found
    with pytest.raises(Refused, match="syntax error"):
        list(shell("for x in 1; do\n    lipread $x\n"))


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

# By output: the texts of each split, the words with times in all, and how many were skipped.
EXPECTED = {
    "prepared/grid": ({"train": ["bin blue"], "validation": ["bin blue"]}, 4, 0),
    "prepared/tcd-timit": ({"train": ["The tide comes in."], "validation": ["The tide comes in."]}, 4, 0),
    "prepared/lrs2": ({"train": ["we met at noon"], "validation": ["we met at noon"]}, 0, 0),
    "prepared/lrs3": ({"trainval": ["the tide comes"] * 2, "test": ["the tide comes"]}, 9, 0),
    "prepared/trainval": ({"train": ["THE TIDE COMES"], "validation": ["THE TIDE COMES"]}, 6, 0),
    "prepared/lectures": ({"train": ["Good day."], "validation": ["Good morning."]}, 0, 1),
    "prepared/interviews": ({"train": ["The tide."], "validation": ["Tide."]}, 3, 0),
    "prepared/anna": ({"train": ["The tide."], "validation": ["Tide."]}, 3, 0),
    "prepared/clips": ({"train": ["Good morning."], "test": ["Good day."]}, 0, 0),
    "prepared/mylab": ({"train": ["The tide comes in at seven."], "validation": ["Good morning, everyone."]}, 0, 2),
    "prepared/all": ({"train": ["The tide comes in at seven.", "Good morning, everyone."]}, 0, 2),
}


def prepared(document):
    """Returns the arguments of the commands that prepare a corpus of this file, by their output."""
    texts = [command.text for command in commands(document) if command.language == "bash"]
    texts = [text for text in texts if "data.prepare" in text and not re.search("--(shard|engine)", text)]
    found = [shlex.split(text)[3:] for text in texts]
    return {words[words.index("--output") + 1]: words for words in found if words[0].split("/")[0] in FOLDERS}


FOLDERS = {name.split("/")[0] for name in CORPORA}
COMMANDS = {document: prepared(document) for document in ("docs/corpora.md", "CONTRIBUTING.md")}


@pytest.fixture
def example(tmp_path):
    """The example of CONTRIBUTING.md, put where it says it goes: into the package of formats."""
    document = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(# data/corpora/mylab.py\n.*?)```", document, re.DOTALL)
    fill(tmp_path, {"more/mylab.py": code})
    data.corpora.__path__.append(str(tmp_path / "more"))
    yield
    data.corpora.__path__.remove(str(tmp_path / "more"))
    del sys.modules["data.corpora.mylab"], data.corpora.mylab


def test_every_command_is_known():
    assert [output for found in COMMANDS.values() for output in found] == list(EXPECTED)


def prepare_as_written(arguments, output, folder, portrait_video, monkeypatch):
    video = portrait_video.read_bytes()
    sources = {name: files for name, files in CORPORA.items() if any(name in argument for argument in arguments)}
    for name, files in sources.items():
        fill(folder / name, {path: video if content is None else content for path, content in files.items()})
    monkeypatch.chdir(folder)
    main([*arguments, "--num_proc", "0"])  # in this process, which saves the start of one
    texts, words, skipped = EXPECTED[output]
    report = json.loads(Path(output, "report.json").read_text(encoding="utf-8"))
    assert (len(report["skipped"]), report["warnings"]) == (skipped, [])
    rows = load_from_disk(output)
    assert {split: rows[split]["text"][:] for split in rows} == texts
    assert sum(len(found) for split in rows for found in rows[split]["words"][:]) == words


@pytest.mark.parametrize("output", COMMANDS["docs/corpora.md"])
def test_corpora_are_prepared_as_the_page_says(output, tmp_path, portrait_video, monkeypatch):
    prepare_as_written(COMMANDS["docs/corpora.md"][output], output, tmp_path, portrait_video, monkeypatch)


@pytest.mark.parametrize("output", COMMANDS["CONTRIBUTING.md"])
def test_a_corpus_is_added_as_the_example_says(output, tmp_path, portrait_video, monkeypatch, example, capsys):
    prepare_as_written(COMMANDS["CONTRIBUTING.md"][output], output, tmp_path, portrait_video, monkeypatch)
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "  mylab      MyLab: a sentences.csv in every speaker's folder" in capsys.readouterr().out
    reasons = [skip["reason"] for skip in json.loads(Path(output, "report.json").read_text())["skipped"]]
    assert reasons[0].startswith("anna/002.mp4 is no file") and reasons[1].startswith("needs values in the columns")
