"""The child's side of a loader: a process that has loaded the model, and forks the workers that its parent asks for."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from batchscore import entrylog, lifeline
from batchscore.channel import Channel
from batchscore.minibatch import Json

_HARMLESS = ("/dev/null", "/dev/urandom", "/dev/random", "/dev/tty")
"""Devices that processes can share."""


@dataclass(frozen=True, slots=True)
class Own:
    """The descriptors that this process has from its parent, by their numbers, which a forked worker's have too."""

    connection: int
    lifeline: int
    frames: int
    log: int
    stdout: int = 1
    stderr: int = 2


def stand_by(channel: Channel, own: Own) -> None:
    """Say what speaks against forking, then fork a worker for each request; returns in each of them.

    In the loader itself it returns where that is to be a worker. Raises ChannelClosed when the parent hangs up.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # who ignores it can't collect
    gc.freeze()  # a collection would write to, and so copy, what the workers share; one before it takes 0.2 s
    doubts = list(_doubts(own))
    channel.send({"kind": "loaded", "doubts": doubts, "cpu_seconds": time.process_time()})
    while True:
        request, descriptors = channel.receive_with_descriptors()
        match request:
            case {"kind": "fork"}:
                answer = _fork(descriptors, own)
                if answer is None:
                    return
            case {"kind": "collect", "pid": int(pid)}:
                answer = _collected(pid)
            case _:
                gc.unfreeze()
                return
        channel.send(answer)


def _doubts(own: Own) -> Iterator[str]:
    """Why a forked worker might not do what one that loaded the model itself does."""
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208  # names are enough
    if threads > 1:
        yield f"{threads} threads run in the process that has loaded the model"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        yield "the model uses CUDA"
    if lifeline.has_children():
        yield "the model started processes"
    if opened := list(_opened(own)):
        more = f" and {len(opened) - 1} more" if len(opened) > 1 else ""
        yield f"the model keeps {opened[0]}{more} open, which workers would share"


def _opened(own: Own) -> Iterator[str]:
    """What this process has open beside its own descriptors: a file's place in it would be everybody's."""
    known = set(astuple(own))
    for descriptor in sorted(map(int, os.listdir("/proc/self/fd"))):  # noqa: PTH208
        with contextlib.suppress(OSError):  # that of the listing
            target = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            if descriptor not in known and target not in _HARMLESS and os.fstat(descriptor):
                yield target if target.startswith("/") else f"a {target.partition(':')[0]}"


def _fork(descriptors: list[int], own: Own) -> Json | None:
    """What the parent is told of the new worker; None in the worker itself, which has got the descriptors."""
    entrylog.flush()  # or it would be printed by both
    try:
        with warnings.catch_warnings(), _bearing():
            warnings.simplefilter("ignore")  # of threads, of which the parent has been told
            pid = os.fork()
    except OSError as error:
        _close(descriptors)
        return {"kind": "not_forked", "message": error.strerror}
    if pid:
        _close(descriptors)
        return {"kind": "forked", "pid": pid}
    _settle(descriptors, own)
    return None


_is_bearing = False


@contextlib.contextmanager
def _bearing() -> Iterator[None]:
    global _is_bearing  # noqa: PLW0603  # the process is what forks
    _is_bearing = True
    try:
        yield
    finally:
        _is_bearing = False


def is_bearing() -> bool:
    """Whether what is being forked now is a worker, and nothing of the model's."""
    return _is_bearing


def _settle(descriptors: list[int], own: Own) -> None:
    """Put the descriptors in the places of the loader's, whose are closed here by that, and lead a group."""
    os.setsid()
    places = astuple(own)
    aside = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, max(places) + 1) for each in descriptors]
    _close(descriptors)
    for each, place in zip(aside, places, strict=True):
        os.dup2(each, place, inheritable=place in {own.stdout, own.stderr})
    _close(aside)
    lifeline.die_with_parent(own.lifeline)
    lifeline.die_first()


def _close(descriptors: list[int]) -> None:
    for each in descriptors:
        os.close(each)


def _collected(pid: int) -> Json:
    """How a forked worker ended."""
    ended = lifeline.collect(pid)
    if ended is None:
        return {"kind": "running"}
    return {"kind": "ended", "code": ended.code, "peak_rss": ended.peak_rss}
