"""Small files read together: the rows, calls and failures of reading each by itself, at a cost that can be counted."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchscore.inputs import Selection, list_inputs
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.model import Model
from batchscore.outcome import Failed, Outcome, Scored
from batchscore.readers import source, together
from batchscore.readers.csv_parser import RecordParser
from batchscore.readers.parquet_rows import BatchReader
from batchscore.readers.together import BUNDLE_BYTES, SMALL_BYTES
from batchscore.schema import ColumnSpec, Schema
from batchscore.scoring import ModelScorer
from batchscore.settings import CsvOptions, ScoringSettings
from batchscore.splitting import auto_bytes

SCHEMA = Schema(
    (ColumnSpec("x", "double"), ColumnSpec("s", "string", required=False), ColumnSpec("n", "integer", required=True))
)


class Pyfunc:
    """Answers x, and remembers the rows of each call."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[Any, ...]]] = []

    def predict(self, model_input: Any) -> Any:
        self.calls.append([tuple(map(repr, row)) for row in model_input.itertuples(index=False)])
        return model_input["x"].to_numpy() * 2


def listed(folder: Path) -> Sequence[InputFile]:
    return list_inputs((str(folder),), Selection("/nowhere")).files


def scored(
    files: Sequence[InputFile], parts: Path, schema: Schema = SCHEMA, **wanted: Any
) -> tuple[Outcome, list[list[tuple[Any, ...]]]]:
    """The outcome, and what predict was called with."""
    parts.mkdir(exist_ok=True)
    pyfunc = Pyfunc()
    scorer = ModelScorer(Model(schema, None, None, {}, pyfunc), ScoringSettings(**wanted), str(parts))
    outcome = scorer.score(MiniBatch(0, tuple(map(FileSlice, files))), lambda _: None)
    return replace(outcome, seconds=0.0), pyfunc.calls


def write_csv(folder: Path, count: int, lines: str = "1,a,2\n2,b,3\n") -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number:05d}.csv").write_text(f"x,s,n\n{lines}")
    return folder


def write_parquet(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    table = pa.table({"x": [1.0, 2.0], "s": ["a", None], "n": [1, 2]})
    for number in range(count):
        pq.write_table(table, folder / f"{number:05d}.parquet")
    return folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file is opened, by its name."""
    found: Counter[str] = Counter()
    really = source.open_stored

    def counting(path: str, *bounds: Any) -> Any:
        found[Path(path).name] += 1
        return really(path, *bounds)

    monkeypatch.setattr(source, "open_stored", counting)
    return found


@pytest.mark.parametrize("write", [write_csv, write_parquet])
def test_many_files_are_opened_once_each_and_go_to_predict_in_one_call(
    tmp_path: Path, opened: Counter[str], write: Any
) -> None:
    files = listed(write(tmp_path / "in", 300))
    outcome, calls = scored(files, tmp_path / "parts", keep=("s",))
    assert [len(call) for call in calls] == [600]
    assert set(opened.values()) == {1}
    assert len(opened) == 300
    assert outcome.rows == 600


def test_small_files_of_many_equal_values_are_read_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few KB may be gigabytes as tables: none is held as a whole."""
    folder = tmp_path / "in"
    folder.mkdir()
    column = pa.array(np.zeros(500_000))
    for number in range(2):
        pq.write_table(pa.table({"x": column, "n": column.cast("int32")}), folder / f"{number}.parquet")
    files = listed(folder)
    assert all(file.size < SMALL_BYTES / 8 for file in files)
    tables: list[int] = []
    really = BatchReader.rows

    def noting(self: BatchReader, batch: pa.RecordBatch, *rest: Any) -> Any:
        tables.append(batch.num_rows)
        return really(self, batch, *rest)

    monkeypatch.setattr(BatchReader, "rows", noting)
    schema = Schema((ColumnSpec("x", "double"), ColumnSpec("n", "integer")))
    outcome, _ = scored(files, tmp_path / "parts", schema, rows_per_call=50_000)
    assert outcome.rows == sum(tables) == 1_000_000
    assert max(tables) <= 50_000


def test_columns_are_parsed_once_for_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsers: list[RecordParser] = []
    made = RecordParser.__init__

    def counting(self: RecordParser, *arguments: Any) -> None:
        parsers.append(self)
        made(self, *arguments)

    monkeypatch.setattr(RecordParser, "__init__", counting)
    files = listed(write_csv(tmp_path / "in", 500))
    outcome, _ = scored(files, tmp_path / "parts")
    assert outcome.rows == 1000
    assert len(parsers) == -(-sum(file.size for file in files) // BUNDLE_BYTES) == 1


def test_a_bad_file_among_many_fails_alone_and_few_are_read_again(tmp_path: Path, opened: Counter[str]) -> None:
    folder = write_csv(tmp_path / "in", 300)
    (folder / "00123.csv").write_text("x,s,n\n1,a,2\noops,b,3\n")
    outcome, calls = scored(listed(folder), tmp_path / "parts")
    (failed,) = [entry for entry in outcome.slices if isinstance(entry, Failed)]
    assert (failed.failure.file, failed.failure.row, failed.failure.value) == ("00123.csv", 1, "oops")
    assert [len(call) for call in calls] == [598]
    assert sum(opened.values()) <= 302
    pieces = [entry for entry in outcome.slices if isinstance(entry, Scored)]
    part = (tmp_path / "parts" / pieces[0].part).read_bytes()
    assert part[pieces[-1].start : pieces[-1].stop] == b"00299.csv,0,2.0\n00299.csv,1,4.0\n"


def test_a_file_written_again_since_it_was_listed_fails_alone(tmp_path: Path) -> None:
    files = [*listed(write_csv(tmp_path / "in", 5))]
    (tmp_path / "in/00002.csv").write_text("x,s,n\n1,a,2\n5,b,3\n")  # of the same length
    files[2] = InputFile(files[2].name, files[2].path, files[2].size, version="1")
    outcome, calls = scored(files, tmp_path)
    failed = [entry.failure for entry in outcome.slices if isinstance(entry, Failed)]
    assert [failure.file for failure in failed] == ["00002.csv"]
    assert "written again while it was scored" in failed[0].reason
    assert [len(call) for call in calls] == [8]


def test_with_quarantine_a_csv_with_only_a_header_is_no_failure(tmp_path: Path) -> None:
    files = listed(write_csv(tmp_path / "in", 1, lines=""))
    outcome, _ = scored(files, tmp_path / "parts", quarantines=True)
    assert [type(entry) for entry in outcome.slices] == [Scored]


def test_kept_text_with_line_ends_keeps_each_files_bounds(tmp_path: Path) -> None:
    files = listed(write_csv(tmp_path / "in", 3, lines='1,"a\nb",2\n2,c,3\n'))
    outcome, _ = scored(files, tmp_path / "parts", keep=("s",))
    part = next((tmp_path / "parts").iterdir()).read_bytes()
    pieces = [part[entry.start : entry.stop] for entry in outcome.slices if isinstance(entry, Scored)]
    assert pieces == [f'{file.name},0,"a\nb",2.0\n{file.name},1,c,4.0\n'.encode() for file in files]


def write_texts(folder: Path, *texts: str) -> tuple[InputFile, ...]:
    folder.mkdir()
    for number, text in enumerate(texts):
        (folder / f"{number}.csv").write_text(text)
    return listed(folder)


def test_a_quote_that_one_file_opens_isnt_closed_by_the_next(tmp_path: Path) -> None:
    files = write_texts(tmp_path / "in", 'x,s,n\n1,"a,2\n', 'x,s,n\n3,b",4\n', "x,s,n\n5,c,6\n", "x,s,n\n7,c,8\n")
    outcome, calls = scored(files, tmp_path / "parts")
    assert [type(entry) for entry in outcome.slices] == [Failed, Scored, Scored, Scored]
    assert [[row[0] for row in call] for call in calls] == [["3.0", "5.0", "7.0"]]


def test_headers_of_several_lines_are_compared_to_their_end(tmp_path: Path) -> None:
    texts = [f'x,s,n,"a\n{name}"\n1,t,2,{name}\n' for name in "bcb"]
    outcome, _ = scored(write_texts(tmp_path / "in", *texts), tmp_path / "parts", keep=("a\nb",))
    assert [type(entry) for entry in outcome.slices] == [Scored, Failed, Scored]


def test_files_of_more_rows_than_a_call_are_cut_as_each_by_itself(tmp_path: Path) -> None:
    files = listed(write_csv(tmp_path / "in", 2, lines="1,a,2\n" * 5))
    _, calls = scored(files, tmp_path / "parts", rows_per_call=3)
    assert [len(call) for call in calls] == [3, 2, 3, 2]


def test_each_files_kept_text_has_its_own_say_in_a_format_with_types(tmp_path: Path) -> None:
    files = write_texts(tmp_path / "in", "x,s,n\n1,7,2\n", "x,s,n\n1,t,2\n")
    outcome, _ = scored(files, tmp_path / "parts", keep=("s",), format="jsonl")
    assert outcome.is_mixed


def test_many_tiny_files_make_mini_batches_of_hundreds() -> None:
    """Each costs a call of predict and a sync."""
    files = [InputFile(f"{number}.csv", f"/{number}.csv", 2000, "1") for number in range(20_000)]
    assert 16 <= sum(file.size + (64 << 10) for file in files) // auto_bytes(files) <= 64


HEADERS = ["x,s,n\n"] * 6 + [
    "x,s,n\r\n",
    "\nx,s,n\n",
    '"x","s","n"\n',
    "s,x,n\n",
    "x,s\n",
    "x,s,n",
    "\ufeffx,s,n\n",
    "",
]
FIELDS = st.tuples(
    st.sampled_from(["1", "2.5", "", "NA", "nan", "1e400", "-0.0", "9007199254740993", "oops"]),
    st.sampled_from(["a", "", '"q,1"', '"l\nb"', 'a"b', "é", "NA", "007", '"open', "\0"]),
    st.sampled_from(["1", "2", "5.0", "", "3,4"]),
)
GOOD = st.just(("1", "t", "7"))
TEXTS = st.builds(
    lambda header, rows, end, last: header + end.join(map(",".join, rows)) + (end if rows and last else ""),
    st.sampled_from(HEADERS),
    st.lists(GOOD | GOOD | GOOD | FIELDS, max_size=4),
    st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n"]),
    st.booleans(),
)


def table(values: list[float | None], number: pa.DataType, text: pa.DataType) -> pa.Table:
    texts = pa.array(["1"] * len(values))
    texts = texts.dictionary_encode() if pa.types.is_dictionary(text) else texts.cast(text)
    return pa.table({"x": pa.array(values).cast(number), "s": texts, "n": [7] * len(values)})


TABLES = st.builds(
    table,
    st.lists(st.sampled_from([1.0, 2.0, None, float("nan"), 1e30]), max_size=3),
    st.sampled_from([pa.float64()] * 4 + [pa.float32()]),
    st.sampled_from([pa.string()] * 4 + [pa.large_string(), pa.int64(), pa.dictionary(pa.int32(), pa.string())]),
)


def write_all(folder: Path, contents: Sequence[str | pa.Table]) -> None:
    for number, content in enumerate(contents):
        if isinstance(content, str):
            (folder / f"{number}.csv").write_bytes(content.encode())
        else:
            pq.write_table(content, folder / f"{number}.parquet", row_group_size=2)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    contents=st.lists(TEXTS, min_size=2, max_size=7) | st.lists(TEXTS | TABLES, min_size=2, max_size=5),
    rows_per_call=st.sampled_from([1, 3, 65_536]),
    keep=st.sampled_from([(), ("s",)]),
    form=st.sampled_from(["csv", "jsonl", "parquet"]),
    more=st.fixed_dictionaries(
        {"quarantines": st.booleans(), "csv": st.sampled_from([CsvOptions(), CsvOptions(), CsvOptions(header=False)])}
    ),
)
def test_files_read_together_give_what_each_gives_by_itself(
    contents: list[Any], rows_per_call: int, keep: tuple[str, ...], form: Any, more: dict[str, Any]
) -> None:
    """Outcome, calls and bytes."""
    wanted: dict[str, Any] = {"rows_per_call": rows_per_call, "keep": keep, "format": form, **more}
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        folder = Path(place, "in")
        folder.mkdir()
        write_all(folder, contents)
        found = []
        for small in (SMALL_BYTES, -1):
            patch.setattr(together, "SMALL_BYTES", small)
            parts = Path(place, f"parts{small}")
            outcome, calls = scored(listed(folder), parts, **wanted)
            found.append((outcome, calls, [_content(outcome, entry, parts) for entry in outcome.slices]))
    assert found[0] == found[1]


def _content(outcome: Outcome, entry: Any, parts: Path) -> Any:
    """The rows of a slice as they stand in the part."""
    if not isinstance(entry, Scored) or not entry.part:
        return None
    if entry.part.endswith(".parquet"):
        table = pa.ipc.open_file(parts / entry.part).read_all()
        return repr(table.slice(entry.start, entry.stop - entry.start).to_pylist())
    return (parts / entry.part).read_bytes()[entry.start : entry.stop]
