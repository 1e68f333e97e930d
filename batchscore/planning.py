"""What a job will do, fixed before anything is scored: the model, the inputs, the settings, the earlier run."""

from __future__ import annotations

import os
import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from batchscore import readers
from batchscore.child import WorkerSpec
from batchscore.errors import UsageError
from batchscore.inputs import Listing, Selection, list_inputs
from batchscore.job import Job
from batchscore.journal import Header, read_header
from batchscore.modelcopy import fetch_model
from batchscore.modelfolder import ModelFolder, check_digest, is_registered, read_any_model, read_model_folder
from batchscore.namedcolumns import check_renamed, kept_columns
from batchscore.observed import Observed
from batchscore.resuming import Earlier, Identity, identify, take_over
from batchscore.schema import ModelSignature
from batchscore.schema.params import parse_params
from batchscore.settings import ScoringSettings
from batchscore.slots import Slots
from batchscore.staging import check_script, script_spec
from batchscore.storage import Access, access_of, has_store, is_remote, is_within, local_path, public
from batchscore.workspace import Workspace

MAX_ROWS_PER_CALL = 65_536
CALL_BYTES = 128 << 20
MAX_ROWS = (1 << 31) - 1
"""A whole file's, as pandas can hold them."""


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The model of a job: as the user named it, as it was resolved, and its local folder."""

    reference: str
    resolved: str
    folder: ModelFolder
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What a scoring script finds it as: its folder's or file's name; `model`, where that is a version or MLflow's.

        That is the name that Azure's examples register folders under, and ask for.
        """
        if not self.reference or is_registered(self.reference):
            return "model"
        name = Path(local_path(self.reference, "MODEL")).name
        return "model" if name.isdecimal() else name


NO_MODEL = FoundModel("", "", ModelFolder("", ModelSignature(), has_signature=False, digest=""))
"""Of a scoring script that brings its own."""


def access_to_stores(job: Job, *, is_strict: bool = True) -> Access:
    """How the job reaches the stores of its inputs, its output and its model.

    Raises UsageError: no such addresses; unless ``is_strict``, they are left out.
    """
    locations = (job.output, *job.inputs)
    locations = locations if is_registered(job.model) else (job.model, *locations)
    return access_of(job.storage_options, locations if is_strict else filter(has_store, locations))


def find_model(job: Job, workspace: Workspace) -> FoundModel:
    """The model folder that the job names; with a scoring script any folder or file, or none.

    An alias keeps the version it had when the job was planned. One on a store is copied to OUTPUT's private folder, and
    the copy is used again as long as the store's is the same. None of the model's code has run.
    Raises UsageError: no such model, not an MLflow model, another digest than the job expects; StorageError: the store
    can't be reached.
    """
    found = _found_model(job, workspace)
    if job.model_digest is not None:
        check_digest(found.folder, job.model_digest)
    return found


def _found_model(job: Job, workspace: Workspace) -> FoundModel:
    read = read_model_folder
    if job.script:
        check_script(job.script, workspace)
        read = read_any_model
        if not job.model:
            return NO_MODEL
    if is_remote(job.model):
        shown = public(job.model)
        workspace.require_writing()
        return FoundModel(shown, shown, read(fetch_model(shown, str(Path(workspace.folder, "model")))))
    if not is_registered(job.model):
        path = os.path.realpath(local_path(job.model, "MODEL"))
        folder = read(path)
        for what, place in (("OUTPUT", workspace.root), ("--work-dir", workspace.work_dir)):
            if place and not is_remote(place) and Path(place).is_relative_to(path):
                raise UsageError(f"{what} {place} lies in MODEL {path}, which it would change; give another folder")
        return FoundModel(job.model, path, folder)
    workspace.require_writing()
    pinned = _pinned_model(job, workspace)
    setup = {"reference": job.model, "pinned": pinned, "folder": str(Path(workspace.folder, "model"))}
    spec = WorkerSpec(setup, loader="batchscore.model.registry:load_reference")
    with Slots(spec, 1, Path(workspace.logs)) as slots:  # a process of its own: MLflow takes seconds to import
        facts = slots.ready()
    notes: tuple[str, ...] = ()
    if facts["newest"] != facts["resolved"]:
        notes = (f"{job.model} is {facts['newest']} now; this job goes on with {facts['resolved']}, as planned",)
    return FoundModel(job.model, facts["resolved"], read(facts["path"]), notes)


def _pinned_model(job: Job, workspace: Workspace) -> str | None:
    """The version that the unfinished job of the same reference and settings has settled on."""
    header = read_header(workspace.journal)
    if (
        header
        and header.reference == job.model
        and not identify(job, "").differences({**header.identity, "model_digest": ""})
    ):
        return header.resolved
    return None


def find_inputs(job: Job, workspace: Workspace) -> Listing:
    """The files to score. Raises UsageError where there are none, unless the job allows it."""
    if any(_is_same_place(entry, workspace.root) for entry in job.inputs):
        raise UsageError(f"OUTPUT {workspace.root} is an INPUT, too; give a folder of its own")
    takes_unsupported = job.fails_unsupported or job.script is not None
    selection = Selection(workspace.root, job.include, job.exclude, job.allow_empty, takes_unsupported)
    listing = list_inputs(job.inputs, selection)
    if job.layout == "azure" and job.script is None:
        _refuse_same_base_names(listing)
    if not listing.files and not job.allow_empty:
        number = len(listing.skipped)
        skipped = f" ({number} other {'file was' if number == 1 else 'files were'} skipped)" if number else ""
        kind = "file" if takes_unsupported else "CSV or Parquet file"
        raise UsageError(
            f"no input: {', '.join(job.inputs)} holds no {kind} to score{skipped}; "
            "check -i, --include and --exclude, or use --allow-empty if that may be"
        )
    return listing


def _is_same_place(entry: str, root: str) -> bool:
    if is_remote(entry) or is_remote(root):
        return is_within(entry, root) and is_within(root, entry)
    return os.path.realpath(local_path(entry, "INPUT")) == root


def _refuse_same_base_names(listing: Listing) -> None:
    names: dict[str, str] = {}
    for file in listing.files:
        other = names.setdefault(PurePosixPath(file.name).name, file.name)
        if other != file.name:
            raise UsageError(
                f"layout azure names files without their folders, and {other} and {file.name} would be one; "
                "--layout table names them in full"
            )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose model, inputs and settings are settled."""

    job: Job
    workspace: Workspace
    model: FoundModel
    listing: Listing
    earlier: Earlier
    settings: ScoringSettings
    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""
    observed: Observed = field(default_factory=Observed)

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell the user before the job begins."""
        return (*self.job.notes, *self.model.notes, *self.earlier.notes)


def prepare(job: Job, workspace: Workspace, model: FoundModel, listing: Listing, identity: Identity) -> Prepared:
    """Settle what the job will do, going on with what OUTPUT holds of it.

    Raises UsageError: OUTPUT holds another job, unknown or unfit params, misspelt columns, output columns of one name.
    """
    workspace.require_writing()
    check_renamed(listing, job, model.folder)
    planned = Header(
        job=secrets.token_hex(8),
        identity=identity.to_json(),
        reference=model.reference,
        resolved=model.resolved,
        threads=job.threads_per_worker,
        keep=kept_columns(listing, job, model.folder),
        targets=() if job.output_action == "summary_only" else (job.prediction_target,),
        replaces=(),
    )
    earlier = take_over(workspace, job, planned, listing)
    return Prepared(job, workspace, model, listing, earlier, _scoring_settings(job, model.folder, earlier.header))


def _scoring_settings(job: Job, model: ModelFolder, header: Header) -> ScoringSettings:
    """What every worker is told."""
    signature = model.signature
    width = signature.inputs.row_width if signature.inputs else 1
    settings = ScoringSettings(
        rows_per_call=job.rows_per_call or (MAX_ROWS if job.predicts_whole_files else _auto_rows(width)),
        threads=header.threads,
        predict_fn=job.predict_fn,
        params=parse_params(signature.params, job.params),
        rename=job.rename,
        keep=header.keep,
        keep_all=job.keep == ("*",),
        add=job.add,
        csv=job.csv,
        format=job.format,
        layout=job.layout,
        calls_per_file=job.predicts_whole_files,
        quarantines=job.on_bad_row == "quarantine",
    )
    _refuse_clashes(settings, _declared_names(model, job))
    return settings


def _auto_rows(width: int) -> int:
    """Rows in a call of predict, by the bytes of one."""
    return max(1, min(MAX_ROWS_PER_CALL, CALL_BYTES // max(width, 1)))


def _declared_names(model: ModelFolder, job: Job) -> list[str]:
    outputs = model.signature.outputs
    if job.predict_fn != "predict" or outputs is None:
        return []
    return [spec.name for spec in outputs.specs if spec.name]


def _refuse_clashes(settings: ScoringSettings, predictions: list[str]) -> None:
    if settings.layout == "azure":
        return  # without a header, names don't matter
    names = ["file", "row", *settings.keep, *(name for name, _ in settings.add), *predictions]
    clashing = [name for name, number in Counter(names).items() if number > 1]
    if clashing:
        raise UsageError(
            f"two output columns would have the name {clashing[0]!r}; output columns are file, row, "
            "those of --keep, those of --add and the predictions"
        )


def early_spec(job: Job, workspace: Workspace) -> WorkerSpec | None:
    """How a worker is started before the job is planned, to import meanwhile what it will need.

    None where it isn't certain that one is needed, or in which interpreter.
    """
    has_begun = Path(workspace.journal).exists() or Path(workspace.root, "job.json").exists()
    if has_begun or job.script or job.env_manager != "local" or job.python not in {None, sys.executable}:
        return None
    return WorkerSpec({}, threads=job.threads_per_worker, environment=job.environment)


def worker_spec(prepared: Prepared) -> WorkerSpec:
    """How the workers of a job are started, but for their interpreter."""
    if prepared.job.script:
        return script_spec(prepared.job, prepared.job.script, prepared.workspace, prepared.settings)
    return WorkerSpec(
        {
            "model": prepared.model.folder.path,
            "settings": prepared.settings.to_json(),
            "parts": prepared.workspace.parts,
            "env_manager": prepared.job.env_manager,
            "suffixes": readers.suffixes(prepared.listing.files),
        },
        threads=prepared.settings.threads,
        start=prepared.job.worker_start,
        environment=prepared.job.environment,
        logging_level=prepared.job.logging_level,
    )
