"""INPUTs on the local disk: files, folders and globs to the files there."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path, PurePosixPath

from batchscore.errors import UsageError
from batchscore.inputs.found import TABLE_ROOTS, Found, Selection, table_refusal
from batchscore.readers import is_readable
from batchscore.shelf import in_order
from batchscore.storage import local_path

MAX_VISITS = 1000
"""Of one folder by as many links."""


def found_here(entry: str, selection: Selection) -> Iterator[Found]:
    path = local_path(entry, "INPUT")
    if os.path.isdir(path):  # noqa: PTH112
        yield from _walk(path, "", selection, _Way())
    elif os.path.exists(path):  # noqa: PTH110
        status = os.stat(path)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"INPUT {entry} is {_kind(status)}; write what it gives to a file first")
        if selection.is_output(os.path.dirname(path)):  # noqa: PTH120
            raise UsageError(f"INPUT {entry} lies in OUTPUT; leave it out, or give OUTPUT a folder of its own")
        yield _status(_text(os.path.basename(path)), path, status, is_named=True)  # noqa: PTH119
    elif glob.has_magic(entry):
        yield from _expand(path, selection)
    elif os.path.islink(path):  # noqa: PTH114
        raise UsageError(f"INPUT {entry} is a link to {os.readlink(path)}, which isn't there")  # noqa: PTH115
    else:
        raise UsageError(f"INPUT {entry} isn't there; give a file, a folder or a glob")


def _expand(pattern: str, selection: Selection) -> Iterator[Found]:
    """Matches of a glob, named relative to the folder before its first wildcard."""
    fixed = PurePosixPath(*_before_wildcard(PurePosixPath(pattern).parts))
    found = (
        (one.path, one.name, one.size, one.version, one.is_no_file)
        for match in _outside(pattern, selection)
        for one in _matched(match, fixed, selection)
    )
    for path, some in groupby(in_order(found), key=itemgetter(0)):  # `**` matches a folder and then its files
        _, name, size, version, is_no_file = next(some)
        yield Found(name, path, size, version, is_no_file=is_no_file)


def _matched(match: str, fixed: PurePosixPath, selection: Selection) -> Iterator[Found]:
    """The files that a match of a glob stands for."""
    name = _text(os.path.relpath(match, fixed))
    if os.path.isdir(match):  # noqa: PTH112
        return _walk(match, "" if name == "." else f"{name}/", selection, _Way())
    return _file(name, match, selection)


def _outside(pattern: str, selection: Selection) -> Iterator[str]:
    """What a glob matches, as far as it doesn't lie in OUTPUT."""
    is_output = lru_cache(selection.is_output)
    has_matches = has_some_outside = False
    for (match,) in in_order((match,) for match in glob.iglob(pattern, recursive=True)):  # noqa: PTH207
        has_matches = True
        if not is_output(os.path.dirname(match)):  # noqa: PTH120
            has_some_outside = True
            yield match
    if not has_matches and not selection.allow_empty:
        raise UsageError(f"INPUT {pattern} matches nothing; check the pattern, or use --allow-empty if that may be")
    if has_matches and not has_some_outside:
        raise UsageError(f"all that INPUT {pattern} matches lies in OUTPUT; give OUTPUT a folder of its own")


def _file(name: str, path: str, selection: Selection) -> Iterator[Found]:
    """A file of a folder or a glob; none where it vanished meanwhile."""
    try:
        yield _status(name, path, os.stat(path))  # noqa: PTH116
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
        yield _status(name, path, os.lstat(path))


def _text(name: str) -> str:
    """A file name that any output can hold: bytes that aren't UTF-8 become escapes."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _before_wildcard(parts: tuple[str, ...]) -> tuple[str, ...]:
    magic = next(position for position, part in enumerate(parts) if glob.has_magic(part))
    return parts[:magic]


@dataclass(frozen=True, slots=True)
class _Way:
    """How a walk has come to a folder."""

    above: frozenset[tuple[int, int]] = frozenset()
    """The folders that it is in, by device and number there."""
    has_links: bool = False
    visits: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Of all folders that ways with links lead to, of which there are few."""


def _walk(folder: str, prefix: str, selection: Selection, way: _Way) -> Iterator[Found]:
    status = os.stat(folder)  # noqa: PTH116
    identity = (status.st_dev, status.st_ino)
    if identity in way.above or selection.is_output(folder):
        return
    if way.has_links:
        way.visits[identity] += 1
    if way.has_links and way.visits[identity] > MAX_VISITS:
        raise UsageError(f"links lead to {folder} and back in more than {MAX_VISITS:,} ways; leave them out, --exclude")
    _refuse_tables(folder)
    try:
        with os.scandir(folder) as there:
            entries = in_order((entry.name, _sort(entry)) for entry in there if not entry.name.startswith((".", "_")))
    except OSError as error:
        raise UsageError(f"can't list {folder}: {error.strerror}; nothing was scored") from error
    for raw, sort in entries:
        name, path = prefix + _text(raw), os.path.join(folder, raw)  # noqa: PTH118
        # os.path.isdir knows links in a circle; what is no link needs no look at the disk
        if os.path.isdir(path) if sort == "link" else sort == "folder":  # noqa: PTH112
            here = _Way(way.above | {identity}, way.has_links or sort == "link", way.visits)
            yield from _walk(path, f"{name}/", selection, here)
        else:
            yield from _file(name, path, selection)


def _sort(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return "link"
    return "folder" if entry.is_dir(follow_symlinks=False) else "file"


def _refuse_tables(folder: str) -> None:
    names = {name for name in TABLE_ROOTS if Path(folder, name).is_dir()}
    has_metadata = any(Path(folder, "metadata").glob("*.metadata.json"))
    if refusal := table_refusal(folder, names, has_iceberg_metadata=has_metadata):
        raise refusal


def _kind(status: os.stat_result) -> str:
    return "a pipe" if stat.S_ISFIFO(status.st_mode) else "a device or a socket"


def _status(name: str, path: str, status: os.stat_result, *, is_named: bool = False) -> Found:
    """A file with its size and modification time; a link's own, where it leads to nothing."""
    is_file = stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)
    return Found(
        name,
        path,
        status.st_size,
        str(status.st_mtime_ns),
        is_named,
        "" if is_file else f"{_kind(status)} is not a file",
    )
