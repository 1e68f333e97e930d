"""The watch over what workers hold in memory: who holds more than the limit is killed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from batchscore.child import Child

SECONDS = 0.2
"""Between two looks at a worker."""


class MemoryWatch:
    """A thread that looks at the children and kills those that hold more than the limit (bytes), until it is stopped.

    Without a limit there is none.
    """

    def __init__(self, limit: int | None, children: Callable[[], Iterable[Child]]) -> None:
        self._limit = limit
        self._children = children
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory", daemon=True)

    def start(self) -> None:
        """Begin, where there is a limit."""
        if self._limit is not None and self._thread.ident is None:
            self._thread.start()

    def stop(self) -> None:
        """End; again does nothing."""
        self._is_over.set()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(1)

    def _run(self) -> None:
        limit = self._limit or 0
        while not self._is_over.wait(SECONDS):
            for child in self._children():
                child.kill_beyond(limit)
