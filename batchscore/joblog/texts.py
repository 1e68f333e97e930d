"""What the log files of a job say in sentences."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice

from batchscore.errors import BatchscoreError, ModelLoadError, OutputLocked, StorageError, UsageError
from batchscore.joblog.capped import BEGINNING, NEWEST
from batchscore.joblog.process import one_line
from batchscore.storage import Place
from batchscore.summary import Counts, Status, headline

SHOWN_FAILURES = 20
"""In job_error.txt; failures.jsonl has all."""

README = f"""\
Logs of this job, by the names that Azure ML's batch endpoints give them. Times are in UTC.

job_progress_overview.txt   what was done when; a run that went on with the job added its lines
job_result.txt              how the job ended: status, counts, cause; absent while it runs, and where it was killed
job_error.txt               what failed, and what to do; absent where nothing did
user/error.txt              a line for each attempt and file that failed
user/error/<node>/          processNNN.txt: their stack traces
user/stdout/<node>/         processNNN.stdout.txt: what the model or script printed, by mini-batch
user/stderr/<node>/         processNNN.stderr.txt: the same of its standard error
user/entry_script_log/<node>/
                            processNNN.log.txt: what it logged with Python's logging, at --logging-level and above
sys/job_report/processed_mini-batches.csv
                            a row for each attempt at a mini-batch: when, how long, with what result

<node> is the host, NNN a worker's number. A file is there once there is something in it. Lines such as
`--- <time> mini-batch 12, attempt 2: file a.csv ---` say to whom the lines below them belong. A file keeps its first
{BEGINNING >> 20} MB; the last of what follows stays in …newest-1.txt and …newest.txt, {NEWEST >> 20} MB each at most.
Secrets (passwords and keys in addresses, values of environment variables whose names say key, token, secret …) are
replaced by `…`.
"""


def result(status: Status, message: str, counts: Counts, exit_code: int) -> str:
    """The text of job_result.txt."""
    lines = [f"{name}: {value}" for name, value in asdict(counts).items()]
    return "\n".join([f"Status: {status}", f"Result: {message}", f"Exit code: {exit_code}", "", *lines, ""])


def problems(output: Place, status: Status, message: str, counts: Counts, error: BatchscoreError | None) -> str:
    """The text of job_error.txt; empty where nothing failed."""
    if error is None and not counts.files_failed:
        return ""
    lines = [message, ""]
    if counts.files_failed:
        shown, number = _headlines(output, SHOWN_FAILURES)
        more = counts.files_failed - number
        lines += [f"{counts.files_failed} of {counts.files} files failed:", *(f"  {line}" for line in shown)]
        lines += [f"  … and {more} more, see failures.jsonl"] if more > 0 else []
        lines += [""]
    return "\n".join([*lines, "What to do:", *(f"  - {line}" for line in _advice(status, counts, error)), ""])


def _headlines(output: Place, most: int) -> tuple[Sequence[str], int]:
    """The first failures that failures.jsonl has, a line each, and how many failed files that are."""
    try:
        with output.open("failures.jsonl") as stream:
            records = [json.loads(line) for line in islice(stream, most)]
            return [one_line(headline(record)) for record in records], sum(each.get("count", 1) for each in records)
    except (OSError, StorageError, ValueError, LookupError, TypeError, AttributeError):
        return [], 0


def _advice(status: Status, counts: Counts, error: BatchscoreError | None) -> list[str]:
    advice: list[str] = []
    match error:
        case ModelLoadError():
            advice += ["Loading the model failed: see the traceback above and user/stderr; --python takes another"]
            advice[-1] += " interpreter, such as that of the model's own environment."
        case StorageError() | OutputLocked():
            advice += ["Once there is room and access, run the same command again: it goes on where it ended."]
        case UsageError():
            advice += ["Correct what the message names."]
        case BatchscoreError():
            advice += ["Run the same command again: it goes on where it ended."]
    if counts.files_failed:
        advice += [
            "See user/error.txt (which attempts failed), user/error (stack traces), user/stdout and user/stderr.",
        ]
    if counts.files_failed and status == "Completed":
        advice += ["With the files repaired it is another job: give another OUTPUT, or --overwrite."]
    elif counts.files_failed:
        advice += [
            "Repair or remove the files and run the same command again: what was scored is kept, only they are redone.",
            "Or accept so many failures (error_threshold; --error-threshold -1: any number).",
        ]
    return advice
