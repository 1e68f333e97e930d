"""Azure's other documents, refused by name with what to do."""

from __future__ import annotations

from batchscore.azure.document import Value
from batchscore.errors import UsageError

KINDS = {
    "pipeline": (
        "a pipeline component deployment or pipeline job; batchscore runs model deployments (type: model). "
        "Run the scoring step alone, from a deployment YAML of its own"
    ),
    "parallel": (
        "a parallel component or job; write its task as a deployment: task.code and task.entry_script become "
        "code_configuration.code and .scoring_script, and mini_batch_size, retry_settings and error_threshold settings"
    ),
    "command": "a command component or job; run its command itself, or write a deployment for its model or script",
    "sweep": "a sweep job; batchscore scores with a trained model",
    "spark": "a Spark component or job; batchscore runs model deployments",
    "online": "an online endpoint or deployment; batchscore runs batch deployments",
    "model": "a model's own YAML; give the model with -m, or a deployment that names it",
    "environment": "an environment's own YAML; a deployment names it under environment",
}
TYPES = {"pipeline", "parallel", "command", "sweep", "spark"}
SCHEMAS = {
    "pipelinecomponentbatchdeployment": "pipeline", "pipelinejob": "pipeline", "pipelinecomponent": "pipeline",
    "paralleljob": "parallel", "parallelcomponent": "parallel", "commandjob": "command",
    "commandcomponent": "command", "sweepjob": "sweep", "sparkjob": "spark", "sparkcomponent": "spark",
    "managedonlinedeployment": "online", "kubernetesonlinedeployment": "online", "managedonlineendpoint": "online",
    "kubernetesonlineendpoint": "online", "onlineendpoint": "online", "model": "model", "environment": "environment",
}  # fmt: skip
"""The last part of a $schema, in lower case."""


def schema_name(document: Value) -> str:
    """`modelbatchdeployment` for https://…/latest/modelBatchDeployment.schema.json; empty without a $schema."""
    schema = document.find("$schema")
    address = schema.content if schema and isinstance(schema.content, str) else ""
    return address.rpartition("/")[2].partition(".")[0].lower()


def refuse_other_documents(document: Value) -> None:
    """Raise UsageError for a document that says it is something else than a model's batch deployment."""
    stated = document.find("type")
    kind = str(stated.content).lower() if stated else ""
    if stated and kind in TYPES:
        raise UsageError(f"{stated.place}: {stated.content} is {KINDS[kind]}")
    kind = SCHEMAS.get(schema_name(document), "")
    if kind and "compute" not in document.content:  # a key of batch deployments; Azure's client reads no $schema
        schema = document.content["$schema"]
        raise UsageError(f"{schema.place}: {schema_name(document)} is the schema of {KINDS[kind]}")
    jobs = document.find("jobs")
    if jobs:
        raise UsageError(f"{jobs.place}: jobs: makes this {KINDS['pipeline']}")
    task = document.find("task")
    if task:
        raise UsageError(f"{task.place}: task: makes this {KINDS['parallel']}")
