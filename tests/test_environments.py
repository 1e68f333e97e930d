"""The model's own environment: what its files state, what is added, and real builds of small ones with uv.

The packages of most builds are made here: `numpy`, `pandas` and so on in name only, in a folder that uv takes for an
index, so that they take moments and no network.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT
from packages import wheel

from batchscore.environments import build, environment_of, environment_of_script, environments_folder, interpreters
from batchscore.environments.interpreters import Interpreter, fitting
from batchscore.environments.lines import parse
from batchscore.environments.needs import LOWEST
from batchscore.environments.uv import variables
from batchscore.errors import ModelLoadError, StorageError, UsageError

HERE = ".".join(platform.python_version_tuple()[:2])


def lines(text: str, folder: Path = ROOT) -> list[str]:
    return [str(line) for line in parse(text, folder, "requirements.txt").requirements]


@pytest.fixture
def model(tmp_path):
    """Makes a model folder of the files given by name (dots as __); MLmodel is there."""

    def make(python_version: str = HERE, **files: str) -> str:
        folder = tmp_path / "model"
        folder.mkdir()
        env = "{conda: conda.yaml, virtualenv: python_env.yaml}"
        flavor = f"{{env: {env}, python_version: '{python_version}'}}"
        (folder / "MLmodel").write_text(f"flavors:\n  python_function: {flavor}\n")
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_text(text)
        return str(folder)

    return make


def requirements_of(folder: str) -> list[str]:
    return [str(line) for line in environment_of(folder).lines.requirements]


# What files state


def test_requirements_are_read_as_pip_reads_them(tmp_path):
    (tmp_path / "own package").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "thing-1.0-py3-none-any.whl").touch()
    (tmp_path / "more.txt").write_text("six\n")
    text = """
        # a comment
        numpy >=1.0 \\
            , <3   # why
        pandas[all] == 1.5.3; python_version < '3.12'
        Some_Thing.x==1.0 --hash=sha256:aa --hash sha256:bb
        torch (>=1.0)
        foo @ https://host/foo.whl;v=1 ; python_version < '3.12'
        git+https://host/y.git@v1#egg=y
        wheels/thing-1.0-py3-none-any.whl[extra]
        -e ./own\\ package
        -rmore.txt
    """.replace("own\\ package", "own package")
    assert lines(text, tmp_path) == [
        "numpy>=1.0,<3",
        "pandas[all]==1.5.3 ; python_version < '3.12'",
        "some-thing-x==1.0 --hash=sha256:aa --hash=sha256:bb",
        "torch>=1.0",
        "foo @ https://host/foo.whl;v=1 ; python_version < '3.12'",
        "git+https://host/y.git@v1#egg=y",
        f"file://{tmp_path}/wheels/thing-1.0-py3-none-any.whl[extra]",
        f"file://{tmp_path}/own%20package",
        "six",
    ]


def test_options_are_passed_on_to_uv_and_hide_their_passwords(tmp_path):
    text = (
        "-i https://user:secret@host/simple --pre\n--extra-index-url=https://user:secret@other/simple\n"
        "--trusted-host host\n-f links\n--use-feature=fast-deps\nsix @ https://user:secret@host/six.whl\n"
    )
    found = parse(text, tmp_path, "requirements.txt")
    assert found.options == (
        "--index-url=https://user:secret@host/simple",
        "--prerelease=allow",
        "--extra-index-url=https://user:secret@other/simple",
        "--allow-insecure-host=host",
        f"--find-links={tmp_path}/links",
    )
    assert found.notes == ("pip's option --use-feature means nothing to uv and is left out",)
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("numpy=1.2", "not a version requirement: '=1.2'"),
        ("foo bar", "expected NAME, NAME==VERSION"),
        ("./nowhere.whl", "there is no"),
        ("-r nowhere.txt", "nowhere.txt"),
        ("-r", "-r needs a value"),
        ("-c https://user:secret@host/c.txt", "put it beside the model"),
    ],
)
def test_lines_that_are_no_requirement_are_refused(text, complaint, tmp_path):
    with pytest.raises(UsageError, match=re.escape(complaint)) as caught:
        parse(text, tmp_path, "requirements.txt")
    assert "secret" not in str(caught.value)


def test_a_requirements_file_that_includes_itself_is_refused(model):
    with pytest.raises(UsageError, match="includes itself"):
        environment_of(model(requirements__txt="-r requirements.txt\n"))


def test_python_env_yaml_comes_first_then_requirements_then_conda(model):
    python_env = "python: 3.12.7\nbuild_dependencies: [pip, setuptools]\ndependencies:\n- -r requirements.txt\n- six\n"
    conda = "dependencies:\n- python=3.11.2\n- pip\n- pip:\n  - idna\n"
    folder = model("3.10.13", python_env__yaml=python_env, requirements__txt="attrs\n", conda__yaml=conda)

    def stated():
        environment = environment_of(folder)
        return environment.python, [str(line) for line in environment.lines.requirements][:2]

    assert stated() == ("==3.12.*", ["attrs", "six"])
    Path(folder, "python_env.yaml").write_text(python_env.partition("\n")[2])
    assert stated() == ("==3.10.*", ["attrs", "six"])
    Path(folder, "python_env.yaml").unlink()
    assert stated() == ("==3.10.*", ["attrs", f"mlflow-skinny>={LOWEST['mlflow-skinny']}"])
    Path(folder, "requirements.txt").unlink()
    assert stated() == ("==3.11.*", ["idna", f"mlflow-skinny>={LOWEST['mlflow-skinny']}"])
    Path(folder, "conda.yaml").unlink()
    with pytest.raises(UsageError, match="doesn't say what it needs"):
        environment_of(folder)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("python=3.11.7", "==3.11.*"),
        ("python==3.11", "==3.11.*"),
        ("conda-forge::python=3.11.7=h123_0", "==3.11.*"),
        ("python >=3.10,<3.12", ">=3.10,<3.12"),
        ("python", ""),
    ],
)
def test_conda_gives_its_python_and_pips_part(text, python, tmp_path):
    content = {
        "dependencies": [text, "pip<22", "xgboost=1.5", "conda-forge::libgomp", {"pip": ["scikit-learn==1.1.3"]}]
    }
    environment = environment_of_script(content, str(tmp_path))
    assert environment.python == python
    assert str(environment.lines.requirements[0]) == "scikit-learn==1.1.3"
    assert "xgboost=1.5, conda-forge::libgomp, which uv doesn't install" in environment.notes[0]


def test_a_scripts_conda_file_keeps_its_mlflow(tmp_path):
    (tmp_path / "conda.yaml").write_text("dependencies:\n- pip:\n  - mlflow==2.9.2\n  - -r more.txt\n")
    (tmp_path / "more.txt").write_text("azureml-core\n")
    environment = environment_of_script("conda.yaml", str(tmp_path))
    text = [str(line) for line in environment.lines.requirements]
    assert text[:2] == ["mlflow-skinny==2.9.2", "azureml-core"]
    assert f"mlflow-skinny>={LOWEST['mlflow-skinny']}" not in text


@pytest.mark.parametrize("text", ["- a list\n", "dependencies: six\n", "a: [\n"])
def test_a_conda_file_that_is_none_is_refused(text, tmp_path):
    (tmp_path / "conda.yaml").write_text(text)
    with pytest.raises(UsageError, match="conda.yaml"):
        environment_of_script(str(tmp_path / "conda.yaml"))


# What is added


def test_the_bounds_are_those_of_pyproject():
    tomllib = pytest.importorskip("tomllib")
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {f"{name}>={lowest}" for name, lowest in LOWEST.items()} <= set(listed["dependencies"])


def test_what_batchscore_needs_is_added_and_mlflow_becomes_skinny(model):
    found = requirements_of(
        model(requirements__txt="mlflow==3.4.0 --hash=sha256:aa\npandas==2.3.3\nmlflow[extras]>=3\n")
    )
    added = [f"{name}>={lowest}" for name, lowest in LOWEST.items()]
    assert found == ["mlflow-skinny==3.4.0", "pandas==2.3.3", "mlflow-skinny[extras]>=3", *added]


def test_an_mlflow_that_is_too_old_gives_way_with_a_note(model):
    environment = environment_of(
        model(requirements__txt="mlflow<3,>=2.9\n-c constraints.txt\n", constraints__txt="mlflow==2.9.2")
    )
    assert str(environment.lines.requirements[0]) == "mlflow-skinny"
    assert [str(line) for line in environment.lines.constraints] == ["mlflow-skinny"]
    assert "the model states mlflow<3,>=2.9; it is loaded with mlflow-skinny 3.0 or later" in environment.notes[0]


@pytest.mark.parametrize("pin", ["pandas==1.0.5", "pandas<1.4", "numpy~=1.21.0", "pyarrow==14.0.1"])
def test_pins_that_leave_nothing_for_batchscore_are_refused(pin, model):
    with pytest.raises(ModelLoadError, match=rf"requirements.txt wants {pin}, but batchscore needs .* or later"):
        environment_of(model(requirements__txt=f"{pin}\n"))


@pytest.mark.parametrize(
    ("text", "is_old"),
    [
        ("numpy==1.23.5", True),
        ("numpy<2,>=1.20", True),
        ("pandas==1.5.3", True),
        ("scikit-learn==1.1.3", True),
        ("numpy>=1.20", False),
        ("pandas==2.3.3", False),
        ("numpy<2; python_version < '3.0'", False),
    ],
)
def test_old_numpy_comes_with_a_pyarrow_that_works_with_it(text, is_old, model):
    assert ("pyarrow<26" in requirements_of(model(requirements__txt=text))) is is_old


def test_setuptools_comes_where_it_was_there_when_the_model_was_saved(model):
    folder = model(python_env__yaml="build_dependencies: [pip==23.0, setuptools==65.5.0, wheel]\ndependencies: [six]\n")
    assert requirements_of(folder)[-1] == "setuptools<81"
    Path(folder, "python_env.yaml").write_text("build_dependencies: [setuptools]\ndependencies: [setuptools==70.0]\n")
    assert [line for line in requirements_of(folder) if "setuptools" in line] == ["setuptools==70.0"]
    Path(folder, "python_env.yaml").write_text("dependencies: [six]\n")
    assert "setuptools<81" not in requirements_of(folder)


# The interpreter, uv, the cache


def test_the_running_interpreter_fits_its_own_version():
    assert fitting(f"=={HERE}.*", "python_env.yaml").version == platform.python_version()
    assert fitting("", "python_env.yaml").path == sys.executable


def test_where_no_interpreter_fits_the_message_lists_those_there_are(uv_calls):
    with pytest.raises(ModelLoadError, match="wants Python 3.99, and there is none; found ") as caught:
        fitting("==3.99.*", "python_env.yaml")
    assert f"{platform.python_version()} (" in str(caught.value)
    assert "--python PATH" in str(caught.value)


def _pythons(folder: Path, *versions: str) -> None:
    """Interpreters on PATH, in name only."""
    for version in versions:
        script = folder / f"python{version.rpartition('.')[0]}"
        script.write_text(f"#!/bin/sh\necho CPython {version}\n")
        script.chmod(0o755)


def test_for_a_python_before_the_workers_lowest_the_lowest_that_they_run_in_is_taken(tmp_path, monkeypatch):
    _pythons(tmp_path, "3.8.18", "3.10.2", "3.99.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(interpreters, "_known_to_uv", list)
    monkeypatch.setattr(
        interpreters,
        "_asked",
        {  # the running one may be the lowest itself
            sys.executable: Interpreter(sys.executable, "3.98.1"),
            **{f"{tmp_path}/python{minor}": Interpreter(minor, f"{minor}.0") for minor in ("3.8", "3.10", "3.99")},
        }.get,
    )
    assert fitting("==3.8.*", "conda.yaml").path == "3.10"
    assert fitting("<3.10", "conda.yaml").path == "3.10"


def test_where_no_python_is_here_that_workers_run_in_the_message_says_which_would_do(monkeypatch):
    pytest.importorskip("uv")
    monkeypatch.setattr(interpreters, "_asked", lambda path: Interpreter(path, "3.9.1"))
    with pytest.raises(ModelLoadError, match=r"wants Python 3.10 or later in place of 3.8, .* install 3.10 does"):
        fitting("==3.8.*", "conda.yaml")


def test_an_environment_for_a_python_before_the_workers_lowest_says_what_becomes_of_it(model):
    environment = environment_of(model("3.8.5", requirements__txt="six\n"))
    assert any("is for Python 3.8, and workers need 3.10 or later" in note for note in environment.notes)
    assert not environment_of_script({"dependencies": ["python=3.10"]}).notes


def test_pins_of_packages_that_only_mlflow_needs_later_give_way_with_a_note(model):
    environment = environment_of(model(requirements__txt="typing-extensions==4.1.1\nTyping_Extensions>=4.2\n"))
    found = [str(line) for line in environment.lines.requirements if line.name == "typing-extensions"]
    assert found == ["typing-extensions>=4.6.1", "typing-extensions>=4.2"]
    assert any("states typing-extensions==4.1.1; MLflow needs 4.6.1 or later" in note for note in environment.notes)
    script = environment_of_script({"dependencies": [{"pip": ["typing-extensions==4.1.1"]}]})
    assert "typing-extensions==4.1.1" in [str(line) for line in script.lines.requirements]


def test_an_interpreter_is_found_on_path_and_broken_ones_are_passed_over(tmp_path, monkeypatch):
    for folder, body in {"shims": "exit 127", "real": "echo CPython 3.98.1"}.items():
        (tmp_path / folder).mkdir()
        script = tmp_path / folder / "python3.98"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/shims:{tmp_path}/real")
    assert fitting("==3.98.*", "python_env.yaml").path == f"{tmp_path}/real/python3.98"


def test_without_uv_the_message_says_how_to_install_it(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    environment = environment_of(model(requirements__txt=""))
    with pytest.raises(UsageError, match=r"pip install \"batchscore\[uv\]\""):
        build(environment, cache=tmp_path / "cache", note=print)


def test_uv_downloads_no_interpreter_unless_the_user_allows_it(monkeypatch):
    monkeypatch.delenv("UV_PYTHON_DOWNLOADS", raising=False)
    monkeypatch.setenv("VIRTUAL_ENV", "/another")
    assert variables()["UV_PYTHON_DOWNLOADS"] == "never"
    assert "VIRTUAL_ENV" not in variables()
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "automatic")
    assert variables()["UV_PYTHON_DOWNLOADS"] == "automatic"


def test_the_cache_lies_where_the_environment_says(monkeypatch):
    for name in ("BATCHSCORE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/someone")
    assert environments_folder() == Path("/home/someone/.cache/batchscore/environments")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert environments_folder() == Path("/home/someone/.cache/batchscore/environments")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert environments_folder() == Path("/xdg/batchscore/environments")
    monkeypatch.setenv("BATCHSCORE_CACHE", "/own")
    assert environments_folder() == Path("/own/environments")


def test_without_a_home_the_message_names_the_variable(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("pwd.getpwuid", lambda _: {}[_])
    with pytest.raises(UsageError, match="BATCHSCORE_CACHE"):
        environments_folder()


def test_the_digest_follows_what_determines_the_environment(model, tmp_path):
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    wheel.write_text("one")
    folder = model(requirements__txt=f"six==1.0\n{wheel}\n--extra-index-url https://user:secret@host/simple\n")

    def digest() -> str:
        return environment_of(folder).digest()

    first = digest()
    other = tmp_path / "other"
    shutil.copytree(folder, other / "model")
    assert environment_of(str(other / "model")).digest() == first
    file = Path(folder, "requirements.txt")
    file.write_text(file.read_text().replace("secret", "renewed") + "# a comment\n")
    assert digest() == first
    file.write_text(file.read_text().replace("six==1.0", "six==1.1"))
    assert digest() != first
    file.write_text(file.read_text().replace("six==1.1", "six==1.0"))
    wheel.write_text("two")
    assert digest() != first


# Builds


@pytest.fixture
def small(model, index):
    """Makes a model folder with requirements, to be built from the index alone; returns its environment."""

    def make(text: str = "", **files: str):
        return environment_of(model(requirements__txt=f"--no-index\n--find-links {index}\n{text}\n", **files))

    return make


def installed(python: str) -> dict[str, str]:
    program = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_an_environment_is_built_once_and_found_again_without_uv(small, uv_calls, tmp_path):
    environment = small("pandas==2.3.3\nsix @ https://user:secret@host/six.whl ; python_version < '3.0'")
    notes: list[str] = []
    python = build(environment, cache=tmp_path / "cache", note=notes.append)
    assert installed(python) == {"numpy": "2.3.0", "pandas": "2.3.3", "pyarrow": "26.0.0", "mlflow-skinny": "3.4.0"}
    assert [call.split()[0] for call in uv_calls()] == ["venv", "pip"]
    assert notes[0].startswith("building the environment that ")
    assert list(Path(python).parent.parent.glob("lib/python*/site-packages/__pycache__/mlflow_skinny.*.pyc"))

    assert build(environment, cache=tmp_path / "cache", note=pytest.fail) == python
    assert len(uv_calls()) == 2
    assert "secret" not in (Path(python).parent.parent / "complete.json").read_text()


def test_pyarrow_follows_a_numpy_that_another_package_brought(small, uv_calls, tmp_path):
    python = build(small("needs-old-numpy"), cache=tmp_path / "cache", note=print)
    found = installed(python)
    assert (found["numpy"], found["pyarrow"]) == ("1.26.4", "25.0.0")


def test_the_best_version_of_all_indexes_is_taken_as_pip_does(model, index, uv_calls, tmp_path):
    (tmp_path / "few").mkdir()
    few = [wheel(tmp_path / "few", "numpy", "1.20"), wheel(tmp_path / "few", "six", "1.0")]
    urls = []
    for place, wheels in {"main": list(index.iterdir()), "extra": few}.items():
        for path in wheels:
            page = tmp_path / place / path.name.partition("-")[0].replace("_", "-") / "index.html"
            page.parent.mkdir(parents=True, exist_ok=True)
            with page.open("a") as stream:
                stream.write(f'<a href="{path.as_uri()}">{path.name}</a>\n')
        urls.append((tmp_path / place).as_uri())
    folder = model(requirements__txt=f"--index-url {urls[0]} --extra-index-url {urls[1]}\nsix\n")
    found = installed(build(environment_of(folder), cache=tmp_path / "cache", note=print))
    assert (found["numpy"], found["six"]) == ("2.3.0", "1.0")


def test_constraints_and_local_wheels_and_folders_are_installed(small, uv_calls, tmp_path):
    (tmp_path / "wheels").mkdir()
    path = wheel(tmp_path / "wheels", "thing", "1.0")
    own = tmp_path / "own package"
    own.mkdir()
    (own / "pyproject.toml").write_text(
        "[build-system]\nrequires = []\nbuild-backend = 'backend'\nbackend-path = ['.']\n"
        "[project]\nname = 'own'\nversion = '0.1'\n"
    )
    (own / "backend.py").write_text(BACKEND)
    environment = small(f"{path}\n-e ../own package\n-c constraints.txt", constraints__txt="pyarrow<26\n")
    python = build(environment, cache=tmp_path / "cache", note=print)
    found = installed(python)
    assert (found["thing"], found["own"], found["pyarrow"]) == ("1.0", "0.1", "25.0.0")
    assert sorted(os.listdir(own)) == ["backend.py", "pyproject.toml"], "nothing is written beside the sources"
    assert not (Path(python).parent.parent / "scratch").exists()


BACKEND = """
import pathlib, zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    pathlib.Path("build-was-here").touch()
    with zipfile.ZipFile(pathlib.Path(folder, "own-0.1-py3-none-any.whl"), "w") as archive:
        archive.writestr("own.py", "")
        archive.writestr("own-0.1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 0.1\\n")
        archive.writestr("own-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        archive.writestr("own-0.1.dist-info/RECORD", "")
    return "own-0.1-py3-none-any.whl"
"""


def test_requirements_that_cant_be_met_are_uvs_to_explain(small, uv_calls, tmp_path):
    with pytest.raises(ModelLoadError, match="(?s)requirements.txt states can't be built.*no-such-package") as caught:
        build(small("no-such-package==1.0"), cache=tmp_path / "cache", note=print)
    assert "--env-manager local" in str(caught.value)


def test_an_environment_that_doesnt_import_isnt_kept(small, index, uv_calls, tmp_path):
    wheel(index, "pandas", "2.4.0", code="raise ImportError('numpy.dtype size changed')")
    environment = small()
    for _ in range(2):
        with pytest.raises(ModelLoadError, match="numpy.dtype size changed"):
            build(environment, cache=tmp_path / "cache", note=print)
    assert len(uv_calls()) == 4


def test_an_index_that_cant_be_reached_is_worth_trying_again_and_no_password_is_shown(
    model, uv_calls, tmp_path, monkeypatch
):
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    folder = model(requirements__txt="--index-url http://user:secret@127.0.0.1:9/simple?token=secret\nsix\n")
    notes: list[str] = []
    with pytest.raises(StorageError, match="couldn't be reached") as caught:
        build(environment_of(folder), cache=tmp_path / "cache", note=notes.append)
    assert "127.0.0.1:9" in str(caught.value)
    assert "secret" not in str(caught.value) + "".join(notes) + "".join(uv_calls())
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.stat().st_size < 1 << 20]
    assert not [path for path in kept if b"secret" in path.read_bytes()]


def test_a_cache_that_cant_be_written_names_the_variable(small, uv_calls, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="BATCHSCORE_CACHE"):
        build(small(), cache=tmp_path / "file" / "cache", note=print)


def test_an_environment_whose_interpreter_is_gone_is_built_again(small, uv_calls, tmp_path):
    environment = small()
    python = Path(build(environment, cache=tmp_path / "cache", note=print))
    python.unlink()
    python.symlink_to(tmp_path / "gone")
    assert build(environment, cache=tmp_path / "cache", note=print) == str(python)
    assert installed(str(python))["numpy"] == "2.3.0"


BUILDER = """
import sys
from pathlib import Path
from batchscore.environments import build, environment_of
print(build(environment_of(sys.argv[1]), cache=Path(sys.argv[2]), note=lambda text: print("note:", text, flush=True)))
"""


@pytest.fixture
def builder(small, tmp_path):
    """Starts a process that builds the same environment as all the others."""
    small("pandas==2.3.3")
    processes = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", BUILDER, str(tmp_path / "model"), str(tmp_path / "cache")]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_two_builds_at_once_wait_for_one_another(builder, uv_calls, tmp_path):
    release = tmp_path / "release"
    (tmp_path / "shim" / "hook.sh").write_text(f'while [ ! -e "{release}" ]; do sleep 0.02; done\n')
    first, second = builder(), builder()
    said = sorted(process.stdout.readline() for process in (first, second))
    assert said[0] == "note: another run is building this environment; waiting for it\n"
    assert said[1].startswith("note: building the environment that ")
    release.touch()
    texts = [process.communicate(timeout=60)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0]
    assert texts[0].splitlines()[-1] == texts[1].splitlines()[-1]
    assert [call.split()[0] for call in uv_calls()] == ["venv", "pip"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_an_interrupted_build_leaves_no_uv_and_is_done_again(number, builder, uv_calls, tmp_path):
    pid_file, hook = tmp_path / "pid", tmp_path / "shim" / "hook.sh"
    hook.write_text(
        f'[ "$1" = pip ] && {{ echo $$ > "{pid_file}.new"; mv "{pid_file}.new" "{pid_file}"; sleep 60; }}\n'
    )
    broken = builder()
    deadline = time.monotonic() + 30
    while not pid_file.exists():
        assert time.monotonic() < deadline
        assert broken.poll() is None
        time.sleep(0.02)
    broken.send_signal(number)
    broken.wait(timeout=30)
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 20
    while _runs(pid):
        assert time.monotonic() < deadline, "uv outlives its parent"
        time.sleep(0.02)
    hook.write_text("")
    left = next(path.parent for path in (tmp_path / "cache").glob("*/bin"))
    (left / "half a file").touch()
    again = builder()
    text, _ = again.communicate(timeout=60)
    assert again.returncode == 0
    assert installed(text.splitlines()[-1])["pandas"] == "2.3.3"
    assert not (left / "half a file").exists()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
