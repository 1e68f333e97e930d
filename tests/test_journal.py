"""The journal keeps every whole line, and only those."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.errors import StorageError
from batchscore.journal import Header, Journal, has_receipts, read_header
from batchscore.minibatch import FileSlice, InputFile
from batchscore.outcome import Column, Failed, Failure, Outcome, Scored

HEADER = Header("one", {"model_digest": "d"}, "m", "m", 1, ("id",), ("predictions.csv",), ())


def piece(name: str, version: str = "1") -> FileSlice:
    return FileSlice(InputFile(name, f"/in/{name}", 10, version, (("year", None),)))


def outcome(number: int) -> Outcome:
    scored = Scored(piece(f"{number}\u2028\n.csv"), 3, "part", 5, 9)
    failed = Failed(piece(f"{number}-bad.csv"), Failure("bad.csv", "why", row=1, column="a", value="\ud800"))
    columns = (Column("file", "string", "file"),)
    return Outcome(number, (scored, failed), columns, is_mixed=True, retries=1, seconds=0.5, notes=("n",))


def read(journal: Journal) -> list[Outcome]:
    return [entry for _, entry in journal.outcomes()]


def test_what_is_recorded_is_read_back_in_order_and_from_its_place(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    with Journal(path, HEADER, is_new=True) as journal:
        places = [journal.record(outcome(1))]
        assert read(journal) == [outcome(1)]
    with Journal(path, HEADER, is_new=False) as journal:
        places.append(journal.record(outcome(2)))
        assert [place for place, _ in journal.outcomes()] == places
        assert [journal.outcome_at(place) for place in reversed(places)] == [outcome(2), outcome(1)]
    assert read_header(path) == HEADER


@pytest.mark.parametrize("rows", ["1.5", '"3"', "-1", str(1 << 63), "true"])
def test_a_receipt_whose_numbers_are_none_is_no_receipt(tmp_path: Path, rows: str) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(str(path), HEADER, is_new=True) as journal:
        for number in (1, 2):
            journal.record(outcome(number))
    first, *others = path.read_bytes().splitlines(keepends=True)
    spoilt = others[0].replace(b',3,"part",5,9', b',%s,"part",5,9' % rows.encode())
    assert spoilt != others[0]
    path.write_bytes(b"".join((first, spoilt, *others[1:])))
    with Journal(str(path), HEADER, is_new=False) as journal:
        assert [entry.number for entry in read(journal)] == [2]


def test_receipts_are_on_the_disk_from_time_to_time_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sizes = tmp_path / "journal.jsonl", []
    with Journal(str(path), HEADER, is_new=True) as journal:
        monkeypatch.setattr(os, "fsync", lambda descriptor: sizes.append(os.fstat(descriptor).st_size))
        monkeypatch.setattr("batchscore.journal.SYNC_SECONDS", -1.0)
        journal.record(outcome(1))
        ends = [journal.end]
        assert sizes == ends
        monkeypatch.setattr("batchscore.journal.SYNC_SECONDS", 600.0)
        journal.record(outcome(2))
        assert sizes == ends
    assert sizes == [*ends, path.stat().st_size]


def test_no_journal_and_one_without_a_whole_header_are_none(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    assert read_header(str(path)) is None
    assert not has_receipts(str(path))
    path.write_text('{"job": ')
    assert read_header(str(path)) is None


def test_what_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    for text in ("hello\n", '{"job": "one"}\n', "[]\n"):
        path.write_text(text)
        with pytest.raises(StorageError, match="not a journal of this version"):
            read_header(str(path))


def test_a_new_journal_takes_the_place_of_anothers(tmp_path: Path) -> None:
    path = str(tmp_path / "journal.jsonl")
    with Journal(path, HEADER, is_new=True) as journal:
        journal.record(outcome(1))
    assert has_receipts(path)
    with Journal(path, HEADER, is_new=True) as journal:
        assert read(journal) == []
    assert not has_receipts(path)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(min_value=0))
def test_a_journal_torn_anywhere_gives_its_whole_lines_and_goes_on(tmp_path_factory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    with Journal(str(path), HEADER, is_new=True) as journal:
        start = path.stat().st_size
        for number in range(3):
            journal.record(outcome(number))
    whole = path.read_bytes()
    torn = whole[: start + cut % (len(whole) - start + 1)]
    path.write_bytes(torn)
    with Journal(str(path), HEADER, is_new=False) as journal:
        journal.record(outcome(9))
        assert [entry.number for entry in read(journal)] == [*range(torn.count(b"\n") - 1), 9]
    assert read_header(str(path)) == HEADER


def test_a_line_longer_than_a_block_is_found(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    long = Outcome(0, tuple(Scored(piece(f"{number}.csv"), 1, "p", 0, 1) for number in range(2000)))
    with Journal(str(path), HEADER, is_new=True) as journal:
        journal.record(long)
    path.write_bytes(path.read_bytes() + b'{"torn": ' + b"x" * 200_000)
    with Journal(str(path), HEADER, is_new=False) as journal:
        assert read(journal) == [long]
