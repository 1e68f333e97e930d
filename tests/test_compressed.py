"""Compressed files: read as Python's own module does, ahead of who asks, and with nothing left behind."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.model import Model
from batchscore.readers.ahead import AT_FIRST, MOST_AHEAD, read_ahead
from batchscore.readers.gunzip import Gunzip
from batchscore.schema import ColumnSpec, Schema
from batchscore.scoring import ModelScorer
from batchscore.settings import ScoringSettings
from batchscore.stopwatch import READING_AHEAD, Stopwatch
from batchscore.storage import Access, using
from batchscore.storage.access import in_use

readers.open_libraries([".csv"], typed=True)  # what they import is as it is, before a test changes it
LOOK: int = getattr(gzip, "READ_BUFFER_SIZE", io.DEFAULT_BUFFER_SIZE)
"""How far Python's module looks ahead where less is asked for: what is wrong there it tells too soon."""
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


@pytest.mark.parametrize("size", [LOOK, 5 * LOOK, 1 << 20])
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


class Source:
    """Makes blocks, and knows how many were made and who made them."""

    def __init__(self, blocks: int, error: Exception | None = None) -> None:
        self.blocks = blocks
        self.error = error
        self.taken = 0
        self.most_ahead = 0
        self.makers: set[threading.Thread] = set()
        self.is_closed = False
        self.is_waiting = threading.Event()
        """That as many blocks were made as may be before one is taken."""

    def make(self) -> Generator[bytes, None, None]:
        try:
            for number in range(self.blocks):
                self.makers.add(threading.current_thread())
                self.most_ahead = max(self.most_ahead, number + 1 - self.taken)
                if number + 1 - self.taken == MOST_AHEAD:
                    self.is_waiting.set()
                yield b"%d" % number
            if self.error:
                raise self.error
        finally:
            self.is_closed = True

    def take(self, blocks: Iterator[bytes], count: int) -> list[bytes]:
        found = []
        for _ in range(count):
            self.taken += 1  # it may be made from now on
            found.append(next(blocks))
        return found


@pytest.fixture
def leaves_no_thread() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.mark.usefixtures("leaves_no_thread")
@pytest.mark.parametrize("count", [0, 1, AT_FIRST, AT_FIRST + 1, AT_FIRST + MOST_AHEAD, 100])
@pytest.mark.parametrize("error", [None, FileRefused("broken")])
def test_blocks_that_are_read_ahead_are_the_same(count: int, error: Exception | None) -> None:
    """All of them, then what went wrong behind them."""
    source, found = Source(count, error), []
    blocks = read_ahead(source.make())
    with pytest.raises(FileRefused, match="broken") if error else contextlib.nullcontext():
        found += blocks
    assert found == [b"%d" % number for number in range(count)]
    assert source.is_closed


@pytest.mark.usefixtures("leaves_no_thread")
def test_reading_ahead_is_bounded() -> None:
    """However long who asks takes, there are never more than a few blocks that wait."""
    source = Source(100)
    blocks = read_ahead(source.make())
    for _ in range(5):
        source.take(blocks, 7)
        assert source.is_waiting.wait(30)
        source.is_waiting.clear()
    blocks.close()
    assert source.most_ahead == MOST_AHEAD
    assert source.is_closed


@pytest.mark.usefixtures("leaves_no_thread")
def test_a_beginning_starts_no_thread() -> None:
    """Neither does a small file."""
    for source in (Source(AT_FIRST), Source(100)):
        source.take(read_ahead(source.make()), AT_FIRST)
        assert source.makers == {threading.current_thread()}
        assert source.is_closed, "nobody refers to it any more"


@pytest.mark.usefixtures("leaves_no_thread")
def test_where_no_thread_can_be_had_blocks_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fails)
    source = Source(20)
    assert len(list(read_ahead(source.make()))) == 20
    assert source.makers == {threading.current_thread()}


def test_what_reads_ahead_knows_how_stores_are_reached() -> None:
    """Which is a variable of the context in which reading began."""
    found = []

    def make() -> Generator[bytes, None, None]:
        for _ in range(10):
            found.append(in_use().options)
            yield b"x"

    with using(Access((("key", "1"),))):
        list(read_ahead(make()))
    assert found == [(("key", "1"),)] * 10


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.usefixtures("leaves_no_thread")
def test_a_forked_copy_neither_reads_on_nor_waits() -> None:
    """As a model makes one that forks in predict and lets it run back: the thread wasn't copied."""
    blocks = read_ahead(Source(100).make())
    for _ in range(AT_FIRST + 1):
        next(blocks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, from Python 3.12 on
        pid = os.fork()
    if not pid:
        try:
            next(blocks)
        except RuntimeError:
            os._exit(7)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert len(list(blocks)) == 100 - AT_FIRST - 1


def test_cpu_time_of_reading_ahead_is_counted_as_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stage was on meanwhile."""
    monkeypatch.setattr(time, "process_time", lambda: 100.0 + 3 * READING_AHEAD.cpu_seconds)
    monkeypatch.setattr(READING_AHEAD, "cpu_seconds", 5.0)
    watch = Stopwatch("write")
    with watch.stage("predict"):
        READING_AHEAD.cpu_seconds += 1  # while the other threads took 2
    assert {name: lap.cpu_seconds for name, lap in watch.laps().items()} == {"predict": 2.0, "write": 0.0, "read": 1.0}
    watch.begin("write")
    assert "read" not in watch.laps()


def _zst(text: bytes) -> bytes:
    return bytes(pa.compress(text, codec="zstd", asbytes=True))


TEXT = b"a,b\n" + LINES
BAD_ROW = TEXT + b"x,1\n" + LINES
BROKEN = {
    "good.csv.gz": gzip.compress(TEXT),
    "good.csv.zst": _zst(TEXT),
    "cut.csv.gz": gzip.compress(TEXT)[:-2000],
    "cut.csv.zst": _zst(TEXT)[:-2000],
    "damaged.csv.gz": gzip.compress(TEXT)[:-4000] + bytes(100) + gzip.compress(TEXT)[-3900:],
    "damaged.csv.zst": _zst(TEXT)[:-4000] + bytes(100) + _zst(TEXT)[-3900:],
    "checksum.csv.gz": gzip.compress(TEXT)[:-8] + b"abcdefgh",
    "garbage.csv.gz": gzip.compress(TEXT) + b"garbage",
    "garbage.csv.zst": _zst(TEXT) + b"garbage",
    "a bad row.csv.gz": gzip.compress(BAD_ROW),
    "a bad row before a cut.csv.gz": gzip.compress(BAD_ROW)[:-300],
    "an endless row.csv.gz": gzip.compress(TEXT + b'"' + LINES),
    "wide rows.csv.zst": _zst(TEXT + b"1,2,3\n" * 4000),
    "good.jsonl.gz": gzip.compress(b"".join(b'{"a": %d, "b": 1}\n' % number for number in range(3000))),
    "cut.jsonl.gz": gzip.compress(b"".join(b'{"a": %d, "b": 1}\n' % number for number in range(3000)))[:-500],
}


@pytest.mark.usefixtures("leaves_no_thread")
@pytest.mark.parametrize("bad_rows", ["fails", "quarantines"])
@pytest.mark.parametrize("name", BROKEN)
def test_verdicts_are_those_of_reading_without_a_thread(
    name: str, bad_rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rows, and of a broken file the same words, row and record."""
    (tmp_path / name).write_bytes(BROKEN[name])
    file = InputFile(name, str(tmp_path / name), len(BROKEN[name]), "1")
    monkeypatch.setattr("batchscore.readers.source.BLOCK_BYTES", 8192)
    monkeypatch.setattr("batchscore.readers.csv_typed.GROUP_BYTES", 16384)
    ahead = _read(file, quarantines=bad_rows == "quarantines")
    monkeypatch.setattr("batchscore.readers.source.read_ahead", lambda blocks: blocks)
    assert _read(file, quarantines=bad_rows == "quarantines") == ahead


def _read(file: InputFile, *, quarantines: bool) -> list[object]:
    found: list[object] = []
    schema = Schema((ColumnSpec("a", "long"), ColumnSpec("b", "double")))
    settings = ScoringSettings(rows_per_call=1000)

    def refuse(error: FileRefused) -> None:
        found.append((error.reason, error.row, error.column, error.value, error.record))

    try:
        for chunk in readers.read(FileSlice(file), schema, settings, refuse if quarantines else None):
            assert isinstance(chunk.features, pa.Table)
            found += chunk.features.to_pylist()
    except FileRefused as error:
        refuse(error)
    return found


def test_no_thread_is_left_where_predict_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if somebody keeps what it raised."""
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(TEXT))
    file = InputFile("x.csv.gz", str(tmp_path / "x.csv.gz"), (tmp_path / "x.csv.gz").stat().st_size, "1")
    monkeypatch.setattr("batchscore.readers.source.BLOCK_BYTES", 1024)
    monkeypatch.setattr("batchscore.readers.csv_typed.GROUP_BYTES", 4096)
    schema, before = Schema((ColumnSpec("a", "long"), ColumnSpec("b", "double"))), threading.active_count()
    scorer = ModelScorer(Model(schema, None, None, {}, Raising()), ScoringSettings(rows_per_call=100), str(tmp_path))
    with pytest.raises(ZeroDivisionError) as kept:
        scorer.score(MiniBatch(0, (FileSlice(file),)), lambda _: None)
    assert kept.value.args == (before + 1,), "threads at work when it was raised"
    assert threading.active_count() == before


class Raising:
    def predict(self, _: Any) -> Any:
        raise ZeroDivisionError(threading.active_count())
