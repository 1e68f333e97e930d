"""The documents keep to the program: options, exit codes, links, and every command that they show."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise

import pytest
from conftest import ROOT, SAMPLE_DATA

from batchscore import errors

README = (ROOT / "README.md").read_text()
DOCUMENTS = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/design.md",
    "docs/azureml-component.md",
    "docs/from-azure-ml.md",
    "docs/performance.md",
    "docs/scheduling.md",
    "docs/stores.md",
    "docs/validation.md",
    "sample_data/README.md",
    "configs/README.md",
]
needs_cli = pytest.mark.skipif(not (ROOT / "batchscore" / "cli.py").exists(), reason="batchscore.cli isn't there yet")

FENCE = re.compile(
    r"(?P<marker><!-- not run: .+? -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
RUN = ("console", "python")
HERE_ALONE = re.compile(r"^(the model was logged with .*|[0-9.]+ % of the input, .* left)\n", re.MULTILINE)
"""What a run says of the sample models where Python or the libraries are others than those that saved them, and the
lines of progress of a slow machine."""


@dataclass(frozen=True)
class Step:
    """A command of a console block, and what the document shows of its output; `…` stands for anything."""

    command: str
    shown: str

    def agrees(self, output: str) -> bool:
        pattern = ".*".join(re.escape(piece) for piece in self.shown.split("…"))
        return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def steps_of(block: str) -> list[Step]:
    """The commands of a console block (`$ …`), each with the lines up to the next."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [Step(command, shown.strip()) for command, _, shown in (part.partition("\n") for part in parts)]


def section(title: str) -> str:
    return re.split(rf"^#+ {title}$", README, flags=re.MULTILINE)[1].split("\n#")[0]


def first_cells(text: str) -> list[str]:
    """The first cell of each row of a section's table, below its head."""
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("|")]
    return rows[2:]


@needs_cli
def test_the_option_table_is_what_help_says(run_batchscore):
    shown = run_batchscore("run", "--help", env={"COLUMNS": "200"}).stdout
    there = {option for line in shown.splitlines() if line.startswith("  -") for option in _options(line)}
    documented = {option for cell in first_cells(section("Options")) for option in re.findall(r"`(-[^`]+)`", cell)}
    assert documented == there - {"-h", "--help"}


def _options(line: str) -> list[str]:
    """The names at the head of a line of help: `  -m, --model MODEL  which model`."""
    return re.findall(r"(?<![\w-])--?[a-z][a-z-]*", re.split(r"\s{2,}", line.strip())[0])


def test_every_exit_code_of_an_error_is_in_the_table():
    documented = set(re.findall(r"\d+", " ".join(first_cells(section("Exit codes")))))
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and isinstance(kind.__dict__.get("exit_code"), int)
    ]
    assert {str(kind.exit_code) for kind in kinds} | {"0", "130", "143"} == documented


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name):
    path = ROOT / name
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{name} links to {target}"


def test_every_block_of_commands_is_run_or_says_why_not():
    for match in FENCE.finditer(README):
        assert match["language"] in RUN or match["marker"], match["text"]


@needs_cli
def test_no_placeholder_is_left():
    assert "placeholder" not in README


@needs_cli
def test_the_commands_of_the_readme_print_what_it_shows(tmp_path, clean_environment):
    """All blocks run in order, in one folder that holds sample_data/ and configs/."""
    shutil.copytree(SAMPLE_DATA, tmp_path / "sample_data", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    command = tmp_path / "bin" / "batchscore"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchscore "$@"\n')
    command.chmod(0o755)
    environment = {**clean_environment, "PATH": f"{command.parent}:{clean_environment['PATH']}"}
    for match in FENCE.finditer(README):
        if match["language"] == "python":
            steps = [Step(f"'{sys.executable}' - <<'PYTHON'\n{match['text']}PYTHON", "…")]
        else:
            steps = steps_of(match["text"]) if match["language"] == "console" else []
        for step in steps:
            done = subprocess.run(
                ["/bin/bash", "-c", step.command],
                cwd=tmp_path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            shown = HERE_ALONE.sub("", done.stdout)
            assert step.agrees(shown), f"$ {step.command}\n{done.stdout}\nwhere the README shows\n{step.shown}"
            assert done.returncode == 0, f"$ {step.command} ended with {done.returncode}\n{done.stdout}"


def test_a_shown_output_is_compared():
    steps = steps_of("$ one\n$ two\nfirst …\nlast\n")
    assert steps == [Step("one", ""), Step("two", "first …\nlast")]
    assert steps[1].agrees("first line\nmore\nlast\n")
    assert not steps[1].agrees("first line\nmore\n")
    assert steps[0].agrees("")
    assert not steps[0].agrees("unexpected")


def test_the_makefile_has_the_targets_that_the_documents_name():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for name in DOCUMENTS:
        named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / name).read_text()))
        assert named <= targets, name


def test_every_target_of_the_makefile_is_one_line():
    lines = (ROOT / "Makefile").read_text().splitlines()
    assert not [second for first, second in pairwise(lines) if first.startswith("\t") and second.startswith("\t")]
