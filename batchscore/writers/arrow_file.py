"""Parts in Arrow's own file format, read again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from batchscore.writers.parts import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator


def batches(path: str) -> Iterator[pa.RecordBatch]:
    """The part's rows, as they were written, one batch in memory. Raises StorageError."""
    with storage_errors("read", path), pa.OSFile(path) as source:  # mapped, all that was read would stay resident
        try:
            reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(use_threads=False))
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        except pa.ArrowInvalid as error:
            raise OSError(f"it isn't whole: {error}") from error
