"""Objects of Google's store."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from batchscore.storage import blocks
from batchscore.storage.addresses import key_of
from batchscore.storage.blocks import NEW, writing


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
        writing(url, lambda: self._fs.put_file(path, key_of(url), chunksize=blocks.BLOCK_BYTES))

    def abort_all(self, folder: str, names: Collection[str]) -> None:
        """See Objects."""
