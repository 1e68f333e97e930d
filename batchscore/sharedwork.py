"""A job's work on the store of its OUTPUT: its header, receipts and parts, by which any machine can go on with it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from batchscore.errors import StorageError
from batchscore.minibatch import Json, MiniBatch, compact
from batchscore.moments import seconds_of
from batchscore.outcome import Outcome, Scored
from batchscore.storage import Facts, StoredFile, StorePlace, sha256_of, storage_errors

ROOT = ".batchscore"
_HEADER = f"{ROOT}/header.json"
_SMALL = ("inputs.jsonl", "run.json", "files.json")
"""Files of a workspace that whoever goes on needs, too; see docs/design.md."""
_FETCHED = 64
"""Objects with receipts whose content is in memory at once."""
_NOT_OURS = (ValueError, KeyError, TypeError, AttributeError)
"""What reading a header or a receipt of another make raises."""


@dataclass(frozen=True, slots=True)
class SharedPart:
    """A file beside a receipt, as it was uploaded."""

    address: str
    bytes: int
    sha256: str


def files_of(outcome: Outcome) -> list[str]:
    """The files below the parts folder that a receipt speaks of."""
    scored = [entry for entry in outcome.slices if isinstance(entry, Scored)]
    names = [entry.part for entry in scored if entry.part]
    names += [entry.aside.part for entry in scored if entry.aside]
    folder = MiniBatch(outcome.number, tuple(entry.slice for entry in outcome.slices)).files_name
    return [*dict.fromkeys(names), *(f"{folder}/{name}" for name in outcome.files)]


class SharedWork:
    """The work as the store has it, and what of it lies in a local folder.

    Each run writes below names of its own, so that no two runs write the same object, whatever became of the lock: a
    receipt speaks of the parts of its own run.
    """

    def __init__(self, place: StorePlace, folder: str) -> None:
        self._place = place
        self._folder = Path(folder)
        self._parts: dict[str, SharedPart] = {}
        """By their names below the parts folder: as the last receipt of each speaks of it."""
        self.job: str | None = None
        """Whose work it is."""
        self.run = 1
        """The number of the next run."""

    @property
    def parts_folder(self) -> Path:
        """Where parts lie here."""
        return self._folder / "parts"

    def bring(self) -> None:
        """Make the local journal what the store's receipts say, and drop local parts that aren't those uploaded.

        Raises StorageError.
        """
        journal = self._folder / "journal.jsonl"
        try:
            header = self._place.read(_HEADER)
            self.job = json.loads(header)["job"]
        except FileNotFoundError:
            header, self.job = b"", None
        except _NOT_OURS:
            raise self._stranger(_HEADER) from None
        with storage_errors(f"can't write to {self._folder}"):
            for name in (journal.name, *_SMALL):
                (self._folder / name).unlink(missing_ok=True)
            if self.job is not None:
                try:
                    self._bring_receipts(header, journal)
                except _NOT_OURS:
                    raise self._stranger(f"{ROOT}/{self.job}") from None
            self._drop_others()

    def _stranger(self, name: str) -> StorageError:
        return StorageError(
            f"{self._place.location(name)} is not of this version of batchscore; remove {ROOT} there to start anew"
        )

    def _bring_receipts(self, header: bytes, journal: Path) -> None:
        there = {file.path: file.facts.size for file in self._place.find(f"{ROOT}/{self.job}/parts")}
        receipts = self._place.find(f"{ROOT}/{self.job}/receipts")
        runs = [file.name for file in receipts] + [path.split("/parts/")[-1] for path in there]
        self.run = 1 + max((int(name[:4]) for name in runs), default=0)
        temporary, last = journal.with_suffix(".tmp"), ""
        with temporary.open("wb") as stream:
            stream.write(header.rstrip(b"\n") + b"\n")
            for file, record in self._records(receipts):
                run = file.name.rpartition("-")[0]
                last = record["at"]
                for name, (size, digest) in record["parts"].items():
                    address = self._place.location(f"{ROOT}/{self.job}/parts/{run}/{name}")
                    self._parts.pop(name, None)
                    if there.get(address) == size:
                        self._parts[name] = SharedPart(address, size, digest)
                stream.writelines(compact(outcome).encode() + b"\n" for outcome in record["outcomes"])
        temporary.replace(journal)
        if last:
            seconds = seconds_of(last)
            os.utime(journal, (seconds, seconds))  # for who looks on
        for file in self._place.find(ROOT):
            if file.name in _SMALL:
                self._place.fetch([file], str(self._folder))

    def _records(self, receipts: list[StoredFile]) -> Iterator[tuple[StoredFile, Json]]:
        for start in range(0, len(receipts), _FETCHED):
            some = receipts[start : start + _FETCHED]
            for file, content in zip(some, self._place.read_all(some), strict=True):
                yield file, json.loads(content)

    def _drop_others(self) -> None:
        """Remove local parts that aren't those of the receipts, byte for byte."""
        parts = self.parts_folder
        for path in sorted(parts.rglob("*"), reverse=True) if parts.exists() else ():
            if path.is_dir():
                if not any(path.iterdir()):
                    path.rmdir()
                continue
            known = self._parts.get(path.relative_to(parts).as_posix())
            if known is None or path.stat().st_size != known.bytes or sha256_of(path) != known.sha256:
                path.unlink()

    def begin(self, job: str, header: bytes) -> None:
        """Say whose work this is from now on; what was another job's goes. Raises StorageError."""
        if job == self.job:
            return
        self._place.write(_HEADER, header)
        self.job, self.run, self._parts = job, 1, {}
        keep = ("lock", "header.json", *_SMALL)
        others = [
            file.path
            for file in self._place.find(ROOT)
            if file.name not in keep and not file.name.startswith(f"{job}/")
        ]
        self._place.remove_objects(others)

    def share(self, name: str) -> None:
        """Upload a small file of the folder. Raises StorageError."""
        self._place.upload(f"{ROOT}/{name}", str(self._folder / name))

    def names(self) -> set[str]:
        """What the parts folder would hold, were all of it here."""
        return {name.partition("/")[0] for name in self._parts}

    def forget(self, names: Iterable[str]) -> None:
        """Don't take these for parts any more."""
        gone = set(names)
        self._parts = {name: part for name, part in self._parts.items() if name.partition("/")[0] not in gone}

    def fetch(self, name: str) -> None:
        """Bring a part here, if the store has it. Raises StorageError."""
        part = self._parts.get(name)
        if part is None:
            return
        target = self.parts_folder / name
        with storage_errors(f"can't write {target}"):
            incoming = self._folder / "incoming"
            incoming.mkdir(mode=0o700, exist_ok=True)
        file = StoredFile(hashlib.sha256(name.encode()).hexdigest(), part.address, Facts(part.bytes, ""))
        try:
            self._place.fetch([file], str(incoming))
        except OSError as error:
            raise StorageError(f"can't read {part.address}: {error.strerror}; run the same command again") from error
        copy = incoming / file.name
        with storage_errors(f"can't write {target}"):
            if copy.stat().st_size != part.bytes or sha256_of(copy) != part.sha256:
                raise StorageError(f"{part.address} isn't what was written there; remove it to have it scored again")
            target.parent.mkdir(parents=True, exist_ok=True)
            copy.replace(target)

    def remove(self) -> None:
        """Take everything away but the lock. Raises StorageError."""
        files = sorted(self._place.find(ROOT), key=lambda file: file.name != "header.json")  # without it, no job is
        header = [file.path for file in files if file.name == "header.json"]
        self._place.remove_objects(header)
        self._place.remove_objects([file.path for file in files if file.name not in {"lock", "header.json"}])
