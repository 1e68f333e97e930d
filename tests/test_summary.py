"""Verdicts to a status, and the summary that a caller gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import UsageError
from batchscore.limits import parse_limit
from batchscore.minibatch import FileSlice, InputFile
from batchscore.outcome import Failure
from batchscore.settings import CsvOptions
from batchscore.summary import Counts, FileVerdict, JobSummary, judge, rows_of_failed


@pytest.mark.parametrize(
    ("files_failed", "rows_scored", "threshold", "status"),
    [
        (0, 5, 0, "Completed"),
        (0, 0, 0, "Completed"),
        (1, 5, 0, "Failed"),
        (1, 5, 1, "Completed"),
        (2, 5, 1, "Failed"),
        (9, 5, -1, "Completed"),
        (1, 0, -1, "Failed"),
        (1, 5, "10%", "Completed"),
        (1, 5, "9.99%", "Failed"),
        (2, 5, "10%", "Failed"),
        (10, 5, "100%", "Completed"),
        (0, 5, "0%", "Completed"),
        (1, 5, "0%", "Failed"),
    ],
)
def test_a_job_is_judged_by_its_failed_files_and_by_having_scored_anything(
    files_failed: int, rows_scored: int, threshold: int | str, status: str
) -> None:
    limit = parse_limit(threshold, "error_threshold", least=-1)
    assert judge(Counts(files=10, files_failed=files_failed, rows_scored=rows_scored), limit) == status


@pytest.mark.parametrize(
    ("limit", "status"),
    [("7", "Completed"), ("6", "Failed"), ("0.7%", "Completed"), ("0.69%", "Failed"), (None, "Completed")],
)
def test_a_job_is_judged_by_the_rows_that_were_put_aside_among_all(limit: str | None, status: str) -> None:
    """Exactly: a thousandth is no binary fraction."""
    counts = Counts(files=1, rows=1000, rows_scored=993, rows_failed=7, rows_quarantined=7)
    assert judge(counts, 0, limit and parse_limit(limit, "max_bad_rows")) == status


def verdict(path: Path, max_rows: int | None = None) -> FileVerdict:
    file = InputFile(path.name, str(path), 1, "1")
    return FileVerdict(file, (FileSlice(file, max_rows=max_rows),), (), refusal="no")


def test_the_rows_of_a_failed_file_count_up_to_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n2\n3\n")
    assert rows_of_failed(verdict(tmp_path / "a.csv"), CsvOptions()) == 3
    assert rows_of_failed(verdict(tmp_path / "a.csv", max_rows=2), CsvOptions()) == 2
    assert rows_of_failed(verdict(tmp_path / "a.csv", max_rows=9), CsvOptions()) == 3


def test_a_failed_file_whose_rows_cannot_be_counted_has_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('x\n"1\n')
    assert rows_of_failed(verdict(tmp_path / "a.csv"), CsvOptions()) == 0
    assert rows_of_failed(verdict(tmp_path / "gone.csv"), CsvOptions()) == 0


@given(st.builds(Failure, st.text(), st.text(), st.none() | st.integers(0), st.text(), st.text(), st.text()))
def test_each_failure_is_a_line_that_reads_back(failure: Failure) -> None:
    line = failure.line()
    assert line.endswith(b"\n")
    assert len(line.decode().splitlines()) == 1
    assert Failure.from_json(json.loads(line)) == failure


def test_text_that_is_no_unicode_is_escaped() -> None:
    line = Failure("a", "found \ud800").line()
    assert b"found \\ud800" in line


def summary(folder: Path, **given) -> JobSummary:
    return JobSummary(
        **{
            "status": "Failed", "counts": Counts(files_failed=3), "output": str(folder), "message": "no",
            "exit_code": 1,
            "manifest": {"outputs": [], "columns": [], "settings": {"format": "csv", "layout": "table"}}, **given,
        }
    )  # fmt: skip


def test_the_first_failures_are_told_in_a_line_each(tmp_path: Path) -> None:
    failures = [Failure(f"{name}.csv", f"{name}\n{name * 500}") for name in "ab"] + [Failure("c\n.csv", "c" * 500)]
    (tmp_path / "failures.jsonl").write_bytes(b"".join(failure.line() for failure in failures))
    assert summary(tmp_path).headlines(2) == ["a.csv: a", "b.csv: b", "… and 1 more, see failures.jsonl"]
    assert summary(tmp_path).headlines(3)[2] == f"c\\n.csv: {'c' * 300} …"
    assert summary(tmp_path).failures()["file"].tolist() == ["a.csv", "b.csv", "c\n.csv"]


def test_a_job_without_predictions_says_so_when_it_is_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the job is Failed: no"):
        summary(tmp_path).read()
    assert summary(tmp_path, status="Completed").read().empty
