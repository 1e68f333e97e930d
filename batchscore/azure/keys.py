"""The keys of Azure's batch deployments in both styles, and of batch endpoints, as its client's schemas have them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from batchscore.azure.document import Value, refusal
from batchscore.azure.kinds import (
    Keys,
    Kind,
    anything,
    beside,
    filled,
    is_uri,
    json_text,
    mapping,
    named,
    one_of,
    text,
    text_or_texts,
    texts,
    variables,
    version,
    whole,
    whole_or_share,
)  # fmt: skip
from batchscore.azure.references import parse_environment_reference, parse_model_reference
from batchscore.deployment import (
    LEAST,
    EnvironmentReference,
    LocalModel,
    LoggingLevel,
    ModelReference,
    ModelType,
    OutputAction,
    Style,
)
from batchscore.errors import UsageError
from batchscore.settings import output_name_and_format


def _file_name(value: Value) -> str:
    name = filled(value)
    try:
        output_name_and_format(name, None)
    except UsageError as error:
        raise UsageError(f"{value.place}: {error}") from error
    return name


def _code(value: Value) -> str:
    if is_uri(filled(value)):
        raise refusal(value, "a folder on this machine: batchscore fetches no code; download it and give its path")
    if not os.path.isdir(beside(value)):  # noqa: PTH112  # False for a name that is too long, too
        raise refusal(value, f"the folder of the scoring script; there is none at {beside(value)}")
    return beside(value)


def _conda(value: Value) -> tuple[str, str]:
    """("conda_file" or "conda_json", what it holds)."""
    if isinstance(value.content, dict):
        return "conda_json", json_text(value)
    if not isinstance(value.content, str) or not os.path.isfile(beside(value)):  # noqa: PTH113
        raise refusal(value, "an existing conda file, relative to this YAML file, or its content")
    return "conda_file", beside(value)


def _asset(value: Value) -> str:
    if not text(value).startswith("azureml:"):
        raise refusal(value, "the id of an asset of Azure's, azureml:…")
    return text(value)


def _build_path(value: Value) -> str:
    if re.match(r"(https?|ftps?)://.", filled(value)):
        return text(value)
    if not os.path.exists(beside(value)):  # noqa: PTH110
        raise refusal(value, f"a Docker build context; there is nothing at {beside(value)}")
    return beside(value)


def _model(value: Value) -> ModelReference:
    if isinstance(value.content, str):
        return parse_model_reference(value)
    stated = MODEL(value)
    if "version" in stated and "name" not in stated:
        raise refusal(value.content["version"], "no version without a name beside it")
    path = value.content["path"]
    location = stated["path"] if is_uri(stated["path"]) else beside(path)
    return LocalModel(location, stated.get("type", "custom_model"), is_type_stated="type" in stated)


def _environment(value: Value) -> EnvironmentReference:
    if isinstance(value.content, str):
        return EnvironmentReference(reference=parse_environment_reference(value))
    stated = ENVIRONMENT(value)
    conda = dict([stated["conda_file"]] if "conda_file" in stated else [])
    return EnvironmentReference(image=stated.get("image"), build=stated.get("build", {}).get("path"), **conda)


ROUTE = Keys({"port": whole(1), "path": text}, required={"port": "", "path": ""})
ROUTES = {"liveness_route": ROUTE, "readiness_route": ROUTE, "scoring_route": ROUTE}

TEMPLATE = Keys({"asset_id": text})


def _templates(value: Value) -> list[Any]:
    if not isinstance(value.content, list):
        raise refusal(value, "a list")
    return [TEMPLATE(item) for item in value.content]


MODEL = Keys(
    {
        "path": filled, "type": one_of(*get_args(ModelType)), "name": text,
        "version": version, "description": text, "tags": mapping, "properties": mapping, "flavors": mapping,
        "stage": text, "datastore": text, "system_metadata": mapping, "default_deployment_template": TEMPLATE,
        "allowed_deployment_templates": _templates, "id": anything, "utc_time_created": anything,
        "creation_context": anything, "job_name": anything, "latest_version": anything,
        "intellectual_property": anything,
    },
    required={"path": "a registered model is written model: azureml:<name>:<version>"},
)  # fmt: skip

CONDA_KEYS = "this is a conda file's key; keep it in a file of its own and name that with environment.conda_file"

AUTO_DELETE = Keys(
    {"condition": one_of("created_greater_than", "last_accessed_greater_than"), "value": text},
)

ENVIRONMENT = Keys(
    {
        "conda_file": _conda, "image": text, "build": Keys({"path": _build_path, "dockerfile_path": text}),
        "name": text, "version": version, "id": _asset, "description": text, "tags": named,
        "os_type": one_of("linux", "windows"), "datastore": text, "creation_context": anything,
        "inference_config": Keys(ROUTES, required=dict.fromkeys(ROUTES, "")), "latest_version": anything,
        "auto_delete_setting": AUTO_DELETE, "intellectual_property": anything,
    },
    refused={"channels": CONDA_KEYS, "dependencies": CONDA_KEYS},
)  # fmt: skip

RETRY_SETTINGS: Mapping[str, Kind] = {name: whole(LEAST[name]) for name in ("max_retries", "timeout")}

SETTINGS: Mapping[str, Kind] = {
    "max_concurrency_per_instance": whole(LEAST["max_concurrency_per_instance"]),
    "mini_batch_size": whole(LEAST["mini_batch_size"]),
    "output_action": one_of(*get_args(OutputAction)),
    "output_file_name": _file_name,
    "retry_settings": Keys(RETRY_SETTINGS),
    "error_threshold": whole_or_share(LEAST["error_threshold"]),
    "logging_level": one_of(*get_args(LoggingLevel)),
    "environment_variables": variables,
}

RESOURCES: Mapping[str, Kind] = {
    "instance_count": whole(1), "instance_type": text, "properties": named, "docker_args": text_or_texts,
    "shm_size": text, "locations": texts, "max_instance_count": whole(1),
}  # fmt: skip

CODE_CONFIGURATION: Mapping[str, Kind] = {"code": _code, "scoring_script": filled}

COMMON: Mapping[str, Kind] = {
    "$schema": anything, "name": filled, "endpoint_name": filled, "description": text, "tags": mapping,
    "properties": mapping, "id": text, "type": one_of("model"), "model": _model, "code_configuration": anything,
    "environment": _environment, "compute": filled, "resources": anything,
}  # fmt: skip

DROPPED = "Azure's client takes this key here, beside settings:, and drops it without a word; write settings.{} instead"
NOT_WITHOUT_TYPE = (
    "goes with type: model, which is missing; add it, or move the settings to the root, as the older style has them"
)
PIPELINE = "this is a key of pipeline component deployments, which batchscore doesn't run"


def deployment_keys(style: Style) -> Keys:
    """All keys of a deployment in one of the two styles."""
    prefix = "settings." if style == "settings" else ""
    homes = _homes(prefix)

    def keys(kinds: Mapping[str, Kind], **more: Any) -> Keys:
        return Keys(kinds, homes=homes, **more)

    both = "a scoring script is named by code (its folder) and scoring_script (its file there)"
    common: dict[str, Kind] = {
        **COMMON,
        "code_configuration": keys(CODE_CONFIGURATION, required={"code": both, "scoring_script": both}),
        "resources": keys(RESOURCES),
    }
    settings: dict[str, Kind] = {**SETTINGS, "retry_settings": keys(RETRY_SETTINGS)}
    required = {"name": "", "endpoint_name": ""}
    pipeline = {"component": PIPELINE, "job_definition": PIPELINE}
    if style == "settings":
        return keys(
            {**common, "settings": keys({**settings, "instance_count": whole(1)})},
            required={**required, "compute": "Azure asks for it beside type: model; here any name will do"},
            refused={name: DROPPED.format(name) for name in ("error_threshold", "environment_variables")} | pipeline,
        )
    return keys(
        {**common, **settings, "provisioning_state": anything, "creation_context": anything},
        required=required,
        refused={"settings": NOT_WITHOUT_TYPE, **pipeline},
    )


def _homes(prefix: str) -> dict[str, str]:
    """Where each key belongs, by its last part."""
    return {
        **{name: f"environment.{name}" for name in ("conda_file", "image")},
        **{name: f"code_configuration.{name}" for name in CODE_CONFIGURATION},
        **{name: f"resources.{name}" for name in ("instance_count", "instance_type", "shm_size")},
        **{name: f"{prefix}retry_settings.{name}" for name in RETRY_SETTINGS},
        **{name: f"{prefix}{name}" for name in SETTINGS},
        **{name: name for name in COMMON},
        "instances": "resources.instance_count",
    }


def _endpoint_name(value: Value) -> str:
    if not re.match(r"^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$", filled(value)):
        raise refusal(value, "an endpoint's name: letters, digits and hyphens, first a letter, last no hyphen")
    return text(value)


def _auth_mode(value: Value) -> str:
    return str(one_of("aad_token", "key", "aml_token")(value))


ENDPOINT = Keys(
    {
        "$schema": anything, "name": _endpoint_name, "description": text, "tags": mapping, "properties": mapping,
        "auth_mode": _auth_mode, "defaults": Keys({"deployment_name": text}), "id": text, "location": text,
        "scoring_uri": text, "openapi_uri": text, "provisioning_state": text, "identity": mapping,
    },
    required={"name": ""},
)  # fmt: skip


def dotted_keys(style: Style) -> list[str]:
    """Every key that a deployment may have in one of the styles."""
    inline = {"model": MODEL, "environment": ENVIRONMENT}
    return list(_dotted("", Keys({**deployment_keys(style).kinds, **inline})))


def endpoint_keys() -> list[str]:
    """Every key that a batch endpoint may have."""
    return list(_dotted("", ENDPOINT))


def _dotted(prefix: str, keys: Keys) -> Iterator[str]:
    for name, kind in keys.kinds.items():
        yield f"{prefix}{name}"
        if isinstance(kind, Keys):
            yield from _dotted(f"{prefix}{name}.", kind)
