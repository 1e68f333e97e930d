"""Input columns that --keep and --rename name, looked for in the first files: what none of them has is misspelt."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from batchscore import readers
from batchscore.errors import FileRefused, UsageError
from batchscore.inputs import Listing
from batchscore.job import Job
from batchscore.modelfolder import ModelFolder

_LOOKED_AT = 3
"""Files whose columns are looked at before a name is called misspelt."""


def kept_columns(listing: Listing, job: Job, model: ModelFolder) -> tuple[str, ...]:
    """The columns to keep: those named, or all of the first file that can be read, partition columns included.

    Raises UsageError for a name that none of the first files has.
    """
    if not job.keep:
        return ()
    first = list(islice(_headers(listing, job, model), 1 if job.keep == ("*",) else _LOOKED_AT))
    if job.keep == ("*",):
        return first[0] if first else ()
    for name in job.keep if first else ():
        if name not in {"file", "row"} and not _has(first, name):
            raise UsageError(f"--keep {name}: there is no such column, {_found(name, first[0])}")
    return job.keep


def check_renamed(listing: Listing, job: Job, model: ModelFolder) -> None:
    """Raise UsageError for a --rename of a column that none of the first files has, or to one that the model lacks.

    Of several columns that become the same one, the files need to have one. Where the first files have it by the
    model's name, the others are looked at, too.
    """
    schema = model.signature.inputs if job.rename else None
    wanted = [spec.name for spec in schema.specs if spec.name] if schema else []
    first = list(islice(_headers(listing, job, model), _LOOKED_AT)) if job.rename else []
    there = {new for old, new in job.rename if _has(first, old)}
    for old, new in job.rename:
        if wanted and new not in wanted:
            raise UsageError(f"--rename {old}={new}: the model has no input {new}, {_found(new, wanted)}")
        if not first or new in there:
            continue
        if not (_has(first, new) and _has(_headers(listing, job, model), old)):  # in a file after the first ones
            raise UsageError(f"--rename {old}={new}: there is no column {old}, {_found(old, first[0])}")


def _has(headers: Iterable[Sequence[str]], name: str) -> bool:
    return any(name.strip() in header for header in headers)


def _found(name: str, names: Sequence[str]) -> str:
    similar = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {similar[0]}?" if similar else ""
    return f"found {', '.join(names)}{hint}"


def _headers(listing: Listing, job: Job, model: ModelFolder) -> Iterator[tuple[str, ...]]:
    """The column names of the files that can be read, without the spaces around them."""
    for file in listing.files:
        try:
            own = [name.strip() for name in readers.columns(file, job.csv, model.signature.inputs)]
        except (FileRefused, OSError):
            continue  # its worker will say why
        yield (*own, *(name for name, _ in file.partitions if name not in own))
