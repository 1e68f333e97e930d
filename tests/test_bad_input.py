"""Bad input from outside, as a user meets it: the exit code, one clear message, nothing half-written."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

MODEL = """
import os
import pathlib
import sys
import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

class Doubled(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        if "GONE" in os.environ:  # a file that goes between being listed and being read
            pathlib.Path(os.environ["GONE"]).unlink(missing_ok=True)
        if "BLOCKED" in os.environ:  # a place of batchscore's that is taken meanwhile
            pathlib.Path(os.environ["BLOCKED"]).mkdir()

    def predict(self, context, model_input, params=None):
        answer = pd.DataFrame({"twice": model_input["x"] * 2})
        if "SHOW_PATH" in os.environ:
            answer["path"] = [sys.path] * len(answer)
        return answer

set_model(Doubled())
"""

WIDE = """
import mlflow.pyfunc
import pandas as pd
from mlflow.models import set_model

class Wide(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame({f"{name}!": model_input[name] * 2 for name in model_input})

set_model(Wide())
"""

GOOD = "x,name\n" + "".join(f"{number}.5,n{number}\n" for number in range(5))
FAILURE_KEYS = ["file", "row", "column", "value", "reason", "record"]
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@pytest.fixture(scope="session")
def model(save_model) -> Path:
    """Doubles the double x; has an optional string name and two params."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema

    inputs = Schema([ColSpec("double", "x"), ColSpec("string", "name", required=False)])
    params = ParamSchema([ParamSpec("k", "double", 1.0, None), ParamSpec("flag", "boolean", default=False)])
    return save_model(MODEL, ModelSignature(inputs, None, params))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with data/good.csv."""
    place = tmp_path / "cwd"
    (place / "data").mkdir(parents=True)
    (place / "data/good.csv").write_text(GOOD)
    return place


def written_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def failures(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / "failures.jsonl").read_text(encoding="utf-8").splitlines()]


def manifest(output: Path) -> dict[str, Any]:
    return json.loads((output / "job.json").read_text(encoding="utf-8"))


def is_tidy(result: subprocess.CompletedProcess[str]) -> bool:
    """Whether stderr has no traceback of batchscore's, and both streams no control characters."""
    return "batchscore/" not in result.stderr and not CONTROL.search(result.stdout + result.stderr)


# -- what is refused before anything runs ------------------------------------------------------------------------------

REFUSED: dict[str, tuple[list[str], int, list[str]]] = {
    "a number in words": (["--workers", "two"], 2, ["'--workers'", "'two' is not a valid whole number"]),
    "a misspelt option": (["--wrokers", "2"], 2, ["No such option", "Did you mean", "'--workers'"]),
    "an option's value": (["--workers", "0"], 2, ["--workers", "0"]),
    "a delimiter": (["--delimiter", ";;"], 2, ["one ASCII character", "';;'"]),
    "an encoding": (["--encoding", "utf-99"], 2, ["unknown encoding 'utf-99'", "latin-1"]),
    "an output file": (["-o", "x.csv"], 2, ["did you mean: -o . --output-file-name x.csv"]),
    "an output file below": (["-o", "my data/x.csv.gz"], 2, ["did you mean: -o 'my data' --output-file-name x.csv"]),
    "an output file with a slash": (["-o", "x.parquet/"], 2, ["did you mean: -o . --output-file-name x.parquet"]),
    "an output file in no format": (["--output-file-name", "x.xlsx"], 2, ["isn't written", ".csv, .parquet"]),
    "an output file packed": (["--output-file-name", "x.csv.gz"], 2, ["isn't written", ".csv, .parquet"]),
    "an output file elsewhere": (["--output-file-name", "../x.csv"], 2, ["a name without folders"]),
    "an output folder's name": (["--output-file-name", "logs.csv", "--output-files", "parts"], 2, ["'logs'", "taken"]),
    "an output in the model": (["-m", "plain", "-o", "plain/out"], 2, ["lies in MODEL", "another folder"]),
    "an output that is a file": (["-o", "data/good.csv"], 2, ["data/good.csv is a file", "give a folder"]),
    "an output below a file": (["-o", "data/good.csv/out"], 4, ["can't create OUTPUT", "Not a directory"]),
    "an output in /proc": (["-o", "/proc/batchscore"], 4, ["can't create OUTPUT /proc/batchscore"]),
    "an output with a long name": (["-o", "n" * 300], 4, ["can't create OUTPUT", "name too long"]),
    "an output that is the input": (["-o", "data"], 2, ["data is an INPUT, too", "a folder of its own"]),
    "an output that is an input's folder": (
        ["-i", "data/good.csv", "-o", "data"],
        2,
        ["lies in OUTPUT", "a folder of its own"],
    ),
    "an output elsewhere": (["-o", "https://host/out?sig=SECRET"], 2, ["OUTPUT https://host/out", "read"]),
    "an empty output": (["-o", ""], 2, ["OUTPUT is empty text"]),
    "an empty input": (["-i", ""], 2, ["INPUT is empty text"]),
    "an empty model": (["-m", ""], 2, ["MODEL is empty text"]),
    "no such model": (["-m", "none"], 2, ["none isn't there", "models:/name/version"]),
    "a folder without MLmodel": (["-m", "data"], 2, ["data is not an MLflow model", "no MLmodel file"]),
    "the folder above a model": (["-m", "above"], 2, ["no MLmodel file", "did you mean", "above/model?"]),
    "a model elsewhere": (
        ["-m", "https://user:SECRET@host/model"],
        2,
        ["MODEL https://host/model can't be fetched", "http lists no folders"],
    ),
    "an input that isn't there": (["-i", "data/bad.csv"], 2, ["INPUT data/bad.csv isn't there"]),
    "a link that leads nowhere": (["-i", "link.csv"], 2, ["link.csv is a link to gone.csv, which isn't there"]),
    "a pipe": (["-i", "pipe.csv"], 2, ["pipe.csv is a pipe", "write what it gives to a file"]),
    "a device": (["-i", "/dev/null"], 2, ["/dev/null is a device"]),
    "a glob that matches nothing": (["-i", "data/*.tsv"], 2, ["matches nothing", "--allow-empty"]),
    "an empty folder": (["-i", "empty"], 2, ["no input", "--allow-empty"]),
    "nothing of a known type": (["-i", "other"], 2, ["no input", "1 other file was skipped"]),
    "an --include that leaves nothing": (["-i", "data", "--include", "*.tsv"], 2, ["no input", "--include"]),
    "an --exclude that leaves nothing": (["-i", "data", "--exclude", "good*"], 2, ["no input", "--exclude"]),
    "two inputs of one name": (["-i", "data", "twin"], 2, ["two inputs have the name 'good.csv'", "a folder above"]),
    "an input given twice": (["-i", "data", "./data/../data/good.csv"], 2, ["good.csv is given twice"]),
    "a Delta table": (["-i", "delta"], 2, ["delta is a Delta table", "deleted"]),
    "an input on a store without credentials": (
        ["-i", "gs://b/x.csv?sig=SECRET"],
        2,
        ["gs://b/x.csv", "no credentials"],
    ),
    "an input on an unknown store": (["-i", "hdfs://me:SECRET@h/x.csv"], 2, ["hdfs://h/x.csv", "aren't supported"]),
    "an unknown param": (["--param", "q=1"], 2, ["unknown parameter 'q'", "'k', 'flag'"]),
    "an unfit param": (["--param", "k=abc"], 2, ["parameter 'k'", "found 'abc'", "expected double"]),
    "an unfit boolean": (["--param", "flag=yes"], 2, ["found 'yes'", "expected boolean", "true or false"]),
    "an unknown column to keep": (["--keep", "nam"], 2, ["--keep nam", "no such column", "x, name"]),
    "a param without a schema": (["-m", "plain", "--param", "k=1"], 2, ["'k'", "no params schema"]),
    "a taken column's name": (["--add", "row=1"], 2, ["two output columns would have the name 'row'"]),
    "no interpreter": (["--python", "none"], 2, ["--python none can't be started", "the path of an interpreter"]),
    "a program that is no interpreter": (["--python", "/bin/echo"], 2, ["/bin/echo isn't a Python interpreter"]),
    "an environment's folder": (["--python", "env"], 2, ["did you mean env/bin/python?"]),
    "an environment without mlflow": (["--python", "env/bin/python"], 3, ["lacks mlflow-skinny", "pip install"]),
}


@pytest.fixture(scope="module")
def obstacles(tmp_path_factory, model: Path, clean_environment) -> Path:
    """A working directory with what REFUSED speaks of; it must stay as it is."""
    place = tmp_path_factory.mktemp("obstacles")
    for folder in ("data", "twin", "delta/_delta_log"):
        (place / folder).mkdir(parents=True)
        (place / folder / "good.csv").write_text(GOOD)
    for folder in ("empty", "other", "above"):
        (place / folder).mkdir()
    (place / "other/notes.txt").write_text("x")
    (place / "link.csv").symlink_to("gone.csv")
    os.mkfifo(place / "pipe.csv")
    (place / "above/model").symlink_to(model)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "env"], env=clean_environment, check=True)
    shutil.copytree(model, place / "plain")
    content = yaml.safe_load((model / "MLmodel").read_text())
    del content["signature"]
    (place / "plain/MLmodel").write_text(yaml.safe_dump(content))
    return place


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_command_has_one_message_and_leaves_nothing(run_batchscore, obstacles: Path, model: Path, case: str):
    given, code, words = REFUSED[case]
    before = written_in(obstacles)
    defaults = {"-m": str(model), "-i": "data", "-o": "out"}
    rest = [word for option, value in defaults.items() if option not in given for word in (option, value)]
    result = run_batchscore("run", *rest, *given, cwd=obstacles, timeout=60)
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    for word in words:
        assert word in result.stderr
    assert len(re.findall("^Error: ", result.stderr, re.MULTILINE)) == 1
    assert "SECRET" not in result.stderr
    assert is_tidy(result)
    assert written_in(obstacles) == before


DAMAGED: dict[str, tuple[str | bytes, list[str]]] = {
    "no YAML": ("flavors: {python_function: [\n", ["can't read", "expected YAML", "is the copy complete?"]),
    "no text": (b"\xff\xfe\x00", ["can't read"]),
    "nothing": ("", ["found nothing, expected keys and values"]),
    "a list": ("- a\n", ["found a list, expected keys and values"]),
    "no pyfunc": ("flavors:\n  onnx: {}\n", ["no python_function flavour, only onnx"]),
    "flavors as a list": ("flavors: [python_function]\n", ["must be keys and values"]),
    "a signature that is a number": ("flavors: {python_function: {}}\nsignature: 5\n", ["must be keys and values"]),
    "a signature that is no JSON": ("flavors: {python_function: {}}\nsignature: {inputs: x}\n", ["aren't JSON"]),
    "an unknown type": (
        'flavors: {python_function: {}}\nsignature: {inputs: \'[{"name": "x"}]\'}\n',
        ["the model's signature can't be read"],
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_a_damaged_mlmodel_is_told_with_its_path(run_batchscore, place: Path, case: str):
    content, words = DAMAGED[case]
    (place / "model").mkdir()
    (place / "model/MLmodel").write_bytes(content.encode() if isinstance(content, str) else content)
    result = run_batchscore("run", "-m", "model", "-i", "data", "-o", "out", cwd=place)
    assert (result.returncode, result.stdout) == (2, "")
    for word in words:
        assert word in result.stderr
    assert is_tidy(result)
    assert not (place / "out").exists()


# -- models that can't be loaded ---------------------------------------------------------------------------------------


@pytest.fixture
def broken(model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the model with other code, requirements and loader."""

    def make(code: str = MODEL, requirements: str = "", loader: str | None = None) -> Path:
        path = Path(shutil.copytree(model, tmp_path / "broken"))
        (path / "model_code.py").write_text(code)
        (path / "requirements.txt").write_text(requirements)
        if loader:
            content = yaml.safe_load((path / "MLmodel").read_text())
            content["flavors"]["python_function"]["loader_module"] = loader
            (path / "MLmodel").write_text(yaml.safe_dump(content))
        return path

    return make


def test_a_missing_library_of_the_flavour_says_what_to_install(run_batchscore, place: Path, broken):
    path = broken(requirements="mlflow\nflavour-of-tomorrow==9.1\n", loader="flavour_of_tomorrow.mlflow")
    result = run_batchscore("run", "-m", path, "-i", "data", "-o", "out", cwd=place)
    assert (result.returncode, result.stdout) == (3, "")
    assert f'"{sys.executable}" -m pip install "flavour-of-tomorrow==9.1"' in result.stderr
    assert re.search(r"^  flavour-of-tomorrow==9\.1 +- +missing$", result.stderr, re.MULTILINE)
    assert is_tidy(result)
    assert manifest(place / "out")["status"] == "Failed"
    assert written_in(place / "out") >= {"job.json", ".batchscore"}
    assert "predictions.csv" not in written_in(place / "out")


def test_a_model_of_other_versions_shows_its_traceback_and_a_table(run_batchscore, place: Path, broken):
    path = broken("def unpickle():\n    raise AttributeError('no OldTree')\nunpickle()\n", "pandas==0.1\nnumpy\n")
    result = run_batchscore("run", "-m", path, "-i", "data", "-o", "out", cwd=place)
    assert (result.returncode, result.stdout) == (3, "")
    assert re.search(rf"^  pandas==0\.1 +{re.escape(pd.__version__)} +differs$", result.stderr, re.MULTILINE)
    assert "aren't the ones that the model was logged with" in result.stderr
    assert "--python" in result.stderr
    assert "in unpickle\n    raise AttributeError('no OldTree')\n" in result.stderr
    assert is_tidy(result)


def test_a_model_that_exits_while_it_is_loaded_has_the_last_word(run_batchscore, place: Path, broken):
    path = broken("import os\nprint('no licence found', flush=True)\nos._exit(7)\n")
    result = run_batchscore("run", "-m", path, "-i", "data", "-o", "out", cwd=place)
    assert (result.returncode, result.stdout) == (3, "")
    assert "exited with code 7 while it loaded the model\nno licence found" in result.stderr
    assert is_tidy(result)


def test_a_model_that_hangs_while_it_is_loaded_can_be_stopped(place: Path, broken, clean_environment):
    path = broken("import os, time\nopen(os.environ['MARK'], 'w').write(str(os.getpid()))\ntime.sleep(600)\n")
    mark = place / "mark"
    with subprocess.Popen(
        [sys.executable, "-m", "batchscore", "run", "-m", path, "-i", "data", "-o", "out"],
        cwd=place,
        env={**clean_environment, "MARK": str(mark)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_until(lambda: mark.exists() and mark.read_text() != "")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 143
    assert manifest(place / "out")["status"] == "Canceled"
    wait_until(lambda: not Path(f"/proc/{mark.read_text()}").exists() or sys.platform != "linux", seconds=20)


def wait_until(claim: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_missing_method_lists_those_there_are_and_leaves_nothing(run_batchscore, place: Path, model: Path):
    before = written_in(place)
    result = run_batchscore("run", "-m", model, "-i", "data", "-o", "out", "--predict-fn", "predict_prob", cwd=place)
    assert (result.returncode, result.stdout) == (2, "")
    assert "the model is a Doubled, which has no method predict_prob" in result.stderr
    assert "it has predict" in result.stderr
    assert is_tidy(result)
    assert written_in(place) == before


# -- files that can't be read ------------------------------------------------------------------------------------------

LINES = ["x,name", *(f"{number}.5,n{number}" for number in range(30_000))]
MIDDLE = 20_000
"""A row of LINES, far from the first block's end."""


def with_line(text: str) -> str:
    return "\n".join([*LINES[: MIDDLE + 1], text, *LINES[MIDDLE + 2 :]]) + "\n"


def parquet(columns: Mapping[str, list[Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue().to_pybytes()


PARQUET = parquet({"x": [1.0, 2.0], "name": ["a", "b"]})
ZSTD = pa.compress("\n".join(LINES).encode(), codec="zstd", asbytes=True)

GOOD_FILES: dict[str, bytes] = {
    "bom.csv": b"\xef\xbb\xbf" + GOOD.encode(),
    "crlf.csv": GOOD.replace("\n", "\r\n").encode(),
    "good.csv": GOOD.encode(),
    "good.parquet": PARQUET,
    "header.csv": b"x,name\n",
    "header.csv.gz": gzip.compress(b"x,name"),
    "no_rows.parquet": parquet({"x": pa.array([], pa.float64()), "name": pa.array([], pa.string())}),
    "spaces.csv": b" x , name\n1,a\n",
}
ROWS = {"bom.csv": 5, "crlf.csv": 5, "good.csv": 5, "good.parquet": 2, "spaces.csv": 1}

Place = tuple[int | None, str | None, str | None]
BAD_FILES: dict[str, tuple[str | bytes, Place, list[str], int]] = {
    "blank.csv": ("\n\n\r\n\n", (None, None, None), ["is empty", "at least a header"], 0),
    "disguised_gzip.csv": (gzip.compress(GOOD.encode()), (None, None, None), ["begins as gzip", ".csv.gz"], 0),
    "disguised_parquet.csv": (PARQUET, (None, None, None), ["begins as Parquet", ".parquet"], 0),
    "disguised_text.csv.gz": (GOOD, (None, None, None), ["isn't gzip", "begins with 'x,na'", ".csv"], 0),
    "disguised_text.csv.zst": (GOOD, (None, None, None), ["isn't Zstandard", "begins with 'x,na'", ".csv"], 0),
    "disguised_text.parquet": (GOOD, (None, None, None), ["isn't Parquet", "begins with 'x,na'", ".csv"], 0),
    "duplicates.csv": ("x,x\n1,2\n", (None, "x", None), ["more than one column named 'x'", "rename or remove"], 1),
    "empty.csv": ("", (None, None, None), ["is empty", "--exclude"], 0),
    "empty.csv.gz": ("", (None, None, None), ["is empty"], 0),
    "empty.parquet": ("", (None, None, None), ["is empty", "footer"], 0),
    "few_fields.csv": (with_line("7"), (MIDDLE, None, None), ["found 1 field, expected 2"], 30_000),
    "latin1.csv": (
        "x,name\n1,a\n2,café\n".encode("latin-1"),
        (1, "name", "caf\\xe9"),
        ["which isn't utf-8", "--encoding"],
        2,
    ),
    "latin1_header.csv": ("x,naïf\n1,a\n".encode("latin-1"), (None, None, None), ["isn't utf-8", "--encoding"], 1),
    "many_fields.csv": (with_line("7,n,extra"), (MIDDLE, None, None), ["found 3 fields, expected 2"], 30_000),
    "missing.csv": ("X,name\n1,a\n", (None, "x", None), ["'X' is similar to 'x'", "--rename X=x"], 1),
    "no_header.csv": ("1.5,a\n2,b\n", (None, "x", None), ["the file has '1.5', 'a'", "--no-header"], 1),
    "nul.csv": ("x,name\n1,a\n2,b\0c\n", (1, None, None), ["NUL byte"], 2),
    "semicolons.csv": ("x;name\n1;a\n", (None, "x", None), ["delimited by ';'", "--delimiter ';'"], 1),
    "trimmed.csv.gz": (gzip.compress(GOOD.encode())[:-6], (None, None, None), ["is it complete?"], 0),
    "trimmed.csv.zst": (ZSTD[: len(ZSTD) // 2], (None, None, None), ["is it complete?"], 0),
    "trimmed.parquet": (PARQUET[:-20], (None, None, None), ["has no end", "writer or copy stopped?"], 0),
    "unclosed.csv": (with_line('"7,n'), (MIDDLE, None, None), ["a quote opens here that is never closed"], 0),
    "utf16.csv": (GOOD.encode("utf-16"), (None, None, None), ["begins as UTF-16 does", "--encoding utf-16"], 0),
    "utf16_be.csv": (GOOD.encode("utf-16-be"), (None, None, None), ["NUL byte", "--encoding utf-16"], 0),
    "vanished.csv": (GOOD, (None, None, None), ["can't be opened", "No such file"], 0),
    "word.csv": ("x,name\n1,a\nthree,b\n", (1, "x", "three"), ["found 'three', expected a number (double)"], 2),
    "dangling.csv": ("", (None, None, None), ["can't be opened", "No such file"], 0),
}


@pytest.fixture(scope="module")
def folder_of_bad_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bad") / "data"
    folder.mkdir()
    for name, content in GOOD_FILES.items():
        (folder / name).write_bytes(content)
    for name, (content, *_) in BAD_FILES.items():
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "dangling.csv").unlink()
    (folder / "dangling.csv").symlink_to("gone.csv")
    (folder / "folder.csv").mkdir()
    (folder / "folder.csv/notes.txt").write_text("no data")
    os.mkfifo(folder / "pipe.csv")
    return folder


@pytest.fixture(scope="module")
def scored_bad_files(folder_of_bad_files: Path, model: Path, clean_environment) -> subprocess.CompletedProcess[str]:
    """One run over the folder, with OUTPUT in it, that lets every file fail that has to."""
    return subprocess.run(
        [
            sys.executable, "-m", "batchscore", "run", "-m", model, "-i", "data", "-o", "data/out",
            "--error-threshold", "-1", "--json", "--environment-variable", "GONE=data/vanished.csv",
        ],
        cwd=folder_of_bad_files.parent,
        env=clean_environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip


def test_every_file_is_scored_or_failed_and_the_counts_add_up(scored_bad_files, folder_of_bad_files: Path):
    output = folder_of_bad_files / "out"
    assert scored_bad_files.returncode == 0, scored_bad_files.stderr
    assert json.loads(scored_bad_files.stdout) == manifest(output)
    counts = manifest(output)["counts"]
    assert counts["files"] == len(GOOD_FILES) + len(BAD_FILES)
    assert counts["files_failed"] == len(BAD_FILES)
    assert counts["files_skipped"] == 2
    assert {entry["file"] for entry in manifest(output)["skipped"]} == {"folder.csv/notes.txt", "pipe.csv"}
    assert counts["rows_scored"] == sum(ROWS.values())
    assert counts["rows_failed"] == sum(rows for *_, rows in BAD_FILES.values())
    assert counts["rows"] == counts["rows_scored"] + counts["rows_failed"]
    frame = pd.read_csv(output / "predictions.csv")
    assert frame["file"].value_counts().to_dict() == ROWS
    assert sorted(os.listdir(output)) == ["failures.jsonl", "job.json", "logs", "predictions.csv"]


def test_failures_are_lines_in_input_order_with_the_documented_keys(scored_bad_files, folder_of_bad_files: Path):
    records = failures(folder_of_bad_files / "out")
    assert [record["file"] for record in records] == sorted(BAD_FILES, key=str.encode)
    assert all(list(record) == FAILURE_KEYS for record in records)


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_says_what_is_wrong_where_and_what_to_do(scored_bad_files, folder_of_bad_files: Path, name: str):
    _, where, words, _ = BAD_FILES[name]
    record = next(record for record in failures(folder_of_bad_files / "out") if record["file"] == name)
    if name != "trimmed.csv.zst":  # the row that was reached depends on zstd's blocks
        assert (record["row"], record["column"], record["value"]) == where
    for word in words:
        assert word in record["reason"]


def test_the_first_failures_are_shown_and_the_others_counted(scored_bad_files):
    shown = [line for line in scored_bad_files.stderr.splitlines() if line.partition(":")[0] in BAD_FILES]
    assert [line.partition(":")[0] for line in shown] == sorted(BAD_FILES, key=str.encode)[:5]
    assert f"… and {len(BAD_FILES) - 5} more, see failures.jsonl" in scored_bad_files.stderr
    assert is_tidy(scored_bad_files)


def test_the_output_in_the_input_is_no_input_of_the_next_run(
    scored_bad_files, run_batchscore, folder_of_bad_files: Path, model: Path
):
    (folder_of_bad_files / "vanished.csv").unlink(missing_ok=True)
    again = run_batchscore(
        "run", "-m", model, "-i", "data", "-o", "data/out", "--error-threshold", "-1", cwd=folder_of_bad_files.parent
    )
    assert "data/out" not in again.stderr.replace(str(folder_of_bad_files / "out"), "")
    assert again.returncode == 2
    assert "the inputs changed since" in again.stderr


# -- other forms of CSV ------------------------------------------------------------------------------------------------


def scored(run_batchscore, place: Path, model: Path, *options: str, code: int = 0) -> pd.DataFrame:
    """The predictions of a run over data/."""
    result = run_batchscore("run", "-m", model, "-i", "data", "-o", "out", *options, cwd=place)
    assert result.returncode == code, result.stderr
    assert is_tidy(result)
    return pd.read_csv(place / "out/predictions.csv", keep_default_na=False, dtype=str)


def test_encoding_mends_latin_1(run_batchscore, place: Path, model: Path):
    (place / "data/good.csv").write_bytes("x,name\n1,café\n2,naïve\n".encode("latin-1"))
    (place / "data/more.csv.gz").write_bytes(gzip.compress("x,name\n3,Ärger\n".encode("latin-1")))
    frame = scored(run_batchscore, place, model, "--encoding", "latin-1", "--keep", "name")
    assert frame["name"].tolist() == ["café", "naïve", "Ärger"]


def test_encoding_takes_utf_16_and_refuses_what_has_no_mark(run_batchscore, place: Path, model: Path):
    (place / "data/a.csv").write_bytes("x,name\n1,日本\n".encode("utf-16"))
    (place / "data/b.csv").write_bytes(b"\xfe\xff" + "x,name\n2,é\n".encode("utf-16-be"))
    frame = scored(run_batchscore, place, model, "--encoding", "utf-16", "--keep", "name", "--error-threshold", "1")
    assert frame["name"].tolist() == ["日本", "é"]
    (failure,) = failures(place / "out")
    assert failure["file"] == "good.csv"
    assert "isn't utf-16" in failure["reason"]
    assert manifest(place / "out")["counts"]["rows_failed"] == 0


def test_delimiters_and_missing_values_are_settings_and_tsv_is_always_tabs(run_batchscore, place: Path, model: Path):
    (place / "data/good.csv").write_text('x|name\n1|"a|b"\n-|-\n999|NA\nNA|c\n')
    (place / "data/tabs.tsv").write_text("x\tname\n1\ta,b|c\n")
    options = ["--delimiter", "|", "--missing-value", "-", "--missing-value", "999", "--missing-value", "NA"]
    frame = scored(run_batchscore, place, model, *options, "--keep", "name")
    assert frame["twice"].tolist() == ["2.0", "", "", "", "2.0"]
    assert frame["name"].tolist() == ["a|b", "-", "NA", "c", "a,b|c"]


def test_a_setting_that_makes_it_another_job_is_named_alone(run_batchscore, place: Path, model: Path):
    (place / "data/semicolons.csv").write_text("x;name\n1;a\n")
    command = ["run", "-m", model, "-i", "data", "-o", "out", "--param", "k=1"]
    assert run_batchscore(*command, cwd=place).returncode == 1
    again = run_batchscore(*command[:-1], "k=2", "--delimiter", ";", cwd=place)
    assert (again.returncode, again.stdout) == (2, "")
    assert (
        'another job, an unfinished job: params k ("1" there, "2" now); delimiter ("," there, ";" now). '
        in again.stderr
    )
    assert "--overwrite" in again.stderr
    assert is_tidy(again)


def test_csv_without_a_header_has_the_columns_of_the_signature(run_batchscore, place: Path, model: Path):
    (place / "data/good.csv").write_text("1.5;a\n2;b\n")
    (place / "data/narrow.csv").write_text("3\n")
    (place / "data/points.csv").write_text("4;c\n1,5;d\n")
    options = ["--no-header", "--delimiter", ";", "--error-threshold", "2", "--keep", "name"]
    frame = scored(run_batchscore, place, model, *options)
    assert frame["twice"].tolist() == ["3.0", "4.0"]
    narrow, points = failures(place / "out")
    assert (narrow["file"], narrow["column"]) == ("narrow.csv", "name")
    assert (points["file"], points["row"], points["column"], points["value"]) == ("points.csv", 1, "x", "1,5")
    assert points["record"] == "1,5;d"


def test_huge_numbers_of_workers_and_rows_are_harmless(run_batchscore, place: Path, model: Path):
    options = ["--workers", "1000", "--rows-per-call", str(10**20), "--limit", str(10**20), "--timeout", "1e300"]
    assert len(scored(run_batchscore, place, model, *options)) == 5


def test_a_limit_of_0_scores_nothing_and_has_columns(run_batchscore, place: Path, model: Path):
    frame = scored(run_batchscore, place, model, "--limit", "0")
    assert list(frame)[:2] == ["file", "row"]
    assert frame.empty


def test_no_input_is_allowed_by_an_option(run_batchscore, place: Path, model: Path):
    result = run_batchscore("run", "-m", model, "-i", "none/*.csv", "-o", "out", "--allow-empty", cwd=place)
    assert (result.returncode, result.stdout) == (0, "Completed: 0 of 0 rows from 0 files scored, to predictions.csv\n")
    assert sorted(os.listdir(place / "out")) == ["job.json", "logs", "predictions.csv"]


# -- names -------------------------------------------------------------------------------------------------------------

FILE_NAMES = [
    b"sp ace.csv", b"quo'te.csv", b'dq"uote.csv', b"com,ma.csv", b"new\nline.csv", b"tab\t.csv", b"esc\x1b[31m.csv",
    b"cr\r.csv", b"back\\slash.csv", b"$(cmd)`.csv", b"[brack].csv", b"-dash.csv", b" lead.csv", b"=1+1.csv",
    b"latin\xe9.csv", "日本 ü😀.csv".encode(), "c1\u0085ls\u2028.csv".encode(), b'sub, "dir"\n/in.csv',
]  # fmt: skip
BAD_NAME = b"bad\x1b[31m '\\ \xff\xc2\x85\n.csv"


def shown_as(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def test_file_names_of_any_kind_stay_apart_in_outputs_and_off_the_terminal(
    place: Path, model: Path, clean_environment, tmp_path: Path
):
    """The model and OUTPUT have odd paths too; the command that is shown at the end can be pasted into bash."""
    home = tmp_path / "mödel's home"
    home.mkdir()
    (home / "my model").symlink_to(model)
    (place / "data/good.csv").unlink()
    for name in (*FILE_NAMES, BAD_NAME):
        path = place / "data" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x\n1\n" if name != BAD_NAME else b"x\n\xc2\x85no\xe2\x80\xa8\n")
    arguments = ["-m", "../mödel's home/../mödel's home//my model/", "-o", "../an öut/", "-i"]
    inputs = [f"data/{name}" for name in sorted(os.listdir(place / "data"))]
    failed = subprocess.run(
        [sys.executable, "-m", "batchscore", "run", *arguments, *inputs],
        cwd=place, env=clean_environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert failed.returncode == 1, failed.stderr
    assert is_tidy(failed)
    (failure,) = failures(tmp_path / "an öut")
    assert failure["file"] == shown_as(BAD_NAME)
    assert failure["value"] == "\x85no\u2028"

    (tmp_path / "batchscore").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m batchscore "$@"\n')
    (tmp_path / "batchscore").chmod(0o755)
    published = subprocess.run(
        ["bash", "-c", failed.stderr.splitlines()[-1]],
        cwd=place,
        env={**clean_environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert published.returncode == 0, published.stderr
    with (tmp_path / "an öut/predictions.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert sorted(row["file"] for row in rows) == sorted(
        shown_as(name).removeprefix('sub, "dir"\n/') for name in FILE_NAMES
    )
    assert pd.read_csv(tmp_path / "an öut/predictions.csv")["file"].tolist() == [row["file"] for row in rows]


COLUMN_NAMES = [
    "x", "sp ace", 'dq"x', "com,ma", "new\nline", "esc\x1b[31m", "日本ü", " lead", "trail ", "tab\t", "{}", "'q'",
    "back\\slash", "cr\rx", "😀", "0", "ls\u2028\u0085x", "=1+1",
]  # fmt: skip


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_column_names_of_any_kind_reach_the_model_and_come_back(run_batchscore, save_model, place: Path, format_: str):
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    wide = save_model(WIDE, ModelSignature(Schema([ColSpec("double", name) for name in COLUMN_NAMES])))
    frame = pd.DataFrame({name: [float(number), number + 0.5] for number, name in enumerate(COLUMN_NAMES)})
    frame.to_csv(place / "data/good.csv", index=False, quoting=csv.QUOTE_ALL)
    frame.drop(columns=["esc\x1b[31m"]).to_csv(place / "data/short.csv", index=False, quoting=csv.QUOTE_ALL)
    frame.to_parquet(place / "data/typed.parquet")
    result = run_batchscore(
        "run", "-m", wide, "-i", "data", "-o", "out", "--keep", "all", "--format", format_, "--error-threshold", "1",
        cwd=place,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert is_tidy(result)
    back = (pd.read_csv if format_ == "csv" else pd.read_parquet)(place / f"out/predictions.{format_}")
    kept = [name.strip() for name in COLUMN_NAMES]
    assert list(back) == ["file", "row", *kept, *(f"{name}!" for name in COLUMN_NAMES)]
    for name in COLUMN_NAMES:
        assert back[f"{name}!"].tolist() == [value * 2 for value in frame[name]] * 2
    (failure,) = failures(place / "out")
    assert (failure["file"], failure["column"]) == ("short.csv", "esc\x1b[31m")


# -- surroundings ------------------------------------------------------------------------------------------------------


def test_a_bare_environment_in_a_folder_that_cant_be_written_to_is_enough(place: Path, model: Path, clean_environment):
    """No HOME, no TERM, no locale, no PATH; /proc takes no file from anybody."""
    needed = {name: clean_environment[name] for name in ("PYTHONPATH",) if name in clean_environment}
    result = subprocess.run(
        [sys.executable, "-m", "batchscore", "run", "-m", model, "-i", place / "data", "-o", place / "out"],
        cwd="/proc", env=needed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Completed: 5 of 5 rows from 1 file scored, to predictions.csv\n"
    assert result.stderr == "1 file in 1 folder, 0 skipped\n"


def test_files_in_the_working_directory_are_imported_by_nobody(run_batchscore, place: Path, model: Path):
    for name in ("json", "csv", "pandas", "mlflow", "click", "random", "pathlib", "model_code"):
        (place / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    result = run_batchscore(
        "run", "-m", model, "-i", "data", "-o", "out", "--format", "jsonl",
        "--environment-variable", "SHOW_PATH=1", "--environment-variable", "PYTHONPATH=:.::relative", cwd=place,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    path = json.loads((place / "out/predictions.jsonl").read_text().splitlines()[0])["path"]
    assert not {"", ".", str(place)}.intersection(path)
    assert not list(place.rglob("__pycache__"))


def test_a_working_directory_that_is_gone_is_told(model: Path, tmp_path: Path, clean_environment):
    command = f'mkdir gone && cd gone && rmdir ../gone && exec "{sys.executable}" -m batchscore run -m m -i d -o o'
    result = subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=clean_environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "working directory that is gone" in result.stderr
    assert is_tidy(result)


STREAMS = {
    "stdout closed": ("{} >&-", 0),
    "stderr closed": ("{} 2>&-", 0),
    "all closed": ("{} <&- >&- 2>&-", 0),
    "stderr full": ("{} 2>/dev/full", 0),
    "stdout full": ("{} >/dev/full", 4),
    "the reader of stdout gone": ("({}; echo $? >code) | true; exit $(cat code)", 0),
    "the reader of stderr gone": ("({}; echo $? >code) 2>&1 >/dev/null | true; exit $(cat code)", 0),
    "an error for nobody": ("{} --format xml 2>&-", 2),
    "an error for a full disk": ("{} --keep file 2>/dev/full", 2),
}


@pytest.mark.parametrize("case", STREAMS)
def test_streams_that_are_closed_full_or_broken_end_no_job(place: Path, model: Path, clean_environment, case: str):
    text, code = STREAMS[case]
    if "/dev/full" in text and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    run = f'"{sys.executable}" -m batchscore run -m "{model}" -i "none*" --allow-empty -o out'
    result = subprocess.run(
        ["bash", "-c", text.format(run)], cwd=place, env=clean_environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == code, result.stderr
    assert "Exception ignored" not in result.stderr
    assert is_tidy(result)
    assert (place / "out/job.json").exists() is (code != 2)
    if code == 4:
        assert "can't be written to stdout: No space left on device" in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_text_that_the_terminal_cant_encode_is_shown_all_the_same(place: Path, clean_environment, encoding: str):
    environment = {**clean_environment, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    for arguments, code in ((["--help"], 0), (["-m", "日本", "-i", "日本", "-o", "日本"], 2)):
        result = subprocess.run(
            [sys.executable, "-m", "batchscore", "run", *arguments],
            cwd=place, env=environment, capture_output=True, text=True, encoding="latin-1", check=False,
        )  # fmt: skip
        assert result.returncode == code
        assert "Traceback" not in result.stderr


def test_an_output_that_is_blocked_at_the_very_end_can_be_finished(run_batchscore, place: Path, model: Path):
    command = ["run", "-m", model, "-i", f"{place}/../cwd/data/", "-o", "out"]
    blocked = run_batchscore(*command, "--environment-variable", "BLOCKED=out/failures.jsonl", cwd=place)
    assert (blocked.returncode, blocked.stdout) == (4, "")
    assert "failures.jsonl: Is a directory" in blocked.stderr
    assert is_tidy(blocked)
    assert (place / "out/.batchscore").is_dir()  # nothing is scored again
    (place / "out/failures.jsonl").rmdir()
    again = run_batchscore(*command, cwd=place)
    assert again.returncode == 0, again.stderr
    assert sorted(os.listdir(place / "out")) == ["job.json", "logs", "predictions.csv"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 KB; skips where none can be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount, on Linux")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_ends_the_job_and_the_same_command_goes_on_when_there_is_room(
    run_batchscore, place: Path, model: Path, small_disk: Path
):
    (place / "data/good.csv").write_text("\n".join(LINES[:20_001]) + "\n")
    command = ["run", "-m", str(model), "-i", "data", "-o", str(small_disk / "out"), "--mini-batch-size", "64KB"]
    full = run_batchscore(*command, cwd=place)
    assert (full.returncode, full.stdout) == (4, ""), full.stderr
    assert "No space left on device" in full.stderr
    assert is_tidy(full)
    assert "predictions.csv" not in os.listdir(small_disk / "out")
    subprocess.run(["mount", "-o", "remount,size=9m", small_disk], check=True)
    again = run_batchscore(*command, cwd=place)
    assert again.returncode == 0, again.stderr
    assert len(pd.read_csv(small_disk / "out/predictions.csv")) == 20_000
    assert sorted(os.listdir(small_disk / "out")) == ["job.json", "logs", "predictions.csv"]
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    refused = run_batchscore("run", "-m", model, "-i", "data", "-o", small_disk / "other", cwd=place)
    assert refused.returncode == 4
    assert "Read-only file system" in refused.stderr
