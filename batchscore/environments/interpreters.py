"""The Python interpreters that are here, and the one that fits a model."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from batchscore.environments import uv
from batchscore.environments.needs import LOWEST_PYTHON
from batchscore.errors import ModelLoadError
from batchscore.versions import admits, allows, parse

_ASK = "import platform; print(platform.python_implementation(), platform.python_version())"
_PATIENCE = 20
"""Seconds for an interpreter to say its version."""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs."""

    path: str
    version: str
    """Three numbers."""


def fitting(wanted: str, source: str) -> Interpreter:
    """The first interpreter found that fits the specifier; raises ModelLoadError where none does.

    Where no Python fits that the workers can run in, it is the lowest one in which they can.
    """
    is_old = is_too_old(wanted)
    usable = f">={LOWEST_PYTHON}"
    shown = f"{LOWEST_PYTHON} or later in place of {_shown(wanted)}" if is_old else _shown(wanted)
    found: dict[str, Interpreter] = {}
    for path in _candidates(wanted):
        interpreter = _asked(path)
        if interpreter is None:
            continue
        if not is_old and allows(wanted, interpreter.version) and allows(usable, interpreter.version):
            return interpreter
        found.setdefault(interpreter.version, interpreter)
    if is_old and (fit := [each for each in found.values() if allows(usable, each.version)]):
        return min(fit, key=_by_version)
    here = ", ".join(f"{each.version} ({each.path})" for each in sorted(found.values(), key=_by_version))
    raise ModelLoadError(
        f"{source} wants Python {shown}, and there is none; found {here or 'no other'}. Install it (uv python install "
        f"{LOWEST_PYTHON if is_old else shown} does, or let this command do so with UV_PYTHON_DOWNLOADS=automatic), "
        "use --env-manager local, or name the interpreter of an environment that you made for it with --python PATH"
    )


def is_too_old(wanted: str) -> bool:
    """Whether a specifier leaves no Python that the workers can run in."""
    return not admits(wanted, LOWEST_PYTHON)


def too_old(wanted: str, source: str) -> str:
    """What to say of such a specifier."""
    return (
        f"{source} is for Python {_shown(wanted)}, and workers need {LOWEST_PYTHON} or later: the lowest of these that "
        "is here is used. Where it has no such packages, or a model doesn't load in it, state later versions"
    )


def _shown(wanted: str) -> str:
    return wanted.removeprefix("==").removesuffix(".*")


def _by_version(interpreter: Interpreter) -> tuple[int, ...]:
    version = parse(interpreter.version)
    return version[0] if version else ()


def _candidates(wanted: str) -> Iterator[str]:
    """The running interpreter, those on PATH by version, pyenv's (whose shims may lead nowhere), uv's.

    Of those whose path names a version, the ones that may fit come first.
    """
    yield sys.executable
    paths = [path for place in os.get_exec_path() for path in _named(Path(place))]
    root = os.environ.get("PYENV_ROOT") or str(Path("~").expanduser() / ".pyenv")
    paths += [str(folder / "bin" / "python") for folder in sorted(Path(root, "versions").glob("3.*"))]
    yield from sorted(paths, key=lambda path: not _may_fit(path, wanted))
    yield from _known_to_uv()


def _may_fit(path: str, wanted: str) -> bool:
    named = re.search(r"3\.\d+(?:\.\d+)?(?=/bin/python$|$)", path)
    return bool(named and allows(wanted, named[0]))


def _named(folder: Path) -> list[str]:
    try:
        names = [name for name in os.listdir(folder) if re.fullmatch(r"python3\.\d+", name)]  # noqa: PTH208  # names do
    except OSError:
        return []
    return [str(folder / name) for name in sorted(names, key=lambda name: int(name.rpartition(".")[2]), reverse=True)]


def _known_to_uv() -> list[str]:
    words = [*uv.command(), "python", "list", "--only-installed", "--output-format", "json"]
    try:
        done = subprocess.run(
            words, env=uv.variables(), cwd="/", capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
        return [str(entry["path"]) for entry in json.loads(done.stdout or "[]") if entry.get("path")]
    except (OSError, ValueError, subprocess.TimeoutExpired):  # only one place of several to look in
        return []


def _asked(path: str) -> Interpreter | None:
    """The interpreter at a path; None where it doesn't run or is another than CPython."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _ASK], cwd="/", capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    kind, _, version = done.stdout.strip().partition(" ")
    return Interpreter(path, version) if not done.returncode and kind == "CPython" else None
