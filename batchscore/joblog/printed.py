"""What a worker process prints, from its pipes to its log files."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from batchscore.joblog.capped import CappedFile
from batchscore.redaction import without

STREAMS = ("stdout", "stderr", "log")
"""File descriptors 1 and 2 of a worker, and what it logs (Python's logging)."""
_BLOCK = 1 << 16
_MOST_BLOCKS = 32
"""Read at once where a process never stops printing: a pipe holds no more."""
_LONGEST_LINE = 1 << 16
"""Bytes of a line that are held back until its end comes, lest a secret be cut in two."""
_PATIENCE = 3.0
"""Seconds that the reading thread has to end; it needs none of them but on a disk or a machine that stands still."""


class Printed:
    """One stream of a worker, in a file: without secrets, with a line before the first output of each mini-batch."""

    def __init__(self, path: Path, secrets: Iterable[str]) -> None:
        self.file = CappedFile(path)
        self._secrets = tuple(secrets)
        self._secret_bytes = tuple(os.fsencode(secret) for secret in self._secrets)
        self._title = b""
        self._rest = b""

    def mark(self, title: str) -> None:
        """What comes now belongs to what the title names; where nothing comes, the title isn't written either."""
        self.flush()
        self._title = f"--- {title} ---\n".encode("utf-8", "backslashreplace")

    def write(self, content: bytes) -> bytes:
        """Append whole lines; what was written, without secrets."""
        content = self._rest + content
        end = max(content.rfind(b"\n"), content.rfind(b"\r")) + 1
        if len(content) - end > _LONGEST_LINE:
            end = len(content)
        self._rest = content[end:]
        return self._append(content[:end])

    def flush(self) -> bytes:
        """Append a line that has no end yet."""
        rest, self._rest = self._rest, b""
        return self._append(rest)

    def _append(self, content: bytes) -> bytes:
        if not content:
            return b""
        if self._is_suspicious(content):
            text = content.decode("utf-8", "surrogateescape")
            content = without(self._secrets, text).encode("utf-8", "surrogateescape")
        if self._title:
            self.file.write(self._title_line())
        self.file.write(content)
        return content

    def _title_line(self) -> bytes:
        title, self._title = self._title, b""
        return title if self.file.at_line_start else b"\n" + title

    def _is_suspicious(self, content: bytes) -> bool:
        """Whether there may be something to hide: addresses, keys and their values need one of these."""
        return b"://" in content or b"=" in content or any(secret in content for secret in self._secret_bytes)


class Reader:
    """The reading ends of a worker's pipes; a thread takes what comes, so that the worker never waits for long.

    ``drain`` may be called from any thread: afterwards all that the worker wrote before is taken.
    """

    def __init__(self, take: Callable[[str, bytes], None]) -> None:
        self._take = take
        self._lock = threading.RLock()
        self._ending = threading.RLock()
        self._is_stopping = False
        self._wake, self._waker = os.pipe()
        pipes = {stream: os.pipe() for stream in STREAMS}
        self._streams = {reading: stream for stream, (reading, _) in pipes.items()}
        self.ends = {stream: writing for stream, (_, writing) in pipes.items()}
        """The writing ends, for the worker."""
        for reading in self._streams:
            os.set_blocking(reading, False)
        self._thread = threading.Thread(target=self._run, name="printed", daemon=True)

    def give_to(self, take: Callable[[str, bytes], None]) -> None:
        """Let somebody else have what is read from now on."""
        with self._lock:
            self._take = take

    def start(self) -> None:
        """Read from now on; the worker has the writing ends."""
        self.give_ends_away()
        if not self._is_stopping and self._thread.ident is None:
            self._thread.start()

    def give_ends_away(self) -> None:
        """Close the writing ends here, once the worker has them; again does nothing."""
        for end in self.ends.values():
            os.close(end)
        self.ends = {}

    def _run(self) -> None:
        if not self._streams:  # stopped before it ran
            return
        ready = select.poll()
        for descriptor in (self._wake, *self._streams):
            ready.register(descriptor, select.POLLIN)
        while self._streams and not self._is_stopping:
            found = [descriptor for descriptor, _ in ready.poll()]
            with self._lock:
                for descriptor in found:
                    if descriptor in self._streams and not self._read(descriptor):
                        ready.unregister(descriptor)
                        self._close(descriptor)
        self._finish()

    def _read(self, descriptor: int) -> bool:
        """Take what is there; False at the stream's end."""
        for _ in range(_MOST_BLOCKS):
            try:
                content = os.read(descriptor, _BLOCK)
            except BlockingIOError:
                break
            if not content:
                return False
            self._take(self._streams[descriptor], content)
        return True

    def drain(self) -> None:
        """Take what the worker has written so far."""
        with self._lock:
            for descriptor in tuple(self._streams):
                self._read(descriptor)

    def _close(self, descriptor: int) -> None:
        del self._streams[descriptor]
        os.close(descriptor)

    def _finish(self) -> None:
        """Take the rest and close all; a process that outlives the worker can't print any more."""
        with self._lock:
            self.drain()
            self._close_all()

    def _close_all(self) -> None:
        for descriptor in tuple(self._streams):
            self._close(descriptor)
        os.close(self._wake)

    def stop(self) -> None:
        """Read what is there and end; again only waits for that."""
        self._is_stopping = True
        with self._ending:
            waker, self._waker = self._waker, -1
            if waker >= 0:
                os.close(waker)  # which wakes the thread
                if self._thread.ident is None:  # never started: what was printed is nobody's business
                    self.give_ends_away()
                    self._close_all()
        if self._thread.ident is not None and self._thread is not threading.current_thread():
            self._thread.join(_PATIENCE)
