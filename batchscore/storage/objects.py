"""Writing objects of a store: whole, in one request or in blocks; on a condition; and taking them away."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchscore.errors import UsageError
from batchscore.storage import blocks
from batchscore.storage.addresses import family_of, key_of
from batchscore.storage.azure_objects import AzureObjects
from batchscore.storage.blocks import Objects, each_at_once, writing
from batchscore.storage.gs_objects import GsObjects
from batchscore.storage.local import storage_errors
from batchscore.storage.s3_objects import S3Objects
from batchscore.storage.stores import filesystem_of

_REFUSED_STATUS = {409, 412}
_REFUSED_CODES = {
    "BlobAlreadyExists", "ConditionNotMet", "PreconditionFailed", "ConditionalRequestConflict", "TargetConditionNotMet",
}  # fmt: skip


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
    writing(url, lambda: objects.put(key_of(url), content, None))


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

    return writing(url, put)


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
        if Path(path).stat().st_size > blocks.BLOCK_BYTES:
            objects.put_file(url, path)
            return
        content = Path(path).read_bytes()
    put_object(objects, url, content)


def remove_objects(file_system: Any, urls: list[str], most: int) -> None:
    """Take objects away; those that are gone already are no failure. Raises StorageError."""

    def remove(url: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            writing(url, lambda: file_system.rm_file(key_of(url)), "remove")

    each_at_once(remove, urls, most)
