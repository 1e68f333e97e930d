"""Threads of this process, by joblib: right for tasks that wait for a worker process."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def fan_out(task: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Generator[Result, None, None]:
    """See ``engines.Engine``; with one worker the task runs in the consumer's thread, and joblib isn't imported."""
    if workers == 1:
        yield from map(task, items)
        return
    from joblib import Parallel, delayed

    parallel = Parallel(
        n_jobs=workers, backend="threading", batch_size=1, pre_dispatch="2*n_jobs", return_as="generator_unordered"
    )
    results = parallel(delayed(task)(item) for item in items)
    try:
        for result in results:  # noqa: UP028  # `yield from` would close joblib's generator before `finally` does
            yield result
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # joblib counts what a consumer who stops early leaves
            results.close()
