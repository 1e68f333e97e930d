"""Secrets reach no message."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import quick
from hypothesis import given
from hypothesis import strategies as st

from batchscore.errors import FileRefused, ModelLoadError, UsageError
from batchscore.minibatch import FileSlice, InputFile
from batchscore.redaction import redact, secret_values, without
from batchscore.runner import run_job
from batchscore.setaside import failure_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@host/c?sig=abc&x=1", "https://host/c?…"),
        ("https://token@host/c.git", "https://host/c.git"),
        ("at 'https://host:8080/b?sv=1', then b", "at 'https://host:8080/b?…', then b"),
        ("s3://key:secret@bucket/c", "s3://bucket/c"),
        ("https://u:p@ss@host/", "https://host/"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
        ("(https://host/p#access_token=1)", "(https://host/p#…"),
        ("AccountName=a;AccountKey=abc123==;EndpointSuffix=s", "AccountName=a;AccountKey=…;EndpointSuffix=s"),
        ("what?SIG=abc&b", "what?SIG=…&b"),
        ("connect(password=x)", "connect(password=…)"),
        ("http://[half an address", "http://[half an address"),
        ("is it here? C:\\data://no", "is it here? C:\\data://no"),
    ],
)
def test_users_queries_and_keys_are_hidden(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown


@given(st.text(alphabet="ab:/?#@[]&=. '\"", max_size=40))
def test_any_text_can_be_redacted(text: str) -> None:
    redact(f"http://{text}")


def test_long_text_takes_no_longer_than_it_is_long() -> None:
    """With the square of its length, this would take hours."""
    assert redact("x" * 2_000_000 + "://" + "y" * 2_000_000)


def test_values_of_variables_are_hidden_by_the_variables_names() -> None:
    variables = {"MY_API_KEY": "abcdef", "DB_PASSWORD": "abcdefgh", "MODE": "predict", "TOKEN": "1", "SAS": "sv=2026"}
    values = secret_values(variables)
    assert values == ("sv%3D2026", "abcdefgh", "sv=2026", "abcdef")
    assert without(values, "abcdefgh abcdef predict 1") == "… … predict 1"


def test_messages_are_born_without_secrets() -> None:
    assert str(UsageError("no https://host/model?sig=abc")) == "no https://host/model?…"


@pytest.fixture
def secretive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A job whose worker says all it knows."""
    quick.write(tmp_path, a="1")
    (tmp_path / "faults").mkdir()
    environment = {"FAULTS": f"{tmp_path}/faults", "STORE_KEY": "open-sesame", "TELL": "STORE_KEY"}
    quick.use(monkeypatch, **environment)
    return tmp_path


def told(folder: Path) -> str:
    """All that is left of the job."""
    files = [path for path in (folder / "out").rglob("*") if path.is_file()]
    assert files
    return "\n".join(path.read_text() for path in files)


def test_what_a_model_raises_loses_secrets_before_it_is_written(secretive: Path) -> None:
    (secretive / "faults/1").write_text("raise")
    run_job(quick.job(secretive, max_retries=0))
    (failure,) = [json.loads(line) for line in (secretive / "out/failures.jsonl").read_text().splitlines()]
    assert failure["reason"] == "ValueError: no luck with 1 at https://host/x?… with …"
    assert "open-sesame" not in told(secretive)
    assert "sig=" not in told(secretive)


def test_a_refusal_of_a_row_loses_secrets_before_it_is_written() -> None:
    """But for the row's own value and text, which are data."""
    refused = FileRefused(
        "found 'open-sesame' by https://h/x?sig=1", row=3, column="x", value="open-sesame", record="r"
    )
    failure = failure_of(FileSlice(InputFile("a.csv", "/in/a.csv", 1, "v")), refused, ["open-sesame"])
    assert failure.reason == "found '…' by https://h/x?…"
    assert (failure.row, failure.column, failure.value, failure.record) == (3, "x", "open-sesame", "r")


def test_so_does_what_a_model_says_that_cannot_be_loaded(secretive: Path) -> None:
    (secretive / "faults/load").write_text("raise")
    with pytest.raises(ModelLoadError) as caught:
        run_job(quick.job(secretive))
    for text in (str(caught.value), told(secretive)):
        assert "no luck with load at https://host/x?… with …" in text
        assert "open-sesame" not in text


def test_working_directories_are_no_secrets() -> None:
    from batchscore.redaction import secret_values

    assert secret_values({"PWD": "/home/user", "OLDPWD": "/home/user/data", "DB_PWD": "open-sesame"}) == (
        "open-sesame",
    )
