"""How what is scored gets to the store of its OUTPUT while the job goes on: parts, then their receipts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextvars import copy_context
from types import TracebackType

from batchscore.minibatch import compact
from batchscore.moments import utc
from batchscore.outcome import Outcome, Scored
from batchscore.sharedwork import ROOT, SharedWork, files_of, sha256_of
from batchscore.storage import StorePlace, storage_errors, sync_file

FLUSH_SECONDS = 0.5
"""Receipts of this span, and of the time that sending them takes, share an object."""

_LONGEST_WAIT = 1.0
"""Seconds of one wait for what is being sent, so that a signal that came just before it is heard."""

_IN_SYNC = 4
"""Mini-batches for each worker, of which all but one are synced: a disk takes several at once in the time of one."""


class Sharing:
    """What is scored stays on this machine, where OUTPUT is."""

    def __init__(self, parts: str | None = None) -> None:
        """``parts`` is the folder of those that are synced here; None: workers do it."""
        self._parts = parts

    def __enter__(self) -> Sharing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def threads(self, workers: int) -> int:
        """That feed so many workers."""
        return _IN_SYNC * workers if self._parts else workers

    def parts(self, outcomes: Iterable[Outcome]) -> None:
        """Make the parts safe that a mini-batch wrote; from any thread. Raises StorageError."""
        if self._parts is None:
            return
        scored = (entry for outcome in outcomes for entry in outcome.slices if isinstance(entry, Scored))
        for name in dict.fromkeys(entry.part for entry in scored if entry.part):
            path = f"{self._parts}/{name}"
            with storage_errors(f"can't write {path}"):
                sync_file(path)

    def receipt(self, outcome: Outcome) -> None:
        """Make a receipt safe, after its parts. Raises BatchscoreError."""


class StoreSharing(Sharing):
    """Uploads parts, and then their receipts: those that come while others are being sent go together.

    A thread of its own sends receipts, so that none waits for the next one, and no mini-batch for a receipt. What goes
    wrong there is raised by the next call, at the latest when this is left.
    """

    def __init__(self, work: SharedWork, place: StorePlace, token: str, check: Callable[[], None]) -> None:
        """``token`` names the run; ``check`` raises where it isn't the run that may write here."""
        self._place = place
        self._job = f"{ROOT}/{work.job}"
        self._run = f"{work.run:04d}-{token}"
        self._folder = work.parts_folder
        self._check = check
        self._changed = threading.Condition()
        self._waiting: list[Outcome] = []
        self._uploaded: dict[str, tuple[int, str]] = {}
        self._sent = 0
        self._is_closing = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=copy_context().run, args=(self._send_all,), daemon=True)

    def __enter__(self) -> StoreSharing:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join(_LONGEST_WAIT)
        if error is None:
            self._raise()

    def threads(self, workers: int) -> int:
        """As many again upload while the workers score."""
        return 2 * workers

    def parts(self, outcomes: Iterable[Outcome]) -> None:
        """See Sharing."""
        for name in dict.fromkeys(name for outcome in outcomes for name in files_of(outcome)):
            path = self._folder / name
            with storage_errors(f"can't read {path}"):
                facts = path.stat().st_size, sha256_of(path)
            self._place.upload(f"{self._job}/parts/{self._run}/{name}", str(path))
            with self._changed:
                self._uploaded[name] = facts

    def receipt(self, outcome: Outcome) -> None:
        """See Sharing."""
        self._raise()
        self._check()
        with self._changed:
            self._waiting.append(outcome)
            self._changed.notify()

    def _raise(self) -> None:
        if self._error:
            raise self._error

    def _send_all(self) -> None:
        while not self._error:
            with self._changed:
                while not self._waiting and not self._is_closing:
                    self._changed.wait()
                outcomes, self._waiting = self._waiting, []
            if not outcomes:
                return
            begun = time.monotonic()
            try:
                self._send(outcomes)
            except Exception as error:  # noqa: BLE001  # raised by who asks next
                self._error = error
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing, max(begun + FLUSH_SECONDS - time.monotonic(), 0))

    def _send(self, outcomes: list[Outcome]) -> None:
        names = {name for outcome in outcomes for name in files_of(outcome)}
        with self._changed:
            parts = {name: self._uploaded.pop(name) for name in sorted(names)}
        record = {"at": utc(time.time()), "parts": parts, "outcomes": [outcome.to_json() for outcome in outcomes]}
        self._place.write(f"{self._job}/receipts/{self._run}-{self._sent:06d}.json", compact(record).encode())
        self._sent += 1
