"""Columns of the input repeated in the output, from CSV and Parquet files in one folder; types and earlier runs."""

from __future__ import annotations

import csv
import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from here import HereSlots

DAY = dt.date(2026, 1, 3)
KEEP = ("key", "code", "day", "note", "x")


def cells_of_files(text: bytes) -> dict[str, list[str]]:
    header, *rows = csv.reader(text.decode().splitlines(keepends=True))
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.csv").write_text('x,key,code,day,note\n1,1,007,2026-01-01,"a,""b"""\n2,2,,2026-01-02,NA\n')
    columns = {
        "x": [3.0, 4.0],
        "key": [2**53 + 1, 4],
        "code": ["010", None],
        "day": pa.array([DAY, None]),
        "note": ["two\nlines", ""],
    }
    pq.write_table(pa.table(columns), folder / "b.parquet")
    columns |= {"x": [5.0, 6.0], "key": [12345678901.0, None], "code": pa.array(["z", "z"]).dictionary_encode()}
    pq.write_table(pa.table(columns), folder / "c.parquet")
    return folder


def test_csv_repeats_each_files_own_text(predicted, folder):
    found = cells_of_files(predicted("-v", inputs=folder, keep=KEEP))
    assert found["key"] == ["1", "2", "9007199254740993", "4", "12345678901.0", ""]
    assert found["code"] == ["007", "", "010", "", "z", "z"]
    assert found["day"] == ["2026-01-01", "2026-01-02", "2026-01-03", "", "2026-01-03", ""]
    assert found["note"] == ['a,"b"', "NA", "two\nlines", "", "two\nlines", ""]
    assert found["x"] == ["1", "2", "3.0", "4.0", "5.0", "6.0"]
    assert [float(value) for value in found["prediction"]] == [-1, -2, -3, -4, -5, -6]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_the_typed_formats_have_one_type_and_lose_no_digit(predicted, folder, form):
    options = {"inputs": folder, "keep": KEEP, "form": form}
    written = {predicted("-v", mini_batch_size=files, **options) for files in (1, 2, 3)}
    assert len(written) == 1
    data = written.pop()
    rows = (
        pq.read_table(pa.BufferReader(data)).to_pylist()
        if form == "parquet"
        else [json.loads(line) for line in data.splitlines()]
    )
    assert [row["key"] for row in rows] == ["1", "2", "9007199254740993", "4", "12345678901", None]
    assert [row["code"] for row in rows] == ["007", None, "010", None, "z", "z"]
    assert [row["day"] for row in rows] == ["2026-01-01", "2026-01-02", "2026-01-03", None, "2026-01-03", None]
    assert [row["note"] for row in rows] == ['a,"b"', "NA", "two\nlines", "", "two\nlines", ""]


def test_parquet_of_parquet_files_has_numbers_where_no_digit_is_lost(predicted, folder):
    kept = {"keep": KEEP, "form": "parquet"}
    found = pq.read_table(pa.BufferReader(predicted("-v", inputs=folder, include="*.parquet", **kept)))
    assert found["key"].to_pylist() == ["9007199254740993", "4", "12345678901", None]
    assert found["day"].to_pylist() == [DAY, None, DAY, None]
    found = pq.read_table(pa.BufferReader(predicted("-v", inputs=folder / "c.parquet", **kept)))
    assert found["key"].to_pylist() == [12345678901.0, None]


def test_parquet_of_csv_files_has_numbers_where_no_digit_is_lost(predicted, folder):
    found = pq.read_table(pa.BufferReader(predicted("-v", inputs=folder / "a.csv", keep=KEEP, form="parquet")))
    assert {name: str(found.schema.field(name).type) for name in KEEP} == {
        "key": "int64", "code": "string", "day": "string", "note": "string", "x": "int64",
    }  # fmt: skip
    assert found["key"].to_pylist() == [1, 2]


EARLIER = {
    "another type of key": ("parquet", "x,k\n1,abc\n2,2\n"),
    "another type of answer": ("csv", "x,k\n1.5,4\n"),
    "another type of answer in JSON lines": ("jsonl", "x,k\n1.5,4\n"),
}


@pytest.mark.parametrize("vanishes", [False, True], ids=["changed", "vanished"])
@pytest.mark.parametrize(("form", "before"), EARLIER.values(), ids=list(EARLIER))
def test_types_are_those_of_the_rows_that_are_there_not_of_an_earlier_run(
    run_here, answering, tmp_path, form, before, vanishes
):
    """a and b share a part, which b's rows widen; then b changes: a's rows must look as if b had never been so."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("x,k\n1,1\n2,2\n")
    (folder / "b.csv").write_text(before)
    (folder / "c.csv").write_text("x,k\noops,3\n")
    answer = "v.astype('int64') if (v % 1 == 0).all() else v"
    options = {"params": {"answer": answer}, "format": form, "keep": "k", "rows_per_call": 2}
    assert run_here(answering(), folder, tmp_path / "out", **options).status == "Failed"
    (folder / "c.csv").write_text("x,k\n3,3\n")
    if vanishes:
        (folder / "b.csv").unlink()
    else:
        (folder / "b.csv").write_text("x,k\n4,4\n5,5\n6,6\n")
    assert run_here(answering(), folder, tmp_path / "out", **options).status == "Completed"
    run_here(answering(), folder, tmp_path / "undisturbed", **options)
    found = (tmp_path / "out" / f"predictions.{form}").read_bytes()
    assert found == (tmp_path / "undisturbed" / f"predictions.{form}").read_bytes()


def test_a_failed_job_with_mixed_types_is_published_without_a_model(run_here, answering, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.csv").write_text("x,k\n1,1\n")
    (folder / "b.csv").write_text("x,k\n1,abc\n")
    (folder / "c.csv").write_text("x,k\noops,3\n")
    options = {"params": {"answer": "v"}, "format": "parquet", "keep": "k"}
    assert run_here(answering(), folder, tmp_path / "out", **options).status == "Failed"
    HereSlots.last = None
    assert run_here(answering(), folder, tmp_path / "out", error_threshold=1, **options).status == "Completed"
    assert HereSlots.last is None
    assert pq.read_table(tmp_path / "out/predictions.parquet")["k"].to_pylist() == ["1", "abc"]
