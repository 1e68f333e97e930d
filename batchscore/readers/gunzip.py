"""Gzip files in large bites: `gzip.GzipFile` takes 8 KB at a time, for which it needs a sixth more."""

from __future__ import annotations

import gzip
import zlib
from typing import Any, BinaryIO

_BITE = 1 << 18
_GZIP = 31
"""For zlib: a header before the data, a checksum and a length behind it, which it looks at."""


class Gunzip:
    """Reads as gzip.GzipFile does: members one after the other, zeros behind each.

    Whatever isn't as it should be is left to GzipFile, which begins anew and knows what to say.
    """

    def __init__(self, stored: BinaryIO) -> None:
        self._stored = stored
        self._careful: gzip.GzipFile | None = None
        self._given = 0
        self._member: Any = None
        """A zlib.decompressobj; None between members."""
        self._rest = b""
        """What was read and isn't decompressed."""

    def read(self, size: int) -> bytes:
        """So many bytes, fewer at the end alone. Raises EOFError, zlib.error, OSError."""
        if self._careful is None:
            try:
                block = self._quickly(size)
            except (EOFError, zlib.error):
                self._stored.seek(0)
                self._careful = gzip.GzipFile(fileobj=self._stored)
                self._careful.seek(self._given)
            else:
                self._given += len(block)
                return block
        return self._careful.read(size)

    def _quickly(self, size: int) -> bytes:
        parts: list[bytes] = []
        wanted = size
        while wanted and (member := self._at_hand()):
            part = member.decompress(self._rest, wanted)
            if not (part or self._rest or member.eof):
                raise EOFError
            self._rest = member.unconsumed_tail
            if member.eof:
                self._rest, self._member = member.unused_data, None
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _at_hand(self) -> Any:
        """The member to go on with, and something to feed it where there is; None behind the last one."""
        self._rest = self._rest or self._stored.read(_BITE)
        while self._member is None and self._rest:
            self._rest = self._rest.lstrip(b"\0")
            if self._rest:
                self._member = zlib.decompressobj(_GZIP)
            else:
                self._rest = self._stored.read(_BITE)
        return self._member
