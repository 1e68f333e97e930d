"""The interpreter that the workers of a job run with: one that is here, or that of an environment built for the job."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from batchscore.deployment import Deployment, EnvironmentReference
from batchscore.environments import (
    Environment,
    build,
    environment_of,
    environment_of_script,
    environments_folder,
    with_packages,
)
from batchscore.job import Job
from batchscore.planning import FoundModel
from batchscore.storage import packages_for

Note = Callable[[str], None]


def interpreter_for(job: Job, model: FoundModel, note: Note) -> str:
    """The path of the interpreter for a job's workers; ``note`` is told what takes time and what the user should know.

    Raises, where an environment has to be built, UsageError: no uv, files that can't be read; ModelLoadError: no
    interpreter or no packages that fit; StorageError: an index can't be reached, the cache can't be written.
    """
    is_built = job.env_manager == "uv"
    if job.script and job.deployment and not job.python:
        stores = packages_for(job.inputs)
        return interpreter_for_script(job.deployment, note, stores) if is_built else _local(job.deployment, note)
    if not is_built:
        return job.python or sys.executable
    return _built(with_packages(environment_of(model.folder.path), packages_for(job.inputs)), note)


def interpreter_for_script(deployment: Deployment, note: Note, stores: Iterable[str] = ()) -> str:
    """The path of the interpreter for a deployment's scoring script: of its conda file's environment, else this one.

    ``stores`` are packages that reading the inputs needs. Raises as interpreter_for.
    """
    stated = deployment.environment or EnvironmentReference()
    if stated.conda_file:
        return _built(with_packages(environment_of_script(stated.conda_file), stores), note)
    if stated.conda_json:
        environment = environment_of_script(json.loads(stated.conda_json), str(Path(deployment.file).parent))
        return _built(with_packages(environment, stores), note)
    other = stated.reference or stated.image or stated.build
    what = f"an environment that can't be had here ({other})" if other else "no environment"
    note(
        f"{deployment.file} states {what}: the scoring script runs with what is installed here ({sys.executable}). "
        "With a conda_file in its environment, that is built for it"
    )
    return sys.executable


def _local(deployment: Deployment, note: Note) -> str:
    """The running interpreter; an environment that is only named has been noted where the YAML was read."""
    stated = deployment.environment
    here = f"the scoring script runs with what is installed here ({sys.executable})"
    if stated is None:
        note(f"{deployment.file} states no environment: {here}")
    elif stated.conda_file or stated.conda_json:
        note(f"{deployment.file}: {here}; --env-manager uv builds the environment of its conda_file")
    return sys.executable


def _built(environment: Environment, note: Note) -> str:
    for text in environment.notes:
        note(text)
    return build(environment, cache=environments_folder(), note=note)
