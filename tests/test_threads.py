"""Threads that models really use, counted in /proc, and what each library is told."""

from __future__ import annotations

import contextlib
import sys
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import RunBatchscore, SaveModel

from batchscore.model import threads as limiting
from batchscore.model.threads import limit_threads, prepare_threads

COUNTING = """
import copy
import os
import threading
import time
import lightgbm, numpy, onnx, onnxruntime, pandas, pyarrow, xgboost
from sklearn.neighbors import KNeighborsClassifier
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

def at_work():
    times = {}
    for thread in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{thread}/schedstat") as stat:
            times[thread] = int(stat.read().split()[0])
    return times

def spent_during(work):
    before = at_work()
    work()
    return [now - before.get(thread, 0) for thread, now in at_work().items()]

def others_run():
    # or want to: those of what came before spin for a while
    own = str(threading.get_native_id())
    return any(is_running(thread) for thread in os.listdir("/proc/self/task") if thread != own)

def is_running(thread):
    try:
        with open(f"/proc/self/task/{thread}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] == "R"
    except OSError:
        return False

def busy(work):
    while sum(spent_during(lambda: time.sleep(0.05))) > 5_000_000 or others_run():
        pass
    spent = spent_during(work)
    return sum(each > 0.1 * max(spent) for each in spent)

def session():
    real, weights = onnx.TensorProto.FLOAT, numpy.ones((1000, 1000), "float32")
    x = onnx.helper.make_tensor_value_info("x", real, [None, 1000])
    y = onnx.helper.make_tensor_value_info("y", real, [None, 1000])
    product = onnx.helper.make_node("MatMul", ["x", "weights"], ["y"])
    graph = onnx.helper.make_graph([product], "product", [x], [y], [onnx.numpy_helper.from_array(weights, "weights")])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 8
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

class Counting(PythonModel):
    def load_context(self, context):
        rows = numpy.random.default_rng(0).random((20_000, 10))
        self.frame = pandas.DataFrame(rows, columns=[f"x{i}" for i in range(10)])
        labels = (rows.sum(axis=1) > 5).astype(int)
        self.plain = lightgbm.LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1).fit(self.frame, labels)
        self.plain.n_jobs = 8  # eight would take long to train it on two cores
        hidden = copy.deepcopy(self.plain)
        self.hidden = lambda: hidden.predict(self.frame)
        self.booster = hidden.booster_
        self.raw = numpy.ascontiguousarray(rows)
        self.boosted = xgboost.train({"nthread": 1}, xgboost.DMatrix(rows, labels, nthread=1), num_boost_round=60)
        self.boosted.set_param({"nthread": 8})
        self.neighbours = KNeighborsClassifier(n_jobs=8, algorithm="brute").fit(rows[:4000], labels[:4000])
        self.session = session()
        self.square = numpy.ones((1000, 1000))

    def predict(self, context, model_input, params=None):
        counts = {
            "plain": busy(lambda: self.plain.predict(self.frame)),
            "hidden": busy(self.hidden),
            "booster": busy(lambda: self.booster.predict(self.raw)),
            "xgboost": busy(lambda: [self.boosted.predict(xgboost.DMatrix(self.raw)) for _ in range(10)]),
            "n_jobs": busy(lambda: self.neighbours.predict(self.raw[:4000])),
            "onnx": busy(lambda: self.session.run(None, {"x": numpy.ones((1500, 1000), "float32")})),
            "blas": busy(lambda: [self.square @ self.square for _ in range(5)]),
            "arrow": max(pyarrow.cpu_count(), pyarrow.io_thread_count()),
        }
        return pandas.DataFrame({name: [count] * len(model_input) for name, count in counts.items()})

set_model(Counting())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(("workers", "threads"), [(1, 2), (2, 1), (4, 1)])
def test_a_worker_uses_its_threads_and_no_more(
    workers: int, threads: int, tmp_path: Path, save_model: SaveModel, run_batchscore: RunBatchscore
) -> None:
    """Each library was given eight; also a model that nobody can reach to tell it."""
    for library in ("lightgbm", "onnx", "onnxruntime", "xgboost"):
        pytest.importorskip(library)
    (tmp_path / "in").mkdir()
    for name in "abcd"[:workers]:
        (tmp_path / f"in/{name}.csv").write_text("x\n1\n")
    model = save_model(COUNTING)
    (model / "requirements.txt").write_text("onnxruntime\n")
    options = ("--workers", str(workers), "--threads-per-worker", str(threads), "--mini-batch-size", "1")
    done = run_batchscore("run", "-m", model, "-i", tmp_path / "in", "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    found = pd.read_csv(tmp_path / "out/predictions.csv")
    counts = found.drop(columns=["file", "row"])
    assert (counts <= threads).all(axis=None), found
    assert (counts[["plain", "booster", "onnx", "arrow"]] == threads).all(axis=None), found
    job = pd.read_json(tmp_path / "out/job.json", typ="series")
    assert job["threads"]["per_worker"] == threads
    told = job["threads"]["libraries"]
    named = (
        "Arrow",
        "lightgbm.LGBMClassifier",
        "lightgbm.Booster",
        "xgboost.Booster",
        "KNeighborsClassifier",
        "onnxruntime",
    )
    assert set(named) <= set(told)
    assert ("pandas" in told) == _has("mode.max_threads")
    assert set(told.values()) == {threads}, told


@pytest.fixture(autouse=True)
def _settings_stay() -> Iterator[None]:
    """What the tests tell Arrow, pandas and the native libraries doesn't outlive them."""
    import pyarrow as pa
    import threadpoolctl

    before = pa.cpu_count(), pa.io_thread_count()
    with contextlib.ExitStack() as stack, threadpoolctl.threadpool_limits():
        if _has("mode.max_threads"):
            stack.enter_context(pd.option_context("mode.max_threads", pd.get_option("mode.max_threads")))
        yield
    pa.set_cpu_count(before[0])
    pa.set_io_thread_count(before[1])


def _has(option: str) -> bool:
    try:
        pd.get_option(option)
    except KeyError:
        return False
    return True


def test_libraries_that_were_loaded_with_another_number_are_told_theirs(tmp_path: Path) -> None:
    import pyarrow as pa
    import sklearn.neighbors  # noqa: F401  # which loads OpenMP
    import threadpoolctl

    pa.set_cpu_count(7)
    pa.set_io_thread_count(7)
    threadpoolctl.threadpool_limits(1)
    prepare_threads(str(tmp_path), 2)
    used = limit_threads(SimpleNamespace(), 2)
    assert (pa.cpu_count(), pa.io_thread_count()) == (2, 2)
    pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpoolctl.threadpool_info()}
    assert "openmp" in pools
    assert set(pools.values()) == {2}
    has_pandas = _has("mode.max_threads")  # from 3.1 on
    assert pd.get_option("mode.max_threads") == 2 if has_pandas else True
    assert used.libraries == dict.fromkeys(["Arrow", *pools, *["pandas"] * has_pandas], 2)


def test_estimators_that_start_processes_or_add_up_by_timing_get_one_thread(tmp_path: Path) -> None:
    import sklearn.compose
    import sklearn.ensemble
    import sklearn.neighbors
    import sklearn.pipeline

    neighbours = sklearn.neighbors.KNeighborsClassifier(n_jobs=-1)
    columns = sklearn.compose.ColumnTransformer([("all", "passthrough", [0])], n_jobs=-1)
    bagging = sklearn.ensemble.BaggingClassifier(neighbours, n_jobs=8)
    quiet = sklearn.ensemble.BaggingClassifier()
    model = sklearn.pipeline.Pipeline([("columns", columns), ("bagging", bagging), ("quiet", quiet)])
    used = limit_threads(model, 4)
    assert (columns.n_jobs, bagging.n_jobs, neighbours.n_jobs, quiet.n_jobs) == (1, 1, 4, None)
    assert (used.libraries["BaggingClassifier"], used.libraries["KNeighborsClassifier"]) == (1, 4)
    assert sorted(used.notes) == [
        f"{name} predicts with 1 thread, since it would start processes of its own; more workers make it faster"
        for name in ("BaggingClassifier", "ColumnTransformer")
    ]
    assert limit_threads(model, 1).notes == [], "nothing was taken away"


def test_an_mlflow_model_inside_a_users_model_is_reached(tmp_path: Path) -> None:
    import mlflow.pyfunc
    import sklearn.neighbors

    neighbours = sklearn.neighbors.KNeighborsClassifier(n_jobs=-1)
    inner = mlflow.pyfunc.PyFuncModel.__new__(mlflow.pyfunc.PyFuncModel)
    inner.get_raw_model = lambda: neighbours  # type: ignore[method-assign]
    outer = SimpleNamespace(models=[{"first": inner}])
    limit_threads(outer, 2)
    assert neighbours.n_jobs == 2


class Wrapper:
    """As users write them: neither an estimator nor a model of MLflow's."""

    def __init__(self, inside: Any) -> None:
        self.inside, self.n_jobs = inside, 8


class Unchangeable:
    n_jobs = property(lambda _: 8)

    def __init__(self) -> None:
        vars(self)["n_jobs"] = 8


def test_wrappers_of_the_users_own_are_reached_and_what_is_in_them() -> None:
    import sklearn.neighbors

    neighbours = sklearn.neighbors.KNeighborsClassifier(n_jobs=-1)
    wrapper, fixed = Wrapper({"best": neighbours}), Unchangeable()
    around = Wrapper([wrapper, fixed])
    around.n_jobs = "all"
    used = limit_threads(Wrapper(around), 2)
    assert (neighbours.n_jobs, wrapper.n_jobs, around.n_jobs, fixed.n_jobs) == (2, 2, "all", 8)
    assert "Unchangeable" not in used.libraries
    [note] = used.notes
    assert note.startswith("Unchangeable keeps its number of threads: setting it raised AttributeError(")


def test_a_model_of_very_many_objects_is_looked_into_from_the_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a note says that there was more."""
    import sklearn.neighbors

    monkeypatch.setattr(limiting, "MOST_PARTS", 1_000)
    outer, inner = (sklearn.neighbors.KNeighborsClassifier(n_jobs=-1) for _ in range(2))
    many = [SimpleNamespace, *(Wrapper(None) for _ in range(990)), Wrapper(inner), *(Wrapper(None) for _ in range(20))]
    used = limit_threads(SimpleNamespace(many=many, outer=outer), 2)
    assert (outer.n_jobs, many[-30].n_jobs, inner.n_jobs, many[-1].n_jobs) == (2, 2, -1, 8)
    (note,) = used.notes
    assert note.startswith("the model holds more than 1,000 objects or 10,000,000 values: those beyond keep the number")
    assert limit_threads(SimpleNamespace(many=many[:-30], outer=outer), 2).notes == []


def test_texts_and_numbers_of_a_model_are_passed_by_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary or an embedding has millions; what is behind them is reached."""
    import sklearn.neighbors

    neighbours = sklearn.neighbors.KNeighborsClassifier(n_jobs=-1)
    words = {f"w{number}": float(number) for number in range(60_000)}
    model = SimpleNamespace(words=words, lines=list(map(str, words)), inside=Wrapper({**words, "": neighbours}))
    tracemalloc.start()
    try:
        used = limit_threads(model, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (neighbours.n_jobs, used.notes) == (2, [])
    assert peak < 1 << 20, "each of these is looked at, and none is remembered"
    monkeypatch.setattr(limiting, "MOST_VALUES", 100_000)
    assert "or 100,000 values" in limit_threads(model, 2).notes[0]


class Odd(dict):  # type: ignore[type-arg]
    def values(self) -> Any:
        raise RuntimeError("not now")


class Unsized(list):  # type: ignore[type-arg]
    def __len__(self) -> int:
        raise RuntimeError("not now")


class Refusing:
    def __init__(self) -> None:
        vars(self)["n_jobs"] = 8

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError(f"{name} is frozen")


class Unset:
    __slots__ = ("inside",)

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Proxy:
    @property
    def __class__(self) -> Any:
        raise RuntimeError("not there yet")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_a_users_own_class_makes_of_being_looked_at_is_no_obstacle(depth: int) -> None:
    import sklearn.neighbors

    neighbours = sklearn.neighbors.KNeighborsClassifier(n_jobs=-1)
    inside: Any = [Proxy(), Unset(), Unsized([1]), Refusing(), Odd(best=neighbours)]
    for _ in range(depth):
        inside = Wrapper(inside)
    used = limit_threads(SimpleNamespace(inside=inside), 2)
    assert neighbours.n_jobs == 2
    assert used.notes == ["Refusing keeps its number of threads: setting it raised ValueError('n_jobs is frozen')"]


def test_a_users_own_dictionary_is_looked_at_with_its_attributes() -> None:
    import sklearn.neighbors

    kept, inner = (sklearn.neighbors.KNeighborsClassifier(n_jobs=-1) for _ in range(2))
    around = Odd(best=kept)
    around.inner = inner  # type: ignore[attr-defined]
    limit_threads(SimpleNamespace(around=around), 2)
    assert (kept.n_jobs, inner.n_jobs) == (2, 2)


def test_sessions_are_made_with_the_arguments_that_onnxruntime_names() -> None:
    """A model may give all of them by name."""

    class Session:
        def __init__(self, path_or_bytes: str, sess_options: Any = None, providers: Any = None) -> None:
            self.found = (path_or_bytes, sess_options.intra_op_num_threads, providers)

    library = SimpleNamespace(InferenceSession=Session, SessionOptions=SimpleNamespace)
    limiting._limit_sessions(library, 2)
    assert Session(path_or_bytes="x.onnx", providers=["CPU"]).found == ("x.onnx", 2, ["CPU"])
    assert Session("x.onnx", SimpleNamespace(), ["CPU"]).found == ("x.onnx", 2, ["CPU"])


def test_sessions_of_onnxruntime_are_told_before_they_are_made(tmp_path: Path) -> None:
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "neg", [x], [y])
    version = [onnx.helper.make_opsetid("", 17)]
    content = onnx.helper.make_model(graph, opset_imports=version, ir_version=8).SerializeToString()
    early = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    begin = onnxruntime.InferenceSession.__init__
    try:
        (tmp_path / "requirements.txt").write_text("onnxruntime==1.23\n")
        prepare_threads(str(tmp_path), 3)
        stated = onnxruntime.SessionOptions()
        stated.intra_op_num_threads = stated.inter_op_num_threads = 8
        late = onnxruntime.InferenceSession(content, stated, providers=["CPUExecutionProvider"])
    finally:
        onnxruntime.InferenceSession.__init__ = begin
    options = late.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 1)
    used = limit_threads(SimpleNamespace(late=late), 3)
    assert (used.libraries["onnxruntime"], used.notes) == (3, [])
    [note] = limit_threads(SimpleNamespace(early=early), 3).notes
    assert (
        note
        == "a session of onnxruntime uses as many threads as there are cores: it was made before that could be settled"
    )
    assert late.run(None, {"x": np.array([1.0], "float32")})[0].tolist() == [-1.0]


def test_catboost_takes_the_number_with_each_call(tmp_path: Path) -> None:
    catboost = pytest.importorskip("catboost")
    rows, labels = np.arange(40.0).reshape(20, 2), [0, 1] * 10
    model = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False).fit(rows, labels)
    asked: list[int] = []
    before = model.predict

    def spied(*args: Any, thread_count: int = -1, **named: Any) -> Any:
        asked.append(thread_count)
        return before(*args, thread_count=thread_count, **named)

    model.predict = spied
    assert limit_threads(model, 2).libraries["catboost.CatBoostClassifier"] == 2
    assert len(model.predict(rows)) == 20
    assert asked == [2]


def test_torch_has_one_operation_at_a_time() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            used = limit_threads(torch.nn.Linear(2, 1), 2)
        assert (torch.get_num_threads(), used.libraries["torch"]) == (2, 2)
        assert torch.get_num_interop_threads() == 1
    finally:
        torch.set_num_threads(before)
