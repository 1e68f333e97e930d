"""The values that travel: slices, mini-batches and outcomes."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batchscore import readers
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.settings import CsvOptions


def input_file(path: Path) -> InputFile:
    return InputFile(path.name, str(path), path.stat().st_size, "1")


@pytest.fixture
def parquet(tmp_path: Path) -> InputFile:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"x": range(10_000)}), path, row_group_size=500)
    return input_file(path)


@pytest.fixture
def csv(tmp_path: Path) -> InputFile:
    path = tmp_path / "a.csv"
    path.write_text("x\n" + "".join(f"{x}\n" for x in range(10_000)))
    return input_file(path)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_slices_of_a_file_weigh_about_what_the_file_does(kind: str, request: pytest.FixtureRequest) -> None:
    file = request.getfixturevalue(kind)
    slices = readers.cut(file, file.size // 5, CsvOptions())
    assert len(slices) > 3
    assert file.size * 0.5 < MiniBatch(0, slices).size <= file.size
    assert MiniBatch(0, (FileSlice(file),)).size == file.size


def test_a_part_is_named_by_its_rows_alone(csv: InputFile) -> None:
    whole, first = FileSlice(csv), FileSlice(csv, max_rows=1)
    assert MiniBatch(0, (whole,)).part_name == MiniBatch(0, (FileSlice(csv, weight=3),)).part_name
    assert MiniBatch(0, (whole,)).part_name != MiniBatch(0, (first,)).part_name


def test_a_mini_batch_reads_back_from_json(csv: InputFile) -> None:
    batch = MiniBatch(3, readers.cut(csv, 1000, CsvOptions()))
    again = MiniBatch.from_json(batch.to_json())
    assert again == batch
    assert again.size == batch.size


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b.csv", "/in/a/b.csv"),
        ("b.csv", "b.csv"),
        ("b.csv", "/in/b.csv/"),
        ("b.csv", "https://host/b.csv?v=1"),
        ("x/é\udcff.csv", "/in/x/é\udcff.csv"),
    ],
)
def test_a_file_has_its_path_whether_or_not_that_ends_with_its_name(name: str, path: str) -> None:
    file = InputFile(name, path, 1, "1")
    assert (file.name, file.path) == (name, path)
    assert file == InputFile(name, path, 1, "1")
    assert file != InputFile(name, f"/other{path}", 1, "1")
    assert FileSlice.from_json(json.loads(json.dumps(FileSlice(file).to_json()))) == FileSlice(file)


def test_files_of_one_folder_share_its_text(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"{number:06d}.csv") for number in range(1_000)]
    tracemalloc.start()
    files = [InputFile(path[-10:], path, 1, "1") for path in paths]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert [file.path for file in files] == paths
    assert held < 1_000 * 200
