"""`--predict-fn`: probabilities by class, and any other method, of estimators as people train them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import pickled

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the libraries' own, at import
    import sklearn.base
    import sklearn.calibration
    import sklearn.cluster
    import sklearn.ensemble
    import sklearn.linear_model
    import sklearn.model_selection
    import sklearn.multioutput
    import sklearn.pipeline
    import sklearn.preprocessing
    import sklearn.svm
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

NUMBERS = np.random.default_rng(0).normal(size=(60, 3))
FRAME = pd.DataFrame(NUMBERS, columns=["a", "b", "c"])
TWO = (FRAME["a"] + FRAME["b"] > 0).astype(int).to_numpy()
THREE = np.digitize(FRAME["a"], [-0.5, 0.5])
YES_NO = np.where(TWO == 1, "yes", "no")
SIZES = np.array(["low", "mid", "high"])[THREE]


def estimators() -> dict[str, tuple[Any, Any, list[str]]]:
    """Estimator, labels, the names of its probabilities."""
    linear, forest = sklearn.linear_model.LogisticRegression, sklearn.ensemble.RandomForestClassifier
    found = {
        "two classes of text": (linear(), YES_NO, ["no", "yes"]),
        "two classes of numbers": (linear(), TWO, ["0", "1"]),
        "truth values": (linear(), TWO == 1, ["False", "True"]),
        "three classes of text": (forest(5, random_state=0), SIZES, ["high", "low", "mid"]),
        "three classes of numbers": (forest(5, random_state=0), THREE, ["0", "1", "2"]),
        "a pipeline": (
            sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), linear()),
            SIZES,
            ["high", "low", "mid"],
        ),
        "a search": (sklearn.model_selection.GridSearchCV(linear(), {"C": [1.0]}, cv=2), YES_NO, ["no", "yes"]),
        "a calibrated one": (
            sklearn.calibration.CalibratedClassifierCV(sklearn.svm.LinearSVC(random_state=0), cv=2),
            YES_NO,
            ["no", "yes"],
        ),
        "several outputs": (
            sklearn.multioutput.MultiOutputClassifier(linear()),
            np.column_stack([YES_NO, SIZES]),
            ["0_no", "0_yes", "1_high", "1_low", "1_mid"],
        ),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import lightgbm

            boosted = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, verbose=-1)
            found |= {
                "LightGBM, text": (boosted, YES_NO, ["no", "yes"]),
                "LightGBM, three": (sklearn.base.clone(boosted), SIZES, ["high", "low", "mid"]),
                "LightGBM, numbers": (sklearn.base.clone(boosted), THREE, ["0", "1", "2"]),
                "LightGBM in a pipeline": (
                    sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), sklearn.base.clone(boosted)),
                    SIZES,
                    ["high", "low", "mid"],
                ),
            }
        except ImportError:
            pass
        try:
            import xgboost

            found |= {
                "XGBoost, two": (xgboost.XGBClassifier(n_estimators=3), TWO, ["0", "1"]),
                "XGBoost, three": (xgboost.XGBClassifier(n_estimators=3), THREE, ["0", "1", "2"]),
                "XGBoost in a pipeline": (
                    sklearn.pipeline.make_pipeline(
                        sklearn.preprocessing.StandardScaler(), xgboost.XGBClassifier(n_estimators=3)
                    ),
                    THREE,
                    ["0", "1", "2"],
                ),
            }
        except ImportError:
            pass
    return found


ESTIMATORS = estimators()


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Saves a fitted estimator with the flavor it belongs to."""
    folder = tmp_path_factory.mktemp("estimators")

    def save(name: str, estimator: Any, labels: Any) -> Path:
        path = folder / name.replace(" ", "-")
        if path.exists():
            return path
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(FRAME, labels)
            signature = ModelSignature(
                Schema([ColSpec("double", column) for column in FRAME]), Schema([ColSpec("long")])
            )
            options: dict[str, Any] = {"signature": signature, "pip_requirements": []}
            module = type(estimator).__module__.partition(".")[0]
            if module == "xgboost":
                import mlflow.xgboost

                mlflow.xgboost.save_model(estimator, path, **options)
            elif module == "lightgbm":
                import mlflow.lightgbm

                save_lightgbm = mlflow.lightgbm.save_model
                save_lightgbm(estimator, path, **pickled(save_lightgbm), **options)
            else:
                import mlflow.sklearn

                mlflow.sklearn.save_model(estimator, path, serialization_format="cloudpickle", **options)
        return path

    return save


@pytest.fixture(scope="module")
def features(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("features") / "features.parquet"
    FRAME.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.filterwarnings("ignore")  # the estimators' own
def test_probabilities_are_named_by_class_and_are_the_estimators_own(fitted, features, tmp_path, run_here, name):
    estimator, labels, classes = ESTIMATORS[name]
    model = fitted(name, estimator, labels)
    run_here(model, features, tmp_path / "out", predict_fn="predict_proba", format="parquet")
    found = pq.read_table(tmp_path / "out/predictions.parquet").to_pandas().iloc[:, 2:]
    assert list(found) == [f"probability_{label}" for label in classes]
    own = estimator.predict_proba(FRAME)
    own = np.hstack(own) if isinstance(own, list) else own
    assert found.dtypes.unique().tolist() == [own.dtype]
    np.testing.assert_allclose(found.to_numpy(), own, rtol=1e-12 if own.dtype == np.float64 else 1e-6)
    np.testing.assert_allclose(
        found.sum(axis=1), len(found.columns) // len(classes) * (len(classes) == 5) + 1, rtol=1e-6
    )


METHODS = [
    ("two classes of text", "decision_function", ["prediction"]),
    ("two classes of text", "predict_log_proba", ["prediction_0", "prediction_1"]),
    ("three classes of text", "apply", [f"prediction_{tree}" for tree in range(5)]),
    ("a pipeline", "decision_function", ["prediction_0", "prediction_1", "prediction_2"]),
]


@pytest.mark.parametrize(("name", "method", "columns"), METHODS)
def test_any_method_of_the_model_is_called_by_its_name(fitted, features, tmp_path, run_here, name, method, columns):
    estimator, labels, _ = ESTIMATORS[name]
    run_here(fitted(name, estimator, labels), features, tmp_path / "out", predict_fn=method, format="parquet")
    found = pq.read_table(tmp_path / "out/predictions.parquet").to_pandas().iloc[:, 2:]
    assert list(found) == columns
    own = np.asarray(getattr(estimator, method)(FRAME)).reshape(len(FRAME), -1)
    np.testing.assert_allclose(found.to_numpy(), own, rtol=1e-12)


def test_a_method_that_isnt_there_ends_the_command_with_2_and_lists_those_there_are(
    fitted, features, tmp_path, run_batchscore
):
    model = fitted("clusters", sklearn.cluster.KMeans(2, n_init=1, random_state=0), None)
    done = run_batchscore("run", "-m", model, "-i", features, "-o", tmp_path / "out", "--predict-fn", "predict_proba")
    assert done.returncode == 2
    assert "KMeans, which has no method predict_proba" in done.stderr
    assert "it has predict, transform" in done.stderr
    assert not (tmp_path / "out/job.json").exists()
