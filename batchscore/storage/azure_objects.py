"""Objects of Azure's stores."""

from __future__ import annotations

import base64
import io
import secrets
from collections.abc import Collection
from typing import Any

from batchscore.storage.blocks import NEW, InBlocks


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
