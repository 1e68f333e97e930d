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

from batchscore.versions import allows, clauses, parse

_PACKAGES = {
    "sklearn": "scikit-learn", "cv2": "opencv-python", "PIL": "pillow", "yaml": "pyyaml", "skimage": "scikit-image",
    "bs4": "beautifulsoup4", "dateutil": "python-dateutil", "google.protobuf": "protobuf",
}  # fmt: skip
"""Packages that bear another name than what is imported."""
_MLFLOW = {"mlflow", "mlflow-skinny"}


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
        """Empty where the model has what it wants."""
        if self.installed is None:
            return "missing"
        version = self.installed.split(" ")[0]
        if allows(self.wanted, version):
            return ""
        return "later" if self.name in _MLFLOW and _is_later(version, self.wanted) else "differs"

    @property
    def is_unfit(self) -> bool:
        """Whether the difference may matter: a later MLflow loads an earlier one's models."""
        return self.remark in {"missing", "differs"}


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
    found = [f"{each.line} ({each.installed or 'missing'} here)" for each in requirements(folder) if each.is_unfit]
    python = _python_version(folder)
    if _python_remark(python):
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


def explained(error: BaseException, folder: str, env_manager: str = "local") -> str:
    """What went wrong, what to do, required and installed packages, and the model's own traceback."""
    required = requirements(folder)
    advice = _advice_there(error) if env_manager == "uv" else _advice_here(error, required, folder)
    parts = [f"the model in {folder} can't be loaded: {_headline(error)}", advice]
    parts += ["", *_table(folder)] if required or _python_version(folder) else []
    frames = error.__traceback__ and error.__traceback__.tb_next  # from MLflow on
    return "\n".join([*parts, "", "".join(traceback.format_exception(type(error), error, frames)).rstrip()])


def _headline(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__


def _advice_here(error: BaseException, required: tuple[Requirement, ...], folder: str) -> str:
    """What to do in an environment that somebody else made."""
    module = _missing_module(error)
    if module and installed_version(package := _package(module)) is None:  # else another version of it has the module
        top = module.partition(".")[0]
        same = {_normal(package), _normal(top)}
        line = next((each.line for each in required if _normal(each.name) in same), package)
        return (
            f'Install what is missing: "{sys.executable}" -m pip install "{line}"; or let --env-manager uv build the '
            "environment that the model states"
        )
    if any(each.is_unfit for each in required) or _python_remark(_python_version(folder)):
        return (
            "The packages below aren't the ones that the model was logged with. --env-manager uv builds the "
            "environment that it states; --python takes the interpreter of one that you made"
        )
    return "The model's own code failed; see the traceback"


def _advice_there(error: BaseException) -> str:
    """What to do where the environment was built from what the model states."""
    module = _missing_module(error)
    if module and installed_version(_package(module)) is None:
        return (
            f"The environment that the model states has no {_package(module)}; add it to the model's requirements, "
            "from which --env-manager uv builds the environment"
        )
    return "It failed in the environment that it states, which --env-manager uv has built; see the traceback"


def _package(module: str) -> str:
    """The package that most likely brings a module."""
    top = module.partition(".")[0]
    return _PACKAGES.get(module, _PACKAGES.get(top, top))


def _is_later(version: str, wanted: str) -> bool:
    """Whether the version is above all that the specifier admits: 3.0 is above `<3`, too."""
    given = parse(version)
    bounds = [(sign, parse(text)) for sign, text in clauses(wanted)]
    return given is not None and all(
        bound is not None and (bound < given or (sign == "<" and bound == given)) for sign, bound in bounds
    )


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


def _python_remark(wanted: str | None) -> str:
    """Python's third number makes no difference to what is installed."""
    return "" if wanted is None or wanted.split(".")[:2] == platform.python_version().split(".")[:2] else "differs"
