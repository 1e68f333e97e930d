"""OUTPUT as a place for finished files, by names relative to it: a local folder, or one on a store."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from batchscore.storage.local import Ready, commit, copy, prepare, storage_errors, sync_folder


class Place(Protocol):
    """Where finished files go. Methods raise StorageError, and those that read FileNotFoundError."""

    path: str
    """Absolute, or an address without secrets."""

    def holds(self, name: str) -> bool:
        """Whether there is a file or a folder of that name."""
        ...

    def has_folder(self, name: str) -> bool: ...

    def size(self, name: str) -> int | None:
        """The bytes of a file; None where there is none of that name."""
        ...

    def names(self, folder: str) -> set[str]:
        """What lies directly in a folder; nothing where there is none."""
        ...

    def open(self, name: str) -> BinaryIO:
        """A file's bytes, to be closed by the caller."""
        ...

    def location(self, name: str) -> str:
        """The path or address of a file."""
        ...

    def local_copies(self, names: Sequence[str]) -> AbstractContextManager[tuple[str, ...]]:
        """Local paths of files, which are copies of them as long as this is entered, where they lie elsewhere."""
        ...

    def put(self, files: Sequence[Ready]) -> None:
        """Put finished files into their places, each whole or not at all as far as the place can; durable after it."""
        ...

    def remove(self, names: Iterable[str]) -> None:
        """Take files and folders away, if they are there; names that lead out of the place are left alone."""
        ...

    def mirror(self, folder: str, source: str, first: str) -> None:
        """Make a folder the copy of a local one; its file ``first``, which says whose it is, goes last and comes first.

        Raises OSError or StorageError; what is there then is a part of it.
        """
        ...


class Folder:
    """A folder of the local disk, or one that is mounted."""

    def __init__(self, path: str) -> None:
        self.path = path

    def holds(self, name: str) -> bool:
        """See Place; a link to nothing is there, too."""
        return os.path.lexists(Path(self.path, name))

    def has_folder(self, name: str) -> bool:
        """See Place."""
        return Path(self.path, name).is_dir()

    def size(self, name: str) -> int | None:
        """See Place."""
        path = Path(self.path, name)
        return path.stat().st_size if path.is_file() else None

    def names(self, folder: str) -> set[str]:
        """See Place."""
        with storage_errors(f"can't list {Path(self.path, folder)}"), contextlib.suppress(FileNotFoundError):
            return set(os.listdir(Path(self.path, folder)))  # noqa: PTH208  # names
        return set()

    def open(self, name: str) -> BinaryIO:
        """See Place. Raises OSError."""
        return Path(self.path, name).open("rb")

    def location(self, name: str) -> str:
        """See Place."""
        return str(Path(self.path, name))

    def local_copies(self, names: Sequence[str]) -> AbstractContextManager[tuple[str, ...]]:
        """See Place."""
        return contextlib.nullcontext(tuple(map(self.location, names)))

    def put(self, files: Sequence[Ready]) -> None:
        """See Place."""
        for file in files:
            commit(self.path, file)
        for folder in {folder for file in files for folder in Path(file.name).parents}:  # those that are new, too
            sync_folder(str(Path(self.path, folder)))

    def remove(self, names: Iterable[str]) -> None:
        """See Place; folders that become empty go as well."""
        root = Path(self.path)
        with storage_errors(f"can't replace the outputs in {root}"):
            for name in names:
                path = Path(root, name).resolve()
                if root not in path.parents:
                    continue  # a manifest is a file that anyone may have edited
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
                    _remove_empty(path.parent, root)

    def mirror(self, folder: str, source: str, first: str) -> None:
        """See Place."""
        place = Path(self.path, folder)
        clear_folder(str(place), first)
        place.mkdir(exist_ok=True)
        copy(Path(source, first), place / first)
        for path in sorted(Path(source).rglob("*")):
            target = place / path.relative_to(source)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.is_file() and target != place / first:
                copy(path, target)


def clear_folder(path: str, last: str) -> None:
    """Empty a folder, last of all the file of that name; remove it where it is none. Raises OSError."""
    folder = Path(path)
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
        return
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name == last) if folder.exists() else ():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def publish(place: Place, name: str, scratch: str, write: Callable[[BinaryIO], object]) -> None:
    """Write a file in `scratch`, a private folder, and put it into its place. Raises StorageError."""
    place.put([prepare(scratch, name, write)])


def _remove_empty(folder: Path, root: Path) -> None:
    while folder != root and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent
