"""What a model or a deployment says of its environment, in whichever file it says so."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore.environments.lines import Lines, parse, read
from batchscore.errors import UsageError
from batchscore.modelfolder import read_yaml

FILES = ("python_env.yaml", "requirements.txt", "conda.yaml")
"""Where a model keeps its environment, by preference."""
_NO_PACKAGES = {"python", "pip", "setuptools", "wheel"}


@dataclass(frozen=True, slots=True)
class Stated:
    """An environment as it is stated."""

    source: str
    """The file."""
    python: str = ""
    """A specifier such as `==3.10.*`; empty: any."""
    lines: Lines = field(default_factory=Lines)
    is_setuptools_wanted: bool = False
    """Whether setuptools was installed to build the environment; older packages import it without saying so."""


def of_model(folder: Path) -> Stated:
    """The environment of a model folder: python_env.yaml, requirements.txt or conda.yaml. Raises UsageError."""
    pyfunc = _keys(_keys(read_yaml(folder / "MLmodel").get("flavors")).get("python_function"))
    named = pyfunc.get("env")
    files = {"conda": named} if isinstance(named, str) else _keys(named)
    python_env = folder / str(files.get("virtualenv") or FILES[0])
    conda = folder / str(files.get("conda") or FILES[2])
    python = _minor(str(pyfunc.get("python_version") or ""))
    if os.path.isfile(python_env):  # noqa: PTH113 (False for a name that is too long)
        return _of_python_env(python_env, python)
    if (folder / FILES[1]).is_file():
        return Stated(str(folder / FILES[1]), python, read(folder / FILES[1]))
    if os.path.isfile(conda):  # noqa: PTH113
        return of_conda(read_yaml(conda), conda.parent, str(conda), python)
    raise UsageError(
        f"the model in {folder} doesn't say what it needs: it has none of {', '.join(FILES)}. "
        "Use --env-manager local, or write a requirements.txt into it"
    )


def _of_python_env(file: Path, python: str) -> Stated:
    content = read_yaml(file)
    lines = Lines()
    for entry in _list(content, "dependencies", file):
        lines += parse(str(entry), file.parent, str(file))
    build = [str(entry) for entry in _list(content, "build_dependencies", file)]
    has_setuptools = any(re.match(r"setuptools\b", entry) for entry in build)
    return Stated(str(file), _minor(str(content.get("python") or "")) or python, lines, has_setuptools)


def of_conda(content: Mapping[str, Any], folder: Path, source: str, python: str = "") -> Stated:
    """The environment of a conda file: its Python and pip's part; what conda alone would install is only noted."""
    lines = Lines()
    left_out = []
    for entry in _list(content, "dependencies", source):
        if isinstance(entry, Mapping):
            for line in _list(entry, "pip", source):
                lines += parse(str(line), folder, source)
            continue
        name, specifier = _conda_package(str(entry))
        if name == "python":
            python = specifier
        elif name not in _NO_PACKAGES:
            left_out.append(str(entry).strip())
    if left_out:
        note = (
            f"{source} wants conda's packages {', '.join(left_out)}, which uv doesn't install; "
            "where they are needed, list them under pip: by the name that they have on PyPI"
        )
        lines += Lines(notes=(note,))
    return Stated(source, python, lines, is_setuptools_wanted=True)


def _keys(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _list(content: Mapping[str, Any], key: str, source: object) -> list[Any]:
    found = content.get(key) or []
    if not isinstance(found, list):
        raise UsageError(f"{source}: {key} is a {type(found).__name__}, expected a list")
    return found


def _conda_package(text: str) -> tuple[str, str]:
    """`conda-forge::python=3.8.5=build` as python and `==3.8.*`."""
    match = re.match(r"(?:[^:\s]+::)?([A-Za-z0-9_.-]+?)\s*(?:\[[^\]]*\])?\s*([=<>!~ ].*)?$", text.strip())
    if not match:
        return text, ""
    name, rest = match[1].lower(), (match[2] or "").strip()
    if re.match(r"[<>!~]", rest) or "," in rest:
        return name, re.sub(r"\s+", "", rest)
    return name, _minor(rest.lstrip("= "))


def _minor(version: str) -> str:
    """`==3.10.*` for 3.10.13 and for 3.10: Python's third number makes no difference to what is installed."""
    match = re.match(r"(\d+)(?:\.(\d+))?", version.strip())
    if not match:
        return ""
    return f"=={match[1]}.{match[2]}.*" if match[2] else f"=={match[1]}.*"
