"""Real models saved by MLflow, loaded from their folders."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import pickled

from batchscore.errors import ModelLoadError, StorageError, UsageError
from batchscore.model import load, resolve
from batchscore.model.requirements import differences, requirements

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, at import
    import mlflow
    import mlflow.lightgbm
    import mlflow.pyfunc
    import mlflow.sklearn
    import mlflow.xgboost
    import sklearn.cluster
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.pipeline
    import sklearn.preprocessing
    import sklearn.svm
    from mlflow.models import infer_signature

    class Scorer(mlflow.pyfunc.PythonModel):
        """A user's model with a second method, with and without a context."""

        def predict(self, context, model_input, params=None):  # noqa: ARG002  # MLflow passes it
            return model_input["a"].to_numpy() * (params or {}).get("factor", 1.0)

        def predict_twice(self, context, model_input):
            return [context is not None] * len(model_input)

        def predict_range(self, model_input):
            return [model_input["a"].dtype.name] * len(model_input)


FRAME = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.5, 0.25, 0.0]})
CLASSES = ["no", "no", "yes", "yes"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def save(name, **arguments):
        path = folder / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if "python_model" in arguments:
                mlflow.pyfunc.save_model(path, pip_requirements=["mlflow"], **arguments)
            else:
                model = arguments.pop("model")
                signature = infer_signature(FRAME, model.predict(FRAME))
                arguments = {"pip_requirements": ["scikit-learn"], "serialization_format": "cloudpickle"} | arguments
                mlflow.sklearn.save_model(model, path, signature=signature, **arguments)
        return str(path)

    return save


@pytest.fixture(scope="module")
def logistic(models):
    return models("logistic", model=sklearn.linear_model.LogisticRegression().fit(FRAME, CLASSES))


@pytest.fixture(scope="module")
def scorer(models):
    signature = infer_signature(FRAME, [1.0], params={"factor": 1.0})
    return models("scorer", python_model=Scorer(), signature=signature)


def answered(model, frame=FRAME):
    return model.columns(model.predict(frame), len(frame)).table.to_pydict()


def test_a_model_predicts_and_names_its_answer(logistic):
    model = load(logistic)
    assert answered(model) == {"prediction": CLASSES}
    assert [column.name for column in model.inputs.columns] == ["a", "b"]
    assert model.outputs is not None


def test_predict_proba_gives_a_column_for_each_class(logistic):
    model = load(logistic, predict_fn="predict_proba")
    table = answered(model)
    assert list(table) == ["probability_no", "probability_yes"]
    assert np.allclose(np.add(*table.values()), 1.0)
    assert model.outputs is None, "the signature describes predict, not predict_proba"


def test_a_pipeline_has_the_classes_of_its_last_step(models):
    steps = sklearn.preprocessing.StandardScaler(), sklearn.linear_model.LogisticRegression()
    path = models("pipeline", model=sklearn.pipeline.make_pipeline(*steps).fit(FRAME, CLASSES))
    assert list(answered(load(path, predict_fn="predict_proba"))) == ["probability_no", "probability_yes"]


def test_another_method_gets_the_enforced_input(logistic):
    model = load(logistic, predict_fn="predict_proba")
    swapped = FRAME[["b", "a"]].assign(more=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert answered(model, swapped) == answered(model)
    with pytest.raises(mlflow.exceptions.MlflowException, match="missing inputs"):
        model.predict(FRAME[["a"]])


def test_a_missing_method_lists_those_there_are(logistic):
    with pytest.raises(
        UsageError, match=r"LogisticRegression, which has no method predict_quantiles .* it has .*predict_proba"
    ):
        load(logistic, predict_fn="predict_quantiles")


def test_a_method_that_would_train_the_model_again_isnt_offered(models):
    path = models("clusters", model=sklearn.cluster.KMeans(2, n_init=1).fit(FRAME))
    with pytest.raises(UsageError, match=r"it has predict, transform$"):
        load(path, predict_fn="predict_proba")


def test_a_method_that_the_settings_forbid_says_why(models):
    model = sklearn.svm.LinearSVC().fit(FRAME, CLASSES)
    path = models("svc", model=model)
    with pytest.raises(UsageError, match=r"no method predict_proba .* it has decision_function, predict$"):
        load(path, predict_fn="predict_proba")
    assert list(answered(load(path, predict_fn="decision_function"))) == ["prediction"]


def test_params_reach_the_model(scorer):
    assert answered(load(scorer))["prediction"] == [0.0, 1.0, 2.0, 3.0]
    assert answered(load(scorer, params={"factor": 10.0}))["prediction"] == [0.0, 10.0, 20.0, 30.0]


def test_the_methods_of_a_users_model_can_be_called(scorer):
    assert answered(load(scorer, predict_fn="predict_twice"))["prediction"] == [True] * 4
    assert answered(load(scorer, predict_fn="predict_range"))["prediction"] == ["float64"] * 4


def test_estimators_get_their_threads_wherever_they_sit(models):
    neighbours = sklearn.neighbors.KNeighborsClassifier(n_neighbors=1, n_jobs=-1)
    voting = sklearn.ensemble.VotingClassifier([("neighbours", neighbours)], n_jobs=-1)
    path = models(
        "voting",
        model=sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), voting).fit(FRAME, CLASSES),
    )
    raw = load(path, threads=2)._pyfunc.get_raw_model()
    assert raw[-1].n_jobs == 2
    assert raw[-1].estimators_[0].n_jobs == 2, "the fitted copy is what predicts"


def test_a_forest_adds_up_its_trees_in_one_order(models):
    """Several threads would add them in the order in which they end, and the last bits would vary."""
    numbers = np.random.default_rng(0).random((300, 2))
    frame = pd.DataFrame(numbers, columns=list(FRAME))
    classes = (numbers[:, 0] + numbers[:, 1] ** 2 > 1).astype(int)
    forest = sklearn.ensemble.RandomForestClassifier(150, max_depth=3, n_jobs=-1, random_state=0).fit(frame, classes)
    loaded = load(models("forest", model=forest), predict_fn="predict_proba", threads=4)
    answers = {loaded.predict(frame).tobytes() for _ in range(10)}
    assert len(answers) == 1


def test_lightgbm_models_have_probabilities_and_threads_and_boosters_dont(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    frame = pd.concat([FRAME] * 10, ignore_index=True)
    classifier = lightgbm.LGBMClassifier(n_estimators=2, n_jobs=7, verbose=-1).fit(frame, CLASSES * 10)
    signature = infer_signature(frame, classifier.predict(frame))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"signature": signature, "pip_requirements": []}
        save = mlflow.lightgbm.save_model
        save(classifier, tmp_path / "classifier", **pickled(save), **options)
        mlflow.lightgbm.save_model(classifier.booster_, tmp_path / "booster", **options)
    model = load(str(tmp_path / "classifier"), predict_fn="predict_proba", threads=2)
    assert list(answered(model)) == ["probability_no", "probability_yes"]
    assert load(str(tmp_path / "classifier"), threads=2)._pyfunc.get_raw_model().n_jobs == 2
    with pytest.raises(
        UsageError, match=r"lightgbm.basic.Booster, which has no method predict_proba .* it has predict"
    ):
        load(str(tmp_path / "booster"), predict_fn="predict_proba")


def test_xgboost_models_have_probabilities_and_threads(tmp_path):
    xgboost = pytest.importorskip("xgboost")
    classifier = xgboost.XGBClassifier(n_estimators=2, n_jobs=7).fit(FRAME, [0, 0, 1, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.xgboost.save_model(
            classifier, tmp_path / "xgb", signature=infer_signature(FRAME, [1]), pip_requirements=[]
        )
    model = load(str(tmp_path / "xgb"), predict_fn="predict_proba", threads=2)
    assert list(answered(model)) == ["probability_0", "probability_1"]
    raw = load(str(tmp_path / "xgb"), threads=2)._pyfunc.get_raw_model()
    assert raw.n_jobs == 2
    assert json.loads(raw.get_booster().save_config())["learner"]["generic_param"]["nthread"] == "2"


@pytest.fixture
def broken(logistic, tmp_path):
    """A copy of a model whose pickle can be replaced."""

    def make(source: str, requirements_text: str = "") -> str:
        path = tmp_path / "broken"
        shutil.copytree(logistic, path)
        (path / "own_loader.py").write_text(source)
        (path / "requirements.txt").write_text(requirements_text)
        text = (path / "MLmodel").read_text().replace("loader_module: mlflow.sklearn", "loader_module: own_loader")
        (path / "MLmodel").write_text(text)
        return str(path)

    sys.path.insert(0, str(tmp_path / "broken"))
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    yield make
    sys.dont_write_bytecode = before
    sys.path.remove(str(tmp_path / "broken"))
    sys.modules.pop("own_loader", None)


def test_loading_writes_no_bytecode_into_the_model(broken):
    path = broken("class Model:\n    predict = len\n\n\ndef _load_pyfunc(path):\n    return Model\n")
    sys.dont_write_bytecode = False
    load(path)
    assert sys.dont_write_bytecode is False, "only while loading"
    assert "own_loader" in sys.modules
    assert list(Path(path).rglob("__pycache__")) == []


def test_a_missing_module_says_what_to_install(broken):
    path = broken("import sklearn_of_the_future", "sklearn-of-the-future==9.1\npandas==0.1\nmlflow\n")
    with pytest.raises(ModelLoadError) as caught:
        load(path)
    message = str(caught.value)
    assert "No module named 'sklearn_of_the_future'" in message.splitlines()[0]
    assert '-m pip install "sklearn-of-the-future==9.1"' in message.splitlines()[1]
    table = {
        line.split()[0]: line.split()[1:]
        for line in message.splitlines()
        if line.startswith("  ") and "==" in line[:30]
    }
    assert table["sklearn-of-the-future==9.1"] == ["-", "missing"]
    assert table["pandas==0.1"] == [pd.__version__, "differs"]
    assert message.rstrip().endswith("ModuleNotFoundError: No module named 'sklearn_of_the_future'")


def test_a_module_that_another_version_of_a_package_has_isnt_a_missing_package(broken):
    path = broken("import sklearn.ensemble._of_the_past", "scikit-learn==0.1\n")
    with pytest.raises(ModelLoadError, match="No module named 'sklearn.ensemble._of_the_past'") as caught:
        load(path)
    advice = str(caught.value).splitlines()[1]
    assert advice.startswith("The packages below aren't the ones that the model was logged with. --env-manager uv buil")


def test_a_model_that_fails_or_exits_shows_its_own_traceback(broken):
    path = broken("def _load_pyfunc(path):\n    weights_of_the_model = 1 / 0\n", "mlflow\n")
    with pytest.raises(ModelLoadError, match="ZeroDivisionError: division by zero") as caught:
        load(path)
    assert "weights_of_the_model = 1 / 0" in str(caught.value)
    Path(path, "own_loader.py").write_text("def _load_pyfunc(path):\n    raise SystemExit(3)\n")
    sys.modules.pop("own_loader")
    with pytest.raises(ModelLoadError, match="SystemExit: 3"):
        load(path)


def test_a_folder_that_is_no_model_cant_be_loaded(tmp_path):
    with pytest.raises(ModelLoadError, match="can't be loaded"):
        load(str(tmp_path))


def test_requirements_are_read_however_they_are_written(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# made by hand\n-r other.txt\n--extra-index-url https://user:secret@index/\nnumpy >=1.0 # why\n"
        "pandas[all]==1.5.3; python_version < '3.9'\nmlflow==2.0\nfoo @ https://host/foo.whl\n\nno-such-package\n"
    )
    found = {each.name: (each.wanted, each.remark) for each in requirements(str(tmp_path))}
    assert found == {
        "numpy": (">=1.0", ""),
        "pandas": ("==1.5.3", "" if pd.__version__ == "1.5.3" else "differs"),
        "mlflow": ("==2.0", "later"),
        "no-such-package": ("", "missing"),
    }


def test_differences_name_what_is_required_and_what_is_installed(tmp_path):
    assert differences(str(tmp_path)) == ""
    (tmp_path / "requirements.txt").write_text("pytest>=1\n")
    assert differences(str(tmp_path)) == ""
    (tmp_path / "requirements.txt").write_text("pytest<2\nno-such-package==1.0\n")
    (tmp_path / "python_env.yaml").write_text("python: 3.8.1\n")
    text = differences(str(tmp_path))
    assert f"Python 3.8.1 ({platform.python_version()} here)" in text
    assert f"pytest<2 ({pytest.__version__} here), no-such-package==1.0 (missing here)" in text


def test_differences_are_read_from_a_conda_file_too(tmp_path):
    (tmp_path / "conda.yaml").write_text(
        "channels:\n- conda-forge\ndependencies:\n- python=3.8.5\n- pip\n- pip:\n  - 'pytest==1.0'\nname: mlflow-env\n"
    )
    assert f"Python 3.8.5 ({platform.python_version()} here), pytest==1.0 (" in differences(str(tmp_path))


def test_a_later_mlflow_is_no_difference_and_an_earlier_one_is(tmp_path):
    (tmp_path / "requirements.txt").write_text("mlflow<3,>=2.9\nmlflow-skinny==2.9.2\n")
    assert differences(str(tmp_path)) == ""
    (tmp_path / "requirements.txt").write_text(f"mlflow<{mlflow.__version__},>=2.9\n")
    assert differences(str(tmp_path)) == "", "where the one begins that the model excludes"
    (tmp_path / "requirements.txt").write_text("mlflow>=999\n")
    assert f"mlflow>=999 ({mlflow.__version__}" in differences(str(tmp_path))


def test_in_the_environment_that_it_states_a_model_is_told_to_state_more(broken):
    path = broken("import sklearn_of_the_future", "pandas==0.1\n")
    with pytest.raises(ModelLoadError, match="environment that the model states has no sklearn_of_the_future; add it"):
        load(path, env_manager="uv")
    Path(path, "own_loader.py").write_text("def _load_pyfunc(path):\n    1 / 0\n")
    with pytest.raises(ModelLoadError, match="It failed in the environment that it states") as caught:
        load(path, env_manager="uv")
    assert "1 / 0\n" in str(caught.value)
    assert "pip install" not in str(caught.value)


@pytest.fixture
def registry(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    before = mlflow.get_tracking_uri()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri((tmp_path / "store").as_uri())
        yield mlflow.MlflowClient()
        mlflow.set_tracking_uri(before)


def test_an_alias_and_latest_are_resolved_to_a_version(registry, logistic, tmp_path):
    registry.create_registered_model("churn")
    for _ in range(2):
        registry.create_model_version("churn", source=Path(logistic).as_uri())
    registry.set_registered_model_alias("churn", "champion", "1")
    (tmp_path / "files").mkdir()
    path, uri = resolve("models:/churn@champion", str(tmp_path / "files"))
    assert uri == "models:/churn/1"
    assert load(path).predict(FRAME) is not None
    assert resolve("models:/churn/latest", str(tmp_path / "files"))[1] == "models:/churn/2"


@pytest.mark.usefixtures("registry")
def test_an_unknown_model_is_wrong_use(tmp_path):
    for uri in ("models:/nothing/1", "models:/nothing@champion", "models:/nothing/latest", "runs:/0123456789/model"):
        with pytest.raises(UsageError, match=r"nothing|0123456789"):
            resolve(uri, str(tmp_path))


@pytest.mark.usefixtures("registry")
def test_a_server_that_is_down_is_a_storage_error_without_its_password(tmp_path, monkeypatch):
    mlflow.set_tracking_uri("http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@127.0.0.1:9")
    with pytest.raises(StorageError, match=r"can't be fetched.*127\.0\.0\.1:9") as caught:
        resolve("models:/churn/1", str(tmp_path))
    assert "secret" not in str(caught.value)
