"""Files that a scoring script appends to, seen as it opens them: those of several mini-batches can be one file."""

from __future__ import annotations

import os
import sys
from typing import Any


class AppendWatch:
    """Which files in a folder this process writes to by appending alone.

    Python tells of each file that it opens, with its flags (PEP 578); libraries in C and child processes don't, and
    what they write counts as not appended.
    """

    def __init__(self, folder: str) -> None:
        self._prefix = os.path.join(os.path.abspath(folder), "")  # noqa: PTH100, PTH118  # on each file that is opened
        self._appended: set[str] = set()
        self._written: set[str] = set()
        self._first: frozenset[str] = frozenset()
        sys.addaudithook(self._hear)

    def settle(self) -> None:
        """What was opened until now may stay open: it counts for each mini-batch."""
        self._first = frozenset(self._appended)
        self.forget()

    def forget(self) -> None:
        """Begin anew, for the next mini-batch."""
        self._appended, self._written = set(self._first), set()

    @property
    def names(self) -> set[str]:
        """Files that were only appended to, relative to the folder."""
        return self._appended - self._written

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                self._note(path, self._appended if flags & os.O_APPEND else self._written)
        elif event == "os.rename":
            self._note(arguments[1], self._written)

    def _note(self, path: Any, names: set[str]) -> None:
        if isinstance(path, (str, bytes, os.PathLike)):
            full = os.path.abspath(os.fsdecode(path))  # noqa: PTH100
            if full.startswith(self._prefix):
                names.add(full[len(self._prefix) :])
