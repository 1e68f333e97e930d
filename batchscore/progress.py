"""What a person sees while a job runs: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO, cast

from batchscore.nouns import counted

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_SECONDS = 10.0
_BAR = "{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}{postfix} [{elapsed}<{remaining}]"
_FULL_BAR = _BAR.replace("<{remaining}", "")
"""How long the rest takes (the job's verdict, joining) isn't known."""


class Watcher(Protocol):
    """Who is told how a job goes on. Methods are called from any thread."""

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None: ...

    def note(self, text: str) -> None:
        """Something to tell once; the same text again is left out."""

    def detail(self, text: str) -> None:
        """Something for who debugs."""

    def planned(self, total: int, todo: int) -> None:
        """Bytes of input in all, and those that are still to score."""

    def scored(self, rows: int) -> None: ...

    def finished(self, size: int) -> None:
        """A mini-batch of that many bytes is done."""

    def closed(self) -> None: ...


class Silent:
    """Tells nobody."""

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None: ...

    def note(self, text: str) -> None: ...

    def detail(self, text: str) -> None: ...

    def planned(self, total: int, todo: int) -> None: ...

    def scored(self, rows: int) -> None: ...

    def finished(self, size: int) -> None: ...

    def closed(self) -> None: ...


class Undaunted:
    """A stream that drops what can't be written: no job ends because its terminal or its reader has gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):  # ValueError: closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Notes(Silent):
    """Says each note once, and details where they are asked for."""

    is_detailed = False

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._noted: set[str] = set()
        self._rows = 0
        self._begun = time.monotonic()

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None:  # noqa: ARG002 (the bar's and lines')
        for note in notes:
            self.note(note)

    def note(self, text: str) -> None:
        with self._lock:
            if text not in self._noted:
                self._noted.add(text)
                self._say(printable(text))

    def detail(self, text: str) -> None:
        if self.is_detailed:
            with self._lock:
                self._say(printable(text))

    def _say(self, text: str) -> None:
        print(text, file=self._stream, flush=True)


def printable(text: str) -> str:
    """The text without control characters other than line ends, as a terminal may show it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def opening_line(files: int, folders: int, skipped: int) -> str:
    """The first line of a run, such as `3 files in 1 folder, 0 skipped`."""
    return f"{counted(files, 'file')} in {counted(folders, 'folder')}, {skipped:,} skipped"


class Lines(Notes):
    """Plain lines for logs: notes at once, progress every ten seconds."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._total = self._done = self._before = 0
        self._said = self._begun
        self._first: tuple[float, int] | None = None
        """When the first mini-batch was done, and what was by then; the rest needn't wait for the model."""

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None:
        self._say(opening_line(files, folders, skipped))
        super().opened(files, folders, skipped, notes)

    def planned(self, total: int, todo: int) -> None:
        self._total, self._done, self._before = total, total - todo, total - todo
        self._begun = self._said = time.monotonic()

    def scored(self, rows: int) -> None:
        with self._lock:
            self._rows += rows

    def finished(self, size: int) -> None:
        with self._lock:
            self._done += size
            now = time.monotonic()
            since, before = self._first = self._first or (now, self._done)
            if now - self._said < LINE_SECONDS:
                return
            self._said = now
        elapsed = now - self._begun
        left = ""
        if self._done >= self._total:
            left = "; finishing"  # the verdict, and bringing out predictions, which takes a while for many
        elif self._done > before:
            left = f", {(now - since) * (self._total - self._done) / (self._done - before):,.0f} s left"
        whose = " by this run" if self._before else ""
        self._say(
            f"{100 * self._done // max(self._total, 1)} % of the input, {self._rows:,} rows{whose}, "
            f"{self._rows / elapsed:,.0f} rows/s{left}"
        )


class Bar(Notes):
    """A bar over the bytes of input, with rows, rate and remaining time."""

    def __init__(self, stream: TextIO, *, colour: bool) -> None:
        super().__init__(stream)
        self._colour = "green" if colour else None
        self._bar: tqdm[None] | None = None

    def _say(self, text: str) -> None:
        if self._bar is None:
            super()._say(text)
        else:
            self._bar.write(text, file=self._stream)

    def opened(self, files: int, folders: int, skipped: int, notes: tuple[str, ...]) -> None:
        self._say(opening_line(files, folders, skipped))
        super().opened(files, folders, skipped, notes)

    def planned(self, total: int, todo: int) -> None:
        if not todo:
            return  # a full bar would say that something was scored
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own
        self._begun = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=total - todo,
            file=self._stream,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            colour=self._colour,
            leave=False,
            **_width(self._stream),
            bar_format=_BAR,
        )

    def scored(self, rows: int) -> None:
        with self._lock:
            self._rows += rows
            if self._bar is not None and self._rows:
                rate = self._rows / max(time.monotonic() - self._begun, 0.001)
                self._bar.set_postfix_str(f"{self._rows:,} rows, {rate:,.0f} rows/s", refresh=False)
                self._bar.update(0)

    def finished(self, size: int) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.update(size)
                if self._bar.n >= self._bar.total:
                    self._bar.bar_format = _FULL_BAR
                    self._bar.refresh()

    def closed(self) -> None:
        with self._lock:  # a thread that outlasts the scoring may be about to tell of rows
            if self._bar is not None:
                self._bar.close()
                self._bar = None


def _width(stream: TextIO) -> dict[str, Any]:
    """How wide the bar is: as the terminal at any time, or 80 columns where it doesn't say."""
    with contextlib.suppress(OSError, ValueError):
        if os.get_terminal_size(stream.fileno()).columns > 0:
            return {"dynamic_ncols": True}
    return {"ncols": 80, "nrows": 24}


def watcher(stream: TextIO, *, quiet: bool, colour: bool, logging_level: str = "info") -> Watcher:
    """The watcher that suits a stream: a bar on a terminal, lines elsewhere; notes alone at level warning."""
    if quiet:
        return Silent()
    lasting = cast("TextIO", Undaunted(stream))
    if logging_level == "warning":
        return Notes(lasting)
    found = Bar(lasting, colour=colour) if stream.isatty() else Lines(lasting)
    found.is_detailed = logging_level == "debug"
    return found
