"""Files that a scoring script wrote itself: one mini-batch's never replaces another one's, nor a stranger's."""

from __future__ import annotations

import filecmp
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from batchscore.errors import UsageError
from batchscore.minibatch import MiniBatch, Outcome
from batchscore.planning import Prepared
from batchscore.receipts import Receipts
from batchscore.storage import Ready, prepare_link
from batchscore.summary import Verdicts


class WrittenFiles:
    """Which mini-batch wrote which files so far."""

    def __init__(self, parts: str) -> None:
        self._parts = parts
        self._places: dict[str, str] = {}
        """Folder of the mini-batch, by the file's name."""
        self._folders: set[str] = set()

    @classmethod
    def of(cls, receipts: Receipts, parts: str) -> WrittenFiles:
        """What the mini-batches wrote that are done already."""
        files = cls(parts)
        for extra in receipts.extras():
            files._take(extra.folder, receipts.written(extra))
        return files

    def take(self, outcome: Outcome) -> None:
        """Add what a mini-batch wrote. Raises UsageError where another one wrote a file of that name, not the same."""
        whole = MiniBatch(outcome.number, tuple(entry.slice for entry in outcome.slices))
        self._take(whole.files_name, outcome.files)

    def _take(self, folder: str, names: Iterable[str]) -> None:
        for name in names:
            above = {str(path) for path in PurePosixPath(name).parents}
            if name in self._folders or not above.isdisjoint(self._places) or not self._is_same(folder, name):
                raise UsageError(
                    f"two mini-batches wrote {name} to AZUREML_BI_OUTPUT_PATH, and one would replace the other; "
                    "have the scoring script name files after those of its mini-batch"
                )
            self._places.setdefault(name, folder)
            self._folders |= above

    def _is_same(self, folder: str, name: str) -> bool:
        other = self._places.get(name, folder)
        return other == folder or filecmp.cmp(
            Path(self._parts, folder, name), Path(self._parts, other, name), shallow=False
        )


def ready_files(prepared: Prepared, verdicts: Verdicts) -> Iterator[Ready]:
    """The files of all mini-batches that are scored, waiting for their places; those of equal names are the same."""
    workspace, seen = prepared.workspace, set[str]()
    for verdict in verdicts:
        if verdict.is_failed or not verdict.extra:
            continue
        for name in verdicts.receipts.written(verdict.extra):
            if name not in seen:
                seen.add(name)
                source = Path(workspace.parts, verdict.extra.folder, name)
                yield prepare_link(workspace.ready, name, str(source))


def announce(prepared: Prepared, files: Sequence[Ready], earlier: Collection[str]) -> None:
    """Write down which files are about to be put into OUTPUT, so that they can be taken away again.

    Raises UsageError where something is in the way that no job of batchscore put there.
    """
    root, names = Path(prepared.workspace.root), [file.name for file in files]
    ours = {*earlier, *prepared.earlier.header.replaces}
    for name in names:
        for place in (name, *map(str, list(PurePosixPath(name).parents)[:-1])):
            is_wanted = (root / place).is_dir() if place != name else not (root / place).exists()
            may_go = place in ours or (prepared.job.overwrite and place == name and not (root / place).is_dir())
            if (root / place).exists() and not is_wanted and not may_go:
                raise UsageError(
                    f"OUTPUT {root} holds {place}, which no job of batchscore wrote, and the scoring script wrote "
                    f"{name} to AZUREML_BI_OUTPUT_PATH; give another OUTPUT, or --overwrite to replace the file"
                )
    prepared.workspace.announce({*earlier, *names})
