"""What a model folder says without MLflow: its MLmodel file and its digest."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batchscore.errors import UsageError
from batchscore.schema import ModelSignature

REGISTRY_SCHEMES = ("models:/", "runs:/")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A local MLflow model: where it lies, what MLmodel says, and the sha256 of its content."""

    path: str
    signature: ModelSignature
    has_signature: bool
    digest: str


def is_registered(reference: str) -> bool:
    """Whether MLflow has to resolve the reference (`models:/…`, `runs:/…`)."""
    return reference.startswith(REGISTRY_SCHEMES)


def read_model_folder(path: str) -> ModelFolder:
    """Read MLmodel and hash the folder.

    Raises UsageError: no such folder, no MLmodel in it, no pyfunc flavour.
    """
    folder = Path(path)
    if not os.path.exists(path):  # noqa: PTH110  # False for a name that is too long, too
        raise UsageError(f"MODEL {path} isn't there; give a local MLflow model folder, models:/name/version or runs:/…")
    if not folder.is_dir() or not (folder / "MLmodel").is_file():
        raise UsageError(f"MODEL {path} is not an MLflow model: it has no MLmodel file{_nearby(folder)}")
    content = read_yaml(folder / "MLmodel")
    if not content:
        raise UsageError(f"{folder / 'MLmodel'}: found nothing, expected keys and values; is the copy complete?")
    flavors = content.get("flavors") or {}
    if not isinstance(flavors, dict) or not isinstance(content.get("signature") or {}, dict):
        raise UsageError(
            f"{folder / 'MLmodel'} is not an MLmodel file: its flavors and its signature must be keys and values; "
            "save the model again"
        )
    if "python_function" not in flavors:
        raise UsageError(
            f"MODEL {path} has no python_function flavour, only {', '.join(map(str, flavors)) or 'none'}; "
            "save it with an MLflow flavour that has one"
        )
    signature = content.get("signature")
    return ModelFolder(
        str(folder), ModelSignature.from_mlmodel(signature), bool(signature and signature.get("inputs")), digest(path)
    )


def read_any_model(path: str) -> ModelFolder:
    """A scoring script's model, a folder or a file, MLflow's or not: the script loads it. Raises UsageError."""
    if not os.path.exists(path):  # noqa: PTH110  # as above
        raise UsageError(
            f"MODEL {path} isn't there; give the folder or file of the model that the scoring script loads"
        )
    return ModelFolder(path, ModelSignature(), has_signature=False, digest=digest(path))


def read_yaml(file: Path) -> dict[str, Any]:
    """The keys and values of a YAML file; an empty one has none. Raises UsageError."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError, RecursionError) as error:
        raise UsageError(f"can't read {file}, expected YAML: {error}; is the copy complete? Save it again") from error
    if content is not None and not isinstance(content, dict):
        found = type(content).__name__
        raise UsageError(f"{file}: found a {found}, expected keys and values; is the copy complete?")
    return content or {}


def _nearby(folder: Path) -> str:
    """Where an MLmodel lies instead, if one is near."""
    if not folder.is_dir():
        return f"; did you mean {folder.parent}?" if folder.name == "MLmodel" else ""
    found = [str(file.parent) for file in sorted(folder.glob("*/MLmodel"))[:3]]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def digest(path: str, *, leave_out: frozenset[str] = frozenset(), leaves_hidden: bool = False) -> str:
    """`sha256:…` over the relative names and contents of the folder's files, without bytecode; or of one file.

    Pipes and links that lead nowhere count by their names. Files and folders of `leave_out` (absolute paths) and, with
    `leaves_hidden`, hidden folders don't count. Raises UsageError for a file that can't be read.
    """
    total = hashlib.sha256()
    if Path(path).is_file():
        total.update(os.fsencode(Path(path).name) + b"\0" + _content(Path(path)))
    for name in sorted(_files(path, leave_out, leaves_hidden=leaves_hidden), key=os.fsencode):
        total.update(os.fsencode(name) + b"\0" + _content(Path(path, name)))
    return f"sha256:{total.hexdigest()}"


def _content(file: Path) -> bytes:
    content = hashlib.sha256()
    try:
        if file.is_file():
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    content.update(block)
    except OSError as error:
        raise UsageError(f"the file {file} can't be read: {error.strerror or error}") from error
    return content.digest()


def _files(path: str, leave_out: frozenset[str], *, leaves_hidden: bool) -> Iterator[str]:
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if name != "__pycache__"
            and not (leaves_hidden and name.startswith("."))
            and os.path.join(folder, name) not in leave_out  # noqa: PTH118 (as os.walk has them)
        ]
        for name in names:
            if not name.endswith(".pyc") and os.path.join(folder, name) not in leave_out:  # noqa: PTH118
                yield os.path.relpath(Path(folder, name), path)
