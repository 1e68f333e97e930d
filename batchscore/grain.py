"""How much finer a job's work could be shared out, and what would make it so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from batchscore import readers
from batchscore.errors import BatchscoreError
from batchscore.job import Job
from batchscore.minibatch import FileSlice, InputFile, MiniBatch
from batchscore.readers.source import is_ascii_compatible, is_compressed
from batchscore.splitting import auto_bytes, finest
from batchscore.storage import can_be_cut, is_remote

_LEAST = 1 << 10
"""Bytes of the smallest --mini-batch-size."""
_SMALL = 2 * _LEAST
"""Bytes of a CSV that aren't cut any further."""
_READ_AGAIN = 64 << 20
"""Bytes of a CSV that are worth reading once more to see whether it can be cut, a tenth of a second."""
_ROW_GROUPS = (
    "a Parquet file is cut between row groups, and within one that is a quarter of the job or more, into 4 pieces at "
    "most, of 65,536 rows or more: written with smaller row groups it would be cut further"
)
_RECORDS = "a CSV isn't cut where its quotes leave in doubt where records end, nor within a record"
_SMALLER = "a smaller --mini-batch-size"


@dataclass(frozen=True, slots=True)
class Grain:
    """What would make more mini-batches of some; nothing where that isn't known, or where they are single rows."""

    remedy: str = ""
    """Which --mini-batch-size would."""
    obstacles: tuple[str, ...] = ()
    """Where none would: what isn't cut, and what would be."""


def grain_of(mini_batches: Iterable[MiniBatch], files: Sequence[InputFile], job: Job, *, has_signature: bool) -> Grain:
    """What would make more mini-batches of these: looks at few files, and never fails for one."""
    looks = _Looks(files, job, has_signature)
    obstacles: dict[str, None] = {}
    for mini_batch in mini_batches:
        try:
            found = looks.at(mini_batch)
        except (BatchscoreError, OSError):
            continue
        if found.remedy:
            return found
        obstacles |= dict.fromkeys(found.obstacles)
    return Grain(obstacles=tuple(obstacles))


@dataclass(frozen=True, slots=True)
class _Looks:
    """At the files of a job."""

    files: Sequence[InputFile]
    job: Job
    has_signature: bool

    def at(self, mini_batch: MiniBatch) -> Grain:
        """Raises BatchscoreError, OSError where a file can't be looked at any more."""
        piece, *more = mini_batch.slices
        is_least = (self.job.mini_batch_size.bytes or _SMALL) <= _LEAST
        if any(each.file != piece.file for each in more):
            return Grain("" if is_least else _SMALLER)
        if obstacles := tuple(self._obstacles(piece)):
            return Grain(obstacles=obstacles)
        number = self._pieces(piece)
        if number is None:
            return Grain()
        if number > 1:
            return Grain("" if is_least else self._remedy(piece.file))
        if readers.is_typed(piece.file.name):
            return Grain(obstacles=(_ROW_GROUPS,))
        return Grain(obstacles=(_RECORDS,) if readers.is_csv(piece.file.name) else ())

    def _remedy(self, file: InputFile) -> str:
        if self.job.mini_batch_size.files is None:
            return _SMALLER
        kilobytes = max(file.size >> 12, 1)  # a quarter
        example = f"{kilobytes}kb" if kilobytes < 1024 else f"{kilobytes >> 10}MB"  # noqa: PLR2004  # kilobytes
        parts = " (predict gets parts of them then)" if self.job.predicts_whole_files else ""
        return f"a --mini-batch-size in bytes, such as {example}, which cuts files{parts}"

    def _obstacles(self, piece: FileSlice) -> Iterator[str]:
        """What keeps a file whole."""
        file, name = piece.file, piece.file.name.lower()
        if self.job.script:
            yield "a scoring script gets whole files: more, smaller ones would be shared out"
        elif name.endswith(".json"):
            yield "a JSON file isn't cut: more, smaller ones would be shared out"
        elif _is_text(name) or readers.is_typed(name):
            yield from self._obstacles_of_text(file) if _is_text(name) else ()
            if self.job.limit is not None and piece.is_whole and piece.max_rows is not None:
                yield "a file that --limit ends in isn't cut"
            if not can_be_cut(file.path):
                yield "the server gives files as a whole only, so they aren't cut: copies here would be"

    def _obstacles_of_text(self, file: InputFile) -> Iterator[str]:
        kind = "CSV" if readers.is_csv(file.name) else "JSON Lines file"
        if is_compressed(file):
            yield "compressed files aren't cut: unpacked they would be"
        if not self.has_signature:
            yield f"a {kind} for a model without a signature isn't cut, as all of it tells the types: with one it is"
        if readers.is_csv(file.name) and not is_ascii_compatible(self.job.csv.encoding):
            yield f"a CSV in {self.job.csv.encoding} isn't cut: in UTF-8 it would be"

    def _pieces(self, piece: FileSlice) -> int | None:
        """Into how many the slice could be cut; None where that isn't known, or more would be nothing."""
        file = piece.file
        if readers.is_typed(file.name):
            return sum(_lies_in(each, piece) for each in finest(file, self.files, self.job.csv))
        size = file.size if piece.stop is None else piece.stop - piece.start
        if not _is_text(file.name) or size <= _SMALL:
            return None
        if not piece.is_whole:
            return 2
        if size <= _READ_AGAIN and not is_remote(file.path):
            return len(readers.cut(file, max(size // 4, 1024), self.job.csv))
        most = self.job.mini_batch_size.bytes or auto_bytes(self.files)
        return 1 if self.job.mini_batch_size.files is None and size > 2 * most else 2


def _is_text(name: str) -> bool:
    """Whether a file of that name is cut between lines or records."""
    return readers.is_csv(name) or readers.is_jsonl(name)


def _lies_in(part: FileSlice, piece: FileSlice) -> bool:
    """Whether a slice of a Parquet file begins in another one."""
    if piece.is_whole:
        return True
    begins = piece.start <= part.start < (piece.stop or 0) and part.first_row >= piece.first_row
    return begins and (piece.max_rows is None or part.first_row < piece.first_row + piece.max_rows)
