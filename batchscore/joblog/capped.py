"""A file that only grows, within bounds: how it begins, and what came last."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

BEGINNING = 8 << 20
"""Bytes of a log that are kept from its beginning."""
NEWEST = 4 << 20
"""Bytes in each of the two files that what comes after the beginning goes to in turn."""


class CappedFile:
    """Bytes appended to a file, made as the umask says when there is something to write.

    Once it holds BEGINNING bytes, the rest goes to `<name>.newest.txt`, which at NEWEST bytes becomes
    `<name>.newest-1.txt` in place of the one before. What can't be written is dropped, and ``error`` says why: a model
    that prints must neither wait nor fail for it. With ``capped=False`` there is no bound.
    """

    def __init__(self, path: Path, *, capped: bool = True) -> None:
        self.path = path
        self._most = BEGINNING if capped else sys.maxsize
        self.error: OSError | None = None
        self._newest = path.with_name(f"{path.stem}.newest.txt")
        self._before = path.with_name(f"{path.stem}.newest-1.txt")
        self._handle: int | None = None
        self._is_past_beginning = False
        self._size = 0
        self.at_line_start = True

    def write(self, content: bytes) -> None:
        """Append; cut at a line's end where the beginning is full."""
        try:
            self._write(content)
        except OSError as error:
            self.error = error
            self.close()

    def _write(self, content: bytes) -> None:
        if self._handle is None:
            self._open()
        if not self._is_past_beginning and self._size + len(content) > self._most:
            cut = content.rfind(b"\n", 0, max(0, self._most - self._size)) + 1
            self._append(content[:cut])
            self._append(self._farewell())
            self._is_past_beginning = True
            self._turn_to(self._newest)
            content = content[cut:]
        elif self._is_past_beginning and self._size + len(content) > NEWEST:
            self.close()
            self._newest.replace(self._before)
            self._turn_to(self._newest)
        self._append(content)

    def _farewell(self) -> bytes:
        start = "" if self.at_line_start else "\n"
        return (
            f"{start}--- {BEGINNING >> 20} MB are full: the newest follows in {self._before.name}, then "
            f"{self._newest.name}, {NEWEST >> 20} MB each at most; what doesn't fit in between is left out ---\n"
        ).encode()

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._is_past_beginning = self._newest.exists()
        self._turn_to(self._newest if self._is_past_beginning else self.path)

    def _turn_to(self, path: Path) -> None:
        self.close()
        self._handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(self._handle).st_size
        self.at_line_start = not self._size or os.pread(self._handle, 1, self._size - 1) == b"\n"

    def _append(self, content: bytes) -> None:
        if content and self._handle is not None:
            written = memoryview(content)
            while written:
                written = written[os.write(self._handle, written) :]
            self._size += len(content)
            self.at_line_start = content.endswith(b"\n")

    def close(self) -> None:
        """Give the descriptor back; writing again goes on where it ended."""
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)
