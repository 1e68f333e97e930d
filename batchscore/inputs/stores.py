"""INPUTs on stores: files, folders and globs to the files there, by the rules for local ones."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from batchscore.errors import StorageError, UsageError
from batchscore.inputs.found import TABLE_ROOTS, Found, Selection, table_refusal
from batchscore.shelf import Shelf
from batchscore.storage import Facts, NoSuchStore, StoredFile, is_within, parent_and_name, public, store_of

_MAGIC = re.compile(r"[*?\[]")


def found_on_store(entry: str, selection: Selection) -> Iterator[Found]:
    """The files of an INPUT on a store, named relative to it.

    Raises UsageError: it isn't there, it is a table's folder; StorageError: the store can't be reached or denies it.
    """
    shown = public(entry)
    is_http = shown.startswith("http")
    if _MAGIC.search(shown) and not is_http:
        yield from _expanded(shown, selection)
        return
    address = shown if is_http else shown.rstrip("/")
    facts = _facts(address)
    if facts:
        if is_within(address, selection.output):
            raise UsageError(f"INPUT {entry} lies in OUTPUT; leave it out, or give OUTPUT a folder of its own")
        yield Found(parent_and_name(address)[1], address, facts.size, facts.version, is_named=True)
        return
    files = Shelf(_below(address), pack=_packed, unpack=_unpacked)
    _refuse_tables(address, files, 0)
    yield from (_found(file) for file in files if not _is_hidden(file.name.split("/")) and _is_outside(file, selection))


def _facts(url: str) -> Facts | None:
    """None of a folder."""
    try:
        return store_of(url).facts(url)
    except FileNotFoundError as error:
        raise UsageError(f"INPUT {url} isn't there; give a file, a folder or a glob") from error
    except NoSuchStore as error:
        raise UsageError(f"INPUT {url} isn't there: there is no such container or bucket; check its name") from error
    except PermissionError as error:
        raise _denied(url, error) from error


def _below(folder: str) -> Iterator[StoredFile]:
    try:
        yield from store_of(folder).find(folder)
    except (FileNotFoundError, NoSuchStore):
        return
    except PermissionError as error:
        raise _denied(folder, error) from error


def _denied(url: str, error: OSError) -> StorageError:
    return StorageError(
        f"INPUT {url}: the store denies access ({error.strerror}); "
        "check the credentials, and what they may list and read"
    )


def _expanded(pattern: str, selection: Selection) -> Iterator[Found]:
    """Matches of a glob, named relative to the folder before its first wildcard."""
    parts = pattern.rstrip("/").split("/")
    first = next(number for number, part in enumerate(parts) if _MAGIC.search(part))
    folder, wanted = "/".join(parts[:first]), parts[first:]
    if first < 3:  # noqa: PLR2004  # scheme, "", container
        raise UsageError(f"INPUT {pattern} has a wildcard in place of its container or bucket; give that one's name")
    matches = Shelf(
        (
            (file, min(depths), max(depths))
            for file in _below(folder)
            if (depths := _depths(file.name.split("/"), wanted))
        ),
        pack=lambda match: (_packed(match[0]), *match[1:]),
        unpack=lambda record: (_unpacked(record[0]), *record[1:]),
    )
    if not matches and not selection.allow_empty:
        raise UsageError(f"INPUT {pattern} matches nothing; check the pattern, or use --allow-empty if that may be")
    for file, least, _ in matches:
        _refuse_tables(folder, (file,), least)
    for file, _, most in matches:
        if not _is_hidden(file.name.split("/")[most:]) and _is_outside(file, selection):
            yield _found(file)


def _depths(parts: Sequence[str], wanted: Sequence[str]) -> set[int]:
    """How many of a path's first parts a glob may match, as Python's does: all of them, or those of a folder."""
    if not wanted:
        return {0}
    if not parts:
        return {0} if set(wanted) == {"**"} else set()
    is_hidden = parts[0].startswith(".")
    if wanted[0] == "**":
        inner = set() if is_hidden else {depth + 1 for depth in _depths(parts[1:], wanted)}
        return inner | _depths(parts, wanted[1:])
    if not fnmatchcase(parts[0], wanted[0]) or (is_hidden and not wanted[0].startswith(".")):
        return set()
    return {depth + 1 for depth in _depths(parts[1:], wanted[1:])}


def _packed(file: StoredFile) -> tuple[Any, ...]:
    return file.name, file.path, file.facts.size, file.facts.version


def _unpacked(record: tuple[Any, ...]) -> StoredFile:
    name, path, *facts = record
    return StoredFile(name, path, Facts(*facts))


def _found(file: StoredFile) -> Found:
    return Found(file.name, file.path, file.facts.size, file.facts.version)


def _is_hidden(parts: Iterable[str]) -> bool:
    return any(part.startswith((".", "_")) for part in parts)


def _is_outside(file: StoredFile, selection: Selection) -> bool:
    """Whether a file doesn't lie in OUTPUT."""
    return not is_within(file.path, selection.output)


def _refuse_tables(folder: str, files: Iterable[StoredFile], depth: int) -> None:
    """Refuse a folder with the log of a table in it, or in a folder below that isn't hidden."""
    for file in files:
        parts = file.name.split("/")
        for number in range(depth, len(parts) - 1):
            place = "/".join((folder, *parts[:number]))
            is_iceberg = parts[number] == "metadata" and parts[-1].endswith(".metadata.json")
            if refusal := table_refusal(place, {parts[number]} & set(TABLE_ROOTS), has_iceberg_metadata=is_iceberg):
                raise refusal
            if parts[number].startswith((".", "_")):
                break
