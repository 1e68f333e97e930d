"""From parts to prediction files: what they are called, what lies in them, how they come to their places."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import quick
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import StorageError
from batchscore.publishing import merged
from batchscore.runner import run_job
from batchscore.segments import Part, Segment
from batchscore.settings import MiniBatchSize
from batchscore.storage import commit, prepare
from batchscore.writers.parts import ByteFile


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    quick.write(tmp_path, a="1 2", b="", c="3.5")
    quick.use(monkeypatch)
    return tmp_path


def outputs(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "out/job.json").read_text())["outputs"]


@pytest.mark.parametrize(
    ("output_files", "rows"),
    [
        ("one", {"p.csv": 3}),
        ("parts", {"p/part-00000.csv": 2, "p/part-00001.csv": 0, "p/part-00002.csv": 1}),
        ("mirror", {"p/a.csv.csv": 2, "p/b.csv.csv": 0, "p/c.csv.csv": 1}),
    ],
)
def test_job_json_lists_the_outputs_with_rows_bytes_and_digests(
    folder: Path, output_files: Any, rows: dict[str, int]
) -> None:
    run_job(quick.job(folder, output_files=output_files, output_file_name="p.csv"))
    assert {entry["path"]: entry["rows"] for entry in outputs(folder)} == rows
    for entry in outputs(folder):
        content = (folder / "out" / entry["path"]).read_bytes()
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert content.startswith(b"file,row,twice\n")
        assert content.count(b"\n") == 1 + entry["rows"]


def test_all_files_of_a_job_have_the_types_of_all(folder: Path) -> None:
    run_job(quick.job(folder, output_files="mirror"))
    assert (folder / "out/predictions/a.csv.csv").read_text() == "file,row,twice\na.csv,0,2.0\na.csv,1,4.0\n"


def test_failed_files_are_left_out(folder: Path) -> None:
    quick.write(folder, a="oops")
    run_job(quick.job(folder, output_files="mirror", error_threshold=1))
    assert [entry["path"] for entry in outputs(folder)] == ["predictions/b.csv.csv", "predictions/c.csv.csv"]


def test_a_file_of_another_type_than_those_before_it_fails(folder: Path) -> None:
    quick.write(folder, b="word")
    summary = run_job(quick.job(folder, error_threshold=1))
    assert (summary.status, summary.counts.rows_failed, summary.counts.rows_scored) == ("Completed", 1, 3)
    (failure,) = summary.failures().to_dict("records")
    assert failure["file"] == "b.csv"
    assert "'twice' is int64 in one answer and string in another" in failure["reason"]


def test_a_job_without_rows_has_the_signatures_types(folder: Path) -> None:
    quick.write(folder, a="", b="", c="")
    columns = [{"type": "long", "name": "n"}, {"type": "double", "name": "d"}, {"type": "any", "name": "o"}]
    with (folder / "model/MLmodel").open("a") as stream:
        stream.write(f"  outputs: '{json.dumps(columns)}'\n")
    run_job(quick.job(folder, format="parquet", output_file_name="p.parquet"))
    schema = pq.read_schema(folder / "out/p.parquet")
    assert {field.name: str(field.type) for field in schema} == {
        "file": "string", "row": "int64", "n": "int64", "d": "double", "o": "string",
    }  # fmt: skip


def test_outputs_have_the_users_umask_and_no_one_else_sees_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: set[int] = set()

    def looked(root: str, ready: Any) -> None:
        modes.add(stat.S_IMODE(Path(ready.temporary).parent.stat().st_mode))
        modes.add(stat.S_IMODE((folder / "out/.batchscore/parts").stat().st_mode))
        commit(root, ready)

    monkeypatch.setattr("batchscore.storage.places.commit", looked)
    before = os.umask(0o027)
    try:
        run_job(quick.job(folder))
    finally:
        os.umask(before)
    assert modes == {0o700}
    for name in ("predictions.csv", "job.json"):
        assert stat.S_IMODE((folder / "out" / name).stat().st_mode) == 0o640


def test_a_full_disk_while_files_are_joined_leaves_no_copies_and_the_job_goes_on_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def full(scratch: str, name: str, write: Any, **given: Any) -> Any:
        if made:
            raise StorageError("no space left")
        made.append(name)
        return prepare(scratch, name, write, **given)

    with monkeypatch.context() as patched:
        patched.setattr("batchscore.publishing.prepare", full)
        with pytest.raises(StorageError, match="no space left"):
            run_job(quick.job(folder, output_files="mirror"))
    assert sorted(os.listdir(folder / "out")) == [".batchscore", "job.json", "logs"]
    assert os.listdir(folder / "out/.batchscore/ready") == []
    assert json.loads((folder / "out/job.json").read_text())["message"] == "no space left"
    assert run_job(quick.job(folder, output_files="mirror")).status == "Completed"


def test_the_part_of_many_prediction_files_is_opened_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    usual = ByteFile.__init__

    def noted(self: ByteFile, path: str) -> None:
        opened.append(Path(path).name)
        usual(self, path)

    monkeypatch.setattr(ByteFile, "__init__", noted)
    run_job(quick.job(folder, output_files="mirror", mini_batch_size=MiniBatchSize(files=3)))
    assert len(outputs(folder)) == 3
    assert len(opened) == 1


LENGTHS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.booleans()), max_size=12)


@given(LENGTHS)
def test_merged_segments_are_the_same_rows_in_the_same_order(lengths: list[tuple[int, int, bool]]) -> None:
    """Segments of three parts, some of them behind a gap."""
    parts = [Part(f"part-{number}", (), 0, 0) for number in range(3)]
    ends = [0, 0, 0]
    segments = []
    for number, rows, has_gap in lengths:
        start = ends[number] + has_gap
        ends[number] = start + rows
        segments.append(Segment(rows, parts[number], start, start + rows) if rows else Segment(0, None, 0, 0))
    rows = [
        (segment.part.name, row) for segment in segments if segment.part for row in range(segment.start, segment.stop)
    ]
    found = list(merged(segments))
    assert [(part.name, row) for segment, part in found for row in range(segment.start, segment.stop)] == rows
    assert sum(segment.rows for segment, _ in found) == len(rows)
    for (one, part), (other, next_part) in pairwise(found):
        assert part is not next_part or one.stop < other.start
