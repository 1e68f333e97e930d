"""The lock of an OUTPUT on a store: an object that says who works there, since when, and that it is still alive."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass

from batchscore.errors import BatchscoreError, OutputLocked
from batchscore.locking import Holder
from batchscore.minibatch import Json, compact
from batchscore.moments import utc
from batchscore.processes import Process
from batchscore.storage import NEW, Changed, StoredFile, StorePlace

NAME = ".batchscore/lock"
BEAT_SECONDS = 30.0
"""Between two signs of life."""
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """What a lock says."""

    token: str
    """Of the run, so that it knows its own."""
    process: Process | None
    since: str
    seen: str
    """The last sign of life."""

    @classmethod
    def parse(cls, text: bytes) -> Claim:
        """A lock that nobody can read is held by somebody unknown."""
        try:
            record = json.loads(text)
            return cls(record["token"], Process(**record["process"]), record["since"], record["seen"])
        except (ValueError, KeyError, TypeError):
            return cls("", None, "", "")

    @property
    def holder(self) -> Holder:
        if self.process is None:
            return Holder(seen=self.seen)
        return Holder(self.process.pid, self.process.host, self.since, self.seen, self.is_here)

    @property
    def is_dead(self) -> bool:
        """Whether its process was one of this machine and is gone."""
        return self.process is not None and self.process.is_alive is False

    @property
    def is_here(self) -> bool:
        """Whether its process is one of this machine and alive."""
        return self.process is not None and self.process.is_alive is True

    def to_json(self) -> Json:
        process = self.process.to_json() if self.process else None
        return {"token": self.token, "process": process, "since": self.since, "seen": self.seen}


def claim_on(place: StorePlace) -> tuple[Claim, str] | None:
    """The lock there, with its version; None where there is none. Raises StorageError."""
    facts = place.facts(NAME)
    if facts is None:
        return None
    with contextlib.suppress(FileNotFoundError, Changed):
        return Claim.parse(place.read_all([StoredFile(NAME, place.location(NAME), facts)])[0]), facts.version
    return claim_on(place)  # it was taken or left this moment


def holder_of(place: StorePlace) -> Holder | None:
    """Who holds it, a process that is known to be gone left out. Raises StorageError."""
    found = claim_on(place)
    return None if found is None or found[0].is_dead else found[0].holder


class StoreLock:
    """The lock while this process holds it; a thread gives signs of life, and learns that somebody broke it."""

    def __init__(self, place: StorePlace) -> None:
        self._place = place
        self._token = secrets.token_hex(8)
        self._since = utc(time.time())
        self._stopped = threading.Event()
        self._is_lost = False
        self._is_written = False
        self._beating: threading.Thread | None = None

    @property
    def token(self) -> str:
        """A name of its own for this run."""
        return self._token

    def acquire(self, *, breaks: bool = False) -> None:
        """Take it, from a process of this machine that is gone, too; with ``breaks`` from any that isn't alive here.

        It is written on the condition that nobody else wrote meanwhile, and read again for stores that know no
        conditions. Raises OutputLocked, StorageError.
        """
        for _ in range(_ATTEMPTS):
            found = claim_on(self._place)
            if found and found[0].token != self._token:
                claim = found[0]
                if not (claim.is_dead or (breaks and not claim.is_here)):
                    raise OutputLocked(claim.holder.refusal(f"OUTPUT {self._place.path}"))
            self._is_written = True  # from now on it may be, whatever the answer
            self._place.write_if(NAME, self._claim(), found[1] if found else NEW)
            found = claim_on(self._place)
            if found and found[0].token == self._token:
                self._beating = threading.Thread(target=copy_context().run, args=(self._beat,), daemon=True)
                self._beating.start()
                return
        raise OutputLocked(f"other runs take OUTPUT {self._place.path} again and again; try later")

    def _claim(self) -> bytes:
        claim = Claim(self._token, Process.this(), self._since, utc(time.time()))
        return compact(claim.to_json()).encode()

    def _beat(self) -> None:
        while not self._stopped.wait(BEAT_SECONDS):
            with contextlib.suppress(BatchscoreError):  # a sign that is missed does no harm
                found = claim_on(self._place)
                if not found or found[0].token != self._token:
                    self._is_lost = True
                    return
                self._place.write_if(NAME, self._claim(), found[1])

    def check_heard(self) -> None:
        """Raise OutputLocked where the last look showed that the lock isn't this run's any more."""
        if self._is_lost:
            self.check()

    def check(self) -> None:
        """Raise OutputLocked where the lock isn't this run's any more. Raises StorageError."""
        found = claim_on(self._place)
        if found is None or found[0].token != self._token:
            self._is_lost = True
            who = found[0].holder if found else "somebody"
            raise OutputLocked(
                f"{who} has broken the lock of OUTPUT {self._place.path}, and this run stops: what it scored is kept "
                "there, and nothing of it was published"
            )

    def release(self) -> None:
        """Let go of it; what can't be removed is a lock of a process that is gone."""
        self._stopped.set()
        if self._beating:
            self._beating.join(1.0)  # a store that is gone would hold it up
        if not self._is_written:
            return
        with contextlib.suppress(BatchscoreError):
            found = claim_on(self._place)
            if found and found[0].token == self._token:
                self._place.remove_objects([self._place.location(NAME)])
