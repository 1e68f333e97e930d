"""The interpreter that a job's workers run with: the running one, or that of an environment built for the job."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import quick
from conftest import ROOT
from lower_bounds import interpreter as old_interpreter
from packages import wheel

from batchscore.deployment import Deployment, EnvironmentReference
from batchscore.errors import ModelLoadError, UsageError
from batchscore.face import run
from batchscore.job import Script
from batchscore.progress import Silent
from batchscore.provisioning import interpreter_for, interpreter_for_script
from batchscore.runner import run_job
from batchscore.scoring import load_scorer
from batchscore.settings import ScoringSettings


class Listening(Silent):
    """Keeps what a user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def folder(tmp_path, index, uv_calls, monkeypatch) -> Path:
    """A folder of quick's model, which states packages of the small index, and of its inputs a and b."""
    quick.write(tmp_path, a="1 2", b="3")
    (tmp_path / "model/requirements.txt").write_text(f"--no-index\n--find-links {index}\nmlflow==2.9.2\n")
    quick.use(monkeypatch, SAY_PYTHON="1")
    monkeypatch.setenv("BATCHSCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path


def cached(folder: Path) -> list[Path]:
    """The environments in the cache, finished or not."""
    return [path for path in (folder / "cache/environments").iterdir() if path.is_dir()]


def test_workers_run_in_the_environment_that_the_model_states(folder):
    told = Listening()
    assert run_job(quick.job(folder, env_manager="uv"), told).status == "Completed"
    (environment,) = cached(folder)
    assert told.notes[0].startswith("the model states mlflow==2.9.2; it is loaded with mlflow-skinny 3.0 or later")
    assert told.notes[1].startswith(f"building the environment that {folder}/model/requirements.txt states, once")
    assert told.notes[-2].startswith("built the environment in ")
    assert told.notes[-1] == f"runs with {environment}/bin/python"
    assert (folder / "out/predictions.csv").read_text().splitlines()[1:] == ["a.csv,0,2", "a.csv,1,4", "b.csv,0,6"]
    assert json.loads((folder / "out/job.json").read_text())["settings"]["env_manager"] == "uv"


def test_with_a_cached_environment_nothing_is_built_resolved_or_started_but_the_worker(folder, uv_calls, monkeypatch):
    run_job(quick.job(folder, env_manager="uv", output=str(folder / "first")))
    before = len(uv_calls())
    started: list[str] = []

    class Counted(subprocess.Popen):
        def __init__(self, words, *given, **options):
            started.append(words[0])
            super().__init__(words, *given, **options)

    monkeypatch.setattr(subprocess, "Popen", Counted)
    told = Listening()
    run_job(quick.job(folder, env_manager="uv"), told)
    assert started == [f"{cached(folder)[0]}/bin/python"]
    assert len(uv_calls()) == before
    assert [note for note in told.notes if "buil" in note] == []
    started.clear()
    run_job(quick.job(folder, output=str(folder / "local")))
    assert started == [sys.executable]


def test_a_job_without_anything_to_score_builds_nothing(folder, uv_calls):
    quick.write(folder, a="1 2", b="oops")
    assert run_job(quick.job(folder)).status == "Failed"
    assert run_job(quick.job(folder, env_manager="uv", error_threshold=-1)).status == "Completed"
    assert run_job(quick.job(folder, env_manager="uv", error_threshold=-1)).status == "Completed"
    assert uv_calls() == []


def test_ctrl_c_ends_a_build_leaves_nothing_in_the_cache_and_the_same_command_goes_on(folder, tmp_path):
    hook = tmp_path / "shim/hook.sh"
    in_the_middle = "cat > /dev/null"  # it has been told all when its standard input ends
    hook.write_text(
        f'[ "$1" = pip ] && {{ echo $$ > "{tmp_path}/pid"; {in_the_middle}; kill -INT $PPID; exec sleep 60; }}\n'
    )
    job = quick.job(folder, env_manager="uv")
    summary = run_job(job)
    assert (summary.status, summary.exit_code) == ("Canceled", 130)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert cached(folder) == []
    hook.write_text("")
    assert run_job(job).status == "Completed"


def test_what_cant_be_built_ends_the_job_and_leaves_nothing_in_the_cache(folder):
    requirements = folder / "model/requirements.txt"
    requirements.write_text(requirements.read_text() + "no-such-package\n")
    with pytest.raises(ModelLoadError, match="(?s)can't be built.*no-such-package"):
        run_job(quick.job(folder, env_manager="uv"))
    assert cached(folder) == []
    assert json.loads((folder / "out/job.json").read_text())["status"] == "Failed"


def test_without_an_interpreter_that_fits_the_message_says_what_to_do(folder):
    (folder / "model/python_env.yaml").write_text("python: 3.99.1\ndependencies: [-r requirements.txt]\n")
    with pytest.raises(ModelLoadError, match=r"python_env.yaml wants Python 3.99, and there is none; found .*--python"):
        run_job(quick.job(folder, env_manager="uv"))


def test_without_uv_there_is_one_message_and_no_output(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r'takes uv, which isn\'t installed.*pip install "batchscore\[uv\]"'):
        run_job(quick.job(folder, env_manager="uv"))
    assert not (folder / "out").exists()


def test_from_python_the_argument_has_the_options_name(folder):
    arguments = {"model": folder / "model", "inputs": folder / "in", "output": folder / "out"}
    assert run(**arguments, env_manager="uv").status == "Completed"
    assert len(cached(folder)) == 1


# Scoring scripts


def deployment(folder: Path, **environment: str) -> Deployment:
    stated = EnvironmentReference(**environment) if environment else None
    return Deployment(
        file=str(folder / "deployment.yml"), style="root", name="d", endpoint_name="e", environment=stated
    )


def test_a_conda_file_gives_a_script_its_interpreter_wherever_it_stands(folder, index, uv_calls):
    wheel(index, "six", "1.0")
    pip = ["--no-index", "--find-links ./index", "six"]
    content = json.dumps({"dependencies": ["python", {"pip": pip}]})
    (folder / "conda.yaml").write_text(content)
    told = Listening()
    python = interpreter_for_script(deployment(folder, conda_file=str(folder / "conda.yaml")), told.note)
    done = subprocess.run([python, "-c", "import six, pandas; print(six.version)"], capture_output=True, check=True)
    assert done.stdout == b"1.0\n"
    calls = len(uv_calls())
    assert interpreter_for_script(deployment(folder, conda_json=content), told.note) == python
    assert len(uv_calls()) == calls


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, "states no environment: the scoring script runs with what is installed here"),
        ({"image": "registry/image:1"}, r"states an environment that can't be had here \(registry/image:1\): the"),
    ],
)
def test_a_script_without_a_conda_file_runs_here_with_a_note(environment, said, tmp_path):
    told = Listening()
    assert interpreter_for_script(deployment(tmp_path, **environment), told.note) == sys.executable
    (note,) = told.notes
    assert re.search(said, note)


def test_a_jobs_script_runs_in_its_environment_only_with_uv(folder, index):
    """With --env-manager local, and with --python, nothing is built; a note says what would build it."""
    wheel(index, "six", "1.0")
    pip = ["--no-index", "--find-links ./index", "six"]
    (folder / "conda.yaml").write_text(json.dumps({"dependencies": ["python", {"pip": pip}]}))
    stated = {"deployment": deployment(folder, conda_file=str(folder / "conda.yaml")), "script": Script("code", "s.py")}
    told = Listening()
    built = interpreter_for(quick.job(folder, env_manager="uv", **stated), None, told.note)
    assert built != sys.executable
    assert "--env-manager uv builds" not in " ".join(told.notes)
    told = Listening()
    assert interpreter_for(quick.job(folder, **stated), None, told.note) == sys.executable
    assert "--env-manager uv builds the environment of its conda_file" in told.notes[0]
    told = Listening()
    assert interpreter_for(quick.job(folder, python="/there/python", **stated), None, told.note) == "/there/python"
    assert told.notes == []
    bare = quick.job(folder, deployment=deployment(folder), script=Script("code", "s.py"))
    assert interpreter_for(bare, None, told.note) == sys.executable
    assert "states no environment: the scoring script runs with what is installed here" in told.notes[0]


# The running environment


def test_other_versions_than_the_models_are_told_once(run_here, save_model, tmp_path, capsys):
    source = (
        "import mlflow.pyfunc\nfrom mlflow.models import set_model\n"
        "class Same(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n        return model_input\n"
        "set_model(Same())\n"
    )
    model = save_model(source, copy_to=tmp_path / "model")
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / f"in/{name}.csv").write_text("x\n1\n")
    run_here(model, tmp_path / "in", tmp_path / "alike", mini_batch_size=1, progress=True)
    assert "was logged with" not in capsys.readouterr().err
    (model / "requirements.txt").write_text("mlflow-skinny\npytest==0.1\nno-such-package\n")
    summary = run_here(model, tmp_path / "in", tmp_path / "out", mini_batch_size=1, progress=True)
    said = capsys.readouterr().err
    assert summary.status == "Completed"
    note = f"the model was logged with pytest==0.1 ({pytest.__version__} here), no-such-package (missing here)"
    assert said.count(note) == 1
    assert "--env-manager uv builds the environment" in said
    setup = {"model": str(model), "settings": ScoringSettings().to_json(), "parts": str(tmp_path)}
    assert note in load_scorer({**setup, "env_manager": "local"}).facts()["notes"][0]
    assert load_scorer({**setup, "env_manager": "uv"}).facts()["notes"] == [], "there it is as the model wants it"


# A model of another time

SAVE_OLD = """
import sys, numpy, pandas, sklearn, mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
generator = numpy.random.default_rng(0)
features = pandas.DataFrame({"a": generator.normal(size=60), "b": generator.normal(size=60)})
labels = (features.a > 0).astype("int64")
model = make_pipeline(StandardScaler(), GradientBoostingClassifier(n_estimators=5)).fit(features, labels)
pins = ["mlflow==2.9.2", f"scikit-learn=={sklearn.__version__}", f"pandas=={pandas.__version__}"]
signature = infer_signature(features, model.predict(features))
mlflow.sklearn.save_model(model, sys.argv[1], signature=signature, pip_requirements=pins,
                          serialization_format="cloudpickle")
features.to_csv(sys.argv[2], index=False)
print(*model.predict(features))
"""


@pytest.mark.slow
def test_a_model_of_old_packages_is_scored_in_the_environment_that_it_states(tmp_path, run_batchscore):
    """scikit-learn 1.1 saved it, on an old Python; the running one can't load it."""
    found = old_interpreter()
    if found is None:
        pytest.skip("there is neither Python 3.10 nor 3.11")
    uv = [shutil.which("uv") or pytest.importorskip("uv").find_uv_bin(), "--quiet"]
    old = tmp_path / "old" / "bin" / "python"
    subprocess.run([*uv, "venv", "--python", found[1], old.parent.parent], check=True, timeout=60)
    pins = ROOT / "tests" / f"lowest-{found[0]}.txt"
    subprocess.run([*uv, "pip", "sync", "--python", old, pins], check=True, timeout=300)
    folder, data = tmp_path / "model", tmp_path / "data.csv"
    saved = subprocess.run(
        [old, "-c", SAVE_OLD, folder, data], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120
    )

    run = ("run", "-m", folder, "-i", data, "-o")
    here = run_batchscore(*run, tmp_path / "here")
    assert here.returncode == 3, here.stderr
    assert "--env-manager uv builds the environment" in here.stderr
    assert re.search(r"^  scikit-learn==1\.1\S* +\S+ +differs$", here.stderr, re.MULTILINE)

    for number, cached in enumerate([False, True]):
        out = tmp_path / f"there{number}"
        environment = {"BATCHSCORE_CACHE": str(tmp_path / "cache"), **({"PATH": "/nowhere"} if cached else {})}
        there = run_batchscore(*run, out, "--env-manager", "uv", env=environment)
        assert there.returncode == 0, there.stderr
        assert ("building the environment" in there.stderr) is not cached
        rows = (out / "predictions.csv").read_text().splitlines()[1:]
        assert [row.split(",")[-1] for row in rows] == saved.stdout.split()
