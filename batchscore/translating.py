"""A command's options, as click read them, to a Job."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import click
from click.core import ParameterSource

from batchscore.errors import UsageError
from batchscore.job import Job, parse_memory_limit
from batchscore.placeholders import Places, parse_date
from batchscore.settings import MISSING_VALUES, CsvOptions, MiniBatchSize, output_name_and_format

_AS_GIVEN = (
    "model", "workers", "rows_per_call", "threads_per_worker", "worker_start", "timeout", "max_retries",
    "error_threshold", "on_bad_row", "max_bad_rows", "fail_fast", "output_files", "output_action", "rename",
    "predict_fn", "model_digest",
    "params", "include", "exclude", "limit", "env_manager", "python", "environment", "storage_options",
    "allow_empty", "overwrite", "break_lock", "layout", "logging_level", "recycle_after", "grace", "work_dir",
    "max_concurrency_per_instance", "instance_count",
)  # fmt: skip
_OF_CSV = ("delimiter", "encoding", "missing_values", "no_header")
_OF_DEPLOYMENTS = {"deployment_name": "--deployment-name", "overrides": "--set", "model_store": "--model-store"}
_CONCURRENCY = {"max_concurrency_per_instance": "--max-concurrency-per-instance", "instance_count": "--instance-count"}


def job_of(context: click.Context) -> Job:
    """The Job that a command's options mean. Raises UsageError.

    With a deployment, what is given on the command line or by an environment variable goes before its YAML; options
    that are left at their defaults don't.
    """
    given = context.params
    stated = _stated(context)
    inputs = (*given["inputs"], *given["more_inputs"])
    if not inputs:
        raise UsageError("no input: give -i INPUT, a file, a folder or a glob")
    places = Places(inputs, given["output"], given["output_file_name"], given["add"])
    stated |= places.stated_on(parse_date(given["date"]))
    if given["file"] is None:
        return _native(context, stated)
    from batchscore.deploying import DeploymentFile, job_of_deployment

    asked = DeploymentFile(given["file"], given["deployment_name"], given["overrides"], given["model_store"])
    return job_of_deployment(asked, stated)


def _native(context: click.Context, stated: dict[str, Any]) -> Job:
    """The Job without a deployment."""
    for name, option in _OF_DEPLOYMENTS.items():
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"{option} goes with -f DEPLOYMENT.yml, and there is none; add it, or drop {option}")
    if "model" not in stated:
        raise UsageError("no model: give -m MODEL, or -f DEPLOYMENT.yml, which names one")
    name, kind = output_name_and_format(stated.pop("output_file_name", None), stated.pop("format", None))
    counts = [stated.pop(each) for each in _CONCURRENCY if each in stated]
    job = Job(**stated, output_file_name=name, format=kind)
    if not counts:
        return job
    from batchscore.deploying import workers_at_most_cores

    workers, notes = workers_at_most_cores(counts[0] * counts[-1] if len(counts) > 1 else counts[0])
    return replace(job, workers=workers, notes=notes)


def _stated(context: click.Context) -> dict[str, Any]:
    """The fields of Job (and Azure's two that make the number of workers) that were given, each as its type."""
    given, sources = context.params, _sources(context)
    stated = {name: given[name] for name in _AS_GIVEN if name in sources}
    if "format_" in sources:
        stated["format"] = given["format_"]
    if "mini_batch_size" in sources:
        stated["mini_batch_size"] = MiniBatchSize.parse(given["mini_batch_size"])
    if "memory_limit" in sources:
        stated["memory_limit"] = parse_memory_limit(given["memory_limit"])
    if "keep" in sources:
        keep = tuple(column for entry in given["keep"] for column in next(csv.reader([entry])) if column)
        stated["keep"] = ("*",) if keep == ("all",) else keep
    if any(name in sources for name in _OF_CSV):
        delimiter = given["delimiter"].replace("\\t", "\t")
        missing = given["missing_values"] or MISSING_VALUES
        stated["csv"] = CsvOptions(delimiter, given["encoding"], missing, not given["no_header"])
    return stated


def _sources(context: click.Context) -> dict[str, ParameterSource]:
    """Where each option comes from that isn't left at its default.

    The command line goes before the environment also where they state the number of workers in different ways.
    Raises UsageError where one of them does so twice.
    """
    found = {name: source for name in context.params if (source := context.get_parameter_source(name)) in _GIVEN}
    for name, option in _CONCURRENCY.items():
        if "workers" not in found or name not in found:
            continue
        if found["workers"] is found[name]:
            raise UsageError(f"--workers and {option} both say how many workers there are; drop one of them")
        del found["workers" if found["workers"] is ParameterSource.ENVIRONMENT else name]
    return found


_GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
