"""The journal keeps every whole line, and only those."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from batchscore.journal import Journal, Receipts, read_journal
from batchscore.minibatch import Column, Failed, Failure, FileSlice, InputFile, Outcome, Scored

HEADER = {"identity": "x"}


def piece(name: str, version: str = "1") -> FileSlice:
    return FileSlice(InputFile(name, f"/in/{name}", 10, version, (("year", None),)))


def outcome(number: int) -> Outcome:
    scored = Scored(piece(f"{number}\u2028\n.csv"), 3, "part", 5, 9)
    failed = Failed(piece(f"{number}-bad.csv"), Failure("bad.csv", "why", row=1, column="a", value="\ud800"))
    return Outcome(number, (scored, failed), (Column("file", "string", "file"),), retries=1, seconds=0.5, notes=("n",))


def test_what_is_recorded_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(str(path), HEADER) as journal:
        journal.record(outcome(1))
    with Journal(str(path), {"another": "header"}) as journal:
        journal.record(outcome(2))
    header, outcomes = read_journal(str(path)) or ({}, iter(()))
    assert header == HEADER
    assert list(outcomes) == [outcome(1), outcome(2)]


def test_no_journal_is_none(tmp_path: Path) -> None:
    assert read_journal(str(tmp_path / "journal.jsonl")) is None


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(min_value=0))
def test_a_journal_torn_anywhere_gives_its_whole_lines_and_goes_on(tmp_path_factory, cut: int) -> None:
    path = tmp_path_factory.mktemp("torn") / "journal.jsonl"
    with Journal(str(path), HEADER) as journal:
        for number in range(3):
            journal.record(outcome(number))
    whole = path.read_bytes()
    torn = whole[: cut % (len(whole) + 1)]
    path.write_bytes(torn)
    lines = torn.count(b"\n")
    with Journal(str(path), HEADER) as journal:
        journal.record(outcome(9))
    header, outcomes = read_journal(str(path)) or ({}, iter(()))
    assert header == HEADER
    assert [entry.number for entry in outcomes] == [*range(max(lines - 1, 0)), 9]


def test_the_last_word_on_a_slice_wins_and_a_changed_file_is_another_slice() -> None:
    receipts = Receipts()
    receipts.take(Outcome(0, (Failed(piece("a"), Failure("a", "why")),)))
    receipts.take(Outcome(0, (Scored(piece("a"), 3, "part", 0, 9),), (Column("x", "double", "prediction"),)))
    assert receipts.is_scored(piece("a"))
    assert receipts.parts == {"part"}
    assert receipts.of(piece("a", version="2")) is None
