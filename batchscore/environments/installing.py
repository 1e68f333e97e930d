"""The packages of an environment, installed with uv and tried out."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

from batchscore.environments.lines import Lines, Requirement
from batchscore.environments.needs import ARROW_FOR_NUMPY_1
from batchscore.environments.uv import Uv
from batchscore.errors import ModelLoadError
from batchscore.versions import allows

_IN_FILES = ("--index-url=", "--extra-index-url=", "--find-links=", "--no-index", "--no-binary=", "--only-binary=")
"""Options that a requirements file may hold for uv; the others go on the command line."""


def interpreter_of(folder: Path) -> Path:
    """The interpreter of the environment in a folder."""
    return folder / "bin" / "python"


def install(lines: Lines, base: str, uv: Uv) -> None:
    """Make the environment in uv's folder, install the lines, and see that batchscore's libraries import there.

    Raises ModelLoadError, StorageError.
    """
    uv.run("venv", "--quiet", "--no-project", "--allow-existing", "--python", base, str(uv.folder))
    scratch = uv.folder / "scratch"
    try:
        scratch.mkdir()
        lines = _with_copies(lines, scratch)
        _install(lines, uv)
        if not _goes_together(uv.folder):
            _install(lines + Lines((Requirement("pyarrow", ARROW_FOR_NUMPY_1),)), uv)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _try_out(uv)


def _with_copies(lines: Lines, folder: Path) -> Lines:
    """The lines with copies of local folders: building in the model's own would write into it."""
    found = []
    for number, line in enumerate(lines.requirements):
        if line.is_local and Path(line.address).is_dir():
            copy = folder / str(number) / Path(line.address).name
            shutil.copytree(line.address, copy)
            found.append(replace(line, address=str(copy)))
        else:
            found.append(line)
    return replace(lines, requirements=tuple(found))


def _install(lines: Lines, uv: Uv) -> None:
    # What may hold a password goes in by a pipe: not on the command line, which others can see, nor on the disk.
    inside = [option.replace("=", " ", 1) for option in lines.options if option.startswith(_IN_FILES)]
    arguments = [option for option in lines.options if not option.startswith(_IN_FILES)]
    has_more_indexes = any(option.startswith("--extra-index-url=") for option in lines.options)
    if has_more_indexes and "UV_INDEX_STRATEGY" not in os.environ:
        arguments += ["--index-strategy", "unsafe-best-match"]  # as pip does, with which the model was saved
    constraints = uv.folder / "scratch" / "constraints.txt"
    if lines.constraints:
        constraints.write_text("".join(f"{line}\n" for line in lines.constraints), encoding="utf-8")
        arguments += ["--constraint", str(constraints)]
    text = "".join(f"{line}\n" for line in [*inside, *lines.requirements])
    python = str(interpreter_of(uv.folder))
    uv.run("pip", "install", "--compile-bytecode", "--python", python, *arguments, "--requirement", "-", text=text)


def _goes_together(folder: Path) -> bool:
    """Whether pyarrow imports with the numpy that was installed, which may have come with another package."""
    installed = {}
    for path in folder.glob("lib/python*/site-packages/*.dist-info"):
        if match := re.fullmatch(r"(numpy|pyarrow)-(.+)\.dist-info", path.name):
            installed[match[1]] = match[2]
    return allows(">=2", installed.get("numpy", "2")) or allows(ARROW_FOR_NUMPY_1, installed.get("pyarrow", "0"))


def _try_out(uv: Uv) -> None:
    """Import what batchscore's readers and writers stand on: an environment that can't isn't kept."""
    done = subprocess.run(
        [interpreter_of(uv.folder), "-I", "-c", "import numpy, pandas, pyarrow"],
        cwd=uv.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise ModelLoadError(
            f"{uv.what}: what was installed can't be imported. State the versions that the model was saved with of "
            f"numpy and what uses it. Python said:\n{done.stderr.strip()[-4000:]}"
        )
