"""The command line: flags to a Job, a summary to text and an exit code; nothing else."""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from batchscore import __version__
from batchscore.errors import BatchscoreError, StorageError, UsageError
from batchscore.job import (
    ENV_MANAGERS,
    FORMATS,
    LAYOUTS,
    LOGGING_LEVELS,
    MISSING_VALUES,
    OUTPUT_FILES,
    CsvOptions,
    Job,
    MiniBatchSize,
    output_name_and_format,
    parse_memory_limit,
)
from batchscore.placeholders import Places, parse_date
from batchscore.streams import flush_streams, prepare_streams, show, tell

if TYPE_CHECKING:
    from batchscore.progress import Watcher
    from batchscore.report import Report
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

SHOWN_FAILURES = 5
"""On stderr; failures.jsonl has all."""


Command = TypeVar("Command", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that --help lists under a heading."""

    def __init__(self, *args: Any, heading: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading

    def value_from_envvar(self, ctx: click.Context) -> Any:
        """The variable's value; an option that may be repeated takes one value a line."""
        text = self.resolve_envvar_value(ctx)
        if text is None or not self.multiple:
            return text
        return [line for line in text.splitlines() if line]


class GroupedCommand(click.Command):
    """A command whose --help lists its options under headings, and whose options come from the environment too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = list(map(copy.copy, self.params))  # which commands may share
        for parameter in self.params:
            if isinstance(parameter, GroupedOption):
                words = max(parameter.opts, key=len).lstrip("-")
                parameter.envvar = f"BATCHSCORE_{self.name}_{words}".replace("-", "_").upper()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by heading, in the order of their first appearance."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Argument):
                continue
            record = parameter.get_help_record(ctx)
            if record is not None:
                headings.setdefault(getattr(parameter, "heading", "Help"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records, col_max=26)


def option(heading: str, *names: str, **settings: Any) -> Callable[[Command], Command]:
    """A click option under a heading."""
    return click.option(*names, cls=GroupedOption, heading=heading, **settings)


class Pair(click.ParamType):  # type: ignore[type-arg]  # generic in newer clicks only
    """NAME=VALUE as a pair."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first `=`."""
        if isinstance(value, tuple):
            return value
        name, sign, rest = str(value).partition("=")
        if not name or not sign:
            self.fail(f"expected NAME=VALUE, found {value!r}", param, ctx)
        return name, rest


MAIN, CUTTING, FAILURES, OUTPUT, MODEL, INPUT, WATCHING = (
    "Main", "Mini-batches and workers", "Failures", "Output", "Model", "Input", "What is shown",
)  # fmt: skip


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="batchscore")
def main_group() -> None:
    """Score folders of CSV and Parquet files with an MLflow model."""


def shared(stack: Callable[[], None]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options and arguments stacked upon a function."""
    parameters: list[click.Parameter] = vars(stack)["__click_params__"]

    def give(command: Command) -> Command:
        vars(command)["__click_params__"] = list(parameters)
        return command

    return give


@shared
@option(
    MAIN,
    "-m",
    "--model",
    required=True,
    type=click.Path(),
    metavar="MODEL",
    help="MLflow model: a local folder, models:/name/version, models:/name@alias or runs:/…",
)
@option(
    MAIN,
    "-i",
    "--input",
    "inputs",
    multiple=True,
    type=click.Path(),
    metavar="INPUT",
    help="File, folder or glob to score; may be repeated.",
)
@option(MAIN, "-o", "--output", required=True, type=click.Path(), metavar="OUTPUT", help="Folder of the predictions.")
@option(
    MAIN,
    "--date",
    default="today",
    show_default=True,
    metavar="DAY",
    help="What {date} and {date:%Y/%m/%d} mean in -i, -o, --output-file-name and --add: 2026-11-03, today, yesterday.",
)
@option(
    OUTPUT,
    "--layout",
    type=click.Choice(LAYOUTS),
    default="table",
    show_default=True,
    help="table: a header, then file, row, kept, added and prediction columns; azure: no header, then row, "
    "predictions and the file's base name.",
)
@option(
    OUTPUT,
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=None,
    help="Of the prediction file.  [default: by --output-file-name, else csv]",
)
@option(OUTPUT, "--output-file-name", default=None, metavar="NAME", help="[default: predictions.csv]")
@option(
    OUTPUT,
    "--output-files",
    type=click.Choice(OUTPUT_FILES),
    default="one",
    show_default=True,
    help="One file, one for each mini-batch, or one for each input file.",
)
@option(OUTPUT, "--keep", multiple=True, metavar="A,B|all", help="Input columns to repeat beside the predictions.")
@option(OUTPUT, "--add", multiple=True, type=Pair(), metavar="NAME=VALUE", help="A constant column.")
@option(OUTPUT, "--overwrite", is_flag=True, help="Replace another job's outputs, once the new ones are ready.")
@option(
    MODEL,
    "--predict-fn",
    default="predict",
    show_default=True,
    metavar="NAME",
    help="Method of the underlying model, such as predict_proba.",
)
@option(MODEL, "--param", "params", multiple=True, type=Pair(), metavar="K=V", help="Inference parameter.")
@option(MODEL, "--rename", multiple=True, type=Pair(), metavar="OLD=NEW", help="Input column OLD is the model's NEW.")
@option(
    MODEL,
    "--env-manager",
    type=click.Choice(ENV_MANAGERS),
    default="local",
    show_default=True,
    help="local: what is installed here; uv: the environment that the model states, built once and kept.",
)
@option(
    MODEL,
    "--python",
    type=click.Path(),
    default=None,
    metavar="PATH",
    help="Interpreter of the workers, such as that of the model's own environment.",
)
@option(
    MODEL, "--environment-variable", "environment", multiple=True, type=Pair(), metavar="K=V", help="For the workers."
)
@option(INPUT, "--include", multiple=True, metavar="GLOB", help="Only files whose path or name matches.")
@option(INPUT, "--exclude", multiple=True, metavar="GLOB", help="No files whose path or name matches.")
@option(INPUT, "--limit", type=click.IntRange(min=0), default=None, metavar="N", help="Only the first N rows.")
@option(INPUT, "--allow-empty", is_flag=True, help="No input is no error.")
@option(
    INPUT,
    "--delimiter",
    default=",",
    show_default=True,
    metavar="CHAR",
    help="Of CSV files; \\t for a tab. .tsv files always take a tab.",
)
@option(INPUT, "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Of CSV files.")
@option(
    INPUT,
    "--missing-value",
    "missing_values",
    multiple=True,
    metavar="TEXT",
    help="CSV text that means missing, in place of pandas' default set; may be repeated.",
)
@option(INPUT, "--no-header", is_flag=True, help="CSV files start with data; columns are the signature's, in order.")
@option(
    CUTTING,
    "--workers",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Worker processes, at most one for each mini-batch.  [default: the cores]",
)
@option(
    CUTTING,
    "--mini-batch-size",
    default="auto",
    show_default=True,
    metavar="SIZE",
    help="auto, a size such as 64MB (big files are cut), or a number of files.",
)
@option(
    CUTTING,
    "--rows-per-call",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Rows in a call of predict, at most.  [default: 65536, fewer for wide rows]",
)
@option(
    CUTTING,
    "--threads-per-worker",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="For BLAS, OpenMP and the model.",
)
@option(
    FAILURES,
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="For each call of predict; a worker that takes longer is killed.",
)
@option(
    FAILURES,
    "--max-retries",
    type=click.IntRange(min=0),
    default=3,
    show_default=True,
    metavar="N",
    help="Of a mini-batch, after the first attempt.",
)
@option(
    FAILURES,
    "--memory-limit",
    default=None,
    metavar="SIZE",
    help="Memory that a worker with its children may hold, such as 4GB; one that holds more is killed.  "
    "[default: no limit]",
)
@option(
    FAILURES,
    "--recycle-after",
    type=click.IntRange(min=1),
    default=None,
    metavar="N",
    help="Mini-batches after which a worker is replaced, for models that leak memory.  [default: never]",
)
@option(
    FAILURES,
    "--grace",
    type=click.FloatRange(min=0),
    default=20.0,
    show_default=True,
    metavar="SECONDS",
    help="For mini-batches in flight to finish when Ctrl-C or SIGTERM stops the job; a second signal stops at once.",
)
@option(
    FAILURES,
    "--error-threshold",
    type=click.IntRange(min=-1),
    default=0,
    show_default=True,
    metavar="N",
    help="Failed files that the job may have; -1: any number.",
)
@option(FAILURES, "--fail-fast", is_flag=True, help="Stop as soon as the threshold is passed.")
@option(WATCHING, "--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@option(WATCHING, "-q", "--quiet", is_flag=True, help="Print errors only.")
@option(
    WATCHING,
    "--logging-level",
    type=click.Choice(LOGGING_LEVELS),
    default="info",
    show_default=True,
    help="Of the model's and the workers' logging, too. warning: no progress, only notes and errors; debug: each step.",
)
@click.argument("more_inputs", nargs=-1, type=click.Path(), metavar="[INPUT]...")
def job_options() -> None:
    """What `run` and `validate` both take."""


@main_group.command(cls=GroupedCommand, epilog=EPILOG)
@job_options
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


@main_group.command(cls=GroupedCommand, epilog=VALIDATE_EPILOG)
@job_options
def validate(**given: Any) -> None:
    """Say what `run` with the same arguments would stumble over, and show the first predictions.

    \b
      batchscore validate -m model -i data -o scored --keep id

    The model is loaded, and its requirements are compared with what is there. The
    header or schema of every file is held against the model's signature; the
    first rows are scored and shown. OUTPUT is looked at, and isn't written. Time,
    disk and memory are estimated from the sample.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    job = job_of(given)
    from batchscore.validation import validate_job

    report = validate_job(job, _watcher(given))
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
def show_job(output: str, *, as_json: bool) -> None:
    """Say what the job in OUTPUT did, or how far it has come.

    \b
      batchscore show scored
      watch batchscore show scored

    Status, counts, rates, the slowest and the failed mini-batches, reasons of
    failure with examples, warnings. Nothing in OUTPUT is changed, and a run at work
    isn't disturbed. Exit codes: 0 shown, whatever became of the job; 2 OUTPUT holds
    no job; 4 it can't be read.
    """  # noqa: D301 (click's mark for a paragraph that isn't rewrapped)
    from batchscore.progress import printable
    from batchscore.showing import look, text

    report = look(output)
    if as_json:
        show(_as_json(report.to_json()))
    else:
        show("\n".join(map(printable, text.lines(report))))


def _as_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2).replace("\x7f", "\\u007f")  # the only control character in it


def job_of(given: dict[str, Any]) -> Job:
    """The Job that the command line's values mean. Raises UsageError."""
    inputs = (*given["inputs"], *given["more_inputs"])
    if not inputs:
        raise UsageError("no input: give -i INPUT, a file, a folder or a glob")
    day = parse_date(given["date"])
    asked = Places(inputs, given["output"], given["output_file_name"], given["add"])
    places = asked.on(day)
    name, kind = output_name_and_format(places.output_file_name, given["format_"])
    keep = tuple(column for entry in given["keep"] for column in next(csv.reader([entry])) if column)
    delimiter = given["delimiter"].replace("\\t", "\t")
    same = (
        "model", "workers", "rows_per_call", "threads_per_worker", "timeout", "max_retries",
        "recycle_after", "grace", "error_threshold", "fail_fast", "output_files", "rename", "predict_fn", "params",
        "include", "exclude",
        "limit", "env_manager", "python", "environment", "allow_empty", "overwrite", "layout",
        "logging_level",
    )  # fmt: skip
    return Job(
        inputs=places.inputs,
        output=places.output,
        add=places.add,
        date=None if places == asked else day.isoformat(),
        mini_batch_size=MiniBatchSize.parse(given["mini_batch_size"]),
        memory_limit=parse_memory_limit(given["memory_limit"]),
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
        colour="NO_COLOR" not in os.environ,
        logging_level=given["logging_level"],
    )


def _say(summary: JobSummary, given: dict[str, Any]) -> None:
    """The result on stdout; on stderr the first failures, and of a failed job the command that publishes it."""
    from batchscore.progress import printable

    if summary.is_fresh and (summary.exit_code or not given["quiet"]):
        for line in summary.headlines(SHOWN_FAILURES):
            tell(printable(line))
    if given["as_json"]:
        show(_as_json(summary.manifest))
    elif not given["quiet"]:
        show(printable(f"{summary.status}: {summary.message}"))
    if summary.exit_code and given["quiet"]:
        tell(printable(f"{summary.status}: {summary.message}"))
        tell(f"More about it: batchscore show {_quoted(summary.output)}")
    if summary.status == "Failed" and summary.counts.rows_scored:
        tell("To publish what was scored, which takes seconds:")
        tell(_publishing_command(summary.manifest["settings"]["date"]))


def _publishing_command(date: str | None) -> str:
    """The command that was given, with --error-threshold -1, for the same day whenever it is run.

    Without environment variables: they may be secrets.
    """
    words = ["batchscore"]
    arguments = iter(sys.argv[1:])
    for word in arguments:
        option_name = word.partition("=")[0]
        if option_name in {"--error-threshold", "--environment-variable", "--date"}:
            if "=" not in word or option_name == word:
                next(arguments, None)
        elif word != "--fail-fast":
            words.append(word)
    end = words.index("--") if "--" in words else len(words)
    ours = [*(["--date", date] if date else []), "--error-threshold", "-1"]
    return " ".join(map(_quoted, [*words[:end], *ours, *words[end:]]))


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
