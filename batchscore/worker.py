"""The child's loop: load the model once, then answer one mini-batch at a time."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import importlib.util
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn, Protocol

from batchscore import entrylog, lifeline
from batchscore.channel import BadMessage, Channel, ChannelClosed, frame
from batchscore.errors import AnswerRefused, BatchscoreError, ModelLoadError, StorageError, UsageError
from batchscore.forking import Own, is_bearing, stand_by
from batchscore.minibatch import Json, MiniBatch
from batchscore.outcome import Outcome, Progress
from batchscore.redaction import secret_values, without
from batchscore.storage import Access, using

_MAX_TEXT = 20_000
"""Characters of a message or traceback that cross to the parent."""


class Scorer(Protocol):
    """A loaded model, ready to score."""

    def facts(self) -> Json:
        """What the parent is told once about the loaded model; JSON values."""
        ...

    def close(self) -> None:
        """Called once when there is nothing more to score, unless the worker is killed; may raise anything."""
        ...

    def score(self, mini_batch: MiniBatch, progress: Progress) -> Outcome:
        """Score a mini-batch and write its part; call ``progress`` after each chunk.

        UsageError, ModelLoadError and StorageError end the job; any other exception is worth a retry.
        """
        ...


Load = Callable[[Json], Scorer]


def main() -> NoReturn:
    """Run a worker as the parent starts it, with the descriptors of channel, lifeline, stuck frames and log."""
    gc.disable()  # until the model is loaded: there is nothing to be found among what is imported
    own = Own(*map(int, sys.argv[1:5]))
    del sys.argv[1:]
    lifeline.die_with_parent(own.lifeline)
    lifeline.die_first()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    _leave_termination_to_the_parent()
    _let_forks_be_terminated()
    os.set_inheritable(own.frames, False)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, file=own.frames, all_threads=True)
    entrylog.print_by_line()
    entrylog.keep(own.log)
    end = socket.socket(fileno=own.connection)
    end.set_inheritable(False)
    with contextlib.suppress(ChannelClosed):
        serve(Channel(end), own=own)
    entrylog.flush()
    os._exit(0)  # tearing down the interpreter costs half a second and can hang on the model's threads


def _leave_termination_to_the_parent() -> None:
    """Survive a SIGTERM, which service managers send to all processes of a job, until the parent has decided."""
    signal.signal(signal.SIGTERM, _survive)


def _survive(_number: int, _frame: object) -> None:
    pass


_TERMINATION = (signal.SIGTERM,)
_forking = threading.local()


def _let_forks_be_terminated() -> None:
    """Have the processes that a model forks die of a SIGTERM all the same, as those that it starts do.

    The kernel has to end them: a handler of Python's can wait for ever in a process that is about to block, as those
    of a multiprocessing pool are when it terminates them. A signal that comes while the process is copied is kept.
    Workers that a loader forks survive it from their beginning.
    """

    def before() -> None:
        _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _TERMINATION)

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)

    def in_child() -> None:
        if signal.getsignal(signal.SIGTERM) is _survive and not is_bearing():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=in_child)


def serve(channel: Channel, load: Load | None = None, own: Own | None = None) -> None:
    """Load, say ``ready``, answer mini-batches; raises ChannelClosed when the parent hangs up.

    ``load`` stands in for the loader that the parent names. With its ``own`` descriptors the process can fork others.
    """
    request = channel.receive()
    while request["kind"] == "prepare":
        _prepare(request["loader"])
        request = channel.receive()
    entrylog.set_level(request.get("logging_level", "info"))
    with using(Access.from_json(request.get("access", {}))):
        load = load or _by_name(request["loader"])
        _serve(channel, load, request["setup"], own if request.get("stands_by") else None)


def _prepare(loader: str) -> None:
    """Import what a loader needs while it isn't known yet what is to be loaded; that will say what can't be."""
    with contextlib.suppress(BaseException):
        prepare = getattr(sys.modules[_named(loader).__module__], "prepare", None)
        if prepare:
            prepare()


def _by_name(loader: str) -> Load:
    """The named function; one that isn't there is a failed load."""
    return lambda setup: _named(loader)(setup)  # noqa: PLW0108  # it is looked for when it is called


def _serve(channel: Channel, load: Load, setup: Json, own: Own | None) -> None:
    pid = os.getpid()
    answer, scorer = _load(load, setup)
    _leave_if_forked(pid)
    entrylog.flush()
    if scorer is not None and own is not None:
        stand_by(channel, own)
        pid, answer = os.getpid(), _ready(scorer)
    if not gc.isenabled():
        gc.freeze()  # what is loaded stays: nobody need look through it for garbage again and again
        gc.enable()
    channel.send_frame(answer)
    while scorer is not None:
        try:
            mini_batch = MiniBatch.from_json(channel.receive()["mini_batch"])
        except ChannelClosed:
            _close(scorer)
            raise
        answer = _score(scorer, mini_batch, channel)
        _leave_if_forked(pid)
        entrylog.flush()
        channel.send_frame(answer)


def _close(scorer: Scorer) -> None:
    """Let the scorer clean up; what goes wrong there is told in the log alone, since all is scored."""
    try:
        scorer.close()
    except BaseException:  # noqa: BLE001  # a scoring script may raise anything
        traceback.print_exc()


def _load(load: Load, setup: Json) -> tuple[bytes, Scorer | None]:
    try:
        scorer = load(setup)
        return _ready(scorer), scorer
    except (UsageError, StorageError) as error:
        return frame(_fatal(error)), None
    except BaseException as error:  # noqa: BLE001  # a model may raise anything
        return frame({"kind": "load_failed", **_texts(error)}), None


def _ready(scorer: Scorer) -> bytes:
    ready = {"kind": "ready", "facts": scorer.facts(), "at": time.monotonic(), "cpu_seconds": time.process_time()}
    return frame(ready)


def _score(scorer: Scorer, mini_batch: MiniBatch, channel: Channel) -> bytes:
    begun, cpu = time.perf_counter(), time.process_time()

    def progress(rows: int, size: int = 0) -> None:
        channel.send({"kind": "progress", "rows": int(rows), "bytes": int(size)})

    def times() -> Json:
        return {"seconds": time.perf_counter() - begun, "cpu_seconds": time.process_time() - cpu}

    try:
        outcome = scorer.score(mini_batch, progress).to_json()
        return frame({"kind": "outcome", "outcome": outcome, **times()})
    except (UsageError, ModelLoadError, StorageError) as error:
        return frame(_fatal(error))
    except BaseException as error:  # noqa: BLE001  # a model may raise anything
        refused = {"refuses_answer": True} if isinstance(error, AnswerRefused) else {}
        return frame({"kind": "raised", **refused, **_texts(error), **times()})


def _leave_if_forked(pid: int) -> None:
    """End a copy of the worker that the model forked and let run back into this loop: it must not answer too."""
    if os.getpid() != pid:
        os._exit(0)


def _fatal(error: BatchscoreError) -> Json:
    names = (kind.__name__ for kind in (UsageError, ModelLoadError, StorageError) if isinstance(error, kind))
    return {"kind": "fatal", "error": next(names), "message": clean(str(error))}


def _texts(error: BaseException) -> Json:
    """Message and traceback of any exception; an expected one says all in its message."""
    if isinstance(error, (BatchscoreError, BadMessage)):
        return {"message": clean(str(error)), "traceback": ""}
    try:
        text = str(error)
    except BaseException as second:  # noqa: BLE001  # even its text may raise
        text = f"(its text can't be had: {type(second).__name__})"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        frames = error.__traceback__ and error.__traceback__.tb_next  # from the scorer on
        lines = "".join(traceback.format_exception(kind, error, frames))
    except BaseException as second:  # noqa: BLE001  # odd causes or notes
        lines = f"(its traceback can't be had: {type(second).__name__})"
    return {"message": clean(f"{name}: {text}" if text else name), "traceback": clean(lines)}


def clean(text: str) -> str:
    """The text as valid Unicode, without secrets, its middle left out where it is very long."""
    text = str(text).encode("utf-8", "backslashreplace").decode("utf-8")
    text = without(secret_values(os.environ), text)
    if len(text) > _MAX_TEXT:
        half = _MAX_TEXT // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return text


def _named(loader: str) -> Load:
    """The function ``module:function`` or ``/path/to/file.py:function``."""
    place, _, name = loader.rpartition(":")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location("batchscore_loader", place)
        if spec is None or spec.loader is None:
            raise ImportError(f"no Python file: {place}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    load: Load = getattr(module, name)
    return load
