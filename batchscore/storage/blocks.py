"""What a family of stores needs to write an object, whole or in blocks that a last request makes one."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from batchscore.errors import StorageError
from batchscore.storage.addresses import key_of
from batchscore.storage.retrying import Changed, NoSuchStore, retried

Result = TypeVar("Result")
Item = TypeVar("Item")

BLOCK_BYTES = 8 << 20
"""Of a request; smaller files are one request."""
MOST_BLOCKS = 9_000
"""Of a file: S3 takes 10,000."""
AT_ONCE = 4
"""Requests of one file, and what is in memory of it in blocks."""
NEW = ""
"""The condition that there is no such object yet."""


class Objects(Protocol):
    """What a family of stores needs to write an object. Methods raise what the store's library does."""

    def put(self, key: str, content: bytes, only_if: str | None) -> None:
        """Write an object whole; with ``only_if`` where its version is this, or where it is NEW."""
        ...

    def put_file(self, url: str, path: str) -> None:
        """Write a file of several blocks, whole or not at all, a few blocks in memory.

        Raises StorageError about the store, OSError about the file.
        """
        ...

    def look(self, folder: str) -> None:
        """Ask for one name below a folder, which fails where there is no such container or bucket."""
        ...

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """Forget the blocks of uploads that nobody completed, where the store keeps them.

        Those of these files and folders in a folder: others may be in progress.
        """
        ...


class InBlocks(ABC):
    """A family whose objects can be sent in blocks, in any order."""

    @abstractmethod
    def begin(self, key: str) -> Any:
        """Begin an object in blocks; nothing is under its name before ``complete``."""

    @abstractmethod
    def block(self, key: str, upload: Any, number: int, content: bytes) -> Any:
        """Send a block, from 0; what ``complete`` needs of it. The same block again takes its place."""

    @abstractmethod
    def complete(self, key: str, upload: Any, blocks: list[Any]) -> None:
        """Make the blocks an object, in their order."""

    @abstractmethod
    def abort(self, key: str, upload: Any) -> None:
        """Forget the blocks of an upload."""

    def put_file(self, url: str, path: str) -> None:
        """See Objects. Each block is tried again by itself; where that is in vain, those that came are forgotten."""
        key, size = key_of(url), Path(path).stat().st_size
        step = max(BLOCK_BYTES, -(-size // MOST_BLOCKS))
        upload = writing(url, lambda: self.begin(key))
        try:
            with Path(path).open("rb") as stream:

                def send(number: int) -> Any:
                    content = os.pread(stream.fileno(), step, number * step)
                    return writing(url, lambda: self.block(key, upload, number, content))

                blocks = each_at_once(send, range(-(-size // step)), AT_ONCE)
            writing(url, lambda: self.complete(key, upload, blocks))
        except BaseException:
            with contextlib.suppress(Exception):  # what is left does no harm
                self.abort(key, upload)
            raise


def writing(url: str, call: Callable[[], Result], what: str = "write") -> Result:
    """What the call gives, tried again where its failure may pass; whatever is left is a StorageError."""
    try:
        return retried(call, f"can't {what} {url}")
    except PermissionError as error:
        raise StorageError(
            f"can't {what} {url}: the store denies it ({error.strerror}); check what the credentials may write"
        ) from error
    except FileNotFoundError as error:
        if what == "remove":
            raise
        raise StorageError(f"can't {what} {url}: {error.strerror}; check the container's or bucket's name") from error
    except NoSuchStore as error:
        raise NoSuchStore(f"{error}; check the container's or bucket's name, or make it") from error
    except Changed as error:
        raise StorageError(f"can't {what} {url}: {error.strerror}") from error


def each_at_once(call: Callable[[Item], Result], items: Iterable[Item], most: int) -> list[Result]:
    """What the call gives for each item, in order, by a few threads; the first failure ends it."""
    with ThreadPoolExecutor(most) as pool:
        futures = [pool.submit(copy_context().run, call, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
