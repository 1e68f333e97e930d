"""Parquet reading: columns by the signature, row groups as slices, refusals for damaged files."""

from __future__ import annotations

import datetime as dt
import decimal
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchscore import readers
from batchscore.errors import FileRefused
from batchscore.minibatch import FileSlice, InputFile
from batchscore.readers import row_groups
from batchscore.schema import ColumnSpec, Schema
from batchscore.settings import CsvOptions, ScoringSettings

NUMBERS = Schema(columns=(ColumnSpec("a", "long"), ColumnSpec("b", "double", required=False)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture
def written(tmp_path):
    """Writes a table and describes its file."""

    def write(table: pa.Table | dict, name: str = "x.parquet", partitions=(), **options) -> InputFile:
        return write_in(tmp_path, table, name, partitions, **options)

    return write


def write_in(folder, table: pa.Table | dict, name: str = "x.parquet", partitions=(), **options) -> InputFile:
    path = folder / name
    pq.write_table(table if isinstance(table, pa.Table) else pa.table(table), path, **options)
    return InputFile(name, str(path), path.stat().st_size, "1", partitions)


def read(file: InputFile, schema=NUMBERS, piece: FileSlice | None = None, **options) -> list[readers.Chunk]:
    return list(readers.read(piece or FileSlice(file), schema, ScoringSettings(**options)))


def rows(chunks: list[readers.Chunk]) -> list[tuple]:
    return [row for chunk in chunks for row in zip(*chunk.features.to_pydict().values(), strict=True)]


def refusal(file: InputFile, schema=NUMBERS, **options) -> FileRefused:
    with pytest.raises(FileRefused) as caught:
        read(file, schema, **options)
    return caught.value


def test_columns_are_taken_by_name_and_converted(written):
    """Columns come in the model's order with the signature's types; kept ones with their own."""
    table = {"b": pa.array([1, 2]), "c": [decimal.Decimal("1.5"), None], "a": pa.array([3, 4], pa.int8())}
    (chunk,) = read(written(table), keep=("c", "a"))
    assert chunk.features.schema == pa.schema({"a": pa.int64(), "b": pa.float64()})
    assert rows([chunk]) == [(3, 1.0), (4, 2.0)]
    assert chunk.kept.schema == pa.schema({"c": pa.decimal128(2, 1), "a": pa.int8()})
    assert chunk.kept.to_pydict() == {"c": [decimal.Decimal("1.5"), None], "a": [3, 4]}


@pytest.mark.parametrize("rows_per_call", [1, 2, 7, 1000])
def test_chunks_run_across_row_groups(written, rows_per_call):
    """Row groups don't show: every chunk but the last has exactly rows_per_call rows."""
    file = written({"a": range(20), "b": [float(number) for number in range(20)]}, row_group_size=3)
    chunks = read(file, rows_per_call=rows_per_call)
    assert [chunk.first_row for chunk in chunks] == list(range(0, 20, rows_per_call))
    assert {chunk.rows for chunk in chunks[:-1]} <= {rows_per_call}
    assert rows(chunks) == [(number, float(number)) for number in range(20)]


def test_names_with_dots_and_nested_columns(written):
    """A name with a dot is a name; a struct that has such a path beside it isn't mistaken for it."""
    table = pa.table({"s": [{"x": 1, "y": 2}], "s.x": [3], "l": [[1, 2]], "l.list": [5]})
    schema = Schema(columns=(ColumnSpec("s.x", "long"), ColumnSpec("l.list", "long")))
    (chunk,) = read(written(table), schema, keep=("l",))
    assert chunk.features.to_pydict() == {"s.x": [3], "l.list": [5]}
    assert chunk.kept.to_pydict() == {"l": [[1, 2]]}
    (chunk,) = read(written(table), schema, keep=("s",))
    assert chunk.kept.to_pydict() == {"s": [{"x": 1, "y": 2}]}


def test_dictionary_columns_are_decoded(written):
    """Categories come as their values, across row groups with other dictionaries."""
    table = pa.table({"a": [1, 2, 3], "b": [1.0, 2.0, 3.0], "c": pa.array(["x", "y", None]).dictionary_encode()})
    chunks = read(written(table, row_group_size=1), keep=("c",))
    assert chunks[0].kept.to_pydict() == {"c": ["x", "y", None]}
    assert chunks[0].kept.schema.types == [pa.string()]
    (chunk,) = read(written(table), schema=None)
    assert chunk.features.schema.types == [pa.int64(), pa.float64(), pa.string()]


def test_without_signature_all_columns_but_the_index_of_pandas(written):
    """What pandas.read_parquet gives as columns, with Arrow's types, and the partitions as text."""
    frame = pd.DataFrame({"a": [1, 2], "b": [dt.date(2026, 1, 1), None]}, index=pd.Index([5, 9], name="key"))
    (chunk,) = read(written(pa.Table.from_pandas(frame), partitions=(("year", "2026"),)), None, keep=("key",))
    assert chunk.features.to_pydict() == {"a": [1, 2], "b": [dt.date(2026, 1, 1), None], "year": ["2026"] * 2}
    assert chunk.kept.to_pydict() == {"key": [5, 9]}
    unnamed = written(pa.Table.from_pandas(frame.reset_index(drop=True).iloc[[1, 0]]))
    assert readers.columns(unnamed, CsvOptions()) == ["a", "b"]


def test_partitions_are_features_beside_and_without_columns(written):
    """Where the model needs partitions only, the rows are still counted right."""
    file = written({"a": [1, 2, 3]}, partitions=(("b", "4"),))
    assert rows(read(file)) == [(1, 4.0), (2, 4.0), (3, 4.0)]
    assert rows(read(file, Schema(columns=(ColumnSpec("b", "string"),)))) == [("4",)] * 3


def test_file_without_rows_gives_one_chunk(written):
    """0 rows, with the columns and their types."""
    for options in ({}, {"schema": None}):
        (chunk,) = read(written(pa.table({"a": pa.array([], pa.int32()), "b": pa.array([], pa.float64())})), **options)
        assert chunk.rows == 0
        assert chunk.features.schema.names == ["a", "b"]
    assert readers.count_rows(written({"a": []}), CsvOptions()) == 0


@pytest.mark.parametrize("rows_per_call", [1, 3, 100])
def test_max_rows_ends_the_slice(written, rows_per_call):
    """Rows behind the limit are not judged."""
    file = written({"a": [1, 2, 3, None], "b": [1.0, 2.0, 3.0, 4.0]}, row_group_size=2)
    chunks = read(file, NUMBERS, FileSlice(file, max_rows=3), rows_per_call=rows_per_call)
    assert rows(chunks) == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert read(file, NUMBERS, FileSlice(file, max_rows=0))[0].rows == 0


def test_cut_gives_runs_of_row_groups(written):
    """Slices hold about the size asked for, and know their first rows."""
    file = written({"a": range(1000), "b": [number / 7 for number in range(1000)]}, row_group_size=100)
    size = 3 * file.size // 10
    pieces = readers.cut(file, size, CsvOptions())
    assert [(piece.start, piece.stop, piece.first_row) for piece in pieces] == [
        (0, 3, 0), (3, 6, 300), (6, 9, 600), (9, 10, 900),
    ]  # fmt: skip
    assert readers.cut(file, file.size, CsvOptions()) == (FileSlice(file),)
    assert readers.count_rows(file, CsvOptions()) == 1000


def test_only_the_columns_that_are_needed_are_read(written, monkeypatch):
    """The others stay on the disk: reading looks at fewer bytes of the file than one column has."""
    asked = []
    real = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile,
        "iter_batches",
        lambda self, **options: asked.append(options["columns"]) or real(self, **options),
    )
    file = written({"z": range(9), "b": [1.0] * 9, "y": range(9), "a": range(9), "k": range(9)})
    assert rows(read(file)) == [(number, 1.0) for number in range(9)]
    read(file, keep=("k",))
    assert asked == [["b", "a"], ["b", "a", "k"]]


@pytest.mark.parametrize("rows_per_call", [5, 7, 100])
def test_pieces_of_a_row_group_give_its_rows(written, monkeypatch, rows_per_call):
    """Bad rows are named by their places in the file, and their records are theirs."""
    monkeypatch.setattr(row_groups, "PIECE_ROWS", 10)
    values = {"a": range(100), "b": [number / 7 for number in range(100)]}
    file = written(values, row_group_size=64)
    pieces = readers.cut(file, 1, CsvOptions(), 1)
    assert [piece.first_row for piece in pieces] == [0, 10, 30, 50, 64, 74, 84, 94]
    chunks = [chunk for piece in pieces for chunk in read(file, piece=piece, rows_per_call=rows_per_call)]
    assert rows(chunks) == rows(read(file))
    first = next(chunk for chunk in chunks if chunk.slice == pieces[2])
    assert (first.first_row, first.rows) == (30, min(rows_per_call, 20))
    assert readers.record_texts(pieces[2], [33], CsvOptions())[33].startswith('{"a": 33, ')
    bad = written({"a": range(100), "b": [2**60 + 1 if number == 34 else number for number in range(100)]})
    with pytest.raises(FileRefused, match="row 34"):
        read(bad, piece=replace(pieces[2], file=bad))


def test_row_groups_without_weight_stay_in_their_places_beside_one_that_is_cut(tmp_path, monkeypatch):
    """Empty groups, and those too small to have a share of the bytes, hold their rows once and in order, too."""
    monkeypatch.setattr(row_groups, "PIECE_ROWS", 10)
    path = tmp_path / "x.parquet"
    schema = pa.schema({"a": pa.int64(), "b": pa.float64()})
    with pq.ParquetWriter(path, schema) as writer:
        for numbers in ([], range(40), range(40, 43), [], range(43, 80)):
            writer.write_table(pa.table({"a": numbers, "b": [n / 7 for n in numbers]}, schema))
    file = InputFile("x.parquet", str(path), path.stat().st_size, "1")
    for apart in (1, 200, None):
        pieces = readers.cut(file, 1, CsvOptions(), apart)
        assert rows([chunk for piece in pieces for chunk in read(file, piece=piece)]) == rows(read(file))
        assert [piece.first_row for piece in pieces] == sorted(piece.first_row for piece in pieces)
    light = [row_groups.RowGroup(0, 0, 2, 0), row_groups.RowGroup(1, 2, 40, 40), row_groups.RowGroup(2, 42, 2, 0)]
    cut = row_groups.cut_row_groups(file, light, 1, 10)
    assert [(piece.start, piece.stop) for piece in cut] == [(0, 1), *[(1, 2)] * 4, (2, 3)]


def test_a_piece_of_a_row_group_with_fewer_rows_than_stated_is_refused(written, monkeypatch):
    found = pa.record_batch([[1] * 25, [1.0] * 25], ["a", "b"])
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", lambda *_, **__: iter([found]))
    file = written({"a": range(100), "b": [1.0] * 100})
    piece = FileSlice(file, 0, 1, 20, 10)
    with pytest.raises(FileRefused, match="states 10 rows here, and has 5"):
        read(file, piece=piece)


def test_damaged_files_are_refused(written, tmp_path):
    """Empty, foreign, truncated and corrupt files fail alone, and say what they are."""
    file = written({"a": range(10000), "b": [number / 7 for number in range(10000)]})
    good = (tmp_path / "x.parquet").read_bytes()
    cases = {
        b"": "is empty",
        b"a,b\n1,2\n": "isn't Parquet, as its name says: it begins with 'a,b",
        b"P": "isn't Parquet",
        b"PAR1": "can't be read as Parquet",
        good[: len(good) // 2]: "has no end",
        good[:200] + b"\xff" * (len(good) // 2) + good[200 + len(good) // 2 :]: "can't be read as Parquet",
    }
    for content, words in cases.items():
        (tmp_path / "x.parquet").write_bytes(content)
        assert words in refusal(file).reason
    (tmp_path / "x.parquet").write_bytes(good[:100])
    assert readers.cut(file, 1, CsvOptions()) == (FileSlice(file),)
    with pytest.raises(FileRefused, match="has no end"):
        readers.count_rows(file, CsvOptions())
    assert "No such file" in refusal(InputFile("y.pqt", str(tmp_path / "y.pqt"), 1, "1")).reason


def test_duplicate_names_are_refused(written):
    """Two columns of one name can't be told apart."""
    table = pa.table([[1], [2.0], [3]], names=["a", "b", "a"])
    with pytest.raises(FileRefused):
        read(written(table))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.integers(-5, 5), st.none()), max_size=20),
    st.integers(1, 8),
    st.integers(1, 300),
    st.sampled_from([1, 2, 7, 100]),
)
def test_any_cut_and_chunk_gives_the_same_rows(folder, values, group, size, rows_per_call):
    """Slices in order have the rows of the whole, once, with their numbers."""
    schema = Schema(columns=(ColumnSpec("b", "double", required=False),))
    file = write_in(folder, pa.table({"b": pa.array(values, pa.int64())}), row_group_size=group)
    expected = list(enumerate(None if value is None else float(value) for value in values))
    pieces = readers.cut(file, size, CsvOptions())
    for each in (pieces, (FileSlice(file),)):
        chunks = [chunk for piece in each for chunk in read(file, schema, piece, rows_per_call=rows_per_call)]
        numbers = [chunk.first_row + index for chunk in chunks for index in range(chunk.rows)]
        assert list(zip(numbers, [value for (value,) in rows(chunks)], strict=True)) == expected
    assert readers.count_rows(file, CsvOptions()) == len(values)


def test_the_first_bad_row_is_refused_whatever_the_chunks(written):
    """Of two bad columns the one with the smaller row number speaks."""
    file = written({"a": [1, 2, 3, 4, None], "b": [1, 2**60 + 1, 3, 2**60 + 1, 5]}, row_group_size=2)
    found = {
        (error.reason, error.row, error.column, error.value)
        for error in (refusal(file, rows_per_call=size) for size in (1, 2, 7))
    }
    assert len(found) == 1
    ((_, row, column, _),) = found
    assert (row, column) == (1, "b")
