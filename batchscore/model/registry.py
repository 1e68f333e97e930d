"""Models that are named by a tracking server: an address to a version, a version to a local folder."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from batchscore.errors import BatchscoreError, StorageError, UsageError
from batchscore.minibatch import Json, MiniBatch
from batchscore.outcome import Outcome, Progress

_RETRIES = "2"
"""Of a request to the tracking server; MLflow's default is 7 with growing pauses, minutes until a dead one is named."""
_WRONG_USE = {
    "RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "BAD_REQUEST", "NOT_FOUND", "ENDPOINT_NOT_FOUND",
    "PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "FEATURE_DISABLED", "INVALID_STATE",
}  # fmt: skip


def resolve(uri: str, folder: str) -> tuple[str, str]:
    """The local folder with the model's files, and the address with its version: an alias is asked for once.

    ``uri`` is `models:/name/version`, `models:/name@alias`, `models:/name/latest`, `models:/m-<id>` or `runs:/…`;
    ``folder`` exists and takes the files. Raises UsageError where there is no such model, StorageError where the server
    can't be reached.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _RETRIES)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    try:
        resolved = with_version(uri)
        return str(mlflow.artifacts.download_artifacts(artifact_uri=resolved, dst_path=folder)), resolved
    except (MlflowException, OSError) as error:
        raise _translated(error, uri) from error


class Reference:
    """A registered model as a worker resolves it for its parent, which doesn't import MLflow."""

    def __init__(self, path: str, resolved: str, newest: str) -> None:
        self._facts = {"path": path, "resolved": resolved, "newest": newest}

    def facts(self) -> Json:
        """`path`: the local folder; `resolved`: the address with its version; `newest`: what it would be today."""
        return self._facts

    def close(self) -> None:
        """Nothing to clean up."""

    def score(self, mini_batch: MiniBatch, progress: Progress) -> Outcome:
        raise NotImplementedError("a reference only resolves")


def load_reference(setup: Json) -> Reference:
    """Resolve and download the model `reference`; a job that goes on keeps the version it has `pinned`."""
    Path(setup["folder"]).mkdir(parents=True, exist_ok=True)
    if not setup["pinned"]:
        path, resolved = resolve(setup["reference"], setup["folder"])
        return Reference(path, resolved, resolved)
    path, resolved = resolve(setup["pinned"], setup["folder"])
    try:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _RETRIES)
        newest = with_version(setup["reference"])
    except Exception:  # noqa: BLE001 (the alias may be gone; the version is what counts)
        newest = resolved
    return Reference(path, resolved, newest)


def with_version(uri: str) -> str:
    """`models:/name/3` for a name with an alias, a stage or `latest`; all else as it is."""
    match = re.fullmatch(r"models:/+(?P<name>[^@]+?)(?:@(?P<alias>.+)|/(?P<version>[^/]+))", uri)
    if not match or (match["version"] or "").isdigit():
        return uri
    from mlflow import MlflowClient

    client, name = MlflowClient(), match["name"]
    if match["alias"]:
        return f"models:/{name}/{client.get_model_version_by_alias(name, match['alias']).version}"
    quoted = name.replace("'", "''")
    found = client.search_model_versions(f"name='{quoted}'")
    stage = match["version"].lower()
    versions = [each for each in found if stage == "latest" or str(each.current_stage).lower() == stage]
    if not versions:
        raise UsageError(
            f"the registry has no version of the model {name!r} that is {match['version']!r}; "
            f"its versions are {', '.join(_versions(found)) or '(none)'}. Write models:/{name}/VERSION or @ALIAS"
        )
    return f"models:/{name}/{max(versions, key=lambda each: int(each.version)).version}"


def _versions(found: Any) -> list[str]:
    return [str(number) for number in sorted(int(each.version) for each in found)]


def _translated(error: Exception, uri: str) -> BatchscoreError:
    text = str(error).strip()
    server = os.environ.get("MLFLOW_TRACKING_URI") or "MLflow's default"
    if getattr(error, "error_code", None) in _WRONG_USE or text.startswith("Not a proper "):  # an address cut short
        return UsageError(f"the model {uri} can't be had: {text} (tracking URI: {server})")
    return StorageError(
        f"the model {uri} can't be fetched: {text} (tracking URI: {server}; MLFLOW_TRACKING_URI sets it). "
        "Is the server up, and can it be reached from here?"
    )
