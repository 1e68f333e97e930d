"""Engines: a task over many items on many threads or hosts; they know neither frames nor models."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, TypeVar, cast

from batchscore.engines.cores import cpu_count
from batchscore.errors import UsageError

__all__ = ["ENGINES", "Engine", "cpu_count", "engine", "fan_out"]

Item = TypeVar("Item")
Result = TypeVar("Result")

ENGINES = {"local": "batchscore.engines.local"}
"""Name to the module whose ``fan_out`` is the engine, imported when it is used."""


class Engine(Protocol):
    """How a task is spread."""

    def __call__(
        self, task: Callable[[Item], Result], items: Iterable[Item], workers: int
    ) -> Generator[Result, None, None]:
        """The results in the order in which they are done, by at most ``workers`` tasks at a time.

        Items are taken shortly before they are needed. What a task or taking an item raises ends the whole and is
        raised here. Closing the generator takes no further items; tasks that run already are for the caller to end.
        """
        ...


def engine(name: str) -> Engine:
    """The engine of that name; UsageError for one that isn't there."""
    if name not in ENGINES:
        raise UsageError(f"no engine {name!r}; there are: {', '.join(ENGINES)}")
    module: Any = importlib.import_module(ENGINES[name])
    return cast("Engine", module.fan_out)


def fan_out(
    task: Callable[[Item], Result], items: Iterable[Item], workers: int, *, name: str = "local"
) -> Generator[Result, None, None]:
    """The task's results by the named engine; see Engine."""
    return engine(name)(task, items, workers)
