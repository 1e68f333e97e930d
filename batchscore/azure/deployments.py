"""read_deployment(): a batch deployment's YAML, or the one that an endpoint's YAML leads to, as a Deployment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from batchscore.azure.document import Value, read_document, refusal
from batchscore.azure.endpoints import find_deployment, is_endpoint
from batchscore.azure.foreign import refuse_other_documents
from batchscore.azure.keys import ENVIRONMENT, RESOURCES, SETTINGS, deployment_keys
from batchscore.azure.kinds import beside
from batchscore.azure.overrides import apply_overrides
from batchscore.deployment import CodeConfiguration, Deployment, RetrySettings, Style
from batchscore.errors import UsageError


def read_deployment(
    path: str, *, overrides: Sequence[tuple[str, str]] = (), deployment_name: str | None = None
) -> Deployment:
    """Read a model deployment in either style, checked key by key; `overrides` are the (KEY, VALUE) of --set.

    An endpoint's YAML leads to the deployment beside it that `deployment_name` or its own default names.
    Raises UsageError naming file, line and key for all that Azure's client rejects, and for what it silently
    drops, cuts off or lets out of range.
    """
    document = read_document(path)
    if is_endpoint(document):
        document = find_deployment(document, deployment_name)
    refuse_other_documents(document)
    style: Style = "settings" if "type" in document.content or "type" in dict(overrides) else "root"
    document = apply_overrides(document, overrides, style)
    refuse_other_documents(document)
    document = _with_environment_file(document)
    stated = deployment_keys(style)(document)
    settings = stated.get("settings", {}) if style == "settings" else stated
    _refuse_combinations(document, settings, "settings." if style == "settings" else "")
    if deployment_name and stated["name"].lower() != deployment_name.lower():
        raise UsageError(
            f"{document.place.file} is the deployment {stated['name']}, not {deployment_name}; "
            "drop --deployment-name or give the endpoint's YAML"
        )
    return _deployment(document, style, stated, settings)


def _deployment(document: Value, style: Style, stated: Mapping[str, Any], settings: Mapping[str, Any]) -> Deployment:
    resources = stated.get("resources", {})
    counted = {name: found[name] for found in (settings, resources) for name in ["instance_count"] if name in found}
    values = {name: settings[name] for name in SETTINGS if name in settings} | counted
    retries = values.pop("retry_settings", {})
    code = stated.get("code_configuration")
    return Deployment(
        file=document.place.file,
        style=style,
        name=stated["name"].lower(),  # as Azure's client does
        endpoint_name=stated["endpoint_name"],
        model=stated.get("model"),
        code_configuration=CodeConfiguration(**code) if code else None,
        environment=stated.get("environment"),
        retry_settings=RetrySettings(**retries),
        **values,
        stated=frozenset(values) | {f"retry_settings.{name}" for name in retries},
        notes=tuple(_notes(document, has_script=code is not None)),
    )


def _with_environment_file(document: Value) -> Value:
    """The document with its environment in place where that is `file:<path>`, which Azure's client follows."""
    environment = document.find("environment")
    if environment is None or not str(environment.content).startswith("file:"):
        return document
    folder = Path(document.place.file).parent
    found = read_document(str(folder / str(environment.content).removeprefix("file:")))
    return Value({**document.content, "environment": found}, document.place)


def _refuse_combinations(document: Value, settings: Mapping[str, Any], prefix: str) -> None:
    """Refuse what Azure's client takes key by key, but not together; and a script that isn't there."""
    count = document.find("settings.instance_count")
    if count and document.find("resources"):
        raise refusal(count, "no settings.instance_count beside resources; write resources.instance_count")
    name = document.find(f"{prefix}output_file_name")
    if name and settings.get("output_action") == "summary_only":
        raise refusal(name, "no output_file_name with output_action: summary_only, which writes no such file")
    script = document.find("code_configuration.scoring_script")
    code = document.find("code_configuration.code")
    if script and code and not os.path.isfile(os.path.join(beside(code), script.text)):  # noqa: PTH113, PTH118 (False for a name that is too long)
        raise refusal(script, f"a file in {code.text}; there is none")


MEANINGLESS = (
    "compute",
    *(f"resources.{name}" for name in RESOURCES if name != "instance_count"),
    *(f"environment.{name}" for name in ENVIRONMENT.kinds if name not in {"conda_file", "name", "version", "tags"}),
    "properties", "id", "provisioning_state", "creation_context",
)  # fmt: skip
"""Keys that are checked and have no effect here; descriptions, tags and $schema go without saying."""


def _notes(document: Value, *, has_script: bool) -> list[str]:
    notes = []
    idle = [key for key in MEANINGLESS if document.find(key)]
    if idle:
        notes.append(f"{document.place.file}: {', '.join(idle)}: no effect here")
    threshold = document.find("settings.error_threshold") or document.find("error_threshold")
    if threshold and threshold.text.endswith("%"):
        notes.append(f"{threshold.place}: {threshold.text} of the files; Azure takes a whole number alone")
    environment = document.find("environment")
    if environment and isinstance(environment.content, str):
        use = "the script runs in the local one" if has_script else "the model's own requirements count"
        notes.append(f"{environment.place}: {environment.text} can't be fetched from Azure; {use}")
    return notes
