"""Files that a scoring script wrote itself: one mini-batch's never replaces another one's, nor a stranger's."""

from __future__ import annotations

import filecmp
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import BinaryIO

from batchscore.errors import UsageError
from batchscore.minibatch import MiniBatch
from batchscore.outcome import Outcome
from batchscore.planning import Prepared
from batchscore.receipts import Receipts
from batchscore.redaction import redact
from batchscore.storage import Ready, prepare, prepare_link
from batchscore.summary import Verdicts

_WITH_HEADINGS = {".csv", ".tsv", ".txt"}
_LONGEST_HEADING = 10_000


@dataclass(frozen=True, slots=True)
class Piece:
    """A file as one mini-batch wrote it."""

    path: str
    begun: int | None
    """The bytes that init() had written where the mini-batch only appended; None where it did otherwise."""

    def is_same(self, other: Piece) -> bool:
        return filecmp.cmp(self.path, other.path, shallow=False)

    def beginning(self) -> bytes:
        """What init() wrote."""
        with open(self.path, "rb") as stream:  # noqa: PTH123
            return stream.read(self.begun or 0)

    def heading(self) -> bytes:
        """The first line that the mini-batch appended, where it looks like a header: some text, but no value."""
        with open(self.path, "rb") as stream:  # noqa: PTH123
            stream.seek(self.begun or 0)
            line = stream.readline(_LONGEST_HEADING).strip()
        is_data = line[:1] in b"{[" or any(_is_number(field) for field in re.split(rb"[\s,;|]+", line))
        return b"" if is_data else line


class WrittenFiles:
    """Which mini-batch wrote which files so far."""

    def __init__(self, find: Callable[[str], str]) -> None:
        """``find``: where a file lies of that name below the parts folder."""
        self._find = find
        self._first: dict[str, Piece] = {}
        """As it came first, by the file's name."""
        self._folders: set[str] = set()

    @classmethod
    def of(cls, receipts: Receipts, find: Callable[[str], str]) -> WrittenFiles:
        """What the mini-batches wrote that are done already."""
        files = cls(find)
        for extra in receipts.extras():
            files._take(extra.folder, receipts.written(extra), receipts.appended(extra))
        return files

    def take(self, outcome: Outcome) -> None:
        """Add what a mini-batch wrote. Raises UsageError where it and another one's can't be one file."""
        whole = MiniBatch(outcome.number, tuple(entry.slice for entry in outcome.slices))
        self._take(whole.files_name, outcome.files, dict(outcome.appended))

    def _take(self, folder: str, names: Iterable[str], appended: Mapping[str, int]) -> None:
        for name in names:
            above = {str(path) for path in PurePosixPath(name).parents}
            if name in self._folders or not above.isdisjoint(self._first):
                raise _one_for_two(name)
            piece = Piece(self._find(f"{folder}/{name}"), appended.get(name))
            first = self._first.setdefault(name, piece)
            if first.path != piece.path:
                _refuse_unlike(name, first, piece)
            self._folders |= above


def _refuse_unlike(name: str, one: Piece, other: Piece) -> None:
    """Refuse two mini-batches' files that aren't to be joined, nor the same."""
    if one.begun is None or other.begun is None:
        if one.begun != other.begun or not one.is_same(other):
            raise _one_for_two(name)
        return
    if one.beginning() != other.beginning():
        raise UsageError(
            f"init() wrote {name} to AZUREML_BI_OUTPUT_PATH, in two workers not the same, and run() appends to it; "
            "which one is to be its beginning?"
        )
    heading = one.heading() if PurePosixPath(name).suffix.lower() in _WITH_HEADINGS else b""
    if heading and heading == other.heading():
        raise UsageError(
            f"two mini-batches appended to {name} in AZUREML_BI_OUTPUT_PATH, and both began with "
            f"{redact(heading.decode('utf-8', 'replace'))!r}: joined, what looks like a header would stand in the "
            "middle. Write the header in init(), or name files after those of the mini-batch"
        )


def _one_for_two(name: str) -> UsageError:
    return UsageError(
        f"two mini-batches wrote {name} to AZUREML_BI_OUTPUT_PATH, and one would replace the other; "
        "have the scoring script name files after those of its mini-batch, or append to the file (mode 'a')"
    )


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def ready_files(prepared: Prepared, verdicts: Verdicts) -> Iterator[Ready]:
    """The files of all mini-batches that are scored, waiting for their places.

    Of equal names, those that were appended to are joined in the mini-batches' order; others are the same.
    """
    workspace = prepared.workspace
    pieces: dict[str, list[Piece]] = {}
    for verdict in verdicts if verdicts.receipts.is_whole else ():
        if verdict.is_failed or not verdict.extra:
            continue
        appended = verdicts.receipts.appended(verdict.extra)
        for name in verdicts.receipts.written(verdict.extra):
            path = workspace.part(f"{verdict.extra.folder}/{name}")
            found = pieces.setdefault(name, [])
            if not found or found[0].begun is not None:
                found.append(Piece(path, appended.get(name)))
    for name, found in pieces.items():
        if len(found) == 1:
            yield prepare_link(workspace.ready, name, found[0].path)
        else:
            yield prepare(workspace.ready, name, partial(_join, found))


def _join(pieces: Sequence[Piece], stream: BinaryIO) -> None:
    """One file of what init() wrote and what each mini-batch appended."""
    for number, piece in enumerate(pieces):
        with open(piece.path, "rb") as source:  # noqa: PTH123
            source.seek((piece.begun or 0) if number else 0)
            shutil.copyfileobj(source, stream)


def announce(prepared: Prepared, files: Sequence[Ready], earlier: Collection[str]) -> None:
    """Write down which files are about to be put into OUTPUT, so that they can be taken away again.

    Raises UsageError where something is in the way that no job of batchscore put there.
    """
    output, names = prepared.workspace.output, [file.name for file in files]
    ours = {*earlier, *prepared.earlier.header.replaces}
    for name in names:
        for place in (name, *map(str, list(PurePosixPath(name).parents)[:-1])):
            is_wanted = output.has_folder(place) if place != name else not output.holds(place)
            may_go = place in ours or (prepared.job.overwrite and place == name and not output.has_folder(place))
            if not is_wanted and not may_go and output.holds(place):
                raise UsageError(
                    f"OUTPUT {output.path} holds {place}, which no job of batchscore wrote, and the scoring script "
                    f"wrote {name} to AZUREML_BI_OUTPUT_PATH; give another OUTPUT, or --overwrite to replace the file"
                )
    prepared.workspace.announce({*earlier, *names})
