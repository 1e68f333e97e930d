"""What OUTPUT holds already: this very job, finished or not, or another one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from heapq import merge
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from batchscore.errors import UsageError
from batchscore.inputs import Listing
from batchscore.job import Job
from batchscore.journal import Header, has_receipts, read_header
from batchscore.limits import allows
from batchscore.minibatch import Json, MiniBatch, compact
from batchscore.modelfolder import digest, is_registered
from batchscore.plan import Plan
from batchscore.receipts import Receipts
from batchscore.storage import is_remote, local_path, storage_errors
from batchscore.workspace import Workspace

_NAMED = 10
"""Files that a note names."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Which job this is: what a run must agree on with the run before it to go on with its work."""

    model_digest: str
    settings: Json

    def differences(self, other: Json) -> list[str]:
        """What another run's identity has differently, in words."""
        there, now = _flat(other["settings"]), _flat(self.settings)
        found = [
            f"{name} ({json.dumps(there.get(name))} there, {json.dumps(now.get(name))} now)"
            for name in dict.fromkeys((*now, *there))
            if there.get(name) != now.get(name)
        ]
        if other["model_digest"] != self.model_digest:
            found.insert(0, f"the model ({_short(other['model_digest'])} there, {_short(self.model_digest)} now)")
        return found

    def to_json(self) -> Json:
        return {"model_digest": self.model_digest, "settings": self.settings}


def _flat(settings: Json) -> Json:
    """The settings, and those within `csv`, `params` and the like, by the names that a user gives them."""
    flat: Json = {}
    for name, value in settings.items():
        parts = value.items() if isinstance(value, dict) else ()
        flat |= {part if name == "csv" else f"{name} {part}": each for part, each in parts}
        if not isinstance(value, dict):
            flat[name] = value
    return flat


def _short(digest: str) -> str:
    return digest[: len("sha256:") + 12]


def identify(job: Job, model_digest: str) -> Identity:
    """The identity of a job, as it reads back from JSON; a scoring script's covers its folder, whose files it hashes.

    What lies in that folder and isn't its code doesn't count: INPUT, OUTPUT and MODEL, hidden folders.
    """
    settings = job.shaping()
    if job.script:
        code = digest(job.script.code, leave_out=_beside_the_code(job), leaves_hidden=True)
        settings["script"] = {"scoring_script": job.script.scoring_script, "code": code}
    return Identity(model_digest, json.loads(json.dumps(settings)))


def _beside_the_code(job: Job) -> frozenset[str]:
    """What may lie in the folder of a scoring script without being code; of globs, the folder of what they match."""
    places = [*job.inputs, job.output, *([job.model] if job.model and not is_registered(job.model) else [])]
    here = [re.sub(r"/?[^/]*[*?[].*", "", place) or "." for place in places if not is_remote(place)]
    return frozenset(os.path.realpath(local_path(place, "PATH")) for place in here)


def finished_before(workspace: Workspace, identity: Identity, listing: Listing) -> Json | None:
    """The manifest of OUTPUT where it holds this very job with these inputs, finished and in place."""
    manifest = workspace.manifest()
    if manifest is None or manifest["status"] != "Completed":
        return None
    is_same = not identity.differences(manifest["identity"]) and manifest["inputs"]["digest"] == listing.digest
    return manifest if is_same and not _lost_outputs(workspace, manifest) else None


def _lost_outputs(workspace: Workspace, manifest: Json) -> list[str]:
    """Outputs that aren't there any more, or not as they were written."""
    outputs = _outputs(manifest)
    sizes = workspace.output.sizes([entry["path"] for entry in outputs])
    return [entry["path"] for entry, size in zip(outputs, sizes, strict=True) if size != entry["bytes"]]


def _outputs(manifest: Json) -> list[Json]:
    """The prediction files, and what a scoring script wrote itself."""
    return [*manifest["outputs"], *manifest.get("files", ())]


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a run goes on with of the runs before it."""

    header: Header
    is_new: bool
    """Whether the journal begins anew: nothing scored before counts."""
    notes: tuple[str, ...] = ()


def take_over(workspace: Workspace, job: Job, planned: Header, listing: Listing) -> Earlier:
    """The unfinished job in OUTPUT, to go on with; else the one that is planned.

    Raises UsageError where OUTPUT holds another job, unless this one overwrites.
    """
    manifest, header = workspace.manifest(), read_header(workspace.journal)
    if header and manifest and manifest["status"] == "Completed" and manifest["job"] == header.job:
        header = None  # it was finished; the run was stopped before it could tidy up
    if header is None:
        replaces = _replaced(workspace, job, planned, manifest, listing)
        return Earlier(replace(planned, replaces=replaces), is_new=True, notes=_lost_work(workspace, manifest))
    different = Identity(**planned.identity).differences(header.identity)
    if different and has_receipts(workspace.journal) and not job.overwrite:
        raise UsageError(_another_job(workspace, "an unfinished job", different))
    if different or header.keep != planned.keep:
        notes = [] if different else ["--keep all means other columns now: all files are scored again"]
        replaces = tuple(dict.fromkeys((*header.replaces, *header.targets)))
        return Earlier(replace(planned, replaces=replaces), is_new=True, notes=tuple(notes))
    notes = _changes(workspace, listing)
    if header.threads != planned.threads:
        notes.append(f"this job goes on with {header.threads} threads per worker, as planned")
    return Earlier(header, is_new=False, notes=tuple(notes))


def _lost_work(workspace: Workspace, manifest: Json | None) -> tuple[str, ...]:
    """A note where job.json tells of an unfinished job whose work is elsewhere, or gone."""
    if manifest is None or manifest["status"] == "Completed":
        return ()
    return (f"the work of the unfinished job in OUTPUT isn't in {workspace.folder}: all files are scored again",)


def _replaced(
    workspace: Workspace, job: Job, planned: Header, manifest: Json | None, listing: Listing
) -> tuple[str, ...]:
    """What goes when this job's outputs are ready; refused without --overwrite where that is another's work."""
    outputs = tuple(entry["path"] for entry in _outputs(manifest)) if manifest else ()
    if manifest and manifest["status"] == "Completed" and not job.overwrite:
        if different := _since(workspace, planned, manifest, listing):
            raise UsageError(_another_job(workspace, "a finished job", different))
        return outputs
    ours = {"failures.jsonl", *(path.split("/")[0] for path in outputs)} if manifest else set()
    foreign = [
        name for name in (*planned.targets, "failures.jsonl") if name not in ours and workspace.output.holds(name)
    ]
    if foreign and not job.overwrite:
        raise UsageError(
            f"OUTPUT {workspace.root} holds {foreign[0]}, which no job of batchscore wrote; "
            "give another OUTPUT, or --overwrite to replace it"
        )
    return (*outputs, *foreign)


def _since(workspace: Workspace, planned: Header, manifest: Json, listing: Listing) -> list[str]:
    """What makes a finished job another one than this; nothing where its outputs are merely gone."""
    if different := Identity(**planned.identity).differences(manifest["identity"]):
        return different
    if manifest["inputs"]["digest"] != listing.digest:
        return ["the inputs changed since"]
    changed = [path for path in _lost_outputs(workspace, manifest) if workspace.output.holds(path)]
    return [f"{path} was changed since" for path in changed[:1]]


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
            stream.writelines(f"{compact(file.facts)}\n" for file in listing.files)
        temporary.replace(path)
    workspace.share(path.name)


def _changes(workspace: Workspace, listing: Listing) -> list[str]:
    """Files that changed, came and went since the run before, in words."""
    named = {kind: _Named() for kind in ("changed", "new", "vanished")}
    try:
        with Path(workspace.folder, "inputs.jsonl").open(encoding="ascii") as stream:
            sides = merge(_of_run(0, map(json.loads, stream)), _of_run(1, (file.facts for file in listing.files)))
            for name, found in groupby(sides, key=itemgetter(0)):
                facts = {run: own for _, run, own in found}
                if len(facts) == 1:
                    named["vanished" if 0 in facts else "new"].add(name)
                elif facts[0] != facts[1]:
                    named["changed"].add(name)
    except (OSError, ValueError):
        return []  # the run before was stopped while it wrote them
    return [f"{some.number} {kind} since the run before: {some}" for kind, some in named.items() if some.number]


def _of_run(run: int, files: Iterable[list[Any]]) -> Iterator[tuple[str, int, list[Any]]]:
    """The facts of a run's files, which are in the order of their names."""
    return ((facts[0], run, facts) for facts in files)


@dataclass(slots=True)
class _Named:
    """How many files, and the first of them by name."""

    number: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        self.number += 1
        if len(self.first) < _NAMED:
            self.first.append(name)

    def __str__(self) -> str:
        return ", ".join(self.first) + (f" and {self.number - _NAMED} more" if self.number > _NAMED else "")


class Remaining(Collection[MiniBatch]):
    """The mini-batches of a plan that are still to score, without their slices that are done, as of now."""

    def __init__(self, plan: Plan, done: bytearray) -> None:
        """``done``: of each slice."""
        self._plan, self._done = plan, done
        self._length = sum(not all(self._of(number)) for number in range(len(plan)))

    def _of(self, number: int) -> bytearray:
        places = self._plan.places(number)
        return self._done[places.start : places.stop]

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[MiniBatch]:
        for batch in self._plan:
            done = self._of(batch.number)
            if not all(done):
                yield batch.only(tuple(piece for piece, is_done in zip(batch.slices, done, strict=True) if not is_done))

    def __contains__(self, batch: object) -> bool:
        return any(batch == each for each in self)


def remaining(receipts: Receipts, parts: Collection[str], job: Job) -> Remaining:
    """What is still to score: slices without a receipt, or whose part isn't among those that are there.

    Failures of the run before are tried again, unless they are within the threshold: then they stand, so that
    publishing a failed job by a higher threshold takes seconds. So are rows that predict failed for, unless they are
    within --max-bad-rows. Where nothing was scored there is nothing to publish.
    """
    if not allows(job.error_threshold, receipts.files_failed, receipts.plan.files) or not receipts.has_rows:
        receipts.forget_failures()
    if (job.max_bad_rows is not None and not allows(job.max_bad_rows, *receipts.rows)) or not receipts.has_rows:
        receipts.forget_spoilt()
    receipts.forget_lost(parts)
    return Remaining(receipts.plan, receipts.done())
