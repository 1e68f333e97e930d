"""What a job will do, fixed before anything is scored: the model, the inputs, the settings, the earlier run."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchscore import readers
from batchscore.child import WorkerSpec
from batchscore.errors import FileRefused, UsageError
from batchscore.inputs import Listing, Selection, list_inputs
from batchscore.job import Job, ScoringSettings
from batchscore.journal import Receipts, read_journal
from batchscore.minibatch import InputFile, Json, MiniBatch, compact
from batchscore.modelfolder import ModelFolder, is_registered, read_model_folder
from batchscore.schema.params import parse_params
from batchscore.slots import Slots
from batchscore.storage import local_path, storage_errors
from batchscore.workspace import Workspace

MAX_ROWS_PER_CALL = 65_536
CALL_BYTES = 128 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """Which job this is: what a run must agree on with the run before it to go on with its work."""

    model_digest: str
    settings: Json

    def differences(self, other: Json) -> list[str]:
        """What another run's identity has differently, in words."""
        found = []
        if other["model_digest"] != self.model_digest:
            found.append(f"the model ({_short(other['model_digest'])} there, {_short(self.model_digest)} now)")
        for name, value in self.settings.items():
            before = other["settings"].get(name)
            if before != value:
                found.append(f"{name} ({json.dumps(before)} there, {json.dumps(value)} now)")
        return found

    def to_json(self) -> Json:
        return {"model_digest": self.model_digest, "settings": self.settings}


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The model of a job: as the user named it, as it was resolved, and its local folder."""

    reference: str
    resolved: str
    folder: ModelFolder
    notes: tuple[str, ...] = ()


def find_model(job: Job, workspace: Workspace) -> FoundModel:
    """The model folder that the job names; an alias keeps the version it had when the job was planned.

    Raises UsageError: no such model, not an MLflow model, a URL.
    """
    if not is_registered(job.model):
        path = os.path.realpath(local_path(job.model, "MODEL"))
        folder = read_model_folder(path)
        if Path(workspace.root).is_relative_to(path):
            raise UsageError(
                f"OUTPUT {workspace.root} lies in MODEL {path}, which it would change; give another folder"
            )
        return FoundModel(job.model, path, folder)
    pinned = _pinned_model(job, workspace)
    setup = {"reference": job.model, "pinned": pinned, "folder": str(Path(workspace.folder, "model"))}
    spec = WorkerSpec(setup, loader="batchscore.model.registry:load_reference")
    with Slots(spec, 1, Path(workspace.logs)) as slots:  # a process of its own: MLflow takes seconds to import
        facts = slots.ready()
    notes: tuple[str, ...] = ()
    if facts["newest"] != facts["resolved"]:
        notes = (f"{job.model} is {facts['newest']} now; this job goes on with {facts['resolved']}, as planned",)
    return FoundModel(job.model, facts["resolved"], read_model_folder(facts["path"]), notes)


def _pinned_model(job: Job, workspace: Workspace) -> str | None:
    """The version that an unfinished job of the same reference has settled on."""
    found = read_journal(workspace.journal)
    if found and found[0]["model"]["reference"] == job.model:
        return str(found[0]["model"]["resolved"])
    return None


def identify(job: Job, model: ModelFolder) -> Identity:
    """The identity of a job, as it reads back from JSON."""
    return Identity(model.digest, json.loads(json.dumps(job.shaping())))


def find_inputs(job: Job, workspace: Workspace) -> Listing:
    """The files to score. Raises UsageError where there are none, unless the job allows it."""
    if any(os.path.realpath(local_path(entry, "INPUT")) == workspace.root for entry in job.inputs):
        raise UsageError(f"OUTPUT {workspace.root} is an INPUT, too; give a folder of its own")
    listing = list_inputs(job.inputs, Selection(workspace.root, job.include, job.exclude, job.allow_empty))
    if not listing.files and not job.allow_empty:
        number = len(listing.skipped)
        skipped = f" ({number} other {'file was' if number == 1 else 'files were'} skipped)" if number else ""
        raise UsageError(
            f"no input: {', '.join(job.inputs)} holds no CSV or Parquet file to score{skipped}; "
            "check -i, --include and --exclude, or use --allow-empty if that may be"
        )
    if any(Path(file.path).parent == Path(workspace.root) for file in listing.files):
        raise UsageError(f"OUTPUT {workspace.root} is the folder of an input; give a folder of its own")
    return listing


def inputs_digest(files: Iterable[InputFile]) -> str:
    """`sha256:…` over name, path, size and version of each input file."""
    total = hashlib.sha256()
    for file in files:
        total.update(compact([file.name, file.path, file.size, file.version]).encode() + b"\n")
    return f"sha256:{total.hexdigest()}"


def scoring_settings(job: Job, model: ModelFolder, listing: Listing, threads: int) -> ScoringSettings:
    """What every worker is told. Raises UsageError: unknown or unfit params, output columns of one name."""
    signature = model.signature
    width = signature.inputs.row_width if signature.inputs else 1
    keeps_all = job.keep == ("*",)
    settings = ScoringSettings(
        rows_per_call=job.rows_per_call or max(1, min(MAX_ROWS_PER_CALL, CALL_BYTES // max(width, 1))),
        threads=threads,
        predict_fn=job.predict_fn,
        params=parse_params(signature.params, job.params),
        rename=job.rename,
        keep=_all_columns(listing, job, model) if keeps_all else job.keep,
        keep_all=keeps_all,
        add=job.add,
        csv=job.csv,
        format=job.format,
    )
    _refuse_clashes(settings, _declared_names(model, job))
    return settings


def _all_columns(listing: Listing, job: Job, model: ModelFolder) -> tuple[str, ...]:
    """The columns of the first file that can be read."""
    for file in listing.files:
        try:
            return tuple(name.strip() for name in readers.columns(file, job.csv, model.signature.inputs))
        except (FileRefused, OSError):
            continue  # its worker will say why
    return ()


def _declared_names(model: ModelFolder, job: Job) -> list[str]:
    outputs = model.signature.outputs
    if job.predict_fn != "predict" or outputs is None:
        return []
    return [spec.name for spec in outputs.specs if spec.name]


def _refuse_clashes(settings: ScoringSettings, predictions: list[str]) -> None:
    names = ["file", "row", *settings.keep, *(name for name, _ in settings.add), *predictions]
    clashing = [name for name, number in Counter(names).items() if number > 1]
    if clashing:
        raise UsageError(
            f"two output columns would have the name {clashing[0]!r}; output columns are file, row, "
            "those of --keep, those of --add and the predictions"
        )


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run finds of the runs before it."""

    receipts: Receipts
    threads: int
    """Per worker, as planned first."""
    replaces: tuple[str, ...]
    """Outputs of another, finished job that go when this one's are ready."""
    notes: tuple[str, ...] = ()


def finished_before(workspace: Workspace, identity: Identity, listing: Listing) -> Json | None:
    """The manifest of OUTPUT where it holds this very job with these inputs, finished and in place."""
    manifest = workspace.manifest()
    if manifest is None or manifest["status"] != "Completed" or "identity" not in manifest:
        return None
    if identity.differences(manifest["identity"]) or manifest["inputs"]["digest"] != inputs_digest(listing.files):
        return None
    paths = [(Path(workspace.root, entry["path"]), entry["bytes"]) for entry in manifest["outputs"]]
    return manifest if all(path.is_file() and path.stat().st_size == size for path, size in paths) else None


def take_over(job: Job, workspace: Workspace, identity: Identity, listing: Listing) -> Earlier:
    """What is left of an unfinished job in OUTPUT, to go on with.

    Raises UsageError where OUTPUT holds another job, unless this one overwrites.
    """
    found = read_journal(workspace.journal)
    if found is not None:
        header, outcomes = found
        different = identity.differences(header["identity"])
        if not different:
            receipts = Receipts()
            for outcome in outcomes:
                receipts.take(outcome)
            notes = _changes(workspace, listing)
            if header["threads"] != job.threads_per_worker:
                notes += (f"this job goes on with {header['threads']} threads per worker, as planned",)
            return Earlier(receipts, header["threads"], tuple(header["replaces"]), notes)
        if not job.overwrite:
            raise UsageError(_another_job(workspace, "an unfinished job", different))
        workspace.clear()
        return Earlier(Receipts(), job.threads_per_worker, tuple(header["replaces"]))
    return Earlier(Receipts(), job.threads_per_worker, _replaced(job, workspace, identity))


def _replaced(job: Job, workspace: Workspace, identity: Identity) -> tuple[str, ...]:
    """The outputs that this job will replace; refused without --overwrite where they are another job's."""
    manifest = workspace.manifest()
    if manifest is not None:
        outputs = tuple(entry["path"] for entry in manifest.get("outputs", []))
        is_same = "identity" in manifest and not identity.differences(manifest["identity"])
        if manifest["status"] == "Completed" and not job.overwrite:
            missing = [path for path in outputs if not Path(workspace.root, path).is_file()]
            if not (is_same and missing):
                different = identity.differences(manifest["identity"]) if "identity" in manifest else []
                raise UsageError(_another_job(workspace, "a finished job", different or ["the inputs changed since"]))
        return outputs
    foreign = [name for name in _targets(job) if Path(workspace.root, name).exists()]
    if foreign and not job.overwrite:
        raise UsageError(
            f"OUTPUT {workspace.root} holds {foreign[0]}, which no job of batchscore wrote; "
            "give another OUTPUT, or --overwrite to replace it"
        )
    return tuple(foreign)


def _targets(job: Job) -> tuple[str, ...]:
    name = job.output_file_name if job.output_files == "one" else Path(job.output_file_name).stem
    return (name, "failures.jsonl")


def _another_job(workspace: Workspace, kind: str, different: list[str]) -> str:
    return (
        f"OUTPUT {workspace.root} holds another job, {kind}: {'; '.join(different)}. "
        "Give another OUTPUT, or --overwrite to replace it"
    )


def write_inputs(workspace: Workspace, listing: Listing) -> None:
    """Remember the files of this run, so that the next one can name what changed."""
    path = Path(workspace.folder, "inputs.jsonl")
    with storage_errors(f"can't write {path}"):
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="ascii") as stream:
            stream.writelines(compact([file.name, file.path, file.size, file.version]) + "\n" for file in listing.files)
        temporary.replace(path)


def _changes(workspace: Workspace, listing: Listing) -> tuple[str, ...]:
    """Files that changed, came and went since the run before, in words."""
    path = Path(workspace.folder, "inputs.jsonl")
    if not path.exists():
        return ()
    records: list[list[Any]] = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    before = {record[0]: record[1:] for record in records}
    now = {file.name: [file.path, file.size, file.version] for file in listing.files}
    kinds = {
        "changed": [name for name, facts in now.items() if name in before and before[name] != facts],
        "new": [name for name in now if name not in before],
        "vanished": [name for name in before if name not in now],
    }
    return tuple(f"{len(names)} {kind} since the run before: {_some(names)}" for kind, names in kinds.items() if names)


def _some(names: list[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")  # noqa: PLR2004


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job whose model, inputs and settings are settled."""

    job: Job
    workspace: Workspace
    model: FoundModel
    listing: Listing
    identity: Identity
    earlier: Earlier
    settings: ScoringSettings
    started: float = field(default_factory=time.time)
    """Seconds since the epoch."""

    def header(self) -> Json:
        """The journal's first line."""
        return {
            "identity": self.identity.to_json(),
            "model": {"reference": self.model.reference, "resolved": self.model.resolved},
            "threads": self.settings.threads,
            "replaces": list(self.earlier.replaces),
        }


def worker_spec(prepared: Prepared) -> WorkerSpec:
    """How the workers of a job are started."""
    return WorkerSpec(
        {
            "model": prepared.model.folder.path,
            "settings": prepared.settings.to_json(),
            "parts": prepared.workspace.parts,
        },
        python=prepared.job.python or sys.executable,
        threads=prepared.settings.threads,
        environment=prepared.job.environment,
    )


def remaining(plan: Sequence[MiniBatch], receipts: Receipts, error_threshold: int) -> tuple[MiniBatch, ...]:
    """What is still to score: slices without a prediction.

    Failures of the run before are tried again, unless they are within the threshold: then they stand, so that
    publishing a failed job by a higher threshold takes seconds.
    """
    planned = [piece for batch in plan for piece in batch.slices]
    failed = [piece for piece in planned if receipts.is_failed(piece)]
    if 0 <= error_threshold < len({piece.file.name for piece in failed}):
        for piece in failed:
            receipts.forget(piece)
    receipts.forget_remnants(planned)
    todo = []
    for batch in plan:
        slices = tuple(piece for piece in batch.slices if receipts.of(piece) is None)
        if slices:
            todo.append(batch.only(slices))
    return tuple(todo)
