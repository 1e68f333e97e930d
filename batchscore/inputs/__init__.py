"""Which files a job scores: INPUTs to a sorted list, and what was skipped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

from batchscore.errors import UsageError
from batchscore.inputs.found import Found, Selection
from batchscore.inputs.local import found_here
from batchscore.inputs.stores import found_on_store
from batchscore.minibatch import InputFile, compact
from batchscore.readers import is_payload, is_readable
from batchscore.storage import is_remote

__all__ = ["Listing", "Selection", "Skipped", "list_inputs", "partitions_of"]

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not scored, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs of a job: files in the order of their names' UTF-8 bytes."""

    files: tuple[InputFile, ...]
    skipped: tuple[Skipped, ...]

    @property
    def folders(self) -> int:
        return len({os.path.dirname(file.path) for file in self.files})  # noqa: PTH120 (100,000 files: Path is slow)

    @property
    def digest(self) -> str:
        """`sha256:…` over name, path, size and version of each file."""
        total = hashlib.sha256()
        for file in self.files:
            total.update(compact(file.facts).encode() + b"\n")
        return f"sha256:{total.hexdigest()}"


def list_inputs(inputs: tuple[str, ...], selection: Selection) -> Listing:
    """The files of every INPUT (file, folder or glob), searched recursively.

    Hidden and `_`-prefixed files and folders and OUTPUT are left out silently; files of unsupported types, pipes and
    devices are skipped and listed; a file named explicitly always counts. Links are followed, loops once; a file that
    is a link to nothing is listed, to fail alone.
    Raises UsageError: an INPUT that isn't there, a Delta, Hudi or Iceberg table, two files of one name.
    """
    files: dict[str, InputFile] = {}
    names: dict[str, str] = {}
    skipped: list[Skipped] = []
    for entry in inputs:
        for found in found_on_store(entry, selection) if is_remote(entry) else found_here(entry, selection):
            name, path = found.name, found.path
            if not selection.takes(name):
                continue
            if not found.is_named and (reason := _unfit(found, selection)):
                skipped.append(Skipped(name, reason))
                continue
            if name in files:
                raise UsageError(_same_name(name, files[name].path, path))
            if path in names:
                raise UsageError(
                    f"the input {path} is found under two INPUTs, as {names[path]!r} and as {name!r}; "
                    "its rows would be scored twice: give INPUTs that don't overlap"
                )
            names[path] = name
            files[name] = InputFile(name, path, found.size, found.version, partitions_of(name))
    ordered = sorted(files.values(), key=lambda file: file.name.encode())
    return Listing(tuple(ordered), tuple(sorted(skipped, key=lambda entry: entry.file)))


def _unfit(found: Found, selection: Selection) -> str | None:
    """Why a file that was found in a folder isn't scored."""
    name = found.name
    if not is_readable(name) and not selection.takes_unsupported:
        return f"file type {PurePosixPath(name).suffix or 'without suffix'} is not supported"
    if found.is_no_file:
        return found.is_no_file
    if name.lower().endswith(".json") and not selection.takes_unsupported and not is_payload(found.path):
        return "this JSON is not supported: it has no format of request payloads"
    return None


def _same_name(name: str, one: str, other: str) -> str:
    if os.path.realpath(one) == os.path.realpath(other):
        return f"the input {one} is given twice, as {name!r}; give it once"
    return (
        f"two inputs have the name {name!r}: {one} and {other}. "
        "Predictions name their file relative to its INPUT; give a folder above both instead"
    )


def partitions_of(name: str) -> tuple[tuple[str, str | None], ...]:
    """The columns that Hive folders (`year=2026/month=01/`) give, URL-decoded, as text."""
    folders = [part.partition("=") for part in name.split("/")[:-1]]
    return tuple(
        (unquote(key), None if value == HIVE_NULL else unquote(value)) for key, sign, value in folders if key and sign
    )
