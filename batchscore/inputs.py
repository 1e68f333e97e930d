"""Which files a job scores: INPUTs to a sorted list, and what was skipped."""

from __future__ import annotations

import fnmatch
import glob
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from batchscore.errors import UsageError
from batchscore.minibatch import InputFile, compact
from batchscore.readers import is_payload, is_readable
from batchscore.storage import local_path

TABLE_ROOTS = {"_delta_log": "a Delta table", ".hoodie": "a Hudi table"}
MAX_VISITS = 1000
"""Of one folder by as many links."""
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


@dataclass(frozen=True, slots=True)
class Selection:
    """What narrows the inputs: globs on the relative path or the base name, and the folder to leave out."""

    output: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    allow_empty: bool = False
    """Whether a glob may match nothing."""
    takes_unsupported: bool = False
    """Files of unsupported types are inputs, too: to fail, or for a scoring script."""

    def is_output(self, folder: str) -> bool:
        """Whether a folder is OUTPUT or lies in it."""
        return f"{os.path.realpath(folder)}/".startswith(f"{self.output}/")

    def takes(self, name: str) -> bool:
        if self.include and not any(_matches(name, pattern) for pattern in self.include):
            return False
        return not any(_matches(name, pattern) for pattern in self.exclude)


def _matches(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or fnmatch.fnmatchcase(name.rpartition("/")[2], pattern)


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
        for name, path, status, is_named in _found(entry, selection):
            if not selection.takes(name):
                continue
            if not is_named and (reason := _unfit(name, path, status, selection)):
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
            files[name] = InputFile(name, path, status.st_size, str(status.st_mtime_ns), partitions_of(name))
    ordered = sorted(files.values(), key=lambda file: file.name.encode())
    return Listing(tuple(ordered), tuple(sorted(skipped, key=lambda entry: entry.file)))


def _unfit(name: str, path: str, status: os.stat_result, selection: Selection) -> str | None:
    """Why a file that was found in a folder isn't scored."""
    if not is_readable(name) and not selection.takes_unsupported:
        return f"file type {PurePosixPath(name).suffix or 'without suffix'} is not supported"
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
        return f"{_kind(status)} is not a file"
    if name.lower().endswith(".json") and not selection.takes_unsupported and not is_payload(path):
        return "this JSON is not supported: it has no format of request payloads"
    return None


def _kind(status: os.stat_result) -> str:
    return "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device or a socket"


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


Found = tuple[str, str, os.stat_result, bool]
"""Name, path, status (a link's own, where it leads to nothing), and whether the user named the file itself."""


def _found(entry: str, selection: Selection) -> Iterator[Found]:
    path = local_path(entry, "INPUT")
    if os.path.isdir(path):  # noqa: PTH112
        yield from _walk(path, "", selection, set(), Counter())
    elif os.path.exists(path):  # noqa: PTH110
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"INPUT {entry} is {_kind(status)}; write what it gives to a file first")
        if selection.is_output(os.path.dirname(path)):  # noqa: PTH120
            raise UsageError(f"INPUT {entry} lies in OUTPUT; leave it out, or give OUTPUT a folder of its own")
        yield _text(os.path.basename(path)), path, status, True  # noqa: PTH119
    elif glob.has_magic(entry):
        yield from _expand(path, selection)
    elif os.path.islink(path):  # noqa: PTH114
        raise UsageError(f"INPUT {entry} is a link to {os.readlink(path)}, which isn't there")  # noqa: PTH115
    else:
        raise UsageError(f"INPUT {entry} isn't there; give a file, a folder or a glob")


def _expand(pattern: str, selection: Selection) -> Iterator[Found]:
    """Matches of a glob, named relative to the folder before its first wildcard."""
    fixed = PurePosixPath(*_before_wildcard(PurePosixPath(pattern).parts))
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
    if not matches and not selection.allow_empty:
        raise UsageError(f"INPUT {pattern} matches nothing; check the pattern, or use --allow-empty if that may be")
    outside = _outside(matches, selection)
    if matches and not outside:
        raise UsageError(f"all that INPUT {pattern} matches lies in OUTPUT; give OUTPUT a folder of its own")
    seen: set[str] = set()
    for match in outside:
        name = _text(os.path.relpath(match, fixed))
        if os.path.isdir(match):  # noqa: PTH112
            found = _walk(match, "" if name == "." else f"{name}/", selection, set(), Counter())
        else:
            found = _file(name, match, selection)
        for one in found:
            if one[1] not in seen:  # `**` matches a folder and then its files
                seen.add(one[1])
                yield one


def _outside(matches: Iterable[str], selection: Selection) -> list[str]:
    """Those that don't lie in OUTPUT."""
    folders: dict[str, bool] = {}
    outside = []
    for match in matches:
        folder = os.path.dirname(match)  # noqa: PTH120
        if folder not in folders:
            folders[folder] = selection.is_output(folder)
        if not folders[folder]:
            outside.append(match)
    return outside


def _file(name: str, path: str, selection: Selection) -> Iterator[Found]:
    """A file of a folder or a glob; none where it vanished meanwhile."""
    try:
        yield name, path, os.stat(path), False  # noqa: PTH116
    except OSError as error:
        if not os.path.islink(path):  # noqa: PTH114
            if isinstance(error, FileNotFoundError):
                return
            raise UsageError(f"can't look at {path}: {error.strerror}; nothing was scored") from error
        if selection.takes(name) and not is_readable(name):
            raise UsageError(
                f"{path} is a link to {os.readlink(path)}, which isn't there and may have been a folder; "  # noqa: PTH115
                "remove it or leave it out with --exclude"
            ) from None
        yield name, path, os.lstat(path), False


def _text(name: str) -> str:
    """A file name that any output can hold: bytes that aren't UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _before_wildcard(parts: tuple[str, ...]) -> tuple[str, ...]:
    magic = next(position for position, part in enumerate(parts) if glob.has_magic(part))
    return parts[:magic]


def _walk(
    folder: str, prefix: str, selection: Selection, above: set[tuple[int, int]], visits: Counter[tuple[int, int]]
) -> Iterator[Found]:
    status = os.stat(folder)  # noqa: PTH116
    identity = (status.st_dev, status.st_ino)
    if identity in above or selection.is_output(folder):
        return
    visits[identity] += 1
    if visits[identity] > MAX_VISITS:
        raise UsageError(f"links lead to {folder} and back in more than {MAX_VISITS:,} ways; leave them out, --exclude")
    _refuse_tables(folder)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError(f"can't list {folder}: {error.strerror}; nothing was scored") from error
    for entry in entries:
        if entry.name.startswith((".", "_")):
            continue
        name = prefix + _text(entry.name)
        # os.path.isdir knows links in a circle; is_dir needs no look at the disk for what is no link
        if os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir():  # noqa: PTH112
            yield from _walk(entry.path, f"{name}/", selection, above | {identity}, visits)
        else:
            yield from _file(name, entry.path, selection)


def _refuse_tables(folder: str) -> None:
    kind = next((kind for name, kind in TABLE_ROOTS.items() if Path(folder, name).is_dir()), None)
    if kind is None and any(Path(folder, "metadata").glob("*.metadata.json")):
        kind = "an Iceberg table"
    if kind:
        raise UsageError(
            f"{folder} is {kind}: its Parquet files include deleted and replaced rows. "
            "Export the rows to score to plain Parquet files first"
        )
