"""A deployment to a Job: Azure's settings and defaults in batchscore's words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from batchscore import engines
from batchscore.azure import read_deployment, resolve_model
from batchscore.deployment import AZURE_TIMEOUT, Deployment
from batchscore.errors import UsageError
from batchscore.job import Job, Script
from batchscore.nouns import counted
from batchscore.settings import SUFFIXES, MiniBatchSize, output_name_and_format

CONCURRENCY = ("max_concurrency_per_instance", "instance_count")
"""Azure's settings that make the number of workers."""
READING = ("rows_per_call", "keep", "rename", "predict_fn", "params", "csv", "limit")
"""Fields of Job for files that batchscore reads: a scoring script reads its own."""


@dataclass(frozen=True, slots=True)
class DeploymentFile:
    """A deployment as the user names it."""

    file: str
    """Its YAML, or its endpoint's."""
    name: str | None = None
    """Which of the endpoint's deployments; None: its default."""
    overrides: tuple[tuple[str, str], ...] = ()
    """(KEY, VALUE) in place of the YAML's."""
    model_store: str | None = None
    """A folder of registered models (name/version)."""


def job_of_deployment(asked: DeploymentFile, stated: Mapping[str, Any]) -> Job:
    """The Job that a deployment means.

    What the user states elsewhere goes before the YAML: ``stated`` has fields of Job, and CONCURRENCY.
    Raises UsageError: a YAML that Azure would refuse too, a model that can't be had, settings that don't go together.
    """
    fields = dict(stated)
    deployment = read_deployment(asked.file, overrides=asked.overrides, deployment_name=asked.name)
    deployment = replace(deployment, **{name: fields.pop(name) for name in CONCURRENCY if name in fields})
    _refuse_unfit(deployment, fields)
    model, notes = _model(deployment, fields, asked.model_store)
    name, kind = _output(deployment, fields)
    workers, hints = _workers(deployment, fields)
    environment = dict(deployment.environment_variables) | dict(fields.pop("environment", ()))
    return Job(
        **{
            **_settings(deployment),
            "threads_per_worker": max(engines.cpu_count() // workers, 1),
            **_clock(deployment, fields),
            **fields,
            "model": model,
            "workers": workers,
            "output_file_name": name,
            "format": kind,
            "environment": tuple(environment.items()),
            "deployment": deployment,
            "notes": (*deployment.notes, *notes, *hints),
        }
    )


def workers_at_most_cores(asked: int) -> tuple[int, tuple[str, ...]]:
    """So many workers, but no more than cores, and a note where they are fewer than asked for."""
    cores = engines.cpu_count()
    if asked <= cores:
        return asked, ()
    return cores, (f"{asked} workers were asked for; this machine has {counted(cores, 'core')}, so there are {cores}",)


def _settings(deployment: Deployment) -> dict[str, Any]:
    """What the YAML says and Azure's defaults, as fields of Job."""
    code = deployment.code_configuration
    return {
        "mini_batch_size": MiniBatchSize(files=deployment.mini_batch_size),
        "max_retries": deployment.retry_settings.max_retries,
        "error_threshold": deployment.error_threshold,
        "fail_fast": True,
        "layout": "azure",
        "output_action": deployment.output_action,
        "predicts_whole_files": True,
        "fails_unsupported": True,
        "script": Script(code.code, code.scoring_script) if code else None,
        "logging_level": deployment.logging_level,
    }


def _clock(deployment: Deployment, fields: Mapping[str, Any]) -> dict[str, Any]:
    """How long a mini-batch may take, and which setting says so."""
    if "timeout" in fields:
        return {"times_mini_batches": True}
    key = _key(deployment, "retry_settings.timeout")
    is_stated = "retry_settings.timeout" in deployment.stated
    return {
        "timeout": float(deployment.retry_settings.timeout),
        "times_mini_batches": True,
        "timeout_name": f"{key} in {Path(deployment.file).name}, or --timeout",
        "warns_beyond": None if is_stated else float(AZURE_TIMEOUT),
    }


def _model(deployment: Deployment, fields: dict[str, Any], store: str | None) -> tuple[str, tuple[str, ...]]:
    """The MODEL ("" for a script that has none), and notes."""
    if "model" in fields:
        return fields.pop("model"), ()
    has_registry = "MLFLOW_TRACKING_URI" in os.environ or "MLFLOW_REGISTRY_URI" in os.environ
    reference, notes = resolve_model(deployment, model_store=store, tracking_uri_is_set=has_registry)
    return reference or "", notes


def _output(deployment: Deployment, fields: dict[str, Any]) -> tuple[str, Any]:
    """The prediction file's name and format."""
    name, kind = fields.pop("output_file_name", None), fields.pop("format", None)
    if name is None and "output_file_name" in deployment.stated:
        name = deployment.output_file_name
        implied = SUFFIXES.get(Path(name).suffix.lower())
        if kind and implied and kind != implied:
            raise UsageError(
                f"{deployment.file}: {_key(deployment, 'output_file_name')}: {name} means {implied}, "
                f"--format says {kind}; give --output-file-name, too"
            )
    return output_name_and_format(name, kind)


def _workers(deployment: Deployment, fields: dict[str, Any]) -> tuple[int, tuple[str, ...]]:
    """How many workers, and hints."""
    if fields.get("workers"):
        return fields.pop("workers"), ()
    fields.pop("workers", None)
    workers, notes = workers_at_most_cores(deployment.max_concurrency_per_instance * deployment.instance_count)
    cores = engines.cpu_count()
    if workers < cores:
        key = _key(deployment, "max_concurrency_per_instance")
        hint = f"{counted(workers, 'worker')} on {cores} cores, as the deployment says; {key} or --workers gives more"
        notes = (hint,)
    return workers, notes


def _refuse_unfit(deployment: Deployment, fields: Mapping[str, Any]) -> None:
    """Refuse what doesn't go together with a scoring script, or without one."""
    action = fields.get("output_action", deployment.output_action)
    if deployment.code_configuration is None:
        if action == "summary_only":
            raise UsageError(
                f"{deployment.file}: {_key(deployment, 'output_action')}: summary_only leaves all output to a scoring "
                "script, and there is none (code_configuration); use append_row, or --output-action append_row"
            )
        return
    for name in READING:
        if name in fields:
            raise UsageError(
                f"{deployment.file} has a scoring script, which reads its files itself: "
                f"{_OPTIONS.get(name, '--' + name.replace('_', '-'))} has no effect there; drop it"
            )
    if fields.get("mini_batch_size", MiniBatchSize(files=1)).files is None:
        raise UsageError(
            f"{deployment.file} has a scoring script, which gets whole files: "
            f"--mini-batch-size must be a number of files, found {fields['mini_batch_size']}"
        )
    if action == "summary_only" and "output_file_name" in fields:
        raise UsageError(
            "--output-file-name names a file that isn't written with --output-action summary_only; drop it"
        )


_OPTIONS = {"params": "--param", "csv": "how CSV files are written (--delimiter, --encoding, …)"}
"""Names that a field of Job has on the command line, where they differ."""


def _key(deployment: Deployment, name: str) -> str:
    """A setting's dotted key in the deployment's style."""
    return f"settings.{name}" if deployment.style == "settings" else name
