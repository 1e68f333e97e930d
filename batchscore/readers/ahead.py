"""Blocks that a thread of its own makes, a few of them before they are asked for."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from contextvars import copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING

from batchscore.stopwatch import READING_AHEAD

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

AT_FIRST = 2
"""Blocks that are made when they are asked for: small files, and who looks at a beginning, need no thread."""
MOST_AHEAD = 8
"""Blocks made or in the making that nobody has asked for yet: as many as a reader of CSV parses at once."""


def read_ahead(blocks: Generator[bytes, None, None]) -> Iterator[bytes]:
    """The same blocks, and what the generator raises in its place.

    It should let other threads run while it is at work, as reading and decompressing do. Closed, at the latest when
    nobody refers to it any more, it leaves no thread, and the generator closed.
    """
    for _ in range(AT_FIRST):
        block = next(blocks, None)
        if block is None:
            return
        yield block
        del block  # before more is made
    line = _Line(blocks)
    try:
        line.thread.start()
    except RuntimeError:  # the system has no room for a thread more
        yield from blocks
        return
    try:
        while (block := line.take()) is not None:
            yield block
            del block
    finally:
        line.leave()


class _Line:
    """Blocks between the thread that makes them and the one that takes them."""

    def __init__(self, blocks: Generator[bytes, None, None]) -> None:
        self._blocks = blocks
        self._ready: SimpleQueue[bytes | BaseException | None] = SimpleQueue()
        self._room = threading.Semaphore(MOST_AHEAD)
        self._is_left = False
        self._process = os.getpid()
        self.thread = threading.Thread(target=copy_context().run, args=(self._make,), name="reading ahead", daemon=True)

    def take(self) -> bytes | None:
        """The next block, None at the end; raises what making it raised."""
        if os.getpid() != self._process:  # the thread wasn't copied
            raise RuntimeError("a copy of the worker that the model has forked can't read on")
        found = self._ready.get()
        self._room.release()
        if not isinstance(found, BaseException):
            return found
        try:
            raise found
        finally:
            del found  # which refers to this frame

    def leave(self) -> None:
        """End the thread; in a forked copy of the process there is none."""
        if os.getpid() == self._process:
            self._is_left = True
            self._room.release()
            self.thread.join()

    def _make(self) -> None:
        try:
            with contextlib.closing(self._blocks) as blocks:
                while self._is_wanted() and (block := _timed_next(blocks)) is not None:
                    self._ready.put(block)
                    del block
        except BaseException as error:  # noqa: BLE001  # raised by who takes
            self._ready.put(error)
        else:
            self._ready.put(None)

    def _is_wanted(self) -> bool:
        """Whether another block is, once there is room for it."""
        self._room.acquire()
        return not self._is_left


def _timed_next(blocks: Iterator[bytes]) -> bytes | None:
    begun = time.thread_time()
    try:
        return next(blocks, None)
    finally:
        READING_AHEAD.cpu_seconds += time.thread_time() - begun
