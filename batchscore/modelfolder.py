"""What a model folder says without MLflow: its MLmodel file and its digest."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from batchscore.errors import UsageError
from batchscore.schema import ModelSignature

REGISTRY_SCHEMES = ("models:/", "runs:/")
MAX_TEXT_BYTES = 16 << 20
MAX_VALUES = 1_000_000
"""Of a YAML file, its aliases expanded."""
MAX_LINKS = 1000
"""To folders, that are followed within a model."""


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
    """The keys and values of a YAML file, read by PyYAML's safe loader; an empty one has none. Raises UsageError."""
    try:
        content = _loaded(read_text(file))
    except (yaml.YAMLError, ValueError, OSError, RecursionError, LookupError, AttributeError, TypeError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error  # the last: wrong !!tags
        raise UsageError(f"can't read {file}, expected YAML: {reason}; is the copy complete? Save it again") from error
    if content is not None and not isinstance(content, dict):
        found = type(content).__name__
        raise UsageError(f"{file}: found a {found}, expected keys and values; is the copy complete?")
    return content or {}


def read_text(file: Path) -> str:
    """The text of a small file. Raises OSError, and ValueError for what isn't UTF-8, no file, or too large."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise ValueError("found a folder, a device or a pipe")
    with file.open("rb") as stream:
        content = stream.read(MAX_TEXT_BYTES + 1)
    if len(content) > MAX_TEXT_BYTES:
        raise ValueError(f"found more than {MAX_TEXT_BYTES >> 20} MB")
    return content.decode()


def _loaded(text: str) -> Any:
    """The one document in a text, unless its aliases (`*name`) expand to more values than anybody wrote."""
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _expanded(node, {})
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node has, its aliases expanded. Raises ValueError where they are too many, or without end."""
    number = known.get(id(node))
    if number is None:
        known[id(node)] = MAX_VALUES  # found again below itself, it is without end
        parts = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
        number = 1 if isinstance(node, yaml.ScalarNode) else 1 + sum(_expanded(part, known) for part in parts)
        known[id(node)] = number
    if number > MAX_VALUES:
        raise ValueError(f"found more than {MAX_VALUES:,} values once its aliases (*name) are expanded")
    return number


def _nearby(folder: Path) -> str:
    """Where an MLmodel lies instead, if one is near."""
    if not folder.is_dir():
        return f"; did you mean {folder.parent}?" if folder.name == "MLmodel" else ""
    found = [str(file.parent) for file in sorted(folder.glob("*/MLmodel"))[:3]]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def check_digest(folder: ModelFolder, expected: str) -> None:
    """Raise UsageError unless the folder has this digest, and no bytecode, which the digest leaves out."""
    if folder.digest != expected.lower():
        raise UsageError(
            f"MODEL {folder.path} isn't the expected one: its digest is {folder.digest}, expected {expected.lower()}; "
            "none of its code was run"
        )
    for name in _files(folder.path) if os.path.isdir(folder.path) else ():  # noqa: PTH112
        if name.endswith(".pyc"):
            raise UsageError(
                f"MODEL {folder.path} has bytecode, {name}, which its "
                "digest leaves out and Python may run; remove all *.pyc files. None of its code was run"
            )


def digest(path: str, *, leave_out: frozenset[str] = frozenset(), leaves_hidden: bool = False) -> str:
    """`sha256:…` over the relative names and contents of the folder's files, without bytecode; or of one file.

    Pipes, links that lead nowhere and links to a folder above them count by their names. Files and folders of
    `leave_out` (paths without links) and, with `leaves_hidden`, hidden folders don't count. Raises UsageError for what
    can't be read.
    """
    total = hashlib.sha256()
    if Path(path).is_file():
        total.update(os.fsencode(Path(path).name) + b"\0" + _content(Path(path)))
    else:
        for name in sorted(filter(_counts, _files(path, leave_out, leaves_hidden=leaves_hidden)), key=os.fsencode):
            total.update(os.fsencode(name) + b"\0" + _content(Path(path, name)))
    return f"sha256:{total.hexdigest()}"


def _counts(name: str) -> bool:
    """Whether a file counts for the digest: bytecode doesn't, since Python writes it beside what it runs."""
    return not name.endswith(".pyc") and "__pycache__" not in name.split("/")[:-1]


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


def _files(path: str, leave_out: frozenset[str] = frozenset(), *, leaves_hidden: bool = False) -> Iterator[str]:
    """The relative names of all files below a folder; links to folders are followed, but for those that lead upwards.

    Raises UsageError where links lead to folders over and over, and for a folder that can't be read.
    """
    followed = 0
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [(path, frozenset())]
    while waiting:
        folder, above = waiting.pop()
        try:
            status = os.stat(folder)  # noqa: PTH116
            above |= {(status.st_dev, status.st_ino)}
            entries = list(os.scandir(folder))
        except OSError as error:
            raise UsageError(f"the model's folder {folder} can't be read: {error.strerror or error}") from error
        for entry in entries:
            if _is_among(entry.path, leave_out):
                continue
            if not _is_below(entry, above):
                yield os.path.relpath(entry.path, path)
                continue
            if leaves_hidden and entry.name.startswith("."):
                continue
            followed += entry.is_symlink()
            if followed > MAX_LINKS:
                raise UsageError(f"MODEL {path} has more than {MAX_LINKS:,} links to folders; are they a maze?")
            waiting.append((entry.path, above))


def _is_below(entry: os.DirEntry[str], above: frozenset[tuple[int, int]]) -> bool:
    """Whether an entry is a folder to look into: one that isn't above itself."""
    try:
        if not entry.is_dir():
            return False
        status = entry.stat()
    except OSError:  # links in a circle
        return False
    return (status.st_dev, status.st_ino) not in above


def _is_among(path: str, real_paths: frozenset[str]) -> bool:
    return bool(real_paths) and os.path.realpath(path) in real_paths
