"""Input files wherever they are, as seekable streams; and folders of a store brought here."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from batchscore.errors import StorageError
from batchscore.storage.addresses import is_remote
from batchscore.storage.local import storage_errors
from batchscore.storage.stored import Facts, StoredFile
from batchscore.storage.stores import Store, store_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchscore.minibatch import InputFile

LEAST_BYTES = 64 << 10
"""Of a request: smaller ones cost as much time."""
MOST_BYTES = 8 << 20
"""Of a request, and so what a stream holds in memory; grown to from one request to the next while reading goes on."""


COPIED_BYTES = 1 << 20
"""Written at once of what is copied here."""


def open_stored(path: str, size: int | None = None, stop: int | None = None) -> BinaryIO:
    """The bytes of a local file or of one on a store, unbuffered, to be closed by the caller.

    Of a stored file ``size`` is its bytes, where they are known, and nothing from ``stop`` on is fetched.
    Raises OSError about this file alone (FileNotFoundError, PermissionError), StorageError about its store.
    """
    if not is_remote(path):
        return cast("BinaryIO", open(path, "rb", buffering=0))  # noqa: PTH123  # quicker than Path
    store = store_of(path)
    if size is None:
        facts = facts_of(path)
        size = facts.size
    return cast("BinaryIO", StoredStream(store, path, size, stop))


def facts_of(path: str) -> Facts:
    """What a local or stored file is now. Raises OSError about this file alone, StorageError about its store."""
    if not is_remote(path):
        status = os.stat(path)  # noqa: PTH116
        return Facts(status.st_size, str(status.st_mtime_ns))
    facts = store_of(path).facts(path)
    if facts is None:
        raise IsADirectoryError(f"{path} is a folder")
    return facts


def can_be_cut(path: str) -> bool:
    """Whether a part of a file costs no more than its bytes. Raises as facts_of does."""
    return not is_remote(path) or store_of(path).can_read_ranges(path)


class StoredStream(io.RawIOBase):
    """A file on a store, read by ranges that grow while reading goes straight on."""

    def __init__(self, store: Store, path: str, size: int, stop: int | None = None) -> None:
        self._store = store
        self._path = path
        self._size = size
        self._stop = size if stop is None else min(stop, size)
        self._position = 0
        self._held = memoryview(b"")
        self._held_from = 0
        self._window = LEAST_BYTES

    def close(self) -> None:
        self._store.release()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def size(self) -> int:
        """For pyarrow."""
        return self._size

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes, fewer at the end alone."""
        wanted = self._size - self._position if size is None or size < 0 else size
        stop = min(self._position + wanted, max(self._stop, self._position), self._size)
        parts = []
        while self._position < stop:
            if not self._held_from <= self._position < self._held_from + len(self._held):
                self._fetch(stop)
            start = self._position - self._held_from
            part = self._held[start : start + stop - self._position]
            parts.append(part)
            self._position += len(part)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]  # io calls it with a memoryview
        content = self.read(len(target))
        target[: len(content)] = content
        return len(content)

    def readall(self) -> bytes:
        return self.read(-1)

    def _fetch(self, stop: int) -> None:
        """Hold what lies at the position: at least up to ``stop``, or as much as a request may have."""
        goes_on = bool(self._held) and self._position == self._held_from + len(self._held)
        self._window = min(self._window * 2, MOST_BYTES) if goes_on else LEAST_BYTES
        start = self._position
        if start >= self._size - LEAST_BYTES and not goes_on:
            start = max(
                self._size - LEAST_BYTES, 0
            )  # where Parquet has its footer, of which several parts are asked for
        end = min(max(self._position + self._window, min(stop, self._position + MOST_BYTES)), self._stop)
        self._held = memoryview(self._store.read_range(self._path, start, end))
        self._held_from = start


@contextlib.contextmanager
def local_copies(files: Sequence[InputFile]) -> Iterator[list[str]]:
    """Local paths of input files, in order, for code that opens them itself.

    Those on a store are copied to a temporary folder, which goes at the end. Raises OSError, StorageError.
    """
    with contextlib.ExitStack() as stack:
        paths = []
        folder = ""
        for file in files:
            if is_remote(file.path):
                folder = folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="batchscore-"))
                download([StoredFile(file.name, file.path, Facts(file.size, file.version))], folder)
            paths.append(str(Path(folder, file.name)) if is_remote(file.path) else file.path)
        yield paths


def download(files: Iterable[StoredFile], folder: str) -> None:
    """Bring files of a store into a local folder, whole and synced. Raises OSError about a file, StorageError."""
    for file in files:
        target = Path(folder, file.name)
        if not target.resolve().is_relative_to(Path(folder).resolve()):
            raise StorageError(f"{file.path} has a name that leads out of its folder; it wasn't downloaded")
        with storage_errors(f"can't write {target}"):
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = target.open("wb")
        with copy, open_stored(file.path, file.facts.size) as stream:
            while block := stream.read(COPIED_BYTES):
                with storage_errors(f"can't write {target}"):
                    copy.write(block)
            with storage_errors(f"can't write {target}"):
                copy.flush()
                os.fsync(copy.fileno())
