# Copyright 2026 The lipread authors. Licensed under the Apache License, Version 2.0.
"""The documents hold what they promise: commands that their programs take, links that lead somewhere, true messages.

`make docs-check` runs the commands; here they are parsed, and what parses them is shown to notice what is wrong.
"""

import ast
import re
import shlex

import pytest

from docs.check import as_run, reason_not_to_run
from docs.commands import DOCUMENTS, Command, Refused, check, commands, shell_lines
from tests.helpers.training import REPOSITORY

SOURCES = [*(REPOSITORY / "modeling_lipread").glob("*.py"), *(REPOSITORY / "data").rglob("*.py")]
SOURCES += [REPOSITORY / "train_hf.py", REPOSITORY / "evaluate_hf.py"]
ALL = {document: commands(document) for document in DOCUMENTS}


@pytest.mark.parametrize("document", [document for document in ALL if ALL[document]])
def test_every_command_is_taken_by_the_program_it_names(document, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    refused = []
    for command in ALL[document]:
        try:
            check(command)
        except Refused as error:
            refused.append(f"{command.place}: {command.text}: {error}")
    assert not refused, "\n".join(refused)


def test_no_document_and_no_fence_is_left_out():
    documents = {str(path.relative_to(REPOSITORY)) for path in REPOSITORY.glob("docs/*.md")}
    assert documents | {"README.md", "CONTRIBUTING.md"} <= set(DOCUMENTS)
    for document, found in ALL.items():
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        whole = [
            code for language, code in blocks if language != "bash" or re.search(r"^(#!|for )", code, re.MULTILINE)
        ]
        assert [command.text for command in found if command.language not in ("bash", "inline")] == whole
        lines = [code.replace("\\\n", " ") for _, code in blocks if code not in whole]
        words = [word for code in lines for word in shlex.split(code, comments=True)]
        assert words == [word for each in found if each.language == "bash" for word in shlex.split(each.text)]


@pytest.mark.parametrize(
    ("text", "language", "said"),
    [
        ("python -m data.prepare a.jsonl --outptu b", "bash", "--output"),
        ("python -m data.prepare a.jsonl --output b --halves 2", "bash", "--halves"),
        ("python -m data.prepared a.jsonl --output b", "bash", "there is no module data.prepared"),
        ("python train.py --dataset corpus/", "bash", "there is no train.py"),
        ("accelerate launch train_hf.py --dataset corpus/ --lerning_rate 1", "bash", "--lerning_rate"),
        ("accelerate launch --config_file accelerate_configs/tpu.yaml train_hf.py", "bash", "there is no accelerate_"),
        ("accelerate launch --proceses 2 train_hf.py", "bash", "--proceses"),
        ("accelerate launch train_hf.py --config configs/none.yaml", "bash", "none.yaml"),
        ("torchrun --nproc_per_node 2 train_hf.py --epochs 3", "bash", "--epochs"),
        ("lipread transscribe clip.mp4", "bash", "transscribe"),
        ("OMP_NUM_THREADS=1 lipread overlay clip.mp4", "bash", "--output"),
        ("make all", "bash", "no target all"),
        ("lipred clip.mp4", "bash", "nobody knows the program lipred"),
        ("python evaluate_hf.py runs/a corpus/test --beams 3", "inline", "--beams"),
        ("for i in 1 2; do\n    lipread transcribe clip.mp4 --modle runs/$i\ndone", "script", "--modle"),
        ("for i in 1 2; do\n    lipread transcribe clip.mp4\n", "script", "syntax error"),
        ("reader = pipeline(model=", "python", "was never closed"),
    ],
)
def test_what_is_wrong_is_noticed(text, language, said, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(Refused, match=re.escape(said)):
        check(Command("page.md", 1, text, language))


def test_lines_that_go_on_are_one_command():
    code = "# first\npython a.py \\\n    --b 'c d'   # note\n\nlipread e\n"
    assert list(shell_lines(code)) == [(1, "python a.py --b 'c d'"), (4, "lipread e")]


def test_what_is_run_is_the_command_with_small_settings_after_its_own():
    variables, words = as_run(
        Command("page.md", 1, "X=1 python train_hf.py --dataset you/name ... --streaming", "bash")
    )
    assert variables == {"X": "1"} and words[:5] == ["python", "train_hf.py", "--dataset", "you/name", "--streaming"]
    assert "--model_id" in words and words[words.index("--max_steps") + 1] == "2" and "..." not in words
    assert reason_not_to_run(Command("page.md", 1, "lipread transcribe clip.mp4", "bash")) is None
    assert reason_not_to_run(Command("page.md", 1, "pip install lipread", "bash"))


def anchors(document):
    """The anchors of a page's headings, as GitHub makes them."""
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        page = ((REPOSITORY / document).parent / target if target else REPOSITORY / document).resolve()
        assert page.exists(), f"{document}: {target}"
        assert not anchor or anchor in anchors(page.relative_to(REPOSITORY)), f"{document}: {target}#{anchor}"


def test_messages_of_the_troubleshooting_page_are_the_programs_own():
    said = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.add(" ".join(node.value.split()))
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                said |= {" ".join(part.split()) for part in "".join(parts).split("\0")}
    text = "\n".join(said)
    page = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    headings = [heading for heading in re.findall(r"^### (.*)$", page, re.MULTILINE) if not heading.endswith(")")]
    quoted = [quote for heading in headings for quote in re.findall(r"(?:``(.+?)``(?!`)|`([^`]+)`)", heading)]
    assert len(quoted) > 20
    for quote in (first or second for first, second in quoted):
        for fragment in filter(None, (part.strip(' "{}:,;.()') for part in quote.split("…"))):
            fragment = fragment.removeprefix('text": "", "reason": "')
            assert fragment in text, f"no program says {fragment!r}"
