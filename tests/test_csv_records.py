"""Where records begin: the scanner against Python's csv module and pyarrow, in blocks of any size."""

from __future__ import annotations

import csv
import io
from itertools import pairwise

import pyarrow as pa
import pyarrow.csv as pacsv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import FileRefused
from batchscore.readers.records import RecordScanner, count_records, cut_points, record_offsets, whole_records

FIELDS = (
    "",
    "a",
    "bc",
    '"',
    '""',
    '"q"',
    '"x,y"',
    '"a""b"',
    '"l1\nl2"',
    '"l1\r\n\r\nl2"',
    '5" pipe',
    '""t',
    '"a"b',
    "é",
    " ",
    '","',
)
LINE_ENDS = ("\n", "\r\n", "\r", "\n\n", "\r\r", "\n\r")
PIECES = st.lists(st.sampled_from((*FIELDS, ",", ",", *LINE_ENDS)), max_size=30).map("".join)
"""Any text made of what matters to a parser, well-formed or not."""


def in_blocks(text: bytes, size: int) -> list[bytes]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def is_closed(text: bytes) -> bool:
    scanner = RecordScanner(",")
    if text:
        scanner.lines(text)
    return not scanner.in_quotes


def records_by_csv(text: bytes) -> list[list[str]]:
    return [fields for fields in csv.reader(io.StringIO(text.decode(), newline="")) if fields]


def rows_by_pyarrow(text: bytes) -> int:
    """Records as pyarrow finds them: those with one field, and the others through the handler of invalid rows."""
    if not text:
        return 0
    ragged = []
    table = pacsv.read_csv(
        pa.py_buffer(text),
        read_options=pacsv.ReadOptions(use_threads=False, column_names=["0"], block_size=len(text) + 1),
        parse_options=pacsv.ParseOptions(
            newlines_in_values=True, invalid_row_handler=lambda row: ragged.append(row) or "skip"
        ),
        convert_options=pacsv.ConvertOptions(column_types={"0": pa.string()}),
    )
    return table.num_rows + len(ragged)


@given(PIECES, st.integers(1, 9))
def test_records_are_those_of_the_csv_module_and_pyarrow(text, size):
    """Any text has as many records as csv and pyarrow find, whatever blocks it comes in."""
    data = text.encode()
    if not is_closed(data):
        with pytest.raises(FileRefused, match="never closed"):
            count_records(in_blocks(data, size), ",")
        return
    count = count_records(in_blocks(data, size), ",")
    assert count == len(records_by_csv(data))
    assert count == rows_by_pyarrow(data)


@given(PIECES, st.integers(1, 9))
def test_whole_records_are_the_same_text_in_whole_records(text, size):
    """Blocks of whole records join to the text and parse alone to the same fields."""
    data = text.encode()
    if not is_closed(data):
        return
    found = list(whole_records(in_blocks(data, size), ","))
    assert b"".join(found) == data
    assert all(found)
    assert [record for block in found for record in records_by_csv(block)] == records_by_csv(data)


@given(PIECES, st.integers(1, 9))
def test_records_before_an_unclosed_quote_are_given_first(text, size):
    """All records but the one whose quote is never closed come before the refusal."""
    data = text.encode()
    if is_closed(data):
        return
    found = []
    with pytest.raises(FileRefused, match="never closed"):
        found.extend(whole_records(in_blocks(data, size), ","))
    found = []
    try:
        for block in whole_records(in_blocks(data, size), ","):
            found.extend(records_by_csv(block))
    except FileRefused:
        assert found == records_by_csv(data)[:-1]


@given(PIECES)
def test_record_offsets_take_records_apart(text):
    """Each record of a block parses alone to its own fields."""
    data = text.encode()
    if not data or not is_closed(data):
        return
    offsets = record_offsets(data, ",")
    alone = [records_by_csv(data[start:stop]) for start, stop in pairwise(offsets)]
    assert alone == [[record] for record in records_by_csv(data)]


@given(PIECES, st.integers(1, 9), st.integers(1, 40), st.booleans())
def test_cut_points_lie_between_records(text, block_size, size, header):
    """Wherever a text is cut, its pieces have the records of the whole, and the counts are right."""
    data = text.encode()
    points = cut_points(in_blocks(data, block_size), ",", size, header=header)
    assert points == cut_points(in_blocks(data, 1000), ",", size, header=header)
    if points is None:
        return
    offsets = [point.offset for point in points]
    assert offsets[-1] == len(data)
    assert [records_by_csv(data[:offset]) for offset in offsets] == [
        records_by_csv(data)[: point.records] for point in points
    ]
    sizes = [stop - start for start, stop in pairwise(offsets)]
    assert all(each >= size for each in sizes[:-1])
    assert sizes[-1] >= size / 2 or len(sizes) == 1


@given(st.lists(st.lists(st.text('ab,"\n é', max_size=6), min_size=2, max_size=2), min_size=1), st.integers(1, 9))
def test_written_csv_is_certain(rows, size):
    """What Python's csv module writes is certain, and cut."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    data = text.getvalue().encode()
    points = cut_points(in_blocks(data, size), ",", 1, header=False)
    assert points is not None
    assert [point.records for point in points][-1] == len(rows)


@pytest.mark.parametrize(
    "text", ['5" pipe,1\n2,3\n', '"a"b"c,1\n2,3\n', "a\rb\n", 'a,"b\nc\n', 'a ""x"",b\n', ' "a",b\n'], ids=repr
)
def test_doubtful_text_is_not_cut(text):
    """Stray quotes, lone CRs and quotes that are never closed forbid cutting."""
    assert cut_points([text.encode() * 3], ",", 1, header=False) is None


def test_cuts_are_about_the_size_asked_for():
    """1,000 records of 10 bytes, cut at 1,000 bytes: ten slices, the rest of less than half a slice in the last."""
    data = b"header\n" + b"123456789\n" * 1040
    points = cut_points([data], ",", 1000, header=True)
    assert [point.offset for point in points] == [7, *(7 + 1000 * number for number in range(1, 10)), len(data)]
    assert [point.records for point in points] == [1, *(1 + 100 * number for number in range(1, 10)), 1041]


def test_cutting_looks_for_all_lines_of_the_header_s_block_alone(monkeypatch):
    """Of the others' it is enough to count them, as long as nothing is quoted: that is ten times as fast."""
    looked_at = []
    real = RecordScanner.lines
    monkeypatch.setattr(RecordScanner, "lines", lambda scanner, block: looked_at.append(block) or real(scanner, block))
    data = b"header\n" + b"123456789\n" * 1040
    blocks = in_blocks(data, 99)
    points = cut_points(blocks, ",", 1000, header=True)
    assert points == cut_points([data], ",", 1000, header=True)
    assert looked_at[:-1] == [data[:99]]


def test_a_record_without_end_is_refused_before_it_fills_the_memory(monkeypatch):
    """A quote that is never closed doesn't hold the rest of a large file."""
    monkeypatch.setattr("batchscore.readers.records.MAX_RECORD_BYTES", 100)
    with pytest.raises(FileRefused, match="never closed"):
        list(whole_records([b'a,"', *[b"x" * 60] * 1000], ","))
