"""Compressed files: read as Python's own module does, ahead of who asks, and with nothing left behind."""

from __future__ import annotations

import gzip
import io
import zlib

import pytest

from batchscore.readers.gunzip import Gunzip

LINES = b"".join(b"%d,%d\n" % (number, number * 7919 % 1000) for number in range(5_000))
ONE, TWO = gzip.compress(LINES, mtime=0), gzip.compress(b"more\n", mtime=0)
NAMED = io.BytesIO()
with gzip.GzipFile("name.csv", "wb", fileobj=NAMED, mtime=0) as stream:
    stream.write(LINES)
FILES = {
    "one": ONE,
    "named": NAMED.getvalue(),
    "nothing": b"",
    "no rows": gzip.compress(b"", mtime=0),
    "members": ONE + TWO + ONE,
    "padded": ONE + bytes(700) + TWO + bytes(3),
    "many members": b"".join(gzip.compress(LINES[at : at + 500], mtime=0) for at in range(0, len(LINES), 500)),
    "checksum of the header": ONE[:3] + b"\x02" + ONE[4:10] + b"ab" + ONE[10:],
    "cut in the data": ONE[:-500],
    "cut in the trailer": ONE[:-3],
    "cut before the trailer": ONE[:-8],
    "cut in the header": ONE[:7],
    "cut in the second header": ONE + TWO[:5],
    "one byte of a second": ONE + TWO[:1],
    "wrong checksum": ONE[:-8] + b"abcd" + ONE[-4:],
    "wrong length": ONE[:-4] + b"abcd",
    "wrong checksum, then more": ONE[:-8] + b"abcd" + ONE[-4:] + TWO,
    "garbage": ONE + b"garbage",
    "garbage behind zeros": ONE + bytes(10) + b"garbage",
    "another method": ONE + TWO[:2] + b"\x07" + TWO[3:],
    "damaged": ONE[:1000] + bytes(20) + ONE[1020:],
    "damaged at once": ONE[:10] + b"\xff" * 20 + ONE[30:],
}


@pytest.mark.parametrize("size", [8192, 5 * 8192, 1 << 20])  # Python's module looks no further ahead then
@pytest.mark.parametrize("bite", [1, 1000, 1 << 18])
@pytest.mark.parametrize("name", FILES)
def test_gzip_is_read_as_python_reads_it(name: str, bite: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same blocks, and the same words at the same place where a file is broken."""
    monkeypatch.setattr("batchscore.readers.gunzip._BITE", bite)
    content = FILES[name]
    expected = _blocks(gzip.GzipFile(fileobj=io.BytesIO(content)), size)
    assert _blocks(Gunzip(io.BytesIO(content)), size) == expected


def _blocks(stream, size: int) -> list[bytes | str]:
    found: list[bytes | str] = []
    try:
        while block := stream.read(size):
            found.append(block)
    except (EOFError, OSError, zlib.error) as error:
        found.append(f"{type(error).__name__}: {error}")
    return found
