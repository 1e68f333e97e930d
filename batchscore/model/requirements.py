"""Why a model can't be loaded: what it requires beside what is installed, and its own traceback."""

from __future__ import annotations

import platform
import re
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from batchscore.versions import allows

_PACKAGES = {
    "sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml", "skimage": "scikit-image",
    "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "google.protobuf": "protobuf",
}  # fmt: skip
"""Packages that bear another name than what is imported."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that the model was logged with, and what is installed of it."""

    name: str
    wanted: str
    """Such as `==1.1.3`; empty where any version does."""
    installed: str | None

    @property
    def line(self) -> str:
        return f"{self.name}{self.wanted}"

    @property
    def remark(self) -> str:
        if self.installed is None:
            return "missing"
        return "" if allows(self.wanted, self.installed.split(" ")[0]) else "differs"


def requirements(folder: str) -> tuple[Requirement, ...]:
    """What the model's requirements.txt, or else pip's part of its conda.yaml, lists by name; without options."""
    lines = _lines_of(folder, "requirements.txt")
    if not lines:
        conda = _lines_of(folder, "conda.yaml")
        start = next((number for number, line in enumerate(conda, 1) if re.match(r"\s*-\s+pip:\s*$", line)), len(conda))
        entries = [re.match(r"\s+-\s+['\"]?([^'\"]+)", line) for line in conda[start:]]
        lines = [entry[1] for entry in entries if entry]
    return tuple(Requirement(name, wanted, installed_version(name)) for name, wanted in _listed(lines))


def differences(folder: str) -> str:
    """In one line, what is installed in other versions than the model was logged with; empty where nothing is."""
    found = [f"{each.line} ({each.installed or 'missing'} here)" for each in requirements(folder) if each.remark]
    python = _python_version(folder)
    if python and _python_remark(python):
        found.insert(0, f"Python {python} ({platform.python_version()} here)")
    if not found:
        return ""
    return (
        f"the model was logged with {', '.join(found)}; it may fail or predict otherwise here. "
        "--env-manager uv builds the environment that it states"
    )


def _lines_of(folder: str, name: str) -> list[str]:
    try:
        return (Path(folder) / name).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


def _listed(lines: list[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        text = re.split(r"\s#|;|\s--", line.strip(), maxsplit=1)[0]
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[[^\]]*\])?\s*((?:[=<>!~]=?=?[^@]*)?)", text.strip())
        if match:
            yield match[1], match[2].strip()


def installed_version(name: str) -> str | None:
    """The installed version of a package; mlflow-skinny counts as mlflow."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name == "mlflow" and (skinny := installed_version("mlflow-skinny")):
            return f"{skinny} (mlflow-skinny)"
        return None


def explained(error: BaseException, folder: str) -> str:
    """What went wrong, what to install, required and installed packages, and the model's own traceback."""
    required = requirements(folder)
    parts = [f"the model in {folder} can't be loaded: {_headline(error)}", _advice(error, required, folder)]
    parts += ["", *_table(folder)] if required else []
    frames = error.__traceback__ and error.__traceback__.tb_next  # from MLflow on
    return "\n".join([*parts, "", "".join(traceback.format_exception(type(error), error, frames)).rstrip()])


def _headline(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _advice(error: BaseException, required: tuple[Requirement, ...], folder: str) -> str:
    module = _missing_module(error)
    if module is not None:
        top = module.partition(".")[0]
        package = _PACKAGES.get(module, _PACKAGES.get(top, top))
        same = {_normal(package), _normal(top)}
        line = next((each.line for each in required if _normal(each.name) in same), package)
        return f'Install what is missing: "{sys.executable}" -m pip install "{line}"'
    if any(each.remark for each in required):
        file = Path(folder) / "requirements.txt"
        return (
            "The packages below aren't the ones that the model was logged with. Install them "
            f'(pip install -r "{file}"), or give the interpreter of an environment that has them with --python'
        )
    return "The model's own code failed; see the traceback"


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _missing_module(error: BaseException | None) -> str | None:
    """The module that couldn't be found, here or in what led here."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__ or error.__context__
    return None


def compared(folder: str) -> list[tuple[str, str, str]]:
    """What the model was logged with, what is installed of it (`-`: nothing) and a remark; Python first."""
    python = _python_version(folder)
    rows = [(f"python=={python}", platform.python_version(), _python_remark(python))] if python else []
    return rows + [(each.line, each.installed or "-", each.remark) for each in requirements(folder)]


def _table(folder: str) -> list[str]:
    rows = [("required", "installed", ""), *compared(folder)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    return [f"  {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip() for row in rows]


def _python_version(folder: str) -> str | None:
    """The Python that python_env.yaml, or else conda.yaml, names."""
    text = "\n".join(_lines_of(folder, "python_env.yaml"))
    match = re.search(r"^python:\s*['\"]?([0-9.]+)", text, re.MULTILINE) or re.search(
        r"^\s*-\s+['\"]?python={1,2}([0-9.]+)", "\n".join(_lines_of(folder, "conda.yaml")), re.MULTILINE
    )
    return match[1] if match else None


def _python_remark(wanted: str) -> str:
    """Python's third number makes no difference to what is installed."""
    return "" if wanted.split(".")[:2] == platform.python_version().split(".")[:2] else "differs"
