"""Inputs to mini-batches: each row once and in order, whatever the sizes."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import quick
from hypothesis import given
from hypothesis import strategies as st

from batchscore import readers, splitting
from batchscore.minibatch import InputFile, MiniBatch
from batchscore.readers import source
from batchscore.settings import CsvOptions, MiniBatchSize
from batchscore.splitting import Cutting, split

SIZES = st.one_of(
    st.just(MiniBatchSize()),
    st.builds(MiniBatchSize, files=st.integers(1, 4)),
    st.builds(MiniBatchSize, bytes=st.integers(1, 400)),
)


def input_file(path: Path) -> InputFile:
    return InputFile(path.name, str(path), path.stat().st_size, "1")


def csv_files(folder: Path, counts: list[int]) -> list[InputFile]:
    """Files with so many rows, numbered through."""
    first = 0
    for number, count in enumerate(counts):
        (folder / f"{number:03d}.csv").write_text("x\n" + "".join(f"{x}\n" for x in range(first, first + count)))
        first += count
    return [input_file(path) for path in sorted(folder.iterdir())]


def cutting(size: MiniBatchSize, limit: int | None = None, *, cuts_csv: bool = True) -> Cutting:
    return Cutting(size, CsvOptions(), cuts_csv, limit)


def rows_of(plan: Iterable[MiniBatch]) -> list[int]:
    return [int(word) for mini_batch in plan for piece in mini_batch.slices for word in quick.rows_of(piece)]


@given(counts=st.lists(st.integers(0, 60), max_size=6), size=SIZES, limit=st.none() | st.integers(0, 200))
def test_every_row_up_to_the_limit_comes_once_and_in_order(tmp_path_factory, counts, size, limit) -> None:
    files = csv_files(tmp_path_factory.mktemp("in"), counts)
    plan = split(files, cutting(size, limit))
    assert rows_of(plan) == list(range(sum(counts)))[:limit]
    assert [mini_batch.number for mini_batch in plan] == list(range(len(plan)))
    first = {file.name: sum(counts[:number]) for number, file in enumerate(files)}
    for mini_batch in plan:
        for piece in mini_batch.slices:
            assert all(int(word) - first[piece.file.name] >= piece.first_row for word in quick.rows_of(piece)[:1])
        if size.files:
            assert len(mini_batch.slices) <= size.files
    assert list(plan) == list(split(files, cutting(size, limit)))


def test_big_files_are_cut_and_small_ones_go_together(tmp_path: Path) -> None:
    files = csv_files(tmp_path, [2, 2, 500, 2, 2])
    plan = split(files, cutting(MiniBatchSize(bytes=400)))
    assert [[piece.file.name for piece in mini_batch.slices] for mini_batch in plan] == [
        ["000.csv", "001.csv"],
        *[["002.csv"]] * (len(plan) - 2),
        ["003.csv", "004.csv"],
    ]
    assert len(plan) > 5


def test_a_csv_makes_no_larger_slices_than_fill_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the file gives ten times the slices, of the same size; those of long rows are larger."""
    monkeypatch.setattr(splitting, "AUTO_CSV_BYTES", 1 << 16)
    monkeypatch.setattr(splitting, "AUTO_CSV_ROWS", 1000)

    def first(rows: int, width: int, size: MiniBatchSize) -> int:
        (tmp_path / "a.csv").write_text("x\n" + f"{'1' * (width - 1)}\n" * rows)
        plan = split([input_file(tmp_path / "a.csv")], cutting(size))
        return plan[0].slices[0].weight

    auto = MiniBatchSize()
    assert first(200_000, 10, auto) == first(2_000_000, 10, auto) == pytest.approx(1 << 16, abs=20)
    assert first(20_000, 100, auto) == pytest.approx(100_000, rel=0.01)
    assert first(2_000, 2_000, auto) == pytest.approx(1 << 20, rel=0.01), "the target, which is less than that"
    packed = input_file(tmp_path / "a.csv")
    assert (
        readers.bytes_of_rows(InputFile("a.csv.gz", packed.path, packed.size, packed.version), 1000, CsvOptions()) == 0
    )
    assert first(20_000, 100, MiniBatchSize(bytes=1 << 20)) == pytest.approx(1 << 20, rel=0.1)


def test_only_parquet_is_cut_for_a_model_that_has_no_signature(tmp_path: Path) -> None:
    csv_files(tmp_path, [500])
    pq.write_table(pa.table({"x": range(1000)}), tmp_path / "b.parquet", row_group_size=100)
    files = [input_file(path) for path in sorted(tmp_path.iterdir())]
    plan = split(files, cutting(MiniBatchSize(bytes=1000), cuts_csv=False))
    names = [piece.file.name for mini_batch in plan for piece in mini_batch.slices]
    assert names.count("000.csv") == 1
    assert names.count("b.parquet") > 1


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_file_that_cannot_be_read_is_one_slice(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b'x\n"' + b"1" * 1000)
    (mini_batch,) = split([input_file(tmp_path / name)], cutting(MiniBatchSize(bytes=10)))
    assert [piece.is_whole for piece in mini_batch.slices] == [True]


def test_a_limit_looks_at_no_row_behind_it(tmp_path: Path) -> None:
    """Behind the first rows the file is damaged, and behind the file is another."""
    (tmp_path / "a.csv").write_text('x\n0\n1\n2\n"' + "x" * 50)
    csv_files(tmp_path, [])
    (tmp_path / "b.csv").write_bytes(b"\0")
    files = [input_file(path) for path in sorted(tmp_path.iterdir())]
    (mini_batch,) = split(files, cutting(MiniBatchSize(bytes=10), limit=2))
    assert [(piece.file.name, piece.max_rows) for piece in mini_batch.slices] == [("a.csv", 2)]


def one_group(path: Path, rows: int) -> InputFile:
    """A Parquet file of one row group, eight bytes a row."""
    values = np.random.default_rng(0).integers(1 << 60, size=rows)
    pq.write_table(pa.table({"x": values}), path, row_group_size=rows, use_dictionary=False)
    return input_file(path)


def test_a_huge_row_group_is_cut_by_rows_so_that_several_workers_have_some(tmp_path: Path) -> None:
    """Pieces have whole calls, and no group makes more than four."""
    plan = split([one_group(tmp_path / "a.parquet", 600_000)], cutting(MiniBatchSize()))
    pieces = [piece for mini_batch in plan for piece in mini_batch.slices]
    assert [(piece.start, piece.stop, piece.first_row, piece.max_rows) for piece in pieces] == [
        (0, 1, 0, 131_072),
        (0, 1, 131_072, 196_608),
        (0, 1, 327_680, 131_072),
        (0, 1, 458_752, None),
    ]
    assert len({mini_batch.part_name[7:] for mini_batch in plan}) == len(plan) == 4


@pytest.mark.parametrize("size", [MiniBatchSize(bytes=100_000), MiniBatchSize()], ids=["stated", "auto"])
def test_a_csv_file_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: MiniBatchSize
) -> None:
    """By the parent, to cut it; nothing of it is read again but a few bytes of its beginning."""
    path = tmp_path / "x.csv"
    path.write_bytes(b"x,y\n" + b"1.25,some words\n" * 1_000_000)
    read: list[int] = []

    class Counted(io.FileIO):
        def read(self, most: int | None = -1) -> bytes:
            found = super().read(-1 if most is None else most)
            read.append(len(found))
            return found

    monkeypatch.setattr(source, "open_stored", lambda path, *_: Counted(path))
    plan = split([input_file(path)], cutting(size))
    assert len(plan) > 1
    assert path.stat().st_size <= sum(read) < path.stat().st_size + 100


def test_row_groups_are_not_cut_where_a_job_has_enough_of_them(tmp_path: Path) -> None:
    """A piece is read from the beginning of its group, so that pieces cost reading some rows several times."""
    files = [one_group(tmp_path / f"{number}.parquet", 200_000) for number in range(9)]
    assert len(split(files[:1], cutting(MiniBatchSize()))) == 2
    plan = split(files, cutting(MiniBatchSize()))
    assert all(piece.is_whole for mini_batch in plan for piece in mini_batch.slices)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_slices_weigh_as_much_as_their_file(tmp_path: Path, name: str) -> None:
    """About: by that the bar goes on."""
    path = tmp_path / name
    if name == "a.parquet":
        pq.write_table(pa.table({"x": range(5000)}), path, row_group_size=500)
    else:
        path.write_text("x\n" + "123456\n" * 5000 if name == "a.csv" else '{"x": 1}\n' * 5000)
    file = InputFile(name, str(path), path.stat().st_size, "1")
    plan = list(split([file], Cutting(MiniBatchSize(bytes=2048), CsvOptions(), cuts_csv=True)))
    assert len(plan) > 2
    assert sum(mini_batch.size for mini_batch in plan) == pytest.approx(file.size, rel=0.01)
