"""batchscore from Python: `run(…) -> JobSummary`, in a script, a notebook or a thread."""

from __future__ import annotations

import datetime as dt
import inspect
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchscore.deployment import LoggingLevel, OutputAction
from batchscore.errors import Stopped, UsageError
from batchscore.job import EnvManager, Job, OnBadRow, OutputFiles, WorkerStart, parse_memory_limit
from batchscore.limits import parse_limit
from batchscore.placeholders import Places, parse_date
from batchscore.progress import watcher
from batchscore.settings import CsvOptions, Format, Layout, MiniBatchSize, output_name_and_format

if TYPE_CHECKING:
    from batchscore.findings import Report
    from batchscore.summary import JobSummary

Location = str | os.PathLike[str]
_CSV = CsvOptions()


def run(  # noqa: PLR0913 (the command line's options)
    model: Location | None = None,
    inputs: Location | Sequence[Location] = (),
    output: Location | None = None,
    *,
    deployment: Location | None = None,
    deployment_name: str | None = None,
    set: Mapping[str, object] | None = None,  # noqa: A002 (the command line's word)
    model_store: Location | None = None,
    workers: int | None = None,
    mini_batch_size: str | int | None = None,
    rows_per_call: int | None = None,
    threads_per_worker: int | None = None,
    worker_start: WorkerStart | None = None,
    timeout: float | None = None,
    max_retries: int | None = None,
    memory_limit: str | None = None,
    recycle_after: int | None = None,
    grace: float = 20.0,
    error_threshold: int | str | None = None,
    on_bad_row: OnBadRow | None = None,
    max_bad_rows: int | str | None = None,
    fail_fast: bool | None = None,
    layout: Layout | None = None,
    format: Format | None = None,  # noqa: A002 (the command line's word)
    output_file_name: str | None = None,
    output_files: OutputFiles | None = None,
    output_action: OutputAction | None = None,
    keep: str | Sequence[str] = (),
    add: Mapping[str, object] | None = None,
    rename: Mapping[str, str] | None = None,
    predict_fn: str | None = None,
    model_digest: str | None = None,
    params: Mapping[str, Any] | None = None,
    delimiter: str = _CSV.delimiter,
    encoding: str = _CSV.encoding,
    missing_values: Sequence[str] = _CSV.missing_values,
    header: bool = _CSV.header,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    limit: int | None = None,
    env_manager: EnvManager = "local",
    python: Location | None = None,
    environment: Mapping[str, str] | None = None,
    storage_options: Mapping[str, object] | None = None,
    allow_empty: bool = False,
    overwrite: bool = False,
    break_lock: bool = False,
    work_dir: Location | None = None,
    logging_level: LoggingLevel | None = None,
    date: str | dt.date | None = None,
    progress: bool = False,
) -> JobSummary:
    """Score every row of `inputs` with `model` into the folder `output`; arguments as on the command line.

    None stands for the command line's default, or with `deployment`, the YAML file of a batch deployment or endpoint,
    for what it says. `keep="all"` keeps all input columns. `progress` shows a bar on stderr. `{date}` and
    `{date:%Y/%m/%d}` in `inputs`, `output`, `output_file_name` and the values of `add` stand for `date`: a
    datetime.date, "2026-11-03", "yesterday" or "today". A job with too many failures gives a summary whose status is
    Failed; it isn't raised.

    Raises UsageError, ModelLoadError, StorageError, OutputLocked (batchscore.errors), and KeyboardInterrupt where
    Ctrl-C stopped the job. Run again with the same arguments, the job goes on. SIGTERM gives a summary whose status is
    Canceled, or raises Stopped before the job has begun.
    """
    given = {name: value for name, value in locals().items() if name != "progress"}
    job = _job(given)
    from batchscore.runner import run_job

    try:
        summary = run_job(job, watcher(sys.stderr, quiet=not progress, colour=True, logging_level=job.logging_level))
    except Stopped as stopped:
        if stopped.signal_number == signal.SIGINT:
            raise KeyboardInterrupt(str(stopped)) from None
        raise
    if summary.exit_code == 128 + signal.SIGINT:
        raise KeyboardInterrupt(summary.message)
    return summary


def validate(
    model: Location | None = None,
    inputs: Location | Sequence[Location] = (),
    output: Location | None = None,
    *,
    progress: bool = False,
    **options: Any,
) -> Report:
    """What `run` with the same arguments would stumble over, and the first predictions; writes nothing to `output`.

    The report's `problems` are what was found; `exit_code` is 0 where there are none. Raises UsageError for wrong
    arguments, and KeyboardInterrupt for Ctrl-C.
    """
    bound = inspect.signature(run).bind(model, inputs, output, **options)
    bound.apply_defaults()
    job = _job({name: value for name, value in bound.arguments.items() if name != "progress"})
    from batchscore.validation import validate_job

    try:
        return validate_job(job, watcher(sys.stderr, quiet=not progress, colour=True))
    except Stopped as stopped:
        if stopped.signal_number == signal.SIGINT:
            raise KeyboardInterrupt(str(stopped)) from None
        raise


def _job(given: Mapping[str, Any]) -> Job:
    """The Job that the arguments of `run` mean. Raises UsageError."""
    if given["output"] is None:
        raise UsageError("no output: give a folder as output")
    stated = {name: value for name, value in _optional(given).items() if value is not None}
    places = Places(
        _strings(given["inputs"]), os.fspath(given["output"]), given["output_file_name"], _texts(given["add"])
    )
    stated |= places.stated_on(parse_date(given["date"]))
    of_deployments = ("deployment_name", "set", "model_store")
    if given["deployment"] is not None:
        from batchscore.deploying import DeploymentFile, job_of_deployment

        name, overrides, store = (given[each] for each in of_deployments)
        return job_of_deployment(
            DeploymentFile(os.fspath(given["deployment"]), name, _texts(overrides), store and os.fspath(store)), stated
        )
    if any(given[each] for each in of_deployments):
        raise UsageError(f"{', '.join(of_deployments)} go with deployment, and there is none")
    if "model" not in stated:
        raise UsageError("no model: give model, or deployment, whose YAML names one")
    name, kind = output_name_and_format(stated.pop("output_file_name", None), stated.pop("format", None))
    return Job(**stated, output_file_name=name, format=kind)


_AS_GIVEN = (
    "workers", "rows_per_call", "threads_per_worker", "worker_start", "timeout", "max_retries", "on_bad_row",
    "fail_fast", "layout", "format", "output_files", "output_action", "predict_fn", "model_digest", "limit",
    "env_manager", "allow_empty", "overwrite", "break_lock", "logging_level", "recycle_after", "grace",
)  # fmt: skip


def _optional(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Job as their types; None where the argument leaves them to the default, or to the deployment."""
    csv = CsvOptions(given["delimiter"], given["encoding"], tuple(given["missing_values"]), given["header"])
    size = given["mini_batch_size"]
    least = {"error_threshold": -1, "max_bad_rows": 0}
    return {
        **{name: given[name] for name in _AS_GIVEN},
        **{name: None if given[name] is None else parse_limit(given[name], name, low) for name, low in least.items()},
        "memory_limit": parse_memory_limit(given["memory_limit"]),
        "model": None if given["model"] is None else os.fspath(given["model"]),
        "mini_batch_size": None if size is None else MiniBatchSize.parse(size),
        "keep": ("*",) if given["keep"] == "all" else _strings(given["keep"]) or None,
        "rename": tuple((given["rename"] or {}).items()) or None,
        "params": tuple((name, _param(name, value)) for name, value in (given["params"] or {}).items()) or None,
        "csv": None if csv == _CSV else csv,
        "include": _strings(given["include"]),
        "exclude": _strings(given["exclude"]),
        "python": os.fspath(given["python"]) if given["python"] else None,
        "work_dir": None if given["work_dir"] is None else os.fspath(given["work_dir"]),
        "environment": tuple((given["environment"] or {}).items()) or None,
        "storage_options": tuple(
            (name, _param(name, value)) for name, value in (given["storage_options"] or {}).items()
        ),
    }


def _param(name: str, value: Any) -> str:
    """The value as the command line has it: text as it stands, times in ISO form, all else as JSON."""
    if value is None:
        raise UsageError(f"parameter {name!r} is None; leave it out for the model's default")
    try:
        plain = value if isinstance(value, (str, int, float, list, tuple, dict)) else _plain(value)
        return plain if isinstance(plain, str) else json.dumps(plain, default=_plain)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"parameter {name!r}: {error}; numbers, text, truth values, times, lists and dicts can be given"
        ) from error


def _plain(value: Any) -> Any:
    """A time as ISO text; numpy's numbers and arrays, and decimals, as Python's numbers and lists."""
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if type(value).__name__ == "datetime64":
        return str(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    raise TypeError(f"found a {type(value).__name__}")


def _texts(add: Mapping[str, object] | None) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in (add or {}).items())


def _strings(given: Location | Sequence[Location]) -> tuple[str, ...]:
    if isinstance(given, (str, os.PathLike)):
        return (os.fspath(given),)
    return tuple(os.fspath(entry) for entry in given)
