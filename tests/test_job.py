"""What a Job takes and refuses."""

from __future__ import annotations

import pytest

from batchscore.errors import UsageError
from batchscore.job import Job
from batchscore.settings import CsvOptions, MiniBatchSize, ScoringSettings, output_name_and_format


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("auto", MiniBatchSize()),
        ("10", MiniBatchSize(files=10)),
        (10, MiniBatchSize(files=10)),
        ("64MB", MiniBatchSize(bytes=64 << 20)),
        ("1kb", MiniBatchSize(bytes=1024)),
        ("2 Gb", MiniBatchSize(bytes=2 << 30)),
    ],
)
def test_a_mini_batch_size_is_files_bytes_or_auto(text: str | int, size: MiniBatchSize) -> None:
    assert MiniBatchSize.parse(text) == size
    assert MiniBatchSize.parse(str(size)) == size


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "0MB", "10TB", "", "lots"])
def test_other_mini_batch_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--mini-batch-size"):
        MiniBatchSize.parse(text)


@pytest.mark.parametrize(
    ("name", "format_", "expected"),
    [
        (None, None, ("predictions.csv", "csv")),
        (None, "parquet", ("predictions.parquet", "parquet")),
        ("x.jsonl", None, ("x.jsonl", "jsonl")),
        ("x.PQT", None, ("x.PQT", "parquet")),
        ("x", None, ("x", "csv")),
        ("x.txt", "jsonl", ("x.txt", "jsonl")),
    ],
)
def test_name_and_format_follow_from_each_other(name, format_, expected) -> None:
    assert output_name_and_format(name, format_) == expected


@pytest.mark.parametrize(
    ("name", "format_", "message"),
    [
        ("x.csv", "parquet", "means csv"),
        ("a/b.csv", None, "without folders"),
        ("..", None, "without folders"),
        (".batchscore", None, "taken or hidden"),
        ("job.json", None, "taken or hidden"),
    ],
)
def test_contradictions_and_odd_names_are_refused(name, format_, message) -> None:
    with pytest.raises(UsageError, match=message):
        output_name_and_format(name, format_)


@pytest.mark.parametrize(
    "values",
    [{"workers": 0}, {"error_threshold": -2}, {"timeout": 0}, {"max_retries": -1}, {"format": "xml"}, {"limit": -1}],
)
def test_values_out_of_range_are_refused_by_name(values) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        Job(model="m", inputs=("i",), output="o", **values)


def test_several_output_files_need_a_folder_whose_name_is_free() -> None:
    job = {"model": "m", "inputs": ("i",), "output": "o", "output_file_name": "logs.csv"}
    assert Job(**job).output_file_name == "logs.csv"
    with pytest.raises(UsageError, match="can't lie in a folder 'logs'"):
        Job(**job, output_files="parts")


@pytest.mark.parametrize("values", [{"delimiter": "ab"}, {"delimiter": '"'}, {"encoding": "utf-99"}])
def test_csv_options_are_checked(values) -> None:
    with pytest.raises(UsageError):
        CsvOptions(**values)


def test_settings_read_back_from_json() -> None:
    settings = ScoringSettings(params={"a": [1]}, rename=(("a", "b"),), keep=("id",), add=(("x", "1"),))
    assert ScoringSettings.from_json(settings.to_json()) == settings


def test_only_what_shapes_the_output_is_the_jobs_identity() -> None:
    job = Job(model="m", inputs=("i",), output="o")
    same = Job(model="m", inputs=("i",), output="o", workers=3, timeout=1, max_retries=0, error_threshold=-1)
    other = Job(model="m", inputs=("i",), output="o", keep=("id",))
    assert job.shaping() == same.shaping() != other.shaping()


def test_who_provides_the_environment_is_one_of_two_and_no_interpreter_contradicts_it() -> None:
    job = {"model": "m", "inputs": ("i",), "output": "o"}
    assert Job(**job, env_manager="uv").shaping() == Job(**job).shaping()
    with pytest.raises(UsageError, match="env_manager must be one of local, uv; found 'conda'"):
        Job(**job, env_manager="conda")
    with pytest.raises(UsageError, match="--env-manager uv .* --python in that of /env/bin/python; drop one"):
        Job(**job, env_manager="uv", python="/env/bin/python")


def test_windows_gets_one_clear_message(monkeypatch) -> None:
    monkeypatch.setattr("batchscore.job.os.name", "nt")
    try:
        with pytest.raises(UsageError, match="WSL"):
            Job(model="m", inputs=("i",), output="o")
    finally:
        monkeypatch.undo()
