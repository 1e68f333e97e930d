"""The parent's side of one worker: start, send, time out, kill, start anew."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

from batchscore.channel import BadMessage, ChannelClosed, ChannelTimeout
from batchscore.child import Child, WorkerSpec
from batchscore.faults import (
    Abandoned,
    ModelNotLoaded,
    ScoringRaised,
    WorkerDied,
    WorkerFault,
    WorkerOutgrew,
    WorkerTimedOut,
)
from batchscore.joblog.process import Attempt, ProcessLog
from batchscore.loading import LAST_WORDS, fatal, loaded
from batchscore.minibatch import Json, MiniBatch
from batchscore.nursery import Nursery
from batchscore.outcome import Outcome, Progress
from batchscore.stopwatch import Lap
from batchscore.trust import Trust


class Slot:
    """A place for one worker at a time: where it died, the next use starts another.

    For one thread; ``kill`` may come from any other, or from a signal handler.
    """

    def __init__(self, spec: WorkerSpec, log: ProcessLog, nursery: Nursery | None = None) -> None:
        """``nursery`` is where the workers come from; without it, each is a process of its own."""
        self._spec = spec
        self._nursery = nursery or Nursery(replace(spec, start="each"), 1, log)
        self._log = log
        self._child: Child | None = None
        self._next: Child | None = None
        """What takes the place of a worker that is to be recycled; it loads the model meanwhile."""
        self._sent = 0
        """Mini-batches that the worker was sent."""
        self._since: float | None = None
        """When a worker was first needed that hasn't said yet whether it is loaded, monotonic seconds."""
        self._facts: Json | None = None
        self._trust = Trust()
        self._is_stopped = False
        self._earlier_peak = 0

    @property
    def peak_rss(self) -> int:
        """Bytes that a worker here had resident at most; certain once it has ended."""
        return max(self._earlier_peak, self._child.peak_rss if self._child else 0)

    def start(self) -> None:
        """Start the worker, where none is alive, and let it load the model meanwhile."""
        if self._is_stopped:
            raise Abandoned
        if self._child and self._child.is_usable and not (self._is_worn or self._trust.is_lost):
            return
        if self._child:
            self._retire(self._child)
        self._facts, self._sent = None, 0
        self._since = self._since or time.monotonic()
        self._trust.renew()
        self._child, self._next = self._next, None
        if self._child:
            self._child.take_over()
        else:
            self._child = self._born(waits=False)

    def _retire(self, child: Child) -> None:
        """End a worker, one that lives by hanging up."""
        if self._is_worn or self._trust.is_lost:
            child.stop(gently=True)
            child.kill(self._spec.grace)
        else:
            child.kill()
        self._earlier_peak = self.peak_rss

    @property
    def _is_worn(self) -> bool:
        """Whether the worker has been sent as many mini-batches as it may."""
        return self._spec.recycle_after is not None and self._sent >= self._spec.recycle_after

    def _born(self, *, waits: bool) -> Child:
        """A new worker that loads the model, or has it."""
        child = self._nursery.child(self._log, waits=waits)
        if self._is_stopped:  # killed while it was being started
            child.kill()
            raise Abandoned
        return child

    @property
    def children(self) -> tuple[Child, ...]:
        """The worker at work, and the one that is to take its place."""
        return tuple(child for child in (self._child, self._next) if child)

    def ready(self) -> Json:
        """The facts about the loaded model, once it is loaded; raises ModelNotLoaded."""
        self.start()
        child = self._child
        if child is None:
            raise Abandoned
        if self._facts is None:
            since, self._since = self._since or time.monotonic(), None
            with self._log.loading(child.pid), self._killing_unless_answered(child):
                reply = loaded(child, self._spec)
                load = _waited(since, reply) + Lap(cpu_seconds=self._nursery.load_cpu_seconds())
                self._log.listener.loaded(self._log.name, since, load)
                self._facts = reply["facts"]
        return self._facts

    def ask(
        self,
        mini_batch: MiniBatch,
        timeout: float,
        on_progress: Progress = lambda *_: None,
        *,
        restarts_clock: bool = True,
    ) -> Outcome:
        """What became of the mini-batch.

        The timeout (seconds) is for each chunk: a chunk's end, reported to ``on_progress`` with it, restarts the
        clock, unless that is to run for the whole mini-batch. Raises a WorkerFault, ModelNotLoaded, Abandoned, or one
        of ``errors`` that ends the job.
        """
        with self._log.attempt(mini_batch) as attempt:
            return self._ask(attempt, timeout, on_progress, restarts_clock=restarts_clock)

    def _ask(self, attempt: Attempt, timeout: float, on_progress: Progress, *, restarts_clock: bool) -> Outcome:
        child = self._begin(attempt, timeout)
        deadline = None if restarts_clock else time.monotonic() + timeout
        what = "no chunk" if restarts_clock else "the mini-batch"
        with self._killing_unless_answered(child):
            try:
                while True:
                    limit = timeout if deadline is None else max(deadline - time.monotonic(), 0)
                    match attempt.heard(child.channel.receive(limit)):
                        case {"kind": "progress", "rows": int(rows), "bytes": int(size)} if min(rows, size) >= 0:
                            on_progress(rows, size)
                        case {"kind": "outcome", "outcome": dict(outcome)}:
                            checked = _checked(outcome, attempt.mini_batch)
                            self._trust.take(checked.number, is_scored=True)
                            return attempt.came_to(checked)
                        case {"kind": "raised", "message": str(message), "traceback": str(traceback), **more}:
                            self._trust.take(attempt.mini_batch.number, is_scored=False)
                            raise ScoringRaised(message, traceback, refuses_answer=more.get("refuses_answer") is True)
                        case {"kind": "fatal", "error": str(name), "message": str(message)}:
                            raise fatal(name, message)
                        case unexpected:
                            raise BadMessage(f"unexpected kind {unexpected['kind']!r}")  # noqa: TRY301  # as below
            except ChannelTimeout:
                finished = f"{what} was {'' if restarts_clock else 'not '}finished within {timeout:g} s"
                fault = WorkerTimedOut(finished, child.stuck_frames())
                fault.hint = self._nursery.origin.suspicion
                raise fault from None
            except ChannelClosed:
                raise _death(child) from None
            except BadMessage as error:
                raise WorkerDied(f"the worker sent what is no message: {error}", child.log_tail()) from None

    def _begin(self, attempt: Attempt, timeout: float) -> Child:
        """A worker that has been sent the mini-batch; one that had died before it got it isn't held against it."""
        request = {"kind": "score", "mini_batch": attempt.mini_batch.to_json()}
        for is_last in (False, True):
            self.ready()
            child = self._child
            if child is None:
                raise Abandoned
            child.mark_log(attempt.title)
            with self._killing_unless_answered(child):
                try:
                    child.channel.send(request, timeout)
                except ChannelTimeout:
                    raise WorkerTimedOut(f"took no work within {timeout:g} s", child.stuck_frames()) from None
                except ChannelClosed:
                    death = _death(child)
                    if is_last or self._is_stopped:
                        raise death from None
                else:
                    self._sent += 1
                    self._prepare_next()
                    return child
        raise AssertionError("the last round returns or raises")

    def _prepare_next(self) -> None:
        """Have the next worker load the model while this one scores its last mini-batch."""
        if self._is_worn and self._next is None:
            with contextlib.suppress(ModelNotLoaded):  # a new loader may fail; who needs the worker will try again
                self._next = self._born(waits=True)

    @contextlib.contextmanager
    def _killing_unless_answered(self, child: Child) -> Iterator[None]:
        """A worker that is left in the middle of an answer is of no more use; one that was stopped is no fault."""
        begun = time.monotonic()
        try:
            yield
        except ScoringRaised as fault:
            fault.seconds = time.monotonic() - begun
            raise
        except BaseException as error:
            if isinstance(error, WorkerFault):
                error.seconds = time.monotonic() - begun
            child.kill()
            if self._is_stopped:
                raise Abandoned from None
            raise

    def stop(self, *, gently: bool) -> None:
        """Stop for good without waiting; an idle worker may end by itself. ``kill`` has to follow."""
        self._is_stopped = True
        if self._next:
            self._next.stop(gently=False)
        if self._child:
            self._child.stop(gently=gently)

    def kill(self, patience: float = 0.0) -> None:
        """Stop for good: kill the worker and its children; a thread in ``ask`` gets Abandoned."""
        self._is_stopped = True
        if self._child:
            self._child.kill(patience)
        if self._next:
            self._next.kill()
        self._log.close()


def _waited(since: float, ready: Json) -> Lap:
    """How long a place had to wait for a process that was ready at the time that it tells, and that process's CPU."""
    now = time.monotonic()
    match ready:
        case {"at": int() | float() as at, "cpu_seconds": int() | float() as cpu_seconds}:
            return Lap(max(min(at, now) - since, 0.0), cpu_seconds)
    return Lap(now - since)


def _death(child: Child) -> WorkerFault:
    """What became of a worker that has hung up; it is gone then."""
    ending = child.ending(LAST_WORDS)
    if child.outgrown:
        return WorkerOutgrew(f"the worker {child.outgrown}", child.outgrown.frames or child.log_tail())
    return WorkerDied(f"the worker {ending}", child.log_tail())


def _checked(record: Json, mini_batch: MiniBatch) -> Outcome:
    try:
        outcome = Outcome.from_json(record)
    except (KeyError, TypeError, ValueError) as error:
        raise BadMessage(f"no outcome: {error!r}") from error
    if outcome.number != mini_batch.number or tuple(entry.slice for entry in outcome.slices) != mini_batch.slices:
        raise BadMessage(f"the outcome of another mini-batch, number {outcome.number}")
    return outcome
