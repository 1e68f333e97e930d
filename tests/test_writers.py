"""Parts and prediction files, read back with pandas, pyarrow and DuckDB."""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import errno
import functools
import io
import json
import os
import stat
import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from batchscore.errors import AnswerRefused, Stopped, StorageError
from batchscore.outcome import Column
from batchscore.settings import FORMATS
from batchscore.writers import TYPED, Piece, join, open_joiner, open_part, rendering, unify
from batchscore.writers.arrow_file import ArrowFile
from batchscore.writers.canonical import canonical_type
from batchscore.writers.parquet import ROW_GROUP_ROWS
from batchscore.writers.types import arrow_type

MOMENT = dt.datetime(2026, 1, 2, 3, 4, 5, 60)  # noqa: DTZ001  # without a zone, as models return it
ROLES = {"file": "file", "row": "row", "kept": "kept"}
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(folder, form, tables, roles=ROLES, cuts=()) -> bytes:
    """The prediction file of the tables; a new part begins before each number of a table in ``cuts``."""
    pieces: list[Piece] = []
    part, marks, number = None, [], 0

    def finish():
        part.close()
        pieces.extend(Piece(path, part.position(a), part.position(b), part.columns) for a, b in marks)

    for at, table in enumerate(tables):
        if part is None or at in cuts:
            if part is not None:
                finish()
            number += 1
            path, marks = str(folder / f"part-{number}"), []
            part = open_part(form, path, roles)
        start = part.rows
        try:
            part.write(table)
        except AnswerRefused:
            part.abort()
            raise
        marks.append((start, part.rows))
    if part is not None:
        finish()
    columns: tuple[Column, ...] = ()
    for piece in pieces:
        columns = unify(columns, piece.columns)
    target = io.BytesIO()
    join(form, iter(pieces), target, columns)
    return target.getvalue()


def table(*values, kind=None, **more) -> pa.Table:
    prediction = pa.array(values, kind)
    rows = range(len(prediction))
    return pa.table({"file": ["a.csv"] * len(rows), "row": pa.array(rows, pa.int64()), **more, "y": prediction})


def fields(text: bytes) -> list[str]:
    """The last field of each record of a CSV without line ends in fields."""
    return [line.split(",", 2)[2] for line in text.decode().split("\n")[1:-1]]


def read(text: bytes, form, kind: pa.DataType) -> list:
    """The column y by pyarrow."""
    if form == "parquet":
        return pa.parquet.read_table(io.BytesIO(text))["y"].to_pylist()
    if form == "jsonl":
        return [json.loads(line)["y"] for line in text.decode().split("\n")[:-1]]
    options = pa.csv.ConvertOptions(
        column_types={"y": kind}, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(io.BytesIO(text), parse_options=parse, convert_options=options)["y"].to_pylist()


TEXTS = {
    "floats": (
        pa.array([1.0, -0.0, 0.1, 1e-7, 1e22, 1e16, 1e10, -12345678901.5, 9007199254740993.0, None]),
        ["1.0", "-0.0", "0.1", "1e-7", "1e+22", "1e+16", "10000000000.0", "-12345678901.5", "9007199254740992.0", ""],
    ),
    "infinity and NaN": (pa.array([np.inf, -np.inf, np.nan]), ["inf", "-inf", ""]),
    "float32": (pa.array([0.1, 16777216.0], pa.float32()), ["0.1", "16777216.0"]),
    "integers": (pa.array([0, -(2**63), 2**63 - 1]), ["0", "-9223372036854775808", "9223372036854775807"]),
    "large integers": (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    "booleans": (pa.array([True, False, None]), ["True", "False", ""]),
    "text": (
        pa.array(["a", " b ", "", None, "x,y", 'say "x"', "007"]),
        ["a", " b ", '""', "", '"x,y"', '"say ""x"""', "007"],
    ),
    "timestamps": (
        pa.array([MOMENT], pa.timestamp("us")),
        ["2026-01-02T03:04:05.000060"],
    ),
    "seconds": (pa.array([0], pa.timestamp("s")), ["1970-01-01T00:00:00"]),
    "zones": (pa.array([0], pa.timestamp("ms", "Europe/Oslo")), ["1970-01-01T00:00:00.000Z"]),
    "dates": (pa.array([dt.date(2026, 1, 2)]), ["2026-01-02"]),
    "times": (pa.array([dt.time(3, 4, 5)]), ["03:04:05.000000"]),
    "durations": (
        pa.array([-1, 86_400_000_001, None], pa.duration("us")),
        ["-1 days +23:59:59.999999", "1 days 00:00:00.000001", ""],
    ),
    "decimals": (pa.array([decimal.Decimal("1.10"), None]), ["1.10", ""]),
    "binary": (pa.array([b"\x00\xff", None]), ["AP8=", ""]),
    "lists": (pa.array([[1.0, None], [], None]), ['"[1.0,null]"', "[]", ""]),
    "lists of text": (pa.array([["a,b", 'c"']]), ['"[""a,b"",""c\\""""]"']),
    "lists of lists": (pa.array([[[1], None], [[2, 3]]]), ['"[[1],null]"', '"[[2,3]]"']),
    "structs": (pa.array([{"a": 1, "b": None}, None]), ['"{""a"": 1, ""b"": null}"', ""]),
    "structs in lists": (pa.array([[{"a": float("nan")}]]), ['"[{""a"": null}]"']),
    "maps": (
        pa.array([[("k", MOMENT)]], pa.map_(pa.string(), pa.timestamp("us"))),
        ['"{""k"": ""2026-01-02T03:04:05.000060""}"'],
    ),
    "fixed-size lists": (pa.array([[1.0, np.nan], None], pa.list_(pa.float64(), 2)), ['"[1.0,null]"', ""]),
    "lists with NaN from within": (pa.array([[0.5], [np.nan, 1.0], None]).slice(1), ['"[null,1.0]"', ""]),
    "dictionaries": (pa.array(["a", None]).dictionary_encode(), ["a", ""]),
    "nothing": (pa.nulls(2), ["", ""]),
    "no rows": (pa.array([], pa.float64()), []),
}


@pytest.mark.parametrize(("values", "expected"), TEXTS.values(), ids=list(TEXTS))
def test_a_value_has_one_text_in_csv(tmp_path, values, expected):
    text = written(tmp_path, "csv", [_with(values)])
    assert text.startswith(b"file,row,y\n")
    assert fields(text) == expected


def _with(values: pa.Array) -> pa.Table:
    rows = len(values)
    return pa.table(
        {"file": pa.array(["a.csv"] * rows, pa.string()), "row": pa.array(range(rows), pa.int64()), "y": values}
    )


JSON_TEXTS = {
    "floats": (pa.array([1.0, 1e-7, None, np.nan]), ["1.0", "1e-7", "null", "null"]),
    "infinity": (pa.array([np.inf, -np.inf]), ["Infinity", "-Infinity"]),
    "booleans": (pa.array([True, None]), ["true", "null"]),
    "text": (pa.array(['é"\n\\', "plain", None, ""]), ['"é\\"\\n\\\\"', '"plain"', "null", '""']),
    "dates": (pa.array([dt.date(2026, 1, 2), None]), ['"2026-01-02"', "null"]),
    "decimals": (pa.array([decimal.Decimal("1.10")]), ["1.10"]),
    "lists": (pa.array([[1, None], None, []]), ["[1,null]", "null", "[]"]),
}


@pytest.mark.parametrize(("values", "expected"), JSON_TEXTS.values(), ids=list(JSON_TEXTS))
def test_a_value_has_one_text_in_json_lines(tmp_path, values, expected):
    lines = written(tmp_path, "jsonl", [_with(values)]).decode().split("\n")
    assert lines == [f'{{"file":"a.csv","row":{row},"y":{text}}}' for row, text in enumerate(expected)] + [""]


def test_names_are_quoted_where_they_must_be(tmp_path):
    odd = pa.table({'a,"b"': [1], "c": [2]})
    assert written(tmp_path, "csv", [odd]) == b'"a,""b""",c\n1,2\n'
    assert json.loads(written(tmp_path, "jsonl", [odd])) == {'a,"b"': 1, "c": 2}


SPECIAL = st.sampled_from(
    ["", " ", '"', ",", "\n", "\r\n", "NA", "null", "é€😀", "'", "\\", "a\tb", "\x1f", "\u2028", "1.0"]
)
TEXT = SPECIAL | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
COLUMNS = {
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "float": (pa.float32(), st.floats(width=32, allow_nan=False)),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "string": (pa.string(), TEXT),
    "bool": (pa.bool_(), st.booleans()),
    "timestamp": (pa.timestamp("us"), st.datetimes(MOMENT.replace(year=1700), MOMENT.replace(year=2200))),
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("name", COLUMNS)
@quick
@given(data=st.data())
def test_values_read_back_exactly_with_pyarrow(tmp_path, form, name, data):
    kind, values = COLUMNS[name]
    given_values = data.draw(st.lists(st.none() | values, min_size=1))
    text = written(tmp_path, form, [_with(pa.array(given_values, kind))])
    back = pa.array(read(text, form, kind), None if form == "jsonl" and name == "timestamp" else kind)
    if form == "jsonl" and name == "timestamp":
        back = back.cast(kind)
    assert _bits(back) == _bits(pa.array(given_values, kind))


def _bits(array: pa.Array) -> list:
    """Values that differ where floats differ in any bit."""
    return [value.hex() if isinstance(value, float) else value for value in array.to_pylist()]


@quick
@given(st.lists(st.none() | st.floats(allow_nan=False), min_size=1), st.lists(st.none() | TEXT, min_size=1))
def test_csv_reads_back_exactly_with_pandas(tmp_path, floats, texts):
    rows = min(len(floats), len(texts))
    floats, texts = floats[:rows], texts[:rows]
    text = written(tmp_path, "csv", [table(*floats, kind=pa.float64(), t=pa.array(texts, pa.string()))])
    options = {} if pd.__version__ >= "3.1" else {"float_precision": "round_trip"}  # newer ones always are exact
    kinds = {"y": float, "t": object}
    back = pd.read_csv(io.BytesIO(text), dtype=kinds, keep_default_na=False, na_values={"y": [""]}, **options)
    there = [None if np.isnan(value) else value.hex() for value in back["y"]]
    assert there == [None if value is None else value.hex() for value in floats]
    # pandas takes "" and nothing for the same, and reads \r as a line end within quotes
    assert [value.replace("\r\n", "\n").replace("\r", "\n") for value in back["t"]] == [
        (value or "").replace("\r\n", "\n").replace("\r", "\n") for value in texts
    ]


@pytest.mark.parametrize("form", FORMATS)
@settings(quick, max_examples=15)
@given(data=st.data())
def test_values_read_back_exactly_with_duckdb(tmp_path, form, data):
    duckdb = pytest.importorskip("duckdb")
    kinds = {"string": "VARCHAR", "double": "DOUBLE", "int64": "BIGINT", "timestamp": "TIMESTAMP", "bool": "BOOLEAN"}
    columns = {
        name: pa.array(data.draw(st.lists(st.none() | COLUMNS[name][1], min_size=4, max_size=4)), COLUMNS[name][0])
        for name in kinds
    }
    path = tmp_path / f"predictions.{form}"
    path.write_bytes(written(tmp_path, form, [pa.table({"row": [0, 1, 2, 3], **columns})]))
    types = "{" + ", ".join(f"'{name}': '{kind}'" for name, kind in {"row": "BIGINT", **kinds}.items()) + "}"
    dialect = "delim = ',', quote = '\"', escape = '\"', allow_quoted_nulls = false"
    source = {
        "csv": f"read_csv('{path}', {dialect}, columns = {types})",
        "jsonl": f"read_json('{path}', format = 'newline_delimited', columns = {types})",
        "parquet": f"read_parquet('{path}')",
    }[form]
    found = duckdb.sql(f"select * from {source}").fetchall()
    for position, (name, column) in enumerate(columns.items(), 1):
        assert _bits(pa.array([row[position] for row in found], COLUMNS[name][0])) == _bits(column), name


def test_types_are_seen_without_being_told(tmp_path):
    one = pa.table(
        {
            "row": [0, 1],
            "f": [1.0, 2.0],
            "b": [True, False],
            "t": pa.array([0, 1], pa.timestamp("us")),
            "s": ["x", None],
        }
    )
    back = pd.read_csv(io.BytesIO(written(tmp_path, "csv", [one])), parse_dates=["t"])
    assert [back[name].dtype.kind for name in ("row", "f", "b", "t")] == ["i", "f", "b", "M"]
    assert pa.csv.read_csv(io.BytesIO(written(tmp_path, "csv", [one]))).schema.types[:3] == [
        pa.int64(),
        pa.float64(),
        pa.bool_(),
    ]
    lines = pd.read_json(io.BytesIO(written(tmp_path, "jsonl", [one])), lines=True)
    assert lines["s"].tolist()[0] == "x"
    path = tmp_path / "out.csv"
    path.write_bytes(written(tmp_path, "csv", [one]))
    duckdb = pytest.importorskip("duckdb")
    kinds = [str(kind) for kind in duckdb.sql(f"select * from '{path}'").types]
    assert kinds == ["BIGINT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "VARCHAR"]


ANY_COLUMN = st.sampled_from(
    [
        (pa.float64(), st.floats(allow_nan=False)),
        (pa.float32(), st.floats(width=32, allow_nan=False)),
        (pa.int64(), st.integers(-(2**53), 2**53)),
        (pa.int8(), st.integers(-128, 127)),
        (pa.null(), st.none()),
    ]
)
KEPT = st.sampled_from(
    [
        (pa.string(), st.sampled_from(["1", "-5", "0.5", "1e-7", "007", "9007199254740993", "1.0", "x", ""])),
        (pa.string(), st.sampled_from(["1", "2"])),
        (pa.float64(), st.sampled_from([1.0, 0.5, -0.0, 12345678901.0, 2.0**53])),
        (pa.int64(), st.integers(-9, 9)),
        (pa.int64(), st.sampled_from([12345678901, 2**53 + 1, -(2**53) - 1])),
        (pa.uint64(), st.sampled_from([0, 2**53 + 1, 2**64 - 1])),
        (pa.int8(), st.sampled_from([-1, 1])),
        (pa.uint32(), st.sampled_from([1, 2**32 - 1])),
        (pa.float32(), st.sampled_from([0.5, 16777216.0])),
        (pa.null(), st.none()),
    ]
)


@st.composite
def changing_tables(draw):
    """Tables whose numbers and kept columns change their types from one to the next."""
    tables, row = [], 0
    for _ in range(draw(st.integers(1, 5))):
        rows = draw(st.integers(0, 4))
        columns = {}
        for name, kinds in (("kept", KEPT), ("y", ANY_COLUMN)):
            kind, values = draw(kinds)
            columns[name] = pa.array(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), kind)
        files = pa.array(["a,b.csv"] * rows, pa.string())
        tables.append(pa.table({"file": files, "row": pa.array(range(row, row + rows), pa.int64()), **columns}))
        row += rows
    return tables


def test_the_fixture_of_kept_columns_mixes_types():
    """The property below is about changes of type: they must happen."""
    assert len({str(kind) for kind, _ in KEPT.elements}) == 8  # type: ignore[attr-defined]  # sampled_from keeps its elements


@pytest.mark.parametrize("form", FORMATS)
@settings(quick, max_examples=60)
@given(tables=changing_tables(), data=st.data())
def test_the_bytes_depend_on_the_rows_not_on_how_they_are_cut_into_parts(tmp_path, form, tables, data):
    cuts = data.draw(st.sets(st.integers(1, 5)))
    assert written(tmp_path, form, tables, cuts=cuts) == written(tmp_path, form, tables)


@pytest.mark.parametrize("form", FORMATS)
@quick
@given(values=st.lists(st.none() | st.floats(), max_size=30), texts=st.data(), step=st.integers(1, 7))
def test_the_bytes_dont_depend_on_the_tables_that_bring_the_rows(tmp_path, form, values, texts, step):
    kept = texts.draw(st.lists(st.none() | TEXT, min_size=len(values), max_size=len(values)))
    whole = table(*values, kind=pa.float64(), kept=pa.array(kept, pa.string()))
    pieces = [whole.slice(start, step) for start in range(0, len(values), step)] or [whole]
    assert written(tmp_path, form, pieces, cuts=range(3, 30, 3)) == written(tmp_path, form, [whole])


@pytest.fixture
def worked(monkeypatch) -> Counter:
    """How many files are opened to be read, and how many batches of Arrow files are decoded."""
    counts: Counter = Counter()

    class Decoding:
        def __init__(self, *given, **options):
            self._reader = open_file(*given, **options)
            self.num_record_batches = self._reader.num_record_batches

        def get_batch(self, number):
            counts["decoded"] += 1
            return self._reader.get_batch(number)

    def counted(call):
        return lambda *given, **options: (counts.update(["opened"]), call(*given, **options))[1]

    open_file = pa.ipc.open_file
    monkeypatch.setattr(pa.ipc, "open_file", Decoding)
    monkeypatch.setattr(pa, "OSFile", counted(pa.OSFile))
    monkeypatch.setattr(Path, "open", counted(Path.open))
    return counts


def parts_of_small_files(folder, form, sizes) -> list[list[Piece]]:
    """The pieces of parts, each of so many files of three rows and a kept column."""
    pieces = []
    for number, files in enumerate(sizes):
        with open_part(form, str(folder / f"part-{number}"), ROLES) as part:
            for file in range(files):
                part.write(table(file, file + 0.5, None, kept=["a", "b", f"{number}"]))
        places = [part.position(row) for row in range(0, 3 * files + 1, 3)]
        pieces.append([Piece(str(folder / f"part-{number}"), *place, part.columns) for place in pairwise(places)])
    return pieces


def open_below(folder) -> list[str]:
    """The files of the folder that this process has open."""
    links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return [target for link in links if (target := str(link.resolve())).startswith(str(folder))]


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system doesn't say what is open")


@needs_proc
@pytest.mark.parametrize("how", ["one file", "a file each"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_part_is_read_once_however_many_small_files_lie_in_it(tmp_path, form, how, worked):
    """Also where every fifth file was scored again, and lies in another part. At the end none is open."""
    long, again = parts_of_small_files(tmp_path, form, [200, 50])
    pieces = [piece for number, one in enumerate(again) for piece in (*long[4 * number : 4 * number + 4], one)]
    files = [pieces] if how == "one file" else [[piece] for piece in pieces]
    worked.clear()
    with closing(open_joiner(form)) as joiner:
        targets = [io.BytesIO() for _ in files]
        for file, target in zip(files, targets, strict=True):
            joiner.join(iter(file), target, long[0].columns)
        assert len(open_below(tmp_path)) == 2
    assert open_below(tmp_path) == []
    assert worked == {"opened": 2, **({"decoded": 2} if form == "parquet" else {})}
    texts = [text for target in targets for text in read(target.getvalue(), form, pa.float64())]
    whole = [y for file in range(50) for y in (*range(4 * file, 4 * file + 4), file)]
    assert [float(y) for y in texts[::3]] == whole


@needs_proc
@pytest.mark.parametrize("form", FORMATS)
def test_few_parts_are_open_at_once_and_none_after_an_error(tmp_path, form):
    parts = parts_of_small_files(tmp_path, form, [1] * 10)
    most = []

    def pieces():
        for [piece] in parts:
            yield piece
            most.append(len(open_below(tmp_path)))
        yield Piece(str(tmp_path / "gone"), 0, 1, piece.columns)

    with pytest.raises(StorageError, match=r"can't read .*gone: "):
        join(form, pieces(), io.BytesIO(), parts[0][0].columns)
    assert most == [1, 2, 3, *[4] * 7]
    assert open_below(tmp_path) == []


def test_batches_of_an_arrow_part_are_found_from_any_row(tmp_path, worked):
    """Without those before them where these were seen; also rows before the last ones, and of several batches."""
    sizes = [3, 20_000, 1, 2, 16_384, 70_000, 5]
    with open_part("parquet", str(tmp_path / "part"), ROLES) as part:
        for size in sizes:
            part.write(pa.table({"y": np.arange(part.rows, part.rows + size)}))
    rows = sum(sizes)
    with closing(ArrowFile(str(tmp_path / "part"))) as file:
        for start, stop in [(20_003, 20_004), (0, rows), (2, 4), (rows - 5, rows + 9), (70_000, 70_000), (9, 100_000)]:
            found = [batch["y"].to_pylist() for batch in file.rows(start, stop)]
            assert list(chain(*found)) == list(range(start, min(stop, rows)))
            assert all(found)
        worked.clear()
        assert [batch["y"].to_pylist() for batch in file.rows(rows - 2, rows)] == [[rows - 2, rows - 1]]
        assert worked["decoded"] == 1


def test_joins_at_once_leave_the_process_the_memory_pool_that_it_had():
    """Of two jobs in threads, the one that begins first ends first."""
    usual, pools = pa.default_memory_pool().backend_name, []
    begun, may_end = ([threading.Event() for _ in range(2)] for _ in range(2))

    def pieces(number):
        begun[number].set()
        assert may_end[number].wait(20)
        pools.append(pa.default_memory_pool().backend_name)
        yield from ()

    columns = (Column("y", "int64", "prediction"),)
    with ThreadPoolExecutor(2) as threads:
        joins = []
        for number in range(2):
            joins.append(threads.submit(join, "parquet", pieces(number), io.BytesIO(), columns))
            assert begun[number].wait(20)
        for number in range(2):
            may_end[number].set()
            joins[number].result()
    assert len(set(pools)) == 1
    assert pa.default_memory_pool().backend_name == usual


def test_a_signal_at_any_step_of_a_join_leaves_the_process_the_memory_pool_that_it_had():
    """Signals are handled where a function begins and behind a call; a profiler is called there, too."""
    usual = pa.default_memory_pool().backend_name
    columns = (Column("y", "int64", "prediction"),)

    def interrupted_at(step) -> bool:
        left = step

        def handle(frame, event, _):
            nonlocal left
            if event == "call" and frame.f_lasti >= 0 and sys.version_info < (3, 11):
                return  # a generator goes on: what a profiler raises then skips its finally, a signal's handler doesn't
            if event in {"call", "c_return"} and frame.f_code.co_name in {"lent", "_lend", "_give_back"}:
                left -= 1
                if left == 0:
                    raise Stopped(15)

        before = sys.getprofile()
        sys.setprofile(handle)
        with contextlib.suppress(Stopped):
            join("parquet", [], io.BytesIO(), columns)
        sys.setprofile(before)
        return left <= 0

    steps = 1
    while interrupted_at(steps):
        assert pa.default_memory_pool().backend_name == usual, f"at step {steps}"
        steps += 1
    assert steps > 6


NUMBERS = {"x": pa.array(np.random.default_rng(0).random(30_000)), "n": pa.array(np.arange(30_000) % 7)}


def test_dictionaries_of_parquet_are_for_text_only(tmp_path):
    """Of numbers they cost memory and time even where few are different; a file's name is in each of its rows."""
    whole = pa.table({"file": ["part-1.csv"] * 30_000, "kept": [f"{n % 50} plan" for n in range(30_000)], **NUMBERS})
    metadata = pa.parquet.ParquetFile(io.BytesIO(written(tmp_path, "parquet", [whole]))).metadata
    group = metadata.row_group(0)
    encodings = {chunk.path_in_schema: set(chunk.encodings) for chunk in map(group.column, range(4))}
    dictionary = {"RLE_DICTIONARY", "PLAIN_DICTIONARY"}
    assert {name for name, used in encodings.items() if used & dictionary} == {"file", "kept"}
    sizes = {chunk.path_in_schema: chunk.total_uncompressed_size for chunk in map(group.column, range(4))}
    assert sizes["file"] < 1_000
    assert sizes["kept"] < 30_000
    assert sizes["x"] == pytest.approx(8 * 30_000, rel=0.01)


def test_a_prediction_file_has_row_groups_of_a_fixed_number_of_rows(tmp_path):
    rows = 2 * ROW_GROUP_ROWS + 5
    whole = pa.table({"file": ["f"] * rows, "row": np.arange(rows), "y": np.arange(rows) / 7})
    one = written(tmp_path, "parquet", [whole])
    assert one == written(tmp_path, "parquet", [whole.slice(0, 100_000), whole.slice(100_000)], cuts=[1])
    metadata = pa.parquet.ParquetFile(io.BytesIO(one)).metadata
    assert [metadata.row_group(group).num_rows for group in range(3)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 5]
    assert pa.parquet.read_table(io.BytesIO(one)).equals(whole)


WIDER = {
    "nothing, then text": (([None],), (["a"],), pa.string(), ["", "a"]),
    "integers, then fractions": (([1],), ([0.5],), pa.float64(), ["1.0", "0.5"]),
    "fractions, then integers": (([0.5],), ([1],), pa.float64(), ["0.5", "1.0"]),
    "small, then large integers": (([1], pa.int8()), ([2**40],), pa.int64(), ["1", str(2**40)]),
    "float32, then double": (([0.1], pa.float32()), ([0.1],), pa.float64(), ["0.10000000149011612", "0.1"]),
    "signed, then unsigned": (([-1], pa.int32()), ([2**32 - 1], pa.uint32()), pa.int64(), ["-1", str(2**32 - 1)]),
    "lists": (([[1]],), ([[0.5]],), pa.list_(pa.float64()), ["[1.0]", "[0.5]"]),
    "empty lists": (([[]],), ([["a"]],), pa.list_(pa.string()), ["[]", '"[""a""]"']),
    "signed, then unsigned of 64 bits": (
        ([-1],),
        ([2**64 - 1], pa.uint64()),
        pa.decimal128(20, 0),
        ["-1", str(2**64 - 1)],
    ),
    "seconds, then milliseconds": (
        ([1], pa.timestamp("s")),
        ([2], pa.timestamp("ms")),
        pa.timestamp("ms"),
        ["1970-01-01T00:00:01.000", "1970-01-01T00:00:00.002"],
    ),
    "decimals": (
        ([decimal.Decimal("1.1")],),
        ([decimal.Decimal("22.22")],),
        pa.decimal128(4, 2),
        ["1.10", "22.22"],
    ),
    "durations": (
        ([1], pa.duration("s")),
        ([1], pa.duration("ms")),
        pa.duration("ms"),
        ["0 days 00:00:01.000", "0 days 00:00:00.001"],
    ),
}


@pytest.mark.parametrize("cuts", [[], [1]], ids=["one part", "two parts"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("before", "after", "kind", "texts"), WIDER.values(), ids=list(WIDER))
def test_predictions_widen(tmp_path, form, before, after, kind, texts, cuts):
    first, second = _with(pa.array(*before)), _with(pa.array(*after))
    text = written(tmp_path, form, [first, second], cuts=cuts)
    if form == "csv":
        assert fields(text) == texts
    elif form == "parquet":
        column = pa.parquet.read_table(io.BytesIO(text))["y"]
        assert column.type == (kind if kind != pa.timestamp("s") else pa.timestamp("ms"))
    else:
        assert text == written(tmp_path, form, [_with(_as(first, kind)), _with(_as(second, kind))])


def _as(one: pa.Table, kind: pa.DataType) -> pa.Array:
    return one["y"].combine_chunks().cast(kind)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ([1], ["a"], r"'y' is int64 in one answer and string in another"),
        ([True], [1], r"'y' is bool .* int64"),
        ([[1]], [1], r"'y' is list<item: int64> .* int64"),
        ([dt.date(2026, 1, 1)], [1], r"'y' is date32\[day\] .* int64"),
    ],
    ids=str,
)
def test_other_changes_of_type_are_refused_naming_both(tmp_path, form, a, b, message):
    with pytest.raises(AnswerRefused, match=message):
        written(tmp_path, form, [table(*a), table(*b)])
    with pytest.raises(AnswerRefused, match=message):
        written(tmp_path, form, [table(*a), table(*b)], cuts=[1])


def test_other_columns_are_refused_naming_both():
    a, b = (Column("x", "double", "prediction"),), (Column("z", "double", "prediction"),)
    with pytest.raises(AnswerRefused, match="columns x, another one z"):
        unify(a, b)
    assert unify((), a) == unify(a, ()) == a


def kept_type(folder, *texts, more=(), cuts=()) -> tuple[pa.DataType, list]:
    tables = [table(0.5, kept=pa.array([text], pa.string())) for text in texts] + list(more)
    found = pa.parquet.read_table(io.BytesIO(written(folder, "parquet", tables, cuts=cuts)))["kept"]
    return found.type, found.to_pylist()


@pytest.mark.parametrize("cuts", [(), range(1, 9)], ids=["one part", "a part each"])
@pytest.mark.parametrize(
    ("texts", "kind", "values"),
    [
        (["1", None, "-5"], pa.int64(), [1, None, -5]),
        (["1", "0.5", "1e-7", "1e-05", "2.0"], pa.float64(), [1.0, 0.5, 1e-7, 1e-5, 2.0]),
        (["1", "12345678901.0", "12345678901.5"], pa.float64(), [1.0, 12345678901.0, 12345678901.5]),
        (["1e+10"], pa.float64(), [1e10]),
        (["1", "007"], pa.string(), ["1", "007"]),
        (["0.5", "1", "x"], pa.string(), ["0.5", "1", "x"]),
        (["1.50"], pa.string(), ["1.50"]),
        (["+1"], pa.string(), ["+1"]),
        (["-0"], pa.string(), ["-0"]),
        (["inf"], pa.string(), ["inf"]),
        (["1_0"], pa.string(), ["1_0"]),
        (["9223372036854775807"], pa.int64(), [2**63 - 1]),
        (["9223372036854775808"], pa.string(), ["9223372036854775808"]),
        (["9007199254740993", "0.5"], pa.string(), ["9007199254740993", "0.5"]),
        ([None, None], pa.string(), [None, None]),
        (["1", ""], pa.string(), ["1", ""]),
    ],
    ids=str,
)
def test_kept_text_is_typed_where_no_character_is_lost(tmp_path, texts, kind, values, cuts):
    assert kept_type(tmp_path, *texts, cuts=cuts) == (kind, values)
    tables = [table(0.5, kept=pa.array([text], pa.string())) for text in texts]
    lines = written(tmp_path, "jsonl", tables, cuts=cuts).decode().splitlines()
    expected = [json.dumps(text) if kind == pa.string() and text is not None else text or "null" for text in texts]
    assert [line.split('"kept":')[1].split(',"y"')[0] for line in lines] == expected
    texts_of_csv = [
        line.split(",")[2] for line in written(tmp_path, "csv", tables, cuts=cuts).decode().splitlines()[1:]
    ]
    assert texts_of_csv == ['""' if text == "" else text or "" for text in texts]


def test_text_of_a_typed_file_stays_text(tmp_path):
    typed = table(0.5, kept=pa.array(["1"]))
    typed = typed.set_column(2, pa.field("kept", pa.string(), metadata=TYPED), typed["kept"])
    assert kept_type(tmp_path, more=[typed]) == (pa.string(), ["1"])


def test_kept_columns_of_different_files_become_numbers_or_text(tmp_path):
    assert kept_type(tmp_path, more=[table(0.5, kept=[1]), table(0.5, kept=[2.5])]) == (pa.float64(), [1.0, 2.5])
    assert kept_type(tmp_path, "1", more=[table(0.5, kept=[2.5])]) == (pa.string(), ["1", "2.5"])
    assert kept_type(tmp_path, None, more=[table(0.5, kept=[[2]])]) == (pa.list_(pa.int64()), [None, [2]])
    assert kept_type(tmp_path, "x", more=[table(0.5, kept=[2.0]), table(0.5, kept=[3])]) == (
        pa.string(),
        ["x", "2", "3"],
    )
    assert kept_type(tmp_path, more=[table(0.5, kept=[True]), table(0.5, kept=[1])]) == (pa.string(), ["True", "1"])


KEYS = {
    "fractions": ([pa.array([2**53 + 1]), pa.array([0.5])], pa.string(), [str(2**53 + 1), "0.5"]),
    "text, then fractions": ([pa.array([str(2**53 + 1)]), pa.array([7.0])], pa.string(), [str(2**53 + 1), "7"]),
    "smaller ones": ([pa.array([2**53 + 1]), pa.array([-1], pa.int8())], pa.int64(), [2**53 + 1, -1]),
    "unsigned": ([pa.array([2**64 - 1], pa.uint64()), pa.array([1], pa.uint8())], pa.uint64(), [2**64 - 1, 1]),
    "signed": ([pa.array([2**64 - 1], pa.uint64()), pa.array([-1])], pa.string(), [str(2**64 - 1), "-1"]),
    "none so large": ([pa.array([2**53]), pa.array([0.5])], pa.float64(), [2.0**53, 0.5]),
    "large fractions": ([pa.array(["x"]), pa.array([12345678901.0])], pa.string(), ["x", "12345678901"]),
}


@pytest.mark.parametrize("cuts", [(), (1,)], ids=["one part", "two parts"])
@pytest.mark.parametrize(("keys", "kind", "values"), KEYS.values(), ids=list(KEYS))
def test_a_kept_key_keeps_every_digit_whatever_the_other_files_have(tmp_path, keys, kind, values, cuts):
    for order in (1, -1):
        tables = [table(0.5, kept=key) for key in keys][::order]
        found = pa.parquet.read_table(io.BytesIO(written(tmp_path, "parquet", tables, cuts=cuts)))["kept"]
        assert (found.type, found.to_pylist()) == (kind, values[::order])
        lines = written(tmp_path, "jsonl", tables, cuts=cuts).decode().splitlines()
        assert [json.loads(line)["kept"] for line in lines] == values[::order]


@pytest.mark.parametrize("cuts", [(), (1,)], ids=["one part", "two parts"])
@pytest.mark.parametrize("form", FORMATS)
def test_empty_lists_are_json_text_beside_lists_of_dicts(tmp_path, form, cuts):
    """A call whose rows all have empty lists doesn't know what others hold."""
    empty, found = _with(pa.array([[], None, [None, None]])), _with(pa.array(['[{"a": 1}]']))
    text = written(tmp_path, form, [empty, found], cuts=cuts)
    assert read(text, form, pa.string()) == ["[]", None, "[null, null]", '[{"a": 1}]']


def test_a_large_part_is_encoded_again_block_by_block(tmp_path):
    """Line ends within fields, and a field larger than a block, stand where blocks end."""
    texts = [f'{number},"\n"\n' * (number % 90) for number in range(4_000)] + ["\n" * 3_000_000]
    whole = table(*range(len(texts)), t=texts)
    part = open_part("csv", str(tmp_path / "part"), ROLES)
    part.write(whole)
    part.close()
    wider = (*part.columns[:3], replace(part.columns[3], type="double"))
    target = io.BytesIO()
    join("csv", [Piece(str(tmp_path / "part"), 0, part.position(len(texts)), part.columns)], target, wider)
    assert target.getvalue() == written(tmp_path, "csv", [whole.set_column(3, "y", whole["y"].cast(pa.float64()))])


def test_a_part_is_written_again_where_a_later_table_widens_it(tmp_path):
    part = open_part("csv", str(tmp_path / "part"), ROLES)
    part.write(table(1, None, 3, t=['a,"\n', "", None]))
    part.write(table(0.5, t=["z"]))
    part.close()
    assert (tmp_path / "part").read_bytes() == b'a.csv,0,"a,""\n",1.0\na.csv,1,"",\na.csv,2,,3.0\na.csv,0,z,0.5\n'
    assert [part.position(0), part.position(3), part.position(4)] == [0, 45, 59]


@pytest.mark.parametrize("form", FORMATS)
def test_pieces_may_leave_rows_of_a_part_out(tmp_path, form):
    part = open_part(form, str(tmp_path / "part"), ROLES)
    for number in range(3):
        part.write(table(number, number))
    part.close()
    pieces = [
        Piece(str(tmp_path / "part"), part.position(a), part.position(b), part.columns) for a, b in ((4, 6), (0, 2))
    ]
    target = io.BytesIO()
    join(form, pieces, target, part.columns)
    assert [float(value) for value in read(target.getvalue(), form, pa.int64())] == [2, 2, 0, 0]


@pytest.mark.parametrize("form", FORMATS)
def test_no_pieces_are_a_file_without_rows(form):
    target = io.BytesIO()
    columns = (
        Column("file", "string", "file"),
        Column("kept", "text<integer>", "kept"),
        Column("y", "list<item: double>", "prediction"),
    )
    join(form, [], target, columns)
    if form == "parquet":
        schema = pa.parquet.read_schema(io.BytesIO(target.getvalue()))
        assert schema.types[:2] == [pa.string(), pa.int64()]
    else:
        assert target.getvalue() == {"csv": b"file,kept,y\n", "jsonl": b""}[form]


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_appears_whole_when_it_is_closed(tmp_path, form):
    with open_part(form, str(tmp_path / "part"), ROLES) as part:
        part.write(table(1))
        (temporary,) = tmp_path.iterdir()
        assert temporary.name != "part"
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
    assert stat.S_IMODE((tmp_path / "part").stat().st_mode) == 0o600


@pytest.mark.parametrize("form", FORMATS)
def test_an_exception_leaves_nothing_behind(tmp_path, form):
    def interrupted():
        with open_part(form, str(tmp_path / "part"), ROLES) as part:
            part.write(table(1))
            part.write(table(0.5))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_disk_that_fills_up_at_the_end_leaves_nothing_behind(tmp_path, form, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left"), open_part(form, str(tmp_path / "part"), ROLES) as part:
        part.write(table(1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", FORMATS)
def test_a_part_without_tables_is_an_empty_part(tmp_path, form):
    with open_part(form, str(tmp_path / "part"), ROLES) as part:
        pass
    assert (part.rows, part.columns, part.position(0)) == (0, (), 0)
    assert (tmp_path / "part").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_what_the_disk_refuses_is_a_storage_error(tmp_path, form):
    with pytest.raises(StorageError, match=r"can't write .*nowhere/part: No such file"):
        open_part(form, str(tmp_path / "nowhere" / "part"), ROLES)
    piece = Piece(str(tmp_path / "gone"), 0, 10, (Column("y", "double", "prediction"),))
    with pytest.raises(StorageError, match=r"can't read .*gone: "):
        join(form, [piece], io.BytesIO(), piece.columns)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_is_a_storage_error(tmp_path, form):
    with open_part(form, str(tmp_path / "part"), ROLES) as part:
        part.write(table(*range(100)))
    piece = Piece(str(tmp_path / "part"), 0, part.position(100), part.columns)
    with Path("/dev/full").open("wb", buffering=0) as full, pytest.raises(StorageError, match="No space left"):
        join(form, [piece], full, part.columns)


def test_an_arrow_part_that_is_cut_off_is_noticed(tmp_path):
    with open_part("parquet", str(tmp_path / "part"), ROLES) as part:
        part.write(table(1))
    (tmp_path / "part").write_bytes((tmp_path / "part").read_bytes()[:-9])
    piece = Piece(str(tmp_path / "part"), 0, 1, part.columns)
    with pytest.raises(StorageError, match="can't read .*it isn't whole"):
        join("parquet", [piece], io.BytesIO(), piece.columns)


def test_a_part_that_is_cut_off_is_noticed(tmp_path):
    (tmp_path / "part").write_bytes(b"1,2\n")
    piece = Piece(str(tmp_path / "part"), 0, 8, (Column("y", "double", "prediction"),))
    with pytest.raises(StorageError, match="it ends 4 bytes too soon"):
        join("csv", [piece], io.BytesIO(), piece.columns)


def test_joining_text_needs_no_pyarrow(tmp_path):
    with open_part("csv", str(tmp_path / "part"), ROLES) as part:
        part.write(table(1))
    program = (
        "import sys, io\nfrom batchscore.outcome import Column\nfrom batchscore.writers import Piece, join, unify\n"
        f"columns = {tuple((column.name, column.type, column.role) for column in part.columns)!r}\n"
        "columns = tuple(Column(*each) for each in columns)\n"
        f"piece = Piece({str(tmp_path / 'part')!r}, 0, {part.position(1)}, columns)\n"
        "for form in ('csv', 'jsonl'):\n    join(form, [piece], io.BytesIO(), unify(columns, columns))\n"
        "assert not {'pyarrow', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parent.parent)


CHANGES = [
    Column("y", kind, "kept")
    for kind in (
        "null", "int8", "uint8", "int64", "uint64", "long<int64>", "long<uint64>", "float", "double", "string",
        "bool", "timestamp[s]", "timestamp[us]", "list<item: int64>", "text<null>", "text<integer>", "text<long>",
        "text<double>", "text<string>",
    )
]  # fmt: skip


@given(st.lists(st.sampled_from(CHANGES), min_size=1), st.data())
def test_kept_columns_widen_to_the_same_type_in_any_order(columns, data):
    shuffled = data.draw(st.permutations(columns))
    middle = data.draw(st.integers(0, len(shuffled)))

    def united(those):
        return functools.reduce(unify, [(each,) for each in those], ())

    assert united(columns) == unify(united(shuffled[:middle]), united(shuffled[middle:]))


TYPES = st.recursive(
    st.sampled_from(
        [
            pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(),
            pa.date32(), pa.time32("ms"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ns", "UTC"),
            pa.duration("us"), pa.decimal128(20, 5), pa.decimal256(50, 0), pa.decimal128(5, -2),
        ]
    ),
    lambda item: item.map(pa.list_),
    max_leaves=3,
)  # fmt: skip


@given(TYPES)
@example(pa.list_(pa.timestamp("us", "UTC")))
def test_every_type_that_is_written_is_read_from_its_name(kind):
    assume(canonical_type(kind) is not None)
    assert arrow_type(str(kind)) == canonical_type(kind)


FIELDS = st.none() | st.text(st.sampled_from('a0,"\n\r é'), max_size=3)


@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=4))
def test_csv_is_the_same_whether_arrow_joins_the_fields_or_we_do(pairs) -> None:
    """Arrow's writer refuses fields with quotes; those of a table without any are joined by it."""
    fields = [rendering.quoted(pa.array(values, pa.string())) for values in zip(*pairs, strict=True)]
    if fields:
        assert bytes(rendering.records(fields)) == bytes(rendering.lines(fields, ","))


def test_fields_without_quotes_are_joined_by_arrow(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rendering, "lines", None)
    with open_part("csv", str(tmp_path / "x"), {}) as part:
        part.write(pa.table({"a": ["a", None, "é"], "b": [1, 2, None]}))
    assert (tmp_path / "x").read_bytes() == "a,1\n,2\né,\n".encode()
