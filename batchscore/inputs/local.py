"""INPUTs on the local disk: files, folders and globs to the files there."""

from __future__ import annotations

import glob
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from batchscore.errors import UsageError
from batchscore.inputs.found import TABLE_ROOTS, Found, Selection, table_refusal
from batchscore.readers import is_readable
from batchscore.storage import local_path

MAX_VISITS = 1000
"""Of one folder by as many links."""


def found_here(entry: str, selection: Selection) -> Iterator[Found]:
    path = local_path(entry, "INPUT")
    if os.path.isdir(path):  # noqa: PTH112
        yield from _walk(path, "", selection, set(), Counter())
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
            if one.path not in seen:  # `**` matches a folder and then its files
                seen.add(one.path)
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
