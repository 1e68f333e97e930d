"""The command line: flags to a Job, a summary to text and an exit code; nothing else."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from batchscore import __version__
from batchscore.errors import BatchscoreError, StorageError
from batchscore.headings import GroupedCommand, option
from batchscore.job import Job
from batchscore.options import STORAGE_OPTION, WATCHING, job_options, watching_options
from batchscore.placeholders import output_on, parse_date
from batchscore.redaction import redact
from batchscore.streams import flush_streams, prepare_streams, show, tell
from batchscore.translating import job_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchscore.findings import Report
    from batchscore.progress import Watcher
    from batchscore.summary import JobSummary

EPILOG = """\b
Exit codes: 0 completed; 1 more failures than the threshold allows; 2 wrong use,
no such model or no input; 3 the model can't be loaded; 4 the output can't be
written, worth trying again; 75 another run holds OUTPUT; 130, 143 stopped by a
signal. Run the same command again to go on with a job that was stopped.

Every option can come from the environment: BATCHSCORE_RUN_TIMEOUT=60; one value
a line where an option may be repeated."""

VALIDATE_EPILOG = """\b
Exit codes: 0 fine; 1 problems found; 2 wrong use, or MODEL or INPUT isn't there.
With --json the report is JSON of a documented structure (docs/validation.md).

Every option can come from the environment: BATCHSCORE_VALIDATE_KEEP=id; one
value a line where an option may be repeated."""

OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""Looking for garbage among what is imported finds none, and takes a tenth of the start-up."""

SHOWN_FAILURES = 5
"""On stderr; failures.jsonl has all."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchscore")
def main_group() -> None:
    """Score folders of CSV and Parquet files with an MLflow model."""


@main_group.command(cls=GroupedCommand, epilog=EPILOG)
@job_options
@watching_options
@click.pass_context
def run(context: click.Context, /, **given: Any) -> None:
    """Score every row of INPUT with MODEL, into OUTPUT.

    \b
      batchscore run -m model -i data -o scored --keep id
      batchscore run -m models:/churn@champion -i 'data/*.parquet' -o scored
      batchscore run -f deployment.yml -i data -o scored

    INPUT is searched recursively for .csv, .csv.gz, .csv.zst, .tsv, .parquet and
    .pqt files. OUTPUT gets predictions.csv, failures.jsonl where something
    failed, and job.json. Loading a model runs its code: score models you trust.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    job = job_of(context)
    _warn(context)
    from batchscore.runner import run_job

    summary = run_job(job, _watcher(given, job))
    _say(summary, given)
    if summary.exit_code:
        sys.exit(summary.exit_code)


@main_group.command(cls=GroupedCommand, epilog=VALIDATE_EPILOG)
@job_options
@watching_options
@click.pass_context
def validate(context: click.Context, /, **given: Any) -> None:
    """Say what `run` with the same arguments would stumble over, and show the first predictions.

    \b
      batchscore validate -m model -i data -o scored --keep id

    The model is loaded, and its requirements are compared with what is there. The
    header or schema of every file is held against the model's signature; the
    first rows are scored and shown. OUTPUT is looked at, and isn't written. Time,
    disk and memory are estimated from the sample.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    job = job_of(context)
    _warn(context)
    from batchscore.validation import validate_job

    report = validate_job(job, _watcher(given, job))
    _print(report, given)
    if report.exit_code:
        sys.exit(report.exit_code)


def _print(report: Report, given: dict[str, Any]) -> None:
    """The report on stdout; when quiet, problems alone, on stderr."""
    from batchscore.progress import printable

    if given["as_json"]:
        show(_as_json(report.to_json()))
    elif not given["quiet"]:
        show("\n".join(map(printable, report.lines())))
    if given["quiet"]:
        for problem in report.problems:
            tell(printable(f"{problem.check}: {problem.line}"))


@main_group.command("show", cls=GroupedCommand)
@click.argument("output", type=click.Path())
@option(WATCHING, "--json", "as_json", is_flag=True, help="Print JSON.")
@option(WATCHING, "--work-dir", type=click.Path(), metavar="DIR", help="That of the run, if it had one.")
@STORAGE_OPTION
@option(WATCHING, "--date", default="today", metavar="DAY", help="What {date} in OUTPUT means.")
@click.pass_context
def show_job(context: click.Context, /, output: str, **given: Any) -> None:
    """Say what the job in OUTPUT did, or how far it has come.

    \b
      batchscore show scored
      watch batchscore show scored
      batchscore show 'scored/{date}' --date yesterday

    Status, counts, rates, the slowest and the failed mini-batches, reasons of
    failure with examples, warnings. Nothing in OUTPUT is changed, and a run at work
    isn't disturbed. Exit codes: 0 shown, whatever became of the job; 2 OUTPUT holds
    no job; 4 it can't be read.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    from batchscore.progress import printable
    from batchscore.showing import look, text

    _warn(context)
    report = look(output_on(output, parse_date(given["date"])), given["work_dir"], given["storage_options"])
    if given["as_json"]:
        show(_as_json(report.to_json()))
    else:
        show("\n".join(map(printable, text.lines(report))))


def _warn(context: click.Context) -> None:
    """Of environment variables that are misspelt."""
    from batchscore.progress import printable

    if isinstance(context.command, GroupedCommand) and not context.params.get("quiet"):
        for warning in context.command.unknown_variables():
            tell(printable(f"Warning: {warning}"))


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2).replace("\x7f", "\\u007f")  # the only control character in it


def _watcher(given: dict[str, Any], job: Job) -> Watcher:
    from batchscore.progress import watcher

    return watcher(
        sys.stderr,
        quiet=given["quiet"],
        colour="NO_COLOR" not in os.environ,
        logging_level=job.logging_level,
    )


def _say(summary: JobSummary, given: dict[str, Any]) -> None:
    """The result on stdout; on stderr the first failures, and of a failed job the command that publishes it."""
    from batchscore.progress import printable

    if summary.exit_code or (summary.is_fresh and not given["quiet"]):
        for line in summary.headlines(SHOWN_FAILURES):
            tell(printable(line))
    if given["as_json"]:
        show(_as_json(summary.manifest), "job.json")
    elif not given["quiet"]:
        show(printable(f"{summary.status}: {summary.message}"), "job.json")
    if summary.exit_code and given["quiet"]:
        tell(printable(f"{summary.status}: {summary.message}"))
        tell(f"More about it: batchscore show {_quoted(summary.output)}")
    if summary.status == "Failed" and summary.is_fresh and summary.counts.rows_scored:
        command = _publishing_command(
            summary.manifest["settings"]["date"], {option: _LIFTED[option] for option in summary.exceeded}
        )
        has_secrets = any(redact(word) != word for word in sys.argv[1:])
        hint = " (put the secrets back that are shown as …)" if has_secrets else ""
        tell(
            f"To publish what was scored, which takes seconds{hint}:"
            if summary.is_whole
            else f"To score the rest in spite of the failures, and publish{hint}:"
        )
        tell(command)


def _publishing_command(date: str | None, lifted: Mapping[str, str]) -> str:
    """The command that was given, with these limits lifted, for the same day whenever it is run.

    Without environment variables, storage options and the keys in addresses: they are or may be secrets.
    """
    words = ["batchscore"]
    arguments = iter(sys.argv[1:])
    for word in arguments:
        option_name = word.partition("=")[0]
        if option_name in _REPLACED or option_name in lifted:
            value = word[len(option_name) + 1 :] if option_name != word else next(arguments, "")
            if option_name == "--set" and "environment_variables" not in value:
                words += ["--set", value]
        elif word != "--fail-fast":
            words.append(word)
    end = words.index("--") if "--" in words else len(words)
    ours = [*(["--date", date] if date else []), *itertools.chain(*lifted.items())]
    return " ".join(_quoted(redact(word)) for word in [*words[:end], *ours, *words[end:]])


_LIFTED = {"--error-threshold": "-1", "--max-bad-rows": "100%"}
"""Limits that allow everything."""
_REPLACED = {"--environment-variable", "--storage-option", "--date", "--set"}
"""Options that aren't repeated as they were given."""


def _quoted(word: str) -> str:
    """A word as a shell reads it; control characters and what isn't UTF-8 as the escapes of bash and zsh."""
    if word.isprintable():
        return shlex.quote(word)
    escapes = {ord("\\"): "\\\\", ord("'"): "\\'"}
    return "$'" + "".join(escapes.get(byte) or _shown(byte) for byte in os.fsencode(word)) + "'"


def _shown(byte: int) -> str:
    return chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else f"\\x{byte:02x}"


def main() -> NoReturn:
    """Run the command line and end the process, without tearing the interpreter down: that takes 0.05 s of CPU time."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy would start idle threads; workers have their own number
    try:
        command_line()
    except SystemExit as ending:  # its streams are flushed; anything else is a bug, and shown as Python does
        os._exit(ending.code if isinstance(ending.code, int) else int(ending.code is not None))


def command_line() -> NoReturn:
    """Run the command line; expected failures become one message and their exit code, a SystemExit."""
    prepare_streams()
    try:
        sys.exit(main_group(prog_name="batchscore", standalone_mode=False))
    except click.ClickException as error:
        from batchscore.progress import printable

        text = io.StringIO()
        error.show(text)
        tell(printable(redact(text.getvalue().rstrip("\n"))))
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(128 + signal.SIGINT)
    except BatchscoreError as error:
        from batchscore.progress import printable

        tell(printable(f"Error: {error}"))
        sys.exit(error.exit_code)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # who read --help has gone
            from batchscore.progress import printable

            tell(printable(redact(f"Error: {error}")))
        sys.exit(StorageError.exit_code)
    finally:
        flush_streams()
