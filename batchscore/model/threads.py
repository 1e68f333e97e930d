"""How many threads a model's libraries take: the environment says it to most, these are told themselves."""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

MOST_PARTS = 100_000
"""Objects and collections of a model in which a number of threads is looked for, the outermost first."""
MOST_VALUES = 10_000_000
"""Of these and what they hold, texts and numbers among it; a million take 0.05 s."""


@dataclass(slots=True)
class ThreadsUsed:
    """What each library was given, and what couldn't be given."""

    libraries: dict[str, int] = field(default_factory=dict)
    """Threads by name: Arrow, those that threadpoolctl knows, classes of estimators; the most where they differ."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: who uses fewer or more."""

    def took(self, name: str, threads: int) -> None:
        self.libraries[name] = max(self.libraries.get(name, 0), threads)


def prepare_threads(path: str, threads: int) -> None:
    """Before a model is loaded: Arrow, and the sessions of onnxruntime, which take their threads when they are made.

    onnxruntime is imported only for a model that says it needs it.
    """
    pa.set_cpu_count(threads)
    pa.set_io_thread_count(threads)
    requirements = Path(path, "requirements.txt")
    with contextlib.suppress(OSError, ImportError):
        if "onnxruntime" in requirements.read_text("utf-8", "replace"):
            _limit_sessions(importlib.import_module("onnxruntime"), threads)


def limit_threads(raw: Any, threads: int) -> ThreadsUsed:
    """The native libraries and the model, with all estimators inside it, use ``threads`` threads from now on.

    Estimators keep `n_jobs` from their training: OMP_NUM_THREADS has no effect on LightGBM's, for one. Those whose
    result would depend on the threads' timing get one, and so do those that would start processes.
    """
    used = ThreadsUsed()
    used.took("Arrow", pa.cpu_count())
    _limit_pools(threads, used)
    _limit_torch(threads, used)
    _limit_pandas(threads, used)
    for part in _parts(raw, used):
        library = type(part).__module__.partition(".")[0]
        try:
            _LIMITS.get(library, _limit_jobs)(part, threads, used)
        except Exception as error:  # noqa: BLE001  # of another version, or a user's own class: no reason not to load
            used.notes.append(f"{type(part).__name__} keeps its number of threads: setting it raised {error!r}")
    return used


def _limit_pools(threads: int, used: ThreadsUsed) -> None:
    """BLAS and OpenMP, as far as they were loaded with another number than the environment's."""
    with contextlib.suppress(ImportError):
        # scikit-learn brings it; by name, because batchscore itself needs none of it.
        control = importlib.import_module("threadpoolctl")
        control.threadpool_limits(threads)
        for pool in control.threadpool_info():
            used.took(str(pool["internal_api"]), int(pool["num_threads"]))


def _limit_torch(threads: int, used: ThreadsUsed) -> None:
    """One operation at a time, on that many threads; torch is loaded where the model needs it."""
    if (torch := sys.modules.get("torch")) is None:
        return
    with contextlib.suppress(RuntimeError):  # the model has begun with it: what is so now is told
        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
    used.took("torch", torch.get_num_threads())
    if (between := torch.get_num_interop_threads()) > 1:
        used.notes.append(f"torch may use {between} threads between operations, which the model settled on loading")


def _limit_pandas(threads: int, used: ThreadsUsed) -> None:
    """pandas' readers, which a model may call: from 3.1 on they use threads."""
    import pandas as pd

    with contextlib.suppress(KeyError):  # pandas' OptionError is one
        pd.set_option("mode.max_threads", threads)
        used.took("pandas", threads)


_SUMMED_AS_THREADS_END = {"sklearn.ensemble._forest", "sklearn.ensemble._iforest"}
"""scikit-learn's forests add up their trees' answers in the order in which threads finish: the last bits vary."""
_SPREAD_OVER_PROCESSES = {
    "sklearn.compose._column_transformer.ColumnTransformer",
    "sklearn.pipeline.FeatureUnion",
    "sklearn.ensemble._bagging.BaseBagging",
    "sklearn.multioutput._MultiOutputEstimator",
    "sklearn.decomposition._lda.LatentDirichletAllocation",
    "sklearn.decomposition._dict_learning._BaseSparseCoding",
}
"""They hand each part to a process of its own, which imports scikit-learn anew and has threads besides."""


def _limit_jobs(estimator: Any, threads: int, used: ThreadsUsed) -> None:
    """The n_jobs of an estimator, or of a wrapper of the user's own; scikit-learn's None is one already."""
    if not isinstance(vars(estimator).get("n_jobs"), (int, np.integer)):
        return
    name = type(estimator).__name__
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(estimator).__mro__}
    is_summed = any(kind.__module__ in _SUMMED_AS_THREADS_END for kind in type(estimator).__mro__)
    why = "its threads' timing would show in the last digits" if is_summed else "it would start processes of its own"
    if is_summed or kinds & _SPREAD_OVER_PROCESSES:
        if threads > 1:
            used.notes.append(f"{name} predicts with 1 thread, since {why}; more workers make it faster")
        threads = 1
    estimator.n_jobs = threads
    used.took(name, threads)


def _limit_lightgbm(model: Any, threads: int, used: ThreadsUsed) -> None:
    """A Booster takes the number with each call; an estimator's None means all cores."""
    if type(model).__name__ == "Booster":
        model.predict = functools.partial(model.predict, num_threads=threads)
    elif hasattr(model, "n_jobs"):
        model.n_jobs = threads
    used.took(f"lightgbm.{type(model).__name__}", threads)


def _limit_xgboost(model: Any, threads: int, used: ThreadsUsed) -> None:
    """A booster has its own number, from its training; an estimator's None means all cores."""
    if hasattr(model, "n_jobs"):
        model.n_jobs = threads
    with contextlib.suppress(Exception):  # not fitted, or another version's interface: the environment's number holds
        booster = model.get_booster() if hasattr(model, "get_booster") else model
        booster.set_param({"nthread": threads})
    used.took(f"xgboost.{type(model).__name__}", threads)


def _limit_catboost(model: Any, threads: int, used: ThreadsUsed) -> None:
    """Each call takes the number, whose default is all cores."""
    for name in ("predict", "predict_proba", "predict_log_proba"):
        if callable(method := getattr(model, name, None)):
            setattr(model, name, functools.partial(method, thread_count=threads))
    used.took(f"catboost.{type(model).__name__}", threads)


def _limit_onnxruntime(session: Any, threads: int, used: ThreadsUsed) -> None:
    """What a session was made with can't be changed any more."""
    if not hasattr(session, "get_session_options"):
        return
    has = session.get_session_options().intra_op_num_threads
    if has != threads:
        number = f"{has} threads" if has else "as many threads as there are cores"
        used.notes.append(f"a session of onnxruntime uses {number}: it was made before that could be settled")
    used.took("onnxruntime", has)


_Limit: TypeAlias = Callable[[Any, int, ThreadsUsed], None]
_LIMITS: Mapping[str, _Limit] = {
    "lightgbm": _limit_lightgbm,
    "xgboost": _limit_xgboost,
    "catboost": _limit_catboost,
    "onnxruntime": _limit_onnxruntime,
}
"""By the package of a part's type; all others have n_jobs or nothing."""


def _limit_sessions(onnxruntime: Any, threads: int) -> None:
    """Have all sessions made from now on use that many threads, one operation at a time."""
    begin = onnxruntime.InferenceSession.__init__

    @functools.wraps(begin)
    def limited(self: Any, path_or_bytes: Any, sess_options: Any = None, *rest: Any, **named: Any) -> None:
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        begin(self, path_or_bytes, options, *rest, **named)

    onnxruntime.InferenceSession.__init__ = limited


def _parts(raw: Any, used: ThreadsUsed) -> Iterator[Any]:
    """The model and the objects in its attributes, in theirs, and so on: steps, fitted copies, wrappers.

    What the standard library has made is left out, and so is what lies beyond very many objects, with a note.
    """
    seen, waiting, left = {id(raw)}, deque([raw]), MOST_VALUES
    is_cut_short = False
    while waiting and not is_cut_short:
        candidate = waiting.popleft()
        if not isinstance(candidate, _COLLECTIONS) and hasattr(candidate, "__dict__"):
            yield candidate
        for value in _inside(candidate):
            is_cut_short = not left or len(seen) > MOST_PARTS
            if is_cut_short:
                break
            left -= 1
            if type(value) not in _PLAIN and id(value) not in seen and _leads_on(value):
                seen.add(id(value))
                waiting.append(value)
    yield from (part for part in waiting if not isinstance(part, _COLLECTIONS))
    if is_cut_short:
        used.notes.append(
            f"the model holds more than {MOST_PARTS:,} objects or {MOST_VALUES:,} values: those beyond keep the number "
            "of threads that they have, and may use more than --threads-per-worker says"
        )


_COLLECTIONS = (dict, list, tuple)
_PLAIN = {str, bytes, int, float, bool, type(None), np.ndarray, np.float64, np.float32, np.int64, np.int32, np.str_}
"""Types of values in which nothing can be that has threads; those of which models hold millions."""


def _inside(candidate: Any) -> Iterable[Any]:
    """What a collection holds and an object refers to, whatever a user's own class makes of asking for it."""
    if type(candidate).__module__ == "mlflow.pyfunc":  # a model of MLflow's inside a user's
        with contextlib.suppress(Exception):  # not all flavours give theirs away
            return (candidate.get_raw_model(),)
        return ()
    held: Iterable[Any] = ()
    if isinstance(candidate, dict):
        held = dict.values(candidate)
    elif isinstance(candidate, list):
        held = list.__iter__(candidate)
    elif isinstance(candidate, tuple):
        held = tuple.__iter__(candidate)
    return chain(held, tuple(vars(candidate).values())) if hasattr(candidate, "__dict__") else held


def _leads_on(value: Any) -> bool:
    """Whether there may be something in it that has threads, or it has some itself; not if it won't be looked at."""
    try:
        if isinstance(value, _COLLECTIONS):
            return bool(value)
        if isinstance(value, (type, ModuleType, FunctionType)) or not isinstance(vars(value), dict):
            return False
        return type(value).__module__.partition(".")[0] not in sys.stdlib_module_names
    except Exception:  # noqa: BLE001  # a user's own class, or a proxy, may raise anything
        return False
