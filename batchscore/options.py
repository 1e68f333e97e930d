"""The options of the commands: their names, defaults and --help."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import click

from batchscore.headings import Command, LimitType, Pair, WholeNumber, option
from batchscore.job import ENV_MANAGERS, LOGGING_LEVELS, ON_BAD_ROW, OUTPUT_ACTIONS, OUTPUT_FILES, WORKER_STARTS
from batchscore.settings import FORMATS, LAYOUTS

MAIN, CUTTING, FAILURES, OUTPUT, MODEL, INPUT, DEPLOYMENT, WATCHING = (
    "Main", "Mini-batches and workers", "Failures", "Output", "Model", "Input", "With -f", "What is shown",
)  # fmt: skip

_main, _output, _model, _input, _cutting, _failures, _deployment, _watching = (
    partial(option, heading) for heading in (MAIN, OUTPUT, MODEL, INPUT, CUTTING, FAILURES, DEPLOYMENT, WATCHING)
)
_FROM_1: dict[str, Any] = {"type": WholeNumber(min=1), "metavar": "N"}

STORAGE_OPTION = _input(
    "--storage-option",
    "storage_options",
    multiple=True,
    type=Pair(),
    metavar="KEY=VALUE",
    help="For stores, such as account_name=…; see also the environment variables they know.",
)

_JOB = (
    _main(
        "-m",
        "--model",
        type=click.Path(),
        metavar="MODEL",
        help="MLflow model: a local folder, models:/name/version, models:/name@alias or runs:/…",
    ),
    _main(
        "-f",
        "--file",
        type=click.Path(),
        metavar="DEPLOYMENT",
        help="YAML of an Azure ML batch deployment or endpoint, with Azure's defaults; other options go before it.",
    ),
    _main(
        "-i",
        "--input",
        "inputs",
        multiple=True,
        type=click.Path(),
        metavar="INPUT",
        help="File, folder or glob to score; may be repeated.",
    ),
    _main(
        "-o",
        "--output",
        required=True,
        type=click.Path(),
        metavar="OUTPUT",
        help="Folder of the predictions, here or on a store.",
    ),
    _main(
        "--date",
        default="today",
        metavar="DAY",
        help="What {date} and {date:%Y/%m/%d} mean in -i, -o, --output-file-name and --add: 2026-11-03, "
        "today, yesterday.",
    ),
    _output(
        "--layout",
        type=click.Choice(LAYOUTS),
        default="table",
        help="table: a header, then file, row, kept, added and prediction columns; azure: no header, then row, "
        "predictions and the file's base name.",
    ),
    _output(
        "--format",
        "format_",
        type=click.Choice(FORMATS),
        help="Of the prediction file.  [default: by --output-file-name, else csv]",
    ),
    _output("--output-file-name", metavar="NAME", help="[default: predictions.csv]"),
    _output(
        "--output-files",
        type=click.Choice(OUTPUT_FILES),
        default="one",
        help="One file, one for each mini-batch, or one for each input file.",
    ),
    _output("--keep", multiple=True, metavar="A,B|all", help="Input columns to repeat beside the predictions."),
    _output("--add", multiple=True, type=Pair(), metavar="NAME=VALUE", help="A constant column."),
    _output(
        "--output-action",
        type=click.Choice(OUTPUT_ACTIONS),
        default="append_row",
        help="summary_only: a scoring script writes its files itself.",
    ),
    _output(
        "--work-dir",
        type=click.Path(),
        metavar="DIR",
        help="Local folder for the work in progress, where OUTPUT can't lock or rename.  [default: in OUTPUT]",
    ),
    _output("--break-lock", is_flag=True, help="Take OUTPUT from a run on another machine that is gone."),
    _output("--overwrite", is_flag=True, help="Replace another job's outputs, once the new ones are ready."),
    _model(
        "--predict-fn", default="predict", metavar="NAME", help="Method of the underlying model, such as predict_proba."
    ),
    _model(
        "--model-digest",
        metavar="sha256:…",
        help="Refuse another model before any of its code runs; validate and job.json state the digest.",
    ),
    _model("--param", "params", multiple=True, type=Pair(), metavar="K=V", help="Inference parameter."),
    _model("--rename", multiple=True, type=Pair(), metavar="OLD=NEW", help="Input column OLD is the model's NEW."),
    _model(
        "--env-manager",
        type=click.Choice(ENV_MANAGERS),
        default="local",
        help="local: what is installed here; uv: the environment that the model states, built once and kept.",
    ),
    _model(
        "--python",
        type=click.Path(),
        metavar="PATH",
        help="Interpreter of the workers, such as that of the model's own environment.",
    ),
    _model(
        "--environment-variable",
        "environment",
        multiple=True,
        type=Pair(is_secret=True),
        metavar="K=V",
        help="For the workers, which have this command's environment too; the place for secrets.",
    ),
    STORAGE_OPTION,
    _input("--include", multiple=True, metavar="GLOB", help="Only files whose path or name matches."),
    _input("--exclude", multiple=True, metavar="GLOB", help="No files whose path or name matches."),
    _input("--limit", type=WholeNumber(min=0), metavar="N", help="Only the first N rows."),
    _input("--allow-empty", is_flag=True, help="No input is no error."),
    _input(
        "--delimiter", default=",", metavar="CHAR", help="Of CSV files; \\t for a tab. .tsv files always take a tab."
    ),
    _input("--encoding", default="utf-8", metavar="NAME", help="Of CSV files."),
    _input(
        "--missing-value",
        "missing_values",
        multiple=True,
        metavar="TEXT",
        help="CSV text that means missing, in place of pandas' default set; may be repeated.",
    ),
    _input("--no-header", is_flag=True, help="CSV files start with data; columns are the signature's, in order."),
    _cutting("--workers", **_FROM_1, help="Worker processes, at most one for each mini-batch.  [default: the cores]"),
    _cutting(
        "--max-concurrency-per-instance",
        **_FROM_1,
        help="Azure's way to say --workers: times --instance-count, at most the cores.",
    ),
    _cutting("--instance-count", **_FROM_1, help="See there."),
    _cutting(
        "--mini-batch-size",
        default="auto",
        metavar="SIZE",
        help="auto, a size such as 64MB (big files are cut), or a number of files.",
    ),
    _cutting(
        "--rows-per-call", **_FROM_1, help="Rows in a call of predict, at most.  [default: 65536, fewer for wide rows]"
    ),
    _cutting(
        "--threads-per-worker",
        type=WholeNumber(min=1),
        default=1,
        metavar="N",
        help="For BLAS, OpenMP and the model.",
    ),
    _cutting(
        "--worker-start",
        type=click.Choice(WORKER_STARTS),
        default="auto",
        help="loader: one process loads the model, and the workers are forked from it, which may hang where the model "
        "has threads by then; each: each loads it; auto: loader where that is safe and there is more than one worker.",
    ),
    _failures(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=600.0,
        metavar="SECONDS",
        help="For each call of predict; a worker that takes longer is killed.",
    ),
    _failures(
        "--max-retries",
        type=WholeNumber(min=0),
        default=3,
        metavar="N",
        help="Of a mini-batch, after the first attempt.",
    ),
    _failures(
        "--memory-limit",
        metavar="SIZE",
        help="Memory that a worker with its children may hold, such as 4GB; one that holds more is killed.  "
        "[default: no limit]",
    ),
    _failures(
        "--recycle-after",
        **_FROM_1,
        help="Mini-batches after which a worker is replaced, for models that leak memory.  [default: never]",
    ),
    _failures(
        "--grace",
        type=click.FloatRange(min=0),
        default=20.0,
        metavar="SECONDS",
        help="For mini-batches in flight to finish when Ctrl-C or SIGTERM stops the job; a second signal stops at "
        "once.",
    ),
    _failures(
        "--error-threshold",
        type=LimitType("--error-threshold", least=-1),
        default=0,
        metavar="N|P%",
        help="Failed files that the job may have, or their share of all; -1: any number.",
    ),
    _failures(
        "--on-bad-row",
        type=click.Choice(ON_BAD_ROW),
        default="fail",
        help="A row that doesn't fit the signature, or that predict fails for, fails its file; quarantine: it goes to "
        "failures.jsonl, and the others are scored.",
    ),
    _failures(
        "--max-bad-rows",
        type=LimitType("--max-bad-rows"),
        metavar="N|P%",
        help="Quarantined rows that the job may have, or their share of all.  [default: any number]",
    ),
    _failures("--fail-fast", is_flag=True, help="Stop as soon as the threshold is passed."),
)
_WATCHING = (
    _watching("--json", "as_json", is_flag=True, help="Print the summary as JSON."),
    _watching("-q", "--quiet", is_flag=True, help="Print errors only."),
    _watching(
        "--logging-level",
        type=click.Choice(LOGGING_LEVELS),
        default="info",
        help="Of the model's and the workers' logging, too. warning: no progress, only notes and errors; "
        "debug: each step.",
    ),
)
_DEPLOYMENT = (
    _deployment(
        "--deployment-name",
        metavar="NAME",
        help="Of an endpoint's YAML the deployment with this name.  [default: the endpoint's default]",
    ),
    _deployment(
        "--set",
        "overrides",
        multiple=True,
        type=Pair(),
        metavar="KEY=VALUE",
        help="In place of the YAML's value: settings.error_threshold=5, or a name that Azure's invoke takes.",
    ),
    _deployment(
        "--model-store",
        type=click.Path(),
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
