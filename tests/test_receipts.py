"""What is known of each slice of a plan, and the verdicts on its files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.journal import Header, Journal
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.outcome import Column, Failed, Failure, Outcome, Scored
from batchscore.plan import Plan
from batchscore.receipts import FailedAt, Receipts
from batchscore.segments import Segment
from batchscore.summary import Verdicts

HEADER = Header("one", {}, "m", "m", 1, (), (), ())
X = (Column("x", "int64", "prediction"),)
Y = (Column("y", "int64", "prediction"),)
WIDE = (Column("x", "double", "prediction"),)

pytestmark = pytest.mark.usefixtures("pages")


def file(name: str, version: str = "1") -> InputFile:
    return InputFile(name, f"/in/{name}", 10, version)


def slices(name: str, count: int = 1) -> tuple[FileSlice, ...]:
    if count == 1:
        return (FileSlice(file(name)),)
    return tuple(FileSlice(file(name), number, number + 1, number) for number in range(count))


def scored(number: int, *pieces: FileSlice, columns: tuple[Column, ...] = X, is_mixed: bool = False) -> Outcome:
    entries = (Scored(piece, 1, f"part-{number}", place, place + 1) for place, piece in enumerate(pieces))
    return Outcome(number, tuple(entries), columns, is_mixed=is_mixed)


def failed(number: int, piece: FileSlice, reason: str = "why") -> Outcome:
    return Outcome(number, (Failed(piece, Failure(piece.file.name, reason)),))


@contextmanager
def journaled(folder: Path, *plan: MiniBatch) -> Iterator[Receipts]:
    with Journal(str(folder / "journal.jsonl"), HEADER, is_new=not (folder / "journal.jsonl").exists()) as journal:
        yield Receipts(Plan(batch.slices for batch in plan), journal)


def test_the_last_word_wins_and_failures_are_found_in_the_journal(tmp_path: Path) -> None:
    (a,), (b,) = slices("a"), slices("b")
    with journaled(tmp_path, MiniBatch(0, (a, b))) as receipts:
        receipts.record(failed(0, a, "first"))
        receipts.record(failed(0, b, "second"))
        receipts.record(scored(0, a))
        assert isinstance(receipts.of(a), Segment)
        assert isinstance(receipts.of(b), FailedAt)
        assert receipts.failure(b).reason == "second"


def test_only_slices_of_the_plan_count(tmp_path: Path) -> None:
    (old,), (new,) = slices("a"), (FileSlice(file("a", version="2")),)
    with journaled(tmp_path, MiniBatch(0, (old,))) as receipts:
        receipts.record(failed(0, old))
    with journaled(tmp_path, MiniBatch(0, (new,))) as receipts:
        assert receipts.of(new) is None
        assert receipts.is_empty
        assert receipts.files_failed == 0


def test_failures_can_be_forgotten(tmp_path: Path) -> None:
    first, second = slices("a", 2)
    with journaled(tmp_path, MiniBatch(0, (first,)), MiniBatch(1, (second,))) as receipts:
        receipts.record(failed(0, first))
        receipts.record(scored(1, second))
        assert receipts.files_failed == 1
        receipts.forget_failures()
        assert receipts.files_failed == 0
        assert receipts.of(first) is None
        assert receipts.of(second)


def test_a_failure_that_a_later_receipt_took_back_is_none(tmp_path: Path) -> None:
    """So that fail_fast counts what a job that goes on has now, not what it had once."""
    (a,), (b,) = slices("a"), slices("b")
    short = replace(scored(1, b), shortfall=Failure.of_files(["b"], "run() returned 0 elements", 1))
    plan = MiniBatch(0, (a,)), MiniBatch(1, (b,))
    with journaled(tmp_path, *plan) as receipts:
        for outcome in (failed(0, a), short, scored(0, a)):
            receipts.record(outcome)
    with journaled(tmp_path, *plan) as receipts:
        assert receipts.files_failed == 0
    with Journal(str(tmp_path / "journal.jsonl"), HEADER, is_new=False) as journal:
        of_script = Receipts(Plan(batch.slices for batch in plan), journal, is_whole=True)
        assert of_script.files_failed == 1
        of_script.forget_failures()
        assert of_script.files_failed == 0


@pytest.mark.parametrize("is_mixed", [True, False])
def test_a_part_whose_columns_came_from_rows_that_are_gone_is_given_up(tmp_path: Path, *, is_mixed: bool) -> None:
    (a,), (b,) = slices("a"), slices("b")
    with journaled(tmp_path, MiniBatch(0, (a, b))) as receipts:
        receipts.record(scored(0, a, b, is_mixed=is_mixed))
        receipts.forget_lost({"part-0", "another"})
        assert set(receipts.part_names) == {"part-0"}
    with journaled(tmp_path, MiniBatch(0, (a,))) as receipts:
        receipts.forget_lost({"part-0"})
        assert set(receipts.part_names) == (set() if is_mixed else {"part-0"})
        assert (receipts.of(a) is None) == is_mixed


@pytest.mark.parametrize("is_mixed", [True, False])
def test_so_is_one_beside_a_file_that_is_tried_again(tmp_path: Path, *, is_mixed: bool) -> None:
    (a,), (b,) = slices("a"), slices("b")
    bad = Failed(b, Failure("b", "why"))
    with journaled(tmp_path, MiniBatch(0, (a, b))) as receipts:
        receipts.record(replace(scored(0, a, is_mixed=is_mixed), slices=(*scored(0, a).slices, bad)))
        receipts.forget_lost({"part-0"})
        assert set(receipts.part_names) == {"part-0"}
        receipts.forget_failures()
        receipts.forget_lost({"part-0"})
        assert (receipts.of(a) is None) == is_mixed


def test_a_part_that_is_not_there_is_given_up(tmp_path: Path) -> None:
    (a,), (b,) = slices("a"), slices("b")
    with journaled(tmp_path, MiniBatch(0, (a,)), MiniBatch(1, (b,))) as receipts:
        receipts.record(scored(0, a))
        receipts.record(scored(1, b))
        receipts.forget_lost({"part-1"})
        assert set(receipts.part_names) == {"part-1"}
        assert receipts.of(a) is None
        assert receipts.of(b)


def test_one_failed_slice_fails_its_whole_file(tmp_path: Path) -> None:
    pieces = slices("a", 3)
    with journaled(tmp_path, *(MiniBatch(number, (piece,)) for number, piece in enumerate(pieces))) as receipts:
        receipts.record(scored(0, pieces[0]))
        receipts.record(failed(1, pieces[1], "no"))
        verdicts = Verdicts(receipts)
        (verdict,) = verdicts
        assert verdict.is_failed
        assert not verdict.is_pending
        assert verdict.scored == ()
        assert [failure.reason for failure in verdicts.failures()] == ["no"]


def test_a_file_whose_columns_cannot_be_reconciled_fails_and_leaves_no_trace(tmp_path: Path) -> None:
    """The columns of a file that fails don't count for those after it."""
    first, second, third = slices("a", 2), slices("b", 2), slices("c")
    plan = [MiniBatch(number, (piece,)) for number, piece in enumerate((*first, *second, *third))]
    with journaled(tmp_path, *plan) as receipts:
        for number, columns in enumerate((X, X, WIDE, Y, X)):
            receipts.record(scored(number, plan[number].slices[0], columns=columns))
        verdicts = Verdicts(receipts)
        assert verdicts.columns == X
        assert [verdict.is_failed for verdict in verdicts] == [False, True, False]
        (failure,) = verdicts.failures()
        assert "one mini-batch gave the columns x, another one y" in failure.reason


WORDS = st.sampled_from(["scored", "failed", "pending"])


@given(st.lists(st.tuples(st.integers(1, 4), st.data()), max_size=5))
def test_every_file_has_one_verdict_in_order_whatever_became_of_its_slices(tmp_path_factory, files) -> None:
    words: dict[FileSlice, str] = {}
    for number, (count, data) in enumerate(files):
        for piece in slices(f"f{number}", count):
            words[piece] = data.draw(WORDS)
    plan = [MiniBatch(number, (piece,)) for number, piece in enumerate(words)]
    with journaled(tmp_path_factory.mktemp("verdicts"), *plan) as receipts:
        for number, (piece, word) in enumerate(words.items()):
            if word != "pending":
                receipts.record((scored if word == "scored" else failed)(number, piece))
        verdicts = Verdicts(receipts)
        assert [verdict.file.name for verdict in verdicts] == [f"f{number}" for number in range(len(files))]
        for verdict in verdicts:
            own = [words[piece] for piece in verdict.slices]
            assert verdict.is_failed == ("failed" in own)
            assert verdict.is_pending == ("failed" not in own and "pending" in own)
            assert len(verdict.scored) == (0 if "failed" in own else own.count("scored"))
        assert len(list(verdicts.failures())) == sum(verdict.is_failed for verdict in verdicts)
