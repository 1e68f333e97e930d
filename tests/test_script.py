"""Scoring scripts as Azure's documentation shows them, in real worker processes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import batchscore
from batchscore import staging
from batchscore.deployment import CodeConfiguration, Deployment, EnvironmentReference
from batchscore.errors import ModelLoadError, UsageError
from batchscore.face import run
from batchscore.job import Job, Script
from batchscore.planning import worker_spec
from batchscore.progress import Silent
from batchscore.runner import run_job
from batchscore.settings import MiniBatchSize
from batchscore.summary import JobSummary
from batchscore.validation import validate_job

PER_FILE = """
    import os

    def init():
        pass

    def run(mini_batch):
        results = []
        for path in mini_batch:
            with open(path) as file:
                results.append(f"{os.path.basename(path)}: {file.read().strip()}")
        return results
"""

OWN_FILES = """
    import os, pathlib

    def init():
        global out
        out = os.environ["AZUREML_BI_OUTPUT_PATH"]

    def run(mini_batch):
        assert os.environ["AZUREML_BI_OUTPUT_PATH"] == out and not os.listdir(out)
        for path in mini_batch:
            name = pathlib.Path(path).stem
            pathlib.Path(out, "sub").mkdir(exist_ok=True)
            pathlib.Path(out, "sub", name + ".txt").write_text(pathlib.Path(path).read_text() * 2)
        return mini_batch
"""


class Project:
    """A folder with in/, code/score.py, perhaps a model; and jobs over it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        (folder / "code").mkdir()
        (folder / "in").mkdir()

    def script(self, text: str, name: str = "score.py") -> None:
        path = self.folder / "code" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))

    def inputs(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / "in" / f"{name}.txt").write_text(text)

    def job(self, **settings: Any) -> Job:
        return Job(
            **{
                "model": "",
                "inputs": (str(self.folder / "in"),),
                "output": str(self.out),
                "script": Script(str(self.folder / "code"), "score.py"),
                "mini_batch_size": MiniBatchSize(files=2),
                "workers": 1,
                "max_retries": 0,
                "error_threshold": -1,
                "layout": "azure",
                "times_mini_batches": True,
                "fails_unsupported": True,
                **settings,
            }
        )

    def run(self, **settings: Any) -> JobSummary:
        return run_job(self.job(**settings))

    @property
    def text(self) -> str:
        return (self.out / "predictions.csv").read_text()

    @property
    def failures(self) -> list[dict[str, Any]]:
        path = self.out / "failures.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def outputs(self) -> dict[str, bytes]:
        """All that is in OUTPUT but job.json and logs."""
        files = (path for path in self.out.rglob("*") if path.is_file() and not {".batchscore", "logs"} & {*path.parts})
        return {str(path.relative_to(self.out)): path.read_bytes() for path in files if path.name != "job.json"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def lines(*results: str) -> str:
    return "".join(f"{each}\n" for each in results)


def test_elements_of_a_list_are_appended_a_line_each_in_input_order(project: Project) -> None:
    project.script(PER_FILE)
    project.inputs(a="1", b="2", c="3", d="4", e="5")
    summary = project.run(workers=2)
    assert summary.status == "Completed"
    assert project.text == "a.txt: 1\nb.txt: 2\nc.txt: 3\nd.txt: 4\ne.txt: 5\n"
    assert (summary.counts.mini_batches, summary.counts.rows, summary.counts.rows_scored) == (3, 5, 5)
    assert summary.timings["workers"]["calls"] == 3, "of run(), whose time is that of predict"
    assert not (project.out / ".batchscore").exists()


def test_a_file_named_like_another_in_another_folder_and_of_any_type_is_taken(project: Project) -> None:
    project.script("def run(mini_batch):\n    return mini_batch\n")
    (project.folder / "in/sub").mkdir()
    project.inputs(a="1")
    (project.folder / "in/sub/a.txt").write_text("2")
    (project.folder / "in/image.xyz").write_bytes(b"\x00")
    project.run()
    assert project.text == lines(*(str(project.folder / "in" / name) for name in ("a.txt", "image.xyz", "sub/a.txt")))


def test_frames_are_appended_with_spaces_between_and_without_header(project: Project) -> None:
    project.script(
        """
        import pandas as pd

        def run(mini_batch):
            return pd.concat(
                [pd.DataFrame({"p": [0.5, 1.0], "label": ["two words", 'a"b'], "n": [1, None]})] * len(mini_batch)
            )
        """
    )
    project.inputs(a="1", b="2", c="3")
    summary = project.run()
    assert project.text == '0.5 "two words" 1.0\n1.0 "a""b" \n' * 3
    assert summary.counts.rows == 6
    with pytest.raises(UsageError, match="neither names nor types"):
        summary.read()


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_layout_table_gives_a_real_table(project: Project, form: Any) -> None:
    project.script(
        """
        import pandas as pd

        def run(mini_batch):
            value = 1 if mini_batch[0].endswith("a.txt") else 0.5
            names = [path.rpartition("/")[2] for path in mini_batch]
            backwards = range(len(names))[::-1]
            return pd.DataFrame({"file": names, "p q": [value] * len(names)}, index=backwards)
        """
    )
    project.inputs(a="1", b="2", c="3")
    summary = project.run(layout="table", format=form, output_file_name=f"predictions.{form}")
    expected = pd.DataFrame({"file": ["a.txt", "b.txt", "c.txt"], "p q": [1.0, 1.0, 0.5]})
    pd.testing.assert_frame_equal(summary.read(), expected, check_dtype=False)


def test_layout_table_gives_a_list_the_column_prediction(project: Project) -> None:
    project.script("def run(mini_batch):\n    return tuple(len(open(path).read()) for path in mini_batch)\n")
    project.inputs(a="1", b="22", c="333")
    project.run(layout="table")
    assert project.text == "prediction\n1\n2\n3\n"


@pytest.mark.parametrize(
    ("result", "found"),
    [
        ("None", "returned None;"),
        ("'text'", "returned a str;"),
        ("(x for x in mini_batch)", "returned a generator;"),
        ("__import__('numpy').zeros(2)", "returned a ndarray;"),
        ("{'a': 1}", "returned a dict;"),
        ("__import__('pandas').Series([1, 2])", "returned a Series;"),
    ],
)
def test_another_result_fails_the_mini_batch_saying_what_came_back(project: Project, result: str, found: str) -> None:
    project.script(f"def run(mini_batch):\n    return {result}\n")
    project.inputs(a="1", b="2")
    summary = project.run()
    assert (summary.status, summary.exit_code, summary.counts.files_failed) == ("Failed", 1, 2)
    (failure,) = project.failures
    assert found in failure["reason"]
    assert "list or a pandas DataFrame" in failure["reason"]
    assert (failure["file"], failure["files"], failure["count"]) == ("a.txt", ["a.txt", "b.txt"], 2)
    assert not (project.out / "predictions.csv").exists()


def test_fewer_elements_than_files_count_as_failed_files(project: Project) -> None:
    project.script("def run(mini_batch):\n    return [p for p in mini_batch if open(p).read() != 'bad']\n")
    project.inputs(a="1", b="bad", c="3", d="bad", e="bad", f="bad")
    summary = project.run()
    assert summary.status == "Completed"
    assert summary.counts.files_failed == 4
    assert summary.counts.rows == summary.counts.rows_scored == 2
    assert [(each["files"], each["count"]) for each in project.failures] == [
        (["a.txt", "b.txt"], 1),
        (["c.txt", "d.txt"], 1),
        (["e.txt", "f.txt"], 2),
    ]
    assert "1 element for 2 files" in project.failures[0]["reason"]
    assert summary.headlines(2)[-1] == "… and 2 more, see failures.jsonl"
    assert summary.headlines(1)[0].startswith("a.txt and 1 more: run() returned 1 element")


def test_more_elements_than_files_are_no_failure(project: Project) -> None:
    project.script("def run(mini_batch):\n    return mini_batch * 3\n")
    project.inputs(a="1", b="2")
    summary = project.run()
    assert (summary.counts.rows, summary.counts.files_failed) == (6, 0)


@pytest.mark.parametrize(("threshold", "status"), [(1, "Failed"), (2, "Completed")])
def test_files_of_failed_mini_batches_are_what_the_threshold_counts(
    project: Project, threshold: int, status: str
) -> None:
    project.script(
        "def run(mini_batch):\n    assert 'a.txt' not in mini_batch[0], 'not this one'\n    return mini_batch\n"
    )
    project.inputs(a="1", b="2", c="3", d="4")
    summary = project.run(error_threshold=threshold, fail_fast=True)
    assert (summary.status, summary.counts.files_failed) == (status, 2)
    assert summary.counts.mini_batches == 2
    assert "AssertionError: not this one" in project.failures[0]["reason"]
    assert "score.py" in project.failures[0]["detail"]


@pytest.mark.parametrize("action", ["append_row", "summary_only"])
def test_a_job_without_any_success_has_failed_whatever_the_threshold(project: Project, action: Any) -> None:
    project.script("def run(mini_batch):\n    raise SystemExit(0)\n")
    project.inputs(a="1", b="2")
    assert project.run(output_action=action).status == "Failed"


def test_returning_nothing_is_a_success_where_results_are_only_counted(project: Project) -> None:
    project.script("def run(mini_batch):\n    return []\n")
    project.inputs(a="1")
    assert project.run(output_action="summary_only").status == "Completed"
    assert project.run(output_action="append_row", output=str(project.folder / "other")).status == "Failed"


@pytest.mark.parametrize(
    "what", ["SystemExit(3)", "KeyboardInterrupt", "MemoryError", "ValueError('x')", "GeneratorExit"]
)
def test_whatever_run_raises_is_a_failed_attempt(project: Project, what: str) -> None:
    project.script(
        f"""
        import pathlib

        def run(mini_batch):
            mark = pathlib.Path({str(project.folder / "mark")!r})
            if not mark.exists():
                mark.touch()
                raise {what}
            return mini_batch
        """
    )
    project.inputs(a="1")
    summary = project.run(max_retries=1)
    assert (summary.status, summary.counts.retries) == ("Completed", 1)


def test_an_exception_that_comes_back_is_worth_all_retries(project: Project) -> None:
    project.script("def run(mini_batch):\n    raise OSError('503, come again')\n")
    project.inputs(a="1")
    assert project.run(max_retries=3).counts.retries == 3


def test_a_script_needs_nothing_of_batchscores_libraries(project: Project) -> None:
    """Neither MLflow nor pandas nor pyarrow is in the interpreter that it runs in."""
    venv.create(project.folder / "bare")
    python = str(project.folder / "bare/bin/python")
    project.script("import sys\ndef run(mini_batch):\n    return [sys.prefix]\n")
    project.inputs(a="1")
    project.run(python=python)
    assert project.text == f"{project.folder / 'bare'}\n"
    with pytest.raises(ModelLoadError, match="lacks pandas, pyarrow"):
        project.run(python=python, layout="table", overwrite=True)


def test_prediction_files_may_be_parts(project: Project) -> None:
    project.script(PER_FILE)
    project.inputs(a="1", b="2", c="3")
    project.run(output_files="parts")
    assert project.outputs() == {
        "predictions/part-00000.csv": b"a.txt: 1\nb.txt: 2\n",
        "predictions/part-00001.csv": b"c.txt: 3\n",
    }


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_script_may_have_processes_of_its_own(project: Project, method: str) -> None:
    project.script(
        f"""
        import multiprocessing

        def length(path):
            return len(open(path).read())

        def run(mini_batch):
            with multiprocessing.get_context({method!r}).Pool(2) as pool:
                return pool.map(length, mini_batch)
        """
    )
    project.inputs(a="1", b="22")
    project.run()
    assert project.text == "1\n2\n"


def test_the_kernel_ends_what_a_script_forks_and_a_handler_of_its_own_stays(project: Project) -> None:
    """A handler of Python's can miss a signal for ever, and a pool that is to end then hangs."""
    project.script(
        """
        import os, signal

        def of_its_own(number, frame):
            pass

        def in_child(handler):
            pid = os.fork()
            if not pid:
                if signal.getsignal(signal.SIGTERM) is not handler:
                    os._exit(3)
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(4 if signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []) else 0)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        def run(mini_batch):
            forked = in_child(signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)  # the parent is to decide
            blocked = signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, [])
            signal.signal(signal.SIGTERM, of_its_own)
            return [forked, blocked, in_child(of_its_own)]
        """
    )
    project.inputs(a="1")
    project.run()
    assert project.text == f"{-signal.SIGTERM}\nFalse\n0\n"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mini_batch_size": MiniBatchSize()}, "mini_batch_size is a number of files, found auto"),
        ({"output_files": "mirror"}, "mirror needs to know whose rows are whose"),
        ({"limit": 5}, "limit has no effect on a scoring script"),
        ({"keep": ("a",), "layout": "table"}, "keep has no effect"),
        ({"predict_fn": "predict_proba"}, "predict_fn has no effect"),
    ],
)
def test_what_cannot_be_done_for_a_script_is_refused(project: Project, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        project.job(**settings)


def test_a_script_sees_what_azure_gives_it(project: Project) -> None:
    project.script("NAME = 'helper beside the code'\n", "helper.py")
    project.script("NAME = 'beside the script'\n", "sub/answers.py")
    project.script(
        """
        import argparse, glob, json, os, pathlib, sys
        import answers, helper

        def init():
            global told
            parser = argparse.ArgumentParser()
            parser.add_argument("--logging_level")
            parser.add_argument("--mine", default="own default")
            args, others = parser.parse_known_args()
            root = os.environ["AZUREML_MODEL_DIR"]
            told = {
                "entries": os.listdir(root),
                "joined": open(os.path.join(root, "model", "deep", "weights.bin")).read(),
                "globbed": [os.path.basename(p) for p in glob.glob(root + "/*/*/*.bin")],
                "walked": [name for _, _, names in os.walk(root) for name in names],
                "paths": [str(p.relative_to(root)) for p in pathlib.Path(root).rglob("*.bin")],
                "level": args.logging_level,
                "mine": args.mine,
                "others": others,
                "cwd": os.getcwd(),
                "variable": os.environ["MY_VARIABLE"],
                "modules": [answers.NAME, helper.NAME],
                "slow": sorted({"mlflow", "pandas", "pyarrow", "numpy"} & set(sys.modules)),
                "name": __name__,
            }

        def run(mini_batch):
            assert all(os.path.isabs(path) for path in mini_batch) and type(mini_batch) is list
            return [json.dumps(told)] * len(mini_batch)
        """,
        "sub/score.py",
    )
    (project.folder / "model/deep").mkdir(parents=True)
    (project.folder / "model/deep/weights.bin").write_text("weights")
    (project.folder / "other_model").mkdir()
    project.inputs(a="1")
    project.run(
        model=str(project.folder / "model"),
        script=Script(str(project.folder / "code"), "sub/score.py"),
        environment=(("MY_VARIABLE", "its value"),),
        logging_level="debug",
        error_threshold=7,
    )
    told = json.loads(project.text)
    others = told.pop("others")
    assert told == {
        "entries": ["model"],
        "joined": "weights",
        "globbed": ["weights.bin"],
        "walked": ["weights.bin"],
        "paths": ["model/deep/weights.bin"],
        "level": "DEBUG",
        "mine": "own default",
        "cwd": str(project.folder / "code"),
        "variable": "its value",
        "modules": ["beside the script", "helper beside the code"],
        "slow": [],
        "name": "score",
    }
    assert others[others.index("--error_threshold") + 1] == "7"
    assert not list((project.folder / "code").rglob("__pycache__"))


def test_a_model_on_another_disk_is_copied(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*args: object) -> None:
        raise OSError(errno.EXDEV, "another disk")

    monkeypatch.setattr(Path, "hardlink_to", refusing)
    project.script(
        """
        import os, pathlib
        def run(mini_batch):
            pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "x.txt").write_text("own")
            paths = sorted(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("*.*"))
            return [path.name + path.read_text() + str(path.stat().st_nlink) for path in paths]
        """
    )
    (project.folder / "model/deep").mkdir(parents=True)
    (project.folder / "model/deep/weights.bin").write_text("0")
    (project.folder / "model/linked.bin").symlink_to(project.folder / "model/deep/weights.bin")
    project.inputs(a="1")
    project.run(model=str(project.folder / "model"))
    assert project.text == lines("weights.bin01", "linked.bin01")
    assert project.outputs()["x.txt"] == b"own"


def test_a_models_file_lies_alone_in_the_model_folder(project: Project) -> None:
    project.script(
        """
        import glob, os
        def run(mini_batch):
            return [os.path.basename(p) + open(p).read() for p in glob.glob(os.environ["AZUREML_MODEL_DIR"] + "/*")]
        """
    )
    project.inputs(a="1")
    for name in ("model.pkl", "other.pkl"):
        (project.folder / name).write_text(" it is")
    project.run(model=str(project.folder / "model.pkl"))
    assert project.text == "model.pkl it is\n"


def test_own_modules_win_over_libraries_that_batchscore_uses(project: Project) -> None:
    for name in ("click", "joblib", "fsspec", "writers", "model", "script", "batchscore_extra"):
        project.script(f"NAME = {name!r}\n", f"{name}.py")
    project.script(
        """
        import click, joblib, fsspec, writers, model, script
        def run(mini_batch):
            return [each.NAME for each in (click, joblib, fsspec, writers, model, script)]
        """
    )
    project.inputs(a="1")
    project.run()
    assert project.text == lines("click", "joblib", "fsspec", "writers", "model", "script")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def init():\n    raise ValueError('no weights')\ndef run(m):\n    return m\n", "ValueError: no weights"),
        ("import no_such_module\n", "No module named 'no_such_module'"),
        ("def run(m:\n", "SyntaxError"),
        ("def init():\n    pass\n", "has no function run"),
        ("def init():\n    raise SystemExit('gone')\ndef run(m):\n    return m\n", "SystemExit: gone"),
    ],
)
def test_a_script_that_does_not_come_up_ends_the_job(project: Project, text: str, message: str) -> None:
    project.script(text)
    project.inputs(a="1")
    with pytest.raises(ModelLoadError, match=message):
        project.run()


@pytest.mark.parametrize(
    ("environment", "env_manager", "advice"),
    [
        (
            EnvironmentReference(conda_json="{}"),
            "local",
            "--env-manager uv builds the environment of its conda_file; or",
        ),
        (EnvironmentReference(conda_json="{}"), "uv", "Add the package under pip: in the environment's conda_file"),
        (None, "local", "Install the package there, or name the interpreter .* --python PATH"),
    ],
)
def test_a_package_that_a_script_misses_is_told_with_what_to_do(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    environment: EnvironmentReference | None,
    env_manager: str,
    advice: str,
) -> None:
    monkeypatch.setattr("batchscore.provisioning._built", lambda *_: sys.executable)
    project.script("def init():\n    import no_such_module\ndef run(m):\n    return m\n")
    project.inputs(a="1")
    code = CodeConfiguration(code=str(project.folder / "code"), scoring_script="score.py")
    deployment = Deployment(
        file="d.yml", style="settings", name="d", endpoint_name="e", code_configuration=code, environment=environment
    )
    expected = f"can't be loaded with .*No module named 'no_such_module'\n{advice}"
    with pytest.raises(ModelLoadError, match=expected) as caught:
        project.run(deployment=deployment, env_manager=env_manager)
    assert "line 2, in init" in str(caught.value)


def test_validate_calls_init_and_leaves_the_rest(project: Project) -> None:
    project.script(
        """
        import os
        def init():
            open(os.path.join(os.environ["AZUREML_MODEL_DIR"], "model.bin")).read()
            open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "x"), "w").close()
        def run(mini_batch):
            os._exit(1)
        """
    )
    project.inputs(a="1")
    (project.folder / "model.bin").write_text("")
    assert not validate_job(project.job(model=str(project.folder / "model.bin"))).findings
    (finding,) = validate_job(project.job()).findings
    assert "FileNotFoundError" in finding.message
    assert not project.out.exists()


def test_an_init_that_hangs_ends_the_job(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.script("import time\ndef init():\n    time.sleep(600)\ndef run(m):\n    return m\n")
    project.inputs(a="1")
    monkeypatch.setattr(
        "batchscore.runner.worker_spec", lambda prepared: replace(worker_spec(prepared), load_timeout=3)
    )
    with pytest.raises(ModelLoadError, match=r"the scoring script score.py wasn't loaded within 3 s\n(.|\n)*in init"):
        project.run()


def test_a_run_that_hangs_fails_with_the_setting_to_change(project: Project) -> None:
    project.script(
        """
        import time
        def run(mini_batch):
            if mini_batch[0].endswith("a.txt"):
                time.sleep(600)
            return mini_batch
        """
    )
    project.inputs(a="1", b="2", c="3")
    summary = project.run(timeout=2, timeout_name="settings.retry_settings.timeout in deployment.yml")
    assert (summary.status, summary.counts.files_failed) == ("Completed", 2)
    (failure,) = project.failures
    assert "not finished within 2 s (settings.retry_settings.timeout in deployment.yml)" in failure["reason"]
    assert "in run" in failure["detail"]


def test_links_are_kept_as_what_they_lead_to(project: Project) -> None:
    project.script(
        """
        import os, pathlib
        out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
        def run(mini_batch):
            name = pathlib.Path(mini_batch[0]).stem
            (out / (name + "-input")).symlink_to(mini_batch[0])
            if name == "b":
                (out / "nowhere").symlink_to("/nowhere/at/all")
            return mini_batch
        """
    )
    project.inputs(a="1", b="2")
    project.run(mini_batch_size=MiniBatchSize(files=1), output_action="summary_only")
    assert not (project.out / "a-input").is_symlink()
    assert (project.out / "a-input").read_text() == "1"
    assert "run() left nowhere in AZUREML_BI_OUTPUT_PATH, which is no file" in project.failures[0]["reason"]


def test_what_a_script_prints_stays_off_stdout(project: Project, capfd: pytest.CaptureFixture[str]) -> None:
    project.script(
        """
        import logging, sys
        print("importing")
        def init():
            print("init")
        def run(mini_batch):
            print("run")
            print("error", file=sys.stderr)
            logging.getLogger("mine").info("told")
            logging.getLogger("mine").debug("not told")
            return mini_batch
        def shutdown():
            print("ended")
        """
    )
    project.inputs(a="1")
    project.run()
    assert capfd.readouterr().out == ""
    logs = project.out / "logs/user"
    (stdout,), (stderr,), (logged,) = (
        [path.read_text() for path in (logs / name).rglob("*.txt")] for name in ("stdout", "stderr", "entry_script_log")
    )
    assert all(word in stdout for word in ("importing", "init", "run", "ended"))
    assert "error" in stderr
    assert "INFO mine: told" in logged
    assert "not told" not in logged


def test_files_that_a_script_writes_itself_land_in_output(project: Project) -> None:
    project.script(OWN_FILES)
    project.inputs(**{name: name for name in "abcdefgh"})
    summary = project.run(output_action="summary_only", mini_batch_size=MiniBatchSize(files=1), workers=2)
    assert summary.status == "Completed"
    assert project.outputs() == {f"sub/{name}.txt": name.encode() * 2 for name in "abcdefgh"}
    assert summary.manifest["outputs"] == []
    assert [entry["path"] for entry in summary.manifest["files"]] == [f"sub/{name}.txt" for name in "abcdefgh"]
    assert summary.files[0] == str(project.out / "sub/a.txt")
    assert "8 files written by the script" in summary.message
    assert not project.run(output_action="summary_only", mini_batch_size=MiniBatchSize(files=1)).is_fresh


def test_a_script_that_loads_an_mlflow_model_and_writes_parquet(
    project: Project, sample_models: Path, sample_data: Path
) -> None:
    """As Azure's page on customised outputs shows it."""
    project.script(
        """
        import os
        from pathlib import Path
        from typing import List

        import mlflow
        import pandas as pd

        def init():
            global model, output_path
            output_path = os.environ["AZUREML_BI_OUTPUT_PATH"]
            model = mlflow.pyfunc.load_model(os.path.join(os.environ["AZUREML_MODEL_DIR"], "breast_cancer"))

        def run(mini_batch: List[str]):
            for file_path in mini_batch:
                data = pd.read_csv(file_path)
                data["prediction"] = model.predict(data)
                data.to_parquet(os.path.join(output_path, Path(file_path).stem + ".parquet"))
            return mini_batch
        """
    )
    model, inputs = sample_models / "breast_cancer", sample_data / "breast_cancer"
    summary = project.run(model=str(model), inputs=(str(inputs),), output_action="summary_only", workers=2)
    native = run(model, inputs, project.folder / "native").read()
    assert len(summary.files) == summary.counts.rows == native["file"].nunique()
    for name, rows in native.groupby("file"):
        own = pd.read_parquet(project.out / f"{Path(str(name)).stem}.parquet")
        assert own["prediction"].tolist() == rows["prediction"].tolist()


def test_rows_and_own_files_go_together(project: Project) -> None:
    project.script(OWN_FILES)
    project.inputs(a="1", b="2", c="3")
    project.run()
    assert sorted(project.outputs()) == ["predictions.csv", "sub/a.txt", "sub/b.txt", "sub/c.txt"]


FAULTY = """
    import os, pathlib, time

    def run(mini_batch):
        out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
        name = pathlib.Path(mini_batch[0]).stem
        faults = pathlib.Path(os.environ["FAULTS"], name)
        fault = faults.read_text().split() if faults.exists() else []
        kind = fault[0] if fault else ""
        if faults.exists():
            faults.write_text(" ".join(fault[1:]))
        (out / f"{name}-{kind}.txt").write_text("x" * 1000)
        if kind == "raise":
            raise ValueError("no luck")
        if kind == "exit":
            os._exit(9)
        if kind == "kill":
            os.kill(os.getpid(), 9)
        if kind == "wait":
            time.sleep(600)
        if kind == "type":
            return None
        return [name + " " + kind]
"""


@pytest.mark.parametrize("kind", ["raise", "exit", "kill", "wait", "type"])
def test_files_of_failed_attempts_never_survive(project: Project, kind: str) -> None:
    project.script(FAULTY)
    project.inputs(a="1", b="2", c="3")
    (project.folder / "faults").mkdir()
    (project.folder / "faults/a").write_text(f"{kind} again")
    (project.folder / "faults/b").write_text(f"{kind} {kind}")
    summary = project.run(
        mini_batch_size=MiniBatchSize(files=1),
        max_retries=1,
        timeout=2 if kind == "wait" else 60,
        environment=(("FAULTS", str(project.folder / "faults")),),
    )
    assert sorted(project.outputs()) == ["a-again.txt", "c-.txt", "failures.jsonl", "predictions.csv"]
    assert project.text == "a again\nc \n"
    assert summary.counts.files_failed == 1


def test_before_each_mini_batch_the_folder_is_as_init_left_it(project: Project) -> None:
    project.script(
        """
        import os, pathlib
        out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])

        def init():
            (out / "made").mkdir()
            (out / "made/readme.md").write_text("by init")

        def run(mini_batch):
            assert [str(p.relative_to(out)) for p in sorted(out.rglob("*"))] == ["made", "made/readme.md"]
            assert (out / "made/readme.md").read_text() == "by init"
            name = pathlib.Path(mini_batch[0]).stem
            (out / "made" / name).write_text(name)
            (out / "new").mkdir()
            (out / "new" / name).write_text(name)
            if name == "b":
                (out / "made/readme.md").write_text("spoilt")
                raise ValueError
            return mini_batch
        """
    )
    project.inputs(a="1", b="2", c="3")
    project.run(mini_batch_size=MiniBatchSize(files=1), output_action="summary_only")
    assert project.outputs().keys() == {"made/readme.md", "made/a", "made/c", "new/a", "new/c", "failures.jsonl"}
    assert project.outputs()["made/readme.md"] == b"by init"


WRITES = """
    import os, pathlib
    def run(mini_batch):
        path = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], {name!r})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text({text})
        return mini_batch
"""


def test_a_file_that_is_left_open_fails_the_mini_batch(project: Project) -> None:
    """Its last lines would be lost, or lie in another mini-batch's."""
    project.script(
        """
        import os
        log = None
        def run(mini_batch):
            global log
            log = log or open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "results.csv"), "w")
            log.write("a line")
            return mini_batch
        """
    )
    project.inputs(a="1")
    assert project.run().status == "Failed"
    assert "left results.csv in AZUREML_BI_OUTPUT_PATH open" in project.failures[0]["reason"]


def test_a_script_may_clear_its_folder_away(project: Project) -> None:
    project.script(
        """
        import os, pathlib, shutil
        out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
        def init():
            shutil.rmtree(out)
        def run(mini_batch):
            out.rmdir()
            return mini_batch
        """
    )
    project.inputs(a="1", b="2", c="3")
    assert project.run().status == "Completed"


@pytest.mark.parametrize("name", ["predictions.csv", "job.json", "failures.jsonl", "logs/mine.txt", ".batchscore/x"])
def test_a_file_named_like_one_of_batchscores_fails_the_mini_batch(project: Project, name: str) -> None:
    project.script(WRITES.format(name=name, text="'x'"))
    project.inputs(a="1")
    assert project.run().status == "Failed"
    assert f"run() wrote {name} to AZUREML_BI_OUTPUT_PATH" in project.failures[0]["reason"]
    assert "batchscore's own" in project.failures[0]["reason"]


def test_with_summary_only_the_script_may_write_predictions_itself(project: Project) -> None:
    project.script(WRITES.format(name="predictions.csv", text="'x'"))
    project.inputs(a="1")
    project.run(output_action="summary_only")
    assert project.text == "x"


def test_two_mini_batches_that_write_one_file_end_the_job(project: Project) -> None:
    project.script(WRITES.format(name="result.csv", text="mini_batch[0]"))
    project.inputs(a="1", b="2", c="3")
    with pytest.raises(UsageError, match=r"two mini-batches wrote result\.csv .* name files after"):
        project.run()
    with pytest.raises(UsageError, match=r"two mini-batches wrote result\.csv"):
        project.run()  # which has nothing left to score but what was refused
    assert not (project.out / "result.csv").exists()


@pytest.mark.parametrize("first", ["a.txt", "c.txt"])
def test_a_file_and_a_folder_of_one_name_end_the_job(project: Project, first: str) -> None:
    project.script(
        f"""
        import os, pathlib
        def run(mini_batch):
            out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "x")
            if mini_batch[0].endswith({first!r}):
                out.mkdir()
                out /= "y"
            out.write_text("")
            return mini_batch
        """
    )
    project.inputs(a="1", b="2", c="3")
    with pytest.raises(UsageError, match="two mini-batches wrote x(/y)? to"):
        project.run()


def test_the_same_file_from_several_mini_batches_is_one(project: Project) -> None:
    project.script(WRITES.format(name="labels.json", text="'the same'"))
    project.inputs(a="1", b="2", c="3")
    summary = project.run(output_action="summary_only")
    assert project.outputs() == {"labels.json": b"the same"}
    assert len(summary.files) == 1


def test_a_strangers_file_is_not_replaced_without_overwrite(project: Project) -> None:
    project.script(WRITES.format(name="mine.csv", text="'x'"))
    project.inputs(a="1")
    project.out.mkdir()
    (project.out / "mine.csv").write_text("a stranger's")
    with pytest.raises(UsageError, match=r"holds mine\.csv, which no job of batchscore wrote"):
        project.run()
    assert (project.out / "mine.csv").read_text() == "a stranger's"
    assert project.run(overwrite=True).status == "Completed"
    assert (project.out / "mine.csv").read_text() == "x"


def test_another_job_takes_away_what_the_one_before_published(project: Project) -> None:
    project.script(OWN_FILES)
    project.inputs(a="1", b="2", c="3")
    project.run()
    project.script(OWN_FILES.replace('"sub"', '"other"'))
    with pytest.raises(UsageError, match="holds another job.*script code"):
        project.run()
    (project.out / "sub/notes.txt").write_text("the user's")
    project.run(overwrite=True)
    names = {"predictions.csv", "other/a.txt", "other/b.txt", "other/c.txt", "sub/notes.txt"}
    assert project.outputs().keys() == names


def test_a_changed_file_has_its_whole_mini_batch_scored_again(project: Project) -> None:
    project.script(
        f"""
        import os, pathlib
        def run(mini_batch):
            with open({str(project.folder / "calls")!r}, "a") as calls:
                calls.write(" ".join(pathlib.Path(p).stem for p in mini_batch) + "\\n")
            if pathlib.Path({str(project.folder / "fail")!r}).exists() and mini_batch[0].endswith("e.txt"):
                raise ValueError
            for path in map(pathlib.Path, mini_batch):
                pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], path.name).write_text(path.read_text())
            return [open(p).read() for p in mini_batch]
        """
    )
    project.inputs(a="1", b="2", c="3", d="4", e="5", f="6")
    (project.folder / "fail").touch()
    assert project.run(error_threshold=0).status == "Failed"
    (project.folder / "calls").unlink()
    (project.folder / "fail").unlink()
    project.inputs(b="22")
    assert project.run(error_threshold=0).status == "Completed"
    assert (project.folder / "calls").read_text() == "a b\ne f\n"
    assert project.text == "1\n22\n3\n4\n5\n6\n"
    again = project.outputs()
    assert project.run(error_threshold=0, output=str(project.folder / "fresh")).status == "Completed"
    project.out = project.folder / "fresh"
    assert project.outputs() == again


def test_other_mini_batches_of_the_same_files_are_scored_again(project: Project) -> None:
    project.script("def run(m):\n    if m[0].endswith('c.txt'): raise ValueError\n    return [str(len(m))] * len(m)\n")
    project.inputs(a="1", b="2", c="3", d="4")
    project.run(error_threshold=0)
    (project.folder / "in/a.txt").unlink()
    summary = project.run(error_threshold=-1)
    assert (summary.counts.files, summary.counts.rows, project.text) == (3, 3, "2\n2\n1\n")


def test_failures_stand_within_the_threshold_and_are_published_without_the_script(project: Project) -> None:
    project.script("def run(m):\n    return m[:1]\n")
    project.inputs(a="1", b="2", c="3", d="4")
    assert project.run(error_threshold=1).status == "Failed"
    assert project.run(error_threshold=2).status == "Completed"
    assert len(project.failures) == 2


def test_shutdown_is_called_when_a_worker_ends(project: Project) -> None:
    project.script(
        f"""
        import pathlib, os
        def run(mini_batch):
            return mini_batch
        def shutdown():
            pathlib.Path({str(project.folder / "ended")!r}).touch()
            pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "late.txt").touch()
            raise SystemExit(5)
        """
    )
    project.inputs(a="1")
    notes: list[str] = []
    assert run_job(project.job(), Notes(notes)).status == "Completed"
    assert (project.folder / "ended").exists()
    assert any("late.txt after its last mini-batch" in note for note in notes)


def test_a_shutdown_that_hangs_does_no_harm(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.script("import time\ndef run(m):\n    return m\ndef shutdown():\n    time.sleep(600)\n")
    project.inputs(a="1")
    monkeypatch.setattr(staging, "SHUTDOWN_SECONDS", 0.2)
    assert project.run().status == "Completed"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (("code", "other.py"), r"other\.py isn't in .*code; found score\.py"),
        (("code", "../x.py"), "isn't a Python file below"),
        (("code", "score.ipynb"), "isn't a Python file below"),
        (("nowhere", "score.py"), "isn't there; code_configuration.code"),
    ],
)
def test_a_script_that_is_not_there_is_refused(project: Project, script: tuple[str, str], message: str) -> None:
    project.script("")
    project.inputs(a="1")
    with pytest.raises(UsageError, match=message):
        project.run(script=Script(str(project.folder / script[0]), script[1]))


def test_the_jobs_identity_covers_model_and_code_but_not_what_lies_beside(project: Project) -> None:
    """With `code: .`, the inputs, the model and OUTPUT lie in the script's folder."""
    (project.folder / "score.py").write_text("def run(m):\n    return m\n")
    (project.folder / "model").mkdir()
    (project.folder / "model/a.bin").write_text("1")
    project.inputs(a="1")
    settings: dict[str, Any] = {
        "script": Script(str(project.folder), "score.py"),
        "model": str(project.folder / "model"),
    }
    assert project.run(**settings).is_fresh
    assert not project.run(**settings).is_fresh
    link = project.folder.with_name("link")
    link.symlink_to(project.folder)
    there: dict[str, Any] = {"output": str(link / "out"), "model": str(link / "model")}
    assert not project.run(**{**settings, **there}).is_fresh
    assert not project.run(**{**settings, "script": Script(str(link), "score.py")}).is_fresh
    (project.folder / ".git").mkdir()
    (project.folder / ".git/index").write_text("x")
    assert not project.run(**settings).is_fresh
    (project.folder / "model/a.bin").write_text("2")
    with pytest.raises(UsageError, match="the model"):
        project.run(**settings)
    (project.folder / "model/a.bin").write_text("1")
    (project.folder / "labels.txt").write_text("x")
    with pytest.raises(UsageError, match="script code"):
        project.run(**settings)


KILLED = """
import os, sys
from batchscore.storage import places
from batchscore.job import *
from batchscore.runner import run_job

commits, last = 0, int(sys.argv[2])
commit = places.commit

def committing(root, ready):
    global commits
    commits += 1
    if commits > last:
        os.kill(os.getpid(), 9)
    return commit(root, ready)

places.commit = committing
run_job(eval(sys.argv[1]))
"""


def killed(job: Job, *, after_commits: int = 1000) -> None:
    """Run a job in a process that is killed, by its script or while it publishes."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, repr(job), str(after_commits)],
        env={**os.environ, "PYTHONPATH": str(Path(batchscore.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_a_job_whose_process_is_killed_in_run_goes_on_to_the_same_bytes(project: Project) -> None:
    """What the mini-batch that was being scored had written goes; what the others wrote stays."""
    project.script(
        f"""
        import os, pathlib
        def run(mini_batch):
            out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"])
            name = pathlib.Path(mini_batch[0]).stem
            with open({str(project.folder / "calls")!r}, "a") as calls:
                calls.write(name)
            mark = pathlib.Path({str(project.folder / "mark")!r})
            if name == "c" and not mark.exists():
                mark.touch()
                (out / "half").mkdir()
                (out / "half/written.txt").write_text("half")
                os.kill(os.getppid(), 9)
                import time
                time.sleep(60)
            (out / (name + ".txt")).write_text(name)
            return mini_batch
        """
    )
    project.inputs(**{name: name for name in "abcd"})
    job = project.job(mini_batch_size=MiniBatchSize(files=1))
    killed(job)
    assert run_job(job).status == "Completed"
    assert (project.folder / "calls").read_text() == "abccd"
    again = project.outputs()
    assert again.keys() == {"predictions.csv", "a.txt", "b.txt", "c.txt", "d.txt"}
    run_job(replace(job, output=str(project.folder / "fresh")))
    project.out = project.folder / "fresh"
    assert project.outputs() == again


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_what_was_published_when_the_process_was_killed_is_taken_away(project: Project, commits: int) -> None:
    """The next run has other inputs, or is another job: files of the first one's inputs don't stay."""
    project.script(OWN_FILES)
    project.inputs(a="1", b="2", c="3", d="4")
    job = project.job(mini_batch_size=MiniBatchSize(files=1))
    killed(job, after_commits=commits)
    assert len(project.outputs()) == commits
    (project.folder / "in/a.txt").unlink()
    assert run_job(job).status == "Completed"
    assert project.outputs().keys() == {"predictions.csv", "sub/b.txt", "sub/c.txt", "sub/d.txt"}


def test_another_job_takes_away_what_a_killed_one_had_published(project: Project) -> None:
    project.script(OWN_FILES)
    project.inputs(a="1", b="2")
    killed(project.job(), after_commits=2)
    assert project.outputs().keys() == {"predictions.csv", "sub/a.txt"}
    project.script("def run(m):\n    return m\n")
    project.run(overwrite=True)
    assert project.outputs().keys() == {"predictions.csv"}


def test_a_mini_batch_whose_files_are_gone_is_scored_again(project: Project) -> None:
    project.script(OWN_FILES)
    project.inputs(a="1", b="2")
    killed(project.job(output_action="summary_only"), after_commits=1)
    for folder in (project.out / ".batchscore/parts").iterdir():
        shutil.rmtree(folder)
    assert project.run(output_action="summary_only").status == "Completed"
    assert project.outputs().keys() == {"sub/a.txt", "sub/b.txt"}


class Notes(Silent):
    """A watcher that keeps notes."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes

    def note(self, text: str) -> None:
        self._notes.append(text)


def test_what_a_script_logs_with_mlflow_leaves_the_code_as_it_is(project, monkeypatch):
    """MLflow's own default would be a database in the working directory, which is the code's folder."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    project.inputs(a="1", b="2", c="3")
    project.script("""
        import mlflow, os

        def init():
            mlflow.log_param("device", "cpu")

        def run(mini_batch):
            mlflow.log_metric("files", len(mini_batch))
            return [os.environ["MLFLOW_TRACKING_URI"].startswith("file://")] * len(mini_batch)
    """)
    assert project.run(workers=2).status == "Completed"
    assert project.text == "True\nTrue\nTrue\n"
    assert [path.name for path in (project.folder / "code").iterdir()] == ["score.py"]
    assert not (project.out / ".batchscore").exists()


def test_a_tracking_uri_that_somebody_set_reaches_the_script(project):
    project.inputs(a="1")
    project.script("""
        import os

        def run(mini_batch):
            return [os.environ["MLFLOW_TRACKING_URI"]]
    """)
    project.run(environment=(("MLFLOW_TRACKING_URI", "file:///mine"),))
    assert project.text == "file:///mine\n"


@pytest.mark.parametrize(("folder", "name"), [("store/churn/12", "model"), ("churn-2", "churn-2")])
def test_a_model_that_lies_in_a_folder_called_as_its_version_is_found_as_model(project, folder, name):
    project.inputs(a="1")
    model = project.folder / folder
    model.mkdir(parents=True)
    (model / "weights.txt").write_text("2")
    project.script("""
        import os

        def run(mini_batch):
            return os.listdir(os.environ["AZUREML_MODEL_DIR"])
    """)
    project.run(model=str(model))
    assert project.text == f"{name}\n"


APPENDS = """
    import os, pathlib

    out = pathlib.Path(os.environ["AZUREML_BI_OUTPUT_PATH"], "all.csv")

    def init():
        {init}

    def run(mini_batch):
        with open(out, "a") as file:
            file.write({text})
        return mini_batch
"""
LINES = "''.join(os.path.basename(path) + ',1\\n' for path in mini_batch)"


@pytest.mark.parametrize(("init", "heading"), [("pass", ""), ("out.write_text('file,label\\n')", "file,label\n")])
def test_a_file_that_mini_batches_append_to_is_one_in_their_order(project: Project, init: str, heading: str) -> None:
    """Also one that init() began, which every worker's init() does."""
    project.script(APPENDS.format(init=init, text=LINES))
    project.inputs(a="1", b="2", c="3", d="4", e="5")
    for workers in (1, 3):
        summary = project.run(output_action="summary_only", workers=workers, overwrite=True)
        assert project.outputs()["all.csv"].decode() == heading + "".join(f"{each}.txt,1\n" for each in "abcde")
        assert len(summary.files) == 1


def test_appended_lines_that_are_the_same_are_all_there(project: Project) -> None:
    project.script(APPENDS.format(init="pass", text="'1\\n'"))
    project.inputs(a="1", b="2", c="3")
    project.run(output_action="summary_only")
    assert project.outputs() == {"all.csv": b"1\n1\n"}


def test_an_appended_file_of_a_resumed_job_has_all_mini_batches_once(project: Project) -> None:
    text = LINES + " if not bad(mini_batch) else 1/0"
    bad = "global bad; bad = lambda paths: any('bad' in open(path).read() for path in paths)"
    project.script(APPENDS.format(init=bad, text=text))
    project.inputs(a="1", b="2", c="bad", d="4", e="5")
    assert project.run(output_action="summary_only", error_threshold=0).status == "Failed"
    project.inputs(c="3")
    assert project.run(output_action="summary_only", error_threshold=0).status == "Completed"
    assert project.outputs()["all.csv"].decode() == "".join(f"{each}.txt,1\n" for each in "abcde")


def test_a_header_that_each_mini_batch_appends_ends_the_job(project: Project) -> None:
    """As `to_csv(path, mode="a", header=not path.exists())` does: the folder is each mini-batch's own."""
    project.script(APPENDS.format(init="pass", text="'file,label\\n' + " + LINES))
    project.inputs(a="1", b="2", c="3")
    with pytest.raises(UsageError, match=r"both began with 'file,label'.* Write the header in init\(\)"):
        project.run(output_action="summary_only")


def test_what_each_init_begins_otherwise_cannot_be_one_file(project: Project) -> None:
    dies = "os._exit(1) if 'c.txt' in mini_batch[0] else None; return mini_batch"
    script = APPENDS.format(init="out.write_text(str(os.getpid()))", text=LINES)
    project.script(script.replace("return mini_batch", dies))
    project.inputs(**dict.fromkeys("abcdef", "1"))
    with pytest.raises(UsageError, match="in two workers not the same"):
        project.run(output_action="summary_only")


@pytest.mark.parametrize(
    "after", ["out.write_text('new')", "tmp = out.with_suffix('.x'); tmp.write_text('new'); tmp.replace(out)"]
)
def test_a_file_that_is_rewritten_as_well_is_no_appended_one(project: Project, after: str) -> None:
    project.script(APPENDS.format(init="pass", text=LINES).replace("return mini_batch", f"{after}; return mini_batch"))
    project.inputs(a="1", b="2", c="3")
    project.run(output_action="summary_only")
    assert project.outputs()["all.csv"] == b"new"


def test_a_log_that_stays_open_from_init_on_has_each_mini_batchs_lines(project: Project) -> None:
    project.script("""
        import logging, os

        def init():
            global log
            log = logging.getLogger("own")
            log.addHandler(logging.FileHandler(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], "own.log")))

        def run(mini_batch):
            log.warning("first of %s", os.path.basename(mini_batch[0]))
            return mini_batch
    """)
    project.inputs(a="1", b="2", c="3")
    project.run(output_action="summary_only")
    assert project.outputs() == {"own.log": b"first of a.txt\nfirst of c.txt\n"}
