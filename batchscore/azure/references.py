"""The ways in which a deployment's YAML names a model or an environment, taken apart."""

from __future__ import annotations

import re

from batchscore.azure.document import Value, refusal
from batchscore.azure.kinds import is_uri
from batchscore.deployment import CloudModel, ModelReference, RegisteredModel

# azureml:/subscriptions/…/models/<name>/versions/<version>, azureml://registries/<registry>/models/… and their likes
VERSIONED = re.compile(r"azureml:.*/models/([^/]+)/(?:versions/([^/]+)|labels/latest)/?", re.IGNORECASE)
SHORT = re.compile(r"azureml:([^/:@]+)(?::([^/:@]+)|:|@latest)?")
ASSET = re.compile(r"azureml:(/.+|subscriptions/.+/versions/[^/]+|[^/]+)")
"""What Azure's client takes for the name of an asset."""


def parse_model_reference(value: Value) -> ModelReference:
    """The model that a text names; what is Azure's but names no registered version is a CloudModel.

    Raises UsageError for a text that names no asset of Azure's.
    """
    reference = str(value.content)
    if not ASSET.fullmatch(reference):
        local = "./model" if not reference or is_uri(reference) else reference
        raise refusal(
            value,
            "azureml:<name>:<version> for a registered model, or for a local folder "
            f"model: {{path: {local}, type: mlflow_model}}",
        )
    match = VERSIONED.fullmatch(reference) or SHORT.fullmatch(reference)
    return RegisteredModel(reference, match[1], match[2]) if match else CloudModel(reference)


def parse_environment_reference(value: Value) -> str:
    """The reference as it stands. Raises UsageError for a text that names no asset of Azure's."""
    if not ASSET.fullmatch(str(value.content)):
        raise refusal(value, "azureml:<name>:<version>, or keys such as conda_file and image")
    return str(value.content)
