"""CSV reading: the same rows and the same refusals whatever the cut, the chunks and the blocks are."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import math
from collections.abc import Iterator
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.readers import csv_parser, csv_typed, source
from batchscore.schema import ColumnSpec, Schema
from batchscore.settings import CsvOptions, ScoringSettings

STRINGS = Schema(columns=(ColumnSpec("a", "string", required=False), ColumnSpec("b", "string", required=False)))
NUMBERS = Schema(columns=(ColumnSpec("a", "long"), ColumnSpec("b", "double", required=False)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture
def written(tmp_path):
    """Writes a file and describes it."""

    def write(content: bytes | str, name: str = "x.csv", **fields) -> InputFile:
        return write_in(tmp_path, content, name, **fields)

    return write


def write_in(folder, content: bytes | str, name: str = "x.csv", **fields) -> InputFile:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    return InputFile(name, str(folder / name), len(data), "1", **fields)


def read(file: InputFile, schema=STRINGS, piece: FileSlice | None = None, **options) -> list[readers.Chunk]:
    return list(readers.read(piece or FileSlice(file), schema, ScoringSettings(**options)))


def rows(chunks: list[readers.Chunk]) -> list[tuple]:
    return [row for chunk in chunks for row in zip(*chunk.features.to_pydict().values(), strict=True)]


def refusal(file: InputFile, schema=STRINGS, **options) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(file, schema, **options)
    return caught.value


def told(refused: FileRefused) -> tuple:
    return refused.reason, refused.row, refused.column, refused.value, refused.record


# reading


def test_values_have_the_types_of_the_signature(written):
    """Columns are taken by name, typed, and null where a missing value stands, quoted or not."""
    (chunk,) = read(written('b,other,a\n1.5,x,1\nNA,y,2\n"",z,3\n"NULL",z,4\n'), NUMBERS)
    assert chunk.features.to_pydict() == {"a": [1, 2, 3, 4], "b": [1.5, None, None, None]}
    assert chunk.features.schema.types == [pa.int64(), pa.float64()]
    assert (chunk.first_row, chunk.rows, chunk.kept.num_columns) == (0, 4, 0)


@pytest.mark.parametrize("rows_per_call", [1, 2, 7])
def test_chunks_have_exactly_the_rows_asked_for(written, rows_per_call):
    """Every chunk but the last has rows_per_call rows, and they are numbered from the file's first."""
    file = written("a,b\n" + "".join(f"{number},{number}.5\n" for number in range(20)))
    chunks = read(file, NUMBERS, rows_per_call=rows_per_call)
    assert [chunk.first_row for chunk in chunks] == list(range(0, 20, rows_per_call))
    assert {chunk.rows for chunk in chunks[:-1]} <= {rows_per_call}
    assert all(
        chunk.rows == chunk.features.num_rows == chunk.kept.num_rows or not chunk.kept.num_columns for chunk in chunks
    )
    assert rows(chunks) == [(number, number + 0.5) for number in range(20)]


def test_kept_columns_are_text_as_it_stands(written):
    """A kept column that is a feature too comes twice: as text with its NA and zeros, and parsed."""
    file = written('a,b\n007,NA\n 8,1.50\n9,""\n')
    (chunk,) = read(file, NUMBERS, keep=("b", "a"))
    assert chunk.kept.to_pydict() == {"b": ["NA", "1.50", None], "a": ["007", " 8", "9"]}
    assert chunk.features.to_pydict() == {"a": [7, 8, 9], "b": [None, 1.5, None]}


def test_a_column_that_pyarrow_does_not_convert_is_parsed_as_text(written, monkeypatch):
    """Whole numbers written as 1.0 are read from the block on where they appear; nothing is lost or doubled."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 100)
    texts = [f"{number}.0" if number % 50 == 30 else str(number) for number in range(200)]
    file = written("a,b\n" + "".join(f"{text},{text}\n" for text in texts))
    assert rows(read(file, NUMBERS, rows_per_call=7)) == [(number, float(number)) for number in range(200)]


ALL_KINDS = Schema(
    columns=(
        ColumnSpec("x", "double"),
        ColumnSpec("n", "long"),
        ColumnSpec("b", "boolean"),
        ColumnSpec("s", "string"),
        ColumnSpec("t", "datetime"),
    )
)


def test_only_the_columns_that_are_needed_are_read_and_each_in_its_type(written, monkeypatch):
    """Arrow makes numbers, truth values and text of a block in one look; other columns are skipped over."""
    asked = []
    real = pa.csv.open_csv

    def spy(source, **options):
        if conversion := options.get("convert_options"):  # the header's has none
            asked.append(conversion.column_types)
        return real(source, **options)

    monkeypatch.setattr(csv_parser.pacsv, "open_csv", spy)
    monkeypatch.setattr(csv_parser.pc, "is_in", None)  # a look at each text
    file = written("s,unused,x,n,b,t\n" + "a,?,1.5,1,true,2026-01-31\nNA,?,,2,0,\n" * 3)
    (chunk,) = read(file, ALL_KINDS)
    assert chunk.features.column("s").to_pylist() == ["a", None] * 3
    assert asked == [
        {"0": pa.string(), "2": pa.float64(), "3": pa.float64(), "4": pa.bool_(), "5": pa.string()},
    ]


@pytest.mark.parametrize(("value", "readers_opened"), [("2", 1), ('"2"', 5)])
def test_blocks_without_quotes_are_parsed_by_one_reader(written, monkeypatch, value, readers_opened):
    """A reader for each block costs a tenth more; where there are quotes one for all would look at them twice."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 64)
    opened = []
    real = pa.csv.open_csv
    monkeypatch.setattr(csv_parser.pacsv, "open_csv", lambda *args, **named: opened.append(1) or real(*args, **named))
    file = written("a,b\n" + f"1,{value}\n" * (5 * 64 // len(f"1,{value}\n") - 1))
    assert rows(read(file, NUMBERS)) == [(1, 2.0)] * (5 * 64 // len(f"1,{value}\n") - 1)
    assert len(opened) == readers_opened


def test_kept_text_tells_a_word_for_missing_from_nothing(written):
    """Beside it the model's own text is missing where the word stands."""
    file = written("a,b,c\nNA,x,NA\n,NA,\n")
    (chunk,) = read(file, keep=("c",))
    assert rows([chunk]) == [(None, "x"), (None, None)]
    assert chunk.kept.column("c").to_pylist() == ["NA", None]


@pytest.mark.parametrize("word", ["NA", "nan", "1.#IND", "-nan"])
def test_words_for_missing_values_are_looked_for_once_one_is_met(written, monkeypatch, word):
    """Looking them up costs a tenth of reading numbers; the rest of the file is read with them, at once."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 64)
    monkeypatch.setattr(csv_typed, "GROUP_BYTES", 64)
    asked = []
    real = pa.csv.open_csv

    def spy(source, **options):
        if conversion := options.get("convert_options"):  # the header's has none
            asked.append(len(conversion.null_values))
        return real(source, **options)

    lines = ["1.5,2\n"] * 30 + [f"{word},3\n"] + ["2.5,4\n"] * 30
    file = written("b,a\n" + "".join(lines))
    monkeypatch.setattr(csv_parser.pacsv, "open_csv", spy)
    found = [row[1] for row in rows(read(file, NUMBERS))]
    assert found == [1.5] * 30 + [None] + [2.5] * 30
    few, many = min(asked), max(asked)
    assert asked == sorted(asked)
    assert (few, many) == (1, len(CsvOptions().missing_values))


def test_a_number_that_stands_for_missing_is_missing(written):
    file = written("a,b\n1,-999\n2,7\n")
    csv_options = CsvOptions(missing_values=("-999", "7"))
    assert rows(read(file, NUMBERS, csv=csv_options)) == [(1, None), (2, None)]


def test_whole_blocks_leave_nothing_to_parse_at_the_end(written, monkeypatch):
    """An empty rest would cost as much for each column as thousands of rows do."""
    parsed = []
    real = csv_parser.RecordParser.parse
    monkeypatch.setattr(
        csv_parser.RecordParser,
        "parse",
        lambda parser, blocks, row: parsed.append(len(blocks)) or real(parser, blocks, row),
    )
    monkeypatch.setattr(csv_typed, "GROUP_BYTES", 1)
    read(written("a,b\n1,2\n"), NUMBERS)
    assert parsed == [1]
    read(written("a,b\n"), NUMBERS)
    assert parsed == [1, 0]


def test_a_field_longer_than_a_block_is_read(written, monkeypatch):
    """A quoted field may span any number of blocks."""
    monkeypatch.setattr(source, "BLOCK_BYTES", 10)
    long = 'line\r\n"quote"\n' * 50
    text = io.StringIO(newline="")
    csv.writer(text).writerows([("a", "b"), ("1", long), (long, "2")])
    assert rows(read(written(text.getvalue()))) == [("1", long), (long, "2")]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_and_blank_lines(written, end):
    """LF, CR and CRLF end rows, blank lines anywhere are no rows, and the last line needs no end."""
    file = written(end.join(["", "a,b", "", "1,2", "", "", "3,4"]))
    (chunk,) = read(file, NUMBERS)
    assert rows([chunk]) == [(1, 2.0), (3, 4.0)]
    assert readers.count_rows(file, CsvOptions()) == 2


def test_header_only_file_gives_one_chunk_without_rows(written):
    """0 rows, with the columns and their types."""
    for text in ("a,b\n", "a,b", "a,b\n\n\n"):
        (chunk,) = read(written(text), NUMBERS, keep=("b",))
        assert (chunk.rows, chunk.features.schema.types) == (0, [pa.int64(), pa.float64()])
        assert chunk.kept.schema == pa.schema({"b": pa.string()})
        assert readers.count_rows(written(text), CsvOptions()) == 0


@pytest.mark.parametrize("name", ["x.csv.gz", "x.CSV.ZST", "x.tsv", "x.TSV.gz", "x.tsv.zst"])
def test_suffixes_say_compression_and_delimiter(written, name):
    """Gzip and Zstandard are read as streams, .tsv takes tabs whatever the delimiter is."""
    text = b"a;b\n" + b"1;2\n" * 1000
    if "tsv" in name.lower():
        text = text.replace(b";", b"\t")
    if name.lower().endswith("gz"):
        text = gzip.compress(text[:2000]) + gzip.compress(text[2000:])
    elif name.lower().endswith("zst"):
        text = pa.compress(text, codec="zstd", asbytes=True)
    file = written(text, name)
    options = CsvOptions(delimiter=";")
    assert rows(read(file, NUMBERS, csv=options)) == [(1, 2.0)] * 1000
    assert readers.count_rows(file, options) == 1000
    assert readers.columns(file, options) == ["a", "b"]
    if "tsv" not in name or "." in name[-3:]:
        assert readers.cut(file, 10, options)[0].is_whole is not (name == "x.tsv")


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "ascii"]
)
def test_encodings(written, encoding):
    """Text in the encoding named is read, its byte order mark skipped."""
    word = "e" if encoding == "ascii" else "é"
    data = f'a,{word}\n1,"{word}\n{word}"\n'.encode(encoding)
    if encoding == "utf-16-le":
        data = 'a,é\n1,"é\né"\n'.encode(encoding)
    file = written(data)
    schema = Schema(columns=(ColumnSpec(word, "string"),))
    assert rows(read(file, schema, csv=CsvOptions(encoding=encoding))) == [(f"{word}\n{word}",)]
    assert readers.count_rows(file, CsvOptions(encoding=encoding)) == 1


def test_byte_order_mark_before_a_quote(written):
    """A UTF-8 byte order mark belongs neither to the first name nor to its quote."""
    data = codecs.BOM_UTF8 + b'"a","b\nb"\n1,2\n3,4\n'
    schema = Schema(columns=(ColumnSpec("a", "long"),))
    file = written(data)
    assert readers.columns(file, CsvOptions()) == ["a", "b\nb"]
    assert rows(read(file, schema)) == [(1,), (3,)]
    first, second = readers.cut(file, 4, CsvOptions())
    assert (data[first.start : first.stop], data[second.start : second.stop]) == (b"1,2\n", b"3,4\n")
    whole, rest = readers.cut(file, 8, CsvOptions(header=False))
    assert (whole.start, rest.first_row) == (0, 1)


def test_without_header_row_0_is_data(written):
    """The first record is a row, in slices too."""
    schema = Schema(columns=(ColumnSpec(None, "long"), ColumnSpec(None, "double")))
    options = CsvOptions(header=False)
    file = written("1,2\n3,4\n5,6\n")
    assert rows(read(file, schema, csv=options)) == [(1, 2.0), (3, 4.0), (5, 6.0)]
    assert readers.count_rows(file, options) == 3
    pieces = readers.cut(file, 4, options)
    assert [(piece.start, piece.first_row) for piece in pieces] == [(0, 0), (4, 1), (8, 2)]
    assert [rows(read(file, schema, piece, csv=options)) for piece in pieces] == [[(1, 2.0)], [(3, 4.0)], [(5, 6.0)]]


@pytest.mark.parametrize("beginning", [1, 4, 8, 1 << 16])
def test_a_slice_finds_its_columns_in_the_beginning_of_the_file(written, monkeypatch, beginning):
    """However little of it is looked at first: a header may be longer."""
    monkeypatch.setattr("batchscore.readers.csv_header._BEGINNING_BYTES", beginning)
    file = written('\r\n"a","b"\r\n1,2\r\n3,4\r\n5,6\r\n')
    pieces = readers.cut(file, 4, CsvOptions())
    assert [rows(read(file, piece=piece)) for piece in pieces] == [[("1", "2")], [("3", "4")], [("5", "6")]]


def test_a_slice_reads_little_beyond_itself(written, monkeypatch):
    """The names of its columns, and its records."""
    asked = []
    read_blocks = source.read_blocks

    def recorded(file: InputFile, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        asked.append((start, stop))
        return read_blocks(file, start, stop)

    file = written("a,b\n" + "1,2\n" * 10)
    piece = readers.cut(file, 20, CsvOptions())[1]
    monkeypatch.setattr(source, "read_blocks", recorded)
    assert rows(read(file, piece=piece)) == [("1", "2")] * 5
    assert sorted(asked) == [(0, 1 << 16), (24, 44)]


def test_hive_partitions_are_features(written):
    """A partition's value is parsed like text of the file; Hive's null partition is missing."""
    file = written("a\n1\n2\n", partitions=(("b", "2026"), ("c", None)))
    schema = Schema(
        columns=(ColumnSpec("b", "long"), ColumnSpec("a", "long"), ColumnSpec("c", "string", required=False))
    )
    assert rows(read(file, schema)) == [(2026, 1, None), (2026, 2, None)]
    only = Schema(columns=(ColumnSpec("b", "string"),))
    assert rows(read(file, only)) == [("2026",), ("2026",)]


@pytest.mark.parametrize("rows_per_call", [1, 3, 100])
def test_max_rows_ends_the_slice(written, rows_per_call):
    """Rows behind the limit are neither given nor judged."""
    file = written("a,b\n1,2\n\n3,4\nbad\n")
    piece = FileSlice(file, max_rows=2)
    assert rows(read(file, NUMBERS, piece, rows_per_call=rows_per_call)) == [(1, 2.0), (3, 4.0)]
    (nothing,) = read(file, NUMBERS, replace(piece, max_rows=0))
    assert nothing.rows == 0


# refusals


@pytest.mark.parametrize("rows_per_call", [1, 2, 100])
@pytest.mark.parametrize("block", [5, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"a,b\n1,2\n\n3,x\ny,4\n", (1, "b", "x", "3,x", "")),
        (b"a,b\n1,2\n\n\n3,4,5\n6,x\n", (1, None, None, "3,4,5", "found 3 fields, expected 2")),
        (b"a,b\n1,2\n3,x\n3\n", (1, "b", "x", "3,x", "")),
        (b"a,b\n1,2\n3,\0\n", (1, None, None, "3,\0", "NUL")),
        (b"a,b\n1,2\n3,\xe9\n", (1, "b", "\\xe9", "3,\\xe9", "")),
        (b'a,b\n1,2\n3,"4\n5,6\n', (1, None, None, None, "never closed")),
    ],
)
def test_the_first_bad_row_is_refused(written, monkeypatch, rows_per_call, block, text, expected):
    """The refusal names the first bad row, blank lines not counted, whatever the chunks and the blocks are."""
    row, column, value, record, words = expected
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    found = refusal(written(text), NUMBERS, rows_per_call=rows_per_call)
    assert (found.row, found.column, found.value, found.record) == (row, column, value, record)
    assert words in found.reason
    assert f"row {row}" in found.reason


@pytest.mark.parametrize(("encoding", "bad"), [("utf-8", b"\xe9"), ("cp1252", b"\x81"), ("ascii", b"\xe9")])
def test_text_in_another_encoding_is_refused(written, encoding, bad):
    """Row, column and value are named, with escapes, and the option that helps; other columns aren't judged."""
    file = written(b"a,c,b\n1,%b,2\n3,x,caf%b\n" % (bad, bad))
    found = refusal(file, csv=CsvOptions(encoding=encoding))
    assert (found.row, found.column, found.value) == (1, "b", f"caf\\x{bad.hex()}")
    assert f"isn't {encoding}" in found.reason
    assert "--encoding" in found.reason


def test_truncated_utf16_is_refused(written):
    """Half a character at the end is no text."""
    found = refusal(written("a,b\n1,2".encode("utf-16")[:-1]), csv=CsvOptions(encoding="utf-16"))
    assert (found.row, found.column) == (0, "b")


@pytest.mark.parametrize("content", [b"", b"\n\r\n", codecs.BOM_UTF8])
def test_empty_file_is_refused(written, content):
    """A file without even a header line says so; it has 0 rows."""
    assert "empty" in refusal(written(content)).reason
    assert "empty" in refusal(written(content), schema=None).reason
    assert readers.count_rows(written(content), CsvOptions()) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a,b\n1,2\n".encode("utf-16"), "--encoding utf-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "--encoding utf-16"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0), ".csv.gz"),
        ("é,b\n1,2\n".encode("latin-1"), "--encoding"),
    ],
)
def test_files_that_are_something_else_are_refused(written, content, words):
    """The header tells what the file is, and what to do."""
    assert words in refusal(written(content)).reason


@pytest.mark.parametrize("name", ["x.csv.gz", "x.csv.zst"])
def test_damaged_archives_are_refused(written, name):
    """Truncated and foreign archives can't be read, nor counted."""
    text = "".join(f"{number},{number * 7919 % 1000}\n" for number in range(5000)).encode()
    whole = gzip.compress(text) if name.endswith("gz") else pa.compress(text, codec="zstd", asbytes=True)
    for content, reason in ((whole[:-20], "can't be read"), (b"a,b\n1,2\n", "begins with 'a,b")):
        file = written(content, name)
        assert reason in refusal(file).reason
        with pytest.raises(FileRefused, match=reason):
            readers.count_rows(file, CsvOptions())


def test_files_that_are_gone_or_of_another_type_are_refused(written, tmp_path):
    """A vanished file fails alone; a suffix without reader is named with those there are."""
    file = InputFile("x.csv", str(tmp_path / "x.csv"), 1, "1")
    assert "No such file" in refusal(file).reason
    assert readers.cut(file, 1, CsvOptions()) == (FileSlice(file),)
    assert ".parquet" in refusal(written("", "x.xlsx")).reason
    assert (readers.is_readable("a/B.Csv.GZ"), readers.is_readable("x.avro")) == (True, False)


# without a signature


def test_without_signature_pandas_infers_from_the_whole_file(written):
    """A late text makes the whole column text, and every chunk has the file's types."""
    file = written("a,b,c\n1,0.1,x\n2,NA,NA\nz,3,y\n")
    chunks = read(file, None, rows_per_call=2, keep=("b",))
    assert [chunk.rows for chunk in chunks] == [2, 1]
    assert [list(chunk.features.dtypes.astype(str)) for chunk in chunks] == [["object", "float64", "object"]] * 2
    assert chunks[0].features["a"].tolist() == ["1", "2"]
    assert chunks[0].features["c"][0] == "x"
    assert math.isnan(chunks[0].features["c"][1])
    assert [chunk.kept.to_pydict()["b"] for chunk in chunks] == [["0.1", "NA"], ["3"]]
    assert list(chunks[1].features.index) == [0]


def test_without_signature_floats_are_exact(written):
    """A double's text is read to its last bit on every pandas."""
    values = [
        0.1 + 0.2,
        1.7976931348623157e308,
        5e-324,
        0.30000000000000004,
        123456789.123456789,
        2.2250738585072014e-308,
    ]
    values += [math.sqrt(number) * 1e-7 for number in range(200)]
    (chunk,) = read(written("a\n" + "".join(f"{value!r}\n" for value in values)), None)
    assert chunk.features["a"].tolist() == values


def test_without_signature_what_pandas_would_mend_is_refused(written):
    """Short rows, which pandas pads, and spaces, which it skips, are refused."""
    assert refusal(written("a,b\n1,2\n3\n"), None).row == 1
    assert "spaces" in refusal(written("a\n1\n  \n2\n"), None).reason
    assert refusal(written(b"a,b\n1,2\n3,\xe9\n"), None).row == 1


def test_without_signature_limit_partitions_and_no_rows(written):
    """max_rows ends the chunks, partitions are text, a header alone gives 0 rows."""
    file = written("a\n1\n2\n3\n", partitions=(("year", "2026"),))
    chunks = read(file, None, FileSlice(file, max_rows=2), rows_per_call=1)
    assert [chunk.features.to_dict("list") for chunk in chunks] == [
        {"a": [1], "year": ["2026"]},
        {"a": [2], "year": ["2026"]},
    ]
    (chunk,) = read(written("a,b\n"), None)
    assert (chunk.rows, list(chunk.features.columns), len(chunk.features)) == (0, ["a", "b"], 0)


# properties

SIZES = st.tuples(st.integers(1, 60), st.sampled_from([1, 2, 7, 100]), st.integers(1, 30), st.integers(1, 60))
"""Of slices in bytes, of chunks in rows, of blocks and of groups of blocks in bytes."""
FIELD = st.one_of(
    st.sampled_from(["", "1", "-2.5", "NA", "x", "é", '5" pipe', "line\nline", "a\r\nb", '"', ",", " ", "0x1", "1e3"]),
    st.text('ab1,"\n\ré ', max_size=8),
)
LINE_END = st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n"])


def quoted(field: str, *, always: bool) -> str:
    if always or (set(field) & set('",\r\n') and not (field[0] != '"' and not set(field) & set(",\r\n"))):
        return '"' + field.replace('"', '""') + '"'
    return field


@st.composite
def csv_texts(draw, fields=FIELD, ends=LINE_END) -> str:
    """Well-formed CSV of two columns, with stray quotes in unquoted fields, blank lines and mixed line ends."""
    lines = draw(st.lists(st.tuples(fields, fields, st.booleans(), ends), max_size=12))
    text = "a,b" + draw(ends)
    for first, second, always, end in lines:
        text += quoted(first, always=always) + "," + quoted(second, always=always) + end
    return text.rstrip("\r\n") if draw(st.booleans()) else text


def outcome(file: InputFile, schema: Schema, pieces: tuple[FileSlice, ...], **options) -> list | tuple:
    """The rows, or what the first refusal tells."""
    try:
        chunks = [chunk for piece in pieces for chunk in read(file, schema, piece, **options)]
    except FileRefused as refused:
        return told(refused)
    numbers = [chunk.first_row + index for chunk in chunks for index in range(chunk.rows)]
    kept = [value for chunk in chunks for value in chunk.kept.to_pydict()["b"]]
    return list(zip(numbers, rows(chunks), kept, strict=True))


def test_a_header_in_another_encoding_is_told_without_the_blank_lines_before_it(folder):
    """The same text for the whole file and for a slice of it."""
    content = b'\r\n\t"\xef\xbb"\n' + b"b,31\n" * 4
    file = write_in(folder, content)
    for piece in (FileSlice(file), FileSlice(file, 8, 18)):
        with pytest.raises(FileRefused, match="the header isn't utf-8") as refused:
            list(read(file, None, piece))
        assert refused.value.record == '\t"\\xef\\xbb"'


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@QUICK
@given(csv_texts(), SIZES)
def test_any_cut_any_chunk_any_block_gives_the_rows_of_the_csv_module(folder, monkeypatch, text, sizes):
    """Read whole or in slices, a well-formed file has the rows that Python's csv module finds, once and in order."""
    size, chunk, block, group = sizes
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_typed, "GROUP_BYTES", group)
    file = write_in(folder, text)
    missing = CsvOptions().missing_values
    expected = [
        (number, tuple(None if field in missing else field for field in fields), fields[1] or None)
        for number, fields in enumerate([record for record in csv.reader(io.StringIO(text, newline="")) if record][1:])
    ]
    pieces = readers.cut(file, size, CsvOptions())
    assert outcome(file, STRINGS, (FileSlice(file),), rows_per_call=chunk, keep=("b",)) == expected
    assert outcome(file, STRINGS, pieces, rows_per_call=chunk, keep=("b",)) == expected
    assert readers.count_rows(file, CsvOptions()) == len(expected)


PARTLY_BAD = st.sampled_from(
    [
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "NA",
        "",
        "1.0",
        "+7",
        " 8",
        "inf",
        "9007199254740992",
        "9007199254740993",
        "x",
        "6,6",
    ]
)


@QUICK
@given(csv_texts(PARTLY_BAD), SIZES)
def test_any_cut_any_chunk_any_block_gives_the_same_verdict(folder, monkeypatch, text, sizes):
    """Values and refusals, whichever it is, don't depend on how a file is read."""
    file = write_in(folder, text)
    size, chunk, block, group = sizes
    monkeypatch.setattr(source, "BLOCK_BYTES", 1 << 20)
    whole = outcome(file, NUMBERS, (FileSlice(file),), keep=("b",))
    monkeypatch.setattr(source, "BLOCK_BYTES", block)
    monkeypatch.setattr(csv_typed, "GROUP_BYTES", group)
    pieces = readers.cut(file, size, CsvOptions())
    assert outcome(file, NUMBERS, (FileSlice(file),), rows_per_call=chunk, keep=("b",)) == whole
    assert outcome(file, NUMBERS, pieces, rows_per_call=chunk, keep=("b",)) == whole


@QUICK
@given(st.lists(st.sampled_from(['"', '""', "a", ",", "\n", "\r", "\r\n", "é", '"x"', " "]), max_size=25).map("".join))
def test_any_text_is_read_or_refused_and_counted(folder, text):
    """However malformed the text is, reading ends in rows, as many as are counted, or in a refusal."""
    file = write_in(folder, "a\n" + text)
    schema = Schema(columns=(ColumnSpec("a", "string", required=False),))
    try:
        count = sum(chunk.rows for chunk in read(file, schema, rows_per_call=3))
    except FileRefused:
        return
    assert readers.count_rows(file, CsvOptions()) == count
    assert (
        sum(chunk.rows for piece in readers.cut(file, 3, CsvOptions()) for chunk in read(file, schema, piece)) == count
    )


@QUICK
@given(csv_texts())
def test_without_signature_is_what_pandas_reads(folder, text):
    """Types and values are those of pandas.read_csv on the whole file, strings as objects."""
    file = write_in(folder, text)
    expected = pd.read_csv(io.BytesIO(text.encode()), low_memory=False)
    (chunk,) = read(file, None)
    assert chunk.features.astype(object).equals(expected.astype(object))
    assert chunk.rows == len(expected) == readers.count_rows(file, CsvOptions())
