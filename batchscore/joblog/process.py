"""The logs of one worker's place: what its processes print, and what becomes of their attempts."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol

from batchscore.errors import BatchscoreError, Stopped
from batchscore.faults import ModelNotLoaded, WorkerFault
from batchscore.joblog.capped import CappedFile
from batchscore.joblog.printed import Printed, Reader
from batchscore.minibatch import Json, MiniBatch
from batchscore.moments import utc
from batchscore.outcome import Failed, Outcome
from batchscore.redaction import without
from batchscore.stopwatch import Lap

LOADER = "loader"
"""The name of the process that others are forked from."""
_TAIL_LINES = 20
_TAIL_BYTES = 16 << 10


def one_line(text: str) -> str:
    """The text without line ends and other control characters."""
    if text.isprintable():  # nearly all are
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def node_name() -> str:
    """The host's name, as a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", socket.gethostname()).lstrip(".-")[:64] or "node"


class Listener(Protocol):
    """Who is told what the workers do. Methods are called from any thread."""

    def attempt_at(self, mini_batch: MiniBatch) -> int:
        """The number of the attempt that begins."""
        ...

    def attempted(self, attempt: Attempt) -> None:
        """An attempt is over."""

    def loaded(self, process: str, since: float, load: Lap) -> None:
        """A process has loaded the model, for which its place had to wait since then (monotonic seconds)."""

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None:
        """A process couldn't load the model."""

    def detail(self, text: str) -> None:
        """Something for who debugs."""

    def incomplete(self, path: Path, error: OSError) -> None:
        """Something couldn't be written."""


class Nobody:
    """Listens to nothing."""

    def attempt_at(self, mini_batch: MiniBatch) -> int:  # noqa: ARG002  # the protocol's
        return 1

    def attempted(self, attempt: Attempt) -> None: ...

    def loaded(self, process: str, since: float, load: Lap) -> None: ...

    def not_loaded(self, process: str, started: float, failure: ModelNotLoaded) -> None: ...

    def detail(self, text: str) -> None: ...

    def incomplete(self, path: Path, error: OSError) -> None: ...


class ProcessLog:
    """The files of process NNN of this node, below `user/`; the worker that replaces a dead one goes on in them."""

    def __init__(
        self, folder: Path, number: int | None, secrets: Iterable[str] = (), listener: Listener | None = None
    ) -> None:
        """Without a number, of the process that others are forked from."""
        self.folder = folder
        self.name = LOADER if number is None else f"process{number:03d}"
        self.listener: Listener = listener or Nobody()
        self._secrets = tuple(secrets)
        user, node = folder / "user", node_name()
        self._streams = {
            "stdout": Printed(user / "stdout" / node / f"{self.name}.stdout.txt", self._secrets),
            "stderr": Printed(user / "stderr" / node / f"{self.name}.stderr.txt", self._secrets),
            "log": Printed(user / "entry_script_log" / node / f"{self.name}.log.txt", self._secrets),
        }
        self._errors = CappedFile(user / "error" / node / f"{self.name}.txt")
        self._tail = b""
        self._is_closed = False
        self._lock = threading.RLock()
        """A process may go on printing, and the thread that reads go on writing, while its next work is marked."""

    def reader(self) -> Reader:
        """The pipes of a new process."""
        return Reader(self.take)

    def take(self, stream: str, content: bytes) -> None:
        """Write down what a process has printed; nothing once this is closed, since the logs may be elsewhere then."""
        with self._lock:
            if self._is_closed:
                return
            written = self._streams[stream].write(content)
            if stream != "log":
                self._tail = (self._tail + written)[-_TAIL_BYTES:]

    def mark(self, title: str) -> None:
        """What is printed from here on belongs to what the title names, and none of the rest is its business."""
        with self._lock:
            for stream in self._streams.values():
                stream.mark(f"{utc(time.time())} {title}")
            self._tail = b""

    def tail(self) -> str:
        """The last lines printed since the mark."""
        with self._lock:
            for stream in ("stdout", "stderr"):
                self._tail += self._streams[stream].flush()
            return "\n".join(self._tail.decode("utf-8", "replace").splitlines()[-_TAIL_LINES:])

    def attempt(self, mini_batch: MiniBatch) -> Attempt:
        """An attempt at the mini-batch; to be entered."""
        return Attempt(self, mini_batch, self.listener.attempt_at(mini_batch))

    @contextmanager
    def loading(self, pid: int) -> Iterator[None]:
        """While a process loads the model."""
        started = time.time()
        try:
            yield
        except ModelNotLoaded as failure:
            self.failed(f"loading the model, process id {pid}", failure.message, failure.detail)
            self.listener.not_loaded(self.name, started, failure)
            raise
        self.listener.detail(f"{self.name}: process id {pid} is ready after {time.time() - started:.2f} seconds")

    def failed(self, title: str, reason: str, detail: str) -> None:
        """Write down a failure with its stack trace; one that begins with the reason has it already."""
        text = detail if reason and reason in detail else "\n".join(filter(None, (reason, detail)))
        text = without(self._secrets, text).rstrip("\n")
        with self._lock:
            if not self._is_closed:
                self._errors.write(f"--- {utc(time.time())} {title} ---\n{text}\n".encode("utf-8", "backslashreplace"))
                self._errors.close()

    def close(self) -> None:
        """Write what is left, and give the descriptors back; what comes later, from any thread, is dropped."""
        with self._lock:
            self._is_closed = True
            for stream in self._streams.values():
                stream.flush()
            for file in (*(stream.file for stream in self._streams.values()), self._errors):
                file.close()
        for file in (*(stream.file for stream in self._streams.values()), self._errors):
            if file.error:
                self.listener.incomplete(file.path, file.error)


@dataclass(slots=True)
class Attempt:
    """One go of a worker at a mini-batch; while it is entered, what it comes to is found out."""

    process: ProcessLog
    mini_batch: MiniBatch
    number: int
    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    begun: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    """From sending the mini-batch to the answer."""
    run_seconds: float | None = None
    """What the worker says of its reading, predicting and writing; None where it couldn't say."""
    cpu_seconds: float | None = None
    result: Outcome | WorkerFault | BatchscoreError | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files, in order."""
        return tuple(dict.fromkeys(piece.file.name for piece in self.mini_batch.slices))

    @property
    def files_failed(self) -> int:
        """How many of them came to nothing, or fell short of a scoring script's elements."""
        if not isinstance(self.result, Outcome):
            return len(self.files)
        missing = self.result.shortfall.count if self.result.shortfall else 0
        return missing + len({entry.slice.file.name for entry in self.result.slices if isinstance(entry, Failed)})

    @property
    def title(self) -> str:
        """Which mini-batch, which attempt, which files."""
        files = self.files
        if len(files) == 1:
            piece = self.mini_batch.slices[0]
            named = f"file {files[0]}" + ("" if piece.is_whole else f" from row {piece.first_row}")
        else:
            named = f"{len(files)} files {files[0]} … {files[-1]}"
        return f"mini-batch {self.mini_batch.number}, attempt {self.number}: {one_line(named)}"

    def heard(self, reply: Json) -> Json:
        """A worker's reply, after a look at the times in it."""
        match reply:
            case {"seconds": int() | float() as seconds, "cpu_seconds": int() | float() as cpu_seconds}:
                self.run_seconds, self.cpu_seconds = seconds, cpu_seconds
        return reply

    def came_to(self, outcome: Outcome) -> Outcome:
        """The outcome, which ends the attempt well."""
        self.result = outcome
        return outcome

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self.begun
        if isinstance(error, (WorkerFault, BatchscoreError)) and not isinstance(error, Stopped):
            self.result = error
            detail = error.detail if isinstance(error, WorkerFault) else ""
            self.process.failed(self.title, str(error), detail)
        if self.result is not None:
            self.process.listener.attempted(self)
