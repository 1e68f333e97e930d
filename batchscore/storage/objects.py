"""Writing objects of a store: whole, in one request or in blocks that a last one makes a file; and on a condition."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any, Protocol, TypeVar

from batchscore.errors import StorageError, UsageError
from batchscore.storage.addresses import family_of, key_of
from batchscore.storage.local import storage_errors
from batchscore.storage.retrying import Changed, NoSuchStore, retried
from batchscore.storage.stores import filesystem_of

Result = TypeVar("Result")
Item = TypeVar("Item")

BLOCK_BYTES = 8 << 20
"""Of a request; smaller files are one request."""
MOST_BLOCKS = 9_000
"""Of a file: S3 takes 10,000."""
AT_ONCE = 4
"""Requests of one file, and what is in memory of it in blocks."""
NEW = ""
"""The condition that there is no such object yet."""
_REFUSED_STATUS = {409, 412}
_REFUSED_CODES = {
    "BlobAlreadyExists", "ConditionNotMet", "PreconditionFailed", "ConditionalRequestConflict", "TargetConditionNotMet",
}  # fmt: skip


class Objects(Protocol):
    """What a family of stores needs to write an object. Methods raise what the store's library does."""

    def put(self, key: str, content: bytes, only_if: str | None) -> None:
        """Write an object whole; with ``only_if`` where its version is this, or where it is NEW."""
        ...

    def put_file(self, url: str, path: str) -> None:
        """Write a file of several blocks, whole or not at all, a few blocks in memory.

        Raises StorageError about the store, OSError about the file.
        """
        ...

    def look(self, folder: str) -> None:
        """Ask for one name below a folder, which fails where there is no such container or bucket."""
        ...

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """Forget the blocks of uploads that nobody completed, where the store keeps them.

        Those of these files and folders in a folder: others may be in progress.
        """
        ...


class InBlocks(ABC):
    """A family whose objects can be sent in blocks, in any order."""

    @abstractmethod
    def begin(self, key: str) -> Any:
        """Begin an object in blocks; nothing is under its name before ``complete``."""

    @abstractmethod
    def block(self, key: str, upload: Any, number: int, content: bytes) -> Any:
        """Send a block, from 0; what ``complete`` needs of it. The same block again takes its place."""

    @abstractmethod
    def complete(self, key: str, upload: Any, blocks: list[Any]) -> None:
        """Make the blocks an object, in their order."""

    @abstractmethod
    def abort(self, key: str, upload: Any) -> None:
        """Forget the blocks of an upload."""

    def put_file(self, url: str, path: str) -> None:
        """See Objects. Each block is tried again by itself; where that is in vain, those that came are forgotten."""
        key, size = key_of(url), Path(path).stat().st_size
        step = max(BLOCK_BYTES, -(-size // MOST_BLOCKS))
        upload = _writing(url, lambda: self.begin(key))
        try:
            with Path(path).open("rb") as stream:

                def send(number: int) -> Any:
                    content = os.pread(stream.fileno(), step, number * step)
                    return _writing(url, lambda: self.block(key, upload, number, content))

                blocks = each_at_once(send, range(-(-size // step)), AT_ONCE)
            _writing(url, lambda: self.complete(key, upload, blocks))
        except BaseException:
            with contextlib.suppress(Exception):  # what is left does no harm
                self.abort(key, upload)
            raise


class AzureObjects(InBlocks):
    """Block blobs by adlfs' client. Blocks that nobody commits go by themselves within a week."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system

    def _call(self, key: str, method: str, *arguments: Any, **options: Any) -> Any:
        from fsspec.asyn import sync

        container, _, name = key.partition("/")

        async def call() -> Any:
            async with self._fs.service_client.get_blob_client(container, name) as blob:
                return await getattr(blob, method)(*arguments, **options)

        return sync(self._fs.loop, call)

    def look(self, folder: str) -> None:
        """See Objects; adlfs itself takes a container that isn't there for an empty one."""
        from fsspec.asyn import sync

        container, _, name = folder.partition("/")

        async def look() -> None:
            async with self._fs.service_client.get_container_client(container) as client:
                async for _ in client.list_blobs(name_starts_with=name and f"{name}/", results_per_page=1):
                    break

        sync(self._fs.loop, look)

    def put(self, key: str, content: bytes, only_if: str | None) -> None:
        """See Objects."""
        condition = {"headers": {"If-Match": f'"{only_if}"'}} if only_if else {}
        self._call(key, "upload_blob", io.BytesIO(content), length=len(content), overwrite=only_if != NEW, **condition)

    def begin(self, key: str) -> str:  # noqa: ARG002  # as for other stores
        """See Objects: what no other upload's blocks are named with."""
        return secrets.token_hex(8)

    def block(self, key: str, upload: str, number: int, content: bytes) -> str:
        """See Objects."""
        name = base64.b64encode(f"{upload}{number:08d}".encode()).decode()
        self._call(key, "stage_block", name, io.BytesIO(content), length=len(content))
        return name

    def complete(self, key: str, upload: str, blocks: list[str]) -> None:  # noqa: ARG002  # as for other stores
        """See Objects."""
        from azure.storage.blob import BlobBlock

        self._call(key, "commit_block_list", [BlobBlock(name) for name in blocks])

    def abort(self, key: str, upload: str) -> None:
        """See Objects."""

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """See Objects."""


class S3Objects(InBlocks):
    """Objects and multipart uploads by s3fs' client."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system

    def _call(self, method: str, key: str, **options: Any) -> Any:
        bucket, _, name = key.partition("/")
        return self._fs.call_s3(method, Bucket=bucket, Key=name, **options)

    def look(self, folder: str) -> None:
        """See Objects."""
        bucket, _, name = folder.partition("/")
        self._fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=name and f"{name}/", MaxKeys=1)

    def put(self, key: str, content: bytes, only_if: str | None) -> None:
        """See Objects; where the library or the store knows no conditions, without one."""
        condition = {} if only_if is None else {"IfNoneMatch": "*"} if only_if == NEW else {"IfMatch": only_if}
        try:
            self._call("put_object", key, Body=content, **condition)
        except Exception as error:
            if not condition or not _knows_no_conditions(error):
                raise
            self._call("put_object", key, Body=content)

    def begin(self, key: str) -> str:
        """See Objects."""
        return str(self._call("create_multipart_upload", key)["UploadId"])

    def block(self, key: str, upload: str, number: int, content: bytes) -> dict[str, Any]:
        """See Objects."""
        sent = self._call("upload_part", key, UploadId=upload, PartNumber=number + 1, Body=content)
        return {"PartNumber": number + 1, "ETag": sent["ETag"]}

    def complete(self, key: str, upload: str, blocks: list[dict[str, Any]]) -> None:
        """See Objects."""
        self._call("complete_multipart_upload", key, UploadId=upload, MultipartUpload={"Parts": blocks})

    def abort(self, key: str, upload: str) -> None:
        """See Objects."""
        self._call("abort_multipart_upload", key, UploadId=upload)

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """See Objects."""
        bucket, sign, key = folder.partition("/")
        start = f"{key}{sign}"
        found = self._fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=start)
        for entry in found.get("Uploads", ()):
            if entry["Key"].startswith(start) and entry["Key"][len(start) :].partition("/")[0] in names:
                self.abort(f"{bucket}/{entry['Key']}", entry["UploadId"])


def _knows_no_conditions(error: Exception) -> bool:
    response = getattr(error, "response", None)
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else ""
    return type(error).__name__ == "ParamValidationError" or code == "NotImplemented"


class GsObjects:
    """Objects by gcsfs, which sends big files in blocks and in order; what breaks off goes by itself within a week."""

    def __init__(self, file_system: Any) -> None:
        self._fs = file_system

    def look(self, folder: str) -> None:
        """See Objects."""
        bucket, _, name = folder.partition("/")
        self._fs.call("GET", "b/{}/o", bucket, prefix=name and f"{name}/", maxResults=1)

    def put(self, key: str, content: bytes, only_if: str | None) -> None:
        """See Objects."""
        bucket, _, name = key.partition("/")
        condition = {} if only_if is None else {"ifGenerationMatch": self._generation(key, only_if)}
        self._fs.call(
            "POST",
            f"{self._fs._location}/upload/storage/v1/b/{{}}/o",  # noqa: SLF001  # as gcsfs' own functions do
            bucket,
            uploadType="media",
            name=name,
            headers={"Content-Type": "application/octet-stream"},
            data=content,
            **condition,
        )

    def _generation(self, key: str, version: str) -> str:
        """What Google's conditions are about, of the object of this version. Raises FileExistsError for another."""
        if version == NEW:
            return "0"
        found = self._fs.info(key)
        if version not in {str(found.get("etag", "")).strip('"'), str(found["generation"])}:
            raise FileExistsError(f"{key} was written meanwhile")
        return str(found["generation"])

    def put_file(self, url: str, path: str) -> None:
        """See Objects; a break begins the file anew."""
        _writing(url, lambda: self._fs.put_file(path, key_of(url), chunksize=BLOCK_BYTES))

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """See Objects."""


_KINDS: dict[str, Callable[[Any], Any]] = {"azure": AzureObjects, "s3": S3Objects, "gs": GsObjects}


def objects_of(url: str) -> Objects:
    """Who writes to the store of an address. Raises UsageError for a store that is only read."""
    family = family_of(url)
    if family not in _KINDS:
        hint = "abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/… reaches the same files" if family == "azureml" else ""
        raise UsageError(
            f"OUTPUT {url}: {'azureml' if family == 'azureml' else 'https'}:// is for reading only; "
            f"{hint or 'give a folder, or an address of abfss://, s3:// or gs://'}"
        )
    found: Objects = _KINDS[family](filesystem_of(url))
    return found


def put_object(objects: Objects, url: str, content: bytes) -> None:
    """Write an object, whole or not at all. Raises StorageError."""
    _writing(url, lambda: objects.put(key_of(url), content, None))


def put_if(objects: Objects, url: str, content: bytes, only_if: str) -> bool:
    """Write an object where its version is this, or it is NEW; whether that was so. Raises StorageError.

    A request whose answer was lost has been carried out, perhaps: False then says that it had been.
    """

    def put() -> bool:
        try:
            objects.put(key_of(url), content, only_if)
        except Exception as error:
            if _is_refused(error):
                return False
            raise
        return True

    return _writing(url, put)


def _is_refused(error: BaseException | None) -> bool:
    """Whether a condition was what stood against a request."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            code, status = response.get("Error", {}).get("Code"), response.get("ResponseMetadata", {})
            if code in _REFUSED_CODES or status.get("HTTPStatusCode") in _REFUSED_STATUS:
                return True
        status = getattr(error, "status_code", None) or getattr(error, "code", None)
        if isinstance(error, FileExistsError) or str(getattr(error, "error_code", "")) in _REFUSED_CODES:
            return True
        if str(status) in map(str, _REFUSED_STATUS):
            return True
        error = error.__cause__
    return False


def put_file(objects: Objects, url: str, path: str) -> None:
    """Write a local file as an object, whole or not at all, a few blocks in memory. Raises StorageError."""
    with storage_errors(f"can't read {path}"):
        if Path(path).stat().st_size > BLOCK_BYTES:
            objects.put_file(url, path)
            return
        content = Path(path).read_bytes()
    put_object(objects, url, content)


def each_at_once(call: Callable[[Item], Result], items: Iterable[Item], most: int) -> list[Result]:
    """What the call gives for each item, in order, by a few threads; the first failure ends it."""
    with ThreadPoolExecutor(most) as pool:
        futures = [pool.submit(copy_context().run, call, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def remove_objects(file_system: Any, urls: list[str], most: int) -> None:
    """Take objects away; those that are gone already are no failure. Raises StorageError."""

    def remove(url: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            _writing(url, lambda: file_system.rm_file(key_of(url)), "remove")

    each_at_once(remove, urls, most)


def _writing(url: str, call: Callable[[], Result], what: str = "write") -> Result:
    """What the call gives, tried again where its failure may pass; whatever is left is a StorageError."""
    try:
        return retried(call, f"can't {what} {url}")
    except PermissionError as error:
        raise StorageError(
            f"can't {what} {url}: the store denies it ({error.strerror}); check what the credentials may write"
        ) from error
    except FileNotFoundError as error:
        if what == "remove":
            raise
        raise StorageError(f"can't {what} {url}: {error.strerror}; check the container's or bucket's name") from error
    except NoSuchStore as error:
        raise NoSuchStore(f"{error}; check the container's or bucket's name, or make it") from error
    except Changed as error:
        raise StorageError(f"can't {what} {url}: {error.strerror}") from error
