"""Parts: files that appear under their names whole or not at all, and what stands in them."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from batchscore.errors import StorageError
from batchscore.writers import PartWriter, unify

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    import pyarrow as pa

    from batchscore.outcome import Column


@contextlib.contextmanager
def part_errors(what: str, path: str) -> Iterator[None]:
    """OSErrors as a StorageError that says what couldn't be done with which part, and why.

    As storage's `storage_errors`, which writers don't reach.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"can't {what} {path}: {error.strerror or error}") from error


_BLOCK = 1 << 20
_numbers = itertools.count()


class ByteFile:
    """A part that is open, as bytes."""

    def __init__(self, path: str) -> None:
        self._path = path
        with part_errors("read", path):
            self._stream = Path(path).open("rb")  # noqa: SIM115  # who opens it closes it

    def close(self) -> None:
        self._stream.close()

    def span(self, start: int, stop: int) -> Iterator[bytes]:
        """Bytes [start, stop), 1 MB at a time. Raises StorageError, also where the file ends before."""
        left = stop - start
        with part_errors("read", self._path):
            self._stream.seek(start)
            while left > 0:
                block = self._stream.read(min(left, _BLOCK))
                if not block:
                    raise OSError(f"it ends {left:,} bytes too soon")
                left -= len(block)
                yield block


def span(path: str, start: int, stop: int) -> Iterator[bytes]:
    """Bytes [start, stop) of one part. Raises StorageError."""
    with contextlib.closing(ByteFile(path)) as part:
        yield from part.span(start, stop)


class Closable(Protocol):
    def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closable)


class OpenParts(Generic[Opened]):
    """The parts that were read last, still open, so that the pieces of a part in order open it once.

    They are a few, because a file that was scored again lies in another part than its neighbours.
    """

    MOST = 4

    def __init__(self, opening: Callable[[str], Opened]) -> None:
        self._opening = opening
        self._parts: dict[str, Opened] = {}
        """By path, the one read last at the end."""

    def at(self, path: str) -> Opened:
        """The part, opened where it isn't; the one that wasn't read for longest makes way for it."""
        part = self._parts.pop(path, None)
        if part is None:
            if len(self._parts) == self.MOST:
                self._parts.pop(next(iter(self._parts))).close()
            part = self._opening(path)
        self._parts[path] = part
        return part

    def close(self) -> None:
        while self._parts:
            self._parts.popitem()[1].close()


class PartFile:
    """A new file beside its final name; parts are readable by their owner only."""

    def __init__(self, path: str, *, syncs: bool = True) -> None:
        """Without ``syncs`` it gets its name before it is on the disk: who relies on it has to see to that."""
        self.path = path
        self._syncs = syncs
        self.temporary = f"{path}.{os.getpid()}-{next(_numbers)}.tmp"
        with part_errors("write", path):
            with contextlib.suppress(FileNotFoundError):
                Path(self.temporary).unlink()
            descriptor = os.open(
                self.temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600
            )
            self.stream: Any = os.fdopen(descriptor, "w+b", buffering=_BLOCK)

    def publish(self) -> None:
        """Everything on the disk, then the final name."""
        with part_errors("write", self.path):
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


class WrittenPart(ABC):
    """A PartWriter but for how it stores tables: the columns so far, and both ways to leave the file."""

    def __init__(self, path: str, roles: Mapping[str, str], *, syncs: bool = True) -> None:
        self._roles = roles
        self._syncs = syncs
        self._file = PartFile(path, syncs=syncs)
        self._columns: tuple[Column, ...] = ()
        self._is_mixed = False
        self._rows = 0

    @property
    def rows(self) -> int:
        return self._rows

    @property
    def columns(self) -> tuple[Column, ...]:
        return self._columns

    @property
    def is_mixed(self) -> bool:
        return self._is_mixed

    @abstractmethod
    def write(self, table: pa.Table, stops: Sequence[int] = ()) -> None: ...

    @abstractmethod
    def position(self, row: int) -> int: ...

    def _take_in(self, columns: tuple[Column, ...]) -> None:
        """Have columns that hold a table's, too, before its rows are stored."""
        self._is_mixed |= self._columns not in ((), columns)
        self._widen(unify(self._columns, columns))

    @abstractmethod
    def _widen(self, columns: tuple[Column, ...]) -> None:
        """Take on wider columns; what was written is written again where its types tell."""

    def close(self) -> None:
        self._file.publish()

    def abort(self) -> None:
        self._file.discard()

    def __enter__(self) -> PartWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.abort()
