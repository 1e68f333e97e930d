"""What several test modules need: sample data, batchscore as a process of its own, saved models."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from inspect import signature
from pathlib import Path
from typing import Any, Protocol

import pytest
from answering import ANSWERING, Predicted, X
from here import HereSlots
from hypothesis import settings
from packages import small_index
from stores import azurite, azurite_server, s3, s3_server, shop, web, web_server  # noqa: F401  # fixtures

from batchscore import shelf
from batchscore.summary import JobSummary

ROOT = Path(__file__).resolve().parent.parent
SAMPLE_DATA = ROOT / "sample_data"

LONGEST = (
    "azure_oracle", "storage_writing", "runner", "provisioning", "registry", "wheel", "faults", "storage_faults",
    "grace", "bad_input", "store_features", "threads", "differential", "docs", "quarantine", "secrets", "component",
    "output_on_store", "resuming", "hostile", "validation", "kills", "lifeline", "work_dir", "worker_start", "memory",
    "script", "signature_table", "configs", "samples", "cli", "scheduling", "slot", "answers_end_to_end",
)  # fmt: skip
"""The modules that take longest, in the order in which they begin: what is short fills up the end of a run."""

settings.register_profile("batchscore", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("batchscore")

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
for name in [name for name in os.environ if name.startswith("BATCHSCORE_")]:
    del os.environ[name]
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"):
    os.environ.pop(name, None)


@pytest.fixture(scope="module", params=[None, 2], ids=["in memory", "on disk"])
def pages(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lists of files and mini-batches as they are, or of more than two items in a file, two to a page."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PAGE", "KEPT", "SORTED") if request.param else ():
            patch.setattr(shelf, name, request.param)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: tests wait for processes, timeouts and stores a good part of their time."""
    return min((os.cpu_count() or 1) + 1, 6)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    turns = {f"test_{name}.py": turn for turn, name in enumerate(LONGEST)}
    items.sort(key=lambda item: turns.get(item.path.name, len(turns)))


class RunBatchscore(Protocol):
    """Runs `batchscore ARGS…` as a process of its own; text mode, standard input empty."""

    def __call__(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]: ...


class SaveModel(Protocol):
    """Saves an MLflow model once per session and content, and returns its folder.

    ``model`` is the source of a module that calls ``set_model`` (models from code), or a fitted scikit-learn
    estimator. ``signature`` is a ModelSignature or None. Further arguments go to MLflow's ``save_model``.
    A test that changes the folder asks for a copy of its own with ``copy_to``.
    """

    def __call__(self, model: Any, signature: Any = None, *, copy_to: Path | None = None, **options: Any) -> Path: ...


# A run in the background (nohup, cron, CI) may ignore these, and every process of a test would inherit it.
for number in (signal.SIGINT, signal.SIGHUP):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number is signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def tracking_in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    """MLflow in this process writes into no folder of the user; processes of the tests don't see the setting."""
    os.environ["MLFLOW_TRACKING_URI"] = (tmp_path_factory.mktemp("tracking") / "mlruns").as_uri()


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder with breast_cancer/ (nested CSV), iris/ (Parquet), diabetes/ (Hive folders), wine/ (one CSV)."""
    return SAMPLE_DATA


@pytest.fixture(scope="session")
def sample_models() -> Path:
    """The folder with the models breast_cancer, iris, diabetes and wine_label, for scikit-learn 1.7 upwards."""
    import sklearn

    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):
        pytest.skip(f"the sample models are saved with scikit-learn 1.7; this is {sklearn.__version__}")
    return SAMPLE_DATA / "models"


@pytest.fixture(scope="session")
def clean_environment() -> Mapping[str, str]:
    """The environment for a batchscore process: what a user has, with nothing of this session in it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    for name in ("PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "MLFLOW_TRACKING_URI"):
        environment.pop(name, None)
    if not _is_installed():
        environment["PYTHONPATH"] = str(ROOT)
    environment["NO_COLOR"] = "1"
    return environment


@pytest.fixture
def run_batchscore(clean_environment: Mapping[str, str], tmp_path: Path) -> RunBatchscore:
    def run(
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 300,
    ) -> subprocess.CompletedProcess[str]:
        folder = cwd or tmp_path / "cwd"
        folder.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "batchscore", *map(str, args)],
            cwd=folder,
            env={**clean_environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five attempts at what a store refuses, without waiting."""
    from batchscore.storage import retrying

    monkeypatch.setattr(retrying, "PAUSES", (0.01,) * 4)


class RunHere(Protocol):
    """`batchscore.run` with a worker in this process, and without retries unless they are asked for."""

    def __call__(self, model: Path, inputs: Any, output: Path, **options: Any) -> JobSummary: ...


@pytest.fixture
def run_here(monkeypatch: pytest.MonkeyPatch) -> RunHere:
    from batchscore.face import run

    def run_it(model: Path, inputs: Any, output: Path, **options: Any) -> JobSummary:
        with monkeypatch.context() as patched:
            patched.setattr("batchscore.runner.Slots", HereSlots)
            patched.setattr("batchscore.runner.early_spec", lambda *_: None)
            return run(model, inputs, output, **{"workers": 1, "max_retries": 0, **options})

    return run_it


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder of packages in name only, for uv: see small_index."""
    return small_index(tmp_path / "index")


@pytest.fixture
def uv_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The words of each call of uv; a file `hook.sh` beside the log runs before uv does."""
    real = shutil.which("uv") or pytest.importorskip("uv").find_uv_bin()
    log = tmp_path / "shim" / "log"
    log.parent.mkdir()
    shim = log.parent / "uv"
    hook = log.parent / "hook.sh"
    hook.touch()
    shim.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\n. "{hook}"\nexec "{real}" "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return lambda: log.read_text().splitlines() if log.exists() else []


@pytest.fixture(scope="session")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> SaveModel:
    saved: dict[tuple[str, str, str], Path] = {}
    kept_alive: list[Any] = []

    def save(model: Any, signature: Any = None, *, copy_to: Path | None = None, **options: Any) -> Path:
        content = model if isinstance(model, str) else f"{type(model).__name__} {id(model)}"
        key = (content, repr(signature and signature.to_dict()), repr(sorted(options.items())))
        if key not in saved:
            kept_alive.append(model)  # an id is unique only as long as its object lives
            save_one = _save_code if isinstance(model, str) else _save_estimator
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # MLflow's advice on how to log models
                saved[key] = save_one(model, tmp_path_factory.mktemp("model"), signature=signature, **options)
        if copy_to is None:
            return saved[key]
        return Path(shutil.copytree(saved[key], copy_to))

    return save


AskAzure = Callable[[str, Path], dict[str, Any]]


@pytest.fixture(scope="session")
def ask_azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AskAzure]:
    """Asks Azure's client of a YAML file; it lives in an environment and a process of its own: 63 packages."""
    folder = tmp_path_factory.mktemp("oracle")
    python = folder / "environment/bin/python"
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, python.parent.parent], check=True, timeout=60)
    pins = ROOT / "tests" / "azure-ai-ml.txt"
    subprocess.run([*uv, "pip", "install", "--python", python, "--requirement", pins], check=True, timeout=300)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE", "PYTHON"))}
    with subprocess.Popen(
        [python, ROOT / "tests" / "azure_oracle.py"],
        env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip

        def ask(style: str, file: Path) -> dict[str, Any]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps({"style": style, "file": str(file)}) + "\n")
            process.stdin.flush()
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            assert answer.pop("connections") == [], "Azure's client reached for a network"
            return answer

        yield ask
        assert process.stdin
        process.stdin.close()
        assert process.wait(30) == 0


class PlainStore(Protocol):
    """The environment in which a folder is a store of whole files: tests/plain_store.c says what it refuses."""

    def __call__(self, store: Path, *, read_only: Path | None = None, **more: str) -> dict[str, str]: ...


@pytest.fixture(scope="session")
def plain_store(tmp_path_factory: pytest.TempPathFactory) -> PlainStore:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a store that refuses to rename and lock is made by preloading a C library on Linux")
    library = tmp_path_factory.mktemp("store") / "plain_store.so"
    source = ROOT / "tests" / "plain_store.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True, timeout=60)

    def make(store: Path, *, read_only: Path | None = None, **more: str) -> dict[str, str]:
        settings = {"STORE": store, "STORE_LOG": f"{store}.log", "STORE_READ_ONLY": read_only, **more}
        given = {f"PLAIN_{name}": str(value) for name, value in settings.items() if value is not None}
        return {"LD_PRELOAD": str(library), **given}

    return make


@pytest.fixture
def answering(save_model: SaveModel) -> Callable[..., Path]:
    """The model that answers with an expression; given (name, type) pairs are its output signature."""

    def save(*outputs: tuple[Any, Any]) -> Path:
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

        stated = Schema([ColSpec(kind, name) for name, kind in outputs]) if outputs else None
        params = ParamSchema([ParamSpec("answer", DataType.string, "")])
        return save_model(ANSWERING, ModelSignature(Schema([ColSpec("double", "x")]), stated, params))

    return save


@pytest.fixture
def xs(tmp_path: Path) -> Path:
    """A file of the answering model's input."""
    path = tmp_path / "xs.csv"
    path.write_text("x\n" + "".join(f"{x}\n" for x in X))
    return path


@pytest.fixture
def predicted(run_here: RunHere, answering: Callable[..., Path], xs: Path, tmp_path: Path) -> Predicted:
    numbers = itertools.count()

    def score(
        answer: str, *outputs: tuple[Any, Any], form: str = "csv", inputs: Path | None = None, **options: Any
    ) -> bytes:
        out = tmp_path / f"out-{next(numbers)}"
        options = {"params": {"answer": answer}, "format": form, **options}
        summary = run_here(answering(*outputs), inputs or xs, out, **options)
        assert summary.status == "Completed", summary.failures()["reason"].tolist()
        assert summary.counts.rows_scored == summary.counts.rows
        return (out / f"predictions.{form}").read_bytes()

    return score


def _save_code(source: str, folder: Path, **options: Any) -> Path:
    import mlflow.pyfunc

    module = folder / "model_code.py"
    module.write_text(source)
    mlflow.pyfunc.save_model(folder / "model", python_model=str(module), pip_requirements=["mlflow-skinny"], **options)
    return folder / "model"


def pickled(save: Callable[..., Any]) -> dict[str, str]:
    """What has MLflow's ``save_model`` of a flavour pickle the model, where it knows another way by now."""
    return {"serialization_format": "cloudpickle"} if "serialization_format" in signature(save).parameters else {}


def _save_estimator(estimator: Any, folder: Path, **options: Any) -> Path:
    import mlflow.sklearn

    mlflow.sklearn.save_model(
        estimator,
        folder / "model",
        **{"serialization_format": "cloudpickle", "pip_requirements": ["mlflow-skinny", "scikit-learn"], **options},
    )
    return folder / "model"


def _is_installed() -> bool:
    """Whether a process in another folder finds this very batchscore by itself."""
    found = subprocess.run(
        [sys.executable, "-c", "import batchscore; print(batchscore.__file__)"],
        cwd="/",
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() == str(ROOT / "batchscore" / "__init__.py")


TWICE = """
import mlflow
class Twice(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input["x"] * 2
mlflow.models.set_model(Twice())
"""


@pytest.fixture
def twice(save_model: SaveModel) -> Path:
    """A model of one column, x."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    return save_model(TWICE, ModelSignature(Schema([ColSpec("double", "x")])))
