"""`batchscore run -f`: a deployment's YAML to a job, by the command line that a user types."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import quick
import yaml
from conftest import RunBatchscore, SaveModel

import batchscore
from batchscore import engines
from batchscore.cli import main_group
from batchscore.errors import UsageError
from batchscore.job import Job, Script
from batchscore.settings import MiniBatchSize
from batchscore.translating import job_of

SETTINGS: dict[str, Any] = {
    "name": "d", "endpoint_name": "e", "type": "model", "compute": "azureml:cpu",
    "model": {"path": "model", "type": "mlflow_model"},
}  # fmt: skip
ROOT_STYLE = {name: value for name, value in SETTINGS.items() if name != "type"}


class Folder:
    """A folder with a deployment's YAML, a folder that looks like a model, a script and an input."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name, text in {
            "model/MLmodel": "flavors: {python_function: {}}",
            "code/score.py": "",
            "in/a.csv": "x\n1\n",
        }.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)

    def write(self, document: Mapping[str, Any], name: str = "deployment.yml", **more: Any) -> Path:
        file = self.root / name
        file.write_text(yaml.safe_dump({**document, **more}, sort_keys=False))
        return file

    def job(self, *arguments: str, env: Mapping[str, str] | None = None) -> Job:
        """The Job of a command line with this folder's YAML, unless another is given."""
        words = [*arguments] if {"-f", "-m"} & {*arguments} else ["-f", str(self.root / "deployment.yml"), *arguments]
        with pytest.MonkeyPatch.context() as patched:
            for name, value in (env or {}).items():
                patched.setenv(name, value)
            context = main_group.commands["run"].make_context("run", [*words, "-i", "in", "-o", "out"])
            return job_of(context)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(engines, "cpu_count", lambda: 8)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Folder(tmp_path)


def test_a_silent_deployment_has_azures_defaults(folder: Folder) -> None:
    folder.write(SETTINGS)
    job = folder.job()
    notes, record = job.notes, job.deployment
    assert job == Job(
        model=str(folder.root / "model"),
        inputs=("in",),
        output="out",
        workers=1,
        threads_per_worker=8,
        mini_batch_size=MiniBatchSize(files=10),
        max_retries=3,
        timeout=600,
        times_mini_batches=True,
        timeout_name="settings.retry_settings.timeout in deployment.yml, or --timeout",
        warns_beyond=30,
        error_threshold=-1,
        fail_fast=True,
        layout="azure",
        predicts_whole_files=True,
        fails_unsupported=True,
        notes=notes,
        deployment=record,
    )
    assert "1 worker on 8 cores" in notes[-1]
    assert record.mini_batch_size == 10


STATED = {
    "max_concurrency_per_instance": 2, "mini_batch_size": 5, "output_file_name": "p.csv", "error_threshold": 7,
    "retry_settings": {"max_retries": 1, "timeout": 90}, "logging_level": "warning",
    "environment_variables": {"A": "yaml", "B": "yaml"},
}  # fmt: skip


@pytest.mark.parametrize("style", ["settings", "root"])
def test_what_the_yaml_says_reaches_the_job_in_both_styles(folder: Folder, style: str) -> None:
    more = {"settings": STATED} if style == "settings" else STATED
    folder.write(SETTINGS if style == "settings" else ROOT_STYLE, **more, resources={"instance_count": 3})
    job = folder.job()
    assert (job.workers, job.threads_per_worker, str(job.mini_batch_size)) == (6, 1, "5")
    assert (job.max_retries, job.timeout, job.warns_beyond) == (1, 90, None)
    assert (job.error_threshold, job.output_file_name, job.logging_level) == (7, "p.csv", "warning")
    assert job.environment == (("A", "yaml"), ("B", "yaml"))
    prefix = "settings." if style == "settings" else ""
    assert job.timeout_name == f"{prefix}retry_settings.timeout in deployment.yml, or --timeout"


GIVEN = {
    "--max-retries": ("max_retries", "0", 0),
    "--timeout": ("timeout", "600", 600),
    "--error-threshold": ("error_threshold", "0", 0),
    "--mini-batch-size": ("mini_batch_size", "64MB", MiniBatchSize(bytes=64 << 20)),
    "--output-file-name": ("output_file_name", "q.csv", "q.csv"),
    "--logging-level": ("logging_level", "info", "info"),
    "--layout": ("layout", "table", "table"),
    "--threads-per-worker": ("threads_per_worker", "5", 5),
    "--workers": ("workers", "3", 3),
    "--model": ("model", "other", "other"),
    "--max-concurrency-per-instance": ("workers", "4", 4),
    "--instance-count": ("workers", "3", 6),
    "--environment-variable": ("environment", "A=given", (("A", "given"), ("B", "yaml"))),
}


@pytest.mark.parametrize("by", ["command line", "environment"])
@pytest.mark.parametrize("option", GIVEN)
def test_what_is_given_goes_before_the_yaml_also_where_it_is_a_default(folder: Folder, option: str, by: str) -> None:
    folder.write(SETTINGS, settings=STATED)
    field, text, value = GIVEN[option]
    variable = f"BATCHSCORE_RUN_{option[2:].replace('-', '_').upper()}"
    job = folder.job(option, text) if by == "command line" else folder.job(env={variable: text})
    assert getattr(job, field) == value
    others = [(name, value) for name, _, value in GIVEN.values() if name != field]
    assert not any(getattr(job, name) == value for name, value in others)


def test_a_timeout_that_is_given_is_named_by_its_option(folder: Folder) -> None:
    folder.write(SETTINGS)
    job = folder.job("--timeout", "5")
    assert (job.timeout_name, job.warns_beyond, job.times_mini_batches) == ("--timeout", None, True)


def test_options_go_before_set_and_set_before_the_yaml(folder: Folder) -> None:
    folder.write(SETTINGS, settings=STATED)
    assert folder.job("--set", "error_threshold=5", "--error-threshold", "-1").error_threshold == -1
    assert folder.job("--set", "error_threshold=5").error_threshold == 5


@pytest.mark.parametrize("style", [SETTINGS, ROOT_STYLE], ids=["settings", "root"])
def test_a_yaml_may_state_a_percentage_which_azure_would_not_take(folder: Folder, style: Mapping[str, Any]) -> None:
    folder.write(style)
    job = folder.job("--set", "error_threshold=12.5%")
    assert (str(job.error_threshold), job.fail_fast) == ("12.5%", True)
    assert job.deployment is not None
    assert job.deployment.to_json()["settings"]["error_threshold"] == "12.5%"
    assert any("12.5% of the files; Azure takes a whole number alone" in note for note in job.deployment.notes)


INVOKE = {
    "error_threshold": ("error_threshold", 4),
    "mini_batch_size": ("mini_batch_size", MiniBatchSize(files=4)),
    "retry_settings.max_retries": ("max_retries", 4),
    "retry_settings.timeout": ("timeout", 4),
    "compute.instance_count": ("workers", 4),
}


@pytest.mark.parametrize("style", [SETTINGS, ROOT_STYLE], ids=["settings", "root"])
@pytest.mark.parametrize("key", INVOKE)
def test_set_takes_the_names_that_azures_invoke_overrides(folder: Folder, style: Mapping[str, Any], key: str) -> None:
    folder.write(style)
    field, value = INVOKE[key]
    assert getattr(folder.job("--set", f"{key}=4"), field) == value
    assert folder.job("--set", "output_file_name=q.csv").output_file_name == "q.csv"


def test_dotted_keys_of_the_yaml_can_be_set(folder: Folder) -> None:
    folder.write(SETTINGS)
    job = folder.job("--set", "settings.max_concurrency_per_instance=2", "--set", "model.path=code/../model")
    assert (job.workers, Path(job.model).resolve()) == (2, folder.root / "model")


def test_workers_are_at_most_the_cores(folder: Folder) -> None:
    folder.write(SETTINGS, resources={"instance_count": 20})
    job = folder.job()
    assert (job.workers, job.threads_per_worker) == (8, 1)
    assert job.notes[-1] == "20 workers were asked for; this machine has 8 cores, so there are 8"
    native = folder.job("-m", "model", "--max-concurrency-per-instance", "3", "--instance-count", "2")
    assert (native.workers, native.threads_per_worker, native.notes) == (6, 1, ())
    assert folder.job("-m", "model", "--instance-count", "9").workers == 8


def test_the_command_line_goes_before_the_environment_however_workers_are_stated(folder: Folder) -> None:
    folder.write(SETTINGS)
    assert folder.job("--instance-count", "2", env={"BATCHSCORE_RUN_WORKERS": "3"}).workers == 2
    assert folder.job("--workers", "3", env={"BATCHSCORE_RUN_INSTANCE_COUNT": "2"}).workers == 3
    assert folder.job("-m", "model", env={"BATCHSCORE_RUN_MODEL_STORE": "store"}).model == "model"


def test_a_table_takes_what_tables_have(folder: Folder) -> None:
    folder.write(SETTINGS)
    job = folder.job("--layout", "table", "--format", "parquet", "--keep", "x", "--add", "day=1")
    assert (job.format, job.output_file_name, job.keep, job.add) == (
        "parquet", "predictions.parquet", ("x",), (("day", "1"),),
    )  # fmt: skip


def test_a_scoring_script_becomes_part_of_the_job(folder: Folder) -> None:
    code = {"code": "code", "scoring_script": "score.py"}
    folder.write(SETTINGS, code_configuration=code, settings={"output_action": "summary_only"})
    job = folder.job()
    assert job.script == Script(str(folder.root / "code"), "score.py")
    assert (job.output_action, job.model) == ("summary_only", str(folder.root / "model"))
    assert folder.job("--output-action", "append_row").output_action == "append_row"
    folder.write({name: value for name, value in SETTINGS.items() if name != "model"}, code_configuration=code)
    assert folder.job().model == ""


def test_a_registered_model_comes_from_the_store_or_the_registry(folder: Folder) -> None:
    folder.write(SETTINGS, model="azureml:churn@latest")
    for version in ("2", "10"):
        (folder.root / f"store/churn/{version}").mkdir(parents=True)
        (folder.root / f"store/churn/{version}/MLmodel").touch()
    store = str(folder.root / "store")
    assert folder.job("--model-store", store).model == f"{store}/churn/10"
    assert folder.job(env={"BATCHSCORE_RUN_MODEL_STORE": store}).model == f"{store}/churn/10"
    assert folder.job(env={"MLFLOW_TRACKING_URI": "http://localhost:1"}).model == "models:/churn/latest"
    assert folder.job("-m", "mine").model == "mine"


SCRIPT = {"code_configuration": {"code": "code", "scoring_script": "score.py"}}
REFUSED: dict[str, tuple[Mapping[str, Any], list[str], list[str]]] = {
    "a wrong value": (
        {"settings": {"mini_batch_size": 0}}, [],
        ["deployment.yml:9: settings.mini_batch_size", "found 0", "from 1"],
    ),
    "an unknown key": (
        {"settings": {"error_treshold": 1}}, [], ["deployment.yml:9", "error_treshold", "error_threshold"],
    ),
    "a dropped key": ({"error_threshold": 1}, [], ["deployment.yml:8: error_threshold", "settings.error_threshold"]),
    "a wrong --set": ({}, ["--set", "error_threshold=-2"], ["--set error_threshold (settings.error_threshold)", "-2"]),
    "--set of an unknown key": (
        {}, ["--set", "settings.timeout=5"], ["--set settings.timeout", "retry_settings.timeout"],
    ),
    "a model that isn't there": ({"model": {"path": "nowhere"}}, [], ["deployment.yml: model.path", "nowhere", "-m"]),
    "a model that is Azure's": (
        {"model": "azureml:churn:3"}, [],
        ["azureml:churn:3", "no folder of models", "MLFLOW_TRACKING_URI isn't set", "-m"],
    ),
    "two ways to say workers": ({}, ["--workers", "2", "--instance-count", "2"], ["--workers and --instance-count"]),
    "another deployment's name": ({}, ["--deployment-name", "x"], ["deployment.yml is the deployment d, not x"]),
    "summary_only without a script": (
        {"settings": {"output_action": "summary_only"}}, [],
        ["deployment.yml: settings.output_action: summary_only", "code_configuration"],
    ),
    "columns without a header": ({}, ["--keep", "x"], ["layout azure", "--layout table"]),
    "a format beside a file name": (
        {"settings": {"output_file_name": "p.csv"}}, ["--layout", "table", "--format", "jsonl"],
        ["deployment.yml: settings.output_file_name: p.csv means csv, --format says jsonl"],
    ),
    "reading for a script": (SCRIPT, ["--keep", "x"], ["deployment.yml has a scoring script", "--keep has no effect"]),
    "bytes for a script": (SCRIPT, ["--mini-batch-size", "auto"], ["a number of files, found auto"]),
    "a name for what a script writes": (
        SCRIPT, ["--output-action", "summary_only", "--output-file-name", "x.csv"], ["--output-file-name", "drop it"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_in_one_message(run_batchscore: RunBatchscore, tmp_path: Path, case: str) -> None:
    document, options, words = REFUSED[case]
    Folder(tmp_path).write(SETTINGS, **document)
    done = run_batchscore("run", "-f", "deployment.yml", "-i", "in", "-o", "out", *options, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
    for word in words:
        assert word in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "no model: give -m MODEL, or -f DEPLOYMENT.yml"),
        (["-m", "model", "--deployment-name", "d"], "--deployment-name goes with -f"),
        (["-m", "model", "--set", "a=b"], "--set goes with -f"),
        (["-m", "model", "--model-store", "."], "--model-store goes with -f"),
        (["-m", "model", "--output-action", "summary_only"], "--output-action summary_only"),
        (["-f", "nothing.yml"], "nothing.yml"),
        (["-f", "model"], "model is a folder"),
    ],
)
def test_what_needs_a_deployment_says_so(
    run_batchscore: RunBatchscore, tmp_path: Path, options: list[str], words: str
) -> None:
    Folder(tmp_path)
    done = run_batchscore("run", "-i", "in", "-o", "out", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


MODEL = """
import mlflow.pyfunc, os
from mlflow.models import set_model
class M(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        if model_input["x"].max() == 666:
            raise ValueError("the beast")
        return [f"{os.environ.get('GREETING')} {len(model_input)}" for _ in model_input["x"]]
set_model(M())
"""


@pytest.fixture
def deployed(tmp_path: Path, save_model: SaveModel) -> Path:
    """A folder with a deployment whose model says how many rows a call has; b.csv fails, c.txt can't be read."""
    (tmp_path / "in").mkdir()
    for name, text in {"a.csv": "x\n1\n2\n", "b.csv": "x\n666\n", "c.txt": "what", "d.csv": "x\n3\n"}.items():
        (tmp_path / "in" / name).write_text(text)
    model = {"path": str(save_model(MODEL)), "type": "mlflow_model"}
    settings = {"environment_variables": {"GREETING": "t0p-secret"}, "retry_settings": {"max_retries": 0}}
    document = {**SETTINGS, "model": model, "settings": settings}
    (tmp_path / "deployment.yml").write_text(yaml.safe_dump(document))
    return tmp_path


def test_files_fail_alone_and_azures_threshold_ignores_them(run_batchscore: RunBatchscore, deployed: Path) -> None:
    done = run_batchscore("run", "-f", "deployment.yml", "-i", "in", "-o", "out", cwd=deployed)
    assert done.returncode == 0, done.stderr
    assert (deployed / "out/predictions.csv").read_text() == (
        "0,t0p-secret 2,a.csv\n1,t0p-secret 2,a.csv\n0,t0p-secret 1,d.csv\n"
    )
    assert done.stderr.count("compute: no effect here") == 1
    manifest = json.loads((deployed / "out/job.json").read_text())
    assert manifest["counts"]["files_failed"] == 2
    assert manifest["deployment"]["name"] == "d"
    assert manifest["deployment"]["settings"]["environment_variables"] == ["GREETING"]
    assert "t0p-secret" not in json.dumps(manifest)


def test_a_threshold_stops_at_once_and_the_command_shown_publishes(
    run_batchscore: RunBatchscore, deployed: Path
) -> None:
    secret = "settings.environment_variables.GREETING=hidden-word"
    limits = ("--set", "error_threshold=0", "--set", "mini_batch_size=1", "--set", secret)
    done = run_batchscore("run", "-f", "deployment.yml", "-i", "in", "-o", "out", *limits, cwd=deployed)
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("Failed: stopped early: ")
    assert "To score the rest in spite of the failures, and publish:\n" in done.stderr
    assert "hidden-word" not in done.stderr
    command = shlex.split(done.stderr.splitlines()[-1])
    assert command[:8] == ["batchscore", "run", "-f", "deployment.yml", "-i", "in", "-o", "out"]
    again = run_batchscore(*command[1:], cwd=deployed)
    assert again.returncode == 0, again.stderr
    assert again.stdout.startswith("Completed: 3 of 4 rows from 4 files scored")


def test_python_takes_a_deployment_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.write(tmp_path, a="1 2", b="3")
    quick.use(monkeypatch)
    document = {**SETTINGS, "settings": {"error_threshold": 3, "retry_settings": {"timeout": 7}}}
    (tmp_path / "d.yml").write_text(yaml.safe_dump(document))
    summary = batchscore.run(
        deployment=tmp_path / "d.yml", inputs=tmp_path / "in", output=tmp_path / "out", set={"mini_batch_size": 1},
        error_threshold=0,
    )  # fmt: skip
    assert summary.status == "Completed"
    settings = summary.manifest["settings"]
    assert (settings["layout"], settings["mini_batch_size"]) == ("azure", "1")
    assert (settings["error_threshold"], settings["timeout"], settings["max_retries"]) == (0, 7, 3)
    with pytest.raises(UsageError, match="go with deployment"):
        batchscore.run(model="m", inputs="in", output="out", set={"a": 1})
    with pytest.raises(UsageError, match="no model"):
        batchscore.run(inputs="in", output="out")


def test_validate_takes_a_deployment_too(run_batchscore: RunBatchscore, deployed: Path) -> None:
    done = run_batchscore("validate", "-f", "deployment.yml", "-i", "in", "-o", "out", cwd=deployed)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "c.txt" in done.stdout
    assert "compute: no effect here" in done.stdout
    report = batchscore.validate(
        deployment=deployed / "deployment.yml", inputs=deployed / "in/a.csv", output=deployed / "o"
    )
    assert report.problems == ()
    assert not (deployed / "out").exists()
