"""Which files a job scores: INPUTs to a sorted list, and what was skipped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby, pairwise
from operator import itemgetter
from pathlib import PurePosixPath
from typing import TypeAlias
from urllib.parse import unquote

from batchscore.errors import UsageError
from batchscore.inputs.found import Found, Selection
from batchscore.inputs.local import found_here
from batchscore.inputs.stores import found_on_store
from batchscore.minibatch import InputFile, compact
from batchscore.readers import is_payload, is_readable
from batchscore.shelf import Shelf, in_order
from batchscore.storage import is_remote

__all__ = ["Listing", "Selection", "Skipped", "list_inputs", "partitions_of"]

_Entry: TypeAlias = tuple[str, str, int, str]
"""Name, path, size and version of a file to score."""

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not scored, and why."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The inputs of a job: files in the order of their names' UTF-8 bytes."""

    files: Sequence[InputFile]
    skipped: tuple[Skipped, ...]

    @property
    def folders(self) -> int:
        runs = groupby(os.path.dirname(file.path) for file in self.files)  # noqa: PTH120 (100,000 files: Path is slow)
        return sum(1 for _ in groupby(in_order((folder,) for folder, _ in runs)))

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
    skipped: list[Skipped] = []
    entries = Shelf(_entries(inputs, selection, skipped))
    _refuse_doubles(entries, has_overlaps=len(inputs) > 1)
    files = Shelf(
        (InputFile(*entry, partitions_of(entry[0])) for entry in in_order(entries)),
        pack=lambda file: (file.name, file.path, file.size, file.version, file.partitions),
        unpack=lambda record: InputFile(*record),
    )
    return Listing(files, tuple(sorted(skipped, key=lambda entry: entry.file)))


def _entries(inputs: Iterable[str], selection: Selection, skipped: list[Skipped]) -> Iterator[_Entry]:
    """The files to score as they are found; those that are skipped go to the list."""
    for entry in inputs:
        for found in found_on_store(entry, selection) if is_remote(entry) else found_here(entry, selection):
            if not selection.takes(found.name):
                continue
            if not found.is_named and (reason := _unfit(found, selection)):
                skipped.append(Skipped(found.name, reason))
            else:
                yield found.name, found.path, found.size, found.version


def _refuse_doubles(entries: Sequence[_Entry], *, has_overlaps: bool) -> None:
    """Raise UsageError at the first file with the name of one found before it, or with its path under two INPUTs."""
    never = len(entries), 0
    by_name = _double(name for name, *_ in entries) or never
    by_path = (_double(path for _, path, *_ in entries) if has_overlaps else None) or never
    if never == by_name == by_path:
        return
    second, first = min(by_name, by_path, key=itemgetter(0))
    (one, there, *_), (name, path, *_) = entries[first], entries[second]
    if by_name[0] <= by_path[0]:
        raise UsageError(_same_name(name, there, path))
    raise UsageError(
        f"the input {path} is found under two INPUTs, as {one!r} and as {name!r}; "
        "its rows would be scored twice: give INPUTs that don't overlap"
    )


def _double(keys: Iterable[str]) -> tuple[int, int] | None:
    """The number of the first key that has been there before, and of that one."""
    neighbours = pairwise(in_order(zip(keys, count())))
    return min(((second, first) for (one, first), (key, second) in neighbours if one == key), default=None)


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
