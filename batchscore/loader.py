"""The parent's side of a loader: a supervised process that has loaded the model and forks the workers."""

from __future__ import annotations

import os
import select
import threading

from batchscore import lifeline
from batchscore.channel import ChannelError
from batchscore.child import Child
from batchscore.faults import ModelNotLoaded
from batchscore.joblog.process import ProcessLog
from batchscore.minibatch import Json
from batchscore.spawning import Ends, WorkerSpec

_PATIENCE = 30.0
"""Seconds for an answer; a fork takes a tenth of a second for each ten gigabytes."""


class LoaderLost(Exception):
    """The loader has ended, or doesn't answer."""


class Loader:
    """Asks the child for workers and for their endings, each question by one thread at a time."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._talk = threading.Lock()

    def fork(self, spec: WorkerSpec, log: ProcessLog, *, waits: bool) -> Child:
        """A new worker, which has the model already.

        Raises LoaderLost, and ModelNotLoaded where the system has no room for a process more.
        """
        self.child.has_forked = True
        return Child(spec, log, waits=waits, start=self._forked)

    def _forked(self, ends: Ends) -> Forked:
        places = (ends.connection, ends.lifeline, ends.frames, ends.log, ends.stdout, ends.stderr)
        match self._answer({"kind": "fork"}, places):
            case {"kind": "forked", "pid": int(pid)}:
                return Forked(pid, self)
            case {"kind": "not_forked", "message": message}:
                raise ModelNotLoaded(f"the loader can't fork a worker: {message}")
            case unexpected:
                raise LoaderLost(f"answered {unexpected}")

    def collect(self, pid: int) -> lifeline.Exit | None:
        """How a worker ended; None while it lives. Where the loader is gone, nobody knows."""
        try:
            answer = self._answer({"kind": "collect", "pid": pid})
        except LoaderLost:
            return lifeline.Exit(None, 0)
        match answer:
            case {"kind": "ended", "code": int() | None as code, "peak_rss": int(peak_rss)}:
                return lifeline.Exit(code, peak_rss)
            case _:
                return None

    def _answer(self, question: Json, descriptors: tuple[int, ...] = ()) -> Json:
        # Entered by `with`, so that no signal breaks in between taking the lock and being bound to give it back; who
        # waits for it, waits no longer than for an answer: where none comes, the loader is killed for all.
        with self._talk:
            try:
                self.child.channel.send(question, _PATIENCE, descriptors)
                return self.child.channel.receive(_PATIENCE)
            except ChannelError as error:
                self.child.stop(gently=False)  # what comes next couldn't be told from what is missing
                raise LoaderLost(str(error)) from error
            except BaseException:  # a signal broke in
                self.child.stop(gently=False)
                raise


class Forked:
    """A process that the loader forked; only the loader can collect it."""

    def __init__(self, pid: int, loader: Loader) -> None:
        self.pid = pid
        self._loader = loader
        try:
            self._watched = lifeline.watch(pid)
        except ProcessLookupError as error:
            raise LoaderLost(f"its worker {pid} is gone") from error
        if self._watched is None:
            raise LoaderLost("can't be watched")

    def wait(self) -> bool:
        if self._watched is not None:
            ended = select.poll()
            ended.register(self._watched, select.POLLIN)
            ended.poll()
        return True

    def collect(self) -> lifeline.Exit | None:
        ended = self._loader.collect(self.pid)
        if ended and self._watched is not None:
            os.close(self._watched)
            self._watched = None
        return ended
