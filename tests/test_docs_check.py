# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The documents name commands that exist, links that lead somewhere, messages that the code prints, and the layers."""

import re

import pytest

from docs.commands import DOCUMENTS, Command, Refused, check, commands, shell
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
