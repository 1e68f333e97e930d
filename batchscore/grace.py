"""A job that is asked to stop lets the mini-batches in flight finish, for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeVar

from batchscore.errors import Stopped
from batchscore.signals import StopSignals

Item = TypeVar("Item")


class Grace:
    """While it is entered, after a first signal no further item is begun, and those in flight get some seconds.

    A second signal raises Stopped at once. With 0 seconds the first one does.
    """

    def __init__(
        self, signals: StopSignals, seconds: float, tell: Callable[[str], object], give_up: Callable[[], object]
    ) -> None:
        """``tell`` is told what is awaited; ``give_up`` ends what is in flight. Both are called on another thread."""
        self._signals, self._tell, self._give_up = signals, tell, give_up
        self._seconds = min(seconds, threading.TIMEOUT_MAX)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._asked = threading.Event()
        """A stop was asked for, or there is nothing more to stop."""
        self._is_done = threading.Event()
        self._signal: int | None = None
        self.is_over = False
        """Whether what was in flight when the time was up has been given up."""
        self._thread = threading.Thread(target=self._wait, name="grace", daemon=True)

    def __enter__(self) -> Grace:
        self._thread.start()
        if self._seconds > 0:
            self._signals.call(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._signals.call(None)
        self._is_done.set()
        self._asked.set()
        self._thread.join()

    def _stop(self, number: int) -> None:
        """In the signal's handler: nothing here waits for what it may have interrupted."""
        self._signal = number
        self._asked.set()

    def _wait(self) -> None:
        self._asked.wait()
        if self._signal is None or self._is_done.is_set():
            return
        self._tell(self._awaited(self._signal))
        if not self._is_done.wait(self._seconds):
            self.is_over = True
            self._give_up()

    def _awaited(self, number: int) -> str:
        batches = "1 mini-batch" if self._in_flight == 1 else f"{self._in_flight} mini-batches"
        return (
            f"{signal.Signals(number).name}: nothing new is begun; waiting up to {self._seconds:g} s (--grace) for "
            f"{batches} in flight. A second signal stops at once"
        )

    @property
    def is_stopping(self) -> bool:
        return self._signal is not None

    def feed(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, none after a signal."""
        for item in items:
            if self.is_stopping:
                return
            yield item

    @contextmanager
    def flight(self) -> Iterator[None]:
        """While an item is worked on."""
        with self._lock:
            self._in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def check(self) -> None:
        """Raise Stopped where a signal has stopped the job."""
        if self._signal is not None:
            raise Stopped(self._signal)
