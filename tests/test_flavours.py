"""MLflow's flavours in whole jobs, on both ways to start workers, with the threads that they are given."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from batchscore.face import run


def _sklearn(frame: Any, target: Any, folder: Path) -> None:
    import mlflow.sklearn
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(n_jobs=8).fit(frame, target)
    mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle", pip_requirements=["scikit-learn"])


def _lightgbm(frame: Any, target: Any, folder: Path) -> None:
    lightgbm = pytest.importorskip("lightgbm")
    import mlflow.lightgbm

    model = lightgbm.train({"verbose": -1, "num_threads": 8}, lightgbm.Dataset(frame, target), num_boost_round=20)
    mlflow.lightgbm.save_model(model, folder, pip_requirements=["lightgbm"])


def _xgboost(frame: Any, target: Any, folder: Path) -> None:
    xgboost = pytest.importorskip("xgboost")
    import mlflow.xgboost

    model = xgboost.train({"nthread": 8}, xgboost.DMatrix(frame, target), num_boost_round=20)
    mlflow.xgboost.save_model(model, folder, pip_requirements=["xgboost"])


def _catboost(frame: Any, target: Any, folder: Path) -> None:
    catboost = pytest.importorskip("catboost")
    import mlflow.catboost

    model = catboost.CatBoostClassifier(iterations=20, verbose=0, thread_count=8, allow_writing_files=False)
    mlflow.catboost.save_model(model.fit(frame, target), folder, pip_requirements=["catboost"])


def _torch(frame: Any, _target: Any, folder: Path) -> None:
    torch = pytest.importorskip("torch")
    import mlflow.pytorch

    net = torch.nn.Sequential(torch.nn.Linear(frame.shape[1], 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    mlflow.pytorch.save_model(net, folder, pip_requirements=["torch"], serialization_format="pickle")


def _onnx(frame: Any, _target: Any, folder: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import mlflow.onnx

    real, number = onnx.TensorProto.FLOAT, frame.shape[1]
    x = onnx.helper.make_tensor_value_info("x", real, [None, number])
    y = onnx.helper.make_tensor_value_info("y", real, [None, 1])
    weights = onnx.helper.make_tensor("weights", real, [number, 1], [1.0, -2.0, 0.5, 3.0])
    product = onnx.helper.make_node("MatMul", ["x", "weights"], ["y"])
    graph = onnx.helper.make_graph([product], "product", [x], [y], [weights])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    mlflow.onnx.save_model(model, folder, pip_requirements=["onnx", "onnxruntime"])


Save = Callable[[Any, Any, Path], None]
FLAVOURS: list[tuple[Save, str]] = [
    (_sklearn, "KNeighborsClassifier"),
    (_lightgbm, "lightgbm.Booster"),
    (_xgboost, "xgboost.Booster"),
    (_catboost, "catboost.CatBoostClassifier"),
    (_torch, "torch"),
    (_onnx, "onnxruntime"),
]
"""How a model is saved, and what tells of its threads in job.json."""


@pytest.mark.parametrize(("save", "library"), FLAVOURS, ids=[save.__name__[1:] for save, _ in FLAVOURS])
def test_a_flavour_predicts_the_same_on_both_ways_to_start_with_the_threads_it_is_given(
    save: Save, library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has eight threads from its training."""
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(400, 4)), columns=list("abcd"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on how to log models
        save(frame, (frame["a"] > 0).astype(int), tmp_path / "model")
    (tmp_path / "in").mkdir()
    for n in range(4):
        frame[n * 100 : (n + 1) * 100].to_csv(tmp_path / f"in/{n}.csv", index=False)
    monkeypatch.chdir(tmp_path)  # in a git repository MLflow 3.0 keeps a process of git, which can't be shared
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY")  # the workers' own affair
    written = []
    for start, workers in (("loader", 2), ("each", 1)):
        summary = run(tmp_path / "model", tmp_path / "in", tmp_path / start, workers=workers, mini_batch_size=1)
        assert (summary.status, summary.message) == ("Completed", summary.message)
        told = summary.manifest
        if sys.platform == "linux":
            assert told["workers"]["start"] == start, told["workers"]["why"]
        assert told["threads"]["libraries"][library] == 1
        assert set(told["threads"]["libraries"].values()) == {1}, told["threads"]
        written.append((tmp_path / start / "predictions.csv").read_bytes())
    assert written[0] == written[1]
    assert len(set(written[0].decode().splitlines())) == 401
