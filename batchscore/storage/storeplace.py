"""OUTPUT on a store: finished files, and the small objects by which a job in progress is known."""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, cast

from batchscore.errors import StorageError
from batchscore.storage.access import Access, using
from batchscore.storage.addresses import is_remote, key_of, public
from batchscore.storage.blocks import BLOCK_BYTES, Objects, each_at_once
from batchscore.storage.local import Ready
from batchscore.storage.objects import objects_of, put_file, put_if, put_object, remove_objects
from batchscore.storage.places import Folder
from batchscore.storage.reading import download, open_stored
from batchscore.storage.retrying import NoSuchStore, retried
from batchscore.storage.stored import Facts, StoredFile
from batchscore.storage.stores import FsspecStore, filesystem_of

AT_ONCE = 8
"""Small files that are sent, fetched or removed at the same time."""


class StorePlace:
    """A folder on a store, from any thread; see Place. Whatever the store refuses is a StorageError.

    An object appears whole, since it is one request, or blocks that the last request makes an object.
    """

    def __init__(self, address: str, access: Access) -> None:
        """Raises UsageError: a store that is only read, no credentials, a package is missing."""
        self.path = public(address).rstrip("/")
        self._access = access
        with using(access):
            self._objects: Objects = objects_of(self.path)
            self._fs = filesystem_of(self.path)
        self._store = FsspecStore(self._fs)

    def location(self, name: str) -> str:
        """See Place."""
        return f"{self.path}/{name}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Name OUTPUT where what failed is one of the small objects by which batchscore knows a job."""
        try:
            yield
        except StorageError as error:
            message = without_internals(str(error), self.path)
            if message == str(error):
                raise
            raise type(error)(message) from error.__cause__

    # What is there

    def facts(self, name: str) -> Facts | None:
        """What the store says of a file; None where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return self._facts(name)
        return None

    def _facts(self, name: str) -> Facts | None:
        """None of a folder. Raises FileNotFoundError."""
        self._fs.invalidate_cache()
        with using(self._access), self._told(), _denied(self.location(name)):
            return self._store.facts(self.location(name))

    def holds(self, name: str) -> bool:
        """See Place."""
        with contextlib.suppress(FileNotFoundError):
            self._facts(name)
            return True
        return False

    def has_folder(self, name: str) -> bool:
        """See Place."""
        with contextlib.suppress(FileNotFoundError):
            return self._facts(name) is None
        return False

    def size(self, name: str) -> int | None:
        """See Place."""
        facts = self.facts(name)
        return facts.size if facts else None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """See Place; by a listing of each folder."""
        there = {f"{folder}/{file.name}": file.facts.size for folder in _folders(names) for file in self.find(folder)}
        return [there.get(name) if "/" in name else self.size(name) for name in names]

    def find(self, folder: str) -> list[StoredFile]:
        """All files below a folder, in the order of their names, which are relative to it."""
        self._fs.invalidate_cache()
        url = self.location(folder) if folder else self.path
        with using(self._access), self._told(), _denied(url), contextlib.suppress(FileNotFoundError):
            return sorted(self._store.find(url), key=lambda file: file.name.encode())
        return []

    def names(self, folder: str) -> set[str]:
        """See Place."""
        return {file.name.partition("/")[0] for file in self.find(folder)}

    def require_store(self) -> None:
        """Raise StorageError where there is no such container or bucket, which reading may take for an empty one."""
        with using(self._access), _denied(self.path), contextlib.suppress(FileNotFoundError):
            retried(lambda: self._objects.look(key_of(self.path)), f"can't list {self.path}")

    # Reading

    def open(self, name: str) -> BinaryIO:
        """See Place. Raises FileNotFoundError."""
        facts = self._facts(name)
        if facts is None:
            raise IsADirectoryError(f"{self.location(name)} is a folder")
        with using(self._access):
            return cast("BinaryIO", _Buffered(open_stored(self.location(name), facts.size), self._access))

    def read(self, name: str) -> bytes:
        """A small file. Raises FileNotFoundError."""
        with using(self._access), self.open(name) as stream:
            return stream.read()

    def read_all(self, files: Sequence[StoredFile]) -> list[bytes]:
        """The content of small files, in order. Raises FileNotFoundError."""

        def read(file: StoredFile) -> bytes:
            with using(self._access), self._told(), _denied(file.path):
                return self._store.read_range(file.path, 0, file.facts.size) if file.facts.size else b""

        return each_at_once(read, files, AT_ONCE)

    def fetch(self, files: Iterable[StoredFile], folder: str) -> None:
        """Copy files to a local folder, by their names. Raises FileNotFoundError."""
        with using(self._access), _denied(self.path):
            download(files, folder)

    @contextlib.contextmanager
    def local_copies(self, names: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """See Place. Raises FileNotFoundError."""
        with tempfile.TemporaryDirectory(prefix="batchscore-") as folder:
            files = []
            for name in names:
                facts = self._facts(name)
                if facts is None:
                    raise IsADirectoryError(f"{self.location(name)} is a folder")
                files.append(StoredFile(name, self.location(name), facts))
            self.fetch(files, folder)
            yield tuple(str(Path(folder, name)) for name in names)

    # Writing

    def write(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with using(self._access), self._told():
            put_object(self._objects, self.location(name), content)

    def write_if(self, name: str, content: bytes, only_if: str) -> bool:
        """Write a small file where its version is this, or NEW; whether that was so."""
        with using(self._access), self._told():
            return put_if(self._objects, self.location(name), content, only_if)

    def upload(self, name: str, path: str) -> None:
        """Write a file that lies here."""
        with using(self._access), self._told():
            put_file(self._objects, self.location(name), path)

    def put(self, files: Sequence[Ready]) -> None:
        """See Place; small files several at a time."""
        small = [file for file in files if file.bytes <= BLOCK_BYTES]
        with using(self._access), self._told():
            each_at_once(self._put, small, AT_ONCE)
            for file in files:
                if file.bytes > BLOCK_BYTES:
                    self._put(file)

    def _put(self, file: Ready) -> None:
        put_file(self._objects, self.location(file.name), file.temporary)
        Path(file.temporary).unlink(missing_ok=True)

    def remove(self, names: Iterable[str]) -> None:
        """See Place."""
        wanted = [name for name in names if name and ".." not in name.split("/") and not name.startswith("/")]
        within: dict[str, list[str]] = {}
        """Addresses of files in folders, by each name that takes them away."""
        for folder in _folders(wanted):
            for file in self.find(folder):
                for each in accumulate((folder, *file.name.split("/")), "{}/{}".format):
                    within.setdefault(each, []).append(file.path)
        urls: list[str] = []
        for name in wanted:
            if "/" in name:
                urls += within.get(name.rstrip("/"), ())
            else:
                urls += [self.location(name)] if self.facts(name) else [file.path for file in self.find(name)]
        self.remove_objects(list(dict.fromkeys(urls)))

    def remove_objects(self, urls: list[str]) -> None:
        """Take objects of this place away by their addresses."""
        with using(self._access):
            remove_objects(self._fs, urls, AT_ONCE)

    def mirror(self, folder: str, source: str, first: str) -> None:
        """See Place."""
        here = [path.relative_to(source).as_posix() for path in sorted(Path(source).rglob("*")) if path.is_file()]
        there = {file.name for file in self.find(folder)}
        self.upload(f"{folder}/{first}", str(Path(source, first)))

        def upload(name: str) -> None:
            self.upload(f"{folder}/{name}", str(Path(source, name)))

        each_at_once(upload, [name for name in here if name != first], AT_ONCE)
        self.remove_objects([self.location(f"{folder}/{name}") for name in sorted(there - set(here))])

    def forget_uploads(self, names: Collection[str]) -> None:
        """Forget what uploads of these files and folders left behind that were broken off."""
        with using(self._access), contextlib.suppress(Exception):  # who may write may not list uploads, perhaps
            self._objects.abort_all(key_of(self.path), names)


def without_internals(message: str, output: str) -> str:
    """A message about job.json or what lies in .batchscore, about OUTPUT instead, whose owner knows nothing of them."""
    internal = re.compile(rf"(?:OUTPUT )?{re.escape(output)}/(?:job\.json|\.batchscore(?:/[^\s:;,]*)?)(?=[\s:;,]|$)")
    return internal.sub(lambda _: f"OUTPUT {output}", message)


def _folders(names: Iterable[str]) -> list[str]:
    """The folders that names are in: to list one is a few requests, however many of its files are asked for."""
    return list(dict.fromkeys(name.partition("/")[0] for name in names if "/" in name))


class _Buffered(io.BufferedReader):
    """A file of the place, read by its access wherever that happens."""

    def __init__(self, raw: BinaryIO, access: Access) -> None:
        self._access = access
        super().__init__(cast("io.RawIOBase", raw), 1 << 20)

    def read(self, size: int | None = -1, /) -> bytes:
        with using(self._access):
            return super().read(-1 if size is None else size)

    def readline(self, size: int | None = -1, /) -> bytes:
        with using(self._access):
            return super().readline(-1 if size is None else size)

    def __next__(self) -> bytes:
        with using(self._access):
            return super().__next__()


@contextlib.contextmanager
def _denied(url: str) -> Iterator[None]:
    """Turn what is about one file for an INPUT into what it is for OUTPUT."""
    try:
        yield
    except PermissionError as error:
        raise StorageError(
            f"OUTPUT {url}: the store denies access ({error.strerror}); check what the credentials may read and list"
        ) from error
    except NoSuchStore as error:
        raise NoSuchStore(f"OUTPUT {url}: there is no such container or bucket; check its name, or make it") from error


def place_of(output: str, access: Access) -> Folder | StorePlace:
    """The place of an OUTPUT, which is an absolute path or an address."""
    return StorePlace(output, access) if is_remote(output) else Folder(output)
