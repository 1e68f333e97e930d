"""What a scoring script's workers find when they start: the model's folder, folders to write to, Azure's arguments."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from batchscore.child import WorkerSpec
from batchscore.errors import UsageError
from batchscore.job import Job, Script
from batchscore.outputfolder import TOLD
from batchscore.script import ScriptSettings
from batchscore.settings import RESERVED_NAMES, ScoringSettings
from batchscore.storage import link_or_copy, storage_errors
from batchscore.workfolder import FOLDER
from batchscore.workspace import Workspace

SHUTDOWN_SECONDS = 10.0
"""Before a worker whose shutdown() doesn't end is killed."""


def check_script(script: Script, workspace: Workspace) -> None:
    """Refuse a script that isn't there. Raises UsageError."""
    code = Path(os.path.normpath(script.code))
    path = Path(os.path.normpath(code / script.scoring_script))
    if not code.is_dir():
        raise UsageError(f"the folder {code} isn't there; code_configuration.code is the folder of the scoring script")
    if path.suffix != ".py" or code not in path.parents:
        raise UsageError(
            f"scoring_script {script.scoring_script} isn't a Python file below {code}, where all code must lie"
        )
    if not path.is_file():
        found = ", ".join(sorted(str(file.relative_to(code)) for file in code.glob("*.py"))[:5]) or "no Python file"
        raise UsageError(f"scoring_script {script.scoring_script} isn't in {code}; found {found}")
    if Path(workspace.root) == code.resolve():
        raise UsageError(f"OUTPUT {workspace.root} is the folder of the scoring script; give a folder of its own")


def script_spec(job: Job, script: Script, workspace: Workspace, settings: ScoringSettings) -> WorkerSpec:
    """How the workers of a scoring script are started."""
    own = () if job.output_action == "summary_only" else (job.prediction_target,)
    setup = ScriptSettings(
        code=script.code,
        scoring_script=script.scoring_script,
        arguments=tuple(_arguments(job, script)),
        model_dir=workspace.models,
        workers=workspace.workers,
        parts=workspace.parts,
        reserved=(*RESERVED_NAMES, FOLDER, *own),
        format=job.format,
        writer=settings.writer,
        output_action=job.output_action,
        advice=_advice(job),
    )
    return WorkerSpec(
        setup.to_json(),
        python=job.python or sys.executable,
        threads=settings.threads,
        environment=job.environment,
        loader="batchscore.script:load_script",
        start=job.worker_start,
        loads_apart="a scoring script's init() runs in each worker",
        logging_level=job.logging_level,
        loads=f"the scoring script {script.scoring_script}",
        grace=SHUTDOWN_SECONDS,
    )


def _advice(job: Job) -> str:
    """What to do where a script's package isn't installed."""
    stated = job.deployment and job.deployment.environment
    has_conda_file = bool(stated and (stated.conda_file or stated.conda_json))
    if job.env_manager == "uv" and has_conda_file:
        return "Add the package under pip: in the environment's conda_file, from which --env-manager uv builds it"
    own = "--env-manager uv builds the environment of its conda_file; or i" if has_conda_file else "I"
    return f"{own}nstall the package there, or name the interpreter of an environment that has it with --python PATH"


def _arguments(job: Job, script: Script) -> Iterator[str]:
    """What a script finds on its command line: Azure's own settings, which it is told to pass over."""
    stated: dict[str, object] = {
        "scoring_module_name": script.scoring_script,
        "mini_batch_size": job.mini_batch_size,
        "error_threshold": job.error_threshold if isinstance(job.error_threshold, int) else -1,
        "output_action": job.output_action,
        "logging_level": job.logging_level.upper(),
        "run_invocation_timeout": int(job.timeout),
        "run_max_try": job.max_retries,
    }
    if job.output_action == "append_row":
        stated |= {"append_row_file_name": job.output_file_name, "append_row_dataframe_header": False}
    for name, value in stated.items():
        yield from (f"--{name}", str(value))


def stage(workspace: Workspace, model: str, name: str) -> None:
    """Lay out AZUREML_MODEL_DIR and the folder of the workers' folders, without what a killed run left there.

    AZUREML_MODEL_DIR has one entry, `name`: the model's folders anew, with hard links to its files, or copies where
    the disk can't. Symbolic links won't do: MLflow refuses models that lead elsewhere. Raises StorageError.
    """
    with storage_errors(f"can't lay out {workspace.models} for the scoring script"):
        for folder in (workspace.models, workspace.workers):
            shutil.rmtree(folder, ignore_errors=not Path(folder).exists())
            Path(folder).mkdir(mode=0o700)
        entry = Path(workspace.models, name)
        if Path(model).is_file():
            link_or_copy(model, str(entry))
        for folder, _, files in os.walk(model, followlinks=True) if model else ():
            place = Path(entry, os.path.relpath(folder, model))
            place.mkdir()
            for file in files:
                link_or_copy(str(Path(folder, file)), str(place / file))


def late_words(workspace: Workspace) -> Iterator[str]:
    """What to say of files that shutdown() wrote."""
    for path in sorted(Path(workspace.workers).glob(f"*{TOLD}")):
        names = json.loads(path.read_text())
        yield (
            f"the scoring script wrote {', '.join(names[:5])}{' …' if len(names) > 5 else ''} after its last "  # noqa: PLR2004
            "mini-batch, in shutdown() or a thread; that belongs to no mini-batch and isn't published"
        )
