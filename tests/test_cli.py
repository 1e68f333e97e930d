"""The command line: options to a Job, a summary to stdout, stderr and an exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from batchscore.cli import main_group
from batchscore.job import Job
from batchscore.settings import CsvOptions, MiniBatchSize
from batchscore.translating import job_of


def parsed(*arguments: str, env: dict[str, str] | None = None) -> Job:
    """The Job that a command line gives, without running it."""
    command = main_group.commands["run"]
    before = dict(os.environ)
    os.environ.update(env or {})
    try:
        context = command.make_context("run", list(arguments))
    finally:
        os.environ.clear()
        os.environ.update(before)
    return job_of(context)


def test_without_options_a_job_has_the_documented_defaults() -> None:
    assert parsed("-m", "m", "-i", "a", "-o", "out") == Job(model="m", inputs=("a",), output="out")


def test_further_arguments_are_inputs_because_shells_expand_globs() -> None:
    assert parsed("-m", "m", "-o", "out", "-i", "a.csv", "b.csv", "c.csv").inputs == ("a.csv", "b.csv", "c.csv")


def test_options_reach_the_job() -> None:
    job = parsed(
        "-m", "m", "-i", "a", "-o", "o", "--keep", "a,b", "--keep", '"c,d"', "--add", "x=1=2", "--rename", "p=q",
        "--param", "k=0.5", "--mini-batch-size", "64MB", "--format", "parquet", "--delimiter", "\\t", "--no-header",
        "--missing-value", "-", "--missing-value", "", "--error-threshold", "-1", "--environment-variable", "A=b",
        "--env-manager", "uv",
    )  # fmt: skip
    assert job.keep == ("a", "b", "c,d")
    assert job.add == (("x", "1=2"),)
    assert job.rename == (("p", "q"),)
    assert job.params == (("k", "0.5"),)
    assert job.mini_batch_size == MiniBatchSize(bytes=64 << 20)
    assert (job.format, job.output_file_name) == ("parquet", "predictions.parquet")
    assert job.csv == CsvOptions("\t", "utf-8", ("-", ""), header=False)
    assert job.error_threshold == -1
    assert job.environment == (("A", "b"),)
    assert job.env_manager == "uv"


def test_keep_all_is_a_word() -> None:
    assert parsed("-m", "m", "-i", "a", "-o", "o", "--keep", "all").keep == ("*",)


def test_every_option_comes_from_the_environment_too() -> None:
    command = main_group.commands["run"]
    options = [p for p in command.params if p.param_type_name == "option"]
    for option in options:
        longest = max(option.opts, key=len)
        assert option.envvar == f"BATCHSCORE_RUN_{longest[2:].replace('-', '_').upper()}"
    job = parsed(
        env={
            "BATCHSCORE_RUN_MODEL": "m",
            "BATCHSCORE_RUN_INPUT": "a b\nc",
            "BATCHSCORE_RUN_OUTPUT": "o",
            "BATCHSCORE_RUN_TIMEOUT": "60",
            "BATCHSCORE_RUN_ADD": "x=1\ny=a b",
            "BATCHSCORE_RUN_OVERWRITE": "true",
        }
    )
    assert (job.inputs, job.timeout, job.add, job.overwrite) == (("a b", "c"), 60, (("x", "1"), ("y", "a b")), True)


def test_a_day_is_filled_into_paths_and_constants() -> None:
    job = parsed(
        "-m", "{m}", "-i", "a/{date}", "b/{date:%d}", "-o", "o/{date:%Y}", "--output-file-name", "{date}.parquet",
        "--add", "{day}={date}", "--date", "2026-11-03",
    )  # fmt: skip
    assert (job.model, job.inputs, job.output) == ("{m}", ("a/2026-11-03", "b/03"), "o/2026")
    assert (job.output_file_name, job.format) == ("2026-11-03.parquet", "parquet")
    assert (job.add, job.date) == ((("{day}", "2026-11-03"),), "2026-11-03")
    assert "date" not in job.shaping()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--wrokers", "2"], "Did you mean one of: '--worker-start', '--workers'?"),
        (["-m", "m", "-o", "o"], "no input: give -i INPUT"),
        (["-m", "m", "-i", "a", "-o", "x.csv"], "did you mean: -o . --output-file-name x.csv"),
        (["-m", "m", "-i", "a", "-o", "o", "--format", "csv", "--output-file-name", "x.jsonl"], "means jsonl"),
        (["-m", "m", "-i", "a", "-o", "o", "--mini-batch-size", "many"], "found 'many'"),
        (["-m", "m", "-i", "a", "-o", "o", "--add", "x"], "expected NAME=VALUE"),
        (["-m", "m", "-i", "a", "-o", "o", "--env-manager", "uv", "--python", "p"], "--python in that of p; drop one"),
        (["-m", "m", "-i", "a", "-o", "o", "--error-threshold", "-2"], "error-threshold"),
        (["-m", "m", "-i", "a", "-o", "{day}"], "OUTPUT {day}: {day} is no placeholder"),
        (["-m", "m", "-i", "a", "-o", "o", "--date", "soon"], "--date takes a day such as 2026-11-03"),
        (["-m", "m", "-i", "a", "-o", "o", "--output-file-name", "{date:%Y/%m}.csv"], "a name without folders"),
        (["-m", "/no/such/model", "-i", ".", "-o", "o"], "MODEL /no/such/model isn't there"),
        (["-m", ".", "-i", ".", "-o", "o"], "has no MLmodel file"),
        (["-m", "https://h/model", "-i", ".", "-o", "o"], "MODEL https://h/model can't be fetched"),
    ],
)
def test_wrong_use_exits_2_with_one_message_and_leaves_nothing(
    run_batchscore, tmp_path: Path, arguments: list[str], message: str
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    result = run_batchscore("run", *arguments, cwd=folder)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert list(folder.iterdir()) == []


def test_a_misspelt_command_is_corrected(run_batchscore) -> None:
    result = run_batchscore("rnu")
    assert result.returncode == 2
    assert "run" in result.stderr


def test_help_lists_the_options_in_groups(run_batchscore) -> None:
    result = run_batchscore("run", "--help")
    assert result.returncode == 0
    headings = ["Main:", "Output:", "Model:", "Input:", "Mini-batches and workers:", "Failures:", "What is shown:"]
    places = [result.stdout.index(f"\n{heading}\n") for heading in headings]
    assert places == sorted(places)
    assert "Exit codes:" in result.stdout


def test_the_shell_can_complete_options(run_batchscore) -> None:
    result = run_batchscore(
        env={"_BATCHSCORE_COMPLETE": "bash_complete", "COMP_WORDS": "batchscore run --out", "COMP_CWORD": "2"}
    )
    assert {"plain,--output", "plain,--output-files", "plain,--output-file-name"} <= set(result.stdout.splitlines())


@pytest.fixture
def sample(sample_data: Path, sample_models: Path, tmp_path: Path) -> list[str]:
    """Arguments of a run over the iris data."""
    return ["run", "-m", str(sample_models / "iris"), "-i", str(sample_data / "iris"), "-o", str(tmp_path / "out")]


def test_stdout_has_the_result_only_and_stderr_the_progress(run_batchscore, sample: list[str]) -> None:
    result = run_batchscore(*sample)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "Completed: 150 of 150 rows from 3 files scored, to predictions.csv\n"
    assert result.stderr.splitlines()[0] == "3 files in 1 folder, 0 skipped"
    again = run_batchscore(*sample)
    assert again.stdout == "Completed: already finished: 150 rows scored, nothing to do\n"


def test_json_prints_job_json(run_batchscore, sample: list[str], tmp_path: Path) -> None:
    result = run_batchscore(*sample, "--json")
    assert json.loads(result.stdout) == json.loads((tmp_path / "out/job.json").read_text())


def test_quiet_says_nothing_when_all_is_well(run_batchscore, sample: list[str]) -> None:
    result = run_batchscore(*sample, "--quiet")
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_quiet_tells_a_failure_unless_it_may_be(run_batchscore, sample: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    result = run_batchscore(*sample, "--quiet", tmp_path / "bad.parquet")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("bad.parquet: the file can't be read as Parquet")
    assert "1 file failed" in result.stderr
    assert result.stderr.splitlines()[-1].endswith("--error-threshold -1")
    accepted = run_batchscore(*sample, "--quiet", tmp_path / "bad.parquet", "--error-threshold", "1")
    assert (accepted.returncode, accepted.stdout, accepted.stderr) == (0, "", "")


def test_secrets_in_environment_variables_are_not_repeated(run_batchscore, sample: list[str], tmp_path: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    result = run_batchscore(*sample, tmp_path / "bad.parquet", "--environment-variable", "TOKEN=s3cret")
    assert result.returncode == 1
    written = [path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert b"s3cret" not in b"".join([*written, result.stdout.encode(), result.stderr.encode()])


def test_what_a_model_prints_stays_off_stdout(run_batchscore, save_model, tmp_path: Path) -> None:
    source = (
        "import mlflow.pyfunc, os, sys\nfrom mlflow.models import set_model\n"
        "class Loud(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        print('LOUD'); os.system('echo LOUD'); print('LOUD', file=sys.stderr)\n"
        "        return model_input.iloc[:, 0]\n"
        "set_model(Loud())\n"
    )
    (tmp_path / "a.csv").write_text("x\n1\n")
    result = run_batchscore("run", "-m", save_model(source), "-i", tmp_path / "a.csv", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "LOUD" not in result.stdout + result.stderr


def test_a_terminal_gets_a_bar_and_no_colour_is_respected(sample: list[str], clean_environment) -> None:
    import pty

    for no_colour in (True, False):
        parent, child = pty.openpty()
        environment = {**clean_environment, "TERM": "xterm", "COLUMNS": "100"}
        if not no_colour:
            environment.pop("NO_COLOR")
        with subprocess.Popen(
            [sys.executable, "-m", "batchscore", *sample[:-1], f"{sample[-1]}-{no_colour}"],
            stderr=child,
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            os.close(child)
            shown = b""
            try:
                while block := os.read(parent, 4096):
                    shown += block
            except OSError:  # the terminal's other end is closed
                pass
        os.close(parent)
        assert process.returncode == 0
        text = shown.decode()
        assert "% |" in text
        assert "rows/s" in text
        assert ("\x1b[32m" in text) is not no_colour


def test_python_dash_m_and_version(run_batchscore) -> None:
    from batchscore import __version__

    assert run_batchscore("--version").stdout == f"batchscore, version {__version__}\n"


def test_a_misspelt_variable_is_told_and_does_nothing(run_batchscore, tmp_path) -> None:
    """Not when quiet: what does nothing is no error."""
    (tmp_path / "a.csv").write_text("x\n1\n")
    words = ["run", "-m", tmp_path, "-i", tmp_path / "a.csv", "-o", tmp_path / "out"]
    variables = {"BATCHSCORE_RUN_TIMOUT": "SECRET", "BATCHSCORE_RUN_RETRIES": "3", "BATCHSCORE_VALIDATE_KEP": "a"}
    told = run_batchscore(*words, env=variables).stderr
    assert (
        "Warning: the environment variable BATCHSCORE_RUN_TIMOUT has no effect: there is no such option; "
        "did you mean BATCHSCORE_RUN_TIMEOUT?\n"
    ) in told
    assert "BATCHSCORE_RUN_RETRIES has no effect" in told
    assert "KEP" not in told
    assert "SECRET" not in told
    assert "Warning" not in run_batchscore(*words, "--quiet", env=variables).stderr
    missing = run_batchscore(*words[:-2], env={"BATCHSCORE_RUN_OUTPT": "out"})
    assert missing.returncode == 2
    assert "did you mean BATCHSCORE_RUN_OUTPUT?" in missing.stderr
    assert (
        "BATCHSCORE_SHOW_JSN has no effect" in run_batchscore("show", tmp_path, env={"BATCHSCORE_SHOW_JSN": "1"}).stderr
    )
    assert "Warning" not in run_batchscore(*words, env={"BATCHSCORE_RUN_TIMEOUT": "3", "BATCHSCORE_CACHE": "/x"}).stderr
