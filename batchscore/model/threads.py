"""How many threads a model's libraries take: the environment says it to most, these are told themselves."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa


def limit_threads(raw: Any, threads: int) -> None:
    """Arrow, the native libraries and the estimator, with all estimators inside it, use ``threads`` threads.

    Estimators keep `n_jobs` from their training: OMP_NUM_THREADS has no effect on LightGBM's, for one. Those whose
    result would depend on the threads' timing get one.
    """
    pa.set_cpu_count(threads)
    with contextlib.suppress(ImportError):
        # scikit-learn brings it; by name, because batchscore itself needs none of it.
        importlib.import_module("threadpoolctl").threadpool_limits(threads)
    for estimator in _estimators(raw):
        if "n_jobs" in vars(estimator):
            estimator.n_jobs = 1 if _sums_as_threads_end(estimator) else threads
        _limit_xgboost(estimator, threads)


_SUMMED_AS_THREADS_END = {"sklearn.ensemble._forest", "sklearn.ensemble._iforest"}
"""scikit-learn's forests add up their trees' answers in the order in which threads finish: the last bits vary."""


def _sums_as_threads_end(estimator: Any) -> bool:
    return any(kind.__module__ in _SUMMED_AS_THREADS_END for kind in type(estimator).__mro__)


def _limit_xgboost(estimator: Any, threads: int) -> None:
    """A booster has its own number, from its training."""
    if not type(estimator).__module__.startswith("xgboost."):
        return
    with contextlib.suppress(Exception):  # not fitted, or another version's interface: the environment's number holds
        booster = estimator.get_booster() if hasattr(estimator, "get_booster") else estimator
        booster.set_param({"nthread": threads})


def _estimators(raw: Any) -> Iterator[Any]:
    """The model and the estimators in its attributes, in theirs, and so on: steps, fitted copies, search results."""
    seen: set[int] = set()
    waiting = [raw]
    while waiting:
        candidate = waiting.pop()
        if id(candidate) in seen:
            continue
        seen.add(id(candidate))
        if isinstance(candidate, Mapping):
            waiting.extend(candidate.values())
        elif isinstance(candidate, (list, tuple)):
            waiting.extend(item for item in candidate if not isinstance(item, (str, int, float)))
        elif hasattr(candidate, "__dict__") and (candidate is raw or _is_estimator(candidate)):
            yield candidate
            waiting.extend(vars(candidate).values())


def _is_estimator(candidate: Any) -> bool:
    if isinstance(candidate, type):
        return False
    return hasattr(candidate, "get_params") or type(candidate).__module__.startswith("xgboost.")
