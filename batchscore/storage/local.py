"""Files and folders: paths, and outputs that appear whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import itertools
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from batchscore.errors import StorageError, UsageError
from batchscore.minibatch import Json
from batchscore.storage.addresses import is_remote


def local_path(location: str, what: str) -> str:
    """The absolute local path of INPUT, OUTPUT or MODEL.

    Raises UsageError for URLs of other stores, for empty text, and for a relative path where the working directory is
    gone.
    """
    if not location:
        raise UsageError(f"{what} is empty text; give a path (is a variable of the shell unset?)")
    if is_remote(location):
        raise UsageError(
            f"{what} {location} is remote, and has to be a local folder; give one, and copy what is in it afterwards"
        )
    try:
        if "://" not in location:
            return os.path.abspath(os.path.expanduser(location))  # noqa: PTH100, PTH111 (links stay as they are)
        import fsspec

        return str(fsspec.filesystem("file")._strip_protocol(location))  # noqa: SLF001 (fsspec's documented way from URL to path)
    except FileNotFoundError:
        raise UsageError(f"{what} {location} is relative to a working directory that is gone; cd to another") from None


_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Ready:
    """A finished file that isn't in its place yet."""

    name: str
    """Relative to the folder it goes to."""
    temporary: str
    bytes: int
    sha256: str

    @property
    def facts(self) -> Json:
        """What job.json says of it."""
        return {"bytes": self.bytes, "sha256": self.sha256}


class _Hashed(io.BufferedIOBase):
    """A file that is written from its beginning to its end, hashed on the way: it isn't read for that."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._stream.write(content)
        self._digest.update(content)
        length = memoryview(content).nbytes
        self.size += length
        return length

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        if not self._stream.closed:
            self._stream.flush()


def prepare(scratch: str, name: str, write: Callable[[BinaryIO], object], *, syncs: bool = True) -> Ready:
    """Write a file in `scratch`, a private folder; hashed, and synced unless `sync_all` will. Raises StorageError."""
    temporary = Path(scratch, f"{next(_numbers):06d}")
    with storage_errors(f"can't write {name} (in {scratch})"):
        try:
            with temporary.open("wb") as stream:
                hashed = _Hashed(stream)
                write(cast("BinaryIO", hashed))
                stream.flush()
                if syncs:
                    os.fsync(stream.fileno())
                return Ready(name, str(temporary), hashed.size, hashed.sha256)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


_SYNCED_AT_ONCE = 8
"""Files: a disk takes several in the time of one."""


def sync_all(files: Collection[Ready]) -> None:
    """Make files survive a power cut that were prepared without. Raises StorageError."""
    if not files:
        return
    scratch = str(Path(next(iter(files)).temporary).parent)
    with storage_errors(f"can't write the outputs (in {scratch})"), ThreadPoolExecutor(_SYNCED_AT_ONCE) as threads:
        for _ in threads.map(sync_file, [file.temporary for file in files]):
            pass


def link_or_copy(source: str, target: str) -> bool:
    """A hard link to a file; False where it had to be copied: another disk, another owner."""
    try:
        Path(target).hardlink_to(os.path.realpath(source))
    except OSError:
        shutil.copyfile(source, target)
        return False
    return True


def prepare_link(scratch: str, name: str, source: str) -> Ready:
    """A file that is there already, and stays there, for another place: linked where the disk can, else copied.

    Raises StorageError.
    """
    temporary = Path(scratch, f"{next(_numbers):06d}")
    with storage_errors(f"can't write {name} (in {scratch})"):
        if not link_or_copy(source, str(temporary)):
            sync_file(str(temporary))
        return Ready(name, str(temporary), temporary.stat().st_size, sha256_of(temporary))


_NO_RENAME = {errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EINVAL}
"""How file systems say that they don't rename, or not from another one."""


def commit(root: str, ready: Ready) -> None:
    """Move a ready file into its place below root: whole, or by one sequential copy where it can't be renamed there.

    A copy that fails is removed; one that is cut short by the end of the process stays, so that what the files are
    worth is told by one that is written last. Raises StorageError.
    """
    target = Path(root, ready.name)
    with storage_errors(f"can't write {target}"):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            Path(ready.temporary).replace(target)
        except OSError as error:
            if error.errno not in _NO_RENAME:
                raise
            copy(Path(ready.temporary), target)
            Path(ready.temporary).unlink()


def copy(source: Path, target: Path) -> None:
    """Write a file from its beginning to its end, and nothing where that fails. Raises OSError."""
    try:
        with source.open("rb") as read, target.open("wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            with contextlib.suppress(OSError):  # not every store can; closing tells whether it has everything
                os.fsync(written.fileno())
    except BaseException:
        with contextlib.suppress(OSError):
            target.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> str:
    """The digest of a file, in hexadecimal. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(path: str) -> None:
    """Make the folder's entries survive a power cut, where the platform can."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sync_file(path: str) -> None:
    """Make a file's content survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the operating system's refusals into a StorageError that says what couldn't be done."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{what}: {error.strerror or error}") from error
