"""AZUREML_BI_OUTPUT_PATH: the folder that a worker's scoring script writes to, and what it wrote for a mini-batch."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from batchscore.appends import AppendWatch
from batchscore.errors import AnswerRefused, StorageError

TOLD = ".rest"
"""Suffix of the file that says what shutdown() left in a worker's folder."""


class OutputFolder:
    """One worker's folder: the same path as long as it lives, before each mini-batch with what init() left in it.

    So what run() finds there depends on no other mini-batch. A mini-batch's files move to a place of their own beside
    its part, whole or not at all. Methods raise StorageError where the disk refuses.
    """

    def __init__(self, workers: str, parts: str, reserved: tuple[str, ...]) -> None:
        """A new folder below `workers`; `reserved` are first names that files can't have."""
        with _storage_errors(workers):
            self.path = tempfile.mkdtemp(prefix="worker-", dir=workers)
        self._first = Path(f"{self.path}.first")
        self.tracking = f"{self.path}.tracking"
        """What the script logs with MLflow, as long as the job's own folder is there."""
        self._parts = parts
        self._reserved = reserved
        self._watch = AppendWatch(self.path)

    def settle(self) -> None:
        """What is here now, init() has written: each mini-batch begins with it."""
        with _storage_errors(self.path):
            Path(self.path).mkdir(exist_ok=True)  # a script may clear it away
            shutil.copytree(self.path, self._first)
        self._watch.settle()

    def keep(self, name: str) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
        """Move the files here to the folder `name` beside the parts.

        Returns their relative names, in order, and those that were only appended to, each with the number of bytes
        that init() had written there.

        Files of init() are copied, so that they stay as well. An earlier attempt's folder goes. Raises AnswerRefused
        for what can't be published: names that OUTPUT needs itself, links to nothing, pipes.
        """
        place, staged = Path(self._parts, name), Path(f"{self.path}.staged")
        with _storage_errors(self.path):
            names = sorted(self._names())
            for each in names:
                self._check(each)
            self._refuse_open(set(names))
            for stale in (place, staged):
                shutil.rmtree(stale, ignore_errors=not stale.exists())
            for each in names:
                self._move(each, staged)
            if names:
                staged.replace(place)
            appended = ((each, self._size_at_first(each)) for each in names if each in self._watch.names)
            return tuple(names), tuple(appended)

    def _size_at_first(self, name: str) -> int:
        first = self._first / name
        return first.stat().st_size if first.is_file() else 0

    def reset(self) -> None:
        """Leave here what init() left, and nothing else."""
        with _storage_errors(self.path):
            Path(self.path).mkdir(exist_ok=True)
            _restore(Path(self.path), self._first)
        self._watch.forget()

    def tell_rest(self) -> None:
        """Leave word of the files that came after the last mini-batch, which are nobody's."""
        first = {str(path.relative_to(self._first)) for path in self._first.rglob("*")}
        if rest := sorted(set(self._names()) - first):
            Path(f"{self.path}{TOLD}").write_text(json.dumps(rest))

    def _names(self) -> Iterator[str]:
        """All that isn't a folder, relative to here."""
        for folder, folders, names in os.walk(self.path):
            links = [name for name in folders if Path(folder, name).is_symlink()]
            for name in (*names, *links):
                yield Path(folder, name).relative_to(self.path).as_posix()

    def _check(self, name: str) -> None:
        top = PurePosixPath(name).parts[0]
        if top in self._reserved:
            raise AnswerRefused(
                f"run() wrote {name} to AZUREML_BI_OUTPUT_PATH, but {top} in OUTPUT is batchscore's own; "
                "give the file another name"
            )
        if not Path(self.path, name).is_file():
            raise AnswerRefused(
                f"run() left {name} in AZUREML_BI_OUTPUT_PATH, which is no file; only files and folders can be kept"
            )
        try:
            name.encode()
        except UnicodeEncodeError:
            raise AnswerRefused(
                f"run() wrote {name!r} to AZUREML_BI_OUTPUT_PATH; names of files there must be UTF-8"
            ) from None

    def _refuse_open(self, names: set[str]) -> None:
        """Refuse files that the process still writes to, where the system tells: their end may not be there yet."""
        if is_open := self._open() & names:
            gc.collect()  # a file that nobody can reach any more closes
            is_open = self._open() & names
        if is_open:
            raise AnswerRefused(
                f"run() returned and left {min(is_open)} in AZUREML_BI_OUTPUT_PATH open; close files that it writes, "
                "or their end may be missing"
            )

    def _open(self) -> set[str]:
        """Names of files here, other than init()'s, that this process has open for writing (Linux, proc(5))."""
        found = set()
        for handle in Path("/proc/self/fd").glob("*"):
            with contextlib.suppress(OSError, ValueError):
                path = handle.readlink().relative_to(self.path)
                flags = re.search(
                    r"^flags:\s*([0-7]+)", Path("/proc/self/fdinfo", handle.name).read_text(), re.MULTILINE
                )
                if flags and int(flags[1], 8) & os.O_ACCMODE and not (self._first / path).exists():
                    found.add(path.as_posix())
        return found

    def _move(self, name: str, staged: Path) -> None:
        source, target = Path(self.path, name), staged / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink() or (self._first / name).exists():
            shutil.copyfile(source, target)
        else:
            source.replace(target)
        handle = os.open(target, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _restore(folder: Path, first: Path) -> None:
    """Make a folder what it was at first, touching only what differs."""
    for entry in list(os.scandir(folder)):
        before = first / entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_folder and not before.is_dir():
            shutil.rmtree(entry.path)
        elif not is_folder and not before.is_file():
            Path(entry.path).unlink()
    for before in first.iterdir() if first.exists() else ():
        now = folder / before.name
        if before.is_dir():
            now.mkdir(exist_ok=True)
            _restore(now, before)
        elif not _is_same(before, now):
            shutil.copy2(before, now)


def _is_same(one: Path, other: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        a, b = one.stat(), other.stat()
        return (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)
    return False


@contextlib.contextmanager
def _storage_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        what = error.strerror if isinstance(error, OSError) else None
        raise StorageError(f"can't keep what the scoring script wrote in {folder}: {what or error}") from error
