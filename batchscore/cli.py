"""The command line: flags to a Job, a summary to text and an exit code; nothing else."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from batchscore import __version__
from batchscore.errors import BatchscoreError, StorageError, UsageError
from batchscore.job import MISSING_VALUES, CsvOptions, Job, MiniBatchSize, output_name_and_format
from batchscore.options import GroupedCommand, job_options, watching_options
from batchscore.streams import flush_streams, prepare_streams, show, tell

if TYPE_CHECKING:
    from batchscore.progress import Watcher
    from batchscore.summary import JobSummary

EPILOG = """\b
Exit codes: 0 completed; 1 more failures than the threshold allows; 2 wrong use,
no such model or no input; 3 the model can't be loaded; 4 the output can't be
written, worth trying again; 75 another run holds OUTPUT; 130, 143 stopped by a
signal. Run the same command again to go on with a job that was stopped.

Every option can come from the environment: BATCHSCORE_RUN_TIMEOUT=60; one value
a line where an option may be repeated."""

SHOWN_FAILURES = 5
"""On stderr; failures.jsonl has all."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchscore")
def main_group() -> None:
    """Score folders of CSV and Parquet files with an MLflow model."""


@main_group.command(cls=GroupedCommand, epilog=EPILOG)
@job_options
@watching_options
def run(**given: Any) -> None:
    """Score every row of INPUT with MODEL, into OUTPUT.

    \b
      batchscore run -m model -i data -o scored --keep id
      batchscore run -m models:/churn@champion -i 'data/*.parquet' -o scored

    INPUT is searched recursively for .csv, .csv.gz, .csv.zst, .tsv, .parquet and
    .pqt files. OUTPUT gets predictions.csv, failures.jsonl where something
    failed, and job.json. Loading a model runs its code: score models you trust.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    job = job_of(given)
    from batchscore.runner import run_job

    summary = run_job(job, _watcher(given))
    _say(summary, given)
    if summary.exit_code:
        sys.exit(summary.exit_code)


def job_of(given: dict[str, Any]) -> Job:
    """The Job that the command line's values mean. Raises UsageError."""
    inputs = (*given["inputs"], *given["more_inputs"])
    if not inputs:
        raise UsageError("no input: give -i INPUT, a file, a folder or a glob")
    name, kind = output_name_and_format(given["output_file_name"], given["format_"])
    keep = tuple(column for entry in given["keep"] for column in next(csv.reader([entry])) if column)
    delimiter = given["delimiter"].replace("\\t", "\t")
    same = (
        "model", "output", "workers", "rows_per_call", "threads_per_worker", "timeout", "max_retries",
        "error_threshold", "fail_fast", "output_files", "add", "rename", "predict_fn", "params", "include", "exclude",
        "limit", "python", "environment", "allow_empty", "overwrite", "layout",
    )  # fmt: skip
    return Job(
        inputs=inputs,
        mini_batch_size=MiniBatchSize.parse(given["mini_batch_size"]),
        format=kind,
        output_file_name=name,
        keep=("*",) if keep == ("all",) else keep,
        csv=CsvOptions(delimiter, given["encoding"], given["missing_values"] or MISSING_VALUES, not given["no_header"]),
        **{name: given[name] for name in same},
    )


def _watcher(given: dict[str, Any]) -> Watcher:
    from batchscore.progress import watcher

    return watcher(
        sys.stderr,
        quiet=given["quiet"],
        notes_only=given["logging_level"] == "warning",
        colour="NO_COLOR" not in os.environ,
    )


def _say(summary: JobSummary, given: dict[str, Any]) -> None:
    """The result on stdout; on stderr the first failures, and of a failed job the command that publishes it."""
    from batchscore.progress import printable

    if summary.is_fresh and (summary.exit_code or not given["quiet"]):
        for line in summary.headlines(SHOWN_FAILURES):
            tell(printable(line))
    if given["as_json"]:
        show(json.dumps(summary.manifest, indent=2).replace("\x7f", "\\u007f"))  # the only control character in it
    elif not given["quiet"]:
        show(printable(f"{summary.status}: {summary.message}"))
    if summary.exit_code and given["quiet"]:
        tell(printable(f"{summary.status}: {summary.message}"))
    if summary.status == "Failed" and summary.counts.rows_scored:
        tell("To publish what was scored, which takes seconds:")
        tell(_publishing_command())


def _publishing_command() -> str:
    """The command that was given, with --error-threshold -1, without environment variables: they may be secrets."""
    words = ["batchscore"]
    arguments = iter(sys.argv[1:])
    for word in arguments:
        option_name = word.partition("=")[0]
        if option_name in {"--error-threshold", "--environment-variable"}:
            if "=" not in word or option_name == word:
                next(arguments, None)
        elif word != "--fail-fast":
            words.append(word)
    end = words.index("--") if "--" in words else len(words)
    return " ".join(map(_quoted, [*words[:end], "--error-threshold", "-1", *words[end:]]))


def _quoted(word: str) -> str:
    """A word as a shell reads it; control characters and what isn't UTF-8 as the escapes of bash and zsh."""
    if word.isprintable():
        return shlex.quote(word)
    escapes = {ord("\\"): "\\\\", ord("'"): "\\'"}
    return "$'" + "".join(escapes.get(byte) or _shown(byte) for byte in os.fsencode(word)) + "'"


def _shown(byte: int) -> str:
    return chr(byte) if chr(byte).isascii() and chr(byte).isprintable() else f"\\x{byte:02x}"


def main() -> NoReturn:
    """Run the command line; expected failures become one message and their exit code."""
    prepare_streams()
    try:
        sys.exit(main_group(prog_name="batchscore", standalone_mode=False))
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(128 + signal.SIGINT)
    except BatchscoreError as error:
        from batchscore.progress import printable

        tell(printable(f"Error: {error}"))
        sys.exit(error.exit_code)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # who read --help has gone
            tell(f"Error: {error}")
        sys.exit(StorageError.exit_code)
    finally:
        flush_streams()
