"""Parts: files that appear under their names whole or not at all, and what stands in them."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchscore.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def storage_errors(what: str, path: str) -> Iterator[None]:
    """OSErrors as a StorageError that says what couldn't be done with which file, and why."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"can't {what} {path}: {error.strerror or error}") from error


_BLOCK = 1 << 20
_numbers = itertools.count()


def span(path: str, start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) of a part, 1 MB at a time. Raises StorageError, also where the file ends before."""
    with storage_errors("read", path), Path(path).open("rb") as part:
        part.seek(start)
        left = stop - start
        while left > 0:
            block = part.read(min(left, _BLOCK))
            if not block:
                raise OSError(f"it ends {left:,} bytes too soon")
            left -= len(block)
            yield block


class PartFile:
    """A new file beside its final name; parts are readable by their owner only."""

    def __init__(self, path: str, *, syncs: bool = True) -> None:
        """Without ``syncs`` it gets its name before it is on the disk: who relies on it has to see to that."""
        self.path = path
        self._syncs = syncs
        self.temporary = f"{path}.{os.getpid()}-{next(_numbers)}.tmp"
        with storage_errors("write", path):
            with contextlib.suppress(FileNotFoundError):
                Path(self.temporary).unlink()
            descriptor = os.open(
                self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600
            )
            self.stream: Any = os.fdopen(descriptor, "w+b", buffering=_BLOCK)

    def publish(self) -> None:
        """Everything on the disk, then the final name."""
        with storage_errors("write", self.path):
            self.stream.flush()
            if self._syncs:
                os.fsync(self.stream.fileno())
            self.stream.close()
            Path(self.temporary).replace(self.path)

    def discard(self) -> None:
        """Nothing is left; without effect once published."""
        with contextlib.suppress(OSError):
            self.stream.close()
        with contextlib.suppress(OSError):
            Path(self.temporary).unlink()
