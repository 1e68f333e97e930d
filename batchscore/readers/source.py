"""The bytes of an input file: opened, decompressed, as UTF-8; the one place that opens input files."""

from __future__ import annotations

import codecs
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

from batchscore.errors import FileRefused
from batchscore.readers.ahead import read_ahead
from batchscore.readers.gunzip import Gunzip
from batchscore.storage import open_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from batchscore.minibatch import InputFile
    from batchscore.settings import CsvOptions

BLOCK_BYTES = 1 << 20
"""Larger blocks are slower: their memory goes back to the kernel and comes again."""


@dataclass(slots=True)
class Position:
    """How far this process has read what it reads."""

    bytes: int = 0
    """As they are stored, from the beginning of what is read of the file."""


POSITION = Position()


@contextmanager
def opened(file: InputFile, stop: int | None = None) -> Iterator[BinaryIO]:
    """The file's bytes as they are stored, up to ``stop`` where nothing behind it will be read.

    Raises FileRefused where it can't be opened; on a store, which is asked for bytes when they are read, reading raises
    OSError about this file and StorageError about the store.
    """
    try:
        stream = open_stored(file.path, file.size, stop)
    except OSError as error:
        raise FileRefused(f"the file can't be opened: {error.strerror or error}") from error
    with stream:
        yield stream


def is_compressed(file: InputFile) -> bool:
    return file.name.lower().endswith((".gz", ".zst"))


def delimiter_of(file: InputFile, csv: CsvOptions) -> str:
    return "\t" if file.name.lower().endswith((".tsv", ".tsv.gz", ".tsv.zst")) else csv.delimiter


def read_blocks(file: InputFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The decompressed bytes in [start, stop), a block at a time; FileRefused where they can't be read.

    Compressed files are read whole, and decompressed while what came before is worked on.
    """
    blocks = _blocks(file, start, stop)
    return read_ahead(blocks) if is_compressed(file) else blocks


def _blocks(file: InputFile, start: int, stop: int | None) -> Generator[bytes, None, None]:
    with opened(file, None if is_compressed(file) else stop) as stored:
        try:
            stream = _decompressed(file, stored)
            if start:
                stream.seek(start)
            position = start
            while block := stream.read(BLOCK_BYTES if stop is None else min(BLOCK_BYTES, stop - position)):
                position += len(block)
                POSITION.bytes = stored.tell() if stream is not stored else position - start
                yield block
        except (EOFError, zlib.error, OSError) as error:
            raise FileRefused(f"the file can't be read: {error}; is it complete?") from error


def _decompressed(file: InputFile, stored: BinaryIO) -> BinaryIO:
    name = file.name.lower()
    if name.endswith(".gz"):
        _refuse_unless(stored, "gzip", lambda head: head.startswith(b"\x1f\x8b"))
        return cast("BinaryIO", Gunzip(stored))
    if name.endswith(".zst"):
        import pyarrow as pa

        _refuse_unless(stored, "Zstandard", lambda head: head == b"\x28\xb5\x2f\xfd" or head[1:] == b"\x2a\x4d\x18")
        return cast("BinaryIO", pa.CompressedInputStream(stored, "zstd"))
    return stored


def _refuse_unless(stored: BinaryIO, kind: str, is_kind: Callable[[bytes], bool]) -> None:
    """Look at the first bytes of a file that may be empty."""
    head = stored.read(4)
    stored.seek(0)
    if head and not is_kind(head):
        raise FileRefused(
            f"the file isn't {kind}, as its name says: it begins with {quoted(head)}; "
            "let its name end as its content is, such as .csv"
        )


def is_ascii_compatible(encoding: str) -> bool:
    """Whether delimiters, quotes and line ends are single bytes that mean nothing else in this encoding."""
    name = codecs.lookup(encoding).name
    return name in {"utf-8", "utf-8-sig", "ascii"} or name.startswith(("iso8859", "cp125"))


def without_bom(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """The blocks of a UTF-8 file from its beginning, without a byte order mark; those of other encodings unchanged."""
    rest = iter(blocks)
    beginning = b""
    while len(beginning) < len(codecs.BOM_UTF8) and (block := next(rest, b"")):
        beginning += block
    if codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"}:
        beginning = beginning.removeprefix(codecs.BOM_UTF8)
    if beginning:
        yield beginning
    yield from rest


def utf8_blocks(file: InputFile, encoding: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The text in [start, stop) as UTF-8, without a byte order mark.

    What isn't in the encoding comes as invalid UTF-8, to be refused where its row and column are known.
    """
    blocks = read_blocks(file, start, stop)
    if start == 0:
        blocks = without_bom(blocks, encoding)
    return blocks if codecs.lookup(encoding).name in {"utf-8", "utf-8-sig"} else _transcoded(blocks, encoding)


def _transcoded(blocks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)(_UNDECODABLE)
    try:
        for block in blocks:
            if text := decoder.decode(block):
                yield text.encode("utf-8", "surrogatepass")
        if text := decoder.decode(b"", final=True):
            yield text.encode("utf-8", "surrogatepass")
    except UnicodeError as error:  # of the whole text, such as UTF-16 without a byte order mark
        raise FileRefused(
            f"the file isn't {encoding}: {error}; name its encoding with --encoding, such as utf-8 or utf-16-le"
        ) from error


_UNDECODABLE = "batchscore.undecodable"


def _as_surrogates(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


# "surrogateescape" for bytes below 0x80 too, which UTF-16 needs
codecs.register_error(_UNDECODABLE, _as_surrogates)


def quoted(text: bytes, longest: int | None = None) -> str:
    """Text as Python writes it, for a message, with hexadecimal escapes for the bytes that aren't in the encoding."""
    try:
        found = text.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        found = text.decode("utf-8", "surrogateescape")
    mark = '"' if "'" in found and '"' not in found else "'"
    return mark + "".join(_written(char, mark) for char in found[:longest]) + mark


def _written(char: str, mark: str) -> str:
    if 0xDC00 <= ord(char) <= 0xDCFF:  # noqa: PLR2004  # a byte
        return f"\\x{ord(char) - 0xDC00:02x}"
    return f"\\{char}" if char == mark else repr(char)[1:-1] if char not in "'\"" else char


def displayed(text: bytes) -> str:
    """Text for a message, with hexadecimal escapes for the bytes that aren't in the encoding."""
    if text.isascii():
        return text.decode()
    try:
        return "".join(
            f"\\x{ord(char) - 0xDC00:02x}" if 0xDC00 <= ord(char) <= 0xDCFF else char  # noqa: PLR2004  # as encoded above
            for char in text.decode("utf-8", "surrogatepass")
        )
    except UnicodeDecodeError:
        return text.decode("utf-8", "backslashreplace")
