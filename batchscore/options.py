"""The options of the commands: their names, defaults and --help."""

from __future__ import annotations

from collections.abc import Callable

import click

from batchscore.headings import Command, LimitType, Pair, option
from batchscore.job import ENV_MANAGERS, LOGGING_LEVELS, ON_BAD_ROW, OUTPUT_ACTIONS, OUTPUT_FILES, WORKER_STARTS
from batchscore.settings import FORMATS, LAYOUTS

MAIN, CUTTING, FAILURES, OUTPUT, MODEL, INPUT, DEPLOYMENT, WATCHING = (
    "Main", "Mini-batches and workers", "Failures", "Output", "Model", "Input", "With -f", "What is shown",
)  # fmt: skip

STORAGE_OPTION = option(
    INPUT,
    "--storage-option",
    "storage_options",
    multiple=True,
    type=Pair(),
    metavar="KEY=VALUE",
    help="For stores, such as account_name=…; see also the environment variables they know.",
)

_JOB = (
    option(
        MAIN,
        "-m",
        "--model",
        default=None,
        type=click.Path(),
        metavar="MODEL",
        help="MLflow model: a local folder, models:/name/version, models:/name@alias or runs:/…",
    ),
    option(
        MAIN,
        "-f",
        "--file",
        default=None,
        type=click.Path(),
        metavar="DEPLOYMENT",
        help="YAML of an Azure ML batch deployment or endpoint, with Azure's defaults; other options go before it.",
    ),
    option(
        MAIN,
        "-i",
        "--input",
        "inputs",
        multiple=True,
        type=click.Path(),
        metavar="INPUT",
        help="File, folder or glob to score; may be repeated.",
    ),
    option(
        MAIN,
        "-o",
        "--output",
        required=True,
        type=click.Path(),
        metavar="OUTPUT",
        help="Folder of the predictions, here or on a store.",
    ),
    option(
        MAIN,
        "--date",
        default="today",
        show_default=True,
        metavar="DAY",
        help="What {date} and {date:%Y/%m/%d} mean in -i, -o, --output-file-name and --add: 2026-11-03, "
        "today, yesterday.",
    ),
    option(
        OUTPUT,
        "--layout",
        type=click.Choice(LAYOUTS),
        default="table",
        show_default=True,
        help="table: a header, then file, row, kept, added and prediction columns; azure: no header, then row, "
        "predictions and the file's base name.",
    ),
    option(
        OUTPUT,
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        default=None,
        help="Of the prediction file.  [default: by --output-file-name, else csv]",
    ),
    option(OUTPUT, "--output-file-name", default=None, metavar="NAME", help="[default: predictions.csv]"),
    option(
        OUTPUT,
        "--output-files",
        type=click.Choice(OUTPUT_FILES),
        default="one",
        show_default=True,
        help="One file, one for each mini-batch, or one for each input file.",
    ),
    option(OUTPUT, "--keep", multiple=True, metavar="A,B|all", help="Input columns to repeat beside the predictions."),
    option(OUTPUT, "--add", multiple=True, type=Pair(), metavar="NAME=VALUE", help="A constant column."),
    option(
        OUTPUT,
        "--output-action",
        type=click.Choice(OUTPUT_ACTIONS),
        default="append_row",
        show_default=True,
        help="summary_only: a scoring script writes its files itself.",
    ),
    option(
        OUTPUT,
        "--work-dir",
        type=click.Path(),
        default=None,
        metavar="DIR",
        help="Local folder for the work in progress, where OUTPUT can't lock or rename.  [default: in OUTPUT]",
    ),
    option(OUTPUT, "--break-lock", is_flag=True, help="Take OUTPUT from a run on another machine that is gone."),
    option(OUTPUT, "--overwrite", is_flag=True, help="Replace another job's outputs, once the new ones are ready."),
    option(
        MODEL,
        "--predict-fn",
        default="predict",
        show_default=True,
        metavar="NAME",
        help="Method of the underlying model, such as predict_proba.",
    ),
    option(
        MODEL,
        "--model-digest",
        default=None,
        metavar="sha256:…",
        help="Refuse another model before any of its code runs; validate and job.json state the digest.",
    ),
    option(MODEL, "--param", "params", multiple=True, type=Pair(), metavar="K=V", help="Inference parameter."),
    option(
        MODEL, "--rename", multiple=True, type=Pair(), metavar="OLD=NEW", help="Input column OLD is the model's NEW."
    ),
    option(
        MODEL,
        "--env-manager",
        type=click.Choice(ENV_MANAGERS),
        default="local",
        show_default=True,
        help="local: what is installed here; uv: the environment that the model states, built once and kept.",
    ),
    option(
        MODEL,
        "--python",
        type=click.Path(),
        default=None,
        metavar="PATH",
        help="Interpreter of the workers, such as that of the model's own environment.",
    ),
    option(
        MODEL,
        "--environment-variable",
        "environment",
        multiple=True,
        type=Pair(is_secret=True),
        metavar="K=V",
        help="For the workers, which have this command's environment too; the place for secrets.",
    ),
    STORAGE_OPTION,
    option(INPUT, "--include", multiple=True, metavar="GLOB", help="Only files whose path or name matches."),
    option(INPUT, "--exclude", multiple=True, metavar="GLOB", help="No files whose path or name matches."),
    option(INPUT, "--limit", type=click.IntRange(min=0), default=None, metavar="N", help="Only the first N rows."),
    option(INPUT, "--allow-empty", is_flag=True, help="No input is no error."),
    option(
        INPUT,
        "--delimiter",
        default=",",
        show_default=True,
        metavar="CHAR",
        help="Of CSV files; \\t for a tab. .tsv files always take a tab.",
    ),
    option(INPUT, "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Of CSV files."),
    option(
        INPUT,
        "--missing-value",
        "missing_values",
        multiple=True,
        metavar="TEXT",
        help="CSV text that means missing, in place of pandas' default set; may be repeated.",
    ),
    option(
        INPUT, "--no-header", is_flag=True, help="CSV files start with data; columns are the signature's, in order."
    ),
    option(
        CUTTING,
        "--workers",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="Worker processes, at most one for each mini-batch.  [default: the cores]",
    ),
    option(
        CUTTING,
        "--max-concurrency-per-instance",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="Azure's way to say --workers: times --instance-count, at most the cores.",
    ),
    option(CUTTING, "--instance-count", type=click.IntRange(min=1), default=None, metavar="N", help="See there."),
    option(
        CUTTING,
        "--mini-batch-size",
        default="auto",
        show_default=True,
        metavar="SIZE",
        help="auto, a size such as 64MB (big files are cut), or a number of files.",
    ),
    option(
        CUTTING,
        "--rows-per-call",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="Rows in a call of predict, at most.  [default: 65536, fewer for wide rows]",
    ),
    option(
        CUTTING,
        "--threads-per-worker",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        metavar="N",
        help="For BLAS, OpenMP and the model.",
    ),
    option(
        CUTTING,
        "--worker-start",
        type=click.Choice(WORKER_STARTS),
        default="auto",
        show_default=True,
        help="loader: one process loads the model, and the workers are forked from it, which may hang where the model "
        "has threads by then; each: each loads it; auto: loader where that is safe and there is more than one worker.",
    ),
    option(
        FAILURES,
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=600.0,
        show_default=True,
        metavar="SECONDS",
        help="For each call of predict; a worker that takes longer is killed.",
    ),
    option(
        FAILURES,
        "--max-retries",
        type=click.IntRange(min=0),
        default=3,
        show_default=True,
        metavar="N",
        help="Of a mini-batch, after the first attempt.",
    ),
    option(
        FAILURES,
        "--memory-limit",
        default=None,
        metavar="SIZE",
        help="Memory that a worker with its children may hold, such as 4GB; one that holds more is killed.  "
        "[default: no limit]",
    ),
    option(
        FAILURES,
        "--recycle-after",
        type=click.IntRange(min=1),
        default=None,
        metavar="N",
        help="Mini-batches after which a worker is replaced, for models that leak memory.  [default: never]",
    ),
    option(
        FAILURES,
        "--grace",
        type=click.FloatRange(min=0),
        default=20.0,
        show_default=True,
        metavar="SECONDS",
        help="For mini-batches in flight to finish when Ctrl-C or SIGTERM stops the job; a second signal stops at "
        "once.",
    ),
    option(
        FAILURES,
        "--error-threshold",
        type=LimitType("--error-threshold", least=-1),
        default=0,
        show_default=True,
        metavar="N|P%",
        help="Failed files that the job may have, or their share of all; -1: any number.",
    ),
    option(
        FAILURES,
        "--on-bad-row",
        type=click.Choice(ON_BAD_ROW),
        default="fail",
        show_default=True,
        help="A row that doesn't fit the signature, or that predict fails for, fails its file; quarantine: it goes to "
        "failures.jsonl, and the others are scored.",
    ),
    option(
        FAILURES,
        "--max-bad-rows",
        type=LimitType("--max-bad-rows"),
        default=None,
        metavar="N|P%",
        help="Quarantined rows that the job may have, or their share of all.  [default: any number]",
    ),
    option(FAILURES, "--fail-fast", is_flag=True, help="Stop as soon as the threshold is passed."),
)
_WATCHING = (
    option(WATCHING, "--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    option(WATCHING, "-q", "--quiet", is_flag=True, help="Print errors only."),
    option(
        WATCHING,
        "--logging-level",
        type=click.Choice(LOGGING_LEVELS),
        default="info",
        show_default=True,
        help="Of the model's and the workers' logging, too. warning: no progress, only notes and errors; "
        "debug: each step.",
    ),
)
_DEPLOYMENT = (
    option(
        DEPLOYMENT,
        "--deployment-name",
        default=None,
        metavar="NAME",
        help="Of an endpoint's YAML the deployment with this name.  [default: the endpoint's default]",
    ),
    option(
        DEPLOYMENT,
        "--set",
        "overrides",
        multiple=True,
        type=Pair(),
        metavar="KEY=VALUE",
        help="In place of the YAML's value: settings.error_threshold=5, or a name that Azure's invoke takes.",
    ),
    option(
        DEPLOYMENT,
        "--model-store",
        type=click.Path(),
        default=None,
        metavar="DIR",
        help="Folder of models, name/version, where azureml:name:version is looked for.",
    ),
)


def job_options(command: Command) -> Command:
    """All that says what a job is: MODEL, INPUT, OUTPUT and the settings."""
    inputs = click.argument("more_inputs", nargs=-1, type=click.Path(), metavar="[INPUT]...")
    return _with(inputs(command), (*_JOB, *_DEPLOYMENT))


def watching_options(command: Command) -> Command:
    """What a job shows while it runs and at its end."""
    return _with(command, _WATCHING)


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """The command with options, which --help lists in their order here."""
    for each in reversed(options):
        command = each(command)
    return command
