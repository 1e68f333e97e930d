"""Where a job's workers come from: forked from one loader, or each a process that loads for itself."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from batchscore import lifeline
from batchscore.channel import ChannelClosed, ChannelTimeout
from batchscore.child import Child, WorkerSpec
from batchscore.faults import Abandoned
from batchscore.job import WorkerStart
from batchscore.joblog.process import ProcessLog
from batchscore.loader import Loader, LoaderLost
from batchscore.loading import loaded
from batchscore.minibatch import Json
from batchscore.storage import in_use

_LOADERS = 3
"""Of which one after the other is lost before workers load each for themselves."""


@dataclass(frozen=True, slots=True)
class Origin:
    """How workers are started, and why so."""

    start: WorkerStart
    """`loader` or `each`."""
    why: str
    doubts: tuple[str, ...] = ()
    """What speaks against forking, where it was asked for all the same."""

    def to_json(self) -> Json:
        """`start` and `why`, for job.json."""
        return {"start": self.start, "why": "; ".join((self.why, *self.doubts))}

    def notes(self, asked: WorkerStart) -> tuple[str, ...]:
        """What the user should know who asked for one way to start workers."""
        if asked != "loader":
            return ()
        if self.start == "each":
            return (f"workers load the model each for itself, in spite of --worker-start loader: {self.why}",)
        return tuple(f"workers are forked (--worker-start loader), although {doubt}" for doubt in self.doubts)

    @property
    def suspicion(self) -> str:
        """What may have stopped a worker that doesn't answer, to be added to a message."""
        if self.start == "each" or not self.doubts:
            return ""
        return f"; it is forked, although {self.doubts[0]}, and may hang for that: give --worker-start auto or each"


def origin_of(spec: WorkerSpec, workers: int) -> Origin:
    """How workers are to be started, as far as that can be told before the model is loaded."""
    if spec.loads_apart:
        return Origin("each", spec.loads_apart)
    if spec.start == "each":
        return Origin("each", "asked for (--worker-start)")
    if not lifeline.can_fork_workers():
        return Origin("each", "forking workers needs Linux, from 5.3 on")
    if spec.start == "loader":
        return Origin("loader", "asked for (--worker-start)")
    if workers == 1 and spec.recycle_after is None:
        return Origin("each", "there is one worker")
    return Origin("loader", "one thread, and nothing else that couldn't be shared, after loading")


class HeadStart:
    """A worker that is started before it is known what it is to load, while it is entered; without a spec none is.

    It imports what its kind of loader needs. Who doesn't take it by then has it killed.
    """

    def __init__(self, spec: WorkerSpec | None, folder: Path) -> None:
        """``folder`` takes temporary files where the system has no place for them."""
        self._spec = spec
        self._folder = folder
        self._child: Child | None = None

    def __enter__(self) -> HeadStart:
        if self._spec:
            self._child = Child(self._spec, ProcessLog(self._folder, None), waits=True)
            with contextlib.suppress(ChannelClosed, ChannelTimeout):  # who takes it will find out why
                self._child.channel.send({"kind": "prepare", "loader": self._spec.loader}, self._spec.load_timeout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._child:
            self._child.kill()

    def taken(self, spec: WorkerSpec) -> Child | None:
        """The worker, once, where it is as one that is started now would be."""
        if self._spec is None or (self._spec.python, self._spec.variables()) != (spec.python, spec.variables()):
            return None
        child, self._child = self._child, None
        return child


class Nursery:
    """Gives slots their workers. ``child`` is for any thread; ``stop`` and ``kill`` may come from any other."""

    def __init__(self, spec: WorkerSpec, workers: int, log: ProcessLog, ahead: HeadStart | None = None) -> None:
        """``log`` is the loader's."""
        self._spec = spec
        self._access = in_use().to_json()
        self._log = log
        self.origin = origin_of(spec, workers)
        self._spares: list[tuple[Child, Json]] = []
        """Processes that wait to be workers, with what they are told for that."""
        if ahead and (child := ahead.taken(spec)):
            self._spares.append((child, self._request(stands_by=self.is_loader)))
        self._loader: Child | None = None
        self._forks: Loader | None = None
        """The loader, once it has loaded."""
        self._loading = threading.Lock()
        self._is_stopped = False
        self._telling = threading.Lock()
        self._untold = 0.0

    def load_cpu_seconds(self) -> float:
        """What loaders took to load since this was asked the last time."""
        with self._telling:
            told, self._untold = self._untold, 0.0
        return told

    @property
    def is_loader(self) -> bool:
        """Whether workers are forked from a loader, as far as is known yet."""
        return self.origin.start == "loader"

    @property
    def watched(self) -> tuple[Child, ...]:
        """The loader, as long as it loads."""
        return (self._loader,) if self._loader and not self._forks else ()

    def begin(self) -> None:
        """Have the loader load the model, without waiting for it."""
        with self._loading:
            self._launched()

    def child(self, log: ProcessLog, *, waits: bool = False) -> Child:
        """A worker that loads the model, or has it already; what it prints goes to the log.

        Raises ModelNotLoaded, Abandoned, and UsageError where the interpreter can't be started.
        """
        for _ in range(_LOADERS):
            with self._loading:  # who waits here finds the model loaded
                forks = self._loaded() if self.is_loader else None
            if forks is None:
                return self._started(log, waits=waits)
            try:
                return forks.fork(self._spec, log, waits=waits)
            except LoaderLost as lost:
                forks.child.kill()
                reason = f"{_LOADERS} loaders were lost, the last one {lost}"
        self.origin = Origin("each", reason)
        return self._started(log, waits=waits)

    def _loaded(self) -> Loader | None:
        """The loader with its model; None where that is not to be forked."""
        if self._forks and self._forks.child.is_usable:
            return self._forks
        self._forks = None
        child = self._launched()
        with self._log.loading(child.pid):
            try:
                reply = loaded(child, self._spec)
            except BaseException:
                child.kill()
                if self._is_stopped:
                    raise Abandoned from None
                raise
        doubts = tuple(map(str, reply["doubts"]))
        if doubts and self._spec.start == "auto":
            self._loader = None
            self._spares.append((child, {"kind": "serve"}))
            self.origin = Origin("each", "; ".join(doubts))
            return None
        self.origin = Origin("loader", self.origin.why, doubts)
        with self._telling:
            self._untold += float(reply.get("cpu_seconds", 0.0))
        self._forks = Loader(child)
        return self._forks

    def _launched(self) -> Child:
        """A loader that has been told to load."""
        if self._loader is None or not self._loader.is_usable:
            if self._loader:
                self._loader.kill()
            self._forks = None
            self._loader = self._started(self._log, stands_by=True)
        return self._loader

    def _started(self, log: ProcessLog, *, waits: bool = False, stands_by: bool = False) -> Child:
        """A process that has been told what to load."""
        try:
            child, request = self._spares.pop()
            child.take_over(log)
        except IndexError:
            child, request = Child(self._spec, log, waits=waits), self._request(stands_by=stands_by)
        if self._is_stopped:  # while it was being started
            child.kill()
            raise Abandoned
        with contextlib.suppress(ChannelClosed, ChannelTimeout):  # who waits for it will find out why
            child.channel.send(request, self._spec.load_timeout)
        return child

    def _request(self, *, stands_by: bool) -> Json:
        return self._spec.request(self._access, stands_by=stands_by)

    def stop(self) -> None:
        """Give no further workers."""
        self._is_stopped = True

    def kill(self) -> None:
        """Stop for good, once the workers have ended: the loader is who knows how they did."""
        self._is_stopped = True
        spares = [child for child, _ in self._spares]
        for child in (self._loader, *spares):
            if child:
                child.has_forked = False
                child.kill()
        self._log.close()
