"""All that can be known about a job before it is scored; nothing is written to OUTPUT."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from batchscore.child import WorkerSpec
from batchscore.endings import judged_again
from batchscore.errors import BatchscoreError, Stopped, UsageError
from batchscore.estimating import (
    Loaded,
    Room,
    available_memory,
    estimate,
    free_disk,
    limited,
    rows_of_a_call,
    shortages,
)
from batchscore.examination import Examined, examine, grouped
from batchscore.findings import DIFFERING, Estimates, Finding, InputFacts, ModelFacts, Report, Requirement, Sample
from batchscore.glance import Glance, glance_at, unseen
from batchscore.inputs import Listing
from batchscore.interpreter import check_interpreter
from batchscore.job import Job
from batchscore.minibatch import Json
from batchscore.planning import (
    NO_MODEL,
    FoundModel,
    Prepared,
    access_to_stores,
    find_inputs,
    find_model,
    prepare,
    worker_spec,
)
from batchscore.progress import Silent, Watcher
from batchscore.provisioning import interpreter_for
from batchscore.redaction import redact
from batchscore.resuming import finished_before, identify, take_over
from batchscore.sampling import sampled_first, take_sample, with_peak
from batchscore.signals import StopSignals
from batchscore.slots import Slots
from batchscore.staging import stage
from batchscore.storage import using

Result = TypeVar("Result")
SCORES_MODELS = WorkerSpec({}).loader
"""The loader of workers that score with a model."""


def validate_job(job: Job, watch: Watcher | None = None) -> Report:
    """Load the model, look at every file, score the first rows, look at OUTPUT, and say what was found.

    Nothing is written but to a private temporary folder, which goes. Raises OSError where there is no place for that,
    and Stopped.
    """
    watch = watch or Silent()
    with using(access_to_stores(job, is_strict=False)), StopSignals(), _scratch() as scratch:
        draft = Draft(job, unseen(job.output, scratch))
        draft.look_at_place(scratch)
        model = draft.attempt("model", lambda: find_model(job, draft.glance), is_wrong_use=True)
        listing = draft.list_inputs()
        if listing is not None:
            watch.opened(len(listing.files), listing.folders, len(listing.skipped), ())
        draft.look_at_lock()
        if model is not None:
            prepared = draft.settle(model, listing or Listing((), ()))
            draft.look_at_output(model, listing, prepared)
            if prepared is not None:
                draft.try_out(prepared, watch)
        elif listing is not None:
            draft.look_at_files_alone(listing, watch)
        return draft.report(model, listing)


def _scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="batchscore-")


@dataclass(slots=True)
class Draft:
    """A report in the making."""

    job: Job
    glance: Glance
    is_seen: bool = False
    """Whether OUTPUT could be looked at."""
    findings: list[Finding] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    is_wrong_use: bool = False
    output_state: str = "not looked at"
    examined: Examined | None = None
    facts: Json | None = None
    """Of the loaded model."""
    sample: Sample | None = None
    estimates: Estimates | None = None
    room: Room = field(default_factory=Room)

    def attempt(self, check: str, action: Callable[[], Result], *, is_wrong_use: bool = False) -> Result | None:
        """The action's result; what it is refused for becomes a problem."""
        try:
            return action()
        except Stopped:
            raise
        except (BatchscoreError, OSError) as error:  # what may not even be looked at is an OSError
            self.problem(check, redact(str(error)))
            self.is_wrong_use |= is_wrong_use and isinstance(error, UsageError)
            return None

    def problem(self, check: str, message: str) -> None:
        found = Finding(check, "problem", message)
        if found not in self.findings:
            self.findings.append(found)

    def list_inputs(self) -> Listing | None:
        """The files, also where layout azure, which has base names only, can't tell them apart."""
        table = replace(self.job, layout="table")
        listing = self.attempt("inputs", lambda: find_inputs(table, self.glance), is_wrong_use=True)
        if listing is not None and self.job.layout == "azure":
            self.attempt("output", lambda: find_inputs(self.job, self.glance))
        return listing

    def look_at_place(self, scratch: str) -> None:
        """OUTPUT, if it can be one and can be reached; all else is told without it."""
        glance = self.attempt("output", lambda: glance_at(self.job.output, scratch, self.job.work_dir))
        if glance is not None:
            self.glance, self.is_seen = glance, True
        else:
            self.output_state = "can't be used as it is"

    def look_at_lock(self) -> None:
        """Who holds OUTPUT, and whether it could be written at all."""
        if not self.is_seen:
            return
        holder = self.glance.holder
        if holder is not None and (holder.is_here or not self.job.break_lock):
            self.problem("output", holder.refusal("OUTPUT"))
        if obstacle := self.glance.obstacle():
            self.problem("output", obstacle)

    def settle(self, model: FoundModel, listing: Listing) -> Prepared | None:
        """The job as it would be in an OUTPUT of its own; without the settings that are refused, to see the rest."""
        prepared = self.attempt("settings", lambda: _prepared(self.job, self.nowhere, model, listing))
        if prepared is None:
            for plain in (self.plain, replace(self.plain, rename=())):
                with contextlib.suppress(UsageError):
                    prepared = prepared or _prepared(plain, self.nowhere, model, listing)
        if prepared is not None:
            self.notes.update(dict.fromkeys(prepared.notes))
        return prepared

    @property
    def nowhere(self) -> Glance:
        """An OUTPUT that holds nothing."""
        return Glance(str(Path(self.glance.folder, "nowhere")), self.glance.folder)

    @property
    def plain(self) -> Job:
        """The job without the settings that depend on what is found, but for renaming, which files may need."""
        return replace(self.job, keep=(), add=(), params=())

    def look_at_output(self, model: FoundModel, listing: Listing | None, prepared: Prepared | None) -> None:
        """Say what a run would do with what is in OUTPUT."""
        if listing is None or prepared is None or not self.is_seen:
            return
        identity = identify(self.job, model.folder.digest)
        header = replace(prepared.earlier.header, identity=identity.to_json())
        if manifest := self.attempt("output", lambda: finished_before(self.glance, identity, listing)):
            summary = judged_again(self.glance.output, manifest, self.job)
            if summary.status == "Completed" or not self.job.overwrite:
                self.output_state = "holds this very job, finished: a run would do nothing"
                if summary.exit_code:
                    self.problem("output", summary.message)
                return
        earlier = self.attempt("output", lambda: take_over(self.glance, self.job, header, listing))
        if earlier is None:
            self.output_state = "holds something else"
        elif not earlier.is_new:
            self.output_state = "holds this job, unfinished: a run goes on with it"
        elif earlier.header.replaces:
            self.output_state = f"a run would replace {', '.join(earlier.header.replaces)}"
        else:
            self.output_state = "a run would begin anew" if self.glance.output.holds("") else "isn't there yet"
        self.notes.update(dict.fromkeys(earlier.notes if earlier else ()))

    def try_out(self, prepared: Prepared, watch: Watcher) -> None:
        """Load the model in a worker, look at all files meanwhile, then score the first rows of those that fit."""
        spec = worker_spec(prepared)
        is_model = spec.loader == SCORES_MODELS and self.job.script is None
        if is_model:
            spec = replace(spec, loader="batchscore.trial:load_trial")
        python = self.attempt("model", lambda: _interpreter(prepared, watch))
        with contextlib.ExitStack() as stack:
            slots = None
            if self.job.script:
                stage(prepared.workspace, prepared.model.folder.path, prepared.model.name)
            if python is not None:
                slots = stack.enter_context(Slots(replace(spec, python=python), 1, Path(self.glance.logs)))
                self.attempt("model", slots.start)
            examined = Examined()
            if self.job.script is None:  # which gets the files as they are
                examined = self.examined = examine(prepared, watch, Path(self.glance.logs))
            self.findings += examined.findings()
            self.notes.update(dict.fromkeys(examined.notes))
            self.facts = self.attempt("model", slots.ready) if slots else None
            if slots and self.facts is not None and is_model:
                self.score_first_rows(slots, prepared, examined)
        if slots and self.sample:
            self.weigh_up(with_peak(self.sample, slots), prepared, examined)

    def look_at_files_alone(self, listing: Listing, watch: Watcher) -> None:
        """Without a model: whether each file can be read."""
        if self.job.script is not None:
            return
        plain = replace(self.plain, rename=())
        prepared = self.attempt("files", lambda: _prepared(plain, self.nowhere, NO_MODEL, listing))
        if prepared is not None:
            self.findings += examine(prepared, watch, Path(self.glance.logs)).findings()

    def score_first_rows(self, slots: Slots, prepared: Prepared, examined: Examined) -> None:
        """Score the sample with the settings that weren't refused."""
        first = sampled_first(examined.fitting, has_signature=prepared.model.folder.has_signature)
        self.sample, findings = take_sample(slots, prepared, first)
        self.findings += grouped(findings)
        if self.sample is None and not findings:
            self.notes["no rows were scored: there are none in files that fit"] = None

    def weigh_up(self, sample: Sample, prepared: Prepared, examined: Examined) -> None:
        """What the job will take, and whether there is as much."""
        rows, load = prepared.settings.rows_per_call, float((self.facts or {}).get("load_seconds", 0))
        model = Loaded(rows, prepared.model.folder.has_signature, load)
        self.sample = sample
        self.estimates = estimate(self.job, examined.fitting, sample, model)
        self.room = Room(free_disk(self.glance.disk) if self.is_seen else None, available_memory())
        call = rows_of_a_call(self.job, examined.fitting, rows)
        self.findings += shortages(self.job, self.estimates, sample, call, self.room)

    def report(self, model: FoundModel | None, listing: Listing | None) -> Report:
        return Report(
            output=self.glance.root if self.is_seen else redact(self.job.output),
            output_state=self.output_state,
            findings=(*self.findings, *self.differing()),
            is_wrong_use=self.is_wrong_use,
            model=_model_facts(model, self.facts) if model else None,
            inputs=_input_facts(self.job, listing, self.examined) if listing else None,
            sample=self.sample,
            estimates=self.estimates,
            disk_free=self.room.disk,
            memory_available=self.room.memory,
            notes=tuple(self.notes),
        )

    def differing(self) -> Iterator[Finding]:
        """Warnings of requirements that the worker's environment doesn't meet, though the model loads."""
        for required, installed, remark in (self.facts or {}).get("requirements", ()):
            if remark in DIFFERING:
                found = "missing" if remark == "missing" else f"{installed} here"
                yield Finding("requirements", "warning", f"the model was logged with {required}; {found}")


def _interpreter(prepared: Prepared, watch: Watcher) -> str:
    """The workers' interpreter; one that --env-manager builds goes to its cache, as in a run."""
    check_interpreter(prepared.job)
    return interpreter_for(prepared.job, prepared.model, watch.note)


def _prepared(job: Job, nowhere: Glance, model: FoundModel, listing: Listing) -> Prepared:
    return prepare(job, nowhere, model, listing, identify(job, model.folder.digest))


def _model_facts(model: FoundModel, facts: Json | None) -> ModelFacts:
    found = facts or {}
    requirements = tuple(
        Requirement(required, None if installed == "-" else installed, remark)
        for required, installed, remark in found.get("requirements", ())
    )
    return ModelFacts(
        model.reference,
        model.resolved,
        model.folder.digest,
        found.get("load_seconds"),
        found.get("python"),
        requirements,
    )


def _input_facts(job: Job, listing: Listing, examined: Examined | None) -> InputFacts:
    size = sum(file.size for file in listing.files)
    facts = InputFacts(len(listing.files), listing.folders, size, listing.skipped)
    if examined is None:
        return facts
    rows = limited(job, sum(each.rows for each in examined.fitting))
    return replace(facts, rows=rows, rows_counted=all(each.is_counted for each in examined.fitting))
