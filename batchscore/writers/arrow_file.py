"""Parts in Arrow's own file format, read again."""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore.writers.parts import part_errors

if TYPE_CHECKING:
    from collections.abc import Iterator


class ArrowFile:
    """A part that is open: its rows as they were written, from where they are asked for on. Raises StorageError.

    One batch is in memory. It stays there, so that pieces of one batch in order decode it once; where batches begin
    is known of all that were decoded.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        with contextlib.ExitStack() as opened, self._errors():
            source = opened.enter_context(pa.OSFile(path))  # mapped, all that was read would stay resident
            self._reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            self._opened = opened.pop_all()
        self._starts = [0]
        """Rows before each batch, and behind the last that was decoded."""
        self._last: tuple[int, pa.RecordBatch] | None = None

    def close(self) -> None:
        self._last = None
        self._opened.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        for number in range(self._reader.num_record_batches):
            yield self._batch(number)

    def rows(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """Rows [start, stop), as far as there are any: of each batch those that are among them."""
        for number in range(bisect_right(self._starts, start) - 1, self._reader.num_record_batches):
            if start >= stop:
                return
            batch, first = self._batch(number), self._starts[number]
            end = min(stop, first + batch.num_rows)
            if start < end:
                yield batch.slice(start - first, end - start)
                start = end
            del batch  # before the next is decoded

    def _batch(self, number: int) -> pa.RecordBatch:
        if self._last is None or self._last[0] != number:
            self._last = None  # before the next is decoded
            with self._errors():
                self._last = number, self._reader.get_batch(number)
            if len(self._starts) == number + 1:
                self._starts.append(self._starts[-1] + self._last[1].num_rows)
        return self._last[1]

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        with part_errors("read", self._path):
            try:
                yield
            except pa.ArrowInvalid as error:
                raise OSError(f"it isn't whole: {error}") from error
