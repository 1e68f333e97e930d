"""The ways in which a deployment's YAML names a model, taken apart."""

from __future__ import annotations

import re

from batchscore.azure.document import Value, refusal
from batchscore.deployment import CloudModel, ModelReference, RegisteredModel

# azureml:/subscriptions/…/models/<name>/versions/<version>, azureml://registries/<registry>/models/… and their likes
VERSIONED = re.compile(r"azureml:/.*/models/([^/]+)/(?:versions/([^/]+)|labels/latest)/?", re.IGNORECASE)
SHORT = re.compile(r"azureml:([^/:@]+)(?::([^/:@]+)|@latest)?")


def parse_model_reference(value: Value) -> ModelReference:
    """The model that a text names; what is Azure's but names no registered version is a CloudModel.

    Raises UsageError for a text that doesn't begin with `azureml:`.
    """
    reference = str(value.content)
    if not reference.startswith("azureml:"):
        raise refusal(
            value,
            "azureml:<name>:<version> for a registered model, or for a local folder "
            f"model: {{path: {reference or './model'}, type: mlflow_model}}",
        )
    match = VERSIONED.fullmatch(reference) or SHORT.fullmatch(reference)
    return RegisteredModel(reference, match[1], match[2]) if match else CloudModel(reference)
