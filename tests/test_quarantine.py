"""Rows put aside: what fits is scored in its place, what doesn't is told row by row, whatever the cut."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import quick
from conftest import RunBatchscore, RunHere, SaveModel

from batchscore.errors import UsageError
from batchscore.face import run
from batchscore.job import Job, Script
from batchscore.runner import run_job
from batchscore.settings import MiniBatchSize

PICKY = """
import os
import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

class Picky(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if (model_input["x"] == 13).any():
            raise ValueError("unlucky")
        if (model_input["x"] == 666).any():
            os._exit(3)
        if (model_input["x"] == 99).any():
            return pd.DataFrame({"twice": [1.0] * (len(model_input) + 1)})
        return pd.DataFrame({"twice": model_input["x"] * 2})

set_model(Picky())
"""
ROWS = 400
KEYS = ["file", "row", "column", "value", "reason", "record"]


@pytest.fixture(scope="session")
def picky(save_model: SaveModel) -> Path:
    """Doubles x; raises for 13, ends its process for 666, and answers a row too many for 99."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = Schema([ColSpec("double", "x"), ColSpec("long", "n"), ColSpec("datetime", "day", required=False)])
    return save_model(PICKY, ModelSignature(inputs, None))


def records(bad: dict[int, str], rows: int = ROWS) -> list[str]:
    return [bad.get(row, f"{row},{row}.5,{row},2026-01-{1 + row % 28:02d}") for row in range(rows)]


BAD = {
    3: "3,oops,3,2026-01-01",
    4: "4,4.5,,2026-01-01",
    70: "70,70.5",
    71: '71,"7,1.5",71,2026-02-30',
    160: "160,160.5,1.5,2026-01-01",
    399: "399,399.5,399,2026-01-01,more",
}
"""Rows of a CSV that don't fit: wrong values, missing ones, too few and too many fields."""


def write_csv(path: Path, bad: dict[int, str], rows: int = ROWS) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("id,x,n,day\n" + "".join(f"{record}\n" for record in records(bad, rows)))
    return path


def failed(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "failures.jsonl").read_text().splitlines()]


def predicted(output: Path) -> dict[tuple[str, int], float]:
    frame = pd.read_csv(output / "predictions.csv")
    assert not frame.duplicated(["file", "row"]).any()
    return {(file, row): twice for file, row, twice in zip(frame["file"], frame["row"], frame["twice"], strict=True)}


def counted(summary: Any) -> tuple[int, int, int, int]:
    counts = summary.counts
    assert counts.rows == counts.rows_scored + counts.rows_failed
    return counts.rows, counts.rows_scored, counts.rows_failed, counts.files_failed


def test_rows_that_do_not_fit_are_told_with_their_text_and_the_others_keep_their_places(
    run_here: RunHere, picky: Path, tmp_path: Path
) -> None:
    write_csv(tmp_path / "in/a.csv", BAD)
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert summary.status == "Completed", summary.message
    assert counted(summary) == (ROWS, ROWS - len(BAD), len(BAD), 0)
    assert summary.counts.rows_quarantined == len(BAD)
    found = failed(tmp_path / "out")
    assert {each["row"]: each["record"] for each in found} == BAD
    assert [each["row"] for each in found] == sorted(BAD)
    assert [each["column"] for each in found] == ["x", "n", None, "x", "n", None]
    assert all(list(each) == KEYS and each["file"] == "a.csv" for each in found)
    assert found[2]["reason"].startswith("row 70: found 2 fields, expected 4")
    assert predicted(tmp_path / "out") == {("a.csv", row): 2 * row + 1 for row in range(ROWS) if row not in BAD}
    assert f"{len(BAD)} rows quarantined, see failures.jsonl" in summary.message
    assert len(summary.failures()) == len(BAD)
    assert len(summary.read()) == ROWS - len(BAD)


@pytest.mark.parametrize("options", [{"mini_batch_size": "1KB"}, {"rows_per_call": 7}, {"mini_batch_size": "3KB"}])
def test_the_verdict_does_not_depend_on_the_cut(
    run_here: RunHere, picky: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    write_csv(tmp_path / "in/a.csv", BAD)
    outputs = []
    for name, given in (("whole", {}), ("cut", options)):
        run_here(picky, tmp_path / "in", tmp_path / name, on_bad_row="quarantine", keep=["id"], **given)
        outputs.append([(tmp_path / name / each).read_bytes() for each in ("predictions.csv", "failures.jsonl")])
    assert outputs[0] == outputs[1]


def test_a_file_of_bad_rows_alone_is_no_failed_file(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/bad.csv").write_text("id,x,n,day\n1,a,1,\n2,b,2,\n")
    summary = run_here(picky, tmp_path / "in", tmp_path / "alone", on_bad_row="quarantine")
    assert (summary.status, counted(summary)) == ("Failed", (2, 0, 2, 0))  # nothing was scored
    write_csv(tmp_path / "in/good.csv", {})
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert (summary.status, counted(summary)) == ("Completed", (ROWS + 2, ROWS, 2, 0))


def test_a_file_that_cannot_be_read_still_fails_as_a_whole(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    """Its rows are counted once, and its bad rows have no lines."""
    write_csv(tmp_path / "in/a.csv", BAD)
    (tmp_path / "in/b.csv").write_text("id,x,n,day\n1,oops,1,\n2,2,2,\n3,3,3,\n" + '4,"4,4,\n')
    (tmp_path / "in/c.csv").write_text("id,x\n1,1\n")
    options = {"on_bad_row": "quarantine", "error_threshold": "70%"}
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", **options)
    assert summary.status == "Completed"
    assert summary.counts.files_failed == 2
    assert [each["file"] for each in failed(tmp_path / "out")] == ["a.csv"] * len(BAD) + ["b.csv", "c.csv"]
    assert counted(summary)[1] == ROWS - len(BAD)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('1,1,1,\n2,2"2,2,\n3,3\n', "isn't certain"),  # a stray quote: where rows end is anybody's guess
        ("1,1,1,\n2,x\x00y,2,\n3,3,3,\n", None),
    ],
)
def test_a_row_counts_as_one_where_records_are_certain(
    run_here: RunHere, picky: Path, tmp_path: Path, text: str, found: str | None
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text(f"id,x,n,day\n{text}")
    write_csv(tmp_path / "in/b.csv", {})
    options = {"on_bad_row": "quarantine", "error_threshold": 1}
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", **options)
    (failure,) = failed(tmp_path / "out")
    if found:
        assert found in failure["reason"]
        assert summary.counts.files_failed == 1
    else:
        assert (failure["row"], failure["record"]) == (1, "2,x\x00y,2,")
        assert summary.counts.files_failed == 0


def test_text_in_another_encoding_is_a_bad_row(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_bytes(b"id,x,n,day\n1,1,1,\n2,\xff,2,\n3,3,3,\n")
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert counted(summary) == (3, 2, 1, 0)
    (failure,) = failed(tmp_path / "out")
    assert failure["record"] == "2,\\xff,2,"
    assert failure["reason"].startswith("row 1, column 'x': found '\\xff', which isn't utf-8")


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_records_of_other_widths_in_another_encoding_are_bad_rows_and_nothing_else_is_said(
    run_here: RunHere, picky: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], encoding: str
) -> None:
    """pyarrow decodes the text of a record that it has another count of fields of, which may not be possible."""
    (tmp_path / "in").mkdir()
    rows = (b"1,1,1,", b"2,2,2,,\x81", b"3,\x81,3,", b"4,4,4,", b"\x815", b"6,oops,6,", b"7,7,7,")
    (tmp_path / "in/a.csv").write_bytes(b"id,x,n,day\n" + b"\n".join(rows) + b"\n")
    (tmp_path / "in/b.csv").write_bytes(b"id,x,n,day\n\x811\n")
    csv = {"encoding": encoding}
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", **csv)
    assert counted(summary) == (8, 3, 5, 0)
    found = failed(tmp_path / "out")
    assert [failure["row"] for failure in found] == [1, 2, 4, 5, 0]
    assert [failure["record"] for failure in found] == ["2,2,2,,\\x81", "3,\\x81,3,", "\\x815", "6,oops,6,", "\\x811"]
    assert "found 5 fields" in found[0]["reason"]
    assert "Exception ignored" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "é日本🙂"),
        ("utf-8-sig", "é日本🙂"),
        ("utf-16", "é日本🙂"),
        ("utf-32", "é日本🙂"),
        ("latin-1", "é"),
        ("cp1252", "é€"),
        ("shift_jis", "表ソ"),  # whose second bytes are backslashes
        ("gb18030", "日本🙂ß"),
        ("cp037", "é"),  # no byte is as in ASCII
    ],
)
def test_records_are_told_as_text_whatever_their_encoding(
    run_here: RunHere, picky: Path, tmp_path: Path, encoding: str, text: str
) -> None:
    """Those that don't fit, and those that predict fails for, which are looked up in the file once they are known."""
    bad = [f'1,{text},1,,"{text},"', f"2,13,1,,{text}"]
    (tmp_path / "in").mkdir()
    lines = [f"id,x,n,day,{text}", f"0,3,1,,{text}", *bad, f"3,3,1,,{text}", ""]
    (tmp_path / "in/a.csv").write_text("\n".join(lines), encoding=encoding)
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", encoding=encoding)
    assert counted(summary) == (4, 2, 2, 0)
    found = failed(tmp_path / "out")
    assert [(each["row"], each["record"]) for each in found] == [*enumerate(bad, 1)]
    assert found[0]["value"] == text


def test_a_record_is_told_to_its_last_character_however_long(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    """Of a file that fails, the beginning: that goes through the parent."""
    (tmp_path / "in").mkdir()
    text = "é, " * 50_000
    bad = [f'1,oops,1,,"{text}"', f'2,13,1,,"{text}\r\n{text}"']
    (tmp_path / "in/a.csv").write_text("\r\n".join(["id,x,n,day,s", *bad, "3,3,3,,", ""]), newline="")
    lines = [json.dumps({"x": x, "n": 1, "s": text}, ensure_ascii=False) for x in ("oops", 13)]
    (tmp_path / "in/b.jsonl").write_text("\n".join([*lines, ""]))
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert counted(summary) == (5, 1, 4, 0)
    assert [each["record"] for each in failed(tmp_path / "out")] == [*bad, *lines]
    run_here(picky, tmp_path / "in/a.csv", tmp_path / "whole")
    (failure,) = failed(tmp_path / "whole")
    assert failure["record"] == f"{bad[0][:65_536]} …"


def test_rows_that_predict_fails_for_are_found_by_halving(picky: Path, tmp_path: Path) -> None:
    """In real worker processes, one of which ends; also beside rows that don't fit, in the order of the file."""
    bad = {3: "3,oops,3,", 100: "100,13,1,", 101: "101,13,1,", 300: "300,1"}
    write_csv(tmp_path / "in/a.csv", bad)
    write_csv(tmp_path / "in/b.csv", {})
    write_csv(tmp_path / "in/c.csv", {4: "4,666,1,"}, rows=8)  # a few: each attempt at it costs a worker
    outputs = []
    for workers in (1, 2):
        out = tmp_path / f"out{workers}"
        summary = run(
            picky, tmp_path / "in", out, on_bad_row="quarantine", workers=workers, mini_batch_size="64KB", max_retries=1
        )
        assert summary.status == "Completed", summary.message
        assert counted(summary) == (2 * ROWS + 8, 2 * ROWS + 7 - len(bad), len(bad) + 1, 0)
        outputs.append([(out / name).read_bytes() for name in ("predictions.csv", "failures.jsonl")])
    assert outputs[0] == outputs[1]
    found = failed(tmp_path / "out1")
    assert {each["row"]: each["record"] for each in found if each["file"] == "a.csv"} == bad
    assert [(each["file"], each["row"]) for each in found] == [*(("a.csv", row) for row in sorted(bad)), ("c.csv", 4)]
    assert found[1]["reason"] == "row 100: ValueError: unlucky"
    assert "Traceback" in found[1]["detail"]
    assert found[4]["reason"] == "row 4: the worker exited with code 3"
    expected = {(file, row): 2 * row + 1 for file in ("a.csv", "b.csv") for row in range(ROWS)}
    expected |= {("c.csv", row): 2 * row + 1 for row in range(8)}
    for each in found:
        del expected[each["file"], each["row"]]
    assert predicted(tmp_path / "out1") == expected


def test_halving_ends_after_so_many_attempts_and_the_file_fails(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in/a.csv", {row: f"{row},13,1," for row in range(0, ROWS, 2)})
    write_csv(tmp_path / "in/b.csv", {})
    options = {"on_bad_row": "quarantine", "error_threshold": 1}
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", **options)
    assert counted(summary) == (2 * ROWS, ROWS, ROWS, 1)
    (failure,) = failed(tmp_path / "out")
    assert (failure["file"], failure["row"]) == ("a.csv", None)
    assert failure["reason"].startswith("ValueError: unlucky; 200 attempts at parts of it")
    assert summary.counts.retries == 200 + 2  # each file alone


def test_an_answer_of_too_many_rows_says_nothing_of_a_row(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in/a.csv", {3: "3,99,3,"})
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert (summary.status, summary.counts.files_failed, summary.counts.retries) == ("Failed", 1, 0)


def test_bad_rows_may_be_so_many(run_batchscore: RunBatchscore, picky: Path, tmp_path: Path) -> None:
    """More: the job fails, and the command that it prints publishes what was scored."""
    write_csv(tmp_path / "in/a.csv", BAD)
    given = ("run", "-m", picky, "-i", tmp_path / "in", "-o", tmp_path / "out", "--on-bad-row", "quarantine")
    result = run_batchscore(*given, "--max-bad-rows", "1%")
    assert result.returncode == 1
    assert "6 rows quarantined, more than the 1% that may be (--max-bad-rows)" in result.stdout
    assert not (tmp_path / "out/predictions.csv").exists()
    assert len(failed(tmp_path / "out")) == len(BAD)
    command = result.stderr.splitlines()[-1]
    assert command.endswith(" --max-bad-rows 100%")
    assert "--error-threshold" not in command, "no file failed"
    result = run_batchscore(*command.replace("'", "").split()[1:])
    assert result.returncode == 0, result.stderr
    assert len(predicted(tmp_path / "out")) == ROWS - len(BAD)
    result = run_batchscore(*given, "--max-bad-rows", "1%")
    assert result.returncode == 1
    assert "6 rows quarantined, more than the 1% that may be (--max-bad-rows): the job was finished" in result.stdout
    assert result.stderr.splitlines()[-1] == "… and 1 more, see failures.jsonl"  # no command to publish: it is
    result = run_batchscore("validate", *given[1:], "--max-bad-rows", "1%", "--quiet")
    assert (result.returncode, "output: 6 rows quarantined, more than the 1%" in result.stderr) == (1, True)
    shown = run_batchscore("show", tmp_path / "out").stdout
    assert "394 scored, 6 failed, 6 of them quarantined" in shown
    assert "  1  row 160, column 'n': found '1.5'" in shown


def test_a_job_that_failed_of_bad_rows_says_that_they_can_be_put_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not where whole files are the cause, and not where they are put aside already."""
    hint = "; with --on-bad-row quarantine a bad row fails alone, and not its file"
    quick.use(monkeypatch)
    quick.write(tmp_path, a="1", b="2 oops")
    summary = run_job(quick.job(tmp_path))
    assert (summary.status, summary.message.endswith(hint), summary.exceeded) == (
        "Failed",
        True,
        ("--error-threshold",),
    )
    assert run_job(quick.job(tmp_path, on_bad_row="quarantine", overwrite=True)).message.endswith("failures.jsonl")
    (tmp_path / "in/b.csv").unlink()
    (tmp_path / "in/c.csv").symlink_to("nowhere")
    assert run_job(quick.job(tmp_path, overwrite=True)).message.endswith("failures.jsonl")


def test_what_was_put_aside_is_kept_by_a_job_that_goes_on(
    run_here: RunHere, picky: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same lines after a failed job; rows that predict failed for are tried again, where they are too many."""
    write_csv(tmp_path / "in/a.csv", {**BAD, 200: "200,13,1,"})
    options = {"on_bad_row": "quarantine", "mini_batch_size": "4KB"}
    whole = run_here(picky, tmp_path / "in", tmp_path / "whole", **options)
    assert whole.status == "Completed"
    assert run_here(picky, tmp_path / "in", tmp_path / "out", **options, max_bad_rows=0).status == "Failed"
    asked: list[object] = []
    monkeypatch.setattr("here.HereSlots.ask", lambda *given, **_: asked.append(given))
    assert run_here(picky, tmp_path / "in", tmp_path / "out", **options, max_bad_rows="50%").status == "Completed"
    assert not asked
    for name in ("predictions.csv", "failures.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_row_that_predict_failed_for_is_tried_again_where_it_is_too_much(
    run_here: RunHere, save_model: SaveModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    source = PICKY.replace('if (model_input["x"] == 13).any()', 'if "DOWN" in os.environ')
    model = save_model(source, ModelSignature(Schema([ColSpec("double", "x"), ColSpec("long", "n")]), None))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x,n\n1,1\n2,2\n")
    monkeypatch.setenv("DOWN", "1")
    options = {"on_bad_row": "quarantine"}
    summary = run_here(model, tmp_path / "in", tmp_path / "out", **options)
    assert (summary.status, counted(summary)) == ("Failed", (2, 0, 2, 0))
    monkeypatch.delenv("DOWN")
    summary = run_here(model, tmp_path / "in", tmp_path / "out", **options)
    assert (summary.status, counted(summary)) == ("Completed", (2, 2, 0, 0))
    assert not (tmp_path / "out/failures.jsonl").exists()


def test_rows_of_parquet_are_told_with_all_their_columns(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    table = pa.table(
        {
            "id": pa.array(range(ROWS)),
            "x": pa.array(["oops" if row == 7 else "13" if row == 9 else f"{row}.5" for row in range(ROWS)]),
            "n": pa.array([None if row == 300 else row for row in range(ROWS)]),
            "tags": pa.array([[{"a": 1.5}]] * ROWS),
        }
    )
    pq.write_table(table, tmp_path / "in/a.parquet", row_group_size=50)
    outputs = []
    for name, given in (("out", {}), ("cut", {"mini_batch_size": "1KB", "rows_per_call": 9})):
        summary = run_here(picky, tmp_path / "in", tmp_path / name, on_bad_row="quarantine", **given)
        assert counted(summary) == (ROWS, ROWS - 3, 3, 0)
        outputs.append([(tmp_path / name / each).read_bytes() for each in ("predictions.csv", "failures.jsonl")])
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][1] == outputs[1][1]
    assert [(each["row"], each["column"], each["value"]) for each in failed(tmp_path / "out")] == [
        (7, "x", "oops"),
        (9, None, None),
        (300, "n", None),
    ]
    assert json.loads(failed(tmp_path / "out")[0]["record"]) == {"id": 7, "x": "oops", "n": 7, "tags": [{"a": 1.5}]}


def test_a_column_of_another_type_is_the_files_fault(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"x": [1.0], "n": [pd.Timestamp("2026-01-01")]}), tmp_path / "in/a.parquet")
    summary = run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert (summary.status, summary.counts.files_failed, summary.counts.rows_quarantined) == ("Failed", 1, 0)


JSON = {
    "a.jsonl": '{"x": 1, "n": 1}\n[1, 2]\n{"x": 2, "n"\n{"x": "oops", "n": 3}\n{"x": 13, "n": 4}\n{"x": 5, "n": 5}\n',
    "b.json": '{"dataframe_split": {"columns": ["x", "n"], "data": [[1, 1], [2], [3, 1.5], [13, 3], [4, 4]]}}',
    "c.json": '{"dataframe_records": [{"x": 1, "n": 1}, {"x": "oops", "n": 1}, {"x": 13, "n": 2}, {"x": 4, "n": 4}]}',
    "d.json": '{"x": [1, "oops", 13], "n": [1, 2, 3]}',
}
JSON_RECORDS = {
    "a.jsonl": {1: "[1, 2]", 2: '{"x": 2, "n"', 3: '{"x": "oops", "n": 3}', 4: '{"x": 13, "n": 4}'},
    "b.json": {1: "[2]", 2: "[3, 1.5]", 3: "[13, 3]"},
    "c.json": {1: '{"x": "oops", "n": 1}', 2: '{"x": 13, "n": 2}'},
    "d.json": {1: '{"x": "oops", "n": 2}', 2: '{"x": 13, "n": 3}'},
}


def test_rows_of_json_are_told_as_they_stand(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, text in JSON.items():
        (tmp_path / "in" / name).write_text(text)
    outputs = []
    for name, given in (("out", {}), ("small", {"rows_per_call": 2, "mini_batch_size": 1})):
        summary = run_here(picky, tmp_path / "in", tmp_path / name, on_bad_row="quarantine", **given)
        assert counted(summary) == (18, 7, 11, 0), summary.failures()["reason"].tolist()
        outputs.append([(tmp_path / name / each).read_bytes() for each in ("predictions.csv", "failures.jsonl")])
    found: dict[str, dict[int, str]] = {}
    for each in failed(tmp_path / "out"):
        found.setdefault(each["file"], {})[each["row"]] = each["record"]
    assert found == JSON_RECORDS
    assert outputs[0] == outputs[1]


def test_a_model_without_a_signature_loses_only_rows_that_predict_fails_for(
    run_here: RunHere, save_model: SaveModel, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.csv").write_text("x,s\n1,a\n13,b\n3,\n")
    (tmp_path / "in/b.jsonl").write_text('{"x": 1}\n{"x": 13}\n')
    pq.write_table(pa.table({"x": [13.0, 2.0]}), tmp_path / "in/c.parquet")
    summary = run_here(save_model(PICKY), tmp_path / "in", tmp_path / "out", on_bad_row="quarantine")
    assert counted(summary) == (7, 4, 3, 0)
    assert [(each["file"], each["row"], each["record"]) for each in failed(tmp_path / "out")] == [
        ("a.csv", 1, "13,b"),
        ("b.jsonl", 1, '{"x": 13}'),
        ("c.parquet", 0, '{"x": 13.0}'),
    ]


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("files", ["one", "parts", "mirror"])
def test_every_kind_of_output_leaves_out_the_bad_rows(
    run_here: RunHere, picky: Path, tmp_path: Path, form: Any, files: Any
) -> None:
    write_csv(tmp_path / "in/a.csv", BAD)
    (tmp_path / "in/b.csv").write_text("id,x,n,day\n1,a,1,\n")
    summary = run_here(
        picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", format=form, output_files=files
    )
    assert summary.status == "Completed"
    assert summary.read()["row"].tolist() == [row for row in range(ROWS) if row not in BAD]
    assert len(failed(tmp_path / "out")) == len(BAD) + 1


def test_layout_azure_keeps_the_rows_numbers(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in/a.csv", BAD)
    run_here(picky, tmp_path / "in", tmp_path / "out", on_bad_row="quarantine", layout="azure")
    lines = (tmp_path / "out/predictions.csv").read_text().splitlines()
    assert lines[3] == "5,11.0,a.csv"
    assert len(lines) == ROWS - len(BAD)


def test_lost_lines_of_bad_rows_are_made_again(run_here: RunHere, picky: Path, tmp_path: Path) -> None:
    write_csv(tmp_path / "in/a.csv", BAD)
    options = {"on_bad_row": "quarantine"}
    assert run_here(picky, tmp_path / "in", tmp_path / "out", **options, max_bad_rows=0).status == "Failed"
    (lines,) = (tmp_path / "out/.batchscore/parts").glob("*.failures.jsonl")
    lines.unlink()
    assert run_here(picky, tmp_path / "in", tmp_path / "out", **options).status == "Completed"
    assert {each["row"] for each in failed(tmp_path / "out")} == set(BAD)


def test_settings_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    given: dict[str, Any] = {"model": "m", "inputs": ("i",), "output": str(tmp_path)}
    with pytest.raises(UsageError, match="--on-bad-row quarantine puts aside"):
        Job(**given, max_bad_rows=3)
    script = Script("code", "score.py")
    with pytest.raises(UsageError, match="scoring script"):
        Job(**given, on_bad_row="quarantine", script=script, mini_batch_size=MiniBatchSize(files=1))
    with pytest.raises(UsageError, match="max_bad_rows takes"):
        run("m", "i", tmp_path, max_bad_rows="many")
    shutil.rmtree(tmp_path)
