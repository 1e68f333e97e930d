"""A MODEL on a store: its files, copied here."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from batchscore.errors import StorageError, UsageError
from batchscore.minibatch import compact
from batchscore.storage import NoSuchStore, StoredFile, download, family_of, storage_errors, store_of, sync_folder

_COMPLETE = "complete"
"""Beside the copy, written last."""


def fetch_model(url: str, folder: str) -> str:
    """The local copy of the model folder at ``url``, an address without secrets, in a private ``folder``.

    A copy that is there, of the same files in the same versions, is taken as it is; any other is removed.
    Raises UsageError: no model is there; StorageError.
    """
    address = url.rstrip("/")
    files = _files(address)
    digest = hashlib.sha256(
        "".join(f"{compact([file.name, file.facts.size, file.facts.version])}\n" for file in files).encode()
    ).hexdigest()
    place = Path(folder, digest[:16])
    copy = place / (address.rpartition("/")[2] or "model")
    if not (place / _COMPLETE).exists():
        with storage_errors(f"can't write {folder}"):
            if Path(folder).exists():
                shutil.rmtree(folder)
            copy.mkdir(parents=True)
        try:
            download(files, str(copy))
        except OSError as error:
            raise StorageError(f"MODEL {url} can't be read: {error.strerror or error}") from error
        with storage_errors(f"can't write {folder}"):
            sync_folder(str(place))
            (place / _COMPLETE).touch()
    return str(copy)


def _files(address: str) -> list[StoredFile]:
    """The model's files in order, without bytecode."""
    if family_of(address) == "http":
        raise UsageError(
            f"MODEL {address} can't be fetched: http lists no folders. Give a folder on a store (abfss, s3, gs) or here"
        )
    try:
        found = sorted(store_of(address).find(address), key=lambda file: file.name.encode())
    except (FileNotFoundError, NoSuchStore):
        found = []
    except PermissionError as error:
        raise StorageError(
            f"MODEL {address}: the store denies access ({error.strerror}); "
            "check the credentials, and what they may read"
        ) from error
    if not found:
        raise UsageError(f"MODEL {address} isn't there; give the address of an MLflow model folder")
    if all(file.name != "MLmodel" for file in found):
        near = sorted(file.path.removesuffix("/MLmodel") for file in found if file.name.endswith("/MLmodel"))[:3]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"MODEL {address} is not an MLflow model: it has no MLmodel file{hint}")
    return [file for file in found if not file.name.endswith(".pyc") and "__pycache__/" not in file.name]
