"""Azure ML's batch deployments: their YAML, and the models that they name."""

from batchscore.azure.deployments import read_deployment
from batchscore.azure.models import resolve_model

__all__ = ["read_deployment", "resolve_model"]
