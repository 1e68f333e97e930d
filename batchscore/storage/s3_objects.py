"""Objects of S3's stores."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from batchscore.storage.blocks import NEW, InBlocks


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
