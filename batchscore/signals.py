"""SIGINT and SIGTERM as Stopped, at the times when a job can be stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType

from batchscore.errors import Stopped

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While it is entered, on the main thread, a signal raises Stopped there; after ``call`` the second one does.

    One does: until ``listen`` is called again, the others are not heard, so that nothing interrupts the end of the
    workers. Elsewhere than on the main thread nothing changes.
    """

    def __init__(self) -> None:
        self._is_listening = True
        self._first: Callable[[int], object] | None = None
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                signal.signal(number, self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                if handler is not None:  # one that isn't Python's can't be set again
                    signal.signal(number, handler)

    def call(self, first: Callable[[int], object] | None) -> None:
        """Call a function with the next signal's number, in its handler, instead of raising Stopped; None: raise it."""
        self._first = first

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        first, self._first = self._first, None
        if first is not None and self._is_listening:
            first(number)
        elif self._is_listening:
            self._is_listening = False
            raise Stopped(number)

    def listen(self) -> None:
        """Raise Stopped at the next signal."""
        self._is_listening = True

    def ignore(self) -> None:
        """Raise nothing any more."""
        self._is_listening = False
